//! Outputs, in the order of the events that they come from.
//!
//! Replicas of a stateless actor take chunks of its mailbox side by side; what they put out leaves in the order in which the
//! chunks were taken.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use dirigo_ground::sync::{Mutex, MutexGuard};

use dirigo_ground::batch::Batch;

/// Bytes of outputs that may wait for those of a chunk before them. Past it no replica begins a chunk that would have to
/// wait too: one slow event holds back an actor, and not the host's memory.
const EARLY_BYTES_MAX: usize = 16 << 20;

/// Which chunk's outputs leave next, and those that must wait for it. `W` is a replica that waits until fewer do.
///
/// To send is the right of one replica at a time: of the one that works on chunk `next`, and once that is complete, of
/// the one that completed it, which also sends what waited behind it. Nobody else moves `next`, so the replica that has
/// the right sends without a lock, and passes it on after the last output is gone: none overtakes another, and none is
/// received under a lock.
#[derive(Debug)]
pub(super) struct Sequence<W> {
    /// Changes under the lock of `behind`.
    next: AtomicU64,
    behind: Mutex<Behind<W>>,
}

/// What waits for a chunk before it.
#[derive(Debug)]
struct Behind<W> {
    early: BTreeMap<u64, VecDeque<Batch>>,
    early_bytes: usize,
    /// Replicas that wait until fewer outputs do.
    waiting: Vec<W>,
}

/// What follows when outputs have left.
pub(super) struct Completed<W> {
    /// Replicas that waited until fewer outputs do.
    pub(super) unblocked: Vec<W>,
    /// Whether there are outputs that had to wait for those; it is for the caller to send them.
    pub(super) has_early: bool,
}

impl<W> Default for Sequence<W> {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(0),
            behind: Mutex::default(),
        }
    }
}

impl<W> Default for Behind<W> {
    fn default() -> Self {
        Self {
            early: BTreeMap::new(),
            early_bytes: 0,
            waiting: Vec::new(),
        }
    }
}

impl<W> Completed<W> {
    /// Nobody who waited can go on.
    fn none_waiting(has_early: bool) -> Self {
        Self {
            unblocked: Vec::new(),
            has_early,
        }
    }
}

impl<W: Clone> Sequence<W> {
    /// Whether outputs of chunk `number` may leave, now and until it is complete.
    pub(super) fn is_next(&self, number: u64) -> bool {
        self.next() == number
    }

    fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Takes the last outputs of chunk `number`. One alone goes to `forward` if it may leave now; more leave one by one, by
    /// [`send_early`](Self::send_early).
    #[must_use]
    pub(super) fn complete(
        &self,
        number: u64,
        mut outputs: VecDeque<Batch>,
        forward: impl FnOnce(Batch),
    ) -> Completed<W> {
        if outputs.len() <= 1 && self.is_next(number) {
            outputs.pop_front().map(forward);
            return self.pass(self.behind.lock());
        }
        let mut behind = self.behind.lock();
        behind.early_bytes += size(&outputs);
        behind.early.insert(number, outputs);
        // Looked at under the lock: the replica that passes the right on either finds these outputs or is seen here to
        // have done so.
        Completed::none_waiting(self.is_next(number))
    }

    /// Gives to `forward` one of the outputs that had to wait for those before them, and need not any more. For a
    /// replica that was told that there are some.
    #[must_use]
    pub(super) fn send_early(&self, forward: impl FnOnce(Batch)) -> Completed<W> {
        let next = self.next();
        let (batch, is_last) = {
            let mut behind = self.behind.lock();
            let Some(outputs) = behind.early.get_mut(&next) else {
                return Completed::none_waiting(false);
            };
            let batch = outputs.pop_front();
            let is_last = outputs.is_empty();
            behind.early_bytes -= batch.as_ref().map_or(0, Batch::size);
            if is_last {
                behind.early.remove(&next);
            }
            (batch, is_last)
        };
        batch.map(forward);
        if is_last {
            return self.pass(self.behind.lock());
        }
        Completed::none_waiting(true)
    }

    /// Goes on with the next chunk.
    fn pass(&self, mut behind: MutexGuard<'_, Behind<W>>) -> Completed<W> {
        let next = self.next() + 1;
        self.next.store(next, Ordering::Release);
        Completed {
            unblocked: if behind.early_bytes < EARLY_BYTES_MAX {
                std::mem::take(&mut behind.waiting)
            } else {
                Vec::new()
            },
            has_early: behind.early.contains_key(&next),
        }
    }

    /// Whether a replica that would begin chunk `number` must wait, since the outputs of too many chunks do; if so the
    /// replica is kept until it can go on.
    pub(super) fn must_wait(&self, number: u64, replica: &W) -> bool {
        let mut behind = self.behind.lock();
        let must_wait = behind.early_bytes >= EARLY_BYTES_MAX && !self.is_next(number);
        if must_wait {
            behind.waiting.push(replica.clone());
        }
        must_wait
    }

