//! What can go wrong with a store.

use std::io;
use std::path::{Path, PathBuf};

use super::checked_file::Damage;

/// What went wrong with a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process has the directory.
    #[error("the state directory {} is in use by another process", .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The database cannot be opened, read or written.
    #[error("{doing} {}: {reason}", .path.display())]
    Database {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What happened.
        reason: Box<redb::Error>,
    },
    /// A file of the store cannot be opened, read or written.
    #[error("{doing} {}: {reason}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What happened.
        reason: io::Error,
    },
    /// The directory cannot be made.
    #[error("cannot make the state directory {}: {reason}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// What is to be discarded was not made by a store.
    #[error("nothing is discarded in {}: it holds files, but no state", .path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// What is stored is not what this version writes.
    #[error("the stored {what} cannot be read; `--fresh` discards the state")]
    Unreadable {
        /// Which part.
        what: &'static str,
    },
    /// The log was changed by something else than a crash.
    #[error(
        "{} is damaged at byte {offset}: what was committed after epoch {epoch} cannot be read; restore the file, or \
         discard the state with `--fresh`",
        .path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// The last epoch before it, which is whole.
        epoch: u64,
    },
    /// A file of the store is not there any more.
    #[error("{} is missing, and with it what had been committed; restore the file, or discard the state with `--fresh`", .path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// A page of the database is not what was written.
    #[error("{} is damaged at byte {offset}; restore the file, or discard the state with `--fresh`", .path.display())]
    Page {
        /// Which file.
        path: PathBuf,
        /// Where the page begins.
        offset: u64,
    },
    /// The database was changed by something else than a crash.
    #[error("{} is damaged; restore the file, or discard the state with `--fresh`", .path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
    },
    /// A commit failed before, and nobody knows what of it is on the disk.
    #[error("the state takes no further commits after a failure: {reason}")]
    Poisoned {
        /// The failure.
        reason: String,
    },
}

impl Error {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |reason| Self::damage(&reason).unwrap_or(Self::Io { doing, path, reason })
    }

    pub(super) fn database(doing: &'static str, path: &Path) -> impl FnOnce(redb::Error) -> Self + use<> {
        let path = path.to_owned();
        move |reason| {
            let damage = match &reason {
                redb::Error::Io(reason) => Self::damage(reason),
                _ => None,
            };
            damage.unwrap_or_else(|| Self::Database {
                doing,
                path,
                reason: Box::new(reason),
            })
        }
    }

    pub(super) fn broken(path: &Path) -> Self {
        Self::Broken { path: path.to_owned() }
    }

    /// What reading a page says that is not what was written.
    fn damage(reason: &io::Error) -> Option<Self> {
        let Damage { path, offset } = reason.get_ref()?.downcast_ref()?;
        Some(Self::Page {
            path: path.clone(),
            offset: *offset,
        })
    }
}

impl From<redb::Error> for Error {
    fn from(reason: redb::Error) -> Self {
        Self::database("reading", Path::new("the state"))(reason)
    }
}
