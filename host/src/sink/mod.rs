//! Where events leave.
//!
//! A sink writes values to its medium, in the order in which it is given them. It may block; the runtime gives each one
//! a thread of its own. It knows nothing of operators, ordering or epochs.

mod line_file;
mod memory;
mod null;
mod stdout;

use std::io;
use std::path::PathBuf;

use crate::batch::Column;
use crate::pipeline;

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
    /// A file is shorter than what had been committed to it.
    #[error("cannot go on writing `{}`: it has {bytes} bytes, {committed} had been committed", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// How many bytes it has.
        bytes: u64,
        /// How many it had when it was last committed.
        committed: u64,
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

    /// Makes everything written durable and says where that ends; `None` for a sink that cannot take anything back.
    ///
    /// # Errors
    /// When the medium fails.
    fn commit(&mut self) -> Result<Option<Bookmark>, Error>;
}

/// Opens a sink.
///
/// # Errors
/// When a file cannot be opened, or is shorter than the bookmark says.
pub fn open(sink: &pipeline::Sink, from: Resume<'_>) -> Result<Box<dyn Sink>, Error> {
    Ok(match &sink.kind {
        pipeline::SinkKind::File { path } => Box::new(LineFile::open(path, from)?),
        pipeline::SinkKind::Stdout => Box::new(stdout::Stdout::open()?),
        pipeline::SinkKind::Null => Box::new(null::Null),
    })
}
