//! The database: everything that is older than the log.
//!
//! redb over pages with checksums ([`checked_file`](super::checked_file)). It changes in one transaction per application of the log, which names the
//! epoch that it then holds.

use std::io;
use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};

use super::checked_file::{CheckedFile, Found};
use super::error::Error;
use super::keys::{FoundRecords, Range};
use super::log;
use super::marker::Marker;
use super::quiet::without_panic;
use super::snapshot::InFlight;
use dirigo_disk::{Disk, File, Mode, PathKind};

pub(super) const STATE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("state");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// By place in the order, the item and the bytes.
const IN_FLIGHT: TableDefinition<u64, (&str, &[u8])> = TableDefinition::new("in_flight");
const OFFSETS: &str = "bookmarks";
const EPOCH: &str = "epoch";
/// The database within the state directory.
pub(super) const FILE: &str = "state.redb";
/// The database until it is whole.
const UNFINISHED: &str = "state.redb.new";
/// Memory that the database may use as a cache.
pub(super) const CACHE_BYTES: usize = 64 << 20;

/// All that an epoch has besides entries.
#[derive(Clone, Debug, Default)]
pub(super) struct EpochMeta {
    pub(super) epoch: u64,
    /// JSON; none before the first epoch.
    pub(super) offsets: Option<Arc<[u8]>>,
    pub(super) in_flight: Arc<[InFlight]>,
}

/// The file of a database that an earlier version wrote: its pages bear no checksums.
#[derive(Debug)]
struct Unchecked(Box<dyn File>);

impl StorageBackend for Unchecked {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }
}

/// The database in `directory`, made if it is missing.
pub(super) fn open(disk: &dyn Disk, directory: &Path) -> Result<Database, Error> {
    let path = directory.join(FILE);
    if disk.look(&path).map_err(Error::io("opening", &path))? == PathKind::Missing {
        // It is made before the log is, and removed before that.
        if Marker::read(disk, directory)?.segment > 0 || !log::segments(disk, directory)?.is_empty() {
            return Err(Error::Missing { path });
        }
        make(disk, directory, &path)?;
    }
    // What an earlier process wrote and did not synchronise is there all the same, and could still be lost: it must not be by
    // the time that the log is cut because of it.
    disk.open(&path, Mode::Existing)
        .and_then(|file| file.sync())
        .and_then(|()| disk.sync_folder(directory))
        .map_err(Error::io("synchronising", &path))?;
    add_checksums(disk, directory, &path)?;
    open_file(
        disk.open(&path, Mode::Existing).map_err(Error::io("opening", &path))?,
        &path,
        CACHE_BYTES,
    )
}

/// Makes an empty one. It has its name only once it is whole, since redb refuses what it finds half made.
fn make(disk: &dyn Disk, directory: &Path, path: &Path) -> Result<(), Error> {
    let unfinished = begin_unfinished(disk, directory)?;
    drop(open_file(unfinished, path, CACHE_BYTES)?);
    let unfinished = directory.join(UNFINISHED);
    disk.rename(&unfinished, path).map_err(Error::io("making", path))
}

fn begin_unfinished(disk: &dyn Disk, directory: &Path) -> Result<Box<dyn File>, Error> {
    let path = directory.join(UNFINISHED);
    if disk.look(&path).map_err(Error::io("making", &path))? != PathKind::Missing {
        disk.remove(&path).map_err(Error::io("removing", &path))?;
    }
    disk.open(&path, Mode::Make).map_err(Error::io("making", &path))
}

