//! The batches that wait for one actor.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::batch::Batch;
use crate::flow::Ticket;

/// Events that one turn takes, if as many wait: enough that entering the guest costs nothing beside them.
const TURN_EVENTS_MAX: usize = 1024;
/// Events at which no further batch is joined for an operator without state: past this, copying costs more than entering the
/// guest less often saves.
const JOIN_EVENTS_MAX: usize = 256;
/// Bytes that one turn takes; a single event may be larger.
const TURN_BYTES_MAX: usize = 1 << 20;

/// A queue of batches, and the replicas that have nothing to do.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    queue: VecDeque<Batch>,
    join_events_max: usize,
    /// Replicas that wait for a batch.
    pub(super) idle: SmallVec<[u16; 2]>,
    taken: u64,
}

/// What a replica works on in one go.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) batch: Batch,
    /// Counts the chunks of this mailbox from 0: their outputs leave in this order.
    pub(super) number: u64,
    /// Shares in every batch that is joined in it: nothing of them is done with before all of the chunk is.
    pub(super) tickets: SmallVec<[Arc<Ticket>; 4]>,
}

impl Mailbox {
    /// An empty one, for an actor with so many replicas. One with state joins more: keys that come again in a turn cross
    /// into the guest once.
    pub(super) fn new(replicas: u16, is_stateful: bool) -> Self {
        Self {
            idle: (0..replicas).collect(),
            join_events_max: if is_stateful { TURN_EVENTS_MAX } else { JOIN_EVENTS_MAX },
            ..Self::default()
        }
    }

    /// Adds a batch; gives the replica that should be woken for it.
    pub(super) fn push(&mut self, batch: Batch) -> Option<u16> {
        self.queue.push_back(batch);
        self.idle.pop()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// When the oldest of what waits arrived, in ns on the host's clock.
    pub(super) fn oldest_arrival_ns(&self) -> Option<u64> {
        self.queue.front().map(|batch| batch.origin.ticket.arrival_ns())
    }

    /// Takes as many batches as make a good turn, joined; all come from one source by one path.
    pub(super) fn take(&mut self) -> Option<Chunk> {
        let first = self.queue.pop_front()?;
        let number = self.taken;
        self.taken += 1;
        if first.len() > TURN_EVENTS_MAX {
            self.queue.push_front(first.slice(TURN_EVENTS_MAX..first.len()));
            let batch = first.slice(0..TURN_EVENTS_MAX);
            return Some(Chunk {
                tickets: SmallVec::new(),
                batch,
                number,
            });
        }
        let (mut events, mut bytes) = (first.len(), first.size());
        let mut joined: SmallVec<[Batch; 4]> = SmallVec::new();
        joined.push(first);
        while let Some(next) = self.queue.front() {
            events += next.len();
            bytes += next.size();
            if events > self.join_events_max || bytes > TURN_BYTES_MAX || !next.joins(&joined[0]) {
                break;
            }
            joined.extend(self.queue.pop_front());
        }
        if joined.len() == 1 {
            return Some(Chunk {
                batch: joined.remove(0),
                number,
                tickets: SmallVec::new(),
            });
        }
        let tickets = joined.iter().map(|batch| batch.origin.ticket.clone()).collect();
        Some(Chunk {
            batch: Batch::concat(&joined),
            number,
            tickets,
        })
    }

    /// Drops what waits; says how many events and bytes that were.
    pub(super) fn clear(&mut self) -> (usize, usize) {
        let dropped = std::mem::take(&mut self.queue);
        (
            dropped.iter().map(Batch::len).sum(),
            dropped.iter().map(Batch::size).sum(),
        )
    }
}
