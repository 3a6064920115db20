//! Outputs, in the order of the events that they come from.
//!
//! Replicas of a stateless actor take chunks of its mailbox side by side; what they put out leaves in the order in which the
//! chunks were taken.

use std::collections::{BTreeMap, VecDeque};

use super::Cell;
use dirigo_ground::batch::Batch;

/// Bytes of outputs that may wait for those of a chunk before them. Past it no replica begins a chunk that would have to
/// wait too: one slow event holds back an actor, and not the host's memory.
const EARLY_BYTES_MAX: usize = 16 << 20;

/// Which chunk's outputs leave next, and those that must wait for it.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    next: u64,
    early: BTreeMap<u64, VecDeque<Batch>>,
    early_bytes: usize,
    /// Replicas that wait until fewer outputs do.
    waiting: Vec<Cell>,
}

/// What follows when outputs have left.
#[derive(Default)]
pub(super) struct Completed {
    /// Replicas that waited until fewer outputs do.
    pub(super) can_go_on: Vec<Cell>,
    /// Whether there are outputs that had to wait for those.
    pub(super) has_early: bool,
}

impl Sequence {
    /// Gives one of the outputs of chunk `number` to `forward`, if it may leave now; whether there was one.
    pub(super) fn offer(&self, number: u64, outputs: &mut VecDeque<Batch>, forward: impl FnOnce(Batch)) -> bool {
        let batch = if number == self.next { outputs.pop_front() } else { None };
        batch.map(forward).is_some()
    }

    /// Takes the last outputs of chunk `number`. One alone goes to `forward` if it may leave now; more leave one by one, by
    /// [`offer_early`](Self::offer_early).
    #[must_use]
    pub(super) fn complete(
        &mut self,
        number: u64,
        mut outputs: VecDeque<Batch>,
        forward: impl FnOnce(Batch),
    ) -> Completed {
        let is_next = number == self.next;
        if is_next && outputs.len() <= 1 {
            outputs.pop_front().map(forward);
            return self.pass();
        }
        self.early_bytes += size(&outputs);
        self.early.insert(number, outputs);
        Completed {
            can_go_on: Vec::new(),
            has_early: is_next,
        }
    }

    /// Gives to `forward` one of the outputs that had to wait for those before them, and need not any more.
    #[must_use]
    pub(super) fn offer_early(&mut self, forward: impl FnOnce(Batch)) -> Completed {
        let Some(outputs) = self.early.get_mut(&self.next) else {
            return Completed::default();
        };
        if let Some(batch) = outputs.pop_front() {
            self.early_bytes -= batch.size();
            forward(batch);
        }
        if outputs.is_empty() {
            self.early.remove(&self.next);
            return self.pass();
        }
        Completed {
            can_go_on: Vec::new(),
            has_early: true,
        }
    }

    /// Goes on with the next chunk.
    fn pass(&mut self) -> Completed {
        self.next += 1;
        Completed {
            can_go_on: if self.early_bytes < EARLY_BYTES_MAX {
                std::mem::take(&mut self.waiting)
            } else {
                Vec::new()
            },
            has_early: self.early.contains_key(&self.next),
        }
    }

    /// Whether a replica that would begin chunk `number` must wait, since the outputs of too many chunks do; if so `cell`
    /// is kept until it can go on.
    pub(super) fn must_wait(&mut self, number: u64, cell: &Cell) -> bool {
        let must_wait = number != self.next && self.early_bytes >= EARLY_BYTES_MAX;
        if must_wait {
            self.waiting.push(cell.clone());
        }
        must_wait
    }

    /// The outputs that wait for those of a chunk before them, by the numbers of their chunks.
    pub(super) fn early(&self) -> impl Iterator<Item = (u64, &VecDeque<Batch>)> {
        self.early.iter().map(|(number, outputs)| (*number, outputs))
    }

    /// Takes what waits for a chunk before it: the pipeline has failed, and that chunk will never be complete.
    pub(super) fn abandon(&mut self) -> impl Sized + use<> {
        self.early_bytes = 0;
        (std::mem::take(&mut self.early), std::mem::take(&mut self.waiting))
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
    use dirigo_ground::lineage::Ticket;

    fn output(position: u64) -> Batch {
        Batch {
            times: Arc::new(vec![0]),
            keys: Arc::new(Column::of_empty(1)),
            values: Arc::new(Column::of_empty(1)),
            positions: Arc::new(vec![position]),
            origin: Ticket::detached().into(),
        }
    }

    #[test]
    fn outputs_leave_in_the_order_of_their_chunks() {
        let mut sequence = Sequence::default();
        let mut left = Vec::new();
        for number in [2, 0, 3, 1] {
            let outputs = [2 * number, 2 * number + 1].map(output).into();
            let mut completed = sequence.complete(number, outputs, |_| panic!("two leave one by one"));
            assert_eq!(completed.has_early, number < 2);
            while completed.has_early {
                let before = left.len();
                completed = sequence.offer_early(|batch| left.push(batch.positions[0]));
                assert_eq!(left.len(), before + 1, "one at a time");
            }
            assert!(completed.can_go_on.is_empty(), "nobody waits");
        }
        assert_eq!((left, sequence.early_bytes), ((0..8).collect(), 0));
    }

    #[test]
    fn a_chunk_without_outputs_holds_up_none_behind_it() {
        let mut sequence = Sequence::default();
        let mut left = 0;
        for number in [2, 1, 0] {
            let outputs = if number == 2 {
                [output(0)].into()
            } else {
                VecDeque::new()
            };
            let mut completed = sequence.complete(number, outputs, |_| left += 1);
            while completed.has_early {
                completed = sequence.offer_early(|_| left += 1);
            }
        }
        assert_eq!((left, sequence.next), (1, 3));
    }

    #[test]
    fn outputs_of_the_chunk_whose_turn_it_is_leave_before_it_is_complete() {
        let sequence = Sequence::default();
        let mut outputs: VecDeque<_> = [output(0), output(1)].into();
        assert!(!sequence.offer(1, &mut outputs, |_| panic!("the chunk before it is not complete")));
        let mut left = 0;
        assert!(sequence.offer(0, &mut outputs, |_| left += 1));
        assert_eq!((left, outputs.len()), (1, 1), "one at a time");
    }
}
