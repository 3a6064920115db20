//! Values of the file that go on as JSON: an operator's config, and the events of tests.
//!
//! Owns the translation, and `{ env = "NAME" }`: a secret comes in as a whole value, never by text substitution. Does
//! not know what a component makes of it.

use std::borrow::Cow;
use std::env::VarError;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Number, Value as Json};

use super::admission::Variables;
use super::diagnostic::{Diagnostic, Problems};
use super::document::{KeyValue, Node, Value};
use super::section::{Read, wrong_type};
use super::units::inline_schema;

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Result<String, VarError>;

/// Any value.
#[derive(Clone, Debug)]
pub(super) struct Any(pub(super) Node);

inline_schema!(Any, "value", {});

impl Any {
    /// Whether it is this string.
    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(&self.0.value, Value::String(text) if text == word)
    }
}

impl Read for Any {
    fn read(node: &Node, _: &mut Problems) -> Option<Self> {
        Some(Any(node.clone()))
    }
}

/// Any table.
#[derive(Clone, Debug)]
pub(super) struct Object(pub(super) Vec<KeyValue>);

inline_schema!(Object, "object", { "type": "object" });

impl Read for Object {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Value::Table(entries) => Some(Object(entries.clone())),
            _ => wrong_type(node, "a table", Some("write `{ name = value }`".to_owned()), problems),
        }
    }
}

/// Puts the values of environment variables in place of each `{ "env": NAME }` below the top of a configuration that was
/// kept as it was written.
///
/// # Errors
/// When a variable is not set, or not UTF-8.
pub fn resolve(config: &Json) -> Result<Json, String> {
    let Json::Object(entries) = config else {
        return Ok(config.clone());
    };
    let resolved = entries
        .iter()
        .map(|(key, value)| Ok((key.clone(), resolve_value(value)?)));
    resolved.collect::<Result<_, String>>().map(Json::Object)
}

fn resolve_value(value: &Json) -> Result<Json, String> {
    match value {
        Json::Object(entries) if entries.len() == 1 => match entries.get("env") {
            Some(Json::String(name)) => std::env::var(name)
                .map(Json::String)
                .map_err(|error| format!("the environment variable `{name}`: {error}")),
            _ => resolve(value),
        },
        Json::Object(_) => resolve(value),
        Json::Array(items) => items
            .iter()
            .map(resolve_value)
            .collect::<Result<_, _>>()
            .map(Json::Array),
        other => Ok(other.clone()),
    }
}

/// What is said of a variable that a tenant may not read, whether or not it is set.
const NOT_GRANTED: &str = "is not among those that its tenant may read";

/// Turns nodes into JSON.
pub(super) struct Translation<'a> {
    /// Where `{ env = "NAME" }` finds its value; and which names it takes; `None` where it is a table
    /// like any other.
    pub(super) environment: Option<(Environment<'a>, &'a Variables)>,
    pub(super) problems: &'a mut Problems,
}

impl Translation<'_> {
    /// The JSON of a node; null stands for what has been reported.
    pub(super) fn value(&mut self, node: &Node) -> Json {
        match &node.value {
            Value::String(text) => Json::String(text.clone()),
            Value::Integer(number) => Json::Number((*number).into()),
            Value::Float(number) => self.float(*number, node),
            Value::Boolean(fact) => Json::Bool(*fact),
            // TOML's own notation of a date-time is that of RFC 3339.
            Value::Datetime(moment) => Json::String(moment.to_string()),
            Value::List(items) => Json::Array(items.iter().map(|item| self.value(item)).collect()),
            Value::Table(entries) => match (self.environment, variable(entries)) {
                (Some(environment), Some(name)) => self.looked_up(environment, name, node),
                _ => self.object(entries),
            },
            Value::Broken => Json::Null,
        }
    }

    /// The JSON object of a table, be its only key `env` or not.
    pub(super) fn object(&mut self, entries: &[KeyValue]) -> Json {
        let pairs = entries.iter().map(|entry| (entry.key.clone(), self.value(&entry.node)));
        Json::Object(pairs.collect::<Map<_, _>>())
    }

    fn float(&mut self, number: f64, node: &Node) -> Json {
        if let Some(number) = Number::from_f64(number) {
            return Json::Number(number);
        }
        self.problems.push(
            Diagnostic::error(format!("{number} is not a JSON number"))
                .at(node.place, "JSON has neither infinities nor NaN"),
        );
        Json::Null
    }

    fn looked_up(&mut self, environment: (Environment<'_>, &Variables), name: &str, node: &Node) -> Json {
        let (environment, variables) = environment;
        // A name that no variable can bear would make the standard library's look-up panic or lie.
        let found = if name.is_empty() || name.contains(['=', '\0']) {
            Err("cannot be the name of an environment variable")
        } else if !variables.allow(name) {
            Err(NOT_GRANTED)
        } else {
            environment(name).map_err(|error| match error {
                VarError::NotPresent => "is not set",
                VarError::NotUnicode(_) => "is not UTF-8",
            })
        };
        found.map_or_else(
            |flaw| {
                let problem = Diagnostic::error(format!("the environment variable `{name}` {flaw}"));
                let problem = problem.at(node.place, flaw);
                let help = match flaw {
                    "is not set" => Some(format!("run with `{name}=… dirigo …`")),
                    NOT_GRANTED => Some(format!(
                        "the operator of the host grants it with `env = [\"{name}\"]` in the tenants file"
                    )),
                    _ => None,
                };
                self.problems.push(problem.help_if(help));
                Json::Null
            },
            Json::String,
        )
    }
}

/// The name in a table that is exactly `{ env = "NAME" }`.
fn variable(entries: &[KeyValue]) -> Option<&str> {
    match entries {
        [
            KeyValue {
                key,
                node: Node {
                    value: Value::String(name),
                    ..
                },
                ..
            },
        ] if key == "env" => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_kept_as_written_finds_its_values_again() {
        let home = std::env::var("PATH").unwrap();
        let written =
            json!({ "a": { "env": "PATH" }, "b": [{ "env": "PATH" }, { "env": "PATH", "c": 1 }], "env": "data" });
        let resolved = json!({ "a": home, "b": [home, { "env": "PATH", "c": 1 }], "env": "data" });
        assert_eq!(resolve(&written), Ok(resolved));
        assert!(resolve(&json!({ "a": { "env": "NO_SUCH_VARIABLE" } })).is_err());
    }
}
