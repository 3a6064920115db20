//! Who schedules a turn that is pending.
//!
//! The worker that polled it does if the turn only burnt its fuel; if it waits for the host, whoever wakes it does. Knows
//! nothing of what is polled.

use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

use super::{Actor, Runnable};
use dirigo_ground::sync::atomic::{AtomicU8, Ordering};

const POLLING: u8 = 0;
const RUNG: u8 = 1;
const PARKED: u8 = 2;

/// Tells a fuel yield from a wait for the host: wasmtime rings for a yield *before* it returns, so what is pending without a
/// ring waits for something else, and the later wake-up must schedule it.
pub(super) struct TurnWaker {
    state: AtomicU8,
    actor: Weak<Actor>,
    replica: u16,
}

impl TurnWaker {
    pub(super) fn new(actor: Weak<Actor>, replica: u16) -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU8::new(POLLING),
            actor,
            replica,
        })
    }

    /// Sets it before a poll, which is to have the waker.
    pub(super) fn set(self: &Arc<Self>) -> Waker {
        self.state.store(POLLING, Ordering::SeqCst);
        self.clone().into()
    }

    /// Parks after a poll; `false` if it rang meanwhile.
    pub(super) fn park(&self) -> bool {
        self.state
            .compare_exchange(POLLING, PARKED, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
}

impl Wake for TurnWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(RUNG, Ordering::SeqCst) == PARKED
            && let Some(actor) = self.actor.upgrade()
        {
            Runnable {
                actor,
                replica: self.replica,
            }
            .schedule();
        }
    }
}
