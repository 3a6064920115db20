//! Why a pipeline cannot start.

use std::path::PathBuf;

use dirigo_connect::{sink, source};
use dirigo_pipeline::{Diagnostics, Severity};
use dirigo_state as state;

use super::prepare::Prepared;

/// Why a pipeline cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A source cannot be opened.
    #[error("source `{id}`: {reason}")]
    Source {
        /// Which.
        id: String,
        /// Why.
        reason: source::Error,
    },
    /// A sink cannot be opened.
    #[error("sink `{id}`: {reason}")]
    Sink {
        /// Which.
        id: String,
        /// Why.
        reason: sink::Error,
    },
    /// The state cannot be opened.
    #[error(transparent)]
    State(#[from] state::Error),
    /// Old dead letters cannot be removed.
    #[error("cannot remove {}: {reason}", .path.display())]
    Remove {
        /// What.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// What is stored is not what this version writes.
    #[error("the stored {what} cannot be read; `--fresh` discards the state")]
    Unreadable {
        /// Which part.
        what: &'static str,
    },
    /// What was on its way in the last run has nowhere to go.
    #[error("{} to `{item}` when the last run stopped, and the pipeline has none of that name", were(*.events as u64))]
    Orphaned {
        /// Where they were.
        item: String,
        /// How many.
        events: usize,
    },
    /// A retry of dead letters was interrupted.
    #[error(
        "a retry of its dead letters was interrupted: `dirigo dead-letters retry` finishes it, or remove {} to give it up",
        .path.display()
    )]
    RetryUnfinished {
        /// The state of that retry.
        path: PathBuf,
    },
    /// The dead letters cannot be opened.
    #[error("dead letters: {reason}")]
    DeadLetters {
        /// Why.
        reason: sink::Error,
    },
}

/// So many events were on their way.
pub(super) fn were(events: u64) -> String {
    match events {
        1 => "1 event was on its way".to_owned(),
        _ => format!("{events} events were on their way"),
    }
}

impl StartError {
    /// The error, where the pipeline file names what it is about.
    #[must_use]
    pub fn located(&self, prepared: &Prepared) -> Diagnostics {
        let message = format!("pipeline `{}`: {}", prepared.pipeline.name, self.with_causes());
        self.located_as(Severity::Error, &message, prepared)
    }

    /// A warning that a run without state would be refused for this.
    #[must_use]
    pub fn foreseen(&self, prepared: &Prepared) -> Diagnostics {
        let message = format!("a run without `--state` would be refused: {}", self.with_causes());
        self.located_as(Severity::Warning, &message, prepared)
    }

    fn located_as(&self, severity: Severity, message: &str, prepared: &Prepared) -> Diagnostics {
        let (id, key, label) = match self {
            Self::Source { id, .. } => (id.as_str(), "path", "read here"),
            Self::Sink { id, .. } => (id.as_str(), "path", "written here"),
            Self::DeadLetters { .. } | Self::Remove { .. } | Self::RetryUnfinished { .. } => {
                ("", "dead_letters.path", "written here")
            }
            Self::State(_) | Self::Unreadable { .. } | Self::Orphaned { .. } => ("", "pipeline.name", ""),
        };
        prepared.span_index.problem_at(severity, id, key, message, label, None)
    }

    /// What is said of it, and of what lies behind it where that is not part of it.
    fn with_causes(&self) -> String {
        let mut said = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.contains(&text) {
                said = format!("{said}: {text}");
            }
            cause = error.source();
        }
        said
    }

    pub(super) fn sink(id: &str, reason: sink::Error) -> Self {
        Self::Sink {
            id: id.to_owned(),
            reason,
        }
    }
}
