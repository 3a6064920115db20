//! Values that a pipeline file takes from outside of itself: `{ env = "NAME" }` and `{ file = "PATH" }`.
//!
//! Owns where they are found, and as what they are read: a text where a text is wanted, and else what it would be in TOML, so
//! that settings of any type can come from outside. A value may be secret: no report shows one. Does not know what a value is
//! for.

use std::path::{Path, PathBuf};

use dirigo_disk::{Usage, read_regular};

use super::admission::Admission;
use super::config::Environment;
use super::diagnostic::{Diagnostic, Problems};
use super::document::{self, KeyValue, Node, Value};
use super::section::Read;
use super::span::{Origin, Span};

/// What is said of a variable that a tenant may not read, whether or not it is set.
const NOT_GRANTED: &str = "is not among those that its tenant may read";
/// The longest value that a file may hold: as long as a pipeline file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reference<'a> {
    Environment(&'a str),
    File(&'a str),
}

/// A text that was found outside.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Where, in words.
    pub(super) described: String,
    pub(super) text: String,
}

/// What values from outside are looked up with.
#[derive(Clone, Copy)]
pub(super) struct Outside<'a> {
    pub(super) environment: Environment<'a>,
    /// Where relative paths start.
    pub(super) folder: &'a Path,
    /// What may be looked up.
    pub(super) admission: &'a Admission,
}

impl<'a> Reference<'a> {
    /// Of a table that is exactly `{ env = "NAME" }` or `{ file = "PATH" }`.
    pub(super) fn of(entries: &'a [KeyValue]) -> Option<Self> {
        let [KeyValue { key, node, .. }] = entries else {
            return None;
        };
        let Value::String(name) = &node.value else {
            return None;
        };
        Self::named(key, name)
    }

    pub(super) fn named(key: &str, name: &'a str) -> Option<Self> {
        match key {
            "env" => Some(Self::Environment(name)),
            "file" => Some(Self::File(name)),
            _ => None,
        }
    }

    /// What it is, in words.
    pub(super) fn described(self) -> String {
        match self {
            Self::Environment(name) => format!("the environment variable `{name}`"),
            Self::File(path) => format!("the file `{path}`"),
        }
    }
}

impl Outside<'_> {
    /// The text that the reference leads to, or what is wrong with it and what would help. The line end of a file is none of its
    /// value.
    pub(super) fn find(self, reference: Reference<'_>) -> Result<String, (String, Option<String>)> {
        match reference {
            // A name that no variable can bear would make the standard library's look-up panic or lie.
            Reference::Environment(name) if name.is_empty() || name.contains(['=', '\0']) => {
                Err(("cannot be the name of an environment variable".to_owned(), None))
            }
            Reference::Environment(name) if !self.admission.environment.allow(name) => {
                let help = format!("the operator of the host grants it with `env = [\"{name}\"]` in the tenants file");
                Err((NOT_GRANTED.to_owned(), Some(help)))
            }
            Reference::Environment(name) => (self.environment)(name).map_err(|error| match error {
                std::env::VarError::NotPresent => {
                    ("is not set".to_owned(), Some(format!("run with `{name}=… dirigo …`")))
                }
                std::env::VarError::NotUnicode(_) => ("is not UTF-8".to_owned(), None),
            }),
            Reference::File(path) => {
                let path = self.path(path);
                let bytes = read_regular(&*self.admission.access.disk(Usage::Read), &path, FILE_BYTES_MAX);
                let bytes = bytes.map_err(|error| (format!("cannot be read: {error}"), None))?;
                let text = String::from_utf8(bytes).map_err(|_| ("is not UTF-8".to_owned(), None))?;
                let line = text
                    .strip_suffix('\n')
                    .map(|line| line.strip_suffix('\r').unwrap_or(line));
                Ok(line.unwrap_or(&text).to_owned())
            }
        }
    }

    fn path(self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The same, with what is wrong reported.
    pub(super) fn find_or_report(
        self,
        reference: Reference<'_>,
        place: Span,
        problems: &mut Problems,
    ) -> Option<String> {
        self.find(reference)
            .map_err(|(flaw, help)| {
                let problem = Diagnostic::error(format!("{} {flaw}", reference.described()));
                problems.push(problem.at(place, flaw).help_if(help));
            })
            .ok()
    }

    /// Puts what is found outside in place of the references below a node, but for those in what goes on as JSON: a component's
    /// configuration, and the events of tests.
    pub(super) fn fill_in(self, node: &mut Node, problems: &mut Problems) {
        match &mut node.value {
            Value::Table(entries) => {
                if let Some(reference) = Reference::of(entries) {
                    let described = reference.described();
                    let found = self.find_or_report(reference, node.place, problems);
                    node.value = found.map_or(Value::Broken, |text| Value::Outside(Found { described, text }));
                    return;
                }
                let entries = entries
                    .iter_mut()
                    .filter(|entry| !matches!(entry.key.as_str(), "config" | "test"));
                entries.for_each(|entry| self.fill_in(&mut entry.node, problems));
            }
            Value::List(items) => items.iter_mut().for_each(|item| self.fill_in(item, problems)),
            _ => {}
        }
    }
}

/// What a text is in TOML where it is no plain text: a number, a boolean, a list, a table, or a string in quotes.
pub(super) fn typed(text: &str, place: Span) -> Option<Value> {
    let mut node = document::parse_value(text.trim(), Origin::File, 0, &mut Problems::default())?;
    put_at(&mut node, place);
    match node.value {
        Value::Datetime(_) | Value::Broken => None,
        Value::Float(number) if !number.is_finite() => None,
        value => Some(value),
    }
}

/// Gives a node, and all that is in it, one place: it stands nowhere in the texts of the load.
fn put_at(node: &mut Node, place: Span) {
    node.place = place;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| put_at(item, place)),
        Value::Table(entries) => {
            for entry in entries {
                entry.place = place;
                put_at(&mut entry.node, place);
            }
        }
        _ => {}
    }
}

/// Reads a node whose value may come from outside.
pub(super) fn read<T: Read>(node: &Node, problems: &mut Problems) -> Option<T> {
    let Value::Outside(Found { described, text }) = &node.value else {
        return T::read(node, problems);
    };
    let as_text = Value::String(text.clone());
    let candidates = [Some(as_text), typed(text, node.place)].into_iter().flatten();
    let read = |value| {
        // What is wrong with it would show it.
        let mut unsaid = Problems::default();
        let node = Node {
            place: node.place,
            value,
        };
        T::read(&node, &mut unsaid).filter(|_| !unsaid.has_errors())
    };
    let found = candidates.into_iter().find_map(read);
    if found.is_none() {
        problems.push(
            Diagnostic::error(format!("{described} does not hold {}", T::WANTED))
                .at(node.place, format!("{} is wanted here", T::WANTED))
                .help("what it holds is not shown, since it may be secret"),
        );
    }
    found
}
