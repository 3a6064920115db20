//! Days and months as the clocks of a time zone show them: where daylight-saving time begins or ends, a day has 23 or 25 hours.

use crate::zone::Zone;

const DAY_MS: i64 = 86_400_000;
/// From the first of March of the year 0 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;
/// Of 400 years.
const DAYS_OF_ERA: i64 = 146_097;

/// Consecutive periods of a fixed number of days or months each. Numbers identify them: period 0 holds 1970-01-01, or the start of the year 0 where
/// periods are of months.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calendar {
    unit: Unit,
    /// How much later than midnight they begin, on the clocks of the zone.
    offset_ms: i64,
    zone: Zone,
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    Days(i64),
    Months(i64),
}

impl Calendar {
    /// That of periods of months or of days; `None` where both are 0.
    pub(super) fn of(months: i64, days: i64, offset_ms: i64, zone: Zone) -> Option<Self> {
        let unit = match (months, days) {
            (0, 0) => return None,
            (0, days) => Unit::Days(days),
            (months, _) => Unit::Months(months),
        };
        Some(Self { unit, offset_ms, zone })
    }

    /// The number of the period that a time lies in.
    pub(super) fn number_at(self, time: i64) -> i64 {
        let day = (self.shown(time) - self.offset_ms).div_euclid(DAY_MS);
        let mut number = match self.unit {
            Unit::Days(days) => day.div_euclid(days),
            Unit::Months(months) => month_of(day).div_euclid(months),
        };
        if self.zone.is_utc() {
            return number;
        }
        // Where clocks are put back past midnight, they show the day before once more. A period has begun when they first show its start.
        while time < self.start(number) {
            number -= 1;
        }
        while self.start(number + 1) <= time {
            number += 1;
        }
        number
    }

    /// When a period begins.
    pub(super) fn start(self, number: i64) -> i64 {
        let day = match self.unit {
            Unit::Days(days) => number * days,
            Unit::Months(months) => first_day_of(number * months),
        };
        let shown = day * DAY_MS + self.offset_ms;
        if self.zone.is_utc() {
            shown
        } else {
            self.zone.first_shown(shown)
        }
    }

    fn shown(self, time: i64) -> i64 {
        if self.zone.is_utc() {
            time
        } else {
            self.zone.shown(time)
        }
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

#[cfg(test)]
mod tests {
    use super::super::{Sliding, Span};
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

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
        let (mut day, months) = (0, Sliding::of_months(1, 1, Zone::utc()));
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
        let quarter = Sliding::of_months(3, 1, Zone::utc()).segment(-1, 0);
        assert_eq!(
            quarter,
            Span {
                start: -92 * DAY_MS,
                end: 0
            }
        );
        let year = Sliding::of_months(12, 1, Zone::utc()).segment(0, 0);
        assert_eq!(
            year,
            Span {
                start: 0,
                end: 365 * DAY_MS
            }
        );
    }

    fn days(zone: &str) -> Sliding {
        Sliding::of_days(1, 1, Zone::named(zone).unwrap())
    }

    /// Its start and its length in hours.
    fn day(sliding: Sliding, time: i64) -> (i64, i64) {
        let Span { start, end } = sliding.segment(time, 0);
        assert!(start <= time && time < end, "{time} lies in its day");
        assert_eq!((sliding.start_of(end), sliding.next_end(time)), (start, end));
        (start, (end - start) / HOUR_MS)
    }

    #[test]
    fn a_day_on_which_clocks_change_has_23_or_25_hours() {
        let paris = days("Europe/Paris");
        // 2024-03-30T23:00Z, 2024-03-31T22:00Z; 2024-10-26T22:00Z, 2024-10-27T23:00Z.
        for (start, hours) in [
            (1_711_839_600_000, 23),
            (1_711_922_400_000, 24),
            (1_729_980_000_000, 25),
            (1_730_070_000_000, 24),
        ] {
            assert_eq!(day(paris, start), (start, hours));
            assert_eq!(day(paris, start + hours * HOUR_MS - 1), (start, hours));
        }
        // From six in the morning on: the day before is the shorter one.
        let working = Sliding {
            offset_ms: 6 * HOUR_MS,
            ..paris
        };
        assert_eq!(day(working, 1_711_839_600_000), (1_711_774_800_000, 23));
    }

    #[test]
    fn clocks_that_are_put_back_past_midnight_begin_no_second_day() {
        // In Newfoundland they went from 0:01 to 23:01 on 2010-11-07, 2:31 UTC; the day had begun at 2:30.
        let newfoundland = days("America/St_Johns");
        let begun = 1_289_097_000_000;
        for time in [begun, begun + 60_000, begun + HOUR_MS] {
            assert_eq!(day(newfoundland, time), (begun, 25));
        }
        assert_eq!(day(newfoundland, begun - 1).0, begun - 24 * HOUR_MS);
    }

    #[test]
    fn a_day_that_a_zone_left_out_has_no_window() {
        // Samoa had no 2011-12-30: the 31st began at 10:00Z on the 30th.
        let samoa = days("Pacific/Apia");
        let begun = 1_325_239_200_000;
        assert_eq!(day(samoa, begun), (begun, 24));
        assert_eq!(day(samoa, begun - 1), (begun - 24 * HOUR_MS, 24));
    }

    #[test]
    fn windows_of_days_and_months_in_a_zone_lie_end_to_end() {
        let zones = [
            "Europe/Paris",
            "America/St_Johns",
            "Pacific/Apia",
            "Asia/Kolkata",
            "America/Havana",
            "Africa/Cairo",
            "+05:45",
        ];
        for zone in zones.map(|zone| Zone::named(zone).unwrap()) {
            for sliding in [
                Sliding::of_days(1, 1, zone),
                Sliding::of_days(7, 3, zone),
                Sliding::of_months(1, 2, zone),
            ] {
                // From 1969 to 2031, in steps that meet each hour of a day.
                let (mut time, mut before) = (-31_536_000_000, None);
                while time < 1_924_992_000_000 {
                    let segment = sliding.segment(time, 0);
                    assert!(segment.start <= time && time < segment.end, "{sliding:?} at {time}");
                    assert!(before.is_none_or(|end| end == segment.start), "{sliding:?} at {time}");
                    assert_eq!(sliding.first_end(segment), segment.end);
                    let last = sliding.last_end(segment);
                    assert_eq!(sliding.start_of(last), segment.start, "{sliding:?} at {time}");
                    assert_eq!(sliding.next_end(segment.end - 1), segment.end);
                    before = Some(segment.end);
                    time = segment.end;
                }
            }
        }
    }
}
