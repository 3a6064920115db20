//! Windows of event time: where they begin and end.
//!
//! Times are ms since the epoch, bounds of a window are its first ms and the one behind its last. Events are kept by *segment*: a stretch of
//! time that lies in the same windows from its start to its end, so that an event is folded once however many windows it is in (Li et al.,
//! No Pane, No Gain, SIGMOD Record 34(1), 2005). Windows that lie end to end have one segment each.

use serde::{Deserialize, Serialize};

/// Times further from the epoch than this are taken for this far: 36 million years, where no sum of two overflows.
const TIME_MAX: i64 = 1 << 60;

const DAY_MS: i64 = 86_400_000;
/// From the first of March of the year 0 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;
/// Of 400 years.
const DAYS_OF_ERA: i64 = 146_097;

/// How events are cut into windows by their times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeWindows {
    /// All of one length, tumbling ones among them.
    Sliding(Sliding),
    /// Each ends when its key has been silent for `gap_ms`. Two events that are `gap_ms` apart are in two sessions.
    Session {
        /// How long a key is silent.
        gap_ms: i64,
    },
}

/// Windows of one length that begin at regular intervals. Those that begin as often as they are long lie end to end: they are called
/// tumbling, others sliding. Months lie end to end, and are as long as the calendar has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sliding {
    /// How long each is, in ms; at least 1.
    pub length_ms: i64,
    /// How often one begins, in ms; at least 1, and at most as long as one is.
    pub every_ms: i64,
    /// When one begins; from 0 on, and before `every_ms`.
    pub offset_ms: i64,
    /// How many months one has, in UTC and counted from the year 0; 0 where the length is in ms.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub months: i64,
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

impl Sliding {
    /// Windows of `months` calendar months each, in UTC.
    #[must_use]
    pub fn of_months(months: i64) -> Self {
        Self {
            length_ms: 0,
            every_ms: 0,
            offset_ms: 0,
            months,
            allowed_ms: 0,
        }
    }

    /// How long a segment is, in ms; 0 where windows are of months.
    #[must_use]
    pub fn segment_ms(self) -> i64 {
        let (mut one, mut other) = (self.length_ms, self.every_ms);
        while other != 0 {
            (one, other) = (other, one % other);
        }
        one
    }

    /// How many windows an event is in, at most.
    #[must_use]
    pub fn overlaps(self) -> i64 {
        if self.months > 0 {
            return 1;
        }
        self.length_ms / self.every_ms + i64::from(self.length_ms % self.every_ms > 0)
    }

    /// The segment of a time, where segments are `segment_ms` long.
    #[must_use]
    pub fn segment(self, time: i64, segment_ms: i64) -> Span {
        if self.months > 0 {
            return months_around(bounded(time), self.months);
        }
        let start = floor(bounded(time), segment_ms, self.offset_ms);
        Span {
            start,
            end: start + segment_ms,
        }
    }

    /// The end of the first window that a segment is in.
    #[must_use]
    pub fn first_end(self, segment: Span) -> i64 {
        if self.months > 0 {
            return self.last_end(segment);
        }
        // It begins at the first possible start from here on.
        floor(
            segment.end - self.length_ms + self.every_ms - 1,
            self.every_ms,
            self.offset_ms,
        ) + self.length_ms
    }

    /// The end of the last window that a segment is in.
    #[must_use]
    pub fn last_end(self, segment: Span) -> i64 {
        if self.months > 0 {
            return months_around(segment.start, self.months).end;
        }
        floor(segment.start, self.every_ms, self.offset_ms) + self.length_ms
    }

    /// Where the window with this end begins.
    #[must_use]
    pub fn start_of(self, end: i64) -> i64 {
        if self.months > 0 {
            return months_around(end - 1, self.months).start;
        }
        end - self.length_ms
    }

