//! What a window becomes: one JSON object, in which the aggregate goes by its own name.

use dirigo_operator::prelude::*;
use serde::ser::{SerializeMap, Serializer};

use crate::Aggregate;

/// The output of a window.
#[derive(Debug)]
pub struct Summary {
    key: String,
    aggregate: Aggregate,
    value: f64,
    count: u64,
    start: i64,
    end: i64,
}

impl Summary {
    pub(crate) fn new(window: &Window<'_>, aggregate: Aggregate, value: f64, count: u64) -> Summary {
        let key = window.key_str().into_owned();
        Summary {
            key,
            aggregate,
            value,
            count,
            start: window.start,
            end: window.end,
        }
    }
}

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("key", &self.key)?;
        // A count goes by the name that every summary has anyway.
        if self.aggregate != Aggregate::Count {
            object.serialize_entry(name(self.aggregate), &self.value)?;
        }
        object.serialize_entry("count", &self.count)?;
        object.serialize_entry("start", &self.start)?;
        object.serialize_entry("end", &self.end)?;
        object.end()
    }
}

/// How the configuration and the output call it.
pub(crate) fn name(aggregate: Aggregate) -> &'static str {
    match aggregate {
        Aggregate::Avg => "avg",
        Aggregate::Sum => "sum",
        Aggregate::Min => "min",
        Aggregate::Max => "max",
        Aggregate::Count => "count",
    }
}
