//! What can be wrong with an outbox.

use std::io;

use dirigo_connect::sink;

/// What is wrong with an outbox.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the outbox: {0}")]
    Journal(#[from] dirigo_journal::Error),
    #[error("the folder of the outbox cannot be used: {0}")]
    Folder(io::Error),
    #[error("the note of what was delivered cannot be used: {0}")]
    Delivered(io::Error),
    #[error("the offset of the sink cannot be read: {0}")]
    Offset(serde_json::Error),
    #[error("reading the batch at byte {at} of the outbox: {reason}")]
    Read { at: u64, reason: io::Error },
    #[error("the thread that delivers cannot be started: {0}")]
    Thread(io::Error),
    #[error(
        "{delivered} batches of the outbox were delivered, and the state knows only {committed}: it is older than the outbox"
    )]
    Older { delivered: u64, committed: u64 },
    #[error("{0}")]
    Delivery(String),
}

impl From<Error> for sink::Error {
    fn from(error: Error) -> Self {
        Self::fatal(error)
    }
}
