//! The JSON Schema of the pipeline file, for editors.
//!
//! Owns its id and dialect. The keys and their descriptions come from [`raw`](super::raw) and from connectors.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RemoveRefSiblings, Transform as _, transform_subschemas};
use serde_json::{Map, Value, json};

use super::connector::Registry;
use super::raw;

/// Where the schema is published; a file names it in its first line, `#:schema
/// https://dirigo.dev/schema/pipeline.json`.
const ID: &str = "https://dirigo.dev/schema/pipeline.json";

/// The JSON Schema of a pipeline file whose sources and sinks are of these kinds.
#[must_use]
pub fn schema(connectors: &Registry) -> Value {
    // Editors' TOML plug-ins know draft 7.
    let mut generator = SchemaSettings::draft07().into_generator();
    let tables = [
        ("Source", connectors.source_schemas(&mut generator)),
        ("Sink", connectors.sink_schemas(&mut generator)),
    ];
    let mut schema = generator.into_root_schema_for::<raw::File>();
    for (table, kinds) in tables {
        let properties = schema.pointer_mut(&format!("/definitions/{table}/properties"));
        if let Some(Value::Object(properties)) = properties {
            describe_kinds(properties, kinds);
        }
    }
    unwrap_lines(&mut schema);
    // Draft 7 looks at nothing that stands next to a `$ref`. What is generated as a whole is made so; connectors' keys are not.
    RemoveRefSiblings::default().transform(&mut schema);
    schema.insert("$id".to_owned(), Value::String(ID.to_owned()));
    schema.to_value()
}

/// Adds what connectors, each with its name, have in a table.
fn describe_kinds(properties: &mut Map<String, Value>, kinds: Vec<(&'static str, Schema)>) {
    let names: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
    if let Some(Value::Object(kind)) = properties.get_mut("kind") {
        kind.insert("type".to_owned(), json!("string"));
        kind.insert("enum".to_owned(), json!(names));
    }
    for (_, mut schema) in kinds {
        let Some(Value::Object(keys)) = schema.remove("properties") else {
            continue;
        };
        for (key, value) in keys {
            let value = match properties.remove(&key) {
                Some(before) => either(before, value),
                None => value,
            };
            properties.insert(key, value);
        }
    }
}

/// What several connectors say of one key.
fn either(mut one: Value, mut other: Value) -> Value {
    if one == other {
        return one;
    }
    if one.get("default") != other.get("default") {
        say_default(&mut one);
        say_default(&mut other);
    }
    let description = |value: &mut Value| match value.as_object_mut()?.remove("description")? {
        Value::String(text) => Some(text),
        _ => None,
    };
    let descriptions: Vec<String> = [description(&mut one), description(&mut other)]
        .into_iter()
        .flatten()
        .collect();
    let mut both = if one == other {
        one
    } else {
        // Two of three kinds may have the same.
        let mut shapes = match one.get_mut("anyOf") {
            Some(Value::Array(shapes)) => std::mem::take(shapes),
            _ => vec![one],
        };
        if !shapes.contains(&other) {
            shapes.push(other);
        }
        json!({ "anyOf": shapes })
    };
    both["description"] = json!(descriptions.join(" "));
    both
}

/// Says in words what the default is, of a key that has another one in another connector.
fn say_default(value: &mut Value) {
    let default = value.as_object_mut().and_then(|value| value.remove("default"));
    if let (Some(default), Some(Value::String(description))) = (default, value.get_mut("description")) {
        *description = format!("{description} Default: {default}.");
    }
}

/// Descriptions are wrapped where the source is; an editor wraps them where its window is.
fn unwrap_lines(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    transform_subschemas(&mut unwrap_lines, schema);
}
