//! Kinds of sources and sinks, as far as the pipeline file is concerned.
//!
//! Owns which kinds there are, and that each one's keys are its own. What the keys of a kind are, and what they mean
//! together, its connector says. Opens nothing.

use std::fmt;
use std::sync::Arc;

use dirigo_connect::{Format, SinkSpec, SourceSpec};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::choice;
use super::diagnostic::{Diagnostic, Home};
use super::document::KeyValue;
use super::section::{At, Field, Section, refuse_key};
use super::span::Span;
use super::validate::Validation;
use super::{raw, suggest};
use crate::config::Any;

/// Words of the contract that this version has no connector for.
const LATER: &[&str] = &["kafka"];

/// A kind of source: its name and its keys in the pipeline file.
pub trait SourceConnector: Send + Sync + 'static {
    /// Its keys, beyond those that all sources have; declared with [`section!`](crate::section).
    type Keys: Section;

    /// What stands behind `kind = `.
    fn kind(&self) -> &'static str;

    /// How records are written, as far as the keys say: what `key` and `time` can point at. `None` where something wrong
    /// was said, which [`validate`](Self::validate) or the reader of the keys reports.
    fn format(&self, keys: &Self::Keys) -> Option<Format>;

    /// The options of the source `who` ("source `readings`"), or `None` once what is wrong has been reported.
    fn validate(&self, keys: &Self::Keys, who: &str, validation: &mut Validation<'_>) -> Option<Arc<dyn SourceSpec>>;

    /// What of all sources of a pipeline only one may read.
    fn exclusive(&self) -> Option<Exclusive> {
        None
    }
}

/// A medium that has one reader.
#[derive(Clone, Copy, Debug)]
pub struct Exclusive {
    /// What it is: "standard input".
    pub medium: &'static str,
    /// What to do in place of a second reader.
    pub help: &'static str,
}

/// A kind of sink: its name and its keys in the pipeline file.
pub trait SinkConnector: Send + Sync + 'static {
    /// Its keys, beyond those that all sinks have; declared with [`section!`](crate::section).
    type Keys: Section;

    /// What stands behind `kind = `.
    fn kind(&self) -> &'static str;

    /// The options of the sink `who` ("sink `averages`"), or `None` once what is wrong has been reported.
    fn validate(&self, keys: &Self::Keys, who: &str, validation: &mut Validation<'_>) -> Option<Arc<dyn SinkSpec>>;
}

/// The kinds of sources and sinks that pipeline files can name.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    sources: Vec<Kind<SourceKeys>>,
    sinks: Vec<Kind<Option<Arc<dyn SinkSpec>>>>,
}

/// What the keys of a source come to.
pub(super) struct SourceKeys {
    pub(super) format: Option<Format>,
    pub(super) spec: Option<Arc<dyn SourceSpec>>,
}

/// A connector whose types are erased; its keys come to a `V`.
pub(super) struct Kind<V> {
    name: &'static str,
    keys: &'static [&'static str],
    exclusive: Option<Exclusive>,
    schema: fn(&mut SchemaGenerator) -> Schema,
    validate: Arc<Validate<V>>,
}

type Validate<V> = dyn Fn(Written<'_>, &mut Validation<'_>) -> V + Send + Sync;

/// What is written of an item.
#[derive(Clone, Copy)]
pub(super) struct Written<'a> {
    /// What is not among the keys that all items have.
    pub(super) others: &'a [KeyValue],
    /// Where its table starts.
    pub(super) place: Span,
    /// What it is called in reports.
    pub(super) who: &'a str,
}

impl Registry {
    /// With a kind of source.
    ///
    /// # Panics
    /// When there is a source of that kind.
    #[must_use]
    pub fn with_source<C: SourceConnector>(mut self, connector: C) -> Self {
        let kind = Kind::new::<C::Keys>(connector.kind(), connector.exclusive(), move |keys, who, validation| {
            SourceKeys {
                format: connector.format(&keys),
                spec: connector.validate(&keys, who, validation),
            }
        });
        kind.add_to(&mut self.sources);
        self
    }

    /// With a kind of sink.
    ///
    /// # Panics
    /// When there is a sink of that kind.
    #[must_use]
    pub fn with_sink<C: SinkConnector>(mut self, connector: C) -> Self {
        let kind = Kind::new::<C::Keys>(connector.kind(), None, move |keys, who, validation| {
            connector.validate(&keys, who, validation)
        });
        kind.add_to(&mut self.sinks);
        self
    }

    pub(super) fn sources(&self) -> &[Kind<SourceKeys>] {
        &self.sources
    }

