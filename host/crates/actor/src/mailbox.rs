//! The batches that wait for one actor.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use super::resharding::Resharding;
use super::twins::Twins;
use dirigo_ground::batch::Batch;
use dirigo_ground::lineage::Ticket;

/// Bytes that one turn takes; a single event may be larger.
const TURN_BYTES_MAX: usize = 1 << 20;

/// A queue of batches, and the replicas that have nothing to do.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    queue: VecDeque<MailboxItem>,
    /// How many events of the front batch were taken before: one larger than a turn leaves in pieces.
    begun: usize,
    /// Replicas that wait for a batch.
    idle: SmallVec<[u16; 2]>,
    /// Replicas that take no batch: there are more than are allowed.
    resting: SmallVec<[u16; 2]>,
    /// How many replicas take batches: those with lower numbers.
    allowed: u16,
    taken: u64,
    /// What numbers the events that are taken, where an operator must tell apart those of one origin.
    twins: Option<Twins>,
    /// What its actor's keys go through, where they are to go to other actors: it takes nothing out any more.
    resharding: Option<Arc<Resharding>>,
    /// Whether its actor has left the directory: nothing is added any more.
    is_retired: bool,
}

/// What a replica does next.
#[derive(Debug)]
pub(super) enum Next {
    /// It works on this.
    Run(Chunk),
    /// It waits until a batch comes, or it is allowed to take one again.
    Wait,
    /// It gives its keys up.
    Leave(Arc<Resharding>),
}

/// What waits in a mailbox.
#[derive(Clone, Debug)]
pub(super) struct MailboxItem {
    pub(super) batch: Batch,
    /// Whether these are outputs already, which a checkpoint found behind those of a chunk that was not finished: they only
    /// leave in their order.
    pub(super) is_done: bool,
}

/// What a replica works on in one go.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) batch: Batch,
    /// See [`MailboxItem::is_done`].
    pub(super) is_done: bool,
    /// Counts the chunks of this mailbox from 0: their outputs leave in this order.
    pub(super) number: u64,
    /// Shares in every batch that is joined in it: nothing of them is done with before all of the chunk is.
    pub(super) tickets: SmallVec<[Arc<Ticket>; 4]>,
    /// The [numbers](Twins::number) of its events, where they are told apart. Each is then run alone.
    pub(super) twins: Vec<u32>,
}

impl Mailbox {
    /// An empty one, for an actor with so many replicas of which some are allowed to take batches, of an operator that is handed one event at a
    /// time or not.
    pub(super) fn new(replicas: u16, allowed: u16, is_per_event: bool) -> Self {
        Self {
            idle: (0..allowed.min(replicas)).rev().collect(),
            resting: (allowed..replicas).collect(),
            allowed,
            twins: is_per_event.then(Twins::default),
            ..Self::default()
        }
    }

    /// Adds a batch, and gives the replica that should be woken for it; gives the batch back if it is retired.
    pub(super) fn push(&mut self, item: MailboxItem) -> Result<Option<u16>, MailboxItem> {
        if self.is_retired {
            return Err(item);
        }
        self.queue.push_back(item);
        Ok(self.idle.pop())
    }

    /// Takes nothing any more, unless something waits or is worked on by one of so many replicas; whether that is so.
    pub(super) fn retire(&mut self, replicas: usize) -> bool {
        self.is_retired |= self.queue.is_empty() && self.idle.len() == replicas;
        self.is_retired
    }

    /// Takes out the first item that waits, or what is left of it, for another mailbox.
    pub(super) fn pop(&mut self) -> Option<MailboxItem> {
        let MailboxItem { batch, is_done } = self.queue.pop_front()?;
        let begun = std::mem::take(&mut self.begun);
        let batch = if begun > 0 {
            batch.slice(begun..batch.len())
        } else {
            batch
        };
        Some(MailboxItem { batch, is_done })
    }

    /// Adds an item without waking a replica.
    pub(super) fn hold(&mut self, item: MailboxItem) {
        self.queue.push_back(item);
    }

