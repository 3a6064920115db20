//! Values that are one of a few words.
//!
//! Owns the words, and the report of one that is none of them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::diagnostic::{Diagnostic, Problems};
use super::document::{Node, Value};
use super::model::{EventOrder, Format, IfExists, Isolation, OnError, Order, OutputOrder, Partial, Scaling};
use super::section::{Read, wrong_type};
use super::suggest;
use super::token::Role;

/// A type with a few values, each with its word.
pub trait Choice: Copy + 'static {
    /// What it is a choice of.
    const WHAT: &'static str;
    /// One of the words, in words.
    const WANTED: &'static str = "one of its words";
    /// The words.
    const WORDS: &'static [(&'static str, Self)];
    /// Words of the contract that this version does not know yet.
    const LATER: &'static [&'static str] = &[];
}

/// How events are spread over actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ActorsWord {
    PerKey,
    Shards,
}

impl Choice for ActorsWord {
    const WHAT: &'static str = "`actors`";
    const WORDS: &'static [(&'static str, Self)] = &[("per-key", Self::PerKey), ("shards", Self::Shards)];
}

impl Choice for Format {
    const WHAT: &'static str = "format";
    const WORDS: &'static [(&'static str, Self)] =
        &[("jsonl", Self::Jsonl), ("csv", Self::Csv), ("lines", Self::Lines)];
}

impl Choice for OnError {
    const WHAT: &'static str = "`errors`";
    const WORDS: &'static [(&'static str, Self)] = &[("dead-letter", Self::DeadLetter), ("stop", Self::Stop)];
}

impl Choice for IfExists {
    const WHAT: &'static str = "`if_exists`";
    const WORDS: &'static [(&'static str, Self)] = &[("overwrite", Self::Overwrite), ("append", Self::Append)];
}

impl Choice for Isolation {
    const WHAT: &'static str = "isolation";
    const WORDS: &'static [(&'static str, Self)] = &[("actor", Self::Actor), ("fresh", Self::Fresh)];
}

impl Choice for Order {
    const WHAT: &'static str = "order";
    const WORDS: &'static [(&'static str, Self)] = &[("key", Self::Key), ("source", Self::Source)];
}

impl Choice for EventOrder {
    const WHAT: &'static str = "`order`";
    const WORDS: &'static [(&'static str, Self)] = &[("time", Self::Time), ("arrival", Self::Arrival)];
}

impl Choice for OutputOrder {
    const WHAT: &'static str = "order";
    const WORDS: &'static [(&'static str, Self)] = &[("listed", Self::Listed), ("any", Self::Any)];
}

impl Choice for Scaling {
    const WHAT: &'static str = "`scaling`";
    const WORDS: &'static [(&'static str, Self)] = &[("auto", Self::Auto), ("off", Self::Off)];
}

impl Choice for Role {
    const WHAT: &'static str = "`role`";
    const WORDS: &'static [(&'static str, Self)] = &[("admin", Self::Admin), ("viewer", Self::Viewer)];
}

impl Choice for Partial {
    const WHAT: &'static str = "`partial`";
    const WORDS: &'static [(&'static str, Self)] = &[("keep", Self::Keep), ("emit", Self::Emit)];
}

/// A word of the file that stands for a `T`.
#[derive(Clone, Copy, Debug)]
pub struct Word<T>(
    /// What it stands for.
    pub T,
);

impl<T: Choice> Read for Word<T> {
    const WANTED: &'static str = T::WANTED;

    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        word(node, T::WHAT, T::WORDS, T::LATER, problems).map(Word)
    }
}

/// What the word of a node stands for; that it is none of `words` is reported.
pub(super) fn word<T: Copy>(
    node: &Node,
    what: &str,
    words: &[(&str, T)],
    later: &[&str],
    problems: &mut Problems,
) -> Option<T> {
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let Value::String(text) = &node.value else {
        let help = format!("{what} is one of {}, in quotes", suggest::listed(&known));
        return wrong_type(node, "a string", Some(help), problems);
    };
    if let Some((_, value)) = words.iter().find(|(word, _)| word == text) {
        return Some(*value);
    }
    let problem = if later.contains(&text.as_str()) {
        Diagnostic::error(format!("{what} `{text}` is not in this version"))
            .at(node.place, "not in this version")
            .help(format!("there are {}", suggest::listed(&known)))
    } else {
        Diagnostic::error(format!("unknown {what} `{text}`"))
            .at(node.place, "unknown")
            .help(suggest::help(text, &known, "there are"))
    };
    problems.push(problem);
    None
}

impl<T: Choice> JsonSchema for Word<T> {
    fn schema_name() -> Cow<'static, str> {
        T::WHAT.into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
        json_schema!({ "type": "string", "enum": words })
    }
}
