//! The batches that wait for one actor.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use super::resharding::Resharding;
use super::twins::Twins;
use dirigo_ground::batch::Batch;
use dirigo_ground::lineage::Ticket;
use dirigo_state::Partials;

/// Bytes that one turn takes; a single event may be larger.
const TURN_BYTES_MAX: usize = 1 << 20;

/// The replica that keeps the state of an actor.
pub(super) const OWNER: u16 = 0;

/// A queue of batches, and the replicas that have nothing to do.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    queue: VecDeque<MailboxItem>,
    /// What only the owner of the state may take, before anything else: what helpers folded or gave back, and events of theirs that may be late.
    for_owner: VecDeque<MailboxItem>,
    /// Whether one replica keeps state, and the others help it.
    has_owner: bool,
    /// How many replicas there are.
    replicas: u16,
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
    /// It works on this chunk; the other replica, if any, is to be woken.
    Run(Chunk, Option<u16>),
    /// It waits until a batch comes or it may take one again; the other replica, if any, waited for that and is to be woken.
    Wait(Option<u16>),
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
    /// What a helper did with it, if one did.
    pub(super) helped: Option<Box<Helped>>,
}

/// What a helper did with events.
#[derive(Clone, Debug)]
pub(super) struct Helped {
    /// What it folded them to; `None` where it could not, or nothing would be gained by it.
    pub(super) partials: Option<Arc<Partials>>,
    /// Shares in every batch that was joined in its chunk.
    pub(super) tickets: Tickets,
}

/// Shares in batches: nothing of them is done with while one is held.
pub(super) type Tickets = SmallVec<[Arc<Ticket>; 4]>;

/// What a replica works on in one go.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) batch: Batch,
    /// See [`MailboxItem::is_done`].
    pub(super) is_done: bool,
    /// Counts the chunks of this mailbox from 0: their outputs leave in this order.
    pub(super) number: u64,
    /// Shares in every batch that is joined in it: nothing of them is done with before all of the chunk is.
    pub(super) tickets: Tickets,
    /// What a helper folded it to.
    pub(super) partials: Option<Arc<Partials>>,
    /// The [numbers](Twins::number) of its events, where they are told apart. Each is then run alone.
    pub(super) twins: Vec<u32>,
}

impl MailboxItem {
    /// Events that wait.
    pub(super) fn of(batch: Batch) -> Self {
        Self {
            batch,
            is_done: false,
            helped: None,
        }
    }

    /// Outputs that only leave.
    pub(super) fn done(batch: Batch) -> Self {
        Self {
            is_done: true,
            ..Self::of(batch)
        }
    }

    /// These of its events, without what they were folded to.
    pub(super) fn with(&self, batch: Batch) -> Self {
        let tickets = |helped: &Helped| Helped {
            partials: None,
            tickets: helped.tickets.clone(),
        };
        Self {
            batch,
            is_done: self.is_done,
            helped: self.helped.as_deref().map(|helped| Box::new(tickets(helped))),
        }
    }
}

