//! Replicas that help the one which keeps the state of an actor.
//!
//! All events of a key go to one actor, and so does the load of a key that has most of them. Where the order of merging does not matter, helpers
//! take batches from its mailbox alongside the owner of the state. A helper folds them from nothing, and gives back what that comes to; the owner
//! merges it into the state of the keys. Until then the events wait like any others: they hold back the watermark, a checkpoint finds them, and what
//! was folded is nothing but a short cut, which may be forgotten at any time. So nothing of it is ever stored, and whatever goes wrong is
//! left to the owner, which folds the events one after the other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use smallvec::{SmallVec, smallvec};

use super::driver::Call;
use super::law_check::Laws;
use super::mailbox::{Helped, MailboxItem};
use super::replica::{ChunkPart, Replica};
use super::turn::TurnOutcome;
use super::{Actor, Operator, counters};
use dirigo_ground::batch::Batch;
use dirigo_state::{Partials, Table};

/// Bytes that partial accumulators may take, even if the events that they stand for take less.
const PARTIALS_BYTES_ALLOWED: usize = 1 << 10;

/// What helpers of an operator did so far.
#[derive(Debug, Default)]
pub(super) struct Help {
    /// Events that they folded.
    events: AtomicU64,
    /// Accumulators that those came to. Events that owners folded themselves after all count as one each.
    accumulators: AtomicU64,
    /// Events of which owners merged what helpers folded them to; all of the run.
    merged: AtomicU64,
}

impl Help {
    fn note(&self, events: usize, accumulators: usize) {
        /// What was longer ago counts for less.
        const REMEMBERED: u64 = 1 << 16;
        counters::add(&self.accumulators, accumulators);
        counters::add(&self.events, events);
        if self.events.load(Ordering::Relaxed) > REMEMBERED {
            for counter in [&self.events, &self.accumulators] {
                counter.store(counter.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
            }
        }
    }

    /// Notes that an owner folds `events` events again, since the partials of a helper were of no use.
    pub(super) fn note_wasted(&self, events: usize) {
        self.note(0, events);
    }

    /// Notes that an owner merged the partials of `events` events.
    pub(super) fn note_merged(&self, events: usize) {
        counters::add(&self.merged, events);
    }

    /// Resets the measured ratio; the count of merged events stays.
    pub(super) fn forget(&self) {
        self.events.store(0, Ordering::Relaxed);
        self.accumulators.store(0, Ordering::Relaxed);
    }

    /// How many accumulators the owner merges for each event that a helper folds; `None` as long as there were too few to tell.
    pub(super) fn accumulators_per_event(&self) -> Option<f64> {
        const ENOUGH: u64 = 1_000;
        let events = self.events.load(Ordering::Relaxed);
        let accumulators = self.accumulators.load(Ordering::Relaxed);
        #[allow(clippy::cast_precision_loss, reason = "a share of events")]
        (events >= ENOUGH).then(|| accumulators as f64 / events as f64)
    }
}

impl Operator {
    /// Whether its actors could have helpers, if the order of merging does not matter.
    pub(super) fn can_be_helped(&self) -> bool {
        self.kind().is_stateful() && self.replicas > 1 && !matches!(*self.laws.lock(), Laws::Broken(_))
    }

    /// Events that helpers folded, and of which the owners of the state merged what that came to.
    #[must_use]
    pub fn helped(&self) -> u64 {
        self.help.merged.load(Ordering::Relaxed)
    }

