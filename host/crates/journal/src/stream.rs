//! Appending to the stream, and removing what is needed no more.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dirigo_disk::Disk;
use dirigo_ground::sync::Mutex;

use super::error::Error;
use super::keys::{Key, Keys, Known};
use super::segments::{self, Found, Segment};

/// Bytes of a segment that is full: it bounds what is kept beyond what was read.
const SEGMENT_BYTES: u64 = 64 << 20;

/// A stream of bytes, from which what is needed no more is removed at its start.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    segment_bytes: u64,
    pub(super) writer: Mutex<Writer>,
    /// Held while the disk is waited for: who comes meanwhile finds its own bytes durable, or waits for the disk once for all of them.
    syncing: Mutex<()>,
    /// Up to where the stream is durable.
    durable: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Writer {
    /// By where they begin in the stream; the last is written to.
    pub(super) segments: Vec<Segment>,
    /// Where in the file of the last segment the next record begins.
    pub(super) at: u64,
    /// How long the stream is, counted from its first byte ever.
    end: u64,
    keys: Keys,
    buffer: Vec<u8>,
    /// After an error of the disk nothing is known of what was written.
    has_failed: bool,
}

/// What became of bytes that were to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// They are there.
    Now(Range<u64>),
    /// The same bytes with the same key are there already.
    Before(Range<u64>),
    /// Other bytes with the same key are there; these were not appended.
    Differs,
}

