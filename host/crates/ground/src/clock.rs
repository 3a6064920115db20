//! Time, as a handle that is given in at construction.
//!
//! The only place that asks the operating system for the time; everything else holds a [`Clock`], so that a test can
//! own it.

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells the time.
pub trait Clock: Debug + Send + Sync {
    /// ns since an arbitrary start, never decreasing.
    fn now_ns(&self) -> u64;

    /// Wall time, ms since the epoch.
    fn wall_ms(&self) -> i64;
}

/// A duration as a [`Clock`] counts it; longer than 584 years is for ever.
#[must_use]
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The time of the operating system.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose [`now_ns`](Clock::now_ns) counts from now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place that the ban points to")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).expect("u64 ns last for 584 years")
    }

    #[allow(clippy::disallowed_methods, reason = "this is the one place that the ban points to")]
    fn wall_ms(&self) -> i64 {
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        // A clock that was set to before 1970 is wrong, but it is no reason to stop.
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => ms(since),
            Err(before) => -ms(before.duration()),
        }
    }
}

/// Processor time that this thread has spent, in ns. It measures and decides nothing, so no test has to own it.
#[must_use]
pub fn thread_spent_ns() -> u64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let ns = Duration::new(
        spent.tv_sec.try_into().expect("what was spent is not negative"),
        spent.tv_nsec.try_into().expect("what was spent is not negative"),
    );
    u64::try_from(ns.as_nanos()).expect("u64 ns last for 584 years")
}

/// A clock that stands still until it is moved.
///
/// Both of its times move together; [`set`](Self::set) moves the wall time alone.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ns: AtomicU64,
    wall_offset_ms: AtomicI64,
}

impl ManualClock {
    /// A clock at 0 ns and at this wall time, ms since the epoch.
    #[must_use]
    pub fn new(wall_ms: i64) -> Self {
        Self {
            now_ns: AtomicU64::new(0),
            wall_offset_ms: AtomicI64::new(wall_ms),
        }
    }

    /// Lets time pass.
    ///
    /// # Panics
    /// When it is more than 584 years.
    pub fn advance(&self, by: Duration) {
        let ns = u64::try_from(by.as_nanos()).expect("nobody advances a clock by 584 years");
        self.now_ns.fetch_add(ns, Ordering::SeqCst);
    }

    /// Sets the wall time, ms since the epoch, to earlier or later.
    pub fn set(&self, wall_ms: i64) {
        self.wall_offset_ms.store(wall_ms - self.passed_ms(), Ordering::SeqCst);
    }

    fn passed_ms(&self) -> i64 {
        i64::try_from(self.now_ns() / 1_000_000).expect("u64 ns are fewer than i64 ms")
    }
}

impl Clock for ManualClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::SeqCst)
    }

    fn wall_ms(&self) -> i64 {
        self.wall_offset_ms.load(Ordering::SeqCst) + self.passed_ms()
    }
}

/// A clock that moves on by a millisecond whenever it is read: whatever a test does takes long by it.
#[derive(Debug, Default)]
pub struct SlowClock(AtomicU64);

impl Clock for SlowClock {
    fn now_ns(&self) -> u64 {
        self.0.fetch_add(1_000_000, Ordering::SeqCst)
    }

    fn wall_ms(&self) -> i64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_it_is_moved() {
        let clock = ManualClock::new(1_000);
        assert_eq!((clock.now_ns(), clock.wall_ms()), (0, 1_000));
        clock.advance(Duration::from_millis(5));
        assert_eq!((clock.now_ns(), clock.wall_ms()), (5_000_000, 1_005));
    }

    #[test]
    fn setting_the_wall_time_leaves_the_monotonic_time_alone() {
        let clock = ManualClock::new(0);
        clock.advance(Duration::from_secs(1));
        clock.set(500);
        assert_eq!((clock.now_ns(), clock.wall_ms()), (1_000_000_000, 500));
    }

    #[test]
    fn the_system_clock_never_goes_back() {
        let clock = SystemClock::new();
        let first = clock.now_ns();
        assert!(clock.now_ns() >= first);
    }
}
