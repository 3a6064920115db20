//! A file as a source.
//!
//! Owns going on where an earlier run stopped, and noticing that the file is no longer the one that it read. A file is
//! known by the first KiB and by the KiB before the place where it goes on, not by its inode: a file that was copied,
//! moved to another disk or saved anew with lines appended goes on.

use std::path::Path;

use super::archive::Archive;
use crate::records::{Error, Extract, Stream, StreamOffset, Text, Window};
use dirigo_connect::Format;
use dirigo_connect::source::{Intake, Offset, Opening, Read, ReadLimit, ReadProgress, Source};

/// An open file of events.
pub(super) struct FileReader {
    text: Text<Archive>,
    /// A pipe or a terminal has neither a size nor a place to go on.
    is_regular: bool,
    bytes: u64,
}

impl FileReader {
    pub(super) fn open(path: &Path, format: Format, extract: Extract, opening: &Opening<'_>) -> Result<Self, Error> {
        let (archive, metadata) = Archive::open(path, &**opening.disk).map_err(|reason| Error::Open {
            path: path.to_owned(),
            reason,
        })?;
        let name = format!("`{}`", path.display());
        let text = Text::new(name.clone(), archive, format, extract, opening.clock.clone());
        let mut file = Self {
            text,
            is_regular: metadata.is_file(),
            bytes: metadata.len(),
        };
        if let Some(offset) = opening.from {
            file.go_on(&name, offset)?;
        }
        Ok(file)
    }

    /// How many bytes of the file, compressed where it is, were read.
    pub(super) fn bytes_read(&self) -> u64 {
        let window = &self.text.stream().window;
        window.reader.compressed_bytes().unwrap_or(window.offset())
    }

    /// How many lines were read; a last one without end counts.
    pub(super) fn lines(&self) -> u64 {
        self.text.stream().place().lines()
    }

    fn go_on(&mut self, name: &str, offset: &Offset) -> Result<(), Error> {
        let problem = |problem: String| Error::Offset {
            from: name.to_owned(),
            problem,
        };
        let place: StreamOffset = serde_json::from_value(offset.clone()).map_err(|error| problem(error.to_string()))?;
        if !self.is_regular {
            return Err(problem("it is not a regular file".to_owned()));
        }
        if place.offset == 0 {
            return Ok(());
        }
        self.text.read_header()?;
        let stream = self.text.stream_mut();
        // Else the header is all that had been read, and it may have been appended to.
        if stream.window.offset() <= place.offset {
            move_to(stream, &place).map_err(|reason| Error::Read {
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

impl Source for FileReader {
    fn read(&mut self, intake: &mut Intake, limit: ReadLimit) -> Result<Read, dirigo_connect::Error> {
        Ok(self.text.read(intake, limit)?)
    }

    fn offset(&self) -> Option<Offset> {
        let place = self.is_regular.then(|| self.text.stream().place())?;
        Some(serde_json::to_value(place).expect("an offset has no maps, whose keys could fail"))
    }

    fn progress(&self) -> Option<ReadProgress> {
        let done = self.bytes_read();
        self.is_regular.then_some(ReadProgress {
            done,
            total: self.bytes.max(done),
        })
    }
}
