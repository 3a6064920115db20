//! The epoch log: what was committed and is not yet in the database, in the order in which it was.
//!
//! A folder has [segments](dirigo_segment), `epochs-N.log`, each named for its first epoch; epochs follow one another without a gap. The number of
//! a record is its epoch. An epoch counts once its end record stands behind all of its others. Knows nothing of what keys and entries mean.
//!
//! What an epoch writes is synchronised once, at its end. So a crash may leave any part of the one epoch that was being
//! written, with holes in it: that is a torn tail and is cut off. A bad record that has one of *another* epoch behind it was
//! whole once, since no epoch is begun before the one before it is durable: that is damage, and is refused. So is a log that ends
//! before what the [`Marker`] says was durable.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::Error;
use super::keys::{self, Stored};
use super::marker::Marker;
use super::snapshot::InFlight;
use dirigo_disk::{Disk, File, Mode};
use dirigo_segment::{Reader, START_BYTES};

/// The payload of a record of state; larger only for one entry that is larger.
const CHUNK_BYTES: usize = 1 << 20;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RecordKind {
    /// Entries: `key len u32 | value len u32 | key | value`, again and again.
    State = 1,
    /// One thing in flight: `item len u32 | item | bytes`.
    InFlight = 2,
    /// The end of an epoch: offsets.
    End = 3,
}

impl RecordKind {
    fn of(kind: u8) -> Option<Self> {
        let kinds = [Self::State, Self::InFlight, Self::End];
        kinds.into_iter().find(|known| *known as u8 == kind)
    }
}

const KINDS: &[u8] = &[
    RecordKind::State as u8,
    RecordKind::InFlight as u8,
    RecordKind::End as u8,
];

/// The log, open at its end.
pub(super) struct Log {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    file: Box<dyn File>,
    path: PathBuf,
    /// The first epoch of the segment.
    first: u64,
    /// What goes into each checksum of the segment.
    salt: u64,
    /// Where the last epoch ends in the segment.
    end: u64,
    /// Segments before it whose epochs are not in the database yet.
    older: Vec<PathBuf>,
    older_bytes: u64,
}

/// A whole epoch, as it is read back.
#[derive(Debug, Default, PartialEq)]
pub(super) struct LoggedEpoch {
    pub(super) number: u64,
    pub(super) records: Vec<Stored>,
    pub(super) in_flight: Vec<InFlight>,
    /// JSON.
    pub(super) offsets: Vec<u8>,
}

/// What was found in a folder.
#[derive(Debug)]
pub(super) struct LogContents {
    /// Segments that are needed no more, since the database has what they hold.
    pub(super) stale: Vec<PathBuf>,
    pub(super) segments: Vec<Segment>,
    /// The last whole epoch, in the log or in the database.
    pub(super) last: u64,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    first: u64,
    /// Where there is one: a crash may have come before it.
    salt: Option<u64>,
    /// Where its last whole epoch ends.
    pub(super) end: u64,
    /// How long the file is: longer where a crash interrupted a commit.
    pub(super) bytes: u64,
}

fn segment_name(first: u64) -> String {
    format!("epochs-{first:04}.log")
}

/// The segments in `directory`, by their first epoch.
pub(super) fn segments(disk: &dyn Disk, directory: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let listed = dirigo_segment::listed(disk, directory, "epochs-", segment_name);
    listed.map_err(Error::io("reading", directory))
}