/// Gives the database of an earlier version checksums, once it is known to be sound.
fn add_checksums(disk: &dyn Disk, directory: &Path, path: &Path) -> Result<(), Error> {
    const COPIED_AT_ONCE: u64 = 1 << 20;
    let open = || disk.open(path, Mode::Existing).map_err(Error::io("opening", path));
    let Found::Unchecked(old) = CheckedFile::open(path, open()?).map_err(Error::io("opening", path))? else {
        return Ok(());
    };
    // It is repaired where a crash left it, and closed in order.
    drop(open_unchecked(path, old)?);
    let old = open()?;
    let Found::Checked(new) =
        CheckedFile::open(path, begin_unfinished(disk, directory)?).map_err(Error::io("opening", path))?
    else {
        unreachable!("an empty file is one with checksums");
    };
    let copy = || {
        let length = old.len()?;
        new.set_len(length)?;
        let mut buffer = Vec::new();
        for start in (0..length).step_by(1 << 20) {
            let bytes = COPIED_AT_ONCE.min(length - start);
            buffer.resize(usize::try_from(bytes).expect("it is a megabyte"), 0);
            old.read_at(start, &mut buffer)?;
            new.write(start, &buffer)?;
        }
        new.sync_data()?;
        disk.rename(&directory.join(UNFINISHED), path)?;
        disk.sync_folder(directory)
    };
    copy().map_err(Error::io("adding checksums to", path))
}

/// The database in `file`, which is or will be at `path`. One without checksums is checked as a whole.
pub(super) fn open_file(file: Box<dyn File>, path: &Path, cache_bytes: usize) -> Result<Database, Error> {
    match CheckedFile::open(path, file).map_err(Error::io("opening", path))? {
        Found::Checked(file) => open_backend(path, file, cache_bytes),
        Found::Unchecked(file) => open_unchecked(path, file),
    }
}

fn open_unchecked(path: &Path, file: Box<dyn File>) -> Result<Database, Error> {
    let mut database = open_backend(path, Unchecked(file), CACHE_BYTES)?;
    check(path, &mut database)?;
    Ok(database)
}

/// Reads all of it, and compares it with the checksums that redb has of its own.
pub(super) fn check(path: &Path, database: &mut Database) -> Result<(), Error> {
    let checked = without_panic(|| database.check_integrity()).ok_or_else(|| Error::broken(path))?;
    let is_sound = checked.map_err(|error| failure("reading", path, error))?;
    is_sound.then_some(()).ok_or_else(|| Error::broken(path))
}

fn open_backend(path: &Path, backend: impl StorageBackend, cache_bytes: usize) -> Result<Database, Error> {
    let open = || {
        Database::builder()
            .set_cache_size(cache_bytes)
            .create_with_backend(backend)
    };
    // redb trusts a file that says it was closed in order, and panics where that is not what it says.
    let opened = without_panic(open).ok_or_else(|| Error::broken(path))?;
    opened.map_err(|error| failure("opening", path, error))
}

fn failure(doing: &'static str, path: &Path, error: redb::DatabaseError) -> Error {
    match error {
        redb::DatabaseError::Storage(redb::StorageError::Corrupted(_)) => Error::broken(path),
        error => Error::database(doing, path)(error.into()),
    }
}

