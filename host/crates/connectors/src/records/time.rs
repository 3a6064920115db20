//! The times of events.
//!
//! Owns which numbers and texts are times, and the words in which everything else is refused. A text is an RFC 3339 time, as
//! exact as it likes; what is finer than 1 ms is cut off towards the past. Also taken are offsets that are shorter (`+0200`,
//! `+02`), and where the pipeline names a zone, times without an offset. A leap second is the first second of the next day,
//! as it is for the clocks of computers.

use std::borrow::Cow;

use dirigo_connect::{TimeField, TimeUnit};
use dirigo_ground::zone::Zone;
use jiff::tz::AmbiguousOffset;

use super::{json, words};

/// How much of an offending value a reason quotes, in bytes: enough to recognise it, and a line of a terminal.
pub(super) const EXCERPT_BYTES_MAX: usize = 60;

const MS_OF_SECOND: i64 = 1_000;
const MINUTES_OF_DAY: i64 = 24 * 60;

/// What a time can be, in words.
pub(super) fn described(time: &TimeField) -> Cow<'static, str> {
    match time.unit {
        None => "an integer of ms since the epoch or an RFC 3339 string".into(),
        Some(unit) => format!("a number of {unit} since the epoch or an RFC 3339 string").into(),
    }
}

/// The time that a JSON number says.
#[inline]
pub(super) fn from_number(time: &TimeField, text: &[u8]) -> Result<i64, String> {
    let ms = match (words::integer(text), time.unit) {
        (Some(ms), None | Some(TimeUnit::Milliseconds)) => return Ok(ms),
        (Some(number), Some(TimeUnit::Seconds)) => number.checked_mul(MS_OF_SECOND).ok_or(NumberFlaw::TooLarge),
        (Some(number), Some(TimeUnit::Microseconds)) => Ok(number.div_euclid(1_000)),
        (Some(number), Some(TimeUnit::Nanoseconds)) => Ok(number.div_euclid(1_000_000)),
        (None, unit) => decimal(text, unit.unwrap_or(TimeUnit::Milliseconds)),
    };
    ms.map_err(|flaw| {
        let problem = match flaw {
            NumberFlaw::TooLarge => "which is beyond 64 bits",
            NumberFlaw::Fraction => "a time must be an integer",
        };
        format!("`{}` is {}, {problem}", time.pointer.text, excerpt(text))
    })
}

enum NumberFlaw {
    TooLarge,
    Fraction,
}

/// The time that a number with a fraction or an exponent says, or one of many digits; computed from its digits, since a float
/// would not hold them all.
fn decimal(text: &[u8], unit: TimeUnit) -> Result<i64, NumberFlaw> {
    let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &b"0"[..]),
    };
    let (is_negative, mantissa) = match mantissa {
        [b'-', mantissa @ ..] => (true, mantissa),
        mantissa => (false, mantissa),
    };
    let (whole, fraction) = match mantissa.iter().position(|&byte| byte == b'.') {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &b""[..]),
    };
    let digits: Vec<u8> = whole.iter().chain(fraction).copied().collect();
    let significant = digits.iter().rposition(|&digit| digit != b'0');
    let Some(last) = significant else { return Ok(0) };
    let is_exponent_negative = exponent.starts_with(b"-");
    let exponent = str::from_utf8(exponent).ok().and_then(|text| text.parse::<i64>().ok());
    // One that is beyond 64 bits is as far from any time as one at their end.
    let exponent = exponent.unwrap_or(if is_exponent_negative {
        i64::MIN / 2
    } else {
        i64::MAX / 2
    });
    // The number is that of the digits up to the last that is no zero, times a power of ten.
    let power = exponent - places(fraction.len()) + places(digits.len() - 1 - last);
    let of_ms = match unit {
        TimeUnit::Seconds => 3,
        TimeUnit::Milliseconds => 0,
        TimeUnit::Microseconds => -3,
        TimeUnit::Nanoseconds => -6,
    };
    if power < 0 && unit != TimeUnit::Seconds {
        return Err(NumberFlaw::Fraction);
    }
    scaled(is_negative, &digits[..=last], power + of_ms)
}

fn places(count: usize) -> i64 {
    i64::try_from(count).expect("a text has less than 2^63 digits")
}