impl Mailbox {
    /// An empty one, for an actor with so many replicas of which some are allowed to take batches, of an operator that is handed one event at a
    /// time or not. With `has_owner`, replica [`OWNER`] keeps the state of the actor.
    pub(super) fn new(replicas: u16, allowed: u16, is_per_event: bool, has_owner: bool) -> Self {
        Self {
            idle: (0..allowed.min(replicas)).rev().collect(),
            resting: (allowed..replicas).collect(),
            allowed,
            replicas,
            has_owner,
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
        Ok(self.take_idle_owner().or_else(|| self.idle.pop()))
    }

    /// Adds what only the owner of the state may take. Gives it, if it should be woken.
    pub(super) fn push_to_owner(&mut self, item: MailboxItem) -> Option<u16> {
        self.for_owner.push_back(item);
        self.take_idle_owner()
    }

    /// How many replicas help the owner of the state.
    pub(super) fn helpers(&self) -> u16 {
        if self.has_owner {
            self.allowed.saturating_sub(1)
        } else {
            0
        }
    }

    /// Takes the owner of the state from among the idle, if it is one of them.
    fn take_idle_owner(&mut self) -> Option<u16> {
        let place = self.idle.iter().position(|idle| self.has_owner && *idle == OWNER)?;
        Some(self.idle.swap_remove(place))
    }

    /// Takes nothing any more, unless something waits or is worked on by one of so many replicas; whether that is so.
    pub(super) fn retire(&mut self, replicas: usize) -> bool {
        self.is_retired |= self.is_empty() && self.idle.len() == replicas;
        self.is_retired
    }

    /// Takes out the first item that waits, or what is left of it, for another mailbox.
    pub(super) fn pop(&mut self) -> Option<MailboxItem> {
        if let Some(item) = self.for_owner.pop_front() {
            return Some(item);
        }
        let item = self.queue.pop_front()?;
        let begun = std::mem::take(&mut self.begun);
        Some(if begun > 0 {
            item.with(item.batch.slice(begun..item.batch.len()))
        } else {
            item
        })
    }

    /// Adds an item without waking a replica.
    pub(super) fn hold(&mut self, item: MailboxItem) {
        self.queue.push_back(item);
    }

    /// The replica that should be woken for what is held.
    pub(super) fn wake(&mut self) -> Option<u16> {
        if self.queue.is_empty() {
            return None;
        }
        self.take_idle_owner().or_else(|| self.idle.pop())
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.for_owner.is_empty()
    }

    /// Takes nothing any more: other actors have its keys.
    pub(super) fn hand_over(&mut self) {
        debug_assert!(self.is_empty(), "what waited went to others before");
        self.is_retired = true;
        self.resharding = None;
    }

    /// Whether its actor has left the directory.
    pub(super) fn is_retired(&self) -> bool {
        self.is_retired
    }

    /// Whether its actor's keys go to others, or have gone.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_retired || self.resharding.is_some()
    }

    /// Has its actor's keys go to other actors as soon as no replica works on a batch. Gives the replica that should be woken for that.
    pub(super) fn leave(&mut self, resharding: Arc<Resharding>) -> Option<u16> {
        self.resharding = Some(resharding);
        self.take_idle_owner()
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
        let woken = idle.len().min(self.queue.len() + self.for_owner.len());
        let woken = idle.drain(idle.len() - woken..).collect();
        self.idle = idle;
        woken
    }

    /// Some events that wait, to look at.
    pub(super) fn sample(&self) -> Option<Batch> {
        let largest = self.queue.iter().max_by_key(|item| item.batch.len());
        largest.map(|item| item.batch.clone())
    }

    /// Takes a replica from among those that take no batches, for something else. Whether it was one of them.
    pub(super) fn take_resting(&mut self, replica: u16) -> bool {
        let place = self.resting.iter().position(|resting| *resting == replica);
        place.map(|place| self.resting.swap_remove(place)).is_some()
    }

    /// Whether a replica takes no batches.
    pub(super) fn is_resting(&self, replica: u16) -> bool {
        replica >= self.allowed || (self.resharding.is_some() && replica != OWNER)
    }

    /// Everything that waits, in order.
    pub(super) fn waiting(&self) -> impl Iterator<Item = MailboxItem> {
        let rest = |(index, item): (usize, &MailboxItem)| item.with(self.rest(index, &item.batch));
        let for_owner = self.for_owner.iter().cloned();
        for_owner.chain(self.queue.iter().enumerate().map(rest))
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
        let oldest = self.queue.front().into_iter().chain(self.for_owner.front());
        oldest.map(|item| item.batch.origin.ticket.arrival_ns()).min()
    }

