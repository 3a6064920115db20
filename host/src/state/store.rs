//! Where the state of dormant actors is kept, and what outlives a run.
//!
//! Two embedded databases (redb, chosen by the measurements in docs/design/002-state.md). The *durable* one, only there with
//! a state directory, changes in one transaction per [`Store::commit`], together with the positions of sources and sinks, so
//! that whatever ends the process it holds one consistent moment. The *scratch* one takes what actors give up between
//! commits, lies in a temporary file, and is gone with the process. A look-up goes pending → scratch → durable.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use super::hash::{self, PARTITIONS};
use super::table::{Entry, Record, Table};

const STATE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("state");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const BOOKMARKS: &str = "bookmarks";
/// The durable database within the state directory.
const FILE: &str = "state.redb";
/// Bytes of records that wait in memory before some are written to the scratch database.
const PENDING_BYTES_MAX: usize = 8 << 20;
/// Records that are written in one transaction at the least: a worker does it between two turns, and 64 take about 0.2 ms,
/// most of which is the transaction itself. All 8 MiB at once would keep it for 100 ms.
const FLUSH_RECORDS_MIN: usize = 64;
/// What a pending record takes besides its key and value.
const RECORD_OVERHEAD_BYTES: usize = 96;
/// Memory that a database may use as a cache.
const CACHE_BYTES: usize = 64 << 20;

/// The state of one pipeline outside its active actors.
pub struct Store {
    durable: Option<Database>,
    /// Locked while pending records move to the scratch database, so that a look-up finds them in one or the other.
    spilled: Mutex<Spilled>,
    /// Whether any look-up can find something; most runs never spill, and then no key is looked for.
    is_empty: AtomicBool,
}

/// What actors gave up since the last commit.
#[derive(Default)]
struct Spilled {
    pending: Pending,
    scratch: Option<Scratch>,
}

#[derive(Default)]
struct Pending {
    records: BTreeMap<Box<[u8]>, Vec<u8>>,
    bytes: usize,
}

struct Scratch {
    database: Database,
    /// Deletes the file when it is dropped.
    _directory: tempfile::TempDir,
}

/// Where sources and sinks go on after a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bookmarks {
    /// By source: where to read on.
    pub sources: BTreeMap<String, serde_json::Value>,
    /// By sink: where to write on.
    pub sinks: BTreeMap<String, serde_json::Value>,
    /// Where to write on in the dead letters.
    pub dead_letters: Option<serde_json::Value>,
}

/// What went wrong with a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process has the directory.
    #[error("the state directory {} is in use by another process", .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The database cannot be opened, read or written.
    #[error("{doing} {}: {reason}", .path.display())]
    Database {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What happened.
        reason: Box<redb::Error>,
    },
    /// The directory cannot be made.
    #[error("cannot make the state directory {}: {reason}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// What is to be discarded was not made by a store.
    #[error("nothing is discarded in {}: it holds files, but no state", .path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// What is stored is not what this version writes.
    #[error("the stored {what} cannot be read; `--fresh` discards the state")]
    Unreadable {
        /// Which part.
        what: &'static str,
    },
}

impl Store {
    /// A store whose contents end with it.
    #[must_use]
    pub fn temporary() -> Self {
        Self::new(None)
    }

