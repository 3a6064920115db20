//! What actors gave up since the last cut: some in memory, the rest in a temporary database that ends with the process.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use dirigo_disk::{Disk, File, Mode, Real};
use redb::{Database, Durability};

use super::durable::{self, STATE};
use super::error::Error;
use super::keys::{FoundRecords, Range, Stored};

/// Bytes of records that wait in memory before some are written to the scratch database. What is written is next to
/// each other by key: the more waits, the fewer pages of the database are copied for each record.
pub(super) const PENDING_BYTES_MAX: usize = 32 << 20;
/// Memory that the scratch database may use as a cache; the system keeps more of its file.
const CACHE_BYTES: usize = 32 << 20;
/// The scratch database within its folder.
const SCRATCH_FILE: &str = "scratch.redb";
/// What a record in memory takes besides its key and value.
pub(super) const RECORD_OVERHEAD_BYTES: usize = 96;

/// Records by full key, the newest of each.
#[derive(Default)]
pub(super) struct Spilled {
    pub(super) pending: Pending,
    pub(super) scratch: Option<Arc<Scratch>>,
    /// Bytes of all records that were moved to the scratch database.
    moved: usize,
}

#[derive(Default)]
pub(super) struct Pending {
    pub(super) records: BTreeMap<Box<[u8]>, Vec<u8>>,
    pub(super) bytes: usize,
}

pub(super) struct Scratch {
    database: Database,
    /// Deletes the file when it is dropped.
    directory: tempfile::TempDir,
}

impl Spilled {
    /// About how many bytes they take, a replaced record of the scratch database counted as well.
    pub(super) fn bytes(&self) -> usize {
        self.pending.bytes + self.moved
    }

    /// Moves so many of the pending records to the scratch database.
    pub(super) fn flush(&mut self, records: usize) -> Result<(), Error> {
        let scratch = match &mut self.scratch {
            Some(scratch) => scratch,
            none => none.insert(Arc::new(Scratch::create()?)),
        };
        let before = self.pending.bytes;
        let write = |pending: &mut Pending| -> Result<(), redb::Error> {
            let mut transaction = scratch.database.begin_write()?;
            transaction.set_durability(Durability::None)?;
            let mut table = transaction.open_table(STATE)?;
            for _ in 0..records {
                let Some((key, bytes)) = pending.take_first() else {
                    break;
                };
                table.insert(&*key, bytes.as_slice())?;
            }
            drop(table);
            Ok(transaction.commit()?)
        };
        write(&mut self.pending).map_err(Error::database("writing", &scratch.path()))?;
        self.moved += before - self.pending.bytes;
        Ok(())
    }

    /// Adds what lies in `range` and is not found yet.
    pub(super) fn read(&self, range: &Range, found: &mut FoundRecords) -> Result<(), redb::Error> {
        self.pending.read(range, found);
        self.scratch
            .as_ref()
            .map_or(Ok(()), |scratch| scratch.read(range, found))
    }

    /// Gives each full key in `range` that is not forgotten; one that stands in both places twice.
    pub(super) fn each_key(&self, range: &Range, mut take: impl FnMut(&[u8])) -> Result<(), redb::Error> {
        self.pending.each_key(range, &mut take);
        self.scratch
            .as_ref()
            .map_or(Ok(()), |scratch| scratch.each_key(range, take))
    }

    /// Gives each record, that of a key which stands in both places last as it is now.
    pub(super) fn each<E: From<redb::Error>>(
        &self,
        mut take: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(scratch) = &self.scratch {
            durable::each(&scratch.database, &mut take)?;
        }
        self.pending
            .records
            .iter()
            .try_for_each(|(key, bytes)| take(key, bytes))
    }
}

impl Pending {
    pub(super) fn insert(&mut self, (key, bytes): Stored) {
        let key_bytes = key.len() + RECORD_OVERHEAD_BYTES;
        self.bytes += key_bytes + bytes.len();
        if let Some(replaced) = self.records.insert(key, bytes) {
            self.bytes -= key_bytes + replaced.len();
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.records.get(key).map(Vec::as_slice)
    }

    /// Gives each full key in `range` that is not forgotten.
    pub(super) fn each_key(&self, range: &Range, mut take: impl FnMut(&[u8])) {
        let records = self.records.range::<[u8], _>(range.bounds());
        records
            .filter(|(_, bytes)| !bytes.is_empty())
            .for_each(|(key, _)| take(key));
    }

    fn take_first(&mut self) -> Option<Stored> {
        let (key, bytes) = self.records.pop_first()?;
        self.bytes -= key.len() + bytes.len() + RECORD_OVERHEAD_BYTES;
        Some((key, bytes))
    }

    /// Adds what lies in `range` and is not found yet.
    pub(super) fn read(&self, range: &Range, found: &mut FoundRecords) {
        for (key, bytes) in self.records.range::<[u8], _>(range.bounds()) {
            if found.add(key, bytes).is_break() {
                return;
            }
        }
    }
}

/// A file that ends with the process: nothing in it has to be durable, and workers do not wait for the disk.
#[derive(Debug)]
struct Unsynchronised(Box<dyn File>);

impl File for Unsynchronised {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.0.try_lock()
    }
}

impl Scratch {
    fn create() -> Result<Self, Error> {
        let directory = tempfile::tempdir().map_err(Error::io("making a folder in", &std::env::temp_dir()))?;
        let path = directory.path().join(SCRATCH_FILE);
        let file = Real.open(&path, Mode::Make).map_err(Error::io("making", &path))?;
        Ok(Self {
            database: durable::open_file(Box::new(Unsynchronised(file)), &path, CACHE_BYTES)?,
            directory,
        })
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(SCRATCH_FILE)
    }

    /// Adds what lies in `range` and is not found yet.
    pub(super) fn read(&self, range: &Range, found: &mut FoundRecords) -> Result<(), redb::Error> {
        durable::read(&self.database, range, found)
    }

    /// Gives each full key in `range` that is not forgotten.
    pub(super) fn each_key(&self, range: &Range, take: impl FnMut(&[u8])) -> Result<(), redb::Error> {
        durable::each_key(&self.database, range, take)
    }

    /// What it has now, to look keys up in.
    pub(super) fn reader(&self) -> Result<Option<durable::TableReader>, redb::Error> {
        durable::TableReader::of(&self.database)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, Store};
    use super::*;

    #[test]
    fn what_waits_for_the_disk_is_bounded_however_little_comes_at_a_time() {
        let store = Store::temporary();
        let entry = Entry::new(1, (0, 0), 0, b"");
        for key in 0..400_000_u32 {
            let record = (key.to_be_bytes().into(), Some(entry.clone()));
            store.spill("op", vec![record]).unwrap();
        }
        store.look_at_open(|open| {
            assert!(open.pending.bytes <= PENDING_BYTES_MAX, "{}", open.pending.bytes);
            assert!(open.scratch.is_some());
            let records = open.pending.records.iter();
            let counted = records.map(|(key, bytes)| key.len() + bytes.len() + RECORD_OVERHEAD_BYTES);
            assert_eq!(open.pending.bytes, counted.sum::<usize>());
        });
    }
}
