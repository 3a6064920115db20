//! The reference of the pipeline file, as a page for people.
//!
//! Owns how the JSON Schema reads as tables of keys. What the keys are and mean comes from the schema alone.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::connector::Registry;
use super::schema::schema;

const HEADING: &str = "\
# The pipeline file

Every key of a pipeline file, by the table that it stands in. This page is made of the JSON Schema (`dirigo schema`) by
`dirigo schema --reference`; do not edit it.

A pipeline file is TOML. Relative paths start from its folder. Durations are numbers with a unit such as `\"50ms\"` or `\"1m\"`, sizes
such as `\"16MiB\"`. The value of a key may come from an environment variable, `{ env = \"NAME\" }`, or from a file,
`{ file = \"PATH\" }`.
";

/// The page of a pipeline file whose sources and sinks are of these kinds, in Markdown.
#[must_use]
pub fn reference(connectors: &Registry) -> String {
    let schema = schema(connectors);
    let mut page = Page {
        text: HEADING.to_owned(),
        schema: &schema,
        shown: BTreeSet::new(),
    };
    // In the order in which a file has them.
    for (key, header) in [
        ("pipeline", "[pipeline]"),
        ("source", "[[source]]"),
        ("operator", "[[operator]]"),
        ("sink", "[[sink]]"),
        ("dead_letters", "[dead_letters]"),
        ("tenant", "[tenant]"),
        ("test", "[[test]]"),
    ] {
        page.table(header, &schema["properties"][key]);
    }
    page.text
}

struct Page<'a> {
    text: String,
    schema: &'a Value,
    /// The tables that stand within others and are there already: some stand in several.
    shown: BTreeSet<String>,
}

impl<'a> Page<'a> {
    /// A table of the file, and those within it.
    fn table(&mut self, header: &str, described: &'a Value) {
        let table = self.resolved(described);
        let description = text(described, "description").or_else(|| text(table, "description"));
        let _ = write!(self.text, "\n## `{header}`\n\n{}\n\n", description.unwrap_or_default());
        self.text
            .push_str("| key | value | default | what it says |\n|---|---|---|---|\n");
        let required: Vec<&str> = strings(&table["required"]);
        let properties = table["properties"].as_object().into_iter().flatten();
        let (first, rest): (Vec<_>, Vec<_>) = properties.partition(|(key, _)| required.contains(&key.as_str()));
        let mut inner = Vec::new();
        for (key, value) in first.into_iter().chain(rest) {
            let default = match value.get("default") {
                Some(default) => format!("`{default}`"),
                None if required.contains(&key.as_str()) => "required".to_owned(),
                None => String::new(),
            };
            let description = text(value, "description").unwrap_or_default();
            let (values, default, description) = (cell(&self.values(value)), cell(&default), cell(description));
            let _ = writeln!(self.text, "| `{key}` | {values} | {default} | {description} |");
            if let Some(table) = self.table_of(value)
                && self.shown.insert(self.resolved(table).to_string())
            {
                inner.push((key, table));
            }
        }
        for (key, table) in inner {
            self.table(&format!("{key} = {{ … }}` in `{header}"), table);
        }
    }

    /// What may stand for a value, in words.
    fn values(&self, value: &'a Value) -> String {
        let alternatives = value["anyOf"].as_array();
        if let Some(alternatives) = alternatives {
            let shown: Vec<String> = alternatives.iter().map(|value| self.values(value)).collect();
            return shown.join(", or ");
        }
        if value["type"] == "array" {
            return format!("a list of {}", plural(&self.values(&value["items"])));
        }
        let value = self.resolved(value);
        if let Some(words) = value["enum"].as_array() {
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            return words.join(", ");
        }
        let types = match &value["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            Value::String(one) => vec![one.as_str()],
            _ => Vec::new(),
        };
        let mut shown: Vec<String> = Vec::new();
        for one in types {
            shown.push(match one {
                "object" => "a table".to_owned(),
                "boolean" => "`true`, `false`".to_owned(),
                "integer" => range("a whole number", value),
                "number" => range("a number", value),
                other => format!("a {other}"),
            });
        }
        let examples: Vec<String> = value["examples"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|example| format!("`{example}`"))
            .collect();
        let shown = if shown.is_empty() {
            "any value".to_owned()
        } else {
            shown.join(" or ")
        };
        if examples.is_empty() {
            shown
        } else {
            format!("{shown}, such as {}", examples.join(", "))
        }
    }

    /// The table that a value, or each item of it, may be.
    fn table_of(&self, value: &'a Value) -> Option<&'a Value> {
        if let Some(alternatives) = value["anyOf"].as_array() {
            return alternatives.iter().find_map(|value| self.table_of(value));
        }
        let resolved = self.resolved(value);
        if resolved["type"] == "array" {
            return self.table_of(&resolved["items"]);
        }
        resolved["properties"].is_object().then_some(value)
    }

    /// What a reference leads to.
    fn resolved(&self, value: &'a Value) -> &'a Value {
        if value["type"] == "array" && value["items"]["$ref"].is_string() {
            return self.resolved(&value["items"]);
        }
        let reference = value["$ref"].as_str().or_else(|| value["allOf"][0]["$ref"].as_str());
        let found = reference.and_then(|reference| self.schema.pointer(reference.strip_prefix('#')?));
        found.unwrap_or(value)
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value[key].as_str()
}

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn range(what: &str, value: &Value) -> String {
    // The greatest number that 64 bits hold says nothing.
    let max = value["maximum"]
        .as_f64()
        .filter(|&max| max < 9e18)
        .map(|_| &value["maximum"]);
    match (value["minimum"].as_i64(), value["exclusiveMinimum"].as_i64(), max) {
        (Some(min), _, Some(max)) => format!("{what} from {min} to {max}"),
        (Some(min), _, None) => format!("{what} from {min}"),
        (None, Some(min), Some(max)) => format!("{what} above {min}, up to {max}"),
        (None, Some(min), None) => format!("{what} above {min}"),
        (None, None, _) => what.to_owned(),
    }
}

fn plural(one: &str) -> String {
    match one.strip_prefix("a ") {
        Some(noun) => format!("{noun}s"),
        None => one.to_owned(),
    }
}

/// The text as it can stand in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
