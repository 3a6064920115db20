//! What is in the epoch log and not yet in the database, by key.
//!
//! A hash map per group of partitions, since most look-ups are of one key, some of a shard, and what goes to the database goes
//! in order of keys.

use hashbrown::HashMap;

use super::hash::PARTITIONS;
use super::keys::{self, FoundRecords, Range, Stored};
use super::spilled::RECORD_OVERHEAD_BYTES;

/// How many maps an operator's keys are spread over: few enough that an operator with one key takes 10 KiB, many enough that
/// a map of a million keys grows in a fraction of a millisecond.
const GROUPS: u32 = 256;

type Records = HashMap<Box<[u8]>, Box<[u8]>>;

/// Records by full key, the newest of each.
#[derive(Default)]
pub(super) struct Logged {
    /// By name, the groups of the operator's records.
    operators: HashMap<Box<[u8]>, Box<[Records]>>,
    bytes: usize,
}

fn group(partition: u32) -> usize {
    (partition / (PARTITIONS / GROUPS)) as usize
}

impl Logged {
    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn insert(&mut self, key: Box<[u8]>, bytes: Box<[u8]>) {
        let (operator, partition, _) = keys::split(&key).expect("the store makes full keys, and the log checks them");
        if !self.operators.contains_key(operator) {
            let groups = (0..GROUPS).map(|_| Records::default()).collect();
            self.operators.insert(operator.into(), groups);
        }
        let groups = self.operators.get_mut(operator).expect("it was put in");
        let key_bytes = key.len() + RECORD_OVERHEAD_BYTES;
        self.bytes += key_bytes + bytes.len();
        if let Some(replaced) = groups[group(partition)].insert(key, bytes) {
            self.bytes -= key_bytes + replaced.len();
        }
    }

    /// Adds what lies in `range` and is not found yet.
    pub(super) fn read(&self, range: &Range, found: &mut FoundRecords) {
        let (operator, first, last) = range.partitions();
        let Some(groups) = self.operators.get(operator) else {
            return;
        };
        if let Some(key) = range.one() {
            if let Some(bytes) = groups[group(first)].get(key) {
                let _ = found.add(key, bytes);
            }
            return;
        }
        for records in &groups[group(first)..=group(last)] {
            for (key, bytes) in records.iter().filter(|(key, _)| range.contains(key)) {
                if found.add(key, bytes).is_break() {
                    return;
                }
            }
        }
    }

    /// Gives each full key of an operator that is not forgotten, in no order.
    pub(super) fn each_key(&self, operator: &str, mut take: impl FnMut(&[u8])) {
        let groups = self.operators.get(operator.as_bytes());
        let records = groups.into_iter().flatten().flatten();
        records
            .filter(|(_, bytes)| !bytes.is_empty())
            .for_each(|(key, _)| take(key));
    }

    /// Looks a full key up.
    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let (operator, partition, _) = keys::split(key).expect("the store makes full keys");
        let records = &self.operators.get(operator)?[group(partition)];
        records.get(key).map(|bytes| &**bytes)
    }

    /// Gives each record, in the order of full keys.
    pub(super) fn each<E>(&self, mut take: impl FnMut(&[u8], &[u8]) -> Result<(), E>) -> Result<(), E> {
        self.sorted().try_for_each(|(key, bytes)| take(key, bytes))
    }

    /// Each record, in the order of full keys.
    pub(super) fn sorted(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut operators: Vec<_> = self.operators.iter().collect();
        // As the length stands before the name in a full key.
        operators.sort_unstable_by_key(|(name, _)| (name.len(), *name));
        operators
            .into_iter()
            .flat_map(|(_, groups)| groups)
            .flat_map(|records| {
                let mut sorted: Vec<_> = records.iter().map(|(key, bytes)| (&**key, &**bytes)).collect();
                sorted.sort_unstable();
                sorted
            })
    }
}

impl Extend<Stored> for Logged {
    fn extend<I: IntoIterator<Item = Stored>>(&mut self, records: I) {
        for (key, bytes) in records {
            self.insert(key, bytes.into());
        }
    }
}
