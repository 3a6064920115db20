//! From nodes to typed values: what was found against what was wanted.
//!
//! Owns the reading of one table with all its keys, and the reports of unknown keys and wrong types. Which tables there
//! are is [`raw`](super::raw)'s to say; what the values mean together, the validation's.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::diagnostic::{Diagnostic, Problems};
use super::document::{KeyValue, Node, Value};
use super::span::Span;
use super::{outside, raw, suggest};

/// What can be read from a node. On `None`, the problem has been reported.
pub trait Read: Sized {
    /// How a list of these is written, where `[…]` is not the usual way.
    const LIST_HELP: Option<&'static str> = None;
    /// What it is, in words: "a duration".
    const WANTED: &'static str = "what is wanted here";

    /// Reads it.
    fn read(node: &Node, problems: &mut Problems) -> Option<Self>;
}

/// A value with the place where it stands.
#[derive(Clone, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Span,
}

/// What a table says of one key.
#[derive(Clone, Debug, Default)]
pub enum Field<T> {
    /// Nothing.
    #[default]
    Absent,
    /// Something wrong, which has been reported.
    Refused,
    /// A value of the right type.
    Given {
        /// Where the key stands.
        key: Span,
        /// The value.
        at: At<T>,
    },
}

impl<T> Field<T> {
    /// The value with its place, if there is one.
    pub fn given(&self) -> Option<&At<T>> {
        match self {
            Field::Given { at, .. } => Some(at),
            Field::Absent | Field::Refused => None,
        }
    }

    /// Where the key stands, if it does.
    pub fn key(&self) -> Option<Span> {
        match self {
            Field::Given { key, .. } => Some(*key),
            Field::Absent | Field::Refused => None,
        }
    }

    /// Whether nothing is said.
    pub fn is_absent(&self) -> bool {
        matches!(self, Field::Absent)
    }

    /// Takes it for one that was given wrongly, if it is absent.
    pub fn mistype(&mut self) {
        if self.is_absent() {
            *self = Field::Refused;
        }
    }

    /// What `read` makes of the value, if there is one.
    pub fn map<U>(&self, read: impl FnOnce(&T) -> U) -> Option<U> {
        self.given().map(|at| read(&at.value))
    }

    /// The value, or a report that `key` is missing from the table at `place`.
    pub fn required(&self, key: &str, example: &str, place: Span, of: &str, problems: &mut Problems) -> Option<&At<T>> {
        if self.is_absent() {
            problems.push(
                Diagnostic::error(format!("{of} has no `{key}`"))
                    .at(place, format!("`{key}` is missing"))
                    .help(format!("add `{key} = {example}`")),
            );
        }
        self.given()
    }

    /// What the entry of this key says.
    pub fn read(entry: &KeyValue, problems: &mut Problems) -> Self
    where
        T: Read,
    {
        match outside::read::<T>(&entry.node, problems) {
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

/// What one table of the file may hold; declared with [`section!`](crate::section).
pub trait Section: Default + JsonSchema {
    /// How its header is written.
    const TITLE: &'static str;
    /// Its keys.
    const KEYS: &'static [&'static str];
    /// Those of them that this version refuses, and so recommends to nobody.
    const LATER: &'static [&'static str];

    /// One that says nothing, at a place.
    fn at(place: Span) -> Self;

    /// What may have been meant by a value that stands in place of the table.
    #[must_use]
    fn meant(_: &Node) -> Option<String> {
        None
    }

    /// Reads one entry; `false` if this has no such key.
    fn take(&mut self, entry: &KeyValue, problems: &mut Problems) -> bool;

    /// Takes a key for one that was given wrongly, if it is not given: its name was mistyped, which has been reported.
    fn mistyped(&mut self, key: &str);
}

/// The keys of a connector that has none.
#[derive(Clone, Copy, Debug, Default, JsonSchema)]
pub struct NoKeys {}

impl Section for NoKeys {
    const TITLE: &'static str = "no table";
    const KEYS: &'static [&'static str] = &[];
    const LATER: &'static [&'static str] = &[];

    fn at(_: Span) -> Self {
        Self {}
    }

    fn take(&mut self, _: &KeyValue, _: &mut Problems) -> bool {
        false
    }

    fn mistyped(&mut self, _: &str) {}
}