/// What the database has besides entries.
pub(super) fn moment(database: &impl ReadableDatabase) -> Result<EpochMeta, redb::Error> {
    let transaction = database.begin_read()?;
    let mut moment = EpochMeta::default();
    match transaction.open_table(META) {
        Ok(meta) => {
            moment.offsets = meta.get(OFFSETS)?.map(|value| value.value().into());
            let epoch = meta.get(EPOCH)?;
            let epoch = epoch.and_then(|value| value.value().first_chunk().copied());
            // Without a number it is of a version that committed only at the end of a run, and had no log.
            moment.epoch = epoch.map_or(0, u64::from_le_bytes);
        }
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    match transaction.open_table(IN_FLIGHT) {
        Ok(table) => {
            let in_flight = table.iter()?.map(|one| {
                let (_, value) = one?;
                let (item, bytes) = value.value();
                Ok(InFlight {
                    item: item.to_owned(),
                    bytes: bytes.to_vec(),
                })
            });
            moment.in_flight = in_flight.collect::<Result<_, redb::StorageError>>()?;
        }
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(moment)
}

/// Whether there is no entry.
pub(super) fn is_empty(database: &impl ReadableDatabase) -> Result<bool, redb::Error> {
    let transaction = database.begin_read()?;
    match transaction.open_table(STATE) {
        Ok(table) => Ok(table.first()?.is_none()),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Adds what lies in `range` and is not found yet.
pub(super) fn read(
    database: &impl ReadableDatabase,
    range: &Range,
    found: &mut FoundRecords,
) -> Result<(), redb::Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(STATE) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for record in table.range::<&[u8]>(range.bounds())? {
        let (key, value) = record?;
        if found.add(key.value(), value.value()).is_break() {
            break;
        }
    }
    Ok(())
}

/// Gives each full key in `range` that is not forgotten.
pub(super) fn each_key(
    database: &impl ReadableDatabase,
    range: &Range,
    mut take: impl FnMut(&[u8]),
) -> Result<(), redb::Error> {
    let Some(TableReader(table)) = TableReader::of(database)? else {
        return Ok(());
    };
    for record in table.range::<&[u8]>(range.bounds())? {
        let (key, value) = record?;
        if !value.value().is_empty() {
            take(key.value());
        }
    }
    Ok(())
}

/// What a database has at one moment, to look keys up in.
pub(super) struct TableReader(ReadOnlyTable<&'static [u8], &'static [u8]>);

impl TableReader {
    /// `None` where it has nothing.
    pub(super) fn of(database: &impl ReadableDatabase) -> Result<Option<Self>, redb::Error> {
        match database.begin_read()?.open_table(STATE) {
            Ok(table) => Ok(Some(Self(table))),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, redb::Error> {
        Ok(self.0.get(key)?.map(|bytes| bytes.value().to_vec()))
    }
}

/// Gives each entry, in the order of full keys.
pub(super) fn each<E: From<redb::Error>>(
    database: &impl ReadableDatabase,
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let begun = || -> Result<_, redb::Error> {
        match database.begin_read()?.open_table(STATE) {
            Ok(table) => Ok(Some(table)),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    let Some(table) = begun()? else { return Ok(()) };
    for record in table.iter().map_err(redb::Error::from)? {
        let (key, value) = record.map_err(redb::Error::from)?;
        take(key.value(), value.value())?;
    }
    Ok(())
}

/// Gives entries to the code that changes the database: full key and bytes, none for a key that is forgotten.
pub(super) type Write<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), redb::Error>;

/// Brings the database from one epoch to a later one, in one transaction.
pub(super) fn apply(
    database: &Database,
    moment: &EpochMeta,
    entries: impl FnOnce(Write<'_>) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    // Opening after a crash takes milliseconds instead of a walk through the file.
    transaction.set_quick_repair(true);
    {
        let mut table = transaction.open_table(STATE)?;
        entries(&mut |key, bytes| {
            if bytes.is_empty() {
                table.remove(key)?;
            } else {
                table.insert(key, bytes)?;
            }
            Ok(())
        })?;
        let mut meta = transaction.open_table(META)?;
        meta.insert(EPOCH, moment.epoch.to_le_bytes().as_slice())?;
        if let Some(offsets) = &moment.offsets {
            meta.insert(OFFSETS, &**offsets)?;
        }
    }
    transaction.delete_table(IN_FLIGHT)?;
    {
        let mut table = transaction.open_table(IN_FLIGHT)?;
        for (place, one) in (0..).zip(&*moment.in_flight) {
            table.insert(place, (one.item.as_str(), one.bytes.as_slice()))?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Removes the database.
pub(super) fn remove(disk: &dyn Disk, directory: &Path) -> Result<(), Error> {
    let path = directory.join(FILE);
    if disk.look(&path).map_err(Error::io("removing", &path))? == PathKind::Missing {
        return Ok(());
    }
    disk.remove(&path)
        .and_then(|()| disk.sync_folder(directory))
        .map_err(Error::io("removing", &path))
}
