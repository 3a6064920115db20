//! Quantities with a unit or a range: `"50ms"`, `"16MiB"`, whole numbers, rates and moments.
//!
//! Owns how each is written, and the report of one that is not.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::diagnostic::{Diagnostic, Problems};
use super::document::{Node, Value};
use super::model::DeadLettersMax;
use super::section::{Read, wrong_type};

/// The span of a century: longer is a slip of the pen, and every sum of a few of these still fits 64 bits of ns.
const DURATION_MAX: Duration = Duration::from_hours(100 * 366 * 24);

/// A checkpoint waits for the disk once, which takes the quickest ones a good part of this.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// An event per ns, the step of the clock that paces them.
const RATE_MAX: f64 = 1e9;

const DURATION_HELP: &str =
    "a duration is a number with a unit in quotes, such as \"100us\", \"50ms\", \"5s\" or \"1m\"";
const SIZE_HELP: &str = "a size is a number with a unit in quotes, such as \"64KiB\", \"16MiB\" or \"1GiB\"";
const MOMENT_HELP: &str = "write an RFC 3339 time such as \"2024-01-01T00:00:00Z\", or ms since the epoch";

/// Implements [`JsonSchema`] in place: these types are too small for a definition of their own.
macro_rules! inline_schema {
    ($type:ty, $name:literal, $schema:tt $(, [$($generic:tt)*])?) => {
        impl $(<$($generic)*>)? JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}
pub(super) use inline_schema;

/// A duration such as `"50ms"`.
#[derive(Clone, Copy, Debug)]
pub struct Lapse(
    /// The duration.
    pub Duration,
);

inline_schema!(Lapse, "duration", { "type": "string", "examples": ["50ms", "1s", "5m"] });

impl Read for Lapse {
    const WANTED: &'static str = "a duration such as \"50ms\"";

    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Value::String(text) = &node.value else {
            let help = bare_integer(node).map(|number| format!("give the unit: \"{number}ms\" or \"{number}s\""));
            return wrong_type(node, "a duration", help.or(Some(DURATION_HELP.to_owned())), problems);
        };
        if let Some(unit) = calendar_unit(text) {
            let help = match (unit, text.trim().strip_suffix('M').and_then(without_unit)) {
                ("M", Some(number)) => format!("a minute is an `m`: write \"{number}m\""),
                ("M", None) => "a minute is an `m`".to_owned(),
                _ => "write it in days or weeks, such as \"30d\" or \"4w\"".to_owned(),
            };
            let message = format!("`{text}` is in months or years, which differ in length");
            return refuse(node, message, &format!("the unit is `{unit}`"), Some(help), problems);
        }
        match humantime::parse_duration(text) {
            Ok(duration) if duration <= DURATION_MAX => Some(Lapse(duration)),
            Ok(_) | Err(humantime::DurationError::NumberOverflow) => refuse(
                node,
                format!("the duration `{text}` is longer than a century"),
                "too long",
                None,
                problems,
            ),
            Err(_) => refuse(
                node,
                format!("`{text}` is not a duration"),
                "not a duration",
                Some(without_unit(text).map_or(DURATION_HELP.to_owned(), |number| {
                    format!("give the unit: \"{number}ms\" or \"{number}s\"")
                })),
                problems,
            ),
        }
    }
}

/// A duration, or months of the calendar.
#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    /// A duration.
    Lapse(Lapse),
    /// So many months, at least 1.
    Months(i64),
}

inline_schema!(Length, "duration", { "type": "string", "examples": ["10s", "1h", "1d", "1month", "1y"] });

impl Read for Length {
    const WANTED: &'static str = "a duration such as \"10s\", or \"1month\"";

    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        if let Value::String(text) = &node.value
            && let Some(months) = months(text)
        {
            if (1..=MONTHS_MAX).contains(&months) {
                return Some(Self::Months(months));
            }
            let message = format!("`{text}` is no length of a window");
            return refuse(node, message, "from 1 month to a century", None, problems);
        }
        if let Value::String(text) = &node.value
            && let Some(unit) = calendar_unit(text)
        {
            let help = match text.trim().strip_suffix('M').and_then(without_unit) {
                Some(number) => format!("a minute is an `m`: write \"{number}m\"; or a month, \"{number}month\""),
                None => "months and years stand alone, in whole numbers, such as \"3months\" or \"1y\"".to_owned(),
            };
            let message = format!("`{text}` is no length of a window");
            return refuse(node, message, &format!("the unit is `{unit}`"), Some(help), problems);
        }
        Lapse::read(node, problems).map(Self::Lapse)
    }
}