    /// The store in `directory`, which is made if it is missing.
    ///
    /// # Errors
    /// When another process has it, or it can't be made or opened.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let made = std::fs::create_dir_all(directory);
        made.map_err(|reason| Error::Directory {
            path: directory.to_owned(),
            reason,
        })?;
        let path = directory.join(FILE);
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(&path)
            .map_err(|error| match error {
                redb::DatabaseError::DatabaseAlreadyOpen => Error::InUse {
                    path: directory.to_owned(),
                },
                error => failed("opening", &path)(error.into()),
            })?;
        let store = Self::new(Some(database));
        store.is_empty.store(false, Ordering::Relaxed);
        Ok(store)
    }

    /// The store in `directory`, emptied. Discards nothing that another process has, or that no store wrote.
    ///
    /// # Errors
    /// When there are other things in the directory, or it can't be opened or emptied.
    pub fn open_emptied(directory: &Path) -> Result<Self, Error> {
        let is_foreign = !directory.join(FILE).exists()
            && std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some());
        if is_foreign {
            return Err(Error::Foreign {
                path: directory.to_owned(),
            });
        }
        let store = Self::open(directory)?;
        if let Some(durable) = &store.durable {
            clear(durable).map_err(failed("emptying", Path::new(FILE)))?;
        }
        Ok(store)
    }

    fn new(durable: Option<Database>) -> Self {
        Self {
            durable,
            spilled: Mutex::default(),
            is_empty: AtomicBool::new(true),
        }
    }

    /// Whether it outlives the process.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.durable.is_some()
    }

    /// Where the last run stopped; `None` if there was none.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn bookmarks(&self) -> Result<Option<Bookmarks>, Error> {
        let Some(durable) = &self.durable else { return Ok(None) };
        let read = || -> Result<Option<Vec<u8>>, redb::Error> {
            let transaction = durable.begin_read()?;
            match transaction.open_table(META) {
                Ok(meta) => Ok(meta.get(BOOKMARKS)?.map(|value| value.value().to_vec())),
                Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
                Err(error) => Err(error.into()),
            }
        };
        let bytes = read().map_err(failed("reading", Path::new(FILE)))?;
        let parse = |bytes: Vec<u8>| serde_json::from_slice(&bytes);
        bytes
            .map(parse)
            .transpose()
            .map_err(|_| Error::Unreadable { what: "positions" })
    }

    /// Keeps what an actor of `operator` gives up.
    ///
    /// # Errors
    /// When the scratch database can't be written.
    pub fn spill(&self, operator: &str, records: Vec<Record>) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        self.is_empty.store(false, Ordering::Relaxed);
        // More leave than came: what waits stays bounded.
        let leaving = FLUSH_RECORDS_MIN.max(2 * records.len());
        let mut spilled = self.spilled.lock();
        for (key, entry) in records {
            let bytes = entry.map(|entry| entry.encode()).unwrap_or_default();
            spilled.pending.insert(full_key(operator, &key), bytes);
        }
        if spilled.pending.bytes < PENDING_BYTES_MAX {
            return Ok(());
        }
        // The lock stays held: whoever spills more meanwhile waits for it, which bounds the memory.
        spilled
            .flush(leaving)
            .map_err(failed("writing", Path::new("the scratch state")))
    }

    /// Loads the entries of the keys that `wanted` names into `table`.
    ///
    /// # Errors
    /// When a database can't be read, or holds what is no entry.
    pub fn load(&self, operator: &str, wanted: &Keys<'_>, table: &mut Table) -> Result<(), Error> {
        if self.is_empty.load(Ordering::Relaxed) {
            return Ok(());
        }
        let found = self
            .find(&wanted.range(operator))
            .map_err(failed("reading", Path::new("the state")))?;
        let prefix = prefix(operator).len() + 2;
        for (key, bytes) in found.into_iter().filter(|(_, bytes)| !bytes.is_empty()) {
            let entry = Entry::decode(&bytes).ok_or(Error::Unreadable { what: "state" })?;
            table.restore(&key[prefix..], entry);
        }
        Ok(())
    }

    /// The newest value of everything stored in `range`; that of a forgotten key is empty.
    fn find(&self, range: &Range) -> Result<Found, redb::Error> {
        let mut found = Found::new();
        if let Some(durable) = &self.durable {
            read_range(durable, range, &mut found)?;
        }
        let spilled = self.spilled.lock();
        if let Some(scratch) = &spilled.scratch {
            read_range(&scratch.database, range, &mut found)?;
        }
        let waiting = spilled.pending.records.range::<[u8], _>(bounds(range));
        found.extend(waiting.map(|(key, bytes)| (key.clone(), bytes.clone())));
        Ok(found)
    }

    /// Makes one moment durable, in one transaction: everything spilled, what the active actors hold, the positions.
    ///
    /// # Errors
    /// When the database can't be written; it then holds the moment before.
    pub fn commit(&self, active: Vec<(&str, Vec<Record>)>, bookmarks: &Bookmarks) -> Result<(), Error> {
        let Some(durable) = &self.durable else { return Ok(()) };
        let mut spilled = self.spilled.lock();
        for (operator, records) in active {
            for (key, entry) in records {
                let bytes = entry.map(|entry| entry.encode()).unwrap_or_default();
                spilled.pending.insert(full_key(operator, &key), bytes);
            }
        }
        let bookmarks = serde_json::to_vec(bookmarks).expect("positions are plain JSON");
        write_durably(durable, &spilled, &bookmarks).map_err(failed("writing", Path::new(FILE)))?;
        *spilled = Spilled::default();
        Ok(())
    }
}

/// Which keys of an operator are wanted.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    /// This one.
    One(&'a [u8]),
    /// Those of one shard of so many.
    Shard {
        /// Which.
        index: u32,
        /// Of how many.
        shards: u32,
    },
}

/// Full keys, from one bound to the other.
type Range = (Bound<Vec<u8>>, Bound<Vec<u8>>);
type Found = BTreeMap<Box<[u8]>, Vec<u8>>;