/// Makes a folder, durable with those above it; also where it is there, for an earlier process may have ended before it was durable.
fn make_folder(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    disk.make_folder(folder)?;
    for above in folder.ancestors().skip(1) {
        let above = if above.as_os_str().is_empty() {
            Path::new(".")
        } else {
            above
        };
        match disk.sync_folder(above) {
            // Nobody made it for this journal then.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    Ok(())
}

impl Journal {
    /// Opens the journal of a folder, and makes the folder if it is missing. Cuts off what a crash left unfinished, which the journal has not acknowledged.
    ///
    /// # Errors
    /// When the disk fails, or something is damaged that was acknowledged.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path, now_ms: i64) -> Result<Self, Error> {
        Self::open_with(disk, folder, now_ms, SEGMENT_BYTES)
    }

    pub(super) fn open_with(
        disk: Arc<dyn Disk>,
        folder: &Path,
        now_ms: i64,
        segment_bytes: u64,
    ) -> Result<Self, Error> {
        make_folder(&*disk, folder).map_err(Error::io("making", folder))?;
        let start = segments::listed(&*disk, folder)?.first().map(|(first, _)| *first);
        let mut keys = Keys::read(&*disk, folder, start, now_ms)?;
        let Found { segments, at, end } = segments::recover(&disk, folder, |key, known| keys.insert(key, known))?;
        keys.forget_old(now_ms);
        Ok(Self {
            disk,
            folder: folder.to_owned(),
            segment_bytes,
            writer: Mutex::new(Writer {
                segments,
                at,
                end,
                keys,
                buffer: Vec::new(),
                has_failed: false,
            }),
            syncing: Mutex::new(()),
            durable: AtomicU64::new(end),
        })
    }

    /// Removes all that is in a folder of a journal.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn discard(disk: &dyn Disk, folder: &Path) -> Result<(), Error> {
        segments::discard(disk, folder)
    }

    /// Where the stream begins that is still there.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.writer.lock().segments.first().map_or(0, |segment| segment.first)
    }

    /// Up to where the stream can be read: what was appended, and is durable.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Appends bytes, and returns once they are durable. Those that come with a key that came before are not appended again.
    ///
    /// # Errors
    /// When the disk is full or fails. If [`has_failed`](Self::has_failed) then, whether the bytes are there is known once the journal is opened again.
    ///
    /// # Panics
    /// When there are no bytes, or 4 GiB or more.
    pub fn append(&self, bytes: &[u8], key: Option<(Key, i64)>) -> Result<Appended, Error> {
        let appended = self.write(bytes, key)?;
        if let Appended::Now(range) | Appended::Before(range) = &appended {
            self.sync(range.end)?;
        }
        Ok(appended)
    }

    /// Appends bytes, which are durable once [`sync`](Self::sync) has come to their end. Those that come with a key that came before are not
    /// appended again.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    ///
    /// # Panics
    /// As there.
    pub fn write(&self, bytes: &[u8], key: Option<(Key, i64)>) -> Result<Appended, Error> {
        assert!(!bytes.is_empty(), "a record has bytes");
        let mut writer = self.writer.lock();
        if writer.has_failed {
            return Err(Error::Failed);
        }
        let checksum = key.map_or(0, |_| dirigo_segment::checksum_of(bytes));
        if let Some(known) = key.and_then(|(key, _)| writer.keys.find(key)) {
            let is_same = known.range.end - known.range.start == bytes.len() as u64 && known.checksum == checksum;
            return Ok(if is_same {
                Appended::Before(known.range.clone())
            } else {
                Appended::Differs
            });
        }
        if writer.at >= self.segment_bytes {
            self.rotate(&mut writer)?;
        }
        let (at, first) = (writer.at, writer.end);
        let mut buffer = std::mem::take(&mut writer.buffer);
        buffer.clear();
        let last = writer.segments.last().expect("a journal has a segment");
        segments::encode(&mut buffer, last.salt, first, self.end(), key, bytes);
        let written = last.file.write_at(at, &buffer);
        if let Err(reason) = written {
            let error = Error::io("writing", &last.path)(reason);
            // The next append overwrites the partial record.
            writer.buffer = buffer;
            return Err(error);
        }
        writer.at += buffer.len() as u64;
        writer.end += bytes.len() as u64;
        writer.buffer = buffer;
        let range = first..writer.end;
        if let Some((key, at_ms)) = key {
            let range = range.clone();
            writer.keys.insert(key, Known { range, checksum, at_ms });
        }
        Ok(Appended::Now(range))
    }

    /// Goes on in a new segment.
    fn rotate(&self, writer: &mut Writer) -> Result<(), Error> {
        let last = writer.segments.last().expect("a journal has a segment");
        let at = writer.at;
        // What an attempt to write left that failed is cut off: nothing follows in this file that would be written over it.
        let finish = || {
            last.file.set_len(at)?;
            last.file.sync()
        };
        let finished = finish().map_err(Error::io("synchronising", &last.path));
        if finished.is_err() {
            writer.has_failed = true;
        }
        finished?;
        self.durable.fetch_max(writer.end, Ordering::AcqRel);
        let next = segments::begin(&*self.disk, &self.folder, writer.end)?;
        writer.segments.push(next);
        writer.at = dirigo_segment::START_BYTES as u64;
        Ok(())
    }

    /// Waits until the stream is durable up to `end`, as far as it was written by then.
    ///
    /// # Errors
    /// When the disk fails, now or before.
    pub fn sync(&self, end: u64) -> Result<(), Error> {
        let _syncing = self.syncing.lock();
        if self.end() >= end {
            return Ok(());
        }
        let (file, path, written) = {
            let writer = self.writer.lock();
            if writer.has_failed {
                // A later synchronisation may succeed, and says nothing of what an earlier one lost.
                return Err(Error::Failed);
            }
            let last = writer.segments.last().expect("a journal has a segment");
            (last.file.clone(), last.path.clone(), writer.end)
        };
        if let Err(reason) = file.sync() {
            self.writer.lock().has_failed = true;
            return Err(Error::io("synchronising", &path)(reason));
        }
        self.durable.fetch_max(written, Ordering::AcqRel);
        Ok(())
    }

    /// Removes what lies behind an offset of the stream, at which a record begins or the stream ends. What is appended next follows there.
    /// No reader may have read beyond it.
    ///
    /// # Errors
    /// When the stream does not reach from or to there, no record begins there, or the disk fails. Nothing can be appended after that before
    /// the journal is opened again.
    pub fn truncate(&self, end: u64) -> Result<(), Error> {
        let _syncing = self.syncing.lock();
        let mut writer = self.writer.lock();
        if writer.has_failed {
            return Err(Error::Failed);
        }
        if end == writer.end {
            return Ok(());
        }
        if end > writer.end {
            return Err(Error::Ended {
                folder: self.folder.clone(),
                end: writer.end,
                wanted: end,
            });
        }
        let start = writer.segments.first().map_or(0, |segment| segment.first);
        if end < start {
            return Err(Error::Gap {
                folder: self.folder.clone(),
                found: start,
                wanted: end,
            });
        }
        writer.has_failed = true;
        writer.at = segments::cut(&*self.disk, &self.folder, &mut writer.segments, end)?;
        writer.has_failed = false;
        writer.end = end;
        writer.keys.forget_behind(end);
        self.durable.store(end, Ordering::Release);
        Ok(())
    }

    /// Removes what lies before an offset of the stream, as far as whole segments go.
    ///
    /// # Errors
    /// When the disk fails. What was to be removed may be there still.
    pub fn trim(&self, before: u64, now_ms: i64) -> Result<(), Error> {
        loop {
            let mut writer = self.writer.lock();
            let is_passed = writer.segments.get(1).is_some_and(|second| second.first <= before);
            if !is_passed {
                return Ok(());
            }
            let end = writer.segments[1].first;
            writer.keys.forget_old(now_ms);
            writer.keys.keep(&*self.disk, &self.folder, end, now_ms)?;
            let passed = writer.segments[0].path.clone();
            drop(writer);
            // One after the other, each durably: whatever a crash or an error leaves, the stream has no gap.
            let remove = || {
                match self.disk.remove(&passed) {
                    // An earlier attempt came as far as here.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed?,
                }
                self.disk.sync_folder(&self.folder)
            };
            remove().map_err(Error::io("removing", &passed))?;
            self.writer.lock().segments.remove(0);
        }
    }

    /// The segment in which the record at `offset` begins, or the one that begins there.
    pub(super) fn segment_of(&self, offset: u64) -> Option<Segment> {
        let writer = self.writer.lock();
        let place = writer.segments.partition_point(|segment| segment.first <= offset);
        writer.segments.get(place.checked_sub(1)?).cloned()
    }

    /// Whether the disk failed so that nothing is known of what was written last: nothing can be appended before the journal is opened again.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.writer.lock().has_failed
    }
}