    /// The outputs that wait for those of a chunk before them, by the numbers of their chunks.
    pub(super) fn early(&self) -> Vec<(u64, Vec<Batch>)> {
        let behind = self.behind.lock();
        let copied = |(number, outputs): (&u64, &VecDeque<Batch>)| (*number, outputs.iter().cloned().collect());
        behind.early.iter().map(copied).collect()
    }

    /// Drops what waits for a chunk before it: the pipeline has failed, and that chunk will never be complete.
    pub(super) fn abandon(&self) {
        // Dropped once the lock is free: the last of a source's events tells that the pipeline is empty.
        let abandoned = std::mem::take(&mut *self.behind.lock());
        drop(abandoned);
    }
}

fn size(outputs: &VecDeque<Batch>) -> usize {
    outputs.iter().map(Batch::size).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use dirigo_ground::batch::Column;
    use dirigo_ground::fields::Fields;
    use dirigo_ground::lineage::Ticket;

    fn output(position: u64) -> Batch {
        Batch {
            times: Arc::new(vec![0]),
            keys: Arc::new(Column::of_empty(1)),
            values: Column::of_empty(1).into(),
            fields: Fields::default(),
            positions: Arc::new(vec![position]),
            origin: Ticket::detached().into(),
        }
    }

    #[test]
    fn outputs_leave_in_the_order_of_their_chunks() {
        let sequence = Sequence::<()>::default();
        let mut left = Vec::new();
        for number in [2, 0, 3, 1] {
            let outputs = [2 * number, 2 * number + 1].map(output).into();
            let mut completed = sequence.complete(number, outputs, |_| panic!("two leave one by one"));
            assert_eq!(completed.has_early, number < 2);
            while completed.has_early {
                let before = left.len();
                completed = sequence.send_early(|batch| left.push(batch.positions[0]));
                assert_eq!(left.len(), before + 1, "one at a time");
            }
            assert!(completed.unblocked.is_empty(), "nobody waits");
        }
        assert_eq!((left, sequence.behind.lock().early_bytes), ((0..8).collect(), 0));
    }

    #[test]
    fn a_chunk_without_outputs_holds_up_none_behind_it() {
        let sequence = Sequence::<()>::default();
        let mut left = 0;
        for number in [2, 1, 0] {
            let outputs = if number == 2 {
                [output(0)].into()
            } else {
                VecDeque::new()
            };
            let mut completed = sequence.complete(number, outputs, |_| left += 1);
            while completed.has_early {
                completed = sequence.send_early(|_| left += 1);
            }
        }
        assert_eq!((left, sequence.next()), (1, 3));
    }

    #[test]
    fn to_send_is_the_right_of_who_works_on_the_chunk_whose_turn_it_is() {
        let sequence = Sequence::<()>::default();
        assert!(sequence.is_next(0) && !sequence.is_next(1));
        let mut left = Vec::new();
        let completed = sequence.complete(1, [output(1)].into(), |_| panic!("the chunk before it is not complete"));
        assert!(!completed.has_early && sequence.is_next(0));
        // What is completed while an output is on its way waits for it.
        let completed = sequence.complete(0, [output(0)].into(), |batch| {
            let behind = sequence.complete(2, [output(2)].into(), |_| panic!("others are on their way"));
            assert!(!behind.has_early && sequence.is_next(0));
            left.push(batch.positions[0]);
        });
        assert!(completed.has_early && sequence.is_next(1));
        assert!(sequence.send_early(|batch| left.push(batch.positions[0])).has_early);
        assert!(!sequence.send_early(|batch| left.push(batch.positions[0])).has_early);
        assert_eq!((left, sequence.next()), (vec![0, 1, 2], 3));
    }

    /// An output of one value of so many bytes.
    fn large(bytes: usize) -> Batch {
        let mut values = Column::default();
        values.push(&vec![b'v'; bytes]);
        Batch {
            values: values.into(),
            ..output(1)
        }
    }

    #[test]
    fn no_chunk_is_begun_while_too_many_outputs_wait_for_one_before_it() {
        let sequence = Sequence::default();
        let none = |_| panic!("chunk 0 is not complete");
        let half = || VecDeque::from([large(EARLY_BYTES_MAX / 2)]);
        assert!(!sequence.complete(1, half(), none).has_early);
        assert!(!sequence.must_wait(3, &"third"), "there is room for more");
        assert!(!sequence.complete(2, half(), none).has_early);
        assert!(sequence.must_wait(3, &"third"), "they take all that they may");
        assert!(sequence.must_wait(4, &"fourth"));
        assert!(
            !sequence.must_wait(0, &"first"),
            "the one that all wait for never waits itself"
        );

        let completed = sequence.complete(0, VecDeque::new(), |_| panic!("it puts nothing out"));
        assert!(
            completed.has_early && completed.unblocked.is_empty(),
            "nothing has left yet"
        );
        let completed = sequence.send_early(|_| {});
        assert_eq!(completed.unblocked, ["third", "fourth"]);
        assert!(!sequence.must_wait(3, &"third"));
    }
}
