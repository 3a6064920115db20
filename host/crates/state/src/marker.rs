//! What a state directory is known to hold, said outside of what it is about.
//!
//! A log that is gone, emptied or cut looks like one that had never been written; a last epoch with a changed byte looks like
//! one that a crash interrupted. So the lock file names the segment that was begun last, and an epoch that was durable: the one
//! before that segment, and after an orderly end the last one. Nothing waits for it but the start and the end of a run.
//!
//! It is there twice, and the second copy is begun once the first is durable: a crash harms one of them, damage at rest another
//! one. Where neither can be read, something else than a crash was at work.

use std::path::Path;

use super::error::Error;
use super::store::LOCK_FILE;
use dirigo_disk::{Disk, Mode, PathKind};

/// `segment u64 | epoch u64 | crc32c u32`, little-endian.
const BYTES: usize = 20;
/// Where the second copy begins: in another sector of the disk.
const SECOND: usize = 512;

/// What is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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
            let bytes = match disk.look(&path)? {
                PathKind::File(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX).min(SECOND + BYTES),
                _ => 0,
            };
            let mut found = vec![0; bytes];
            if bytes > 0 {
                disk.open(&path, Mode::Existing)?.read_at(0, &mut found)?;
            }
            Ok(found)
        };
        let found = read().map_err(Error::io("reading", &path))?;
        let copies = [0, SECOND].map(|start| Self::decode(found.get(start..start + BYTES)?.try_into().ok()?));
        match copies.into_iter().flatten().max() {
            Some(newest) => Ok(newest),
            // A crash may have torn the first of all copies.
            None if found.len() < SECOND + BYTES => Ok(Self::default()),
            None => Err(Error::broken(&path)),
        }
    }

    /// Says it, durably.
    pub(super) fn write(self, disk: &dyn Disk, directory: &Path) -> Result<(), Error> {
        let path = directory.join(LOCK_FILE);
        let write = || {
            let file = disk.open(&path, Mode::Make)?;
            [0, SECOND as u64].into_iter().try_for_each(|start| {
                file.write_at(start, &self.encode())?;
                file.sync()
            })
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

#[cfg(test)]
mod tests {
    use dirigo_disk::Simulated;

    use super::*;

    const FOLDER: &str = "/state";

    fn flipped(at: &[u64]) -> Result<Marker, Error> {
        let disk = Simulated::new(0);
        disk.make_folder(Path::new(FOLDER)).unwrap();
        let known = Marker { segment: 3, epoch: 7 };
        known.write(&disk, Path::new(FOLDER)).unwrap();
        let file = disk.open(&Path::new(FOLDER).join(LOCK_FILE), Mode::Existing).unwrap();
        for &at in at {
            let mut byte = [0];
            file.read_at(at, &mut byte).unwrap();
            file.write_at(at, &[byte[0] ^ 1]).unwrap();
        }
        Marker::read(&disk, Path::new(FOLDER))
    }

    #[test]
    fn one_damaged_copy_loses_nothing_and_two_are_refused() {
        for at in 0..BYTES as u64 {
            for copy in [0, SECOND as u64] {
                assert_eq!(flipped(&[copy + at]).unwrap(), Marker { segment: 3, epoch: 7 });
            }
            assert!(matches!(flipped(&[at, SECOND as u64]), Err(Error::Broken { .. })));
        }
    }

    #[test]
    fn a_crash_while_it_is_written_leaves_the_old_or_the_new_one() {
        let [old, new] = [Marker { segment: 3, epoch: 7 }, Marker { segment: 8, epoch: 9 }];
        for seed in 0..100 {
            let disk = Simulated::new(seed);
            disk.make_folder(Path::new(FOLDER)).unwrap();
            old.write(&disk, Path::new(FOLDER)).unwrap();
            disk.sync_folder(Path::new(FOLDER)).unwrap();
            disk.sync_folder(Path::new("/")).unwrap();
            disk.crash_at(disk.operations() + 1 + seed % 5);
            let _ = new.write(&disk, Path::new(FOLDER));
            let found = Marker::read(&disk.restart(), Path::new(FOLDER)).unwrap();
            assert!(found == old || found == new, "{seed}: {found:?}");
        }
    }
}
