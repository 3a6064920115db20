//! How a pipeline has been doing over the last hour: a few numbers every 5 s, for as long as they change.
//!
//! Kept in memory alone, so it begins anew with the service. Does not know where the numbers come from, or who asks for them.

use std::collections::VecDeque;

use dirigo_api::HistorySample;

/// The time between two looks.
pub(crate) const INTERVAL_MS: i64 = 5_000;
/// How far back the history of a pipeline goes.
const REACH_MS: i64 = 3_600_000;
/// The most samples of one pipeline: one for each look of the hour, and the one that says how it was when the hour began. A sample has 72 bytes and
/// the queue room for at most 1,024, so a pipeline takes at most 72 KiB, and one that has not changed for an hour takes that of one sample.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 721")]
const SAMPLES_MAX: usize = (REACH_MS / INTERVAL_MS) as usize + 1;

/// Samples of a pipeline, in the order of their times.
#[derive(Debug, Default)]
pub(crate) struct History {
    samples: VecDeque<HistorySample>,
    /// When the pipeline was last looked at; the last sample still held then.
    looked_ms: i64,
}

impl History {
    /// Takes what a look has shown, and keeps it if it is new.
    pub(crate) fn note(&mut self, sample: HistorySample) {
        let now_ms = sample.at_ms;
        let looked_ms = std::mem::replace(&mut self.looked_ms, now_ms);
        if let Some(last) = self.samples.back().copied() {
            let held = HistorySample {
                at_ms: looked_ms,
                ..last
            };
            if (HistorySample { at_ms: now_ms, ..last }) == sample {
                self.forget(now_ms);
                return;
            }
            // Until when nothing changed. Without it, what came in the last 5 s would look as if it had come in all the time since the last sample.
            if last.at_ms < looked_ms {
                self.samples.push_back(held);
            }
        }
        self.samples.push_back(sample);
        self.forget(now_ms);
    }

    /// The samples from a time on, and before them the one that held then.
    pub(crate) fn since(&self, from_ms: i64) -> Vec<HistorySample> {
        let first = self.samples.partition_point(|sample| sample.at_ms < from_ms);
        self.samples.iter().skip(first.saturating_sub(1)).copied().collect()
    }

    /// When the pipeline was last looked at.
    pub(crate) fn looked_ms(&self) -> i64 {
        self.looked_ms
    }

    /// Drops what is more than an hour old, but for the sample that held when the hour began. A clock that is set back or forth drops no more
    /// than that, and keeps no more than there may be.
    fn forget(&mut self, now_ms: i64) {
        while self.samples.len() > SAMPLES_MAX
            || self.samples.get(1).is_some_and(|next| next.at_ms <= now_ms - REACH_MS)
        {
            self.samples.pop_front();
        }
        if self.samples.len() == 1 {
            self.samples.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dirigo_api::State;
    use dirigo_ground::clock::{Clock as _, ManualClock};

    use super::*;

    const LOOK: Duration = Duration::from_millis(INTERVAL_MS.unsigned_abs());

    fn sample(clock: &ManualClock, events_in: u64) -> HistorySample {
        HistorySample {
            at_ms: clock.wall_ms(),
            state: State::Running,
            version: 1,
            events_in,
            events_out: 0,
            dead_letters: 0,
            in_flight: 0,
            behind_ms: 0,
            worker_ns: 0,
        }
    }

    #[test]
    fn a_pipeline_that_does_nothing_takes_one_sample() {
        let (clock, mut history) = (ManualClock::new(1_000), History::default());
        for _ in 0..10_000 {
            history.note(sample(&clock, 7));
            clock.advance(LOOK);
        }
        assert_eq!(history.since(i64::MIN).len(), 1);
        assert_eq!(history.samples.capacity(), 1);
    }

    #[test]
    fn a_burst_after_a_pause_is_not_spread_over_the_pause() {
        let (clock, mut history) = (ManualClock::new(0), History::default());
        for look in 0..10 {
            history.note(sample(&clock, if look < 9 { 7 } else { 1_000 }));
            clock.advance(LOOK);
        }
        let seen: Vec<(i64, u64)> = history
            .since(i64::MIN)
            .iter()
            .map(|sample| (sample.at_ms, sample.events_in))
            .collect();
        assert_eq!(seen, [(0, 7), (40_000, 7), (45_000, 1_000)]);
    }

    #[test]
    fn a_busy_pipeline_keeps_an_hour_and_no_more() {
        let (clock, mut history) = (ManualClock::new(0), History::default());
        for events_in in 0..5_000 {
            history.note(sample(&clock, events_in));
            clock.advance(LOOK);
        }
        let samples = history.since(i64::MIN);
        assert_eq!(samples.len(), SAMPLES_MAX);
        let (first, last) = (samples[0], samples[SAMPLES_MAX - 1]);
        assert_eq!((last.events_in, last.at_ms - first.at_ms), (4_999, REACH_MS));
        assert!(history.samples.capacity() <= 1_024, "{}", history.samples.capacity());
        let later = history.since(last.at_ms - 7_000);
        assert_eq!(later.len(), 3, "two looks of 7 s, and what held before them");
    }

    #[test]
    fn a_clock_that_is_set_back_makes_the_history_no_longer() {
        let (clock, mut history) = (ManualClock::new(1_000_000_000), History::default());
        for events_in in 0..3_000 {
            if events_in % 500 == 0 {
                clock.set(1_000_000_000);
            }
            history.note(sample(&clock, events_in));
            clock.advance(LOOK);
        }
        assert!(history.since(i64::MIN).len() <= SAMPLES_MAX);
    }
}
