//! What is wrong with a pipeline, as its author reads it.
//!
//! Owns the list of problems of one load with the texts that they point into. [`render`](super::render) draws them;
//! nothing here knows what a pipeline is.

use std::fmt;

use serde::ser::{Serialize, SerializeSeq, SerializeStruct, Serializer};

use super::render;
use super::span::{Origin, Span, Texts};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// The pipeline is refused.
    Error,
    /// The pipeline runs, but hardly as it was meant.
    Warning,
    /// Worth knowing.
    Note,
}

/// One problem: what is wrong, where, and what would be right.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    pub(super) severity: Severity,
    pub(super) message: String,
    pub(super) mark: Option<LabelledSpan>,
    pub(super) also: Vec<LabelledSpan>,
    pub(super) help: Option<String>,
}

/// A place and what is to be said of it.
#[derive(Clone, Debug)]
pub(super) struct LabelledSpan {
    pub(super) place: Span,
    pub(super) label: String,
}

impl Diagnostic {
    /// An error.
    #[must_use]
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            mark: None,
            also: Vec::new(),
            help: None,
        }
    }

    /// A warning.
    #[must_use]
    pub fn warning(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(message)
        }
    }

    /// A note.
    #[must_use]
    pub fn note(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Note,
            ..Self::error(message)
        }
    }

    /// At a place, with what is to be said of it.
    #[must_use]
    pub fn at(mut self, place: Span, label: impl Into<String>) -> Self {
        self.mark = Some(LabelledSpan {
            place,
            label: label.into(),
        });
        self
    }

    /// At a place, where there is one.
    #[must_use]
    pub(super) fn at_if(self, place: Option<Span>, label: impl Into<String>) -> Self {
        match place {
            Some(place) => self.at(place, label),
            None => self,
        }
    }

    /// At another place too.
    #[must_use]
    pub fn also(mut self, place: Span, label: impl Into<String>) -> Self {
        self.also.push(LabelledSpan {
            place,
            label: label.into(),
        });
        self
    }

    /// With what would be right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With what would be right, where that is known.
    #[must_use]
    pub fn help_if(self, help: Option<String>) -> Self {
        match help {
            Some(help) => self.help(help),
            None => self,
        }
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// What is wrong, in one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// More than anybody reads at once, and few enough that a hostile file of 1 MiB is told of within a second.
const KEPT_MAX: usize = 100;

/// The problems found so far.
#[derive(Debug, Default)]
pub struct Problems {
    list: Vec<Diagnostic>,
    homes: Vec<Home>,
}

/// A table, by its header, with keys that it may have.
pub(super) type Home = (&'static str, &'static [&'static str]);

impl Problems {
    /// None so far, in a file whose tables may have keys of connectors.
    pub(super) fn of_file_with(homes: Vec<Home>) -> Self {
        Self {
            list: Vec::new(),
            homes,
        }
    }

    /// The keys that connectors have in tables: one that stands elsewhere may belong there.
    pub(super) fn homes(&self) -> &[Home] {
        &self.homes
    }

    /// Reports one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
    }

    pub(super) fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Whether more would not be shown, so that nothing laborious need be said of them.
    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= KEPT_MAX
    }

    /// The problems in the order of their places; those without a place come first, and those beyond the first
    /// hundred are only counted.
    pub(super) fn into_diagnostics(mut self, texts: Texts) -> Diagnostics {
        if self.has_errors() {
            self.list.retain(|problem| problem.severity != Severity::Note);
        }
        self.list
            .sort_by_key(|problem| problem.mark.as_ref().map(|mark| mark.place));
        let found = self.list.len();
        if found > KEPT_MAX {
            // A stable sort: what is kept is the worst, in the order of its places.
            self.list.sort_by_key(|problem| problem.severity);
            self.list.truncate(KEPT_MAX);
            let last = self.list.last().map_or(Severity::Note, Diagnostic::severity);
            let more = format!("{} more problems are not shown", found - KEPT_MAX);
            self.list.push(Diagnostic {
                severity: last,
                ..Diagnostic::error(more)
            });
        }
        Diagnostics { texts, list: self.list }
    }
}

/// All problems that one pass over a pipeline found, the first hundred of them in full. Serialises as a list of
/// `{"severity","message","file","line","column","help"}`; what it says of an override has neither file nor line.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    texts: Texts,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Draws them for people: message, place, caret and help, in colour if `color`.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        render::render(&self.texts, &self.list, color)
    }

    /// How many of them are this bad.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.list
            .iter()
            .filter(|diagnostic| diagnostic.severity == severity)
            .count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Each of them, in the order of their places.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// A problem that was found only after loading, told in the same way.
    pub(super) fn of_one(texts: Texts, diagnostic: Diagnostic) -> Self {
        Self {
            texts,
            list: vec![diagnostic],
        }
    }

    /// Appends the problems of another look at the same pipeline.
    pub fn append(&mut self, mut other: Diagnostics) {
        if self.list.is_empty() {
            self.texts = other.texts;
        }
        self.list.append(&mut other.list);
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

impl Serialize for Diagnostics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.list.len()))?;
        for diagnostic in &self.list {
            list.serialize_element(&Located {
                texts: &self.texts,
                diagnostic,
            })?;
        }
        list.end()
    }
}

/// A diagnostic with what is needed to say its line.
struct Located<'a> {
    texts: &'a Texts,
    diagnostic: &'a Diagnostic,
}

impl Serialize for Located<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Diagnostic {
            severity,
            message,
            mark,
            help,
            ..
        } = self.diagnostic;
        let place = mark.as_ref().map(|mark| mark.place);
        let position = place
            .filter(|place| place.origin == Origin::File)
            .map(|place| self.texts.line_and_column(place.start));
        let (message, file) = match place.map(|place| place.origin) {
            Some(Origin::Override(index)) => (format!("{message} (in `-s {}`)", self.texts.overrides[index]), None),
            Some(Origin::File) | None => (message.clone(), Some(&self.texts.file)),
        };
        let mut object = serializer.serialize_struct("Diagnostic", 6)?;
        object.serialize_field("severity", severity)?;
        object.serialize_field("message", &message)?;
        object.serialize_field("file", &file)?;
        object.serialize_field("line", &position.map(|(line, _)| line))?;
        object.serialize_field("column", &position.map(|(_, column)| column))?;
        object.serialize_field("help", help)?;
        object.end()
    }
}
