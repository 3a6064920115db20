//! How an actor becomes active, and dormant again.
//!
//! Between two turns its instance is nothing that could not be made anew, and its keys can go to the store.

use std::sync::Arc;

use super::{Phase, Replica, Role};
use crate::due::{DueBy, FoundDue};
use crate::operator::Operator;
use crate::{Actor, ActorIdentity, Runnable, counters};
use dirigo_engine::Instance;
use dirigo_flow::Failure;
use dirigo_ground::lineage::AFTER_ALL;
use dirigo_state::{self as state, Entry, FirstKeys};

/// The right to have an instance, and the instance while no turn has it.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) instance: Option<Box<Instance>>,
}

/// What came of an attempt to deactivate an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deactivation {
    /// It is dormant now.
    Gone,
    /// It has given up some of its keys, and still has too many to give them up at once.
    Shrunk,
    /// It was dormant, or is in the middle of a turn.
    Stays,
}

/// What a table had of a key.
#[derive(Debug)]
pub(crate) enum TakenWindow {
    /// It does not know: the store does.
    Unknown,
    /// No window is open.
    Closed,
    /// This one was.
    Open(Entry),
}

/// What a table had of a key of which something is due.
#[derive(Debug)]
pub(crate) enum TakenDue {
    /// It does not know: the store does.
    Unknown,
    /// This, or nothing that closes by then.
    Known(Option<FoundDue>),
}

impl Replica {
    /// Takes an instance slot, and loads the actor's keys.
    pub(crate) fn activate(&mut self, actor: &Arc<Actor>, runnable: &Runnable) -> bool {
        let operator = &actor.operator;
        if !operator.context.activations.acquire(runnable) {
            // Looking again is no other wait.
            if !matches!(self.phase, Phase::AwaitingSlot) {
                self.phase.enter(Phase::AwaitingSlot);
                operator.context.instances.note_wait();
            }
            return false;
        }
        self.slot = Some(Slot::default());
        counters::add(&operator.counters.activations, 1_u64);
        if actor.keys().is_some() {
            self.table = operator.empty_table();
        }
        if let Some(keys) = actor.keys().filter(|_| self.role == Role::Owner) {
            let loaded = operator.context.store.load_few(&operator.id, &keys, &mut self.table);
            if let Err(error) = loaded {
                Self::give_up_state(operator, &error);
                return false;
            }
            operator.next_due.note(self.table.next_due());
            self.update_quota(actor);
        }
        true
    }

    pub(super) fn become_idle(&mut self, actor: &Arc<Actor>, now_ns: u64) {
        let operator = &actor.operator;
        self.last_used_ns = now_ns;
        if self.slot.is_some() && !self.is_in_idle_queue {
            self.is_in_idle_queue = true;
            operator.idle.note(actor, self.number, now_ns);
        }
        // Looked at last: an actor that comes to wait after it finds the replica among the idle.
        let instances = &operator.context.instances;
        let is_short = operator.context.activations.is_short(instances) || instances.is_short();
        if is_short || actor.mailbox.lock().is_resting(self.number) {
            self.deactivate(actor);
        }
    }

    /// Gives up the instance of an actor between two turns, and its keys to the store: very many of them little by little, for
    /// those who wait for it or for the store must not wait for long.
    pub(crate) fn deactivate(&mut self, actor: &Arc<Actor>) -> Deactivation {
        let operator = &actor.operator;
        if self.slot.is_none() || self.is_running() {
            return Deactivation::Stays;
        }
        let committed = operator.context.epochs.committed();
        let is_large = self.table.is_large(operator.context.store.kept_min());
        let records = if is_large {
            self.table.shrink(committed)
        } else {
            self.table.drain(committed)
        };
        if let Err(error) = self.spill(actor, records) {
            Self::give_up_state(operator, &error);
        }
        if is_large {
            return Deactivation::Shrunk;
        }
        if matches!(actor.identity, ActorIdentity::Key(_)) {
            operator.retire(actor);
        }
        self.give_up_instance(actor);
        Deactivation::Gone
    }

    /// Shows `keys` those whose windows are open, as far as the actor is active.
    pub(crate) fn show_open_keys(&self, keys: &mut FirstKeys) {
        if self.slot.is_some() {
            self.table.entries().for_each(|(key, _)| keys.show(key));
        }
    }

    /// Closes the window of a key, if one is open.
    pub(crate) fn take_window(&mut self, actor: &Actor, key: &[u8]) -> TakenWindow {
        if !self.knows(key) {
            return TakenWindow::Unknown;
        }
        let taken = self.table.take(key);
        self.update_quota(actor);
        taken.map_or(TakenWindow::Closed, TakenWindow::Open)
    }

    /// Shows `first` the keys of which a window closes by `watermark`, as far as the actor is active. Gives when its next window closes.
    pub(crate) fn show_due(&mut self, watermark: i64, first: &mut FirstKeys) -> i64 {
        if self.slot.is_none() {
            return AFTER_ALL;
        }
        self.table.show_due(watermark, first);
        self.table.next_due()
    }

    /// Whether the actor is active, and what it has of `key` is all that there is.
    pub(crate) fn knows(&self, key: &[u8]) -> bool {
        self.slot.is_some() && self.table.knows(key)
    }

    /// Takes what is due of a key out of the table.
    pub(crate) fn take_due(&mut self, actor: &Actor, key: &[u8], by: DueBy) -> TakenDue {
        if !self.knows(key) {
            return TakenDue::Unknown;
        }
        let is_at_rest = !self.is_running();
        let taken = by.take(&mut self.table, key, is_at_rest);
        self.update_quota(actor);
        TakenDue::Known(taken)
    }

    /// Gives up the instance and its place.
    pub(crate) fn give_up_instance(&mut self, actor: &Arc<Actor>) {
        if let Some(slot) = self.slot.take() {
            drop(slot);
            counters::add(&actor.operator.counters.deactivations, 1_u64);
            actor
                .operator
                .context
                .activations
                .release(&actor.operator.context.instances);
        }
    }

    /// Ends the pipeline, since the store failed.
    pub(super) fn give_up_state(operator: &Operator, error: &state::Error) {
        operator.context.failure_latch.fail(Failure::State {
            reason: error.to_string(),
        });
    }
}
