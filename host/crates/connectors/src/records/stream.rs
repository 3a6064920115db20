//! A byte stream that is taken record by record.
//!
//! Owns what does not depend on how records are told apart: the place in the stream, the bound on a record's length,
//! and what becomes of a last record that turns out not to have been complete. The code that finds the ends of the
//! records says where they are; between two of them no more than one record is in memory.

use std::io::{self, Read};
use std::mem;

use memchr::memchr_iter;
use serde::{Deserialize, Serialize};

use super::window::Window;
use dirigo_connect::source::REFUSED_BYTES_MAX;

/// A stream and how far it was taken.
#[derive(Debug)]
pub(crate) struct Stream<R> {
    pub(crate) window: Window<R>,
    /// How many line feeds were consumed.
    line: u64,
    /// Whether the last record was ended by the end of the stream alone.
    is_open: bool,
    overlong: Option<Overlong>,
    record_bytes_max: usize,
}

/// A record that is too long, of which everything but the start is passed over.
#[derive(Debug)]
struct Overlong {
    place: StreamOffset,
    start: Vec<u8>,
}

/// Where in the stream to go on; what an offset says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamOffset {
    /// Bytes from the start.
    pub(crate) offset: u64,
    /// Line feeds before it.
    pub(crate) line: u64,
    /// Whether a record was taken that only the end of the stream had ended.
    pub(crate) open: bool,
    /// What is there before it.
    pub(crate) fingerprint: String,
}

impl StreamOffset {
    /// How many lines come before it; one that only the end of the stream had ended counts.
    pub(crate) fn lines(&self) -> u64 {
        self.line + u64::from(self.open)
    }
}

/// A record as it was taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// The record, with what ends it.
    Whole(&'a [u8]),
    /// The first [`REFUSED_BYTES_MAX`] bytes of one that is too long.
    TooLong(Vec<u8>),
    /// What has been appended, without a line feed before it, to a record that was taken already.
    Rest(&'a [u8]),
}

impl<R: Read> Stream<R> {
    pub(crate) fn new(reader: R, record_bytes_max: usize) -> Self {
        Self {
            window: Window::new(reader),
            line: 0,
            is_open: false,
            overlong: None,
            record_bytes_max,
        }
    }

    pub(crate) fn unread(&self) -> &[u8] {
        self.window.unread()
    }

    /// Whether the next bytes follow a record that only the end of the stream had ended.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether the next bytes belong to a record that is too long.
    pub(crate) fn is_passing_over(&self) -> bool {
        self.overlong.is_some()
    }

    /// Whether nothing is left, where the stream is at its end.
    pub(crate) fn is_finished(&self) -> bool {
        self.unread().is_empty() && !self.is_passing_over()
    }

    /// Reads once, and returns whether there was anything.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        self.window.fill()
    }

    /// Drops the first `length` unread bytes when a record that has no end in them cannot but be too long; returns
    /// whether it did.
    pub(crate) fn pass_over(&mut self, length: usize) -> bool {
        if self.overlong.is_none() {
            // The record may yet end with the two bytes of a CRLF, which do not count.
            if length < self.record_bytes_max + 2 {
                return false;
            }
            let start = self.unread()[..length.min(REFUSED_BYTES_MAX)].to_vec();
            self.overlong = Some(Overlong {
                place: self.place(),
                start,
            });
        }
        self.skip_between(length);
        true
    }

    /// Steps over what lies between records.
    pub(crate) fn skip_between(&mut self, length: usize) {
        self.line += line_feeds(self.window.consume(length));
    }

    /// Steps over the line feed, `length` bytes away, of a record that was taken without it.
    pub(crate) fn close(&mut self, length: usize) {
        self.skip_between(length);
        self.is_open = false;
    }

    /// Takes the record of `length` bytes that has `line_feeds` of them, and the number of the line where it starts.
    /// Without `is_ended` it is the end of the stream that ends it.
    #[inline]
    pub(crate) fn take(&mut self, length: usize, line_feeds: u64, is_ended: bool) -> (u64, Piece<'_>) {
        let is_rest = mem::replace(&mut self.is_open, !is_ended);
        let number = self.line + 1;
        self.line += line_feeds;
        if let Some(Overlong { place, start }) = self.overlong.take() {
            self.window.consume(length);
            return (place.line + 1, Piece::TooLong(start));
        }
        let record = self.window.consume(length);
        if record.len() > self.record_bytes_max && without_end(record).len() > self.record_bytes_max {
            return (
                number,
                Piece::TooLong(record[..record.len().min(REFUSED_BYTES_MAX)].to_vec()),
            );
        }
        (
            number,
            if is_rest {
                Piece::Rest(record)
            } else {
                Piece::Whole(record)
            },
        )
    }

    /// How far in the stream the records taken so far end.
    pub(crate) fn offset(&self) -> u64 {
        let overlong = self.overlong.as_ref();
        overlong.map_or(self.window.offset(), |overlong| overlong.place.offset)
    }

    /// Where to go on after the records taken so far.
    pub(crate) fn place(&self) -> StreamOffset {
        if let Some(overlong) = &self.overlong {
            return overlong.place.clone();
        }
        StreamOffset {
            offset: self.window.offset(),
            line: self.line,
            open: self.is_open,
            fingerprint: self.window.fingerprint(),
        }
    }

    /// Counts on from `place`, where the window has been moved to.
    pub(crate) fn moved_to(&mut self, place: &StreamOffset) {
        self.line = place.line;
        self.is_open = place.open;
    }
}

/// A record without the LF or CRLF that ends it.
#[inline]
pub(crate) fn without_end(record: &[u8]) -> &[u8] {
    record
        .strip_suffix(b"\n")
        .map_or(record, |line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// How many line feeds there are.
pub(crate) fn line_feeds(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}
