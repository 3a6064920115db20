//! Outputs, in the order of the events that they come from.
//!
//! Replicas of a stateless actor take chunks of its mailbox side by side; what they put out leaves in the order in which the
//! chunks were taken.

use std::collections::BTreeMap;

use super::Cell;
use crate::batch::Batch;

/// Bytes of outputs that may wait for those of a chunk before them. Past it no replica begins a chunk that would have to
/// wait too: one slow event holds back an actor, and not the host's memory.
const EARLY_BYTES_MAX: usize = 16 << 20;

/// Which chunk's outputs leave next, and those that must wait for it.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    next: u64,
    early: BTreeMap<u64, Vec<Batch>>,
    early_bytes: usize,
    /// Replicas that wait until fewer outputs do.
    waiting: Vec<Cell>,
}

impl Sequence {
    /// Takes outputs of chunk `number` where they may leave at once, and gives them to `forward`.
    pub(super) fn offer(&self, number: u64, outputs: &mut Vec<Batch>, forward: impl FnMut(Batch)) {
        if number == self.next {
            outputs.drain(..).for_each(forward);
        }
    }

    /// Takes the last outputs of chunk `number`; gives to `forward` whatever may leave now. The replicas that it returns can
    /// go on.
    #[must_use]
    pub(super) fn complete(&mut self, number: u64, outputs: Vec<Batch>, mut forward: impl FnMut(Batch)) -> Vec<Cell> {
        if number != self.next {
            self.early_bytes += size(&outputs);
            self.early.insert(number, outputs);
            return Vec::new();
        }
        outputs.into_iter().for_each(&mut forward);
        self.next += 1;
        while let Some(outputs) = self.early.remove(&self.next) {
            self.early_bytes -= size(&outputs);
            outputs.into_iter().for_each(&mut forward);
            self.next += 1;
        }
        if self.early_bytes < EARLY_BYTES_MAX {
            std::mem::take(&mut self.waiting)
        } else {
            Vec::new()
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
    pub(super) fn early(&self) -> impl Iterator<Item = (u64, &[Batch])> {
        self.early.iter().map(|(number, outputs)| (*number, outputs.as_slice()))
    }

    /// Takes what waits for a chunk before it: the pipeline has failed, and that chunk will never be complete.
    pub(super) fn abandon(&mut self) -> impl Sized + use<> {
        self.early_bytes = 0;
        (std::mem::take(&mut self.early), std::mem::take(&mut self.waiting))
    }
}

fn size(outputs: &[Batch]) -> usize {
    outputs.iter().map(Batch::size).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::batch::Column;
    use crate::flow::Ticket;

    fn output(position: u64) -> Vec<Batch> {
        vec![Batch {
            times: Arc::new(vec![0]),
            keys: Arc::new(Column::of_empty(1)),
            values: Arc::new(Column::of_empty(1)),
            positions: Arc::new(vec![position]),
            origin: Ticket::detached().into(),
        }]
    }

    #[test]
    fn outputs_leave_in_the_order_of_their_chunks() {
        let mut sequence = Sequence::default();
        let mut left = Vec::new();
        for number in [2, 0, 3, 1] {
            let woken = sequence.complete(number, output(number), |batch| left.push(batch.positions[0]));
            assert!(woken.is_empty(), "nobody waits");
        }
        assert_eq!((left, sequence.early_bytes), (vec![0, 1, 2, 3], 0));
    }

    #[test]
    fn outputs_of_the_chunk_whose_turn_it_is_leave_before_it_is_complete() {
        let sequence = Sequence::default();
        let (mut first, mut second) = (output(0), output(1));
        sequence.offer(1, &mut second, |_| panic!("the chunk before it is not complete"));
        let mut left = 0;
        sequence.offer(0, &mut first, |_| left += 1);
        assert_eq!((left, first.len(), second.len()), (1, 0, 1));
    }
}
