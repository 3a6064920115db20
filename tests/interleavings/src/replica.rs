//! A replica as far as others wait for its place.

use std::sync::Arc;

use crate::{Actor, LastTurn, Runnable};

/// What takes a place for each turn, and keeps it until somebody needs it.
#[derive(Debug)]
pub(crate) struct Replica {
    place: Place,
    turns_left: u32,
    last_used_ns: u64,
    is_in_idle_queue: bool,
    is_running: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    None,
    Awaited,
    Held,
}

/// What came of an attempt to deactivate an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deactivation {
    Gone,
    #[allow(
        dead_code,
        reason = "no replica here has much to give up, and those who ask must take that into account"
    )]
    Shrunk,
    Stays,
}

impl Replica {
    pub(crate) fn new(turns: u32) -> Self {
        Self {
            place: Place::None,
            turns_left: turns,
            last_used_ns: 0,
            is_in_idle_queue: false,
            is_running: false,
        }
    }

    pub(crate) fn last_used_ns(&self) -> u64 {
        self.last_used_ns
    }

    /// Whether a turn is under way.
    pub(crate) fn is_running(&self) -> bool {
        self.is_running
    }

    pub(crate) fn leave_idle_queue(&mut self) {
        self.is_in_idle_queue = false;
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.place == Place::Awaited
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.place == Place::Held && !self.is_running
    }

    pub(crate) fn has_turns_left(&self) -> bool {
        self.turns_left > 0
    }

    /// Runs a turn, if there is a place for it.
    pub(crate) fn run(&mut self, runnable: &Runnable) {
        let actor = &runnable.actor;
        if self.place != Place::Held {
            if !actor.operator.context.activations.acquire(runnable) {
                if std::mem::replace(&mut self.place, Place::Awaited) == Place::None {
                    actor.operator.context.instances.note_wait();
                }
                return;
            }
            self.place = Place::Held;
            actor.operator.note_activation();
        }
        self.turns_left -= 1;
        match actor.operator.last_turn {
            LastTurn::LeavesPlace if !self.has_turns_left() => self.give_up_instance(actor),
            LastTurn::LastsForEver if !self.has_turns_left() => self.is_running = true,
            _ => self.become_idle(actor, runnable.replica),
        }
    }

    fn become_idle(&mut self, actor: &Arc<Actor>, number: u16) {
        let operator = &actor.operator;
        self.last_used_ns = operator.context.clock.now_ns();
        if !self.is_in_idle_queue {
            self.is_in_idle_queue = true;
            operator.idle.note(actor, number, self.last_used_ns);
        }
        // Looked at last: whoever comes to wait after it finds the replica among the idle.
        let share = &operator.context.instances;
        if operator.context.activations.is_short(share) || share.is_short() {
            self.deactivate(actor);
        }
    }

    pub(crate) fn deactivate(&mut self, actor: &Arc<Actor>) -> Deactivation {
        if self.place != Place::Held || self.is_running {
            return Deactivation::Stays;
        }
        self.give_up_instance(actor);
        Deactivation::Gone
    }

    fn give_up_instance(&mut self, actor: &Arc<Actor>) {
        self.place = Place::None;
        let operator = &actor.operator;
        operator.note_deactivation();
        operator.context.activations.release(&operator.context.instances);
    }
}
