//! What a state directory is known to hold, said outside of what it is about.
//!
//! A log that is gone, emptied or cut looks like one that had never been written; a last epoch with a changed byte looks like
//! one that a crash interrupted. So the lock file names the segment that was begun last, and an epoch that was durable: the one
//! before that segment, and after an orderly end the last one. Nothing waits for it but the start and the end of a run. One that
//! cannot be read claims nothing.

use std::path::Path;

use super::error::Error;
use super::store::LOCK_FILE;
use dirigo_disk::{Disk, Mode, PathKind};

/// `segment u64 | epoch u64 | crc32c u32`, little-endian.
const BYTES: usize = 20;

/// What is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marker {
    /// The first epoch of the segment that was begun last; 0 for none.
    pub(super) segment: u64,
    /// An epoch that was durable.
    pub(super) epoch: u64,
}

impl Marker {
    /// What is said in `directory`.
    pub(super) fn read(disk: &dyn Disk, directory: &Path) -> Result<Self, Error> {
        let path = directory.join(LOCK_FILE);
        let read = || {
            if !matches!(disk.look(&path)?, PathKind::File(bytes) if bytes >= BYTES as u64) {
                return Ok(Self::default());
            }
            let mut bytes = [0; BYTES];
            disk.open(&path, Mode::Existing)?.read_at(0, &mut bytes)?;
            Ok(Self::decode(&bytes).unwrap_or_default())
        };
        read().map_err(Error::io("reading", &path))
    }

    /// Says it, durably.
    pub(super) fn write(self, disk: &dyn Disk, directory: &Path) -> Result<(), Error> {
        let path = directory.join(LOCK_FILE);
        let write = || {
            let file = disk.open(&path, Mode::Make)?;
            file.write_at(0, &self.encode())?;
            file.sync()
        };
        write().map_err(Error::io("writing", &path))
    }

    fn encode(self) -> Vec<u8> {
        let mut bytes = [self.segment.to_le_bytes(), self.epoch.to_le_bytes()].concat();
        let sum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; BYTES]) -> Option<Self> {
        let (segment, rest) = bytes.split_first_chunk()?;
        let (epoch, _) = rest.split_first_chunk()?;
        let marker = Self {
            segment: u64::from_le_bytes(*segment),
            epoch: u64::from_le_bytes(*epoch),
        };
        (marker.encode() == bytes).then_some(marker)
    }
}
