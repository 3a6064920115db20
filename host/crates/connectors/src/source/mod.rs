//! Where events enter.
//!
//! A source reads records, finds their keys and times, and fills an [`Intake`]. It blocks while it waits for its
//! medium, so the runtime gives each one a thread of its own. It knows nothing of operators, queues or back pressure.
//!
//! What the formats make of their records:
//! - `jsonl`: each line is an event; one of nothing but white space is none, but counts as a line. Lines are checked
//!   only as far as the key and the time are looked for, see [`Extract`].
//! - `lines`: each line is an event, an empty one too.
//! - `csv`: each record after the header is an event, as a JSON object by the names of the header. A field that is a
//!   JSON number becomes that number, an empty one null, everything else a string.
//!
//! Lines end with LF or CRLF, the last one with the end of the input too. A UTF-8 byte order mark at the start is
//! stepped over. Memory does not grow with the length of the input: a record is read whole if it has no more than
//! [`RECORD_BYTES_MAX`] bytes, and else refused and passed over.

mod archive;
mod csv;
mod extract;
mod file;
mod folder;
mod generator;
mod json;
mod lines;
mod memory;
#[cfg(test)]
mod script;
mod stdin;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod window;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use dirigo_disk::{Disk, Entry};
use dirigo_ground::batch::Column;
use dirigo_ground::clock::Clock;
use dirigo_pipeline as pipeline;

pub use extract::{Extract, Found};
pub use memory::{Feed, Memory, Record};

/// The longest record that can be an event, in bytes: a fixed bound on what a file without line ends takes of memory.
/// Six times the 10 MB documents that exports of databases are known for, and a 64th of what a [`Column`] holds.
pub const RECORD_BYTES_MAX: usize = 64 << 20;

/// What is kept of a refused record, in bytes: it is to be recognised and looked at, and there may be many.
pub const REFUSED_BYTES_MAX: usize = 64 << 10;

/// What a source read in one go.
#[derive(Debug, Default)]
pub struct Intake {
    /// Event times, ms since the epoch; one for each accepted event, as are keys, values and positions.
    pub times: Vec<i64>,
    /// Keys, empty where the source has none.
    pub keys: Column,
    /// Payloads.
    pub values: Column,
    /// Record numbers, from 1, rising.
    pub positions: Vec<u64>,
    /// Records that could not be accepted.
    pub refused: Vec<Refused>,
}

/// A record that is not an event: a dead letter of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its number in the source, from 1.
    pub position: u64,
    /// What was read, or its first [`REFUSED_BYTES_MAX`] bytes.
    pub value: Vec<u8>,
    /// What is wrong, and where in the record.
    pub reason: String,
}

impl Intake {
    /// Appends a record that could not be accepted, or its first [`REFUSED_BYTES_MAX`] bytes.
    pub fn refuse(&mut self, position: u64, value: &[u8], reason: String) {
        let value = value[..value.len().min(REFUSED_BYTES_MAX)].to_vec();
        self.refused.push(Refused {
            position,
            value,
            reason,
        });
    }
}

/// How an attempt to read ended. What it appended stands, whichever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// There is, or may be, more.
    More,
    /// Nothing is due before this much time has passed.
    Wait(std::time::Duration),
    /// The source is at its end.
    End,
}

/// How much is read of a source that knows its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Units (bytes or events) read.
    pub done: u64,
    /// Units in all.
    pub total: u64,
}

/// Where to go on after a restart; opaque to all but the source that gave it.
pub type Bookmark = serde_json::Value;

/// How many events and bytes one [`Source::read`] takes at the most.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// Events, and records that were refused.
    pub events: usize,
    /// Bytes of values; the record that crosses it is the last one.
    pub bytes: usize,
}

/// Why a source cannot be opened, or read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be opened.
    #[error("cannot open `{}`: {reason}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// The medium failed, or the file is a compressed one that is corrupt or cut off.
    #[error("cannot read {from}: {reason}")]
    Read {
        /// The file in backticks, or `standard input`.
        from: String,
        /// Why.
        reason: io::Error,
    },
    /// A CSV header is missing, cannot be used, or lacks the column of the key or the time.
    #[error("cannot read {from} as csv: {problem}")]
    Header {
        /// The file in backticks, or `standard input`.
        from: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file is shorter than what had been read of it.
    #[error("cannot go on reading {from}: it was truncated to {bytes} bytes, {read} bytes of it had been read")]
    Truncated {
        /// The file in backticks.
        from: String,
        /// How many (decompressed) bytes it has.
        bytes: u64,
        /// How many had been read.
        read: u64,
    },
    /// A file is not the one that had been read.
    #[error("cannot go on reading {from}: it was replaced or rewritten in the {read} bytes that had been read")]
    Replaced {
        /// The file in backticks.
        from: String,
        /// How many (decompressed) bytes had been read.
        read: u64,
    },
    /// A bookmark does not fit its source.
    #[error("cannot go on reading {from}: {problem}")]
    Bookmark {
        /// The file in backticks, or what else the source is.
        from: String,
        /// What does not fit.
        problem: String,
    },
}

/// A reader of events.
pub trait Source: Send {
    /// Appends events to `intake`, at most `quota`. Blocks only while it has none: it returns what it has as soon as it
    /// would have to wait for more.
    ///
    /// # Errors
    /// When the medium fails; events already appended stand.
    fn read(&mut self, intake: &mut Intake, quota: Quota) -> Result<Read, Error>;

    /// Where to go on after the events returned so far; `None` for a source that cannot be read again.
    fn bookmark(&self) -> Option<Bookmark>;

    /// Whether what it gave can be read again, from a bookmark on.
    fn can_be_read_again(&self) -> bool {
        self.bookmark().is_some()
    }

    /// How far it is, when its size is known.
    fn progress(&self) -> Option<Progress>;
}

/// Opens a source at its start, or where the bookmark of an earlier run says.
///
/// Without a time pointer an event's time is when it was read, by `clock`, which also paces a generator.
///
/// # Errors
/// When a file cannot be opened, or has changed in what had been read of it, or the bookmark is of another source.
pub fn open(
    source: &pipeline::Source,
    clock: Arc<dyn Clock>,
    from: Option<&Bookmark>,
) -> Result<Box<dyn Source>, Error> {
    let extract = Extract::new(source.key.as_ref(), source.time.as_ref());
    Ok(match &source.kind {
        pipeline::SourceKind::File { path, format } => Box::new(file::File::open(path, *format, extract, clock, from)?),
        pipeline::SourceKind::Folder { pattern, format } => {
            Box::new(folder::Folder::open(pattern, *format, extract, clock, from)?)
        }
        pipeline::SourceKind::Stdin { format } => Box::new(stdin::Stdin::open(*format, extract, clock)?),
        pipeline::SourceKind::Generator(options) => {
            Box::new(generator::Generator::new(options.clone(), extract, clock, from)?)
        }
    })
}

/// Whether a source will be able to give again what it gave, without opening it.
#[must_use]
pub fn can_be_read_again(source: &pipeline::Source, disk: &dyn Disk) -> bool {
    match &source.kind {
        pipeline::SourceKind::File { path, .. } => matches!(disk.look(path), Ok(Entry::File(_))),
        pipeline::SourceKind::Stdin { .. } => false,
        pipeline::SourceKind::Folder { .. } | pipeline::SourceKind::Generator(_) => true,
    }
}
