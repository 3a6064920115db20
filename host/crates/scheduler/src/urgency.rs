//! When something must go on, if what it works on and what waits for it are to be in time.
//!
//! Deadline less what is left to do, as in Cameo (NSDI '21): arrival + target - rest of this turn - what comes after it, the
//! costs measured while they run. Unlike Cameo's, a turn can be preempted, so what is left of it counts, not all of it.

use std::sync::atomic::{AtomicU64, Ordering};

/// No chunk is open.
const CLOSED: u64 = u64::MAX;

/// What a replica of an actor works on, for the code that puts it in a queue: it may be preempted, or wait for the
/// host, in the middle of a chunk that is in no mailbox any more. Written by the worker that runs it, read by those
/// that schedule it; a value that is one slice old only moves it by that slice.
#[derive(Debug)]
pub struct Urgency {
    arrival_ns: AtomicU64,
    /// How long its turn has run.
    ran_ns: AtomicU64,
}

impl Default for Urgency {
    fn default() -> Self {
        Self {
            arrival_ns: AtomicU64::new(CLOSED),
            ran_ns: AtomicU64::new(0),
        }
    }
}

impl Urgency {
    /// Notes the arrival of a chunk that is begun.
    pub fn open(&self, arrival_ns: u64) {
        self.arrival_ns.store(arrival_ns, Ordering::Relaxed);
        self.ran_ns.store(0, Ordering::Relaxed);
    }

    /// Notes how long the turn under way has run.
    pub fn note_ran(&self, ran_ns: u64) {
        self.ran_ns.store(ran_ns, Ordering::Relaxed);
    }

    /// Notes that the chunk is finished.
    pub fn close(&self) {
        self.arrival_ns.store(CLOSED, Ordering::Relaxed);
    }

    /// The latest moment to go on: deadline less what is left to do. What waits in the mailbox needs a turn of its own, after
    /// what is left of this one. A turn that takes longer than usual is expected to end at any moment.
    pub fn start_by_ns(&self, waiting_since_ns: Option<u64>, slo_ns: u64, turn_ns: u64, after_ns: u64) -> Option<u64> {
        let arrival_ns = Some(self.arrival_ns.load(Ordering::Relaxed)).filter(|arrival_ns| *arrival_ns != CLOSED);
        let left_ns = arrival_ns.map_or(0, |_| turn_ns.saturating_sub(self.ran_ns.load(Ordering::Relaxed)));
        let begun = arrival_ns.map(|arrival_ns| arrival_ns.saturating_add(slo_ns).saturating_sub(left_ns));
        let waiting = waiting_since_ns.map(|arrival_ns| {
            arrival_ns
                .saturating_add(slo_ns)
                .saturating_sub(left_ns)
                .saturating_sub(turn_ns)
        });
        let first = begun.into_iter().chain(waiting).min()?;
        Some(first.saturating_sub(after_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_is_preempted_keeps_its_deadline() {
        let urgency = Urgency::default();
        assert_eq!(urgency.start_by_ns(None, 1_000, 100, 10), None);
        urgency.open(50);
        assert_eq!(urgency.start_by_ns(None, 1_000, 100, 10), Some(1_050 - 100 - 10));
        urgency.note_ran(60);
        assert_eq!(urgency.start_by_ns(None, 1_000, 100, 10), Some(1_050 - 40 - 10));
        urgency.note_ran(500);
        assert_eq!(urgency.start_by_ns(None, 1_000, 100, 10), Some(1_050 - 10));
        urgency.close();
        assert_eq!(urgency.start_by_ns(Some(70), 1_000, 100, 10), Some(1_070 - 100 - 10));
    }

    #[test]
    fn what_waits_behind_a_long_turn_makes_it_urgent() {
        let urgency = Urgency::default();
        urgency.open(50);
        urgency.note_ran(20);
        assert_eq!(urgency.start_by_ns(Some(60), 1_000, 100, 0), Some(1_060 - 80 - 100));
    }
}
