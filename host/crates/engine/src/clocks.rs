//! What time it is for a guest: that of the event at hand.
//!
//! A clock reads the event's time, or the first millisecond of 1970 where there is none, and a microsecond more each time that it is
//! read: time passes for a guest that looks at it, in the same way in every run.

/// By how much a clock goes on when it is read, in ns.
pub(crate) const RESOLUTION_NS: u32 = 1_000;

/// The clocks of one call of a guest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clocks {
    /// The time of the event, in ms since the epoch.
    event_ms: i64,
    /// How often it was read.
    reads: u64,
}

impl Clocks {
    /// Those of a call that is about an event of this time.
    pub(crate) fn at(event_ms: i64) -> Self {
        Self { event_ms, reads: 0 }
    }

    /// Reads them: ms since the epoch, at least 1, and ns since the event.
    fn read(&mut self) -> (u64, u64) {
        let since_ns = self.reads.saturating_mul(RESOLUTION_NS.into());
        self.reads += 1;
        (u64::try_from(self.event_ms).unwrap_or(0).max(1), since_ns)
    }

    /// Reads the one that never goes back during a call, in ns.
    pub(crate) fn monotonic_ns(&mut self) -> u64 {
        /// The clock reads ns in 64 bits, which end in the year 2554. It goes on there too, as it is read.
        const MS_MAX: u64 = u64::MAX / 1_000_000 - 24 * 60 * 60 * 1_000;
        let (ms, ns) = self.read();
        ms.min(MS_MAX).saturating_mul(1_000_000).saturating_add(ns)
    }

    /// Reads the one on the wall: seconds since the epoch, and ns.
    pub(crate) fn wall(&mut self) -> (u64, u32) {
        const NS_PER_S: u64 = 1_000_000_000;
        let (ms, since_ns) = self.read();
        let ns = (ms % 1_000 * 1_000_000).saturating_add(since_ns);
        let nanoseconds = u32::try_from(ns % NS_PER_S).expect("a second has 10^9 of them");
        (ms / 1_000 + ns / NS_PER_S, nanoseconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_reads_the_event_time_and_goes_on_when_it_is_read() {
        let mut clocks = Clocks::at(1_700_000_000_123);
        assert_eq!(clocks.wall(), (1_700_000_000, 123_000_000));
        assert_eq!(clocks.monotonic_ns(), 1_700_000_000_123_001_000);
        assert_eq!(clocks.monotonic_ns(), 1_700_000_000_123_002_000);
    }

    #[test]
    fn a_clock_never_reads_0_and_knows_no_time_before_1970() {
        for event_ms in [0, -1, i64::MIN] {
            assert_eq!(Clocks::at(event_ms).monotonic_ns(), 1_000_000);
        }
        assert_eq!(Clocks::default().wall(), (0, 1_000_000));
    }

    #[test]
    fn a_clock_goes_beyond_the_next_second() {
        let mut clocks = Clocks {
            event_ms: 253_402_300_799_999,
            reads: 1_000,
        };
        assert_eq!(clocks.wall(), (253_402_300_800, 0));
    }
}
