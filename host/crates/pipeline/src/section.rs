//! From nodes to typed values: what was found against what was wanted.
//!
//! Owns the reading of one table with all its keys, and the reports of unknown keys and wrong types. Which tables there
//! are is [`raw`](super::raw)'s to say; what the values mean together, the validation's.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::diagnostic::{Diagnostic, Problems};
use super::document::{Entry, Node, Value};
use super::place::Place;
use super::{raw, suggest};

/// What can be read from a node. On `None`, the problem has been reported.
pub(super) trait Read: Sized {
    /// How a list of these is written, where `[…]` is not the usual way.
    const LIST_HELP: Option<&'static str> = None;

    fn read(node: &Node, problems: &mut Problems) -> Option<Self>;
}

/// A value with the place where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// What a table says of one key.
#[derive(Clone, Debug, Default)]
pub(super) enum Field<T> {
    /// Nothing.
    #[default]
    Absent,
    /// Something wrong, which has been reported.
    Refused,
    /// A value of the right type.
    Given {
        /// Where the key stands.
        key: Place,
        /// The value.
        at: At<T>,
    },
}

impl<T> Field<T> {
    pub(super) fn given(&self) -> Option<&At<T>> {
        match self {
            Field::Given { at, .. } => Some(at),
            Field::Absent | Field::Refused => None,
        }
    }

    /// Where the key stands, if it does.
    pub(super) fn key(&self) -> Option<Place> {
        match self {
            Field::Given { key, .. } => Some(*key),
            Field::Absent | Field::Refused => None,
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Field::Absent)
    }

    pub(super) fn map<U>(&self, read: impl FnOnce(&T) -> U) -> Option<U> {
        self.given().map(|at| read(&at.value))
    }

    /// The value, or a report that `key` is missing from the table at `place`.
    pub(super) fn required(
        &self,
        key: &str,
        example: &str,
        place: Place,
        of: &str,
        problems: &mut Problems,
    ) -> Option<&At<T>> {
        if self.is_absent() {
            problems.push(
                Diagnostic::error(format!("{of} has no `{key}`"))
                    .at(place, format!("`{key}` is missing"))
                    .help(format!("add `{key} = {example}`")),
            );
        }
        self.given()
    }

    pub(super) fn read(entry: &Entry, problems: &mut Problems) -> Self
    where
        T: Read,
    {
        match T::read(&entry.node, problems) {
            Some(value) => Field::Given {
                key: entry.place,
                at: At {
                    value,
                    place: entry.node.place,
                },
            },
            None => Field::Refused,
        }
    }
}

/// In the schema a field is its value: that it may be absent, its table says.
impl<T: JsonSchema> JsonSchema for Field<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// What one table of the file may hold.
pub(super) trait Section {
    /// How its header is written.
    const TITLE: &'static str;
    /// Its keys.
    const KEYS: &'static [&'static str];
    /// Those of them that this version refuses, and so recommends to nobody.
    const LATER: &'static [&'static str];
}

/// Declares a table of the file: a struct whose fields are its keys, read with [`Read`] and described for editors with
/// [`JsonSchema`].
macro_rules! section {
    (
        $(#[$meta:meta])*
        struct $name:ident = $title:literal $(, list $list_help:literal)? $(, later $($later:ident)+)? {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
        }
    ) => {
        #[derive(Clone, Debug, Default, schemars::JsonSchema)]
        $(#[$meta])*
        #[schemars(default, deny_unknown_fields)]
        pub(super) struct $name {
            $($(#[$field_meta])* pub(super) $field: $crate::section::Field<$type>,)*
            /// Where the table starts.
            #[schemars(skip)]
            #[allow(dead_code, reason = "not every table has something to be said of it as a whole")]
            pub(super) place: $crate::place::Place,
        }

        impl $crate::section::Section for $name {
            const TITLE: &'static str = $title;
            const KEYS: &'static [&'static str] = &[$(stringify!($field)),*];
            const LATER: &'static [&'static str] = &[$($(stringify!($later)),+)?];
        }

        impl $crate::section::Read for $name {
            $(const LIST_HELP: Option<&'static str> = Some($list_help);)?

            fn read(
                node: &$crate::document::Node,
                problems: &mut $crate::diagnostic::Problems,
            ) -> Option<Self> {
                let entries = $crate::section::entries(node, $title, problems)?;
                let mut section = Self { place: node.place, ..Self::default() };
                for entry in entries {
                    match entry.key.as_str() {
                        $(stringify!($field) => {
                            section.$field = $crate::section::Field::read(entry, problems);
                        })*
                        _ => $crate::section::refuse_key::<Self>(entry, problems),
                    }
                }
                Some(section)
            }
        }
    };
}
pub(super) use section;

/// The entries of a table.
pub(super) fn entries<'a>(node: &'a Node, title: &str, problems: &mut Problems) -> Option<&'a [Entry]> {
    match (&node.value, title.starts_with('[') && !title.starts_with("[[")) {
        (Value::Table(entries), _) => Some(entries),
        (Value::List(_), true) => wrong_type(node, "one table", Some(format!("write {title} once")), problems),
        (_, true) => wrong_type(node, "a table", Some(format!("write it as {title}")), problems),
        (_, false) => wrong_type(node, "a table", None, problems),
    }
}

/// Reports a key that section `S` does not have.
pub(super) fn refuse_key<S: Section>(entry: &Entry, problems: &mut Problems) {
    let key = entry.key.as_str();
    let known: Vec<&str> = S::KEYS.iter().copied().filter(|key| !S::LATER.contains(key)).collect();
    let help = match (raw::home_of(key), suggest::nearest(key, known.iter().copied())) {
        (Some(home), _) => format!("`{key}` belongs in {}", quoted(home)),
        (None, Some(known)) => format!("did you mean `{known}`?"),
        (None, None) => format!("{} has {}", quoted(S::TITLE), suggest::listed(&known)),
    };
    let message = format!("unknown key `{key}` in {}", quoted(S::TITLE));
    problems.push(Diagnostic::error(message).at(entry.place, "unknown key").help(help));
}

/// A header as code, a description as it is.
fn quoted(title: &str) -> String {
    if title.starts_with('[') {
        format!("`{title}`")
    } else {
        title.to_owned()
    }
}

/// Reports a value that is not what was `wanted`, unless it has been reported already.
pub(super) fn wrong_type<T>(node: &Node, wanted: &str, help: Option<String>, problems: &mut Problems) -> Option<T> {
    if !matches!(node.value, Value::Broken) {
        let found = node.value.described();
        problems.push(
            Diagnostic::error(format!("expected {wanted}, found {found}"))
                .at(node.place, format!("this is {found}"))
                .help_if(help),
        );
    }
    None
}

impl Read for String {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Value::String(text) => Some(text.clone()),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
                wrong_type(node, "a string", Some("put it in quotes".to_owned()), problems)
            }
            _ => wrong_type(node, "a string", None, problems),
        }
    }
}

impl<T: Read> Read for Vec<At<T>> {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Value::List(items) = &node.value else {
            let help = match (&node.value, T::LIST_HELP) {
                (_, Some(help)) => Some(help.to_owned()),
                (Value::String(text), None) => Some(format!("write `[{text:?}]`")),
                _ => None,
            };
            return wrong_type(node, "a list", help, problems);
        };
        let read = |item: &Node| {
            Some(At {
                value: T::read(item, problems)?,
                place: item.place,
            })
        };
        Some(items.iter().filter_map(read).collect())
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