/// Of a century.
const MONTHS_MAX: i64 = 1_200;

/// The months that a text says: `1month`, `3 months` or `1y`. An `M` is none, since it mostly is a slip for the `m` of minutes.
fn months(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.len()
        - text
            .trim_start_matches(|character: char| character.is_ascii_digit())
            .len();
    let (number, unit) = text.split_at(digits);
    let number: i64 = number.parse().ok()?;
    match unit.trim_start() {
        "month" | "months" => Some(number),
        "y" | "yr" | "yrs" | "year" | "years" => number.checked_mul(12),
        _ => None,
    }
}

/// The first unit of a duration that is one of the calendar. An `M` is mostly a slip for the `m` of minutes, and would be
/// 44,000 times as long.
fn calendar_unit(text: &str) -> Option<&str> {
    let mut words = text.split(|character: char| !character.is_alphabetic());
    words.find(|word| matches!(*word, "M" | "month" | "months" | "y" | "yr" | "yrs" | "year" | "years"))
}

fn bare_integer(node: &Node) -> Option<i64> {
    match node.value {
        Value::Integer(number) if number >= 0 => Some(number),
        _ => None,
    }
}

fn without_unit(text: &str) -> Option<&str> {
    let number = text.trim();
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(number)
}

fn refuse<T>(node: &Node, message: String, label: &str, help: Option<String>, problems: &mut Problems) -> Option<T> {
    problems.push(Diagnostic::error(message).at(node.place, label).help_if(help));
    None
}

/// How often a checkpoint is taken: `"1s"`, or `"off"`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Interval {
    Off,
    Every(Duration),
}

inline_schema!(Interval, "interval", { "type": "string", "examples": ["1s", "off"] });

impl Read for Interval {
    const WANTED: &'static str = "a duration such as \"1s\", or \"off\"";

    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Value::String(text) if text == "off" => Some(Interval::Off),
            Value::String(text) if text.eq_ignore_ascii_case("off") => refuse(
                node,
                format!("`{text}` is not a duration"),
                "not a duration",
                Some("write \"off\", in small letters".to_owned()),
                problems,
            ),
            Value::Boolean(false) => wrong_type(
                node,
                "a duration or \"off\"",
                Some("write \"off\"".to_owned()),
                problems,
            ),
            _ => {
                let Lapse(duration) = Lapse::read(node, problems)?;
                if duration.is_zero() || duration >= INTERVAL_MIN {
                    return Some(Interval::Every(duration));
                }
                let message = "a checkpoint that often cannot be kept up".to_owned();
                let help = "the least is \"1ms\"; \"off\" is for none before the end".to_owned();
                refuse(node, message, "too short", Some(help), problems)
            }
        }
    }
}

/// A number of bytes such as `"16MiB"`.
#[derive(Clone, Copy, Debug)]
pub struct Size(
    /// In bytes.
    pub u64,
);

inline_schema!(Size, "size", { "type": "string", "examples": ["16MiB", "64KiB"] });

impl Read for Size {
    const WANTED: &'static str = "a size such as \"16MiB\"";

    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Value::String(text) = &node.value else {
            let help = bare_integer(node).map(|number| format!("give the unit: \"{number}KiB\" or \"{number}MiB\""));
            return wrong_type(node, "a size", help.or(Some(SIZE_HELP.to_owned())), problems);
        };
        if let Some(number) = without_unit(text) {
            let help = format!("give the unit: \"{number}KiB\" or \"{number}MiB\"");
            return refuse(node, format!("`{text}` is not a size"), "no unit", Some(help), problems);
        }
        match text.parse::<bytesize::ByteSize>() {
            Ok(size) => Some(Size(size.as_u64())),
            Err(_) => refuse(
                node,
                format!("`{text}` is not a size"),
                "not a size",
                Some(SIZE_HELP.to_owned()),
                problems,
            ),
        }
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug)]
pub struct Whole<const MIN: i64, const MAX: i64>(i64);

inline_schema!(Whole<MIN, MAX>, "whole number", {
    "type": "integer",
    "minimum": MIN,
    "maximum": MAX,
}, [const MIN: i64, const MAX: i64]);

impl<const MIN: i64, const MAX: i64> Whole<MIN, MAX> {
    /// The number, where the range is not negative.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        const { assert!(MIN >= 0, "the range is not negative") };
        self.0.unsigned_abs()
    }

    /// The number, where the range lies within 32 bits.
    #[must_use]
    pub fn to_u32(self) -> u32 {
        const { assert!(MIN >= 0 && MAX <= u32::MAX as i64, "the range lies within 32 bits") };
        u32::try_from(self.0).expect("the number was read within a range of 32 bits")
    }
}

