//! The bound on what waits in front of an operator or a sink.
//!
//! Every operator and sink has its own, so that one that is slow cannot take the room of another; since graphs have no
//! cycles and sinks never wait, whatever is full drains. What would add to a full gate waits *before* it starts: a turn
//! that has begun may always deliver, so the bound is exceeded by at most the outputs of the turns under way.

use std::collections::VecDeque;
use std::sync::Arc;

use dirigo_ground::quota::Quota;
use dirigo_ground::sync::Mutex;
use dirigo_ground::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Events that may wait at one gate: a few hundred batches, enough to keep every core busy through one slow turn.
const EVENTS_MAX: usize = 64 << 10;
/// Bytes that may wait at one gate.
const BYTES_MAX: usize = 32 << 20;
/// How many waiters are woken as a batch leaves, once half of the room is free. Woken all at once, the threads of 64 sources were queued before
/// the threads of other tenants.
const WOKEN_MAX: usize = 2;

/// Counts what waits, and keeps those who wait for room.
pub struct Gate<W> {
    /// Whose memory what waits takes.
    quota: Arc<Quota>,
    events: AtomicUsize,
    bytes: AtomicUsize,
    /// In the order in which they came.
    waiters: Mutex<VecDeque<W>>,
    has_waiters: AtomicBool,
}

impl<W> Gate<W> {
    /// One where nothing waits.
    #[must_use]
    pub fn new(quota: Arc<Quota>) -> Self {
        Self {
            quota,
            events: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            waiters: Mutex::default(),
            has_waiters: AtomicBool::new(false),
        }
    }

    /// Notes that events arrived.
    pub fn enter(&self, events: usize, bytes: usize) {
        self.events.fetch_add(events, Ordering::SeqCst);
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
        self.quota.add_memory(bytes as u64);
    }

    /// Notes that events were taken, and gives the waiters that can resume: some with each batch that leaves once half of the room is free, not
    /// at the first place, so that they don't stop and start at every event; and all of them with the last.
    #[must_use = "those who waited must be woken"]
    pub fn leave(&self, events: usize, bytes: usize) -> Vec<W> {
        self.quota.remove_memory(bytes as u64);
        self.events.fetch_sub(events, Ordering::SeqCst);
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        // Looked at after both are counted down: of several that leave at once, the last sees the room that all have made.
        let events = self.events.load(Ordering::SeqCst);
        let has_room = events <= EVENTS_MAX / 2 && self.bytes.load(Ordering::SeqCst) <= BYTES_MAX / 2;
        if has_room && self.has_waiters.load(Ordering::SeqCst) {
            self.take_waiters(if events == 0 { usize::MAX } else { WOKEN_MAX })
        } else {
            Vec::new()
        }
    }

    fn take_waiters(&self, max: usize) -> Vec<W> {
        let mut waiters = self.waiters.lock();
        let woken = max.min(waiters.len());
        let woken = waiters.drain(..woken).collect();
        self.has_waiters.store(!waiters.is_empty(), Ordering::SeqCst);
        woken
    }

    /// Whether nothing more should be added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.events.load(Ordering::SeqCst) >= EVENTS_MAX || self.bytes.load(Ordering::SeqCst) >= BYTES_MAX
    }

    /// How many events wait.
    #[must_use]
    pub fn events(&self) -> usize {
        self.events.load(Ordering::SeqCst)
    }

    /// Waits for room: keeps `waiter` until there is some and returns `true`, or returns `false` if there is already.
    pub fn wait(&self, waiter: W) -> bool {
        let mut waiters = self.waiters.lock();
        // Announced before the last look: a batch that leaves after it sees the announcement.
        self.has_waiters.store(true, Ordering::SeqCst);
        if self.is_full() {
            waiters.push_back(waiter);
            return true;
        }
        self.has_waiters.store(!waiters.is_empty(), Ordering::SeqCst);
        false
    }
}

impl<W> std::fmt::Debug for Gate<W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Gate")
            .field("events", &self.events())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_woken_once_half_the_room_is_free() {
        let gate = Gate::new(Arc::default());
        gate.enter(EVENTS_MAX, 0);
        assert!(gate.wait("turn"));
        assert!(gate.leave(EVENTS_MAX / 2 - 1, 0).is_empty());
        assert_eq!(gate.leave(1, 0), ["turn"]);
        assert!(!gate.wait("turn"), "there is room");
    }

    #[test]
    fn those_who_wait_are_woken_in_turn_and_all_of_them_by_the_last_that_leaves() {
        let gate = Gate::new(Arc::default());
        gate.enter(EVENTS_MAX, 0);
        assert!((0..7).all(|waiter| gate.wait(waiter)));
        assert_eq!(gate.leave(EVENTS_MAX / 2, 0), [0, 1]);
        assert_eq!(gate.leave(1, 0), [2, 3]);
        gate.enter(EVENTS_MAX / 2 + 1, 0);
        assert!(gate.wait(0), "it is full again");
        assert_eq!(gate.leave(EVENTS_MAX, 0), [4, 5, 6, 0]);
    }

    #[test]
    fn few_large_events_fill_it_too() {
        let gate = Gate::<()>::new(Arc::default());
        gate.enter(1, BYTES_MAX);
        assert!(gate.is_full());
    }
}
