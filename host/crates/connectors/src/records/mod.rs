//! Records of text: how a stream of bytes becomes events.
//!
//! What the formats make of their records:
//! - `jsonl`: each line is an event; one of nothing but white space is none, but counts as a line. Lines are checked
//!   only as far as the key and the time are looked for, see [`Extract`].
//! - `lines`: each line is an event, an empty one too.
//! - `csv`: each record after the header is an event, as a JSON object by the names of the header. A field that is a
//!   JSON number becomes that number, an empty one null, everything else a string, unless [`CellRules`] say otherwise.
//!
//! Lines end with LF or CRLF, the last one with the end of the input too. A UTF-8 byte order mark at the start is
//! stepped over. Memory does not grow with the length of the input: a record is read whole if it has no more than
//! [`RECORD_BYTES_MAX`] bytes, and else refused and passed over.
//!
//! Knows no medium: whoever has one hands in a reader.

mod cells;
mod csv;
mod encoder;
mod extract;
mod json;
mod lines;
mod marks;
#[cfg(test)]
mod script;
mod stream;
mod table;
mod text;
mod time;
mod window;
mod words;

use std::io;
use std::path::PathBuf;

pub(crate) use cells::validate as validate_cells;
pub use cells::{CellRules, ColumnType};
pub use extract::{Extract, Extracted};
#[cfg(test)]
pub(crate) use script::Script;
pub(crate) use stream::{Stream, StreamOffset};
#[cfg(feature = "nats")]
pub(crate) use text::SingleLines;
pub(crate) use text::{LastRecord, Reading, Text};
pub(crate) use window::Window;

/// The longest record that can be an event, in bytes: a fixed bound on what a file without line ends takes of memory.
/// Six times the 10 MB documents that exports of databases are known for, and a 64th of what a
/// [`Column`](dirigo_ground::batch::Column) holds.
pub const RECORD_BYTES_MAX: usize = 64 << 20;

/// Why records cannot be read, or read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be opened.
    #[error("cannot open `{}`: {reason}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        reason: io::Error,
    },
    /// The medium failed, or the file is a compressed one that is corrupt or cut off.
    #[error("cannot read {from}: {reason}")]
    Read {
        /// The file in backticks, or `standard input`.
        from: String,
        /// Why.
        #[source]
        reason: io::Error,
    },
    /// A CSV header is missing, cannot be used, or lacks the column of the key, of the time, or one that is given a type.
    #[error("cannot read {from} as csv: {problem}")]
    Header {
        /// The file in backticks, or `standard input`.
        from: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file is shorter than what had been read of it.
    #[error("cannot resume reading {from}: it was truncated to {bytes} bytes, {read} bytes of it had been read")]
    Truncated {
        /// The file in backticks.
        from: String,
        /// How many (decompressed) bytes it has.
        bytes: u64,
        /// How many had been read.
        read: u64,
    },
    /// A file is shorter than an earlier run found it, which may have read more of it than it could commit.
    #[error("cannot resume reading {from}: it was truncated to {bytes} bytes, but an earlier run found {found}")]
    Shortened {
        /// The file in backticks.
        from: String,
        /// How many bytes it has.
        bytes: u64,
        /// How many it had.
        found: u64,
    },
    /// A file is not the one that had been read.
    #[error("cannot resume reading {from}: it was replaced or rewritten in the {read} bytes that had been read")]
    Replaced {
        /// The file in backticks.
        from: String,
        /// How many (decompressed) bytes had been read.
        read: u64,
    },
    /// An offset does not fit its source.
    #[error("cannot resume reading {from}: {problem}")]
    Offset {
        /// The file in backticks, or what else the source is.
        from: String,
        /// What does not fit.
        problem: String,
    },
}

impl From<Error> for dirigo_connect::Error {
    fn from(error: Error) -> Self {
        match &error {
            Error::Open { reason, .. } | Error::Read { reason, .. } => Self::caused_by(reason.kind(), error),
            _ => Self::fatal(error),
        }
    }
}
