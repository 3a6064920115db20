//! How long a slice, and each poll within it, kept its worker.
//!
//! Workers run at a lower priority, so the wall time of a poll says as much of its neighbours on the processor as of the
//! guest. What counts is the processor time that the thread spent; but reading it is a system call of 200 ns, a quarter of
//! a warm turn. So it is read now and then as a base before a slice, and again only after what looks long: it took at most
//! what the thread has spent since the base, which is never far behind.

use std::cell::Cell;

use dirigo_ground::clock;

/// What is shorter by the wall is taken at its word.
const LOOKS_LONG_NS: u64 = 200_000;
/// What is said to be longer than this was spent on the processor, but for what the base lies behind.
pub(super) const CERTAIN_NS: u64 = LOOKS_LONG_NS + BASE_NS_MAX;
/// How far the base may lie behind: a system call of 200 ns is 0.4 % of it, and what a long poll is overstated by is at
/// most this and a slice.
const BASE_NS_MAX: u64 = 50_000;

#[derive(Clone, Copy, Default)]
struct Base {
    wall_ns: u64,
    spent_ns: u64,
}

thread_local! {
    static BASE: Cell<Base> = const { Cell::new(Base { wall_ns: 0, spent_ns: 0 }) };
}

/// Notes that this thread is about to begin a slice, at `now_ns`.
pub(super) fn before(now_ns: u64) {
    if now_ns.saturating_sub(BASE.get().wall_ns) >= BASE_NS_MAX {
        BASE.set(Base {
            wall_ns: now_ns,
            spent_ns: clock::thread_spent_ns(),
        });
    }
}

/// What a part of the slice that ends now took of this thread, which lasted `wall_ns` by the wall: processor time, where that
/// is less.
pub(super) fn after(wall_ns: u64) -> u64 {
    if wall_ns < LOOKS_LONG_NS {
        return wall_ns;
    }
    wall_ns.min(clock::thread_spent_ns() - BASE.get().spent_ns)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_poll_that_was_kept_off_the_processor_did_not_last() {
        before(u64::MAX);
        std::thread::sleep(Duration::from_millis(20));
        assert!(after(20_000_000) < 10_000_000);
    }

    #[test]
    fn a_poll_that_kept_the_processor_did() {
        before(u64::MAX);
        let begun = clock::thread_spent_ns();
        while clock::thread_spent_ns() - begun < 3_000_000 {}
        assert!(after(60_000_000_000) >= 3_000_000);
        assert_eq!(after(1_000), 1_000);
    }
}
