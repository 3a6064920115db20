//! Why a pipeline cannot start.

use std::path::PathBuf;

use dirigo_connect::{sink, source};
use dirigo_state as state;

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
    #[error(
        "{events} events were on their way to `{item}` when the last run stopped, and the pipeline has none of that name"
    )]
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

impl StartError {
    pub(super) fn sink(id: &str, reason: sink::Error) -> Self {
        Self::Sink {
            id: id.to_owned(),
            reason,
        }
    }
}
