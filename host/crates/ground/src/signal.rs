//! A count of notifications that a thread waits on.

use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use crate::sync::{Condvar, Mutex};

/// Rings are counted, so one that comes before the wait is not missed.
#[derive(Debug, Default)]
pub struct Signal {
    notifications: Mutex<u64>,
    condvar: Condvar,
}

impl Signal {
    /// Wakes all that wait.
    pub fn notify(&self) {
        *self.notifications.lock() += 1;
        self.condvar.notify_all();
    }

    /// How often it rang; to be read before looking whether there is a reason to wait.
    #[must_use]
    pub fn seen(&self) -> u64 {
        *self.notifications.lock()
    }

    /// Waits until it was notified more often than `seen`, for `at_most` where given.
    pub fn wait_past(&self, seen: u64, at_most: Option<Duration>) {
        let mut notifications = self.notifications.lock();
        while *notifications == seen {
            match at_most {
                None => notifications = self.condvar.wait(notifications),
                // A wait that ends early is only another look at what was waited for.
                Some(at_most) => {
                    drop(self.condvar.wait_for(notifications, at_most));
                    return;
                }
            }
        }
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.notify();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.notify();
    }
}