/// Declares a table of the pipeline file, or the keys of a connector: a struct whose fields are its keys, each a
/// [`Field`](crate::keys::Field), read with [`Read`](crate::keys::Read) and described for editors with
/// [`JsonSchema`](schemars::JsonSchema). What says `section!` depends on `schemars` itself.
#[macro_export]
macro_rules! section {
    (
        $(#[$meta:meta])*
        $visibility:vis struct $name:ident = $title:literal $(, list $list_help:literal)? $(, later $($later:ident)+)? $(, meant $meant:path)? {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
        }
    ) => {
        #[derive(Clone, Debug, Default, schemars::JsonSchema)]
        $(#[$meta])*
        #[schemars(default, deny_unknown_fields)]
        $visibility struct $name {
            $($(#[$field_meta])* $visibility $field: $crate::keys::Field<$type>,)*
            /// Where the table starts.
            #[schemars(skip)]
            #[allow(dead_code, reason = "not every table has something to be said of it as a whole")]
            $visibility place: $crate::keys::Span,
        }

        impl $crate::keys::Section for $name {
            const TITLE: &'static str = $title;
            const KEYS: &'static [&'static str] = &[$(stringify!($field)),*];
            const LATER: &'static [&'static str] = &[$($(stringify!($later)),+)?];

            fn at(place: $crate::keys::Span) -> Self {
                Self { place, ..Self::default() }
            }

            $(fn meant(node: &$crate::keys::Node) -> Option<String> {
                $meant(node)
            })?

            fn take(&mut self, entry: &$crate::keys::KeyValue, problems: &mut $crate::keys::Problems) -> bool {
                match entry.key() {
                    $(stringify!($field) => self.$field = $crate::keys::Field::read(entry, problems),)*
                    _ => return false,
                }
                true
            }

            fn mistyped(&mut self, key: &str) {
                match key {
                    $(stringify!($field) => self.$field.mistype(),)*
                    _ => {}
                }
            }
        }

        impl $crate::keys::Read for $name {
            $(const LIST_HELP: Option<&'static str> = Some($list_help);)?

            fn read(node: &$crate::keys::Node, problems: &mut $crate::keys::Problems) -> Option<Self> {
                $crate::keys::read(node, problems)
            }
        }
    };
}

/// Reads a table that has no other keys.
pub fn read<S: Section>(node: &Node, problems: &mut Problems) -> Option<S> {
    let entries = entries::<S>(node, problems)?;
    let mut section = S::at(node.place);
    for entry in entries {
        if !section.take(entry, problems) {
            let known: Vec<&str> = S::KEYS.iter().copied().filter(|key| !S::LATER.contains(key)).collect();
            refuse_key(entry, S::TITLE, &known, problems);
            if let Some(meant) = suggest::nearest(&entry.key, known) {
                section.mistyped(meant);
            }
        }
    }
    Some(section)
}

/// A table whose other keys are another's to read.
#[derive(Clone, Debug)]
pub(crate) struct Open<S> {
    keys: S,
    /// What is not among its keys.
    pub(crate) others: Vec<KeyValue>,
}

impl<S> std::ops::Deref for Open<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.keys
    }
}

impl<S: Section + Read> Read for Open<S> {
    const LIST_HELP: Option<&'static str> = S::LIST_HELP;

    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let entries = entries::<S>(node, problems)?;
        let mut keys = S::at(node.place);
        let others = entries.iter().filter(|entry| !keys.take(entry, problems)).cloned();
        let others = others.collect();
        Some(Self { keys, others })
    }
}

impl<S: JsonSchema> JsonSchema for Open<S> {
    fn schema_name() -> Cow<'static, str> {
        S::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        S::json_schema(generator)
    }
}

/// The entries of a table.
fn entries<'a, S: Section>(node: &'a Node, problems: &mut Problems) -> Option<&'a [KeyValue]> {
    let title = S::TITLE;
    match (&node.value, title.starts_with('[') && !title.starts_with("[[")) {
        (Value::Table(entries), _) => Some(entries),
        (Value::List(_), true) => wrong_type(node, "one table", Some(format!("write {title} once")), problems),
        (_, true) => wrong_type(node, "a table", Some(format!("write it as {title}")), problems),
        (_, false) => wrong_type(node, "a table", S::meant(node), problems),
    }
}

/// Reports a key that is none of the `known` ones of a table.
pub(crate) fn refuse_key(entry: &KeyValue, title: &str, known: &[&str], problems: &mut Problems) {
    let key = entry.key.as_str();
    let home = raw::home_of(key, problems.homes()).map(|home| match (home, title) {
        ("[operator.limits]", "[[tenant]]") => "[tenant.limits]",
        (home, _) => home,
    });
    let help = match (home, suggest::nearest(key, known.iter().copied())) {
        // A component's settings may have any name.
        (home, None) if title == "[[operator]]" && home.is_none_or(|home| !home.starts_with("[operator")) => {
            format!("a setting of the component belongs in its `config`, such as `config = {{ {key} = … }}`")
        }
        (Some(home), meant) if !meant.is_some_and(|meant| suggest::is_one_slip(key, meant)) => {
            format!("`{key}` belongs in {}", quoted(home))
        }
        (_, Some(meant)) => format!("did you mean `{meant}`?"),
        (_, None) => format!("{} has {}", quoted(title), suggest::listed(known)),
    };
    let message = format!("unknown key `{key}` in {}", quoted(title));
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
pub(crate) fn wrong_type<T>(node: &Node, wanted: &str, help: Option<String>, problems: &mut Problems) -> Option<T> {
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
    const WANTED: &'static str = "a string";

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

impl Read for bool {
    const WANTED: &'static str = "true or false";

    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let help = match &node.value {
            Value::Boolean(fact) => return Some(*fact),
            Value::String(text) if ["true", "yes", "on"].contains(&text.as_str()) => {
                Some("write `true`, without quotes")
            }
            Value::String(text) if ["false", "no", "off"].contains(&text.as_str()) => {
                Some("write `false`, without quotes")
            }
            Value::Integer(1) => Some("write `true`"),
            Value::Integer(0) => Some("write `false`"),
            _ => None,
        };
        wrong_type(node, "true or false", help.map(str::to_owned), problems)
    }
}

impl<T: Read> Read for Vec<At<T>> {
    const WANTED: &'static str = "a list";

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
                value: outside::read(item, problems)?,
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