/// Reads what `directory` has beyond epoch `applied`, epoch by epoch, and changes nothing.
pub(super) fn read(
    disk: &dyn Disk,
    directory: &Path,
    applied: u64,
    mut take: impl FnMut(LoggedEpoch),
) -> Result<LogContents, Error> {
    let mut segments = segments(disk, directory)?;
    let marker = Marker::read(disk, directory)?;
    if marker.segment > 0 && !segments.iter().any(|(first, _)| *first == marker.segment) {
        let path = directory.join(segment_name(marker.segment));
        return Err(Error::Missing { path });
    }
    // The last one that begins early enough has what follows; those before it went into the database as a whole.
    let needed = segments.iter().rposition(|(first, _)| *first <= applied + 1);
    let mut found = LogContents {
        stale: segments
            .drain(..needed.unwrap_or_default())
            .map(|(_, path)| path)
            .collect(),
        segments: Vec::new(),
        last: applied,
    };
    let mut nexts = segments.iter().skip(1).map(|(first, _)| Some(*first)).chain([None]);
    // The first epoch that must stand in the segment: each begins where the one before it ends.
    let mut expected = needed.map_or(applied + 1, |_| segments[0].0);
    for (first, path) in &segments {
        let next = nexts.next().flatten();
        let damaged = |offset, expected: u64| Error::Damaged {
            path: path.clone(),
            offset,
            epoch: expected.saturating_sub(1),
        };
        if *first != expected {
            return Err(damaged(0, expected));
        }
        let file = disk.open(path, Mode::Existing).map_err(Error::io("opening", path))?;
        let bytes = file.len().map_err(Error::io("reading", path))?;
        let salt = dirigo_segment::read_salt(&*file, bytes).map_err(Error::io("reading", path))?;
        let Some(salt) = salt else {
            // A crash may have come before the segment had its start, and then before anybody relied on it.
            if next.is_some() || *first == marker.segment || bytes > START_BYTES as u64 {
                return Err(damaged(0, expected));
            }
            found.segments.push(Segment {
                path: path.clone(),
                first: *first,
                salt: None,
                end: 0,
                bytes,
            });
            continue;
        };
        let mut reader = Reader::new(&*file, salt, bytes, KINDS);
        let mut end = reader.at();
        while let Some(epoch) = read_epoch(&mut reader, expected).map_err(Error::io("reading", path))? {
            end = reader.at();
            expected += 1;
            if epoch.number > applied {
                found.last = epoch.number;
                take(epoch);
            }
        }
        let is_whole = end == bytes;
        // Only the epoch that was being written when the process ended may be in pieces.
        let is_torn =
            next.is_none() && !is_another_behind(&reader, end, expected).map_err(Error::io("reading", path))?;
        if (!is_whole && !is_torn) || next.is_some_and(|next| next != expected) {
            return Err(damaged(end, expected));
        }
        found.segments.push(Segment {
            path: path.clone(),
            first: *first,
            salt: Some(salt),
            end,
            bytes,
        });
    }
    if found.last < marker.epoch {
        let (path, offset) = found.segments.last().map_or_else(
            || (directory.to_owned(), 0),
            |segment| (segment.path.clone(), segment.end),
        );
        return Err(Error::Damaged {
            path,
            offset,
            epoch: found.last,
        });
    }
    if expected <= applied {
        // The database went past the log: an epoch that was too large for it was committed there.
        let passed = std::mem::take(&mut found.segments);
        found.stale.extend(passed.into_iter().map(|segment| segment.path));
    }
    Ok(found)
}

/// The next epoch, if it is this one and whole.
fn read_epoch(reader: &mut Reader<'_>, number: u64) -> io::Result<Option<LoggedEpoch>> {
    let mut epoch = LoggedEpoch {
        number,
        ..LoggedEpoch::default()
    };
    while let Some((kind, payload)) = reader.record(number)? {
        let is_read = match RecordKind::of(kind) {
            Some(RecordKind::State) => parse_state(&payload, &mut epoch.records),
            Some(RecordKind::InFlight) => parse_in_flight(&payload).map(|one| epoch.in_flight.push(one)),
            Some(RecordKind::End) => {
                epoch.offsets = payload;
                return Ok(Some(epoch));
            }
            None => None,
        };
        if is_read.is_none() {
            break;
        }
    }
    Ok(None)
}

