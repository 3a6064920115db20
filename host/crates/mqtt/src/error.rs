//! Why topics cannot be read or written.

use dirigo_connectors::servers::ServerRefusal;

/// Why a connection ends: until the next attempt, or with an error that ends the pipeline.
#[derive(Debug)]
pub(crate) enum Stop {
    /// To be tried again after a pause.
    Retry(String),
    Failed(Problem),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

/// Why topics cannot be read or written, until a person changes something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Problem {
    #[error(transparent)]
    Refusal(#[from] ServerRefusal),
    #[error(
        "another client has connected to {server} as `{client_id}`: a broker has one connection by client id, so give each source and sink a `client_id` of its own"
    )]
    TakenOver { server: String, client_id: String },
    #[error("{server} refuses the subscription to `{filter}`: {reason}")]
    Subscription {
        server: String,
        filter: String,
        reason: String,
    },
    #[error(
        "a message of `{topic}` at {server} has {bytes} bytes, and `message_max` is {max}: raise it, or have the broker refuse such messages"
    )]
    MessageTooLarge {
        server: String,
        topic: String,
        bytes: usize,
        max: usize,
    },
    #[error("{server} does not take event {number} of the sink as a message of `{topic}`: {reason}")]
    Message {
        server: String,
        topic: String,
        number: u64,
        reason: String,
    },
    #[error("the journal of what was sent: {0}")]
    Journal(#[from] dirigo_journal::Error),
    #[error("the note of the subscriptions in {}: {reason}", folder.display())]
    Note {
        folder: std::path::PathBuf,
        reason: std::io::Error,
    },
    #[error("the thread that reads the broker cannot be started: {0}")]
    Thread(std::io::Error),
    #[error(transparent)]
    Tls(#[from] dirigo_connectors::tls::Error),
}
