//! Idempotency keys: a client that does not know whether its bytes were taken sends them again under the same key.
//!
//! A key stands in the record of its bytes, so both are there or none. As a segment is removed, those of its keys that are still to be known go to a
//! file of their own, `keys-N.log`, named for where the segment ended.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};

use dirigo_disk::{Disk, Mode};
use dirigo_segment::Reader;

use super::error::Error;

/// What identifies a request among those of one journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; 16]);

/// For how long a key is known, in ms.
pub(crate) const KNOWN_MS: i64 = 24 * 60 * 60 * 1000;
/// The journal remembers at most this many keys. Each takes some 100 bytes of memory.
pub(crate) const KNOWN_MAX: usize = 1 << 20;

const KINDS: &[u8] = &[1];
const ENTRY_BYTES: usize = 16 + 3 * 8 + 4;

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Where its bytes are in the stream.
    pub(super) range: Range<u64>,
    /// Their checksum.
    pub(super) checksum: u32,
    /// When they came, ms since the epoch.
    pub(super) at_ms: i64,
}

/// The keys that are known, by age.
#[derive(Debug, Default)]
pub(super) struct Keys {
    known: HashMap<Key, Known>,
    /// Each time that a key came; the last of a key counts.
    by_age: VecDeque<(Key, i64)>,
    /// Files that have keys, by where their segments ended, each with when its last key came.
    files: VecDeque<(u64, PathBuf, i64)>,
}

impl Keys {
    /// The keys of segments that were removed. The stream begins at `start`.
    pub(super) fn read(disk: &dyn Disk, folder: &Path, start: Option<u64>, now_ms: i64) -> Result<Self, Error> {
        let mut keys = Self::default();
        for (end, path) in listed(disk, folder)? {
            let file = disk.open(&path, Mode::Existing).map_err(Error::io("opening", &path))?;
            let reading = Error::io("reading", &path);
            let bytes = file.len().map_err(&reading)?;
            let salt = dirigo_segment::read_salt(&*file, bytes).map_err(&reading)?;
            let record = match salt {
                Some(salt) => Reader::new(&*file, salt, bytes, KINDS).record(end).map_err(&reading)?,
                None => None,
            };
            let Some((_, payload)) = record else {
                // It was being written while the segment was still there, which has the keys, too.
                if start.is_some_and(|start| start < end) {
                    continue;
                }
                return Err(Error::Damaged { path, at: 0 });
            };
            // An earlier process may have ended before it synchronised the file.
            file.sync().map_err(Error::io("synchronising", &path))?;
            let mut last_ms = i64::MIN;
            for (key, known) in payload.chunks_exact(ENTRY_BYTES).filter_map(entry) {
                last_ms = last_ms.max(known.at_ms);
                keys.insert(key, known);
            }
            keys.files.push_back((end, path, last_ms));
        }
        keys.forget_old(now_ms);
        Ok(keys)
    }

    pub(super) fn find(&self, key: Key) -> Option<&Known> {
        self.known.get(&key)
    }

    pub(super) fn insert(&mut self, key: Key, known: Known) {
        self.by_age.push_back((key, known.at_ms));
        self.known.insert(key, known);
        while self.known.len() > KNOWN_MAX {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((key, at_ms)) = self.by_age.pop_front() else {
            return;
        };
        if self.known.get(&key).is_some_and(|known| known.at_ms <= at_ms) {
            self.known.remove(&key);
        }
    }

    pub(super) fn forget_old(&mut self, now_ms: i64) {
        while let Some((_, at_ms)) = self.by_age.front()
            && now_ms.saturating_sub(*at_ms) > KNOWN_MS
        {
            self.forget_oldest();
        }
    }

    /// Forgets the keys of what was behind an offset of the stream.
    pub(super) fn forget_behind(&mut self, end: u64) {
        self.known.retain(|_, known| known.range.end <= end);
    }

    /// Keeps the keys of the segment that ends at `end` and is about to be removed; removes files whose keys are known no longer.
    pub(super) fn keep(&mut self, disk: &dyn Disk, folder: &Path, end: u64, now_ms: i64) -> Result<(), Error> {
        while let Some((_, path, last_ms)) = self.files.front()
            && now_ms.saturating_sub(*last_ms) > KNOWN_MS
        {
            disk.remove(path).map_err(Error::io("removing", path))?;
            self.files.pop_front();
        }
        let kept_up_to = self.files.back().map_or(0, |(end, _, _)| *end);
        let mut payload = Vec::new();
        let mut last_ms = i64::MIN;
        for (key, came_ms) in &self.by_age {
            let known = self.known.get(key).filter(|known| known.at_ms == *came_ms);
            let Some(Known { range, checksum, at_ms }) = known else {
                continue;
            };
            if range.end <= end && range.end > kept_up_to {
                last_ms = last_ms.max(*at_ms);
                payload.extend_from_slice(&key.0);
                for number in [range.start.to_le_bytes(), range.end.to_le_bytes(), at_ms.to_le_bytes()] {
                    payload.extend_from_slice(&number);
                }
                payload.extend_from_slice(&checksum.to_le_bytes());
            }
        }
        if payload.is_empty() {
            return Ok(());
        }
        let path = folder.join(name(end));
        let write = || {
            let (file, salt) = dirigo_segment::begin(disk, folder, &path)?;
            let mut buffer = Vec::new();
            let start = dirigo_segment::open_record(&mut buffer);
            buffer.extend_from_slice(&payload);
            dirigo_segment::seal_record(&mut buffer, start, salt, end, KINDS[0]);
            file.write_at(dirigo_segment::START_BYTES as u64, &buffer)?;
            file.sync()
        };
        write().map_err(Error::io("writing", &path))?;
        self.files.push_back((end, path, last_ms));
        Ok(())
    }
}

fn entry(bytes: &[u8]) -> Option<(Key, Known)> {
    let (key, rest) = bytes.split_first_chunk()?;
    let (start, rest) = rest.split_first_chunk()?;
    let (end, rest) = rest.split_first_chunk()?;
    let (at_ms, checksum) = rest.split_first_chunk()?;
    let known = Known {
        range: u64::from_le_bytes(*start)..u64::from_le_bytes(*end),
        checksum: u32::from_le_bytes(*checksum.first_chunk()?),
        at_ms: i64::from_le_bytes(*at_ms),
    };
    Some((Key(*key), known))
}

fn name(end: u64) -> String {
    format!("keys-{end:016}.log")
}

/// The files of keys, by where their segments ended.
pub(super) fn listed(disk: &dyn Disk, folder: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    dirigo_segment::listed(disk, folder, "keys-", name).map_err(Error::io("reading", folder))
}