fn bounds(range: &Range) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (range.0.as_ref().map(Vec::as_slice), range.1.as_ref().map(Vec::as_slice))
}

impl Keys<'_> {
    fn range(&self, operator: &str) -> Range {
        match self {
            Keys::One(key) => {
                let key = full_key(operator, key).into_vec();
                (Bound::Included(key.clone()), Bound::Included(key))
            }
            Keys::Shard { index, shards } => {
                let mut own = (0..PARTITIONS).filter(|&partition| hash::shard(partition, *shards) == *index);
                let first = own.next().expect("there are at most as many shards as partitions");
                let last = own.next_back().unwrap_or(first);
                let bound = |partition: u32| [prefix(operator), big_endian(partition).to_vec()].concat();
                (Bound::Included(bound(first)), Bound::Excluded(bound(last + 1)))
            }
        }
    }
}

impl Pending {
    fn insert(&mut self, key: Box<[u8]>, bytes: Vec<u8>) {
        let key_bytes = key.len() + RECORD_OVERHEAD_BYTES;
        self.bytes += key_bytes + bytes.len();
        if let Some(replaced) = self.records.insert(key, bytes) {
            self.bytes -= key_bytes + replaced.len();
        }
    }

    fn take_first(&mut self) -> Option<(Box<[u8]>, Vec<u8>)> {
        let (key, bytes) = self.records.pop_first()?;
        self.bytes -= key.len() + bytes.len() + RECORD_OVERHEAD_BYTES;
        Some((key, bytes))
    }
}

/// The operator's name, behind its length so that no name is the beginning of another.
fn prefix(operator: &str) -> Vec<u8> {
    let length = u16::try_from(operator.len()).expect("pipeline files bound the length of names");
    [&length.to_be_bytes(), operator.as_bytes()].concat()
}

fn full_key(operator: &str, key: &[u8]) -> Box<[u8]> {
    let partition = hash::partition(hash::key(key));
    [&prefix(operator), big_endian(partition).as_slice(), key]
        .concat()
        .into()
}

fn big_endian(partition: u32) -> [u8; 2] {
    u16::try_from(partition)
        .expect("there are 4,096 partitions")
        .to_be_bytes()
}

