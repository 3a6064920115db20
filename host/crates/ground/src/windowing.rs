//! Windows of event time: where they begin and end.
//!
//! Times are ms since the epoch, bounds of a window are its first ms and the one behind its last. Events are kept by *pane*: a stretch of
//! time that lies in the same windows from its start to its end, so that an event is folded once however many windows it is in (Li et al.,
//! No Pane, No Gain, SIGMOD Record 34(1), 2005). Windows that lie end to end have one pane each.

use serde::{Deserialize, Serialize};

/// Times further from the epoch than this are taken for this far: 36 million years, where no sum of two overflows.
const TIME_MAX: i64 = 1 << 60;

/// How events are cut into windows by their times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeWindows {
    /// All of one length.
    Stretches(Stretches),
    /// Each ends when its key has been silent for so many ms: at least 1. Two events that are so far apart are in two of them.
    Session {
        /// How long a key is silent.
        gap_ms: i64,
    },
}

/// Windows of one length that begin at regular intervals. Those that begin as often as they are long lie end to end: they are called
/// tumbling, others sliding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretches {
    /// How long each is, in ms; at least 1.
    pub length_ms: i64,
    /// How often one begins, in ms; at least 1, and at most as long as one is.
    pub every_ms: i64,
    /// When one begins; from 0 on, and before `every_ms`.
    pub offset_ms: i64,
    /// How long after its end one still takes late events in, in ms.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub allowed_ms: i64,
}

/// A stretch of event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Its first ms.
    pub start: i64,
    /// The ms behind its last.
    pub end: i64,
}

/// The event time that windows go by.
#[must_use]
pub fn bounded(time: i64) -> i64 {
    time.clamp(-TIME_MAX, TIME_MAX)
}

impl Span {
    /// Whether they have a ms in common.
    #[must_use]
    pub fn overlaps(self, other: Span) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The shortest that holds both.
    #[must_use]
    pub fn joined(self, other: Span) -> Span {
        Span {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }
}

impl Stretches {
    /// How long a pane is, in ms.
    #[must_use]
    pub fn pane_ms(self) -> i64 {
        let (mut one, mut other) = (self.length_ms, self.every_ms);
        while other != 0 {
            (one, other) = (other, one % other);
        }
        one
    }

    /// The pane of a time, where panes are `pane_ms` long.
    #[must_use]
    pub fn pane(self, time: i64, pane_ms: i64) -> Span {
        let start = floor(bounded(time), pane_ms, self.offset_ms);
        Span {
            start,
            end: start + pane_ms,
        }
    }

    /// The end of the first window that a pane is in.
    #[must_use]
    pub fn first_end(self, pane: Span) -> i64 {
        // It begins at the first possible start from here on.
        floor(
            pane.end - self.length_ms + self.every_ms - 1,
            self.every_ms,
            self.offset_ms,
        ) + self.length_ms
    }

    /// The end of the last window that a pane is in.
    #[must_use]
    pub fn last_end(self, pane: Span) -> i64 {
        floor(pane.start, self.every_ms, self.offset_ms) + self.length_ms
    }

    /// The first end of a window behind `time`.
    #[must_use]
    pub fn next_end(self, time: i64) -> i64 {
        floor(bounded(time) - self.length_ms, self.every_ms, self.offset_ms) + self.every_ms + self.length_ms
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(ms: &i64) -> bool {
    *ms == 0
}

/// The greatest `offset + n * step` that is not above `time`.
fn floor(time: i64, step: i64, offset: i64) -> i64 {
    time - (time - offset).rem_euclid(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretches(length_ms: i64, every_ms: i64, offset_ms: i64) -> Stretches {
        Stretches {
            length_ms,
            every_ms,
            offset_ms,
            allowed_ms: 0,
        }
    }

    #[test]
    fn windows_that_lie_end_to_end_have_one_pane_each() {
        let hours = stretches(60, 60, 0);
        assert_eq!(hours.pane_ms(), 60);
        for (time, start) in [(0, 0), (59, 0), (60, 60), (-1, -60), (-60, -60)] {
            let pane = hours.pane(time, 60);
            let end = start + 60;
            assert_eq!(pane, Span { start, end });
            assert_eq!((hours.first_end(pane), hours.last_end(pane)), (end, end));
        }
        assert_eq!(stretches(60, 60, 15).pane(14, 60), Span { start: -45, end: 15 });
    }

    #[test]
    fn a_pane_is_in_the_windows_that_a_search_finds() {
        for (length, every, offset) in [(10, 5, 0), (10, 4, 1), (7, 3, 2), (6, 6, 0), (9, 1, 0)] {
            let sliding = stretches(length, every, offset);
            let pane_ms = sliding.pane_ms();
            for time in -50..50 {
                let pane = sliding.pane(time, pane_ms);
                assert!(pane.start <= time && time < pane.end);
                let ends = (-400..400).map(|number| offset + number * every + length);
                let holding: Vec<i64> = ends.filter(|end| end - length <= time && time < *end).collect();
                let whole = |end: &&i64| **end - length <= pane.start && pane.end <= **end;
                assert_eq!(
                    holding.iter().filter(whole).count(),
                    holding.len(),
                    "no window cuts a pane"
                );
                let bounds = (sliding.first_end(pane), sliding.last_end(pane));
                assert_eq!(bounds, (holding[0], holding[holding.len() - 1]));
                let next = (-400..400)
                    .map(|number| offset + number * every + length)
                    .find(|end| *end > time);
                assert_eq!(Some(sliding.next_end(time)), next);
            }
        }
    }

    #[test]
    fn no_time_is_too_far_away() {
        let longest = stretches(i64::MAX >> 8, 1, 0);
        for time in [i64::MIN, i64::MAX] {
            let pane = longest.pane(time, 1);
            assert!(longest.first_end(pane) <= longest.last_end(pane));
            assert!(longest.next_end(time) > bounded(time));
        }
    }
}