/// Whether behind `from` there is a whole record of another epoch than `torn`.
fn is_another_behind(reader: &Reader<'_>, from: u64, torn: u64) -> io::Result<bool> {
    let is_near = |epoch: u64| epoch != torn && epoch.abs_diff(torn) < 1 << 32;
    reader.has_record_behind(from, is_near, |_| true)
}

fn parse_state(mut payload: &[u8], records: &mut Vec<Stored>) -> Option<()> {
    while !payload.is_empty() {
        let (key_len, rest) = payload.split_first_chunk()?;
        let (value_len, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_len) as usize)?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_len) as usize)?;
        keys::split(key)?;
        records.push((key.into(), value.to_vec()));
        payload = rest;
    }
    Some(())
}

fn parse_in_flight(payload: &[u8]) -> Option<InFlight> {
    let (item_len, rest) = payload.split_first_chunk()?;
    let (item, bytes) = rest.split_at_checked(u32::from_le_bytes(*item_len) as usize)?;
    Some(InFlight {
        item: String::from_utf8(item.to_vec()).ok()?,
        bytes: bytes.to_vec(),
    })
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("keys, accumulators and batches are bounded far below 4 GiB")
}

impl Log {
    /// Opens the log where `found` says it ends; what a crash left behind that is cut off first, and what the database has is
    /// removed.
    pub(super) fn open(disk: &Arc<dyn Disk>, directory: &Path, found: LogContents) -> Result<Self, Error> {
        let log = Self::take_up(disk, directory, found.segments, found.last)?;
        // The segment that the marker names is among them until another one is there.
        let remove = |path: &PathBuf| disk.remove(path).map_err(Error::io("removing", path));
        found.stale.iter().try_for_each(remove)?;
        Ok(log)
    }

    fn take_up(disk: &Arc<dyn Disk>, directory: &Path, mut segments: Vec<Segment>, last: u64) -> Result<Self, Error> {
        let newest = segments.pop();
        let older_bytes = segments.iter().map(|segment| segment.end).sum();
        let older = segments.into_iter().map(|segment| segment.path).collect();
        let Some((newest, salt)) = newest.and_then(|newest| newest.salt.map(|salt| (newest, salt))) else {
            let begun = Self::begin(disk.clone(), directory, last + 1)?;
            return Ok(Self {
                older,
                older_bytes,
                ..begun
            });
        };
        let last = newest;
        let path = last.path;
        let file = disk.open(&path, Mode::Existing).map_err(Error::io("opening", &path))?;
        if last.bytes > last.end {
            file.set_len(last.end).map_err(Error::io("cutting", &path))?;
        }
        // The cut must be durable before anything is written there, and so must be the last epoch before anybody goes on from
        // it: the process that wrote it may have ended before it was.
        file.sync().map_err(Error::io("synchronising", &path))?;
        // Also where it says so already: that may not be durable, and the segment that it named before is about to go.
        let marker = Marker {
            segment: last.first,
            epoch: Marker::read(&**disk, directory)?.epoch.max(last.first - 1),
        };
        marker.write(&**disk, directory)?;
        Ok(Self {
            disk: disk.clone(),
            directory: directory.to_owned(),
            file,
            path,
            first: last.first,
            salt,
            end: last.end,
            older,
            older_bytes,
        })
    }

