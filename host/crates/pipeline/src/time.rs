//! Where the time of an event is: a field, or a table that also says how its times are written.
//!
//! Owns the units, and which zones there are: UTC, fixed offsets, and those of the system's time zone database. Does not read
//! any event.

use std::borrow::Cow;
use std::path::Path;

use dirigo_connect::{Format, TimeField, TimeUnit, Zone};
use jiff::tz::{Offset, TimeZone};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::choice::{Choice, Word};
use super::diagnostic::{Diagnostic, Problems};
use super::document::{Node, Value};
use super::pointer;
use super::section::{At, Read};
use super::units::inline_schema;
use crate::section;

/// Where the system keeps its time zones, each in a file of its name.
const ZONES: &str = "/usr/share/zoneinfo";

/// The largest zones of the database have 4 KiB.
const ZONE_BYTES_MAX: u64 = 64 << 10;

section! {
    /// Where the event time is, and how it is written.
    #[schemars(extend("required" = ["field"]))]
    pub(super) struct TimeTable = "`time = { … }`" {
        /// Where it is: a JSON pointer such as "/ts"; for csv also a column name.
        field: String,
        /// What a number counts since the epoch.
        #[schemars(extend("default" = "ms"))]
        unit: Word<TimeUnit>,
        /// The zone of times that say no offset: "UTC", an offset such as "+02:00", or a name of the system's time zone
        /// database such as "Europe/Berlin". Without it such times are refused.
        zone: ZoneName,
    }
}

impl Choice for TimeUnit {
    const WHAT: &'static str = "unit";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("s", Self::Seconds),
        ("ms", Self::Milliseconds),
        ("us", Self::Microseconds),
        ("ns", Self::Nanoseconds),
    ];
}

/// What `time` says.
#[derive(Clone, Debug)]
pub(super) enum Time {
    /// The field alone.
    Field(String),
    /// The field with how it is written.
    Table(Box<TimeTable>),
}

impl Read for Time {
    const WANTED: &'static str = "a field, or a table with one";

    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Value::Table(_) => TimeTable::read(node, problems).map(Box::new).map(Self::Table),
            _ => String::read(node, problems).map(Self::Field),
        }
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = TimeTable::json_schema(generator);
        json_schema!({ "anyOf": [{ "type": "string" }, table] })
    }
}

/// Where the time of a source's events is, and how it is written there.
pub(super) fn parse(at: &At<Time>, format: Format, who: &str, problems: &mut Problems) -> Option<TimeField> {
    let table = match &at.value {
        Time::Field(field) => {
            let field = At {
                value: field.clone(),
                place: at.place,
            };
            return pointer::parse("time", &field, format, problems).map(TimeField::from);
        }
        Time::Table(table) => table,
    };
    let of = format!("the `time` of {who}");
    let field = table.field.required("field", "\"/ts\"", table.place, &of, problems)?;
    let pointer = pointer::parse("time", field, format, problems)?;
    Some(TimeField {
        pointer,
        unit: table.unit.map(|Word(unit)| *unit),
        zone: table.zone.map(|ZoneName(zone)| zone.clone()),
    })
}

/// The name of a zone.
#[derive(Clone, Debug)]
pub(super) struct ZoneName(Zone);

inline_schema!(ZoneName, "zone", { "type": "string", "examples": ["UTC", "+02:00", "Europe/Berlin"] });

impl Read for ZoneName {
    const WANTED: &'static str = "a time zone";

    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let name = String::read(node, problems)?;
        if let Some(rules) = rules(&name) {
            return Some(Self(Zone { name, rules }));
        }
        problems.push(
            Diagnostic::error(format!("there is no time zone `{name}`"))
                .at(node.place, format!("not in {ZONES}"))
                .help("write \"UTC\", an offset such as \"+02:00\", or a name such as \"Europe/Berlin\""),
        );
        None
    }
}

fn rules(name: &str) -> Option<TimeZone> {
    if matches!(name, "UTC" | "Z") {
        return Some(TimeZone::UTC);
    }
    if name.starts_with(['+', '-']) {
        return fixed(name);
    }
    // A name leads nowhere but into the database.
    let is_name = name.split('/').all(|part| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-');
        !part.is_empty() && part.bytes().all(is_plain)
    });
    if !is_name {
        return None;
    }
    let data = dirigo_disk::read_regular(&dirigo_disk::Real, &Path::new(ZONES).join(name), ZONE_BYTES_MAX).ok()?;
    TimeZone::tzif(name, &data).ok()
}

/// `+02:00` or `-0530`.
fn fixed(name: &str) -> Option<TimeZone> {
    let (sign, digits) = match name.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        (_, digits) => (-1, digits),
    };
    let (hours, minutes) = match digits.len() {
        4 => digits.split_at_checked(2)?,
        _ => digits.split_once(':')?,
    };
    let number = |text: &str, max: i32| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i32>().ok().filter(|&number| is_number && number <= max)
    };
    let seconds = sign * (number(hours, 23)? * 3_600 + number(minutes, 59)? * 60);
    Offset::from_seconds(seconds).ok().map(TimeZone::fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_utc_an_offset_or_in_the_database() {
        let seconds = |name: &str| rules(name)?.to_fixed_offset().ok().map(Offset::seconds);
        assert_eq!(seconds("UTC"), Some(0));
        assert_eq!(seconds("+02:00"), Some(7_200));
        assert_eq!(seconds("-0530"), Some(-19_800));
        for name in [
            "",
            "+24:00",
            "+2:00",
            "+02",
            "02:00",
            "+02:60",
            "+0x:00",
            "utc!",
            "../../../etc/passwd",
            "/etc/passwd",
        ] {
            assert!(rules(name).is_none(), "{name}");
        }
        // Not every machine has the database.
        if Path::new(ZONES).join("Europe/Berlin").exists() {
            assert!(rules("Europe/Berlin").is_some());
            assert!(rules("Europe/Berlim").is_none());
        }
    }
}