impl Spilled {
    /// Moves so many of the pending records to the scratch database.
    fn flush(&mut self, records: usize) -> Result<(), redb::Error> {
        let scratch = match &mut self.scratch {
            Some(scratch) => scratch,
            none => none.insert(Scratch::create()?),
        };
        let mut transaction = scratch.database.begin_write()?;
        transaction
            .set_durability(Durability::None)
            .map_err(redb::Error::from)?;
        {
            let mut table = transaction.open_table(STATE)?;
            for _ in 0..records {
                let Some((key, bytes)) = self.pending.take_first() else {
                    break;
                };
                table.insert(&*key, bytes.as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

impl Scratch {
    fn create() -> Result<Self, redb::Error> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("scratch.redb");
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        Ok(Self {
            database,
            _directory: directory,
        })
    }
}

fn read_range(database: &Database, range: &Range, found: &mut Found) -> Result<(), redb::Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(STATE) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for record in table.range::<&[u8]>(bounds(range))? {
        let (key, value) = record?;
        found.insert(key.value().into(), value.value().to_vec());
    }
    Ok(())
}

fn clear(durable: &Database) -> Result<(), redb::Error> {
    let transaction = durable.begin_write()?;
    transaction.delete_table(STATE)?;
    transaction.delete_table(META)?;
    transaction.commit()?;
    Ok(())
}

fn write_durably(durable: &Database, spilled: &Spilled, bookmarks: &[u8]) -> Result<(), redb::Error> {
    let mut transaction = durable.begin_write()?;
    transaction.set_quick_repair(true);
    {
        let mut table = transaction.open_table(STATE)?;
        let mut write = |key: &[u8], bytes: &[u8]| -> Result<(), redb::Error> {
            if bytes.is_empty() {
                table.remove(key)?;
            } else {
                table.insert(key, bytes)?;
            }
            Ok(())
        };
        if let Some(scratch) = &spilled.scratch {
            let scratch = scratch.database.begin_read()?;
            for record in scratch.open_table(STATE)?.iter()? {
                let (key, value) = record?;
                write(key.value(), value.value())?;
            }
        }
        for (key, bytes) in &spilled.pending.records {
            write(key, bytes)?;
        }
        transaction.open_table(META)?.insert(BOOKMARKS, bookmarks)?;
    }
    transaction.commit()?;
    Ok(())
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(redb::Error) -> Error + use<> {
    let path = path.to_owned();
    move |reason| Error::Database {
        doing,
        path,
        reason: Box::new(reason),
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Store")
            .field("is_durable", &self.is_durable())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use smallvec::SmallVec;

    use super::*;

    fn entry(count: u64) -> Entry {
        Entry {
            accumulator: SmallVec::from_slice(b"a"),
            count,
            start: 0,
            end: 0,
            state_version: 1,
        }
    }

    fn record(key: &str, count: u64) -> Record {
        (key.as_bytes().into(), Some(entry(count)))
    }

    fn loaded(store: &Store, wanted: &Keys<'_>) -> Vec<Record> {
        let mut table = Table::default();
        store.load("op", wanted, &mut table).unwrap();
        let mut records = table.drain();
        records.sort_by(|left, right| left.0.cmp(&right.0));
        records
    }

    #[test]
    fn what_an_actor_gives_up_is_found_again() {
        let store = Store::temporary();
        store.spill("op", vec![record("a", 1), record("b", 2)]).unwrap();
        store.spill("op2", vec![record("a", 9)]).unwrap();
        assert_eq!(loaded(&store, &Keys::One(b"a")), [record("a", 1)]);
        assert_eq!(
            loaded(&store, &Keys::Shard { index: 0, shards: 1 }),
            [record("a", 1), record("b", 2)]
        );
    }

    #[test]
    fn a_flush_to_disk_hides_nothing() {
        let store = Store::temporary();
        let records = |count| {
            (0..200_000_u32)
                .map(move |key| record(&key.to_string(), count))
                .collect::<Vec<_>>()
        };
        store.spill("op", records(1)).unwrap();
        assert!(
            store.spilled.lock().scratch.is_some(),
            "200,000 records do not fit the pending ones"
        );
        store
            .spill("op", vec![(b"7".as_slice().into(), None), record("8", 3)])
            .unwrap();
        assert_eq!(loaded(&store, &Keys::One(b"7")), []);
        assert_eq!(loaded(&store, &Keys::One(b"8")), [record("8", 3)]);
        let all: usize = (0..5)
            .map(|index| loaded(&store, &Keys::Shard { index, shards: 5 }).len())
            .sum();
        assert_eq!(all, 199_999);
    }

    #[test]
    fn what_waits_for_the_disk_is_bounded_however_little_comes_at_a_time() {
        let store = Store::temporary();
        for key in 0..100_000_u32 {
            store.spill("op", vec![record(&key.to_string(), 1)]).unwrap();
        }
        let spilled = store.spilled.lock();
        assert!(spilled.pending.bytes <= PENDING_BYTES_MAX, "{}", spilled.pending.bytes);
        assert!(spilled.scratch.is_some());
        let records = spilled.pending.records.iter();
        let counted = records.map(|(key, bytes)| key.len() + bytes.len() + RECORD_OVERHEAD_BYTES);
        assert_eq!(spilled.pending.bytes, counted.sum::<usize>());
    }

    #[test]
    fn only_what_was_committed_outlives_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let bookmarks = Bookmarks {
            sources: [("s".into(), 7.into())].into(),
            ..Bookmarks::default()
        };
        {
            let store = Store::open(directory.path()).unwrap();
            assert_eq!(store.bookmarks().unwrap(), None);
            store
                .spill("op", vec![record("spilled", 1), record("closed", 1)])
                .unwrap();
            store
                .commit(vec![("op", vec![record("active", 2)])], &bookmarks)
                .unwrap();
            store
                .commit(vec![("op", vec![(b"closed".as_slice().into(), None)])], &bookmarks)
                .unwrap();
            store.spill("op", vec![record("late", 3)]).unwrap();
        }
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.bookmarks().unwrap(), Some(bookmarks));
        let all = loaded(&store, &Keys::Shard { index: 0, shards: 1 });
        assert_eq!(all, [record("active", 2), record("spilled", 1)]);
    }

    #[test]
    fn a_state_directory_has_one_owner() {
        let directory = tempfile::tempdir().unwrap();
        let owner = Store::open(directory.path()).unwrap();
        owner
            .commit(vec![("op", vec![record("a", 1)])], &Bookmarks::default())
            .unwrap();
        for open in [Store::open, Store::open_emptied] {
            assert!(matches!(open(directory.path()), Err(Error::InUse { .. })));
        }
        assert_eq!(loaded(&owner, &Keys::One(b"a")), [record("a", 1)]);
    }

    #[test]
    fn an_emptied_store_has_no_state_and_no_positions() {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let store = Store::open_emptied(directory.path()).unwrap();
            assert_eq!(store.bookmarks().unwrap(), None);
            assert_eq!(loaded(&store, &Keys::One(b"a")), []);
            store
                .commit(vec![("op", vec![record("a", 1)])], &Bookmarks::default())
                .unwrap();
        }
    }
}
