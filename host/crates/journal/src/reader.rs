//! Reads the stream of a journal.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;

use dirigo_segment::START_BYTES;

use super::error::Error;
use super::segments::{KINDS, Segment, decode};
use super::stream::Journal;

/// Reads a stream from some place on. Where nothing more is durable, it says [`ErrorKind::WouldBlock`].
#[derive(Debug)]
pub struct Reader {
    journal: Arc<Journal>,
    /// The segment that is read.
    segment: Option<Segment>,
    /// Where in the file the next record begins.
    at: u64,
    /// Where in the stream it does.
    next: u64,
    payload: Vec<u8>,
    /// How much of the payload was given out.
    given: usize,
}

impl Reader {
    /// A reader that begins at an offset of the stream.
    ///
    /// # Errors
    /// When the stream does not reach back to there, or not that far, or the disk fails.
    pub fn new(journal: Arc<Journal>, offset: u64) -> Result<Self, Error> {
        let (start, end) = (journal.start(), journal.end());
        if offset < start {
            return Err(Error::Gap {
                folder: journal.folder.clone(),
                found: start,
                wanted: offset,
            });
        }
        if offset > end {
            return Err(Error::Ended {
                folder: journal.folder.clone(),
                end,
                wanted: offset,
            });
        }
        let mut reader = Self {
            journal,
            segment: None,
            at: 0,
            next: offset,
            payload: Vec::new(),
            given: 0,
        };
        // The record that has the byte begins somewhere before it.
        if let Some(segment) = reader.journal.segment_of(offset) {
            reader.next = segment.first;
            reader.at = START_BYTES as u64;
            reader.segment = Some(segment);
        }
        while reader.next < offset {
            reader.load()?;
            let behind = usize::try_from(reader.next.saturating_sub(offset)).expect("a record is in memory");
            reader.given = reader.payload.len() - behind;
        }
        Ok(reader)
    }

    /// Reads the next record, which is there.
    fn load(&mut self) -> Result<(), Error> {
        let found = self.journal.segment_of(self.next);
        let first = |segment: &Option<Segment>| segment.as_ref().map(|segment| segment.first);
        if first(&found) != first(&self.segment) {
            self.segment = found;
            self.at = START_BYTES as u64;
        }
        let Some(Segment { salt, file, path, .. }) = &self.segment else {
            return Err(Error::Gap {
                folder: self.journal.folder.clone(),
                found: self.journal.start(),
                wanted: self.next,
            });
        };
        let reading = Error::io("reading", path);
        let bytes = file.len().map_err(&reading)?;
        let mut records = dirigo_segment::Reader::new(&**file, *salt, bytes, KINDS).starting_at(self.at);
        let record = records.record(self.next).map_err(&reading)?;
        let found = record.and_then(|(kind, payload)| Some((decode(kind, &payload)?.0, payload)));
        let Some((header, payload)) = found else {
            return Err(Error::Damaged {
                path: path.clone(),
                at: self.at,
            });
        };
        self.at = records.at();
        self.next += (payload.len() - header) as u64;
        self.payload = payload;
        self.given = header;
        Ok(())
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.given == self.payload.len() {
                if self.next >= self.journal.end() {
                    break;
                }
                self.load()
                    .map_err(|error| io::Error::new(error.kind().unwrap_or(ErrorKind::InvalidData), error))?;
            }
            let rest = &self.payload[self.given..];
            let count = rest.len().min(buffer.len() - filled);
            buffer[filled..filled + count].copy_from_slice(&rest[..count]);
            self.given += count;
            filled += count;
        }
        if filled == 0 && !buffer.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(filled)
    }
}
