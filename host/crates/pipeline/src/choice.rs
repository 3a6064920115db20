//! Values that are one of a few words.
//!
//! Owns the words, and the report of one that is none of them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::diagnostic::{Diagnostic, Problems};
use super::document::{Node, Value};
use super::model::{Format, Isolation, OnError, Order};
use super::section::{Read, wrong_type};
use super::suggest;

/// A type with a few values, each with its word.
pub(super) trait Choice: Copy + 'static {
    /// What it is a choice of.
    const WHAT: &'static str;
    /// The words.
    const WORDS: &'static [(&'static str, Self)];
    /// Words of the contract that this version does not know yet.
    const LATER: &'static [&'static str] = &[];
}

/// What a source reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SourceWord {
    File,
    Stdin,
    Generator,
}

/// What a sink writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SinkWord {
    File,
    Stdout,
    Null,
}

/// When readers see what a sink wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommitWord {
    Append,
    Epoch,
}

/// How events are spread over actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ActorsWord {
    PerKey,
    Shards,
}

impl Choice for SourceWord {
    const WHAT: &'static str = "source kind";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("file", Self::File),
        ("stdin", Self::Stdin),
        ("generator", Self::Generator),
    ];
    const LATER: &'static [&'static str] = &["http", "nats"];
}

impl Choice for SinkWord {
    const WHAT: &'static str = "sink kind";
    const WORDS: &'static [(&'static str, Self)] =
        &[("file", Self::File), ("stdout", Self::Stdout), ("null", Self::Null)];
    const LATER: &'static [&'static str] = &["http", "nats"];
}

impl Choice for CommitWord {
    const WHAT: &'static str = "`commit`";
    const WORDS: &'static [(&'static str, Self)] = &[("append", Self::Append), ("epoch", Self::Epoch)];
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

impl Choice for Isolation {
    const WHAT: &'static str = "isolation";
    const WORDS: &'static [(&'static str, Self)] = &[("actor", Self::Actor), ("fresh", Self::Fresh)];
}

impl Choice for Order {
    const WHAT: &'static str = "order";
    const WORDS: &'static [(&'static str, Self)] = &[("key", Self::Key), ("source", Self::Source)];
}

/// A word of the file that stands for a `T`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<T>(pub(super) T);

impl<T: Choice> Read for Word<T> {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
        let Value::String(text) = &node.value else {
            let help = format!("{} is one of {}, in quotes", T::WHAT, suggest::listed(&words));
            return wrong_type(node, "a string", Some(help), problems);
        };
        if let Some((_, value)) = T::WORDS.iter().find(|(word, _)| word == text) {
            return Some(Word(*value));
        }
        let problem = if T::LATER.contains(&text.as_str()) {
            Diagnostic::error(format!("{} `{text}` is not in this version", T::WHAT))
                .at(node.place, "not in this version")
                .help(format!("there are {}", suggest::listed(&words)))
        } else {
            Diagnostic::error(format!("unknown {} `{text}`", T::WHAT))
                .at(node.place, "unknown")
                .help(suggest::help(text, &words, "there are"))
        };
        problems.push(problem);
        None
    }
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
