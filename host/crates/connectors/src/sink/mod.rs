//! Where events leave.
//!
//! A sink writes values to its medium, in the order in which it is given them. It may block; the runtime gives each one
//! a thread of its own. It knows nothing of operators or of ordering, and of an epoch only that it ends.

#[cfg(test)]
mod crashes;
mod line_file;
mod memory;
mod null;
mod parts;
mod stdout;
mod unsynced;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use dirigo_disk::{Disk, Entry};
use dirigo_ground::batch::Column;
use dirigo_ground::clock::Clock;
use dirigo_pipeline as pipeline;

pub use line_file::LineFile;
pub use memory::{Memory, Taken};

/// Where to go on after a restart; opaque to all but the sink that gave it.
pub type Bookmark = serde_json::Value;

/// How a sink takes up its medium.
#[derive(Clone, Copy, Debug)]
pub enum Resume<'a> {
    /// Anew: what an earlier run left there goes.
    Fresh,
    /// After what the bookmark says: what came later was never committed, and goes.
    At(&'a Bookmark),
}

/// Why a sink cannot be opened, or written to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file, or a folder on the way to it, cannot be made or opened.
    #[error("cannot open `{}`: {reason}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// The medium failed.
    #[error("cannot write {to}: {reason}")]
    Write {
        /// The file in backticks, or `standard output`.
        to: String,
        /// Why.
        reason: io::Error,
    },
    /// Nobody reads standard output any more, as when it went into `head`: a reason to stop, but no failure.
    #[error("standard output was closed by its reader")]
    Closed,
    /// A file is not there any more.
    #[error(
        "cannot go on writing `{}`: it is missing, and {committed} bytes had been committed to it; restore it, or `--fresh` \
         discards the state and begins anew",
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
    /// A file is shorter than what had been committed to it.
    #[error(
        "cannot go on writing `{}`: it has {bytes} bytes, {committed} had been committed; restore it, or `--fresh` discards \
         the state and begins anew",
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
    /// A bookmark does not fit its sink.
    #[error("cannot go on writing `{}`: {problem}", path.display())]
    Bookmark {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        problem: String,
    },
}

/// A writer of events.
pub trait Sink: Send {
    /// Writes values in order. They may be buffered.
    ///
    /// # Errors
    /// When the medium fails.
    fn write(&mut self, values: &Column) -> Result<(), Error>;

    /// Hands buffered values to the medium; called whenever no more are waiting.
    ///
    /// # Errors
    /// When the medium fails.
    fn flush(&mut self) -> Result<(), Error>;

    /// Ends an epoch: the bookmark covers all that was written so far. Hands it to the medium as a whole, so that it can be
    /// read up to there, but does not wait for the disk: that is left to [`Prepared::sync`].
    ///
    /// # Errors
    /// When the medium fails. After that nothing is known of what was written since the last one.
    fn prepare(&mut self) -> Result<Prepared, Error>;

    /// Shows readers the epoch that the last [`prepare`](Self::prepare) ended, once it is committed, and before the next one
    /// ends.
    ///
    /// # Errors
    /// When the medium fails. A sink that is then opened at the committed bookmark makes up for it.
    fn publish(&mut self) -> Result<(), Error>;

    /// Says that no more is written in this run: the next [`prepare`](Self::prepare) leaves nothing half done.
    fn end(&mut self) {}

    /// What becomes of what it wrote, where a run ends before its time.
    fn ability(&self) -> Ability;
}

/// An epoch that a sink has ended, on its way to being committed.
#[derive(Default)]
pub struct Prepared {
    /// Where it ends; `None` for a sink that takes nothing back.
    pub bookmark: Option<Bookmark>,
    /// Makes all that the bookmark covers durable. To be waited for before the bookmark is committed; the sink may be
    /// written to meanwhile.
    pub sync: Option<Box<dyn FnOnce() -> Result<(), Error> + Send>>,
}

impl Prepared {
    /// Waits for the disk, where that is to be waited for; what it leaves can be committed.
    ///
    /// # Errors
    /// When the disk fails. Nothing may be committed then.
    pub fn synced(self) -> Result<Option<Bookmark>, Error> {
        self.sync.map_or(Ok(()), |sync| sync())?;
        Ok(self.bookmark)
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Prepared")
            .field("bookmark", &self.bookmark)
            .finish_non_exhaustive()
    }
}

/// What becomes of what a sink wrote after the last commit, where a run ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// It goes, and no reader has seen it.
    Transactional,
    /// It goes, but readers may have seen it.
    TakesBack,
    /// It stays, and comes again.
    AtLeastOnce {
        /// Why it stays: "standard output takes nothing back".
        why: &'static str,
    },
    /// There is nothing: the sink writes nothing.
    WritesNothing,
}

/// Opens a sink; the clock tells it when a part is old enough.
///
/// # Errors
/// When a file cannot be opened, or is shorter than the bookmark says, or a folder for parts holds something else.
pub fn open(
    sink: &pipeline::Sink,
    from: Resume<'_>,
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
) -> Result<Box<dyn Sink>, Error> {
    Ok(match &sink.kind {
        pipeline::SinkKind::File { path } => Box::new(LineFile::open(path, from, disk)?),
        pipeline::SinkKind::Parts { pattern, roll } => Box::new(parts::Parts::open(pattern, *roll, from, disk, clock)?),
        pipeline::SinkKind::Stdout => Box::new(stdout::Stdout::open()?),
        pipeline::SinkKind::Null => Box::new(null::Null),
    })
}

/// Whether a sink can be opened anew, found out without touching what it has written.
///
/// # Errors
/// When it cannot.
pub fn check(sink: &pipeline::Sink, disk: &dyn Disk) -> Result<(), Error> {
    match &sink.kind {
        pipeline::SinkKind::File { path } => line_file::check(path, disk),
        pipeline::SinkKind::Parts { pattern, .. } => parts::check(pattern, disk),
        pipeline::SinkKind::Stdout | pipeline::SinkKind::Null => Ok(()),
    }
}

/// What there is where a sink would write, and would be lost if it began anew: "`out.jsonl`, which has 12 bytes".
#[must_use]
pub fn content(sink: &pipeline::Sink, disk: &dyn Disk) -> Option<String> {
    match &sink.kind {
        pipeline::SinkKind::File { path } => match disk.look(path) {
            Ok(Entry::File(bytes)) if bytes > 0 => Some(format!("`{}`, which has {bytes} bytes", path.display())),
            _ => None,
        },
        pipeline::SinkKind::Parts { pattern, .. } => {
            parts::any(pattern, disk).map(|name| format!("`{}`, which holds `{name}`", pattern.folder.display()))
        }
        pipeline::SinkKind::Stdout | pipeline::SinkKind::Null => None,
    }
}

/// What a sink will be able to do, without opening it.
#[must_use]
pub fn ability(sink: &pipeline::Sink, disk: &dyn Disk) -> Ability {
    match &sink.kind {
        pipeline::SinkKind::File { path } => line_file::ability(matches!(disk.look(path), Ok(Entry::Other))),
        pipeline::SinkKind::Parts { .. } => Ability::Transactional,
        pipeline::SinkKind::Stdout => stdout::ABILITY,
        pipeline::SinkKind::Null => Ability::WritesNothing,
    }
}