    /// What a replica that works on nothing does next. Idle is decided here, under the lock: a batch that comes later finds it among the idle.
    pub(super) fn next(&mut self, replica: u16, events_max: usize) -> Next {
        let is_owner = self.has_owner && replica == OWNER;
        if is_owner && let Some(item) = self.for_owner.pop_front() {
            return Next::Run(self.whole(item), None);
        }
        if let Some(resharding) = &self.resharding {
            // What others still work on goes to the owner: it leaves last.
            if is_owner && usize::from(self.replicas) == 1 + self.idle.len() + self.resting.len() {
                return Next::Leave(resharding.clone());
            }
            self.idle.push(replica);
            let owner = if is_owner { None } else { self.take_idle_owner() };
            return Next::Wait(owner);
        }
        if self.is_resting(replica) {
            self.resting.push(replica);
            return Next::Wait(None);
        }
        let Some(mut chunk) = self.take(events_max) else {
            self.idle.push(replica);
            return Next::Wait(None);
        };
        let owner = if self.has_owner && !is_owner {
            self.leave_late_to_owner(&mut chunk)
        } else {
            None
        };
        Next::Run(chunk, owner)
    }

    /// Leaves events that may be late, of what a helper has taken, to the owner of the state: those that are leave in their order. Gives the owner, if it
    /// should be woken.
    fn leave_late_to_owner(&mut self, chunk: &mut Chunk) -> Option<u16> {
        let behind = chunk.batch.origin.behind.events().iter();
        let late: Vec<u32> = behind.map(|(event, _)| *event).collect();
        if late.is_empty() {
            return None;
        }
        let mut next = late.iter().peekable();
        let all = (0..).take(chunk.batch.len());
        let rest: Vec<u32> = all.filter(|event| next.next_if_eq(&event).is_none()).collect();
        let helped = Helped {
            partials: None,
            tickets: chunk.tickets.clone(),
        };
        let for_owner = MailboxItem {
            helped: Some(Box::new(helped)),
            ..MailboxItem::of(chunk.batch.gather(&late))
        };
        chunk.batch = chunk.batch.gather(&rest);
        self.push_to_owner(for_owner)
    }

    /// What the owner of the state takes of what is for it alone.
    fn whole(&mut self, item: MailboxItem) -> Chunk {
        let MailboxItem { batch, is_done, helped } = item;
        let number = self.taken;
        self.taken += 1;
        let helped = helped.map(|helped| (helped.partials, helped.tickets));
        let (partials, tickets) = helped.unwrap_or_default();
        Chunk {
            batch,
            is_done,
            number,
            tickets,
            partials,
            twins: Vec::new(),
        }
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
        let front = self.queue.front()?;
        let is_done = front.is_done;
        let begun = std::mem::take(&mut self.begun);
        if front.batch.len() - begun > events_max && !is_done {
            let piece = front.with(front.batch.slice(begun..begun + events_max));
            self.begun = begun + events_max;
            return Some(self.whole(piece));
        }
        let mut first = self.queue.pop_front().expect("there is a front");
        if begun > 0 {
            first = first.with(first.batch.slice(begun..first.batch.len()));
        }
        if first.helped.is_some() || is_done {
            return Some(self.whole(first));
        }
        let first = first.batch;
        let (mut events, mut bytes) = (first.len(), first.size());
        let mut joined: SmallVec<[Batch; 4]> = SmallVec::new();
        joined.push(first);
        while let Some(next) = self.queue.front().filter(|next| !next.is_done && next.helped.is_none()) {
            events += next.batch.len();
            bytes += next.batch.size();
            if events > events_max || bytes > TURN_BYTES_MAX || !next.batch.joins(&joined[0]) {
                break;
            }
            joined.extend(self.queue.pop_front().map(|item| item.batch));
        }
        if joined.len() == 1 {
            return Some(self.whole(MailboxItem::of(joined.remove(0))));
        }
        let tickets = joined.iter().map(|batch| batch.origin.ticket.clone()).collect();
        let joined = MailboxItem::of(Batch::concat(&joined));
        Some(Chunk {
            tickets,
            ..self.whole(joined)
        })
    }

    /// Takes out everything that waits, in order.
    pub(super) fn clear(&mut self) -> Vec<MailboxItem> {
        let waiting = self.waiting().collect();
        self.for_owner.clear();
        self.queue.clear();
        self.begun = 0;
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirigo_ground::batch::Column;
    use dirigo_ground::behind::Behind;
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
        let woken = mailbox.push(MailboxItem::of(batch));
        woken.expect("it is not retired")
    }