    /// The replica that should be woken for what is held.
    pub(super) fn wake(&mut self) -> Option<u16> {
        if self.queue.is_empty() { None } else { self.idle.pop() }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes nothing any more: other actors have its keys.
    pub(super) fn hand_over(&mut self) {
        debug_assert!(self.queue.is_empty(), "what waited went to others before");
        self.is_retired = true;
        self.resharding = None;
    }

    /// Whether its actor has left the directory.
    pub(super) fn is_retired(&self) -> bool {
        self.is_retired
    }

    /// Has its actor's keys go to other actors as soon as no replica works on a batch. Gives the replica that should be woken for that.
    pub(super) fn leave(&mut self, resharding: Arc<Resharding>) -> Option<u16> {
        self.resharding = Some(resharding);
        self.idle.pop()
    }

    /// Lets so many replicas take batches. Gives those that should be woken.
    pub(super) fn allow(&mut self, replicas: u16) -> SmallVec<[u16; 2]> {
        self.allowed = replicas;
        let resting = std::mem::take(&mut self.resting);
        let (idle, resting) = resting.into_iter().partition(|replica| *replica < replicas);
        self.resting = resting;
        let more: SmallVec<[u16; 2]> = idle;
        self.idle.extend(more);
        let idle = std::mem::take(&mut self.idle);
        let (mut idle, rests): (SmallVec<[u16; 2]>, SmallVec<[u16; 2]>) =
            idle.into_iter().partition(|replica| *replica < replicas);
        self.resting.extend(rests);
        idle.sort_unstable_by(|one, other| other.cmp(one));
        let woken = idle.len().min(self.queue.len());
        let woken = idle.drain(idle.len() - woken..).collect();
        self.idle = idle;
        woken
    }

    /// Whether a replica takes no batches.
    pub(super) fn is_resting(&self, replica: u16) -> bool {
        replica >= self.allowed
    }

    /// Everything that waits, in order.
    pub(super) fn waiting(&self) -> impl Iterator<Item = MailboxItem> {
        let rest = |(index, item): (usize, &MailboxItem)| MailboxItem {
            batch: self.rest(index, &item.batch),
            is_done: item.is_done,
        };
        self.queue.iter().enumerate().map(rest)
    }

    /// What was not taken yet of the batch at `index`.
    fn rest(&self, index: usize, batch: &Batch) -> Batch {
        if index == 0 && self.begun > 0 {
            batch.slice(self.begun..batch.len())
        } else {
            batch.clone()
        }
    }

    /// The number of the chunk that is taken next.
    pub(super) fn next_number(&self) -> u64 {
        self.taken
    }

    /// When the oldest of what waits arrived, in ns on the host's clock.
    pub(super) fn oldest_arrival_ns(&self) -> Option<u64> {
        self.queue.front().map(|item| item.batch.origin.ticket.arrival_ns())
    }

    /// What a replica that works on nothing does next. Idle is decided here, under the lock: a batch that comes later finds it among the idle.
    pub(super) fn next(&mut self, replica: u16, events_max: usize) -> Next {
        if let Some(resharding) = &self.resharding {
            return Next::Leave(resharding.clone());
        }
        if self.is_resting(replica) {
            self.resting.push(replica);
            return Next::Wait;
        }
        self.take(events_max).map_or_else(
            || {
                self.idle.push(replica);
                Next::Wait
            },
            Next::Run,
        )
    }

    /// Takes as many batches as make a good turn, joined; all come from one source by one path.
    fn take(&mut self, events_max: usize) -> Option<Chunk> {
        let mut chunk = self.take_joined(events_max)?;
        if let Some(twins) = self.twins.as_mut().filter(|_| !chunk.is_done) {
            chunk.twins = twins.number(&chunk.batch);
        }
        Some(chunk)
    }

    fn take_joined(&mut self, events_max: usize) -> Option<Chunk> {
        let MailboxItem { batch: front, is_done } = self.queue.front()?;
        let is_done = *is_done;
        let number = self.taken;
        self.taken += 1;
        let begun = std::mem::take(&mut self.begun);
        if front.len() - begun > events_max && !is_done {
            self.begun = begun + events_max;
            return Some(Chunk {
                tickets: SmallVec::new(),
                twins: Vec::new(),
                batch: front.slice(begun..self.begun),
                is_done,
                number,
            });
        }
        let MailboxItem { batch: mut first, .. } = self.queue.pop_front().expect("there is a front");
        if begun > 0 {
            first = first.slice(begun..first.len());
        }
        let (mut events, mut bytes) = (first.len(), first.size());
        let mut joined: SmallVec<[Batch; 4]> = SmallVec::new();
        joined.push(first);
        while let Some(next) = self.queue.front().filter(|next| !next.is_done && !is_done) {
            events += next.batch.len();
            bytes += next.batch.size();
            if events > events_max || bytes > TURN_BYTES_MAX || !next.batch.joins(&joined[0]) {
                break;
            }
            joined.extend(self.queue.pop_front().map(|item| item.batch));
        }
        if joined.len() == 1 {
            return Some(Chunk {
                batch: joined.remove(0),
                is_done,
                number,
                tickets: SmallVec::new(),
                twins: Vec::new(),
            });
        }
        let tickets = joined.iter().map(|batch| batch.origin.ticket.clone()).collect();
        Some(Chunk {
            batch: Batch::concat(&joined),
            is_done,
            number,
            tickets,
            twins: Vec::new(),
        })
    }

    /// Takes out everything that waits, in order.
    pub(super) fn clear(&mut self) -> Vec<MailboxItem> {
        let waiting = self.waiting().collect();
        self.queue.clear();
        self.begun = 0;
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirigo_ground::batch::Column;
    use dirigo_ground::fields::Fields;

    const TURN_EVENTS: usize = 1024;

    /// A batch of the positions from `first`.
    fn batch(first: u64, events: usize) -> Batch {
        Batch {
            times: Arc::new(vec![0; events]),
            keys: Arc::new(Column::of_empty(events)),
            values: Column::of_empty(events).into(),
            fields: Fields::default(),
            positions: Arc::new((first..).take(events).collect()),
            origin: Ticket::detached().into(),
        }
    }

    /// Gives the replica that is woken.
    fn push(mailbox: &mut Mailbox, batch: Batch) -> Option<u16> {
        let woken = mailbox.push(MailboxItem { batch, is_done: false });
        woken.expect("it is not retired")
    }

    fn taken(mailbox: &mut Mailbox) -> Vec<Vec<u64>> {
        std::iter::from_fn(|| mailbox.take(TURN_EVENTS))
            .map(|chunk| chunk.batch.positions.to_vec())
            .collect()
    }

    #[test]
    fn a_batch_larger_than_a_turn_leaves_in_pieces_and_in_order() {
        let mut mailbox = Mailbox::new(1, 1, false);
        push(&mut mailbox, batch(0, 3 * TURN_EVENTS + 5));
        push(&mut mailbox, batch(10_000, 2));
        let pieces = taken(&mut mailbox);
        let sizes: Vec<usize> = pieces.iter().map(Vec::len).collect();
        let turn = TURN_EVENTS;
        assert_eq!(
            sizes,
            [turn, turn, turn, 7],
            "the last piece is joined with what follows"
        );
        let all = (0..3 * turn as u64 + 5).chain(10_000..10_002);
        assert!(pieces.into_iter().flatten().eq(all));
    }

    #[test]
    fn what_a_turn_has_taken_of_a_batch_is_not_dropped_again() {
        let mut mailbox = Mailbox::new(1, 1, false);
        let whole = batch(0, TURN_EVENTS + 10);
        push(&mut mailbox, whole.clone());
        let taken = mailbox.take(TURN_EVENTS).expect("a batch waits").batch;
        let dropped: Vec<Batch> = mailbox.clear().into_iter().map(|item| item.batch).collect();
        let [rest] = &dropped[..] else {
            panic!("one batch waits")
        };
        assert_eq!(
            (taken.len() + rest.len(), taken.size() + rest.size()),
            (whole.len(), whole.size())
        );
        assert!(mailbox.take(TURN_EVENTS).is_none());
    }

    #[test]
    fn a_mailbox_retires_only_at_rest_and_gives_back_what_comes_after() {
        let mut mailbox = Mailbox::new(1, 1, false);
        assert_eq!(push(&mut mailbox, batch(0, 1)), Some(0));
        assert!(!mailbox.retire(1), "a batch waits");
        mailbox.take(TURN_EVENTS).expect("a batch waits");
        assert!(!mailbox.retire(1), "a batch is worked on");
        mailbox.idle.push(0);
        assert!(mailbox.retire(1));
        let late = MailboxItem {
            batch: batch(1, 3),
            is_done: false,
        };
        assert_eq!(mailbox.push(late).expect_err("it is retired").batch.len(), 3);
    }

    /// What a replica does next: how many events it takes, if it does.
    fn next(mailbox: &mut Mailbox, replica: u16) -> Option<usize> {
        match mailbox.next(replica, TURN_EVENTS) {
            Next::Run(chunk) => Some(chunk.batch.len()),
            Next::Wait => None,
            Next::Leave(_) => panic!("no keys leave"),
        }
    }

    #[test]
    fn only_replicas_that_are_allowed_are_woken_and_take_batches() {
        let mut mailbox = Mailbox::new(3, 1, false);
        assert_eq!(push(&mut mailbox, batch(0, TURN_EVENTS)), Some(0));
        assert_eq!(push(&mut mailbox, batch(5_000, TURN_EVENTS)), None, "others rest");
        assert_eq!(&mailbox.allow(3)[..], [2, 1], "two batches wait");
        assert!(mailbox.allow(2).is_empty());
        assert_eq!(next(&mut mailbox, 2), None, "it is no longer allowed");
        assert_eq!(next(&mut mailbox, 1), Some(TURN_EVENTS));
        assert_eq!(next(&mut mailbox, 0), Some(TURN_EVENTS));
        assert_eq!(next(&mut mailbox, 1), None);
        assert_eq!(push(&mut mailbox, batch(10_000, 1)), Some(1));
    }
}
