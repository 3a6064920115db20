//! How many events are due, where a source that makes its events has a rate.
//!
//! Knows nothing of sleeping: an event that is not due yet is the runtime's to wait for, and one that is overdue comes at once.

use std::sync::Arc;
use std::time::Duration;

use dirigo_ground::clock::Clock;

/// The pace of a source.
pub(crate) struct Pace {
    /// Events per second; `None` for as many as are taken.
    rate: Option<f64>,
    clock: Arc<dyn Clock>,
    /// When the first event of this run was due, and its number.
    start: Option<(u64, u64)>,
}

impl Pace {
    pub(crate) fn new(rate: Option<f64>, clock: Arc<dyn Clock>) -> Self {
        Self {
            rate,
            clock,
            start: None,
        }
    }

    /// How many events are due by now, of which `taken` were taken, and how long it is until the next one.
    pub(crate) fn due(&mut self, taken: u64) -> (u64, Duration) {
        let Some(rate) = self.rate else {
            return (u64::MAX, Duration::MAX);
        };
        let now = self.clock.now_ns();
        let (start, first) = *self.start.get_or_insert((now, taken));
        let passed = Duration::from_nanos(now - start);
        let (count, next) = due_after(passed, rate);
        (first + count, next.saturating_sub(passed))
    }
}

/// How many events are due when `passed` has passed, the first of them at once, and when the next one is.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "2^53 events are far away, and neither a time nor a rate is negative"
)]
fn due_after(passed: Duration, rate: f64) -> (u64, Duration) {
    let due_at = |number: u64| Duration::try_from_secs_f64(number as f64 / rate).unwrap_or(Duration::MAX);
    let mut count = (passed.as_secs_f64() * rate) as u64;
    // What multiplying rounds to may be off by one from what dividing does; the latter counts, for it is what is waited
    // for.
    while count > 0 && due_at(count - 1) > passed {
        count -= 1;
    }
    while due_at(count) <= passed {
        count += 1;
    }
    (count, due_at(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_due_when_its_wait_is_over_at_any_rate() {
        for rate in [1e-12, 0.1, 3.0, 7.7, 999.9, 1e6, 1e9] {
            let mut passed = Duration::ZERO;
            for number in 1..200 {
                let (count, next) = due_after(passed, rate);
                assert_eq!(count, number, "at a rate of {rate}");
                passed = next;
            }
        }
    }
}