/// The digits as a number, times ten to the `power`; parts of 1 are cut off towards the past.
fn scaled(is_negative: bool, digits: &[u8], power: i64) -> Result<i64, NumberFlaw> {
    let kept = places(digits.len()) + power.min(0);
    let (kept, cut) = digits.split_at(usize::try_from(kept).unwrap_or(0));
    let mut sum = 0_i64;
    let mut add = |digit: u8| {
        // Counted below 0, which reaches one further.
        sum = sum.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))?;
        Some(())
    };
    let zeros = if kept.iter().all(|&digit| digit == b'0') {
        0
    } else {
        power.max(0)
    };
    // More than 19 overflow whatever is before them.
    let zeros = std::iter::repeat_n(b'0', usize::try_from(zeros.min(20)).unwrap_or(0));
    for digit in kept.iter().copied().chain(zeros) {
        add(digit).ok_or(NumberFlaw::TooLarge)?;
    }
    let has_cut = cut.iter().any(|&digit| digit != b'0');
    match (is_negative, has_cut) {
        (true, true) => sum.checked_sub(1),
        (true, false) => Some(sum),
        (false, _) => sum.checked_neg(),
    }
    .ok_or(NumberFlaw::TooLarge)
}

/// The time that a text says.
pub(super) fn from_text(time: &TimeField, text: &[u8]) -> Result<i64, String> {
    if time.unit.is_some() && json::is_number(text) {
        return from_number(time, text);
    }
    let refused = |problem: &str| {
        format!(
            "`{}` is \"{}\", which is not an RFC 3339 time: {problem}",
            time.pointer.text,
            excerpt(text)
        )
    };
    ms(text, time.zone).map_err(refused)
}

/// A date and a time of day.
struct Civil {
    year: i16,
    month: i8,
    day: i8,
    hour: i8,
    minute: i8,
    second: i8,
    ms: i64,
}

fn ms(text: &[u8], zone: Option<Zone>) -> Result<i64, &'static str> {
    let mut rest = text;
    let civil = civil(&mut rest)?;
    let offset_seconds = match (offset(rest)?, zone) {
        (Some(minutes), _) => minutes * 60,
        (None, Some(zone)) => offset_in(zone, &civil)?,
        (None, None) => {
            return Err(
                "it has no offset, such as `Z` or `+02:00`; `time = { field = …, zone = \"UTC\" }` says in which \
                        zone such times are",
            );
        }
    };
    let day_seconds = i64::from(civil.hour) * 3_600 + i64::from(civil.minute) * 60 + i64::from(civil.second);
    let seconds = days(&civil) * MINUTES_OF_DAY * 60 + day_seconds - offset_seconds;
    // The leap second itself is the first of the next day by now.
    if civil.second == 60 && seconds.rem_euclid(MINUTES_OF_DAY * 60) != 0 {
        return Err("a second 60 comes only at 23:59 UTC");
    }
    Ok(seconds * MS_OF_SECOND + civil.ms)
}

fn civil(rest: &mut &[u8]) -> Result<Civil, &'static str> {
    const DATE: &str = "it does not begin with a date such as 2024-03-01";
    const TIME: &str = "the date is not followed by a time such as T12:00:00Z";
    const SECONDS: &str = "the time has no seconds: it is written as T12:00:00Z";
    let year = number(rest, 4).ok_or(DATE)?;
    let month = after(rest, b"-").and_then(|()| number(rest, 2)).ok_or(DATE)?;
    let day = after(rest, b"-").and_then(|()| number(rest, 2)).ok_or(DATE)?;
    let hour = after(rest, b"Tt ").and_then(|()| number(rest, 2)).ok_or(TIME)?;
    let minute = after(rest, b":").and_then(|()| number(rest, 2)).ok_or(TIME)?;
    let second = after(rest, b":").and_then(|()| number(rest, 2)).ok_or(SECONDS)?;
    let ms = if after(rest, b".").is_some() {
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, behind) = rest.split_at(count);
        *rest = behind;
        if digits.is_empty() {
            return Err("there is no digit behind the point");
        }
        let digit = |at: usize| digits.get(at).map_or(0, |digit| i64::from(digit - b'0'));
        digit(0) * 100 + digit(1) * 10 + digit(2)
    } else {
        0
    };
    let narrow = |number: i64| i8::try_from(number).expect("two digits are below 100");
    let civil = Civil {
        year: i16::try_from(year).expect("four digits are below 10,000"),
        month: narrow(month),
        day: narrow(day),
        hour: narrow(hour),
        minute: narrow(minute),
        second: narrow(second),
        ms,
    };
    if !(1..=12).contains(&month) || day < 1 || day > days_of_month(year, month) {
        return Err("there is no such day");
    }
    if hour > 23 || minute > 59 || second > 60 {
        return Err("there is no such time of day");
    }
    Ok(civil)
}

