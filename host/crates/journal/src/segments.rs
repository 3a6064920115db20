//! The files of a journal, `stream-N.log`, each named for where it begins in the stream.
//!
//! The number of a record is where its bytes begin in the stream. A payload begins with how much of the stream was durable when it was written:
//! so a later record tells whether a bad record before it was durable, and thus damaged, or torn by a crash.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dirigo_disk::{Disk, File, Mode};
use dirigo_segment::{Reader, START_BYTES};

use super::error::Error;
use super::keys::{self, Key, Known};

/// A record without a key: `durable u64 | bytes`.
const PLAIN: u8 = 1;
/// One with a key: `durable u64 | key 16 bytes | when i64, ms since the epoch | bytes`.
const KEYED: u8 = 2;
pub(super) const KINDS: &[u8] = &[PLAIN, KEYED];

const PLAIN_BYTES: usize = 8;
const KEYED_BYTES: usize = PLAIN_BYTES + 16 + 8;

/// A file of the journal. A reader that has it open can read on after the file was removed.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) first: u64,
    pub(super) salt: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn File>,
}

/// What was found in a folder.
pub(super) struct Found {
    pub(super) segments: Vec<Segment>,
    /// Where in the last file the next record begins.
    pub(super) at: u64,
    /// Where in the stream it does.
    pub(super) end: u64,
}

/// Appends a record to a buffer.
pub(super) fn encode(buffer: &mut Vec<u8>, salt: u64, first: u64, durable: u64, key: Option<(Key, i64)>, bytes: &[u8]) {
    let start = dirigo_segment::open_record(buffer);
    buffer.extend_from_slice(&durable.to_le_bytes());
    if let Some((Key(key), at_ms)) = key {
        buffer.extend_from_slice(&key);
        buffer.extend_from_slice(&at_ms.to_le_bytes());
    }
    buffer.extend_from_slice(bytes);
    let kind = if key.is_some() { KEYED } else { PLAIN };
    dirigo_segment::seal_record(buffer, start, salt, first, kind);
}

/// The bytes of a record's payload, and its key.
pub(super) fn decode(kind: u8, payload: &[u8]) -> Option<(usize, Option<(Key, i64)>)> {
    if kind == PLAIN {
        return (payload.len() > PLAIN_BYTES).then_some((PLAIN_BYTES, None));
    }
    let (key, rest) = payload.get(PLAIN_BYTES..)?.split_first_chunk()?;
    let (at_ms, bytes) = rest.split_first_chunk()?;
    let key = (Key(*key), i64::from_le_bytes(*at_ms));
    (!bytes.is_empty()).then_some((KEYED_BYTES, Some(key)))
}

fn name(first: u64) -> String {
    format!("stream-{first:016}.log")
}

/// Begins a segment.
pub(super) fn begin(disk: &dyn Disk, folder: &Path, first: u64) -> Result<Segment, Error> {
    let path = folder.join(name(first));
    let (file, salt) = dirigo_segment::begin(disk, folder, &path).map_err(Error::io("making", &path))?;
    Ok(Segment {
        first,
        salt,
        path,
        file: file.into(),
    })
}

/// The segments in a folder, by where they begin.
pub(super) fn listed(disk: &dyn Disk, folder: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    dirigo_segment::listed(disk, folder, "stream-", name).map_err(Error::io("reading", folder))
}

