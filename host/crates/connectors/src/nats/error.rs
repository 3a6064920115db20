//! Why a stream cannot be read or written.

use crate::servers::ServerRefusal;

/// Why a connection, a source or a sink stops: until the next attempt, or with an error that ends the pipeline.
#[derive(Debug)]
pub(super) enum Stop {
    /// To be tried again after a pause; the log may say why.
    Retry(String),
    /// To be tried again at once.
    Again,
    Failed(Problem),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

/// Why a stream cannot be read or written, until a person changes something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Problem {
    #[error(transparent)]
    Refusal(#[from] ServerRefusal),
    #[error("the `credentials` cannot be used: they are the content of a file that `nsc generate creds` writes")]
    Credentials,
    #[error("{servers} has no stream `{stream}`: create it, or correct `stream`")]
    NoStream { servers: String, stream: String },
    #[error("{servers} has no JetStream for this account: {reason}")]
    NoJetStream { servers: String, reason: String },
    #[error("{servers} refuses to have stream `{stream}` read: {reason}")]
    Consumer {
        servers: String,
        stream: String,
        reason: String,
    },
    #[error(
        "stream `{stream}` at {servers} removes messages once they were delivered (retention {retention}), so they cannot be read again: \
         read a stream with retention `limits`, for instance a mirror of this one"
    )]
    Retention {
        servers: String,
        stream: String,
        retention: &'static str,
    },
    #[error(
        "stream `{stream}` at {servers} was created at {found}, and the one that was read at {known}: it was deleted and created anew, so its messages are \
         others; `dirigo state migrate --restart` has the source begin anew"
    )]
    Recreated {
        servers: String,
        stream: String,
        known: String,
        found: String,
    },
    #[error(
        "stream `{stream}` at {servers} ends at sequence {last}, and {read} was read: the server has lost messages or was restored; \
         `dirigo state migrate --restart` has the source begin anew"
    )]
    Shortened {
        servers: String,
        stream: String,
        last: u64,
        read: u64,
    },
    #[error("stream `{stream}` at {servers} ends at sequence {last}, so it cannot be read from {start} on")]
    StartsBeyond {
        servers: String,
        stream: String,
        last: u64,
        start: u64,
    },
    #[error(
        "stream `{stream}` at {servers} begins at sequence {first}, and {next} is to be read next: {count} messages were removed before they were read; \
         `missing = \"skip\"` has the source go on without them"
    )]
    Missing {
        servers: String,
        stream: String,
        first: u64,
        next: u64,
        count: u64,
    },
    #[error(
        "stream `{stream}` at {servers} does not take messages of `{subject}`: add the subject to the stream, or correct `subject`"
    )]
    NoSubject {
        servers: String,
        stream: String,
        subject: String,
    },
    #[error("stream `{stream}` at {servers} does not take message {number} of the sink: {reason}")]
    TooLarge {
        servers: String,
        stream: String,
        number: u64,
        reason: String,
    },
    #[error(
        "stream `{stream}` at {servers} was created at {found}, and the one that was written at {known}: it was deleted and created anew, and what was published \
         is gone"
    )]
    RecreatedOutput {
        servers: String,
        stream: String,
        known: String,
        found: String,
    },
    #[error(
        "stream `{stream}` at {servers} ends at sequence {last}, and it had acknowledged {known}: the server has lost messages or was restored"
    )]
    ShortenedOutput {
        servers: String,
        stream: String,
        last: u64,
        known: u64,
    },
    #[error("the offset of the source cannot be read: {0}")]
    Offset(serde_json::Error),
    #[error("where the source begins cannot be kept in {}: {reason}", folder.display())]
    Keep {
        folder: std::path::PathBuf,
        reason: std::io::Error,
    },
}