/// The next bytes as a number of exactly so many digits.
fn number(rest: &mut &[u8], digits: usize) -> Option<i64> {
    let (number, behind) = rest.split_at_checked(digits)?;
    *rest = behind;
    number.iter().try_fold(0, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0'))
    })
}

/// Steps over one of these bytes.
fn after(rest: &mut &[u8], any_of: &[u8]) -> Option<()> {
    let (first, behind) = rest.split_first()?;
    any_of.contains(first).then(|| *rest = behind)
}

/// The offset in minutes that is all of the rest; `None` where there is no rest.
fn offset(mut rest: &[u8]) -> Result<Option<i64>, &'static str> {
    const OFFSET: &str = "it does not end with an offset such as `Z` or `+02:00`";
    let sign = match rest {
        [] => return Ok(None),
        b"Z" | b"z" => return Ok(Some(0)),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return Err(OFFSET),
    };
    rest = &rest[1..];
    let hours = number(&mut rest, 2).ok_or(OFFSET)?;
    let has_colon = after(&mut rest, b":").is_some();
    let minutes = if rest.is_empty() && !has_colon {
        0
    } else {
        number(&mut rest, 2).ok_or(OFFSET)?
    };
    if !rest.is_empty() {
        return Err(OFFSET);
    }
    if hours > 23 || minutes > 59 {
        return Err("there is no such offset: they lie between -23:59 and +23:59");
    }
    Ok(Some(sign * (hours * 60 + minutes)))
}

/// The offset in seconds that a zone has at this date and time. Of a time that comes twice, where clocks are put back, the first
/// is meant.
fn offset_in(zone: Zone, civil: &Civil) -> Result<i64, &'static str> {
    let Civil {
        year,
        month,
        day,
        hour,
        minute,
        second,
        ..
    } = *civil;
    let civil = jiff::civil::DateTime::new(year, month, day, hour, minute, second.min(59), 0);
    let civil = civil.map_err(|_| "there is no such day")?;
    match zone.rules().to_ambiguous_timestamp(civil).offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
            Ok(i64::from(offset.seconds()))
        }
        AmbiguousOffset::Gap { .. } => Err("clocks are put forward past that time in the zone of the source"),
    }
}

