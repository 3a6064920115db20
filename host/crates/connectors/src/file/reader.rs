//! A file as a source.
//!
//! Owns going on where an earlier run stopped, and noticing that the file is no longer the one that it read. A file is
//! known by the first KiB and by the KiB before the place where it goes on, not by its inode: a file that was copied,
//! moved to another disk or saved anew with lines appended goes on. Where a later run goes on, a last record that has no
//! end yet is left to it.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::archive::Archive;
use super::watched::Watched;
use crate::records::{Error, LastRecord, Reading, Stream, StreamOffset, Text, Window};
use dirigo_connect::source::{Intake, Offset, Opening, Read, ReadLimit, ReadProgress, Source};
use dirigo_disk::Disk;
use dirigo_ground::clock::Clock;
use serde::{Deserialize, Serialize};

/// How long to wait before looking into an empty pipe again: nothing to see, and the processor does not see it either.
const PIPE_PAUSE: Duration = Duration::from_millis(5);

/// An open file of events.
pub(super) struct FileReader {
    text: Text<Archive>,
    /// A pipe or a terminal has neither a size nor a place to go on.
    is_regular: bool,
    /// Whether it can be appended to: it is regular and not compressed.
    may_grow: bool,
    bytes: u64,
    inode: u64,
    /// Whether it was said that the last record waits.
    has_said_so: bool,
}

/// How a file is read, whichever it is.
#[derive(Clone)]
pub(super) struct ReadOptions {
    pub(super) reading: Reading,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) disk: Arc<dyn Disk>,
    /// Whether a later run goes on where this one ends.
    pub(super) is_continued: bool,
    /// Whether there may be nothing in it, not even a header.
    pub(super) may_be_empty: bool,
    /// Whether it may be a pipe.
    pub(super) may_be_pipe: bool,
    /// The window that a zstd frame may ask for, in bytes.
    pub(super) zstd_window_max: u64,
}

impl ReadOptions {
    pub(super) fn new(reading: Reading, zstd_window_max: u64, opening: &Opening<'_>) -> Self {
        Self {
            reading,
            clock: opening.clock.clone(),
            disk: opening.disk.clone(),
            is_continued: opening.is_continued,
            may_be_empty: opening.is_continued,
            may_be_pipe: false,
            zstd_window_max,
        }
    }
}

/// Where to read on in a file.
#[derive(Serialize, Deserialize)]
struct FileOffset {
    #[serde(flatten)]
    place: StreamOffset,
    /// How many bytes it had, of an uncompressed file. What is behind the place may have been read without being committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
}

impl FileReader {
    pub(super) fn open(path: &Path, options: ReadOptions, from: Option<&Offset>) -> Result<Self, Error> {
        let ReadOptions {
            reading,
            clock,
            disk,
            is_continued,
            may_be_empty,
            may_be_pipe,
            zstd_window_max,
        } = options;
        let (archive, metadata) =
            Archive::open(path, &*disk, may_be_pipe, zstd_window_max).map_err(|reason| Error::Open {
                path: path.to_owned(),
                reason,
            })?;
        let name = format!("`{}`", path.display());
        let is_regular = metadata.is_file();
        // A compressed file says itself where it ends.
        let may_grow = is_regular && archive.compressed_bytes().is_none();
        let last_record = if is_continued && may_grow {
            LastRecord::Waits
        } else {
            LastRecord::Ends
        };
        let text = Text::new(name.clone(), archive, reading, clock)
            .with_last_record(last_record)
            .with_optional_header(may_be_empty);
        let mut file = Self {
            text,
            is_regular,
            may_grow,
            bytes: metadata.len(),
            inode: metadata.ino(),
            has_said_so: false,
        };
        if let Some(offset) = from {
            file.go_on(&name, offset)?;
        }
        Ok(file)
    }

    /// How many bytes of the file, compressed where it is, were read.
    pub(super) fn bytes_read(&self) -> u64 {
        let window = &self.text.stream().window;
        window.reader.compressed_bytes().unwrap_or(window.offset())
    }

    /// Whether nothing is left of it, where it is at its end.
    pub(super) fn is_read_up(&self) -> bool {
        self.text.stream().is_finished()
    }

    /// How many lines were read; a last one without end counts.
    pub(super) fn lines(&self) -> u64 {
        self.text.stream().place().lines()
    }

    /// Its inode.
    pub(super) fn inode(&self) -> u64 {
        self.inode
    }

    /// The file itself.
    pub(super) fn watched(&self) -> &Watched {
        self.text.stream().window.reader.watched()
    }

    /// Disables the check for another file at its path.
    pub(super) fn ignore_replacement(&mut self) {
        let archive = &mut self.text.stream_mut().window.reader;
        archive.watched_mut().ignore_replacement();
    }

    /// At least so many bytes of it have not been read as records; 0 for a compressed file.
    pub(super) fn bytes_unread(&self) -> u64 {
        if self.may_grow {
            self.watched().length_max().saturating_sub(self.place())
        } else {
            0
        }
    }

    /// Reads the start of the file, for [`head`](Self::head), and takes nothing.
    pub(super) fn peek(&mut self) -> Result<(), Error> {
        self.text.peek()
    }