impl<const MIN: i64, const MAX: i64> Read for Whole<MIN, MAX> {
    const WANTED: &'static str = "a whole number in its range";

    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Value::Integer(number) = node.value else {
            return wrong_type(node, "a whole number", None, problems);
        };
        if (MIN..=MAX).contains(&number) {
            return Some(Whole(number));
        }
        let (label, help) = if number < MIN {
            ("too small", format!("it is at least {MIN}"))
        } else {
            ("too large", format!("it is at most {MAX}"))
        };
        refuse(node, format!("{number} is out of range"), label, Some(help), problems)
    }
}

/// Events per second: above 0, up to an event per ns.
#[derive(Clone, Copy, Debug)]
pub struct Rate(
    /// How many.
    pub f64,
);

inline_schema!(Rate, "rate", { "type": "number", "exclusiveMinimum": 0, "maximum": RATE_MAX });

impl Read for Rate {
    const WANTED: &'static str = "a number of events per second";

    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let rate = match node.value {
            #[expect(
                clippy::cast_precision_loss,
                reason = "above 2^53 events per second nobody counts single ones"
            )]
            Value::Integer(number) => number as f64,
            Value::Float(number) => number,
            _ => return wrong_type(node, "a number of events per second", None, problems),
        };
        if rate > 0.0 && rate <= RATE_MAX {
            return Some(Rate(rate));
        }
        let (message, label, bound) = if rate > RATE_MAX {
            let message = format!("{rate:e} events per second are more than a clock can pace");
            (message, "too large", format!("it is at most {RATE_MAX}"))
        } else {
            let message = format!("{rate} events per second is no rate");
            (message, "not above 0", "it is above 0".to_owned())
        };
        let help = format!("{bound}; leave it out for as fast as the events are taken");
        refuse(node, message, label, Some(help), problems)
    }
}

impl Read for DeadLettersMax {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let help =
            "write a whole number of dead letters, or a share of the events in quotes, such as \"5%\"".to_owned();
        let text = match &node.value {
            Value::Integer(number) if *number >= 0 => return Some(Self::Count(number.unsigned_abs())),
            Value::Integer(number) => {
                return refuse(
                    node,
                    format!("{number} is out of range"),
                    "below 0",
                    Some(help),
                    problems,
                );
            }
            Value::String(text) => text,
            _ => return wrong_type(node, "a number or a share", Some(help), problems),
        };
        let percent = text.strip_suffix('%').and_then(|number| number.trim_end().parse().ok());
        match percent.filter(|percent| (0.0..=100.0).contains(percent)) {
            Some(percent) => Some(Self::Percent(percent)),
            None => refuse(
                node,
                format!("`{text}` is no share of the events"),
                "not between \"0%\" and \"100%\"",
                Some(help),
                problems,
            ),
        }
    }
}

inline_schema!(DeadLettersMax, "share", { "type": ["integer", "string"], "minimum": 0, "examples": ["5%", 100] });

/// A moment, as ms since the epoch.
#[derive(Clone, Copy, Debug)]
pub struct Moment(
    /// In ms.
    pub i64,
);

inline_schema!(Moment, "moment", { "type": ["string", "integer"], "examples": ["2024-01-01T00:00:00Z", 0] });

impl Read for Moment {
    const WANTED: &'static str = "a moment such as \"2024-01-01T00:00:00Z\"";

    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let text = match &node.value {
            Value::Integer(ms) => {
                return match jiff::Timestamp::from_millisecond(*ms) {
                    Ok(_) => Some(Moment(*ms)),
                    Err(_) => refuse(
                        node,
                        format!("{ms} ms since the epoch is beyond the year 9999"),
                        "no such moment",
                        Some(MOMENT_HELP.to_owned()),
                        problems,
                    ),
                };
            }
            Value::String(text) => text.clone(),
            Value::Datetime(moment) => moment.to_string(),
            _ => return wrong_type(node, "a moment", Some(MOMENT_HELP.to_owned()), problems),
        };
        match text.parse::<jiff::Timestamp>() {
            Ok(moment) => Some(Moment(moment.as_millisecond())),
            Err(_) => refuse(
                node,
                format!("`{text}` is not a moment"),
                "not an RFC 3339 time with an offset",
                Some(MOMENT_HELP.to_owned()),
                problems,
            ),
        }
    }
}
