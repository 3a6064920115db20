//! How much of a slice is left.

use dirigo_ground::clock::Clock;

/// The time of one slice of a worker.
pub(super) struct SliceClock<'a> {
    clock: &'a dyn Clock,
    started_ns: u64,
    /// How long it is to last.
    slice_ns: u64,
    /// When it was last looked at.
    now_ns: u64,
}

impl<'a> SliceClock<'a> {
    /// That of a slice which began at `started_ns`.
    pub(super) fn new(clock: &'a dyn Clock, started_ns: u64, slice_ns: u64) -> Self {
        Self {
            clock,
            started_ns,
            slice_ns,
            now_ns: started_ns,
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

    /// Whether the slice was used up then.
    pub(super) fn is_used_up(&self) -> bool {
        self.used_ns() >= self.slice_ns
    }

    /// Whether there is something left of the slice; looks at the time by the side.
    pub(super) fn is_left(&self) -> bool {
        self.is_before(self.started_ns + self.slice_ns)
    }

    /// Whether it is earlier than that; looks at the time by the side.
    pub(super) fn is_before(&self, until_ns: u64) -> bool {
        self.clock.now_ns() < until_ns
    }

    /// Looks at the time: how long it is since it was last looked at.
    pub(super) fn lap_ns(&mut self) -> u64 {
        let lap_ns = self.clock.now_ns() - self.now_ns;
        self.now_ns += lap_ns;
        lap_ns
    }

    /// Takes note of what somebody else saw that took so long.
    pub(super) fn advance(&mut self, ns: u64) {
        self.now_ns += ns;
    }
}
