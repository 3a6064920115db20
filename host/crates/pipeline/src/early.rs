//! When windows have results before their end: by event time, or by what comes to them.
//!
//! Owns how that is written. Which windows may have such results, `window` knows.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::config::Any;
use super::diagnostic::{Diagnostic, Problems};
use super::document::{Node, Value};
use super::section::{Read, wrong_type};
use super::units::{Lapse, Whole};
use crate::section;

section! {
    /// When windows have results before their end, by what comes to them.
    #[schemars(extend("required" = ["events"]))]
    pub(super) struct EarlyTable = "`early = { … }`", later every {
        /// After how many events a window has a result, and after as many again the next one.
        events: Whole<1, { i64::MAX }>,
        /// What a duration says in place of the table.
        #[schemars(skip)]
        every: Any,
    }
}

/// What `early` says.
#[derive(Clone, Debug)]
pub(super) enum Early {
    /// How often, by event time.
    Every(Lapse),
    /// By what comes to a window.
    Table(Box<EarlyTable>),
}

impl Read for Early {
    const WANTED: &'static str = "a duration such as \"10s\", or `{ events = 100 }`";

    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Value::Table(_) => EarlyTable::read(node, problems).map(Box::new).map(Self::Table),
            Value::Integer(events) if *events > 0 => {
                let help = format!("write `{{ events = {events} }}` for a result after each {events} events");
                wrong_type(node, Self::WANTED, Some(help), problems)
            }
            _ => Lapse::read(node, problems).map(Self::Every),
        }
    }
}

impl JsonSchema for Early {
    fn schema_name() -> Cow<'static, str> {
        "Early".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (lapse, table) = (Lapse::json_schema(generator), EarlyTable::json_schema(generator));
        json_schema!({ "anyOf": [lapse, table] })
    }
}

/// The number of events in a table, or a report of what is wrong with the table.
pub(super) fn events(table: &EarlyTable, problems: &mut Problems) -> Option<u64> {
    if let Some(place) = table.every.key() {
        problems.push(
            Diagnostic::error("`early` has no `every`")
                .at(place, "results come by event time or by the number of events")
                .help("write `early = \"10s\"`, or `early = { events = 100 }`"),
        );
        return None;
    }
    let events = table
        .events
        .required("events", "100", table.place, "`early`", problems)?;
    Some(events.value.to_u64())
}
