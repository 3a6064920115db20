//! The replicas of an operator that are idle, the longest idle first: whose places can be had.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use crate::Actor;
use crate::replica::Deactivation;
use dirigo_ground::sync::Mutex;

/// Replicas that were idle when they were put here.
#[derive(Debug)]
pub(crate) struct IdleQueue {
    entries: Mutex<VecDeque<IdleReplica>>,
    /// After which they give up their places, wanted or not.
    timeout_ns: u64,
}

/// An actor that was idle when it was put here.
#[derive(Debug)]
struct IdleReplica {
    actor: Weak<Actor>,
    replica: u16,
    since_ns: u64,
}

/// What came of a look at the oldest entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IdleVisit {
    Deactivated,
    /// It is still the oldest, and has less to give up.
    Shrunk,
    Busy,
    Gone,
    TooYoung,
}

impl IdleQueue {
    /// An empty one, of actors that stay active for so long.
    pub(crate) fn new(timeout_ns: u64) -> Self {
        Self {
            entries: Mutex::default(),
            timeout_ns,
        }
    }

    /// Keeps in mind that a replica is idle.
    pub(crate) fn note(&self, actor: &Arc<Actor>, replica: u16, since_ns: u64) {
        self.entries.lock().push_back(IdleReplica {
            actor: Arc::downgrade(actor),
            replica,
            since_ns,
        });
    }

    pub(super) fn longest_since_ns(&self) -> Option<u64> {
        self.entries.lock().front().map(|idle| idle.since_ns)
    }

    /// Deactivates the actor that has been idle longest, if there is one; or has it begin to leave, if it has much to give up.
    pub(super) fn evict_longest(&self) -> Deactivation {
        // Entries of actors that were busy meanwhile go to the back, once each.
        let entries = self.entries.lock().len();
        let left = (0..entries).find_map(|_| match self.visit_oldest(u64::MAX) {
            IdleVisit::Deactivated => Some(Deactivation::Gone),
            IdleVisit::Shrunk => Some(Deactivation::Shrunk),
            IdleVisit::Busy | IdleVisit::Gone | IdleVisit::TooYoung => None,
        });
        left.unwrap_or(Deactivation::Stays)
    }

    /// Deactivates actors that have been idle for the timeout.
    pub(super) fn deactivate_old(&self, now_ns: u64) {
        let before_ns = now_ns.saturating_sub(self.timeout_ns);
        let mut entries = self.entries.lock().len();
        while entries > 0 {
            match self.visit_oldest(before_ns) {
                IdleVisit::TooYoung => return,
                IdleVisit::Shrunk => {}
                IdleVisit::Deactivated | IdleVisit::Busy | IdleVisit::Gone => entries -= 1,
            }
        }
    }

    /// Looks at the oldest entry, and deactivates its actor if it has been idle since `before_ns`.
    fn visit_oldest(&self, before_ns: u64) -> IdleVisit {
        let entry = {
            let mut entries = self.entries.lock();
            match entries.pop_front_if(|front| front.since_ns <= before_ns) {
                Some(entry) => entry,
                None => return IdleVisit::TooYoung,
            }
        };
        let Some(actor) = entry.actor.upgrade() else {
            return IdleVisit::Gone;
        };
        let context = &actor.operator.context;
        // A replica that is running now is not idle; it says so again when it is.
        let Some(mut replica) = actor.replicas[usize::from(entry.replica)].try_lock() else {
            self.entries.lock().push_back(IdleReplica {
                since_ns: context.clock.now_ns(),
                ..entry
            });
            return IdleVisit::Busy;
        };
        let used_ns = replica.last_used_ns();
        if replica.is_running() || used_ns > before_ns || used_ns > entry.since_ns {
            self.entries.lock().push_back(IdleReplica {
                since_ns: used_ns.max(entry.since_ns),
                ..entry
            });
            return IdleVisit::Busy;
        }
        // A checkpoint that is looking at the actor would miss what leaves it now.
        let Some(_inside) = context.epochs.turns().try_enter() else {
            self.entries.lock().push_front(entry);
            return IdleVisit::TooYoung;
        };
        let leaving = replica.deactivate(&actor);
        if leaving == Deactivation::Shrunk {
            self.entries.lock().push_front(entry);
            return IdleVisit::Shrunk;
        }
        replica.leave_idle_queue();
        if leaving == Deactivation::Gone {
            IdleVisit::Deactivated
        } else {
            IdleVisit::Gone
        }
    }
}
