//! Windows of event time: where they begin and end.
//!
//! Times are ms since the epoch, bounds of a window are its first ms and the one behind its last. Events are kept by *segment*: a stretch of
//! time that lies in the same windows from its start to its end, so that an event is folded once however many windows it is in (Li et al.,
//! No Pane, No Gain, SIGMOD Record 34(1), 2005). Windows that lie end to end have one segment each.

mod calendar;
mod early;

use serde::{Deserialize, Serialize};

use super::zone::Zone;
use calendar::Calendar;
pub use early::EarlyEvents;

/// Times further from the epoch than this are taken for this far: 36 million years, where no sum of two overflows.
const TIME_MAX: i64 = 1 << 60;

/// How events are cut into windows by their times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeWindows {
    /// All of one length, tumbling ones among them.
    Sliding(Sliding),
    /// Each ends when its key has been silent.
    Session(Session),
}

/// Windows that end when their key has been silent for `gap_ms`. Two events that are `gap_ms` apart are in two sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// How long a key is silent.
    pub gap_ms: i64,
    /// How long after its end one still takes late events in, in ms.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub allowed_ms: i64,
    /// After how many events each has a result before its end.
    #[serde(default, skip_serializing_if = "EarlyEvents::are_none")]
    pub early_events: EarlyEvents,
}

impl Session {
    /// Sessions that end when a key has been silent for so long.
    #[must_use]
    pub fn of_gap(gap_ms: i64) -> Self {
        Self {
            gap_ms,
            allowed_ms: 0,
            early_events: EarlyEvents::NONE,
        }
    }

    /// The session of an event alone.
    #[must_use]
    pub fn span(self, time: i64) -> Span {
        let start = bounded(time);
        Span {
            start,
            end: start.saturating_add(self.gap_ms),
        }
    }
}

impl TimeWindows {
    /// After how many events each window has a result before its end.
    #[must_use]
    pub fn early_events(self) -> EarlyEvents {
        match self {
            Self::Sliding(sliding) => sliding.early_events,
            Self::Session(session) => session.early_events,
        }
    }
}

/// Windows of one length that begin at regular intervals. Those that begin as often as they are long lie end to end: they are called
/// tumbling, others sliding. Those of a calendar are as long as the calendar has its days and months.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sliding {
    /// How long each is, in ms; 0 where a calendar says.
    pub length_ms: i64,
    /// How often one begins, in ms; at most as long as one is, and 0 where a calendar says.
    pub every_ms: i64,
    /// When one begins: from 0 on, and before `every_ms`. Where a calendar says how often, how much later than its midnight.
    pub offset_ms: i64,
    /// How often one begins, in months of the calendar, counted from the year 0; 0 where the calendar has no part in it, or days have.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub months: i64,
    /// How often one begins, in days of the calendar, counted from 1970-01-01; 0 where the calendar has no part in it, or months have.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub days: i64,
    /// How many of those days or months one window holds, as a multiple of how often one begins.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub periods: i64,
    /// Where the calendar is.
    #[serde(default, skip_serializing_if = "is_utc")]
    pub zone: Zone,
    /// How long after its end one still takes late events in, in ms.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub allowed_ms: i64,
    /// How often a result comes before the end, in ms of event time from the start of a window on; 0 where none does. Only where windows lie end to
    /// end.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub early_ms: i64,
    /// After how many events each has a result before its end. Only where windows lie end to end and have no other early results.
    #[serde(default, skip_serializing_if = "EarlyEvents::are_none")]
    pub early_events: EarlyEvents,
}

