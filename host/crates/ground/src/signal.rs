//! A bell that a thread waits for.

use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use crate::sync::{Condvar, Mutex};

/// Rings are counted, so one that comes before the wait is not missed.
#[derive(Debug, Default)]
pub struct Signal {
    rings: Mutex<u64>,
    bell: Condvar,
}

impl Signal {
    /// Wakes whoever waits.
    pub fn ring(&self) {
        *self.rings.lock() += 1;
        self.bell.notify_all();
    }

    /// How often it rang; to be read before looking whether there is a reason to wait.
    #[must_use]
    pub fn heard(&self) -> u64 {
        *self.rings.lock()
    }

    /// Waits until it has rung more often than `heard`, for `at_most` where given.
    pub fn wait_past(&self, heard: u64, at_most: Option<Duration>) {
        let mut rings = self.rings.lock();
        while *rings == heard {
            match at_most {
                None => rings = self.bell.wait(rings),
                // A wait that ends early is only another look at what was waited for.
                Some(at_most) => {
                    drop(self.bell.wait_for(rings, at_most));
                    return;
                }
            }
        }
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}
