//! Tables whose keys are names that the user chose.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::diagnostic::Problems;
use super::document::{Node, Value};
use super::outside;
use super::section::{At, Read, wrong_type};

/// What a table says of each name, in its order.
#[derive(Clone, Debug)]
pub struct Entries<T>(
    /// The names, and what is said of them.
    pub Vec<(String, At<T>)>,
);

impl<T: Read> Read for Entries<T> {
    const WANTED: &'static str = "a table";

    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Value::Table(entries) = &node.value else {
            return wrong_type(node, "a table", Some("write `{ name = value }`".to_owned()), problems);
        };
        let mut read = Vec::with_capacity(entries.len());
        for entry in entries {
            let place = entry.node.place;
            let value = outside::read(&entry.node, problems);
            read.push(value.map(|value| (entry.key().to_owned(), At { value, place })));
        }
        read.into_iter().collect::<Option<_>>().map(Self)
    }
}

impl<T: JsonSchema> JsonSchema for Entries<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("{} by name", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let values = T::json_schema(generator);
        json_schema!({ "type": "object", "additionalProperties": values })
    }
}
