//! How long a slice, and each poll within it, kept its worker.
//!
//! Workers run at a lower priority, so the wall time of a poll says as much of its neighbours on the processor as of the
//! guest. What counts is the processor time that the thread spent; but reading it is a system call of 200 ns, a quarter of
//! a warm turn. So it is read now and then as a base, before a slice and before each poll of it, and again only after what looks
//! long: it took at most what the thread has spent since the base, which is never far behind.

use std::cell::Cell;

use dirigo_ground::clock;

/// What is shorter by the wall is taken at its word.
const LOOKS_LONG_NS: u64 = 200_000;
/// What is said to be longer than this was spent on the processor, but for what the base lies behind.
pub(super) const CERTAIN_NS: u64 = LOOKS_LONG_NS + BASE_NS_MAX;
/// How far the base may lie behind: a system call of 200 ns is 0.4 % of it, and it is the most that a long poll is overstated by.
const BASE_NS_MAX: u64 = 50_000;

/// What a thread had spent at some time.
#[derive(Clone, Copy, Default)]
pub(super) struct Base {
    wall_ns: u64,
    spent_ns: u64,
}

thread_local! {
    static BASE: Cell<Base> = const { Cell::new(Base { wall_ns: 0, spent_ns: 0 }) };
}

/// Notes that this thread is about to begin something, at `now_ns`; gives the base from which it is measured.
pub(super) fn before(now_ns: u64) -> Base {
    if now_ns.saturating_sub(BASE.get().wall_ns) >= BASE_NS_MAX {
        BASE.set(Base {
            wall_ns: now_ns,
            spent_ns: clock::thread_spent_ns(),
        });
    }
    BASE.get()
}

impl Base {
    /// What that took of this thread which ends now, and lasted `wall_ns` by the wall: processor time, where that is less.
    pub(super) fn spent(self, wall_ns: u64) -> u64 {
        if wall_ns < LOOKS_LONG_NS {
            return wall_ns;
        }
        wall_ns.min(clock::thread_spent_ns() - self.spent_ns)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_poll_that_was_kept_off_the_processor_did_not_last() {
        let base = before(u64::MAX);
        std::thread::sleep(Duration::from_millis(20));
        assert!(base.spent(20_000_000) < 10_000_000);
    }

    #[test]
    fn a_poll_that_kept_the_processor_did() {
        let base = before(u64::MAX);
        spend(3_000_000);
        assert!(base.spent(60_000_000_000) >= 3_000_000);
        assert_eq!(base.spent(1_000), 1_000);
    }

    #[test]
    fn a_poll_is_not_charged_with_those_before_it_in_a_long_slice() {
        // On a thread that has no base yet.
        let measured = std::thread::spawn(|| {
            let slice = before(BASE_NS_MAX);
            spend(3_000_000);
            let poll = before(2 * BASE_NS_MAX);
            [slice, poll].map(|base| base.spent(60_000_000_000))
        });
        let [slice_ns, poll_ns] = measured.join().unwrap();
        assert!(poll_ns < slice_ns - 2_000_000, "{poll_ns} of {slice_ns}");
    }

    /// Keeps the processor for so long.
    fn spend(ns: u64) {
        let begun = clock::thread_spent_ns();
        while clock::thread_spent_ns() - begun < ns {}
    }
}
