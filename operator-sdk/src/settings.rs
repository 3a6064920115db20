//! The settings of an operator, as a JSON Schema: what a pipeline file may say under `config`.
//!
//! Derived from how the operator's `Config` deserializes. A setting without which that succeeds is optional; its default is known where
//! the `Config` is `Serialize`, too.

use std::marker::PhantomData;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::trace::{self, Format, Node};

/// Stands for a configuration, in the code that `#[operator]` generates: which of the two traits below applies depends on whether it is
/// `Serialize`.
#[derive(Debug)]
pub struct Settings<C>(PhantomData<C>);

impl<C> Settings<C> {
    /// Of this configuration.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "nothing else makes one")]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

/// Of a configuration whose defaults can be written down.
pub trait WithDefaults {
    /// Its schema.
    fn schema(&self) -> Option<String>;
}

/// Of any other.
pub trait WithoutDefaults {
    /// Its schema.
    fn schema(&self) -> Option<String>;
}

impl<C: DeserializeOwned + Serialize> WithDefaults for Settings<C> {
    fn schema(&self) -> Option<String> {
        schema::<C>(|config| serde_json::to_value(config).unwrap_or_default())
    }
}

impl<C: DeserializeOwned> WithoutDefaults for &Settings<C> {
    fn schema(&self) -> Option<String> {
        schema::<C>(|_| Value::Null)
    }
}

fn schema<C: DeserializeOwned>(written: impl Fn(&C) -> Value) -> Option<String> {
    let mut root = trace::of::<C>(Format::Json)?;
    let Node::Struct(fields) = &root else { return None };
    let mut properties: Map<String, Value> = fields
        .iter()
        .map(|(name, node)| ((*name).to_owned(), of_node(node)))
        .collect();
    let names: Vec<&'static str> = fields.iter().map(|(name, _)| *name).collect();
    let (optional, required): (Vec<&str>, Vec<&str>) = names
        .into_iter()
        .partition(|name| trace::value_without::<C>(&mut root, &[name], false).is_some());
    let least = trace::value_without::<C>(&mut root, &optional, false);
    let defaults = least.map(|config| written(&config)).unwrap_or_default();
    for name in &optional {
        // What is null when it is left out has no default: it is optional.
        let default = defaults.get(name).filter(|default| !default.is_null());
        if let (Some(default), Some(Value::Object(property))) = (default, properties.get_mut(*name)) {
            property.insert("default".to_owned(), default.clone());
        }
    }
    let mut schema = json!({ "type": "object", "properties": properties, "required": required });
    if trace::value_without::<C>(&mut root, &[], true).is_none() {
        schema["additionalProperties"] = false.into();
    }
    Some(schema.to_string())
}

fn of_node(node: &Node) -> Value {
    match node {
        Node::Unknown | Node::Any(_) => json!({}),
        Node::Unit => json!({ "type": "null" }),
        Node::Leaf(leaf) => match leaf.name {
            "bool" => json!({ "type": "boolean" }),
            "f32" | "f64" => json!({ "type": "number" }),
            "char" | "string" => json!({ "type": "string" }),
            "bytes" => json!({ "type": "array" }),
            unsigned if unsigned.starts_with('u') => json!({ "type": "integer", "minimum": 0 }),
            _ => json!({ "type": "integer" }),
        },
        Node::Option(inner) => of_node(inner),
        Node::List(item) => json!({ "type": "array", "items": of_node(item) }),
        Node::Tuple(_) => json!({ "type": "array" }),
        Node::Map(pair) => json!({ "type": "object", "additionalProperties": of_node(&pair.1) }),
        Node::Struct(fields) => {
            let properties: Map<String, Value> = fields
                .iter()
                .map(|(name, node)| ((*name).to_owned(), of_node(node)))
                .collect();
            json!({ "type": "object", "properties": properties })
        }
        Node::Enum(variants) => {
            if variants.iter().all(|(_, node)| matches!(node, Node::Unit)) {
                let names: Vec<&str> = variants.iter().map(|(name, _)| *name).collect();
                json!({ "enum": names })
            } else {
                json!({})
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_borrow, reason = "so does the code that `#[operator]` generates")]

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    #[allow(dead_code, reason = "it is the type that matters")]
    enum Aggregate {
        Avg,
        Sum,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "it is the type that matters")]
    struct Strict {
        field: String,
        aggregate: Aggregate,
        #[serde(default)]
        rounds: Option<u8>,
    }

    #[derive(Serialize, Deserialize)]
    struct Lenient {
        #[serde(default = "one")]
        scale: f64,
        offset: Option<i64>,
        names: Vec<String>,
    }

    fn one() -> f64 {
        1.0
    }

    fn parsed(schema: Option<String>) -> Value {
        serde_json::from_str(&schema.unwrap()).unwrap()
    }

    #[test]
    fn settings_have_names_types_and_what_is_required() {
        let schema = parsed((&Settings::<Strict>::new()).schema());
        let expected = json!({
            "type": "object",
            "properties": {
                "field": { "type": "string" },
                "aggregate": { "enum": ["avg", "sum"] },
                "rounds": { "type": "integer", "minimum": 0 },
            },
            "required": ["field", "aggregate"],
            "additionalProperties": false,
        });
        assert_eq!(schema, expected);
    }

    #[test]
    fn defaults_are_told_where_they_can_be_written_down() {
        let schema = parsed((&Settings::<Lenient>::new()).schema());
        let expected = json!({
            "type": "object",
            "properties": {
                "scale": { "type": "number", "default": 1.0 },
                "offset": { "type": "integer" },
                "names": { "type": "array", "items": { "type": "string" } },
            },
            "required": ["names"],
        });
        assert_eq!(schema, expected);
    }

    #[test]
    fn what_is_no_struct_has_no_settings_that_could_be_listed() {
        assert_eq!((&Settings::<Value>::new()).schema(), None);
        assert_eq!(
            parsed((&Settings::<crate::NoConfig>::new()).schema())["properties"],
            json!({})
        );
    }
}