/// Days since 1970-01-01. (Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.)
fn days(civil: &Civil) -> i64 {
    let (month, day) = (i64::from(civil.month), i64::from(civil.day));
    let year = i64::from(civil.year) - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

pub(super) fn excerpt(text: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&text[..text.len().min(EXCERPT_BYTES_MAX)]);
    if text.len() > EXCERPT_BYTES_MAX {
        format!("{}…", shown.trim_end_matches('\u{fffd}'))
    } else {
        shown.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use dirigo_connect::Pointer;

    fn field(unit: Option<TimeUnit>, zone: Option<Zone>) -> TimeField {
        TimeField {
            pointer: Pointer {
                text: "/ts".to_owned(),
                tokens: vec!["ts".to_owned()],
            },
            unit,
            zone,
        }
    }

    fn text(text: &str) -> Result<i64, String> {
        from_text(&field(None, None), text.as_bytes())
    }

    fn number(unit: TimeUnit, text: &str) -> Result<i64, String> {
        from_number(&field(Some(unit), None), text.as_bytes())
    }

    #[test]
    fn the_examples_of_rfc_3339_are_times() {
        for (example, ms) in [
            ("1985-04-12T23:20:50.52Z", 482_196_050_520),
            ("1996-12-19T16:39:57-08:00", 851_042_397_000),
            ("1990-12-31T23:59:60Z", 662_688_000_000),
            ("1990-12-31T15:59:60-08:00", 662_688_000_000),
            ("1937-01-01T12:00:27.87+00:20", -1_041_337_172_130),
        ] {
            assert_eq!(text(example), Ok(ms), "{example}");
        }
    }

    #[test]
    fn every_form_of_a_time_is_taken() {
        for (form, ms) in [
            ("1970-01-01t00:00:01z", 1_000),
            ("1970-01-01 00:00:01Z", 1_000),
            ("1970-01-01T02:00:01+0200", 1_000),
            ("1970-01-01T02:00:01+02", 1_000),
            ("1969-12-31T19:00:01.000-05:00", 1_000),
            ("1970-01-01T00:00:00-00:00", 0),
            ("1970-01-01T00:00:00.1Z", 100),
            ("1970-01-01T00:00:00.1234567890123456789012345Z", 123),
            ("1969-12-31T23:59:59.9999999999Z", -1),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
            (
                "9999-12-31T23:59:59-23:59",
                253_402_300_799_000 + 23 * 3_600_000 + 59 * 60_000,
            ),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("1998-12-31T23:59:60.5Z", 915_148_800_500),
        ] {
            assert_eq!(text(form), Ok(ms), "{form}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for (form, problem) in [
            ("", "does not begin with a date"),
            ("06/19/1963 08:30:06 PST", "does not begin with a date"),
            ("1963-6-19T08:30:06Z", "does not begin with a date"),
            ("1963-06-1T00:00:00Z", "does not begin with a date"),
            ("2013-350T01:01:01Z", "does not begin with a date"),
            ("+11963-06-19T08:30:06Z", "does not begin with a date"),
            ("1963-06-1\u{9ea}T00:00:00Z", "does not begin with a date"),
            ("1963-06-19", "not followed by a time"),
            ("1963-06-19T08:30Z", "the time has no seconds"),
            ("1963-06-11T0\u{9ea}:00:00Z", "not followed by a time"),
            ("1963-06-19_08:30:06Z", "not followed by a time"),
            ("1963-06-19T08:30:06.Z", "no digit behind the point"),
            ("1990-02-31T15:59:59.123-08:00", "no such day"),
            ("2023-02-29T00:00:00Z", "no such day"),
            ("1900-02-29T00:00:00Z", "no such day"),
            ("2024-00-01T00:00:00Z", "no such day"),
            ("2024-13-01T00:00:00Z", "no such day"),
            ("2024-01-00T00:00:00Z", "no such day"),
            ("1990-12-31T24:00:00Z", "no such time of day"),
            ("1990-12-31T10:60:00Z", "no such time of day"),
            ("1998-12-31T23:59:61Z", "no such time of day"),
            ("1998-12-31T23:58:60Z", "only at 23:59 UTC"),
            ("1998-12-31T22:59:60Z", "only at 23:59 UTC"),
            ("1998-12-31T23:59:60+01:00", "only at 23:59 UTC"),
            ("1990-12-31T15:59:59-24:00", "no such offset"),
            ("1990-12-31T15:59:59+23:60", "no such offset"),
            ("1963-06-19T08:30:06.28123+01:00Z", "does not end with an offset"),
            ("1963-06-19T08:30:06 Z", "does not end with an offset"),
            ("1963-06-19T08:30:06+1:00", "does not end with an offset"),
            ("1963-06-19T08:30:06+01:", "does not end with an offset"),
            ("1963-06-19T08:30:06", "it has no offset"),
        ] {
            let refusal = text(form).unwrap_err();
            assert!(refusal.contains(problem), "{refusal}");
        }
    }

    #[test]
    fn a_number_counts_what_the_unit_says() {
        use TimeUnit::{Microseconds, Milliseconds, Nanoseconds, Seconds};
        for (unit, number_text, ms) in [
            (Seconds, "1709294400", 1_709_294_400_000),
            (Seconds, "1709294400.5", 1_709_294_400_500),
            (Seconds, "1709294400.0009", 1_709_294_400_000),
            (Seconds, "-0.0001", -1),
            (Seconds, "1.7092944e9", 1_709_294_400_000),
            (Seconds, "5e-1", 500),
            (Seconds, "1e-400", 0),
            (Milliseconds, "1709294400000.0", 1_709_294_400_000),
            (Milliseconds, "1.7092944E+12", 1_709_294_400_000),
            (Milliseconds, "-12.5e1", -125),
            (Milliseconds, "-0.0", 0),
            (Milliseconds, "0e999999999999999999999", 0),
            (Milliseconds, "0.000000000000000000000000001e30", 1_000),
            (Milliseconds, "-9223372036854775808.00", i64::MIN),
            (Microseconds, "1709294400000999", 1_709_294_400_000),
            (Microseconds, "-1", -1),
            (Microseconds, "1.5e3", 1),
            (Nanoseconds, "1709294400000000001", 1_709_294_400_000),
            (Nanoseconds, "17092944000000000010", 17_092_944_000_000),
        ] {
            assert_eq!(number(unit, number_text), Ok(ms), "{number_text} {unit}");
        }
        for (unit, number_text, problem) in [
            (Milliseconds, "1.5", "a time must be an integer"),
            (Microseconds, "1e-1", "a time must be an integer"),
            (Milliseconds, "9223372036854775808", "which is beyond 64 bits"),
            (Milliseconds, "1e400", "which is beyond 64 bits"),
            (Milliseconds, "1e99999999999999999999", "which is beyond 64 bits"),
            (Seconds, "9223372036854776", "which is beyond 64 bits"),
            (Seconds, "-1e17", "which is beyond 64 bits"),
        ] {
            let refusal = number(unit, number_text).unwrap_err();
            assert_eq!(refusal, format!("`/ts` is {number_text}, {problem}"));
        }
    }

    #[test]
    fn a_text_of_digits_is_a_number_where_a_unit_is_said() {
        let seconds = field(Some(TimeUnit::Seconds), None);
        assert_eq!(from_text(&seconds, b"1709294400"), Ok(1_709_294_400_000));
        assert_eq!(from_text(&seconds, b"1970-01-01T00:00:01Z"), Ok(1_000));
        assert!(text("1709294400").is_err());
    }

    #[test]
    fn a_time_without_an_offset_is_one_of_the_zone() {
        let fixed = field(None, Zone::named("+02:00"));
        assert_eq!(from_text(&fixed, b"1970-01-01 02:00:01"), Ok(1_000));
        assert_eq!(
            from_text(&fixed, b"1970-01-01T00:00:01Z"),
            Ok(1_000),
            "its own offset counts"
        );
        assert_eq!(from_text(&fixed, b"1999-01-01T01:59:60"), Ok(915_148_800_000));
        assert!(from_text(&fixed, b"1999-01-01T23:59:60").is_err());
        let utc = field(None, Some(Zone::utc()));
        assert_eq!(from_text(&utc, b"2024-03-01T12:00:00"), Ok(1_709_294_400_000));
        let berlin = field(None, Zone::named("Europe/Berlin"));
        assert_eq!(
            from_text(&berlin, b"2024-07-01 12:00:00"),
            text("2024-07-01T12:00:00+02:00")
        );
        assert_eq!(
            from_text(&berlin, b"2024-10-27 02:30:00"),
            text("2024-10-27T02:30:00+02:00")
        );
        let refusal = from_text(&berlin, b"2024-03-31 02:30:00").unwrap_err();
        assert!(
            refusal.ends_with("clocks are put forward past that time in the zone of the source"),
            "{refusal}"
        );
    }

    proptest! {
        #[test]
        fn what_jiff_writes_is_read(ms in -62_167_219_200_000_i64..253_402_207_200_000) {
            let timestamp = jiff::Timestamp::from_millisecond(ms).unwrap();
            prop_assert_eq!(text(&timestamp.to_string()), Ok(ms));
        }

        #[test]
        fn no_text_makes_it_panic(
            bytes in prop::collection::vec(prop::sample::select(&b"0123456789-+:.TZ "[..]), 0..40),
        ) {
            let _ = from_text(&field(Some(TimeUnit::Seconds), Some(Zone::utc())), &bytes);
        }

        #[test]
        fn a_number_is_what_big_arithmetic_makes_of_it(
            number in any::<i64>(),
            power in -30_i32..30,
            unit in prop::sample::select(&[TimeUnit::Seconds, TimeUnit::Milliseconds][..]),
        ) {
            let scale = power + if unit == TimeUnit::Seconds { 3 } else { 0 };
            let expected = if number == 0 {
                Some(0)
            } else if scale >= 0 {
                10_i128.checked_pow(scale.unsigned_abs()).and_then(|factor| i128::from(number).checked_mul(factor))
            } else {
                Some(i128::from(number).div_euclid(10_i128.pow(scale.unsigned_abs())))
            };
            let expected = expected.and_then(|ms| i64::try_from(ms).ok());
            let is_fraction = number != 0 && power < 0 && i128::from(number) % 10_i128.pow(power.unsigned_abs()) != 0;
            let found = super::tests::number(unit, &format!("{number}e{power}"));
            if is_fraction && unit == TimeUnit::Milliseconds {
                prop_assert!(found.is_err());
            } else {
                prop_assert_eq!(found.ok(), expected);
            }
        }
    }
}
