//! Overrides of the command line: `-s operator.map-1.config.scale=2`.
//!
//! Owns their syntax and how they change the tree of the file before anything is read from it. What an override puts
//! there is validated like the rest: a relative path is relative to the folder of the pipeline file, not to the working
//! directory.

use std::str::FromStr;

use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Problems};
use super::document::{self, KeyValue, Node, Value};
use super::span::{Origin, Span};
use super::suggest;

/// The top-level keys whose items are addressed by id (a test by its name) or by index from 0.
const LISTS: [&str; 4] = ["source", "operator", "sink", "test"];

/// A key of the pipeline file and the value that it gets instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    text: String,
    path: Vec<String>,
    value_start: usize,
}

/// An override that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no `=`.
    #[error("override `{text}` has no `=`; write KEY.PATH=VALUE, such as pipeline.slo=50ms")]
    NoValue {
        /// The override.
        text: String,
    },
    /// What precedes the `=` is not a path of keys.
    #[error("`{path}` is not a path of keys; write it with dots, such as operator.map-1.config.scale")]
    Path {
        /// What precedes the `=`.
        path: String,
    },
    /// The path ends above a single key.
    #[error("`{path}` is not a single key; an override sets one, such as {example}")]
    Short {
        /// What precedes the `=`.
        path: String,
        /// A path that is long enough.
        example: &'static str,
    },
}

impl Override {
    /// An override from `KEY.PATH=VALUE`. The value is TOML, or where it is not, a string.
    ///
    /// # Errors
    /// When it has no `=`, or its path is not one of keys with dots between them that leads to a single key.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (path_text, value) = split(text).ok_or_else(|| Error::NoValue { text: text.to_owned() })?;
        let path = path(path_text).ok_or_else(|| Error::Path {
            path: path_text.trim().to_owned(),
        })?;
        let example = match path[0].as_str() {
            first if LISTS.contains(&first) && path.len() < 3 => Some("source.readings.path"),
            _ if path.len() < 2 => Some("pipeline.slo"),
            _ => None,
        };
        if let Some(example) = example {
            return Err(Error::Short {
                path: path_text.trim().to_owned(),
                example,
            });
        }
        let value_start = text.len() - value.trim_start().len();
        Ok(Self {
            text: text.trim_end().to_owned(),
            path,
            value_start: value_start.min(text.trim_end().len()),
        })
    }

    /// As it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl FromStr for Override {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

/// The two sides of the first `=` that stands outside quotes.
fn split(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    let equals = text.find(|character| {
        match (quote, character) {
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
        character == '=' && quote.is_none()
    })?;
    Some((&text[..equals], &text[equals + 1..]))
}

/// The keys of a TOML dotted key, quoted ones included.
fn path(text: &str) -> Option<Vec<String>> {
    if text.contains('\n') {
        return None;
    }
    let document = format!("{text} = 0");
    let table = DeTable::parse(&document).ok()?;
    let mut path = Vec::new();
    let mut table = table.get_ref();
    loop {
        let (key, value) = table.iter().next()?;
        path.push(key.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => return Some(path),
        }
    }
}

/// Changes the tree of the file as the overrides say, one after the other.
pub(super) fn apply(root: &mut Node, overrides: &[Override], problems: &mut Problems) {
    for (index, given) in overrides.iter().enumerate() {
        let origin = Origin::Override(index);
        let key = Span {
            origin,
            start: 0,
            end: given.value_start,
        };
        let value = given.value(origin, problems);
        if let Err(problem) = set(root, &given.path, key, value) {
            problems.push(*problem);
        }
    }
}

impl Override {
    fn value(&self, origin: Origin, problems: &mut Problems) -> Node {
        let text = &self.text[self.value_start..];
        document::parse_value(text, origin, self.value_start, problems).unwrap_or_else(|| Node {
            place: Span {
                origin,
                start: self.value_start,
                end: self.text.len(),
            },
            value: Value::String(text.to_owned()),
        })
    }
}

/// Puts `value` where `path` leads, making the tables on the way.
fn set(root: &mut Node, path: &[String], key: Span, value: Node) -> Result<(), Box<Diagnostic>> {
    let mut node = root;
    for (depth, segment) in path.iter().enumerate() {
        node = step(node, &path[..depth], segment, key)?;
    }
    *node = value;
    Ok(())
}

/// The node that `segment` names within `node`, which `way` led to.
fn step<'a>(node: &'a mut Node, way: &[String], segment: &str, key: Span) -> Result<&'a mut Node, Box<Diagnostic>> {
    match &mut node.value {
        Value::Table(entries) => {
            let is_missing_list = way.is_empty() && LISTS.contains(&segment);
            match entries.iter().position(|entry| entry.key == segment) {
                Some(found) => {
                    entries[found].place = if way.is_empty() { entries[found].place } else { key };
                    Ok(&mut entries[found].node)
                }
                None if is_missing_list => Err(refuse(format!("the file has no `[[{segment}]]`"), key, None)),
                None => Ok(make(entries, segment, key)),
            }
        }
        Value::List(items) => {
            let found = position(items, way, segment, key)?;
            Ok(&mut items[found])
        }
        _ => Err(refuse(format!("`{}` is not a table", way.join(".")), key, None)),
    }
}

fn make<'a>(entries: &'a mut Vec<KeyValue>, segment: &str, key: Span) -> &'a mut Node {
    let node = Node {
        place: key,
        value: Value::Table(Vec::new()),
    };
    entries.push(KeyValue {
        key: segment.to_owned(),
        place: key,
        node,
    });
    &mut entries.last_mut().expect("an entry was pushed").node
}

/// The position of an item by its id, its name, or its index.
fn position(items: &[Node], way: &[String], segment: &str, key: Span) -> Result<usize, Box<Diagnostic>> {
    if let Ok(index) = segment.parse::<usize>() {
        let help = format!("`{}` has {} items, counted from 0", way.join("."), items.len());
        return if index < items.len() {
            Ok(index)
        } else {
            Err(refuse(
                format!("`{}` has no item {index}", way.join(".")),
                key,
                Some(help),
            ))
        };
    }
    let names: Vec<&str> = items.iter().filter_map(name).collect();
    items
        .iter()
        .position(|item| name(item) == Some(segment))
        .ok_or_else(|| {
            let help = suggest::help(segment, &names, "there are");
            refuse(format!("no {} is called `{segment}`", way.join(".")), key, Some(help))
        })
}

/// What an item of a list is called.
fn name(item: &Node) -> Option<&str> {
    let Value::Table(entries) = &item.value else {
        return None;
    };
    let named = entries.iter().find(|entry| entry.key == "id" || entry.key == "name")?;
    match &named.node.value {
        Value::String(name) => Some(name),
        _ => None,
    }
}

fn refuse(message: String, key: Span, help: Option<String>) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(message).at(key, "").help_if(help))
}
