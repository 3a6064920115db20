//! The note of how far batches were delivered.
//!
//! Two places in a file, written in turn, so that a crash in the middle of one leaves the other. It is written after each delivery and made
//! durable now and then: where a crash takes it, batches are sent again, which is what their numbers are for.

use std::io;
use std::path::Path;

use dirigo_disk::{Disk, File, Mode, PathKind};
use sha2::{Digest, Sha256};

use super::Reach;
use super::error::Error;

const FILE: &str = "delivered";
/// One sector each.
const PLACE_BYTES: u64 = 512;
const NUMBERS_BYTES: usize = 3 * 8;
const CHECKSUM_BYTES: usize = 8;
const NOTE_BYTES: usize = NUMBERS_BYTES + CHECKSUM_BYTES;

/// How far batches were delivered.
#[derive(Debug)]
pub(super) struct Delivered {
    file: Box<dyn File>,
    lineage: String,
    reach: Reach,
    /// Which place is written next.
    next: u64,
}

impl Delivered {
    /// What is noted in a folder of the outbox with that lineage.
    pub(super) fn open(disk: &dyn Disk, folder: &Path, lineage: &str) -> Result<Self, Error> {
        let read = || {
            let file = disk.open(&folder.join(FILE), Mode::Make)?;
            let len = file.len()?;
            let mut newest = (Reach::default(), 1);
            for place in [0, 1] {
                let at = place * PLACE_BYTES;
                if len < at + NOTE_BYTES as u64 {
                    continue;
                }
                let mut bytes = [0; NOTE_BYTES];
                file.read_at(at, &mut bytes)?;
                if let Some(reach) = decode(&bytes, lineage).filter(|reach| reach.batches > newest.0.batches) {
                    newest = (reach, place);
                }
            }
            let (reach, place) = newest;
            Ok(Self {
                file,
                lineage: lineage.to_owned(),
                reach,
                next: 1 - place,
            })
        };
        read().map_err(Error::Delivered)
    }

    /// Removes the note of a folder.
    pub(super) fn discard(disk: &dyn Disk, folder: &Path) -> Result<(), Error> {
        let path = folder.join(FILE);
        let remove = || match disk.look(&path)? {
            PathKind::Missing => Ok(()),
            _ => disk.remove(&path),
        };
        remove().map_err(Error::Delivered)
    }

    pub(super) fn reach(&self) -> Reach {
        self.reach
    }

    /// Notes that batches were delivered up to there.
    pub(super) fn note(&mut self, reach: Reach) -> io::Result<()> {
        self.file
            .write_at(self.next * PLACE_BYTES, &encode(reach, &self.lineage))?;
        self.reach = reach;
        self.next = 1 - self.next;
        Ok(())
    }

    /// Makes the note durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

fn encode(reach: Reach, lineage: &str) -> [u8; NOTE_BYTES] {
    let mut note = [0; NOTE_BYTES];
    for (place, number) in note
        .chunks_exact_mut(8)
        .zip([reach.batches, reach.records, reach.bytes])
    {
        place.copy_from_slice(&number.to_le_bytes());
    }
    let (numbers, checksum) = note.split_at_mut(NUMBERS_BYTES);
    checksum.copy_from_slice(&checksum_of(numbers, lineage));
    note
}

/// What a note says, if it is whole and of that lineage.
fn decode(note: &[u8; NOTE_BYTES], lineage: &str) -> Option<Reach> {
    let (numbers, checksum) = note.split_at(NUMBERS_BYTES);
    if checksum != checksum_of(numbers, lineage) {
        return None;
    }
    let number = |index: usize| Some(u64::from_le_bytes(*numbers[index * 8..].first_chunk()?));
    Some(Reach {
        batches: number(0)?,
        records: number(1)?,
        bytes: number(2)?,
    })
}

fn checksum_of(numbers: &[u8], lineage: &str) -> [u8; CHECKSUM_BYTES] {
    let digest = Sha256::new().chain_update(lineage).chain_update(numbers).finalize();
    *digest.first_chunk().expect("a digest is longer")
}
