//! What can be wrong with a journal.

use std::io;
use std::path::{Path, PathBuf};

/// What is wrong with a journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk failed, or is full.
    #[error("{doing} `{}`: {reason}", path.display())]
    Io {
        /// What was being done: "writing".
        doing: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// The disk failed before: nothing is known of what was written last.
    #[error("the disk failed before, and nothing is known of what was written last")]
    Failed,
    /// Something that was acknowledged is not there as it was written.
    #[error("`{}` is damaged at byte {at}, and what was written there was acknowledged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        at: u64,
    },
    /// A part of the stream is gone.
    #[error("a part of the journal in `{}` is gone: it goes on at {found}, and {wanted} was to follow", folder.display())]
    Gap {
        /// The folder.
        folder: PathBuf,
        /// Where the stream goes on.
        found: u64,
        /// Where it should.
        wanted: u64,
    },
    /// The end of the stream is gone.
    #[error("the journal in `{}` ends at {end}, and {wanted} bytes of it had been read", folder.display())]
    Ended {
        /// The folder.
        folder: PathBuf,
        /// Where the stream ends.
        end: u64,
        /// How far it had been read.
        wanted: u64,
    },
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |reason| Self::Io {
            doing,
            path: path.clone(),
            reason,
        }
    }

    /// What the system said, where it is that.
    #[must_use]
    pub fn kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { reason, .. } => Some(reason.kind()),
            _ => None,
        }
    }
}
