//! How the store names entries.
//!
//! A full key is the operator's name behind its length, so that no name is the beginning of another; then the partition, so
//! that those of a shard lie side by side; then the key.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow, RangeBounds};

use super::hash::{self, PARTITIONS};

/// Which keys of an operator are wanted.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    /// This one.
    One(&'a [u8]),
    /// Those of a range of partitions, which is not empty.
    Partitions {
        /// The first.
        first: u32,
        /// The one behind the last.
        end: u32,
    },
}

/// A full key with the bytes of its entry; those of a forgotten key are empty.
pub(super) type Stored = (Box<[u8]>, Vec<u8>);

/// The newest record of each key that was found, up to a number of keys.
#[derive(Debug)]
pub(super) struct FoundRecords {
    pub(super) records: BTreeMap<Box<[u8]>, Vec<u8>>,
    keys_max: usize,
    /// Of more bytes than these, not all are wanted.
    bytes_max: usize,
    bytes: usize,
}

/// Full keys, from one bound to the other.
#[derive(Debug)]
pub(super) struct Range(Bound<Vec<u8>>, Bound<Vec<u8>>);

impl FoundRecords {
    pub(super) fn up_to(keys_max: usize, bytes_max: usize) -> Self {
        Self {
            records: BTreeMap::new(),
            keys_max,
            bytes_max,
            bytes: 0,
        }
    }

    /// Adds what an older layer has of a key, unless a newer one had it. Looking on is of no use where it gives `Break`.
    pub(super) fn add(&mut self, key: &[u8], bytes: &[u8]) -> ControlFlow<()> {
        if !self.records.contains_key(key) {
            self.bytes += bytes.len();
            self.records.insert(key.into(), bytes.to_vec());
        }
        if self.is_too_much() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Whether there are more keys than wanted, or more bytes.
    pub(super) fn is_too_much(&self) -> bool {
        self.records.len() > self.keys_max || self.bytes > self.bytes_max
    }
}

impl Keys<'_> {
    /// All keys of an operator.
    pub const ALL: Keys<'static> = Keys::Partitions {
        first: 0,
        end: PARTITIONS,
    };

    pub(super) fn range(&self, operator: &str) -> Range {
        match self {
            Keys::One(key) => {
                let key = full(operator, key).into_vec();
                Range(Bound::Included(key.clone()), Bound::Included(key))
            }
            Keys::Partitions { first, end } => {
                let bound = |partition: u32| [prefix(operator), big_endian(partition).to_vec()].concat();
                Range(Bound::Included(bound(*first)), Bound::Excluded(bound(*end)))
            }
        }
    }
}

impl Range {
    pub(super) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.0.as_ref().map(Vec::as_slice), self.1.as_ref().map(Vec::as_slice))
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        RangeBounds::<[u8]>::contains::<[u8]>(&self.bounds(), key)
    }

    /// The full key, if only one is wanted.
    pub(super) fn one(&self) -> Option<&[u8]> {
        match (&self.0, &self.1) {
            (Bound::Included(first), Bound::Included(last)) if first == last => Some(first),
            _ => None,
        }
    }

    /// The operator whose keys they are, and the first and last of their partitions.
    pub(super) fn partitions(&self) -> (&[u8], u32, u32) {
        let (Bound::Included(first), Bound::Included(last) | Bound::Excluded(last)) = (&self.0, &self.1) else {
            unreachable!("`Keys::range` makes no other bounds")
        };
        let (operator, first, _) = split(first).expect("`Keys::range` names whole partitions");
        let last = split(last).map_or(PARTITIONS, |(_, last, _)| last);
        (operator, first, last.min(PARTITIONS - 1))
    }
}

/// The operator's name, behind its length.
fn prefix(operator: &str) -> Vec<u8> {
    let length = u16::try_from(operator.len()).expect("pipeline files bound the length of names");
    [&length.to_be_bytes(), operator.as_bytes()].concat()
}

fn big_endian(partition: u32) -> [u8; 2] {
    u16::try_from(partition)
        .expect("there are 4,096 partitions")
        .to_be_bytes()
}

/// What comes before the key itself, in bytes.
pub(super) fn prefix_bytes(operator: &str) -> usize {
    operator.len() + 4
}

/// The full key of `key`.
pub(super) fn full(operator: &str, key: &[u8]) -> Box<[u8]> {
    let length = u16::try_from(operator.len()).expect("pipeline files bound the length of names");
    let partition = hash::partition(hash::key(key));
    let mut full = Vec::with_capacity(prefix_bytes(operator) + key.len());
    full.extend_from_slice(&length.to_be_bytes());
    full.extend_from_slice(operator.as_bytes());
    full.extend_from_slice(&big_endian(partition));
    full.extend_from_slice(key);
    full.into()
}

/// Operator, partition and key; `None` of what is no full key.
pub(super) fn split(full: &[u8]) -> Option<(&[u8], u32, &[u8])> {
    let (length, rest) = full.split_first_chunk()?;
    let (operator, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let (partition, key) = rest.split_first_chunk()?;
    Some((operator, u32::from(u16::from_be_bytes(*partition)), key))
}
