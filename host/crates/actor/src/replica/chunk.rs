//! The chunk that a replica works on: what is left of it, and what it has put out so far.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use crate::Operator;
use crate::mailbox::{Chunk, MailboxItem, Tickets};
use dirigo_ground::batch::Batch;
use dirigo_state::Partials;

/// A chunk that is not finished.
pub(crate) struct OpenChunk {
    pub(super) number: u64,
    /// In the order in which they leave.
    pub(super) outputs: VecDeque<Batch>,
    /// What has had no effect yet, the next part last: usually there is one. A turn under way is over that one.
    parts: SmallVec<[ChunkPart; 1]>,
    /// The numbers of its events, where they are told apart.
    twins: Vec<u32>,
    /// How many of its events were taken out to be run, and not put back.
    run: usize,
    /// Held so that nothing of the chunk is done with before all of it is.
    pub(super) tickets: Tickets,
}

/// Part of a chunk that is run as one turn.
pub(crate) struct ChunkPart {
    pub(crate) batch: Batch,
    /// How often its events were tried before.
    pub(crate) attempts: u32,
    /// What a helper folded them to.
    pub(crate) partials: Option<Arc<Partials>>,
}

impl ChunkPart {
    /// Notes that what a helper folded of it is of no use, if one did.
    pub(super) fn note_wasted(&self, operator: &Operator) {
        if self.partials.is_some() {
            operator.help.note_wasted(self.batch.len());
        }
    }

    /// Its events, without what a helper folded them to.
    pub(super) fn alone(self) -> Self {
        Self { partials: None, ..self }
    }
}

impl OpenChunk {
    /// What a mailbox gave. What is done already only leaves. Events that are told apart make turns of their own where they meet state:
    /// a fold is one call.
    pub(super) fn new(chunk: Chunk, is_stateful: bool) -> Self {
        let Chunk {
            batch,
            is_done,
            number,
            tickets,
            partials,
            twins,
        } = chunk;
        let (outputs, parts) = if is_done {
            (VecDeque::from([batch]), SmallVec::new())
        } else if batch.is_empty() {
            (VecDeque::new(), SmallVec::new())
        } else {
            let part = ChunkPart {
                batch,
                attempts: 0,
                partials,
            };
            (VecDeque::new(), smallvec![part])
        };
        let mut chunk = Self {
            number,
            outputs,
            parts,
            run: 0,
            tickets,
            twins,
        };
        if is_stateful && !chunk.twins.is_empty() {
            let cuts: Vec<usize> = (1..chunk.twins.len()).collect();
            chunk.cut_next_at(&cuts);
        }
        chunk
    }

    /// The numbers of the events of the part that is run next or is being run, where they are told apart.
    pub(super) fn twins(&self) -> Option<&[u32]> {
        let events = self.next()?.batch.len();
        self.twins.get(self.run..self.run + events)
    }

    /// Whether nothing of it is left but outputs.
    pub(super) fn is_done(&self) -> bool {
        self.parts.is_empty()
    }

    /// The part that is run next, or is being run.
    pub(crate) fn next(&self) -> Option<&ChunkPart> {
        self.parts.last()
    }

    /// Takes out the part that was run.
    pub(super) fn take_next(&mut self) -> Option<ChunkPart> {
        let part = self.parts.pop()?;
        self.run += part.batch.len();
        Some(part)
    }

    /// What has had no effect yet, in order.
    pub(super) fn parts(&self) -> impl Iterator<Item = &ChunkPart> {
        self.parts.iter().rev()
    }

    /// Has the events of the next part run as they are, whatever a helper folded them to.
    pub(super) fn forget_partials(&mut self) {
        if let Some(part) = self.parts.last_mut() {
            part.partials = None;
        }
    }

    /// Puts a part back in front of the others.
    pub(crate) fn put_back(&mut self, part: ChunkPart) {
        self.run -= part.batch.len();
        self.parts.push(part);
    }

    /// Cuts the next part before event `at`, and leaves what is behind to a turn of its own.
    pub(crate) fn cut_next(&mut self, at: usize) {
        self.cut_next_at(&[at]);
    }

    fn cut_next_at(&mut self, cuts: &[usize]) {
        if let Some(ChunkPart { batch, attempts, .. }) = self.take_next() {
            self.put_back_pieces(&batch, attempts, cuts);
        }
    }

