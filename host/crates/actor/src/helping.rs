//! Replicas that help the one which keeps the state of an actor.
//!
//! All events of a key go to one actor, and so does the load of a key that has most of them. Where the order of merging does not matter, helpers
//! take batches from its mailbox alongside the owner of the state. A helper folds them from nothing, and gives back what that comes to; the owner
//! merges it into the state of the keys. Until then the events wait like any others: they hold back the watermark, a checkpoint finds them, and what
//! was folded is nothing but a short cut, which may be forgotten at any time. So nothing of it is ever stored, and whatever goes wrong is
//! left to the owner, which folds the events one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::driver::Call;
use super::law_check::Laws;
use super::mailbox::{Helped, MailboxItem};
use super::replica::{ChunkPart, Replica};
use super::turn::TurnOutcome;
use super::{Actor, Operator, counters};
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
    /// What a turn of a helper amounts to: its events go to the owner, with what they were folded to if that went well.
    pub(super) fn settle_help(
        &mut self,
        actor: &Arc<Actor>,
        part: ChunkPart,
        call: Box<dyn Call>,
        outcome: TurnOutcome,
    ) -> Option<Duration> {
        let operator = &actor.operator;
        let mut partials = None;
        let mut backoff = None;
        match outcome {
            TurnOutcome::Done(_) => {
                call.commit(&mut self.table);
                let folded = Partials::of(&self.table);
                let is_less =
                    folded.len() < part.batch.len() && folded.bytes() <= part.batch.size().max(PARTIALS_BYTES_ALLOWED);
                if is_less {
                    operator.help.note(part.batch.len(), folded.len());
                    partials = Some(Arc::new(folded));
                }
            }
            TurnOutcome::Trapped(trap) => {
                call.abandon(&mut self.table);
                backoff = self.note_trap(operator, &trap, part.batch.len());
            }
            TurnOutcome::Failed(_) | TurnOutcome::Unopened(_) => call.abandon(&mut self.table),
        }
        self.table = operator.empty_table();
        self.update_quota(actor);
        if partials.is_none() {
            operator.help.note(part.batch.len(), part.batch.len());
        }
        let helped = Helped {
            partials,
            tickets: self.tickets_of_chunk(),
        };
        let item = MailboxItem {
            helped: Some(Box::new(helped)),
            ..MailboxItem::of(part.batch)
        };
        let woken = actor.mailbox.lock().push_to_owner(item);
        actor.wake(woken);
        backoff
    }
}
