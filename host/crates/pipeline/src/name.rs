//! Names of pipelines, tenants, sources, operators and sinks.
//!
//! Owns which characters they may bear.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::diagnostic::{Diagnostic, Problems};
use super::document::{Node, Value};
use super::section::{Read, wrong_type};

/// Long enough for a sentence, short enough for a column of a table and, with a suffix, for a file name.
const LENGTH_MAX: usize = 64;

/// A name that can stand as it is in a path, a metric, a dotted override and a table: an ASCII letter, then letters,
/// digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(pub(super) String);

impl Read for Name {
    const WANTED: &'static str = "a name";

    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Value::String(text) = &node.value else {
            return wrong_type(node, "a name", Some("put it in quotes".to_owned()), problems);
        };
        match flaw(text) {
            None => Some(Name(text.clone())),
            Some(flaw) => {
                problems.push(Diagnostic::error(format!("{text:?} cannot be a name")).at(node.place, flaw).help(
                    "a name is a letter, then letters, digits, `-` and `_`, at most 64 together: it also stands in \
                     file names, metrics and `-s` paths",
                ));
                None
            }
        }
    }
}

/// Whether a text can be the name of a pipeline, a tenant, a source, an operator or a sink.
#[must_use]
pub fn is_name(text: &str) -> bool {
    flaw(text).is_none()
}

/// What keeps a text from being a name.
pub(super) fn flaw(text: &str) -> Option<String> {
    let Some(first) = text.chars().next() else {
        return Some("it is empty".to_owned());
    };
    if !first.is_ascii_alphabetic() {
        return Some(format!("it starts with {first:?}"));
    }
    let is_foreign = |character: &char| !(character.is_ascii_alphanumeric() || matches!(character, '-' | '_'));
    if let Some(foreign) = text.chars().find(is_foreign) {
        return Some(format!("it contains {foreign:?}"));
    }
    (text.len() > LENGTH_MAX).then(|| format!("it has {} characters", text.len()))
}

impl JsonSchema for Name {
    fn schema_name() -> Cow<'static, str> {
        "name".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_-]{0,63}$" })
    }
}
