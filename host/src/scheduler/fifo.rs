//! First in, first out: the baseline.
//!
//! What runs is run to its end before anything else: a slice that ended goes back to the front.

use std::collections::VecDeque;

use super::policy::{Policy, Ready, TenantIndex};

pub(super) struct Fifo<T> {
    queue: VecDeque<Ready<T>>,
}

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new() }
    }
}

impl<T: Send> Policy<T> for Fifo<T> {
    fn push(&mut self, ready: Ready<T>, resumed: bool) {
        if resumed {
            self.queue.push_front(ready);
        } else {
            self.queue.push_back(ready);
        }
    }

    fn pop(&mut self) -> Option<Ready<T>> {
        self.queue.pop_front()
    }

    fn charge(&mut self, _: TenantIndex, _: u64) {}

    fn set_weight(&mut self, _: TenantIndex, _: u32) {}
}
