//! An oracle of the guest `tests/hostile/sum`.

/// The line that it makes of these events of a key, in a window from `start` on.
pub(crate) fn summed(key: &str, start: u64, numbers: &[u64]) -> String {
    let (count, sum) = (numbers.len(), numbers.iter().sum::<u64>());
    let hashes = numbers.iter().fold(0_u64, |hashes, n| hashes.wrapping_add(hash(*n)));
    let greatest = numbers.iter().max().copied().unwrap_or_default();
    format!(
        "{{\"key\":\"{key}\",\"start\":{start},\"events\":{count},\"numbers\":{sum},\"hashes\":{hashes},\
         \"greatest\":{greatest},\"count\":{count}}}\n"
    )
}

/// The finalizer of splitmix64, as the guest has it.
fn hash(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