    /// The first bytes of the file, decompressed, as far as they were read; at most a KiB.
    pub(super) fn head(&self) -> &[u8] {
        self.text.stream().window.head()
    }

    /// How many bytes of it, decompressed, were read as records.
    pub(super) fn place(&self) -> u64 {
        self.text.stream().offset()
    }

    /// Whether no record was read of it.
    pub(super) fn is_unread(&self) -> bool {
        self.place() == 0
    }

    /// The offset at the start of a file.
    pub(super) fn start() -> Offset {
        to_json(&FileOffset {
            place: StreamOffset::default(),
            length: None,
        })
    }

    /// Whether an offset is at the start of a file.
    pub(super) fn is_start(offset: &Offset) -> bool {
        offset["offset"] == 0
    }

    /// How many lines come before that offset.
    pub(super) fn lines_of(offset: &Offset) -> serde_json::Result<u64> {
        Ok(StreamOffset::deserialize(offset)?.lines())
    }

    /// Appends the events that have been read, and reads only while there are none.
    pub(super) fn read_records(&mut self, intake: &mut Intake, limit: ReadLimit) -> Result<Read, Error> {
        self.text.read(intake, limit)
    }

    /// Has the end of the file end its last record. Returns whether one was waiting for its end.
    pub(super) fn end_last_record(&mut self) -> bool {
        let is_waiting = self.text.waiting().is_some();
        self.text.end_last_record();
        is_waiting
    }

    fn go_on(&mut self, name: &str, offset: &Offset) -> Result<(), Error> {
        let problem = |problem: String| Error::Offset {
            from: name.to_owned(),
            problem,
        };
        let FileOffset { place, length } =
            serde_json::from_value(offset.clone()).map_err(|error| problem(error.to_string()))?;
        if !self.is_regular {
            return Err(problem("it is not a regular file".to_owned()));
        }
        if place.offset > 0 {
            self.go_on_at(name, &place)?;
        }
        match length.filter(|found| self.may_grow && self.bytes < *found) {
            Some(found) => Err(Error::Shortened {
                from: name.to_owned(),
                bytes: self.bytes,
                found,
            }),
            None => Ok(()),
        }
    }

    fn go_on_at(&mut self, name: &str, place: &StreamOffset) -> Result<(), Error> {
        self.text.read_header()?;
        let stream = self.text.stream_mut();
        // Else the header is all that had been read, and it may have been appended to.
        if stream.window.offset() <= place.offset {
            move_to(stream, place).map_err(|reason| Error::Read {
                from: name.to_owned(),
                reason,
            })?;
            let found = stream.window.offset();
            if found < place.offset {
                return Err(Error::Truncated {
                    from: name.to_owned(),
                    bytes: found,
                    read: place.offset,
                });
            }
            if stream.window.fingerprint() != place.fingerprint {
                return Err(Error::Replaced {
                    from: name.to_owned(),
                    read: place.offset,
                });
            }
        }
        Ok(())
    }
}

/// Moves to `place`, or to the end of the stream where that comes first.
fn move_to(stream: &mut Stream<Archive>, place: &StreamOffset) -> std::io::Result<()> {
    let window = &mut stream.window;
    window.fill_head()?;
    let verified = place.offset - Window::<Archive>::fingerprint_reach(place.offset);
    if verified > window.offset() + window.unread().len() as u64 && window.reader.jump(verified)? {
        window.jumped_to(verified);
    }
    window.skip_to(place.offset)?;
    stream.moved_to(place);
    Ok(())
}

fn to_json(offset: &FileOffset) -> Offset {
    serde_json::to_value(offset).expect("an offset has no maps, whose keys could fail")
}

/// Adds the lines of the files before it to the positions of the records of the file `name`: those in `intake` from these two indices on. The reason of a
/// refusal names the file and its line.
pub(super) fn number_on_from(lines_before: u64, intake: &mut Intake, (positions, refused): (usize, usize), name: &str) {
    for position in &mut intake.positions[positions..] {
        *position += lines_before;
    }
    for refused in &mut intake.refused[refused..] {
        refused.reason = format!("line {} of `{name}`: {}", refused.position, refused.reason);
        refused.position += lines_before;
    }
}

impl Source for FileReader {
    fn read(&mut self, intake: &mut Intake, limit: ReadLimit) -> Result<Read, dirigo_connect::Error> {
        let read = match self.read_records(intake, limit) {
            // Nothing is in the pipe yet, and nothing was read before.
            Err(Error::Read { reason, .. }) if reason.kind() == ErrorKind::WouldBlock => {
                return Ok(Read::Wait(PIPE_PAUSE));
            }
            read => read?,
        };
        if read == Read::End
            && !self.has_said_so
            && let Some(waiting) = self.text.waiting()
        {
            tracing::warn!("{waiting}");
            self.has_said_so = true;
        }
        Ok(read)
    }

    fn offset(&self) -> Option<Offset> {
        let place = self.is_regular.then(|| self.text.stream().place())?;
        let offset = FileOffset {
            length: self.may_grow.then(|| self.bytes.max(place.offset)),
            place,
        };
        Some(to_json(&offset))
    }

    fn progress(&self) -> Option<ReadProgress> {
        let done = self.bytes_read();
        self.is_regular.then_some(ReadProgress {
            done,
            total: self.bytes.max(done),
        })
    }
}
