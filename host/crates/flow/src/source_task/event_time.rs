//! How far event time has come in what a source has read.

use std::cell::Cell;
use std::time::Duration;

use dirigo_ground::behind::Behind;
use dirigo_ground::lineage::Watermark;
use dirigo_ground::windowing::bounded;

/// The watermark of a source: its newest event time less its lateness, and never less than before.
#[derive(Debug)]
pub(super) struct SourceTime {
    lateness_ms: i64,
    watermark: Cell<Watermark>,
}

/// A duration in ms, as event times are.
pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl SourceTime {
    /// Of a source whose events may come so late, and that has come to `watermark` before.
    pub(super) fn new(lateness: Duration, watermark: Watermark) -> Self {
        Self {
            lateness_ms: milliseconds(lateness),
            watermark: Cell::new(watermark),
        }
    }

    pub(super) fn watermark(&self) -> Watermark {
        self.watermark.get()
    }

    /// Goes on to `watermark`, if that is further.
    pub(super) fn pass_to(&self, watermark: Watermark) {
        self.watermark.set(self.watermark.get().max(bounded(watermark)));
    }

    /// Goes on past events with these times, in order. Gives those that came behind the watermark.
    pub(super) fn pass(&self, times: &[i64]) -> Behind {
        let mut watermark = self.watermark.get();
        let mut behind = Vec::new();
        for (event, &time) in (0..).zip(times) {
            let time = bounded(time);
            if time < watermark {
                behind.push((event, watermark));
            }
            watermark = watermark.max(time.saturating_sub(self.lateness_ms));
        }
        self.watermark.set(watermark);
        Behind::new(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirigo_ground::lineage::{AFTER_ALL, BEFORE_ALL};

    #[test]
    fn events_come_behind_what_was_read_before_them_less_the_lateness() {
        let event_time = SourceTime::new(Duration::from_millis(5), BEFORE_ALL);
        let behind = event_time.pass(&[100, 95, 94, 110, 104, 105]);
        assert_eq!(behind.events(), [(2, 95), (4, 105)]);
        assert_eq!(event_time.watermark(), 105);
        assert_eq!(
            event_time.pass(&[104]).events(),
            [(0, 105)],
            "batches make no difference"
        );
        event_time.pass_to(50);
        assert_eq!(event_time.watermark(), 105);
        event_time.pass_to(200);
        assert_eq!(event_time.pass(&[150]).events(), [(0, 200)]);
    }

    #[test]
    fn times_at_the_ends_of_what_there_is_overflow_nothing() {
        let century = Duration::from_hours(876_000);
        let event_time = SourceTime::new(century, BEFORE_ALL);
        assert!(event_time.pass(&[i64::MIN, i64::MIN]).is_empty());
        assert!(event_time.watermark() > BEFORE_ALL);
        let event_time = SourceTime::new(Duration::ZERO, BEFORE_ALL);
        let far = bounded(i64::MAX);
        assert_eq!(event_time.pass(&[i64::MAX, i64::MAX, 1 << 61, 0]).events(), [(3, far)]);
        assert!(
            event_time.watermark() < AFTER_ALL,
            "a wrong time is not the end of a source"
        );
    }
}