    pub(super) fn sinks(&self) -> &[Kind<Option<Arc<dyn SinkSpec>>>] {
        &self.sinks
    }

    /// Where the keys of connectors stand.
    pub(super) fn homes(&self) -> Vec<Home> {
        let sources = self.sources.iter().map(|kind| (raw::Source::TITLE, kind.keys));
        let sinks = self.sinks.iter().map(|kind| (raw::Sink::TITLE, kind.keys));
        sources.chain(sinks).collect()
    }

    /// The schema of each kind of source.
    pub(super) fn source_schemas(&self, generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
        schemas(&self.sources, generator)
    }

    /// The schema of each kind of sink.
    pub(super) fn sink_schemas(&self, generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
        schemas(&self.sinks, generator)
    }
}

fn schemas<V>(kinds: &[Kind<V>], generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
    let mut schema = |kind: &Kind<V>| (kind.name, (kind.schema)(generator));
    kinds.iter().map(&mut schema).collect()
}

impl<V> Kind<V> {
    fn new<K: Section>(
        name: &'static str,
        exclusive: Option<Exclusive>,
        validate: impl Fn(K, &str, &mut Validation<'_>) -> V + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            keys: K::KEYS,
            exclusive,
            schema: <K as JsonSchema>::json_schema,
            validate: Arc::new(move |written: Written<'_>, validation: &mut Validation<'_>| {
                let mut keys = K::at(written.place);
                for entry in written.others {
                    if !keys.take(entry, &mut validation.problems)
                        && let Some(meant) = suggest::nearest(entry.key(), K::KEYS.iter().copied())
                    {
                        keys.mistyped(meant);
                    }
                }
                validate(keys, written.who, validation)
            }),
        }
    }

    fn add_to(self, kinds: &mut Vec<Self>) {
        let name = self.name;
        assert!(
            kinds.iter().all(|kind| kind.name != name),
            "`{name}` is registered twice"
        );
        kinds.push(self);
    }

    /// As `kind` writes it.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn exclusive(&self) -> Option<Exclusive> {
        self.exclusive
    }

    /// What the keys of an item of this kind come to.
    pub(super) fn validate(&self, written: Written<'_>, validation: &mut Validation<'_>) -> V {
        (self.validate)(written, validation)
    }

    fn has(&self, key: &str) -> bool {
        self.keys.contains(&key)
    }
}

/// The kind that an item says, if it says one that there is.
pub(super) fn kind_of<'k, V>(
    kinds: &'k [Kind<V>],
    what: &str,
    field: &Field<Any>,
    written: Written<'_>,
    validation: &mut Validation<'_>,
) -> Option<&'k Kind<V>> {
    let problems = &mut validation.problems;
    let At { value: Any(node), .. } = field.required("kind", "\"file\"", written.place, written.who, problems)?;
    let words: Vec<(&str, &Kind<V>)> = kinds.iter().map(|kind| (kind.name, kind)).collect();
    choice::word(node, what, &words, LATER, problems)
}

/// Reports the keys that an item of a kind does not have; where the kind is not known, those that none has. `foreign`
/// begins the report of one that others have.
pub(super) fn refuse_others<S: Section, V>(
    kinds: &[Kind<V>],
    kind: Option<&Kind<V>>,
    written: Written<'_>,
    foreign: &str,
    validation: &mut Validation<'_>,
) {
    let own = |candidate: &&Kind<V>| kind.is_none_or(|kind| kind.name == candidate.name);
    let known: Vec<&str> = S::KEYS
        .iter()
        .chain(kinds.iter().filter(own).flat_map(|kind| kind.keys))
        .copied()
        .collect();
    for entry in written.others.iter().filter(|entry| !known.contains(&entry.key())) {
        let key = entry.key();
        let owners: Vec<&str> = kinds
            .iter()
            .filter(|kind| kind.has(key))
            .map(|kind| kind.name)
            .collect();
        if owners.is_empty() {
            refuse_key(entry, S::TITLE, &known, &mut validation.problems);
        } else {
            validation.problems.push(
                Diagnostic::error(format!("{foreign} has no `{key}`"))
                    .at(
                        entry.place,
                        format!("`{key}` is for kind = \"{}\"", owners.join("\" or \"")),
                    )
                    .help(format!("remove `{key}`, or change `kind`")),
            );
        }
    }
}

impl<V> Clone for Kind<V> {
    fn clone(&self) -> Self {
        Self {
            validate: self.validate.clone(),
            ..*self
        }
    }
}

impl<V> fmt::Debug for Kind<V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Kind").field(&self.name).finish()
    }
}
