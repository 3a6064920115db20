//! Values of the file that go on as JSON: an operator's config, and the events of tests.
//!
//! Owns the translation, and what `{ env = "NAME" }` and `{ file = "PATH" }` become: a value comes in as a whole, never by text
//! substitution. A text that is a number, a boolean, a list or a table in TOML is that; any other is a string, and so is one with
//! `type = "string"` next to it. Does not know what a component makes of it.

use std::borrow::Cow;
use std::env::VarError;
use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Number, Value as Json};

use super::admission::Admission;
use super::diagnostic::{Diagnostic, Problems};
use super::document::{KeyValue, Node, Value};
use super::outside::{self, Outside, Reference};
use super::section::{Read, wrong_type};
use super::span::Span;
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

/// Puts the values from outside in place of each `{ "env": NAME }` and `{ "file": PATH }` below the top of a configuration that
/// was kept as it was written, as far as it may take them. Relative paths start from the working directory.
///
/// # Errors
/// When one of them cannot be found.
pub fn resolve(config: &Json, admission: &Admission) -> Result<Json, String> {
    let Json::Object(entries) = config else {
        return Ok(config.clone());
    };
    let resolved = entries
        .iter()
        .map(|(key, value)| Ok((key.clone(), resolve_value(value, admission)?)));
    resolved.collect::<Result<_, String>>().map(Json::Object)
}

fn resolve_value(value: &Json, admission: &Admission) -> Result<Json, String> {
    match (value, written_reference(value)) {
        (_, Some((reference, is_string))) => {
            let outside = Outside {
                environment: &|name: &str| std::env::var(name),
                folder: Path::new(""),
                admission,
            };
            let found = outside.find(reference);
            let text = found.map_err(|(flaw, _)| format!("{} {flaw}", reference.described()))?;
            Ok(typed(text, is_string, Span::default()))
        }
        (Json::Object(_), None) => resolve(value, admission),
        (Json::Array(items), None) => items
            .iter()
            .map(|item| resolve_value(item, admission))
            .collect::<Result<_, _>>()
            .map(Json::Array),
        (other, None) => Ok(other.clone()),
    }
}

/// The reference that a value as it was written is, and whether it is taken for a string whatever it holds.
fn written_reference(value: &Json) -> Option<(Reference<'_>, bool)> {
    let Json::Object(entries) = value else { return None };
    let is_string = entries.get("type").and_then(Json::as_str) == Some("string");
    if entries.len() != 1 + usize::from(is_string) {
        return None;
    }
    let named = ["env", "file"]
        .into_iter()
        .find_map(|key| Some((key, entries.get(key)?.as_str()?)));
    named.and_then(|(key, name)| Some((Reference::named(key, name)?, is_string)))
}

/// What a text from outside is in a configuration.
fn typed(text: String, is_string: bool, place: Span) -> Json {
    let value = if is_string { None } else { outside::typed(&text, place) };
    value.map_or(Json::String(text), |value| {
        let mut unsaid = Problems::default();
        let mut translation = Translation {
            outside: None,
            problems: &mut unsaid,
        };
        translation.value(&Node { place, value })
    })
}

/// The message without what came from outside into the configuration, and which settings did: `config` was `written` so.
#[must_use]
pub fn hide(message: &str, config: &Json, written: &Json) -> (String, Vec<String>) {
    let mut hidden = (message.to_owned(), Vec::new());
    hide_at("", config, written, &mut hidden);
    hidden
}

/// Shorter ones are no secrets, and would be found in any message.
const SECRET_BYTES_MIN: usize = 4;

fn hide_at(path: &str, config: &Json, written: &Json, hidden: &mut (String, Vec<String>)) {
    let below = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    match (config, written, written_reference(written)) {
        (_, _, Some((reference, _))) if !path.is_empty() => {
            let (message, settings) = hidden;
            settings.push(format!("`{path}` is {}", reference.described()));
            let text = config.as_str().map_or_else(|| config.to_string(), str::to_owned);
            for shown in [text.clone(), text.escape_debug().to_string()] {
                if shown.len() >= SECRET_BYTES_MIN {
                    *message = message.replace(&shown, "…");
                }
            }
        }
        (Json::Object(values), Json::Object(entries), _) => {
            for (key, written) in entries {
                if let Some(value) = values.get(key) {
                    hide_at(&below(key), value, written, hidden);
                }
            }
        }
        (Json::Array(values), Json::Array(items), _) => {
            for (index, (value, written)) in values.iter().zip(items).enumerate() {
                hide_at(&below(&index.to_string()), value, written, hidden);
            }
        }
        _ => {}
    }
}

/// Turns nodes into JSON.
pub(super) struct Translation<'a> {
    /// Where `{ env = "NAME" }` and `{ file = "PATH" }` find their values; `None` where they are tables like any other.
    pub(super) outside: Option<Outside<'a>>,
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
            Value::Table(entries) => match (self.outside, reference(entries)) {
                (Some(outside), Some((reference, is_string))) => outside
                    .find_or_report(reference, node.place, self.problems)
                    .map_or(Json::Null, |text| typed(text, is_string, node.place)),
                _ => self.object(entries),
            },
            Value::Outside(found) => Json::String(found.text.clone()),
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
}

/// The reference that a table is, and whether it is taken for a string whatever it holds: `{ env = "PIN", type = "string" }`.
fn reference(entries: &[KeyValue]) -> Option<(Reference<'_>, bool)> {
    let is_type =
        |entry: &KeyValue| entry.key == "type" && matches!(&entry.node.value, Value::String(text) if text == "string");
    match entries {
        [_] => Some((Reference::of(entries)?, false)),
        [first, second] if is_type(second) => Some((Reference::of(std::slice::from_ref(first))?, true)),
        [first, second] if is_type(first) => Some((Reference::of(std::slice::from_ref(second))?, true)),
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
        assert_eq!(resolve(&written, &Admission::default()), Ok(resolved));
        let missing = json!({ "a": { "env": "NO_SUCH_VARIABLE" } });
        assert!(resolve(&missing, &Admission::default()).is_err());
    }

    #[test]
    fn a_text_from_outside_is_what_it_would_be_in_toml() {
        for (text, value) in [
            ("42", json!(42)),
            (" -1.5\n", json!(-1.5)),
            ("1_000", json!(1000)),
            ("true", json!(true)),
            ("[\"a\", 2]", json!(["a", 2])),
            ("{ a = 1 }", json!({ "a": 1 })),
            ("{ env = \"PATH\" }", json!({ "env": "PATH" })),
            ("\"42\"", json!("42")),
            ("hunter2", json!("hunter2")),
            ("007", json!("007")),
            ("2024-01-01", json!("2024-01-01")),
            ("nan", json!("nan")),
            ("", json!("")),
        ] {
            assert_eq!(typed(text.to_owned(), false, Span::default()), value, "{text}");
            assert_eq!(typed(text.to_owned(), true, Span::default()), json!(text));
        }
    }

    #[test]
    fn what_came_from_outside_is_hidden_from_a_message() {
        let written = json!({ "a": { "env": "A" }, "list": [{ "file": "b", "type": "string" }], "c": "shown" });
        let config = json!({ "a": 12345, "list": ["hunter\n2"], "c": "shown" });
        let (message, settings) = hide("12345 or \"hunter\\n2\" but not shown", &config, &written);
        assert_eq!(message, "… or \"…\" but not shown");
        assert_eq!(
            settings,
            ["`a` is the environment variable `A`", "`list.0` is the file `b`"]
        );
    }
}