/// A stretch of event time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Windows of `length_ms`, one of which begins every `every_ms`.
    #[must_use]
    pub fn of_ms(length_ms: i64, every_ms: i64) -> Self {
        Self {
            length_ms,
            every_ms,
            offset_ms: 0,
            months: 0,
            days: 0,
            periods: 1,
            zone: Zone::utc(),
            allowed_ms: 0,
            early_ms: 0,
            early_events: EarlyEvents::NONE,
        }
    }

    /// Windows that begin every `months` calendar months, and are `periods` times as long.
    #[must_use]
    pub fn of_months(months: i64, periods: i64, zone: Zone) -> Self {
        Self {
            months,
            periods,
            zone,
            ..Self::of_ms(0, 0)
        }
    }

    /// Windows that begin every `days` calendar days, and are `periods` times as long.
    #[must_use]
    pub fn of_days(days: i64, periods: i64, zone: Zone) -> Self {
        Self {
            days,
            periods,
            zone,
            ..Self::of_ms(0, 0)
        }
    }

    /// What says how long they are, if that is not the same for all.
    fn calendar(self) -> Option<Calendar> {
        Calendar::of(self.months, self.days, self.offset_ms, self.zone)
    }

    /// How long a segment is, in ms; 0 where a calendar says.
    #[must_use]
    pub fn segment_ms(self) -> i64 {
        let (mut one, mut other) = (self.length_ms, self.every_ms);
        while other != 0 {
            (one, other) = (other, one % other);
        }
        one
    }

    /// Whether the host keeps aggregates of the segments of a window, because it has many. Windows with `allowed_lateness` or early results have no
    /// aggregates, since their contents change between two results.
    #[must_use]
    pub fn are_of_many_segments(self) -> bool {
        const FEW: i64 = 16;
        let never_changes = self.allowed_ms == 0 && self.early_ms == 0;
        self.calendar().is_none() && never_changes && self.length_ms / self.segment_ms() > FEW
    }

    /// How many windows an event is in, at most.
    #[must_use]
    pub fn overlaps(self) -> i64 {
        if self.calendar().is_some() {
            return self.periods;
        }
        self.length_ms / self.every_ms + i64::from(self.length_ms % self.every_ms > 0)
    }

    /// The segment of a time, where segments are `segment_ms` long; where there are early results, what of that lies between two of them.
    #[must_use]
    pub fn segment(self, time: i64, segment_ms: i64) -> Span {
        let whole = self.whole_segment(time, segment_ms);
        if self.early_ms == 0 {
            return whole;
        }
        let start = floor(bounded(time), self.early_ms, whole.start);
        Span {
            start,
            end: (start + self.early_ms).min(whole.end),
        }
    }

    fn whole_segment(self, time: i64, segment_ms: i64) -> Span {
        if let Some(calendar) = self.calendar() {
            let number = calendar.number_at(bounded(time));
            return Span {
                start: calendar.start(number),
                end: calendar.start(number + 1),
            };
        }
        let start = floor(bounded(time), segment_ms, self.offset_ms);
        Span {
            start,
            end: start + segment_ms,
        }
    }

    /// The end of the first window that a segment is in; or the first early result.
    #[must_use]
    pub fn first_end(self, segment: Span) -> i64 {
        if self.early_ms > 0 {
            return segment.end;
        }
        if let Some(calendar) = self.calendar() {
            return calendar.start(calendar.number_at(segment.start) + 1);
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
        if let Some(calendar) = self.calendar() {
            return calendar.start(calendar.number_at(segment.start) + self.periods);
        }
        floor(segment.start, self.every_ms, self.offset_ms) + self.length_ms
    }

    /// Where the window with this end begins.
    #[must_use]
    pub fn start_of(self, end: i64) -> i64 {
        if let Some(calendar) = self.calendar() {
            return calendar.start(calendar.number_at(end - 1) + 1 - self.periods);
        }
        end - self.length_ms
    }

    /// When the first result of a window that ends at `end` comes behind `time`, which is before that.
    #[must_use]
    pub fn next_result(self, time: i64, end: i64) -> i64 {
        if self.early_ms == 0 {
            return self.next_end(time);
        }
        end.min(floor(bounded(time), self.early_ms, self.start_of(end)) + self.early_ms)
    }

    /// The first end of a window behind `time`.
    #[must_use]
    pub fn next_end(self, time: i64) -> i64 {
        if let Some(calendar) = self.calendar() {
            return calendar.start(calendar.number_at(bounded(time)) + 1);
        }
        floor(bounded(time) - self.length_ms, self.every_ms, self.offset_ms) + self.every_ms + self.length_ms
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_one(number: &i64) -> bool {
    *number == 1
}

fn one() -> i64 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_utc(zone: &Zone) -> bool {
    zone.is_utc()
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
            offset_ms,
            ..Sliding::of_ms(length_ms, every_ms)
        }
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
        let months = Sliding::of_months(1, 1, Zone::utc());
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