/// Reads what is in a folder, cuts off what a crash left unfinished, and gives each key that it finds to `take`.
pub(super) fn recover(disk: &Arc<dyn Disk>, folder: &Path, mut take: impl FnMut(Key, Known)) -> Result<Found, Error> {
    let listed = listed(&**disk, folder)?;
    let mut segments = Vec::new();
    let mut end = listed.first().map_or(0, |(first, _)| *first);
    let mut at = START_BYTES as u64;
    let (count, last) = (listed.len(), listed.len().saturating_sub(1));
    for (place, (first, path)) in listed.into_iter().enumerate() {
        if first != end {
            return Err(Error::Gap {
                folder: folder.to_owned(),
                found: first,
                wanted: end,
            });
        }
        let file = disk.open(&path, Mode::Existing).map_err(Error::io("opening", &path))?;
        let reading = Error::io("reading", &path);
        let bytes = file.len().map_err(&reading)?;
        let Some(salt) = dirigo_segment::read_salt(&*file, bytes).map_err(&reading)? else {
            // A crash may have come before the segment had its start, and before anybody relied on it.
            if place < last || bytes > START_BYTES as u64 {
                return Err(Error::Damaged { path, at: 0 });
            }
            break;
        };
        let mut reader = Reader::new(&*file, salt, bytes, KINDS);
        loop {
            at = reader.at();
            let Some((kind, payload)) = reader.record(end).map_err(&reading)? else {
                break;
            };
            let Some((header, key)) = decode(kind, &payload) else {
                return Err(Error::Damaged { path, at });
            };
            let range = end..end + (payload.len() - header) as u64;
            end = range.end;
            if let Some((key, at_ms)) = key {
                let checksum = dirigo_segment::checksum_of(&payload[header..]);
                take(key, Known { range, checksum, at_ms });
            }
        }
        let torn = end;
        let was_durable = |payload: &[u8]| {
            let durable = payload.first_chunk().copied().map(u64::from_le_bytes);
            durable.is_some_and(|durable| durable > torn)
        };
        let is_damaged = (place < last && at < bytes)
            || reader
                .has_record_behind(
                    at,
                    |number| (1..bytes - at).contains(&number.saturating_sub(torn)),
                    was_durable,
                )
                .map_err(&reading)?;
        if is_damaged {
            return Err(Error::Damaged { path, at });
        }
        if at < bytes {
            file.set_len(at).map_err(Error::io("cutting", &path))?;
        }
        // An earlier process may have ended before it synchronised the file. The names of all files are synchronised below.
        file.sync().map_err(Error::io("synchronising", &path))?;
        segments.push(Segment {
            first,
            salt,
            path,
            file: file.into(),
        });
    }
    disk.sync_folder(folder).map_err(Error::io("synchronising", folder))?;
    if segments.len() < count || segments.is_empty() {
        segments.push(begin(&**disk, folder, end)?);
        at = START_BYTES as u64;
    }
    Ok(Found { segments, at, end })
}

/// Cuts the stream at `end`, where a record begins, and gives where in the file of the last segment that is.
pub(super) fn cut(disk: &dyn Disk, folder: &Path, segments: &mut Vec<Segment>, end: u64) -> Result<u64, Error> {
    // The last one first, each durably: whatever a crash leaves, the stream has no gap.
    while let Some(last) = segments.last().filter(|last| last.first > end) {
        let remove = || {
            disk.remove(&last.path)?;
            disk.sync_folder(folder)
        };
        remove().map_err(Error::io("removing", &last.path))?;
        segments.pop();
    }
    let Segment {
        first,
        salt,
        path,
        file,
    } = segments.last().expect("the stream reaches back to there");
    let reading = Error::io("reading", path);
    let mut reader = Reader::new(&**file, *salt, file.len().map_err(&reading)?, KINDS);
    let mut next = *first;
    while next < end {
        let at = reader.at();
        let record = reader.record(next).map_err(&reading)?;
        let length = record.and_then(|(kind, payload)| Some(payload.len() - decode(kind, &payload)?.0));
        next += length.ok_or_else(|| Error::Damaged { path: path.clone(), at })? as u64;
    }
    let at = reader.at();
    if next != end {
        return Err(Error::Damaged { path: path.clone(), at });
    }
    file.set_len(at).map_err(Error::io("cutting", path))?;
    // What follows is written over what was here, and must not be taken for it.
    file.sync().map_err(Error::io("synchronising", path))?;
    Ok(at)
}

/// Removes all files of a journal.
pub(super) fn discard(disk: &dyn Disk, folder: &Path) -> Result<(), Error> {
    let files = listed(disk, folder)?.into_iter().chain(keys::listed(disk, folder)?);
    for (_, path) in files {
        disk.remove(&path).map_err(Error::io("removing", &path))?;
    }
    disk.sync_folder(folder).map_err(Error::io("synchronising", folder))
}
