//! How many replicas or shards an operator has: a number, or bounds between which the host decides.
//!
//! Owns how that is written. What the host decides by, only the host knows.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::diagnostic::{Diagnostic, Problems};
use super::document::{Node, Value};
use super::model::Count;
use super::section::Read;
use super::units::Whole;
use crate::section;

/// A number of replicas or shards.
type Number = Whole<1, 4096>;

section! {
    /// Bounds between which the host decides, by the load.
    pub(super) struct CountTable = "`{ min = …, max = … }`" {
        /// The fewest.
        #[schemars(extend("default" = 1))]
        min: Number,
        /// The most. Default: as many as there are workers, or `min` where that is more.
        max: Number,
    }
}

/// What is said of a number.
#[derive(Clone, Debug)]
pub(super) enum RawCount {
    /// So many, whatever the load.
    Exactly(Number),
    /// As many as the load asks for.
    Between(Box<CountTable>),
}

impl Read for RawCount {
    const WANTED: &'static str = "a whole number, or `{ min = 1, max = 4 }`";

    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Value::Table(_) => CountTable::read(node, problems).map(Box::new).map(Self::Between),
            _ => Number::read(node, problems).map(Self::Exactly),
        }
    }
}

impl JsonSchema for RawCount {
    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (number, table) = (Number::json_schema(generator), CountTable::json_schema(generator));
        json_schema!({ "anyOf": [number, table] })
    }
}

/// The bounds, or a report that the lower one lies above the upper one.
pub(super) fn count(raw: &RawCount, problems: &mut Problems) -> Option<Count> {
    let table = match raw {
        RawCount::Exactly(number) => return Some(Count::exactly(number.to_u32())),
        RawCount::Between(table) => table,
    };
    let (min, max) = (table.min.map(|min| min.to_u32()), table.max.map(|max| max.to_u32()));
    if let (Some(min), Some(max), Some(place)) = (min, max, table.min.given().map(|at| at.place))
        && min > max
    {
        problems.push(
            Diagnostic::error("`min` is greater than `max`")
                .at(place, format!("the most is {max}"))
                .help("give a `min` of at most `max`"),
        );
        return None;
    }
    let is_refused = |is_absent: bool, value: Option<u32>| !is_absent && value.is_none();
    if is_refused(table.min.is_absent(), min) || is_refused(table.max.is_absent(), max) {
        return None;
    }
    Some(Count {
        min: min.unwrap_or(1),
        max,
    })
}
