//! The JSON Schema of the pipeline file, for editors.
//!
//! Owns its id and dialect. The keys and their descriptions come from [`raw`](super::raw).

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::transform_subschemas;
use serde_json::Value;

use super::raw;

/// Where the schema is published; a file names it in its first line, `#:schema
/// https://dirigo.dev/schema/pipeline.json`.
const ID: &str = "https://dirigo.dev/schema/pipeline.json";

/// The JSON Schema of the pipeline file.
#[must_use]
pub fn schema() -> Value {
    // Editors' TOML plug-ins know draft 7.
    let mut schema = SchemaSettings::draft07()
        .into_generator()
        .into_root_schema_for::<raw::File>();
    unwrap_lines(&mut schema);
    schema.insert("$id".to_owned(), Value::String(ID.to_owned()));
    schema.to_value()
}

/// Descriptions are wrapped where the source is; an editor wraps them where its window is.
fn unwrap_lines(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    transform_subschemas(&mut unwrap_lines, schema);
}
