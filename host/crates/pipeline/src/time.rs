//! Where the time of an event is: a field, or a table that also says how its times are written.
//!
//! Owns the units, and what is said of a zone that there is not. Does not read any event.

use std::borrow::Cow;

use dirigo_connect::{Format, TimeField, TimeUnit};
use dirigo_ground::zone::Zone;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::choice::{Choice, Word};
use super::diagnostic::{Diagnostic, Problems};
use super::document::{Node, Value};
use super::pointer;
use super::section::{At, Read};
use super::suggest;
use super::units::inline_schema;
use crate::section;

section! {
    /// Where the event time is, and how it is written.
    #[schemars(extend("required" = ["field"]))]
    pub(super) struct TimeTable = "`time = { … }`" {
        /// Where it is: a JSON pointer such as "/ts"; for csv also a column name.
        field: String,
        /// What a number counts since the epoch.
        #[schemars(extend("default" = "ms"))]
        unit: Word<TimeUnit>,
        /// The zone of times that say no offset: "UTC", an offset such as "+02:00", or a name of the IANA time zone
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
        zone: table.zone.map(|ZoneName(zone)| *zone),
    })
}

/// The name of a zone.
#[derive(Clone, Debug)]
pub(super) struct ZoneName(pub Zone);

inline_schema!(ZoneName, "zone", { "type": "string", "examples": ["UTC", "+02:00", "Europe/Berlin"] });

impl Read for ZoneName {
    const WANTED: &'static str = "a time zone";

    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let name = String::read(node, problems)?;
        if let Some(zone) = Zone::named(&name) {
            return Some(Self(zone));
        }
        let names = Zone::names();
        let is_its_city = |full: &&String| {
            full.rsplit('/')
                .next()
                .is_some_and(|city| city.eq_ignore_ascii_case(&name))
        };
        let meant = names.iter().find(is_its_city).map(String::as_str);
        let meant = meant.or_else(|| suggest::nearest(&name, names.iter().map(String::as_str)));
        let help = "write \"UTC\", an offset such as \"+02:00\", or a name such as \"Europe/Berlin\"";
        let help = meant.map_or(help.to_owned(), |meant| format!("did you mean `{meant}`? Or {help}"));
        problems.push(
            Diagnostic::error(format!("there is no time zone `{name}`"))
                .at(node.place, "not in the time zone database")
                .help(help),
        );
        None
    }
}