    fn taken(mailbox: &mut Mailbox) -> Vec<Vec<u64>> {
        std::iter::from_fn(|| mailbox.take(TURN_EVENTS))
            .map(|chunk| chunk.batch.positions.to_vec())
            .collect()
    }

    #[test]
    fn a_batch_larger_than_a_turn_leaves_in_pieces_and_in_order() {
        let mut mailbox = Mailbox::new(1, 1, false, false);
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
        let mut mailbox = Mailbox::new(1, 1, false, false);
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
        let mut mailbox = Mailbox::new(1, 1, false, false);
        assert_eq!(push(&mut mailbox, batch(0, 1)), Some(0));
        assert!(!mailbox.retire(1), "a batch waits");
        mailbox.take(TURN_EVENTS).expect("a batch waits");
        assert!(!mailbox.retire(1), "a batch is worked on");
        mailbox.idle.push(0);
        assert!(mailbox.retire(1));
        let late = MailboxItem::of(batch(1, 3));
        assert_eq!(mailbox.push(late).expect_err("it is retired").batch.len(), 3);
    }

    /// What a replica does next: how many events it takes, if it does.
    fn next(mailbox: &mut Mailbox, replica: u16) -> Option<usize> {
        match mailbox.next(replica, TURN_EVENTS) {
            Next::Run(chunk, _) => Some(chunk.batch.len()),
            Next::Wait(_) => None,
            Next::Leave(_) => panic!("no keys leave"),
        }
    }

    #[test]
    fn only_replicas_that_are_allowed_are_woken_and_take_batches() {
        let mut mailbox = Mailbox::new(3, 1, false, false);
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

    /// Of an actor with state, so many replicas of which take batches.
    fn shared(allowed: u16) -> Mailbox {
        Mailbox::new(3, allowed, false, true)
    }

    fn positions(chunk: &Chunk) -> &[u64] {
        &chunk.batch.positions
    }

    #[test]
    fn the_owner_of_the_state_is_woken_first_and_takes_first_what_helpers_gave_back() {
        let mut mailbox = shared(2);
        assert_eq!(push(&mut mailbox, batch(0, TURN_EVENTS)), Some(OWNER));
        assert_eq!(push(&mut mailbox, batch(5_000, TURN_EVENTS)), Some(1));
        assert_eq!(push(&mut mailbox, batch(9_000, TURN_EVENTS)), None, "the third rests");
        let Next::Run(chunk, None) = mailbox.next(1, TURN_EVENTS) else {
            panic!("a helper takes a batch")
        };
        assert_eq!(
            mailbox.push_to_owner(MailboxItem::of(chunk.batch)),
            None,
            "it is not idle"
        );
        let Next::Run(chunk, None) = mailbox.next(OWNER, TURN_EVENTS) else {
            panic!("the owner takes what came back")
        };
        assert_eq!(positions(&chunk)[0], 0);
        assert_eq!(next(&mut mailbox, OWNER), Some(TURN_EVENTS));
    }

    #[test]
    fn a_helper_leaves_events_that_may_be_late_to_the_owner() {
        let mut mailbox = shared(2);
        let mut some_late = batch(0, 4);
        some_late.origin.behind = Behind::new(vec![(1, 7), (3, 9)]);
        push(&mut mailbox, some_late);
        let Next::Run(of_helper, None) = mailbox.next(1, TURN_EVENTS) else {
            panic!("a helper takes a batch")
        };
        assert_eq!(positions(&of_helper), [0, 2]);
        let Next::Run(for_owner, None) = mailbox.next(OWNER, TURN_EVENTS) else {
            panic!("the owner takes the others")
        };
        assert_eq!(positions(&for_owner), [1, 3]);
        assert_eq!(for_owner.batch.origin.behind.events(), [(0, 7), (1, 9)]);
    }
}
