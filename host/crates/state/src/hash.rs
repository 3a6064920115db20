//! Where a key belongs.
//!
//! One hash serves shards, tables and the store. It is XXH3 (64 bits), whose values are specified, since what the store
//! keeps must be found by the next version too.

use xxhash_rust::xxh3::xxh3_64;

/// How many parts the keys of an operator fall into, whatever the number of its shards: the store keeps keys by partition,
/// so a run may use another number of shards than the one before.
pub const PARTITIONS: u32 = 4096;

/// The hash of a key.
#[must_use]
pub fn key(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// The partition of a key with this hash.
#[must_use]
pub fn partition(hash: u64) -> u32 {
    // The upper bits: tables use the lower ones.
    u32::try_from(hash >> 52).expect("twelve bits are left")
}

/// The first partitions of `shards` ranges of about the same length, which together are all.
pub fn ranges(shards: u32) -> impl Iterator<Item = u32> {
    let shards = shards.clamp(1, PARTITIONS);
    (0..shards).map(move |shard| (shard * PARTITIONS).div_ceil(shards))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_gets_its_part() {
        for shards in [1, 2, 3, 7, 4096] {
            let firsts: Vec<u32> = ranges(shards).chain([PARTITIONS]).collect();
            let lengths = firsts.windows(2).map(|pair| pair[1] - pair[0]);
            let (least, most) = (lengths.clone().min().unwrap(), lengths.max().unwrap());
            assert!(
                firsts[0] == 0 && least > 0 && most - least <= 1,
                "{shards} shards: {least} to {most}"
            );
        }
    }

    #[test]
    fn hashes_stay_what_stored_state_was_kept_by() {
        assert_eq!(key(b""), 0x2d06_8005_38d3_94c2);
    }
}