    /// A table without keys, as its actors have them.
    pub(super) fn empty_table(&self) -> Table {
        let epoch = self.context.epochs.current();
        if self.has_timers() {
            Table::keyed_in_epoch(epoch)
        } else if self.time_windows().is_some() {
            Table::timed_in_epoch(epoch)
        } else {
            Table::in_epoch(epoch)
        }
    }
}

impl Replica {
    /// What a turn of a helper amounts to: its events go to the owner, with what they were folded to if that went well. Of a turn that failed, the
    /// events that are to blame go to the owner, and the helper folds the others again.
    pub(super) fn settle_help(
        &mut self,
        actor: &Arc<Actor>,
        part: ChunkPart,
        call: Box<dyn Call>,
        outcome: TurnOutcome,
    ) -> Option<Duration> {
        let operator = &actor.operator;
        let mut backoff = None;
        let mut partials = None;
        let mut again = None;
        match outcome {
            TurnOutcome::Done(_) => {
                call.commit(&mut self.table);
                partials = Some(Partials::of(&self.table));
            }
            TurnOutcome::Failed(failed) => {
                call.abandon(&mut self.table);
                let failing = failed.failures.iter().map(|failure| failure.index);
                again = part.without(&failing.collect::<Vec<_>>());
            }
            TurnOutcome::Trapped(trap) => {
                call.abandon(&mut self.table);
                again = match trap.event {
                    Some(event) => part.without(&[event]),
                    None => part.halves(),
                };
                backoff = self.note_trap(operator, &trap, part.batch.len());
            }
            TurnOutcome::Unopened(_) => call.abandon(&mut self.table),
        }
        self.table = operator.empty_table();
        self.update_quota(actor);
        let woken = if let Some(Again { parts, for_owner }) = again {
            parts.into_iter().for_each(|part| self.chunk_mut().put_back(part));
            for_owner.and_then(|batch| self.hand_to_owner(actor, batch, None))
        } else {
            self.hand_to_owner(actor, part.batch, partials)
        };
        actor.wake(woken);
        backoff
    }

    /// Gives events to the owner, with what they were folded to where that spares the owner something. Gives the replica that is to be woken.
    fn hand_to_owner(&self, actor: &Actor, batch: Batch, partials: Option<Partials>) -> Option<u16> {
        let spares = |folded: &Partials| {
            folded.len() < batch.len() && folded.bytes() <= batch.size().max(PARTIALS_BYTES_ALLOWED)
        };
        let partials = partials.filter(spares).map(Arc::new);
        let left = partials.as_ref().map_or(batch.len(), |partials| partials.len());
        actor.operator.help.note(batch.len(), left);
        let helped = Helped {
            partials,
            tickets: self.tickets_of_chunk(),
        };
        let item = MailboxItem {
            helped: Some(Box::new(helped)),
            ..MailboxItem::of(batch)
        };
        actor.mailbox.lock().push_to_owner(item)
    }
}

/// What becomes of a part whose turn failed.
struct Again {
    /// What the helper folds again.
    parts: SmallVec<[ChunkPart; 2]>,
    /// What the owner folds.
    for_owner: Option<Batch>,
}

impl ChunkPart {
    /// It without some of its events, which are to blame for what happened. `None` if no others are left.
    fn without(&self, failing: &[u32]) -> Option<Again> {
        let events = u32::try_from(self.batch.len()).expect("a batch has fewer than 2^32 events");
        let failing: BTreeSet<u32> = failing.iter().copied().collect();
        let (failing, left): (Vec<u32>, Vec<u32>) = (0..events).partition(|event| failing.contains(event));
        let is_less = !failing.is_empty() && !left.is_empty();
        is_less.then(|| Again {
            parts: smallvec![self.once_more(self.batch.gather(&left))],
            for_owner: Some(self.batch.gather(&failing)),
        })
    }

    /// Its halves. `None` if they are too small to be worth it.
    fn halves(&self) -> Option<Again> {
        /// A trap costs a fresh instance, which takes as long as a few events.
        const EVENTS_MIN: usize = 64;
        let (events, half) = (self.batch.len(), self.batch.len() / 2);
        (events >= EVENTS_MIN).then(|| Again {
            parts: smallvec![
                self.once_more(self.batch.slice(half..events)),
                self.once_more(self.batch.slice(0..half))
            ],
            for_owner: None,
        })
    }

    fn once_more(&self, batch: Batch) -> Self {
        Self {
            batch,
            attempts: self.attempts + 1,
            partials: None,
        }
    }
}
