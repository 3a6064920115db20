//! Why files cannot be written. Why they cannot be read, [`records::Error`](crate::records::Error) says.

use std::io;
use std::path::PathBuf;

use super::csv_records::RecordError;
use super::ownership::Origin;

/// Why a file, or a folder of parts, cannot be opened, or written to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file, or a folder on the way to it, cannot be made or opened.
    #[error("cannot open `{}`: {reason}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        reason: io::Error,
    },
    /// The medium failed.
    #[error("cannot write {to}: {reason}")]
    Write {
        /// The file in backticks.
        to: String,
        /// Why.
        #[source]
        reason: io::Error,
    },
    /// An event cannot be written as a record.
    #[error("cannot write `{}`: {reason}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        reason: RecordError,
    },
    /// A file that is to be added to has other columns.
    #[error(
        "cannot add to `{}`: its columns are {found}, and `columns` names {expected}; name the same, or another file",
        path.display()
    )]
    Header {
        /// The file.
        path: PathBuf,
        /// Those that it has.
        found: String,
        /// Those that the pipeline file names.
        expected: String,
    },
    /// A file is not there any more.
    #[error(
        "cannot resume writing `{}`: it is missing, and {committed} bytes had been committed to it; restore it, or \
         `--fresh` discards the state and starts over",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// How many bytes it had when it was last committed.
        committed: u64,
    },
    /// Another process writes the file.
    #[error("cannot write `{}`: another process is writing it", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A file is there, and it is not the pipeline's.
    #[error(
        "`{}` is there, with {bytes} bytes, and {origin}; move or remove it, or set `if_exists` to \"overwrite\" to \
         replace it or to \"append\" to add to it",
        path.display()
    )]
    Occupied {
        /// The file.
        path: PathBuf,
        /// How many bytes it has.
        bytes: u64,
        /// Where it comes from.
        origin: Origin,
    },
    /// Another run has written to a file since something was committed to it.
    #[error(
        "cannot resume writing `{}`: {origin}; restore what had been committed, or move it away and start over with \
         `--fresh`",
        path.display()
    )]
    WrittenSince {
        /// The file, or one of the parts of a folder.
        path: PathBuf,
        /// What wrote it.
        origin: Origin,
    },
    /// A file is shorter than what had been committed to it.
    #[error(
        "cannot resume writing `{}`: it has {bytes} bytes, {committed} had been committed; restore it, or `--fresh` \
         discards the state and starts over",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// How many bytes it has.
        bytes: u64,
        /// How many it had when it was last committed.
        committed: u64,
    },
    /// A folder holds what no run has written, and what a run that starts anew would be in danger of deleting.
    #[error(
        "cannot write parts into `{}`: it holds `{name}`, which is none of them; they need a folder of their own",
        folder.display()
    )]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// What it holds.
        name: String,
    },
    /// A folder holds parts that are not the pipeline's.
    #[error(
        "`{}` is there, and {origin}; move or remove the parts in its folder, or set `if_exists` to \"overwrite\" to \
         replace them or to \"append\" to add to them",
        path.display()
    )]
    OccupiedFolder {
        /// The first part that is another's.
        path: PathBuf,
        /// Where it comes from.
        origin: Origin,
    },
    /// An offset does not fit its sink.
    #[error("cannot resume writing `{}`: {problem}", path.display())]
    Offset {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        problem: String,
    },
}

impl From<Error> for dirigo_connect::Error {
    fn from(error: Error) -> Self {
        match &error {
            Error::Open { reason, .. } | Error::Write { reason, .. } => Self::caused_by(reason.kind(), error),
            Error::InUse { .. } => Self::retryable(error),
            _ => Self::fatal(error),
        }
    }
}