    /// Begins a log, or goes on with a new segment.
    fn begin(disk: Arc<dyn Disk>, directory: &Path, first: u64) -> Result<Self, Error> {
        let path = directory.join(segment_name(first));
        let (file, salt) = dirigo_segment::begin(&*disk, directory, &path).map_err(Error::io("making", &path))?;
        let marker = Marker {
            segment: first,
            epoch: first - 1,
        };
        marker.write(&*disk, directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            disk,
            file,
            path,
            first,
            salt,
            end: START_BYTES as u64,
            older: Vec::new(),
            older_bytes: 0,
        })
    }

    /// Says that a run ended in order after `epoch`: from now on it is damage if that is not there. Where it cannot be said, such
    /// damage is taken for a crash.
    pub(super) fn close(&self, epoch: u64) {
        let marker = Marker {
            segment: self.first,
            epoch,
        };
        let is_said = Marker::read(&*self.disk, &self.directory).is_ok_and(|known| known == marker);
        if !is_said && let Err(error) = marker.write(&*self.disk, &self.directory) {
            tracing::debug!(%error, "the end of the log is not noted");
        }
    }

    /// How long it is.
    pub(super) fn bytes(&self) -> u64 {
        self.older_bytes + self.end
    }

    /// Goes on in a new segment, which begins with `first`. What is handed back can be removed once the database has all
    /// epochs before.
    pub(super) fn rotate(&mut self, first: u64) -> Result<Vec<PathBuf>, Error> {
        if first == self.first {
            return Ok(std::mem::take(&mut self.older));
        }
        let next = Self::begin(self.disk.clone(), &self.directory, first)?;
        let last = std::mem::replace(self, next);
        Ok(last.older.into_iter().chain([last.path]).collect())
    }

    /// Begins to write an epoch.
    pub(super) fn write(&mut self, epoch: u64) -> EpochWriter<'_> {
        EpochWriter {
            at: self.end,
            log: self,
            epoch,
            buffer: Vec::new(),
            chunk: None,
        }
    }
}

/// Writes one epoch. Dropped before its end it leaves a torn tail, after which nothing may be written.
pub(super) struct EpochWriter<'a> {
    log: &'a mut Log,
    epoch: u64,
    at: u64,
    /// Whole records, and the one of state that is being filled.
    buffer: Vec<u8>,
    /// Where in the buffer the latter begins.
    chunk: Option<usize>,
}

impl EpochWriter<'_> {
    pub(super) fn state(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if self.chunk.is_none() {
            self.chunk = Some(dirigo_segment::open_record(&mut self.buffer));
        }
        self.buffer.extend_from_slice(&length(key).to_le_bytes());
        self.buffer.extend_from_slice(&length(value).to_le_bytes());
        self.buffer.extend_from_slice(key);
        self.buffer.extend_from_slice(value);
        if self.buffer.len() < CHUNK_BYTES {
            return Ok(());
        }
        self.close_chunk();
        self.flush()
    }

    pub(super) fn in_flight(&mut self, one: &InFlight) -> Result<(), Error> {
        self.close_chunk();
        let start = dirigo_segment::open_record(&mut self.buffer);
        self.buffer
            .extend_from_slice(&length(one.item.as_bytes()).to_le_bytes());
        self.buffer.extend_from_slice(one.item.as_bytes());
        self.buffer.extend_from_slice(&one.bytes);
        self.seal(start, RecordKind::InFlight);
        if self.buffer.len() < CHUNK_BYTES {
            return Ok(());
        }
        self.flush()
    }

    /// Ends the epoch, and makes it durable.
    pub(super) fn end(mut self, offsets: &[u8]) -> Result<(), Error> {
        self.close_chunk();
        let start = dirigo_segment::open_record(&mut self.buffer);
        self.buffer.extend_from_slice(offsets);
        self.seal(start, RecordKind::End);
        self.flush()?;
        self.log
            .file
            .sync()
            .map_err(Error::io("synchronising", &self.log.path))?;
        self.log.end = self.at;
        Ok(())
    }

    fn close_chunk(&mut self) {
        if let Some(start) = self.chunk.take() {
            self.seal(start, RecordKind::State);
        }
    }

    /// Fills in the header of the record that begins at `start` and ends with the buffer.
    fn seal(&mut self, start: usize, kind: RecordKind) {
        dirigo_segment::seal_record(&mut self.buffer, start, self.log.salt, self.epoch, kind as u8);
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.log
            .file
            .write_at(self.at, &self.buffer)
            .map_err(Error::io("writing", &self.log.path))?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