    /// The first end of a window behind `time`.
    #[must_use]
    pub fn next_end(self, time: i64) -> i64 {
        if self.months > 0 {
            return months_around(bounded(time), self.months).end;
        }
        floor(bounded(time) - self.length_ms, self.every_ms, self.offset_ms) + self.every_ms + self.length_ms
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(ms: &i64) -> bool {
    *ms == 0
}

/// The window of `months` calendar months, counted from the year 0, that a time lies in.
fn months_around(time: i64, months: i64) -> Span {
    let month = month_of(time.div_euclid(DAY_MS));
    let first = month - month.rem_euclid(months);
    Span {
        start: first_day_of(first) * DAY_MS,
        end: first_day_of(first + months) * DAY_MS,
    }
}

/// The month, counted from the year 0, of a day, counted from 1970-01-01. From Hinnant, "chrono-Compatible Low-Level Date Algorithms"
/// (2013), `civil_from_days`: years begin in March, so that the leap day is their last.
fn month_of(day: i64) -> i64 {
    let day = day + DAYS_TO_1970;
    let era = day.div_euclid(DAYS_OF_ERA);
    let day_of_era = day.rem_euclid(DAYS_OF_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    (era * 400 + year_of_era) * 12 + month_from_march + 2
}

/// The first day, counted from 1970-01-01, of a month, counted from the year 0 (`days_from_civil` of the same source).
fn first_day_of(month: i64) -> i64 {
    let from_march = month - 2;
    let (year, month_from_march) = (from_march.div_euclid(12), from_march.rem_euclid(12));
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month_from_march + 2) / 5;
    era * DAYS_OF_ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - DAYS_TO_1970
}

/// The greatest `offset + n * step` that is not above `time`.
fn floor(time: i64, step: i64, offset: i64) -> i64 {
    time - (time - offset).rem_euclid(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sliding(length_ms: i64, every_ms: i64, offset_ms: i64) -> Sliding {
        Sliding {
            length_ms,
            every_ms,
            offset_ms,
            months: 0,
            allowed_ms: 0,
        }
    }

    #[test]
    fn months_are_as_long_as_the_calendar_has_them() {
        let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days_of = |year: i64, month: usize| {
            let days = [
                31,
                if is_leap(year) { 29 } else { 28 },
                31,
                30,
                31,
                30,
                31,
                31,
                30,
                31,
                30,
                31,
            ];
            days[month]
        };
        let (mut day, months) = (0, Sliding::of_months(1));
        for year in 1970..2405 {
            for month in 0..12 {
                let end = day + days_of(year, month);
                let expected = Span {
                    start: day * DAY_MS,
                    end: end * DAY_MS,
                };
                for time in [expected.start, expected.start + 12_345, expected.end - 1] {
                    assert_eq!(months.segment(time, 0), expected, "{year}, month {month}");
                    assert_eq!(months.next_end(time), expected.end);
                }
                assert_eq!(months.start_of(expected.end), expected.start);
                day = end;
            }
        }
        // 1969, and the quarter around its end.
        assert_eq!(
            months.segment(-1, 0),
            Span {
                start: -31 * DAY_MS,
                end: 0
            }
        );
        let quarter = Sliding::of_months(3).segment(-1, 0);
        assert_eq!(
            quarter,
            Span {
                start: -92 * DAY_MS,
                end: 0
            }
        );
        let year = Sliding::of_months(12).segment(0, 0);
        assert_eq!(
            year,
            Span {
                start: 0,
                end: 365 * DAY_MS
            }
        );
    }

    #[test]
    fn windows_that_lie_end_to_end_have_one_pane_each() {
        let hours = sliding(60, 60, 0);
        assert_eq!(hours.segment_ms(), 60);
        for (time, start) in [(0, 0), (59, 0), (60, 60), (-1, -60), (-60, -60)] {
            let segment = hours.segment(time, 60);
            let end = start + 60;
            assert_eq!(segment, Span { start, end });
            assert_eq!((hours.first_end(segment), hours.last_end(segment)), (end, end));
        }
        assert_eq!(sliding(60, 60, 15).segment(14, 60), Span { start: -45, end: 15 });
    }

    #[test]
    fn a_pane_is_in_the_windows_that_a_search_finds() {
        for (length, every, offset) in [(10, 5, 0), (10, 4, 1), (7, 3, 2), (6, 6, 0), (9, 1, 0)] {
            let sliding = sliding(length, every, offset);
            let segment_ms = sliding.segment_ms();
            for time in -50..50 {
                let segment = sliding.segment(time, segment_ms);
                assert!(segment.start <= time && time < segment.end);
                let ends = (-400..400).map(|number| offset + number * every + length);
                let holding: Vec<i64> = ends.filter(|end| end - length <= time && time < *end).collect();
                let whole = |end: &&i64| **end - length <= segment.start && segment.end <= **end;
                assert_eq!(
                    holding.iter().filter(whole).count(),
                    holding.len(),
                    "no window cuts a segment"
                );
                let bounds = (sliding.first_end(segment), sliding.last_end(segment));
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
        let longest = sliding(i64::MAX >> 8, 1, 0);
        let months = Sliding::of_months(1);
        for time in [i64::MIN, i64::MAX] {
            let segment = months.segment(time, 0);
            assert!(segment.start <= bounded(time) && bounded(time) < segment.end);
        }
        for time in [i64::MIN, i64::MAX] {
            let segment = longest.segment(time, 1);
            assert!(longest.first_end(segment) <= longest.last_end(segment));
            assert!(longest.next_end(time) > bounded(time));
        }
    }
}
