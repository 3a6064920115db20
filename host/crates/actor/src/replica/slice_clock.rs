//! How much of a slice is left.

use crate::fuel_estimator::AWAITED_NS;
use crate::watchdog::{self, Base};
use dirigo_ground::clock::Clock;

/// The time of one slice of a worker.
pub(super) struct SliceClock<'a> {
    clock: &'a dyn Clock,
    started_ns: u64,
    /// How long it is to last.
    slice_ns: u64,
    /// Whether another tenant waits for the worker.
    is_awaited: &'a dyn Fn() -> bool,
    /// When it was last looked at.
    now_ns: u64,
    /// What the thread had spent then.
    base: Base,
}

impl<'a> SliceClock<'a> {
    /// That of a slice which began at `started_ns`, when the thread had spent what `base` says.
    pub(super) fn new(
        clock: &'a dyn Clock,
        started_ns: u64,
        base: Base,
        slice_ns: u64,
        is_awaited: &'a dyn Fn() -> bool,
    ) -> Self {
        Self {
            clock,
            started_ns,
            slice_ns,
            is_awaited,
            now_ns: started_ns,
            base,
        }
    }

    /// When it was last looked at.
    pub(super) fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// How much of the slice was used when it was last looked at.
    pub(super) fn used_ns(&self) -> u64 {
        self.now_ns - self.started_ns
    }

    /// How long it is to last as things are.
    pub(super) fn length_ns(&self) -> u64 {
        if self.slice_ns > AWAITED_NS && (self.is_awaited)() {
            AWAITED_NS
        } else {
            self.slice_ns
        }
    }

    /// Whether the slice was used up then.
    pub(super) fn is_used_up(&self) -> bool {
        self.ends_by(self.used_ns())
    }

    /// Whether there is something left of the slice; looks at the time by the side.
    pub(super) fn is_left(&self) -> bool {
        !self.ends_by(self.clock.now_ns() - self.started_ns)
    }

    /// Whether the slice is not used up, or the work has taken less time than its preparation did. The preparation ended at the last
    /// [`advance`](Self::advance). Each slice repeats the preparation, so one that ended without work would be followed by others without
    /// work, for ever.
    pub(super) fn is_left_for_work(&self, preparation_ns: u64) -> bool {
        self.is_left() || self.is_before(self.now_ns + preparation_ns)
    }

    fn ends_by(&self, used_ns: u64) -> bool {
        used_ns >= self.slice_ns.min(AWAITED_NS) && used_ns >= self.length_ns()
    }

    /// Whether it is earlier than that; looks at the time by the side.
    pub(super) fn is_before(&self, until_ns: u64) -> bool {
        self.clock.now_ns() < until_ns
    }

    /// Looks at the time: how much of it this thread had since it was last looked at.
    pub(super) fn lap_ns(&mut self) -> u64 {
        let wall_ns = self.clock.now_ns() - self.now_ns;
        self.now_ns += wall_ns;
        let spent_ns = self.base.spent(wall_ns);
        self.base = watchdog::before(self.now_ns);
        spent_ns
    }

    /// Takes note of what somebody else saw that took so long.
    pub(super) fn advance(&mut self, ns: u64) {
        self.now_ns += ns;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;
    use dirigo_ground::clock::ManualClock;

    #[test]
    fn a_slice_that_was_used_up_by_getting_ready_is_left_for_as_long_again() {
        let time = ManualClock::default();
        let mut slice = SliceClock::new(&time, 0, Base::default(), AWAITED_NS, &|| true);
        let preparation_ns = 3 * AWAITED_NS;
        time.advance(Duration::from_nanos(preparation_ns));
        slice.advance(preparation_ns);
        assert!(!slice.is_left());
        assert!(slice.is_left_for_work(preparation_ns));
        time.advance(Duration::from_nanos(preparation_ns - 1));
        assert!(slice.is_left_for_work(preparation_ns));
        time.advance(Duration::from_nanos(1));
        assert!(!slice.is_left_for_work(preparation_ns));
    }

    #[test]
    fn a_long_slice_ends_as_soon_as_another_tenant_waits_but_no_earlier_than_a_usual_one() {
        let (time, is_awaited) = (ManualClock::default(), Cell::new(false));
        let look = || is_awaited.get();
        let mut slice = SliceClock::new(&time, 0, Base::default(), 10 * AWAITED_NS, &look);
        let mut is_left_after = |ns| {
            time.advance(Duration::from_nanos(ns));
            slice.lap_ns();
            assert_ne!(slice.is_left(), slice.is_used_up());
            slice.is_left()
        };
        is_awaited.set(true);
        assert!(is_left_after(AWAITED_NS - 1), "a usual slice lasts as long");
        assert!(!is_left_after(1));
        is_awaited.set(false);
        assert!(is_left_after(8 * AWAITED_NS), "nobody waits any more");
        assert!(!is_left_after(AWAITED_NS));
    }
}
