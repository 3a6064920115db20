//! Outputs, in the order of the events that they come from.
//!
//! Replicas of a stateless actor take chunks of its mailbox side by side; what they put out leaves in the order in which the
//! chunks were taken.

use std::collections::BTreeMap;

use crate::batch::Batch;

/// Which chunk's outputs leave next, and those that must wait for it.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    next: u64,
    early: BTreeMap<u64, Vec<Batch>>,
}

impl Sequence {
    /// Takes all outputs of chunk `number`; gives to `forward` whatever may leave now.
    pub(super) fn complete(&mut self, number: u64, outputs: Vec<Batch>, mut forward: impl FnMut(Batch)) {
        if number != self.next {
            self.early.insert(number, outputs);
            return;
        }
        outputs.into_iter().for_each(&mut forward);
        self.next += 1;
        while let Some(outputs) = self.early.remove(&self.next) {
            outputs.into_iter().for_each(&mut forward);
            self.next += 1;
        }
    }

    /// Takes what waits for a chunk before it: the pipeline has failed, and that chunk will never be complete.
    pub(super) fn abandon(&mut self) -> impl Drop + use<> {
        std::mem::take(&mut self.early)
    }
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
            sequence.complete(number, output(number), |batch| left.push(batch.positions[0]));
        }
        assert_eq!(left, [0, 1, 2, 3]);
    }
}