    /// Puts a batch back in front of what is left, cut at these places.
    pub(super) fn put_back_pieces(&mut self, batch: &Batch, attempts: u32, cuts: &[usize]) {
        let ends = cuts.iter().copied().chain([batch.len()]);
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let ranges: SmallVec<[_; 4]> = starts
            .zip(ends)
            .map(|(start, end)| start..end)
            .filter(|range| !range.is_empty())
            .collect();
        for range in ranges.into_iter().rev() {
            self.put_back(ChunkPart {
                batch: batch.slice(range),
                attempts,
                partials: None,
            });
        }
    }

    /// It, as it would wait in a mailbox: outputs first, then what has had no effect yet, that of a turn under way included.
    pub(super) fn item(&self) -> Vec<MailboxItem> {
        let done = self.outputs.iter().cloned().map(MailboxItem::done);
        let left = self.parts().map(|part| MailboxItem::of(part.batch.clone()));
        done.chain(left).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirigo_ground::batch::Column;
    use dirigo_ground::fields::Fields;
    use dirigo_ground::lineage::Ticket;

    fn numbered(events: u64, is_done: bool, twins: Vec<u32>) -> OpenChunk {
        let batch = Batch {
            times: Arc::new(vec![0; events.try_into().unwrap()]),
            keys: Arc::new(Column::of_empty(events.try_into().unwrap())),
            values: Column::of_empty(events.try_into().unwrap()).into(),
            fields: Fields::default(),
            positions: Arc::new((0..events).collect()),
            origin: Ticket::detached().into(),
        };
        let chunk = Chunk {
            batch,
            is_done,
            number: 0,
            tickets: SmallVec::new(),
            partials: None,
            twins,
        };
        OpenChunk::new(chunk, true)
    }

    fn chunk(events: u64, is_done: bool) -> OpenChunk {
        numbered(events, is_done, Vec::new())
    }

    fn positions(chunk: &OpenChunk) -> Vec<Vec<u64>> {
        chunk.parts().map(|part| part.batch.positions.to_vec()).collect()
    }

    #[test]
    fn what_is_put_back_is_run_before_what_is_left_and_in_its_order() {
        let mut chunk = chunk(8, false);
        chunk.cut_next(6);
        assert_eq!(positions(&chunk), [vec![0, 1, 2, 3, 4, 5], vec![6, 7]]);
        let part = chunk.take_next().expect("there are two");
        chunk.put_back_pieces(&part.batch, part.attempts + 1, &[0, 1, 4, 5]);
        assert_eq!(
            positions(&chunk),
            [vec![0], vec![1, 2, 3], vec![4], vec![5], vec![6, 7]]
        );
        let attempts: Vec<u32> = chunk.parts().map(|part| part.attempts).collect();
        assert_eq!(attempts, [1, 1, 1, 1, 0]);
    }

    #[test]
    fn a_chunk_goes_back_as_outputs_and_then_all_that_has_had_no_effect() {
        let mut chunk = chunk(4, false);
        chunk.cut_next(1);
        let first = chunk.take_next().expect("there are two").batch;
        chunk.outputs.push_back(first);
        chunk.cut_next(2);
        let item = chunk.item();
        let of = |item: &MailboxItem| (item.batch.positions.to_vec(), item.is_done);
        let expected = [(vec![0], true), (vec![1, 2], false), (vec![3], false)];
        assert!(item.iter().map(of).eq(expected));
    }

    #[test]
    fn events_that_are_told_apart_are_run_alone_and_keep_their_numbers() {
        let mut chunk = numbered(3, false, vec![0, 1, 7]);
        assert_eq!(positions(&chunk), [[0], [1], [2]]);
        assert_eq!(chunk.twins(), Some(&[0][..]));
        let part = chunk.take_next().expect("there are three");
        assert_eq!(chunk.twins(), Some(&[1][..]));
        chunk.put_back(part);
        assert_eq!(chunk.twins(), Some(&[0][..]), "it is tried again");
        let _ = (chunk.take_next(), chunk.take_next());
        assert_eq!((chunk.twins(), positions(&chunk)), (Some(&[7][..]), vec![vec![2]]));
    }

    #[test]
    fn what_is_done_already_only_leaves() {
        let chunk = chunk(3, true);
        assert!(chunk.is_done() && chunk.next().is_none());
        assert_eq!(chunk.outputs.len(), 1);
    }
}
