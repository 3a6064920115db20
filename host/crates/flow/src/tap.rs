//! What is looked at of the events on an edge while it runs.
//!
//! Owns the rule that a look costs little and delays no sender: an edge without a reader costs one load of an atomic per batch, one with a reader
//! copies the first events of a batch, each up to a bound, and what is not fetched in time is replaced by what comes later.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dirigo_ground::batch::Batch;
use dirigo_ground::sync::Mutex;

/// Events that are copied of one batch.
const OF_BATCH_MAX: usize = 16;
/// Bytes of a value that are copied.
const VALUE_BYTES_MAX: usize = 4 << 10;
/// Samples that are kept for those who look, and their bytes.
const KEPT_MAX: usize = 256;
const KEPT_BYTES_MAX: usize = 256 << 10;

/// An event that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Which it is of those that were copied, from 0.
    pub number: u64,
    /// Its event time, ms since the epoch.
    pub time: i64,
    /// Its key; empty where it has none.
    pub key: Vec<u8>,
    /// Its value, or the first 4 KiB of it.
    pub value: Vec<u8>,
    /// Whether the value was longer.
    pub is_cut: bool,
}

/// Where the events of an edge can be looked at.
#[derive(Debug, Default)]
pub struct Tap {
    watchers: AtomicUsize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    samples: VecDeque<Sample>,
    bytes: usize,
    next: u64,
}

/// Somebody who looks, until this is dropped.
#[derive(Debug)]
pub struct TapReader {
    tap: Arc<Tap>,
    /// The next sample that is new.
    next: u64,
}

impl Tap {
    /// Looks at it from now on.
    #[must_use]
    pub fn watch(self: &Arc<Self>) -> TapReader {
        self.watchers.fetch_add(1, Ordering::Relaxed);
        TapReader {
            next: self.kept.lock().next,
            tap: self.clone(),
        }
    }

    /// Copies some of a batch, if somebody looks; never waits.
    pub(super) fn pass(&self, batch: &Batch) {
        if self.watchers.load(Ordering::Relaxed) == 0 {
            return;
        }
        // Where another batch is being copied, this one passes unseen.
        let Some(mut kept) = self.kept.try_lock() else { return };
        for index in 0..batch.len().min(OF_BATCH_MAX) {
            let value = batch.values.get(index);
            let key = batch.keys.get(index);
            let number = kept.next;
            kept.push(Sample {
                number,
                time: batch.times[index],
                key: key[..key.len().min(VALUE_BYTES_MAX)].to_vec(),
                is_cut: value.len() > VALUE_BYTES_MAX,
                value: value[..value.len().min(VALUE_BYTES_MAX)].to_vec(),
            });
        }
    }
}

impl Kept {
    fn push(&mut self, sample: Sample) {
        self.next += 1;
        self.bytes += sample.key.len() + sample.value.len();
        self.samples.push_back(sample);
        while self.samples.len() > KEPT_MAX || self.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.samples.pop_front() else { break };
            self.bytes -= oldest.key.len() + oldest.value.len();
        }
    }
}

impl TapReader {
    /// The samples since the last call that are still there, in their order.
    pub fn fetch(&mut self) -> Vec<Sample> {
        let kept = self.tap.kept.lock();
        let new: Vec<Sample> = kept
            .samples
            .iter()
            .filter(|sample| sample.number >= self.next)
            .cloned()
            .collect();
        self.next = kept.next;
        new
    }
}

impl Drop for TapReader {
    fn drop(&mut self) {
        if self.tap.watchers.fetch_sub(1, Ordering::Relaxed) == 1 {
            let mut kept = self.tap.kept.lock();
            kept.samples = VecDeque::new();
            kept.bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use dirigo_ground::batch::Column;
    use dirigo_ground::lineage::Ticket;

    use super::*;

    fn batch(values: &[&str]) -> Batch {
        let column = |texts: &mut dyn Iterator<Item = &str>| {
            let mut column = Column::default();
            texts.for_each(|text| column.push(text.as_bytes()));
            column
        };
        Batch {
            times: Arc::new((0..).take(values.len()).collect()),
            keys: Arc::new(column(&mut values.iter().map(|_| "k"))),
            values: column(&mut values.iter().copied()).into(),
            fields: dirigo_ground::fields::Fields::default(),
            positions: Arc::new((1..).take(values.len()).collect()),
            origin: Ticket::detached().into(),
        }
    }

    #[test]
    fn a_watcher_sees_what_passes_while_it_looks_and_no_more_than_is_kept() {
        let tap = Arc::new(Tap::default());
        tap.pass(&batch(&["before"]));
        let mut first = tap.watch();
        assert_eq!(first.fetch(), []);
        tap.pass(&batch(&["a", "b"]));
        let mut second = tap.watch();
        let seen = first.fetch();
        assert_eq!(
            seen.iter().map(|sample| &sample.value[..]).collect::<Vec<_>>(),
            [b"a", b"b"]
        );
        assert_eq!((seen[1].time, &seen[1].key[..], seen[1].is_cut), (1, &b"k"[..], false));
        assert_eq!(second.fetch(), [], "it came later");
        drop(first);
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        let many: Vec<&str> = vec![&long; 100];
        (0..100).for_each(|_| tap.pass(&batch(&many)));
        let seen = second.fetch();
        assert_eq!(seen.len(), KEPT_BYTES_MAX / (VALUE_BYTES_MAX + 1));
        assert!(
            seen.iter()
                .all(|sample| sample.is_cut && sample.value.len() == VALUE_BYTES_MAX)
        );
        assert_eq!(seen.last().unwrap().number, 2 + 100 * OF_BATCH_MAX as u64 - 1);
        drop(second);
        tap.pass(&batch(&["unseen"]));
        assert_eq!(tap.kept.lock().samples.len(), 0);
    }
}
