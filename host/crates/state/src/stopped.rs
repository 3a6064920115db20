//! A state directory that no process runs on, looked at without changing it.

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable};

use super::durable::{self, EpochMeta};
use super::entry::Entry;
use super::error::Error;
use super::hash;
use super::keys::{self, Keys};
use super::log;
use super::logged::Logged;
use super::overlay::Overlay;
use super::snapshot::{InFlight, Offsets};
use super::store::{LOCK_FILE, lock};
use dirigo_disk::{self as disk, Disk, File, Mode};

/// The state of one pipeline.
pub struct Stopped {
    database: Database,
    logged: Logged,
    moment: EpochMeta,
    /// Closed last.
    _lock: Option<Box<dyn File>>,
}

/// What is found in a state directory that is checked.
#[derive(Debug, Default)]
pub struct Verification {
    /// The last epoch that is whole; `None` if none can be read.
    pub epoch: Option<u64>,
    /// Entries that were read.
    pub entries: u64,
    /// What is damaged.
    pub findings: Vec<Finding>,
    /// Bytes at the end of the log that a crash left of an epoch which was not committed.
    pub torn_bytes: u64,
}

/// Something that is damaged.
#[derive(Debug)]
pub struct Finding {
    /// In which file.
    pub path: PathBuf,
    /// What is the matter with it.
    pub what: String,
}

/// The pipelines whose state is in `directory`, by name: those in folders of it, or the one whose own it is.
///
/// # Errors
/// When it can't be read.
pub fn pipelines(disk: &dyn Disk, directory: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let read = || -> Result<Vec<(String, PathBuf)>, Error> {
        // One of the two may be lost, and is then to be missed.
        let has_state = |folder: &Path| -> Result<bool, Error> {
            let path = folder.join(durable::FILE);
            let is_there = disk.look(&path).map_err(Error::io("reading", &path))? != disk::PathKind::Missing;
            Ok(is_there || !log::segments(disk, folder)?.is_empty())
        };
        let named = |path: PathBuf| {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
            (name.into_owned(), path)
        };
        if has_state(directory)? {
            return Ok(vec![named(directory.to_owned())]);
        }
        let mut found = Vec::new();
        for name in disk.list(directory).map_err(Error::io("reading", directory))? {
            let path = directory.join(name);
            let entry = disk.look(&path).map_err(Error::io("reading", &path))?;
            if entry == disk::PathKind::Folder && has_state(&path)? {
                found.push(named(path));
            }
        }
        Ok(found)
    };
    read()
}

/// The state in `directory` if there is any: a folder without is as good as none.
///
/// # Errors
/// When a process has it, or it is damaged.
pub fn stopped(disk: &dyn Disk, directory: &Path) -> Result<Option<Stopped>, Error> {
    let looked = disk.look(directory).map_err(|reason| Error::Directory {
        path: directory.to_owned(),
        reason,
    })?;
    if looked != disk::PathKind::Folder {
        return Ok(None);
    }
    let found = pipelines(disk, directory)?;
    let is_there = found.iter().any(|(_, path)| path == directory);
    is_there.then(|| Stopped::open(disk, directory)).transpose()
}

impl Stopped {
    /// Opens the state of one pipeline.
    ///
    /// # Errors
    /// When a process has it, or it is damaged.
    pub fn open(disk: &dyn Disk, directory: &Path) -> Result<Self, Error> {
        let lock = take(disk, directory)?;
        let path = directory.join(durable::FILE);
        let database = open_database(disk, &path)?;
        let mut moment = durable::moment(&database).map_err(Error::database("reading", &path))?;
        let mut logged = Logged::default();
        log::read(disk, directory, moment.epoch, |epoch| {
            moment = add(&mut logged, epoch);
        })?;
        Ok(Self {
            database,
            logged,
            moment,
            _lock: lock,
        })
    }

    /// The last committed epoch; 0 if none was.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.moment.epoch
    }

    /// Where sources and sinks stood.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn offsets(&self) -> Result<Offsets, Error> {
        let bytes = self.moment.offsets.as_deref();
        let parsed = bytes.map_or_else(|| Ok(Offsets::default()), serde_json::from_slice);
        parsed.map_err(|_| Error::Unreadable { what: "positions" })
    }

    /// The same; `None` where no run has begun yet.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn known_offsets(&self) -> Result<Option<Offsets>, Error> {
        let is_known = self.moment.offsets.is_some();
        is_known.then(|| self.offsets()).transpose()
    }

    /// What was on its way.
    #[must_use]
    pub fn in_flight(&self) -> &[InFlight] {
        &self.moment.in_flight
    }

    /// The entry of a key.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn get(&self, operator: &str, key: &[u8]) -> Result<Option<Entry>, Error> {
        let range = Keys::One(key).range(operator);
        let mut found = keys::FoundRecords::up_to(1, usize::MAX);
        self.logged.read(&range, &mut found);
        durable::read(&self.database, &range, &mut found)?;
        let bytes = found.records.into_values().next().filter(|bytes| !bytes.is_empty());
        let decode = |bytes: Vec<u8>| Entry::decode(&bytes).ok_or(Error::Unreadable { what: "state" });
        bytes.map(decode).transpose()
    }

    /// Gives every entry, by operator: its id, the key, the entry.
    ///
    /// # Errors
    /// When one can't be read, or `take` fails.
    pub fn each<E: From<Error>>(&self, mut take: impl FnMut(&str, &[u8], Entry) -> Result<(), E>) -> Result<(), E> {
        self.each_stored(|full, bytes| {
            let (operator, key, entry) = decode(full, bytes).ok_or(Error::Unreadable { what: "state" })?;
            take(operator, key, entry)
        })
    }

    /// Gives every full key that is not forgotten, and its bytes.
    fn each_stored<E: From<Error>>(&self, mut take: impl FnMut(&[u8], &[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut logged = self.logged.sorted().peekable();
        let failed = |error: redb::Error| E::from(error.into());
        let transaction = self.database.begin_read().map_err(|error| failed(error.into()))?;
        let table = match transaction.open_table(durable::STATE) {
            Ok(table) => Some(table),
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(failed(error.into())),
        };
        let mut take = |key: &[u8], bytes: &[u8]| if bytes.is_empty() { Ok(()) } else { take(key, bytes) };
        if let Some(table) = &table {
            for record in table.iter().map_err(|error| failed(error.into()))? {
                let (key, value) = record.map_err(|error| failed(error.into()))?;
                while let Some((newer, bytes)) = logged.next_if(|(newer, _)| *newer < key.value()) {
                    take(newer, bytes)?;
                }
                match logged.next_if(|(newer, _)| *newer == key.value()) {
                    Some((key, bytes)) => take(key, bytes)?,
                    None => take(key.value(), value.value())?,
                }
            }
        }
        logged.try_for_each(|(key, bytes)| take(key, bytes))
    }
}

/// Checks everything in a state directory: each record of the log, the pages of the database, every entry.
///
/// # Errors
/// When a process has it, or it can't be read at all. That it is damaged is no error, but in the verdict.
pub fn verify(disk: &dyn Disk, directory: &Path) -> Result<Verification, Error> {
    let lock = take(disk, directory)?;
    let mut verdict = Verification::default();
    let path = directory.join(durable::FILE);
    let checked = open_database(disk, &path).and_then(|mut database| {
        // Opening has repaired, in memory, what a crash leaves; whatever else is wrong must not be.
        durable::check(&path, &mut database)?;
        let moment = durable::moment(&database).map_err(Error::database("reading", &path))?;
        Ok((database, moment))
    });
    let (database, mut moment) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            verdict.find(&path, &error.to_string());
            return Ok(verdict);
        }
    };
    let mut logged = Logged::default();
    let read = log::read(disk, directory, moment.epoch, |epoch| {
        moment = add(&mut logged, epoch);
    });
    match read {
        Ok(found) => {
            let torn = found.segments.iter().map(|segment| segment.bytes - segment.end);
            verdict.torn_bytes = torn.sum();
        }
        Err(Error::Damaged { path, offset, epoch }) => {
            let what = format!("the log is damaged at byte {offset}; epoch {epoch} is the last one before that");
            verdict.find(&path, &what);
        }
        Err(Error::Missing { path }) => verdict.find(&path, "it is missing, and with it what had been committed"),
        Err(error) => return Err(error),
    }
    let stopped = Stopped {
        database,
        logged,
        moment,
        _lock: lock,
    };
    verdict.epoch = Some(stopped.epoch());
    if let Err(error) = stopped.offsets() {
        verdict.find(&path, &error.to_string());
    }
    let read = stopped.each_stored(|full, bytes| {
        verdict.entries += 1;
        if decode(full, bytes).is_none() {
            let what = format!("what is stored as `{}` is no entry", full.escape_ascii());
            verdict.find(&path, &what);
        }
        Ok::<_, Error>(())
    });
    if let Err(error) = read {
        verdict.find(&path, &error.to_string());
    }
    Ok(verdict)
}

impl Verification {
    fn find(&mut self, path: &Path, what: &str) {
        self.findings.push(Finding {
            path: path.to_owned(),
            what: what.to_owned(),
        });
    }
}

/// Operator, key and entry, if they are what a store writes.
fn decode<'a>(full: &'a [u8], bytes: &[u8]) -> Option<(&'a str, &'a [u8], Entry)> {
    let (operator, partition, key) = keys::split(full)?;
    let operator = std::str::from_utf8(operator).ok()?;
    let is_in_its_place = hash::partition(hash::key(key)) == partition;
    Some((operator, key, Entry::decode(bytes)?)).filter(|_| is_in_its_place)
}

/// Adds an epoch of the log, and says what it has besides entries.
fn add(logged: &mut Logged, epoch: log::LoggedEpoch) -> EpochMeta {
    logged.extend(epoch.records);
    EpochMeta {
        epoch: epoch.number,
        offsets: Some(epoch.offsets.into()),
        in_flight: epoch.in_flight.into(),
    }
}

/// Keeps other processes out, where one could be in.
fn take(disk: &dyn Disk, directory: &Path) -> Result<Option<Box<dyn File>>, Error> {
    let path = directory.join(LOCK_FILE);
    if disk.look(&path).map_err(Error::io("opening", &path))? == disk::PathKind::Missing {
        // A version without a lock file wrote it, or it is a copy.
        return Ok(None);
    }
    lock(disk, directory, Mode::Existing).map(Some)
}

fn open_database(disk: &dyn Disk, path: &Path) -> Result<Database, Error> {
    if disk.look(path).map_err(Error::io("opening", path))? == disk::PathKind::Missing {
        return Err(Error::Missing { path: path.to_owned() });
    }
    let file = disk.open(path, Mode::Existing).and_then(Overlay::new);
    durable::open_file(
        Box::new(file.map_err(Error::io("opening", path))?),
        path,
        durable::CACHE_BYTES,
    )
}

impl std::fmt::Debug for Stopped {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Stopped")
            .field("epoch", &self.epoch())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Apply, Record, Snapshot, Store, StoreOptions};
    use super::*;
    use dirigo_disk::Simulated;

    const DIRECTORY: &str = "/state";

    fn record(key: &str, count: u64) -> Record {
        let entry = Entry::new(count, (0, 0), 0, b"");
        (key.as_bytes().into(), (count > 0).then_some(entry))
    }

    /// A directory with entries in database and log; the process that wrote it did not end in order.
    fn left_behind() -> Simulated {
        let disk = Simulated::new(1);
        let options = StoreOptions {
            apply: Apply::ByHand,
            ..StoreOptions::default()
        };
        let store = Store::open_with(Arc::new(disk.clone()), Path::new(DIRECTORY), options).unwrap();
        let commit = |records| {
            let in_flight = InFlight {
                item: "op".into(),
                bytes: vec![1, 2],
            };
            let snapshot = Snapshot {
                state: vec![("op".into(), records)],
                in_flight: vec![in_flight],
                offsets: Offsets::default(),
            };
            store.freeze();
            store.commit(snapshot).unwrap();
        };
        commit(vec![record("a", 1), record("b", 1), record("c", 1)]);
        store.apply_now().unwrap();
        commit(vec![record("b", 2), record("c", 0), record("d", 2)]);
        disk.restart()
    }

    fn entries(state: &Stopped) -> Vec<(String, u64)> {
        let mut entries = Vec::new();
        let each = state.each(|operator, key, entry| {
            assert_eq!(operator, "op");
            entries.push((String::from_utf8_lossy(key).into_owned(), entry.count));
            Ok::<_, Error>(())
        });
        each.unwrap();
        entries.sort();
        entries
    }

    #[test]
    fn what_a_crash_left_is_read_and_not_changed() {
        let disk = left_behind();
        let state = Stopped::open(&disk, Path::new(DIRECTORY)).unwrap();
        let expected = [("a", 1), ("b", 2), ("d", 2)].map(|(key, count)| (key.to_owned(), count));
        assert_eq!(entries(&state), expected);
        assert_eq!((state.epoch(), state.in_flight().len()), (2, 1));
        let count = |key: &str| state.get("op", key.as_bytes()).unwrap().map(|entry| entry.count);
        assert_eq!(
            ["a", "b", "c", "d", "e"].map(count),
            [Some(1), Some(2), None, Some(2), None]
        );
        assert_eq!(state.get("other", b"a").unwrap(), None);
        drop(state);
        let verdict = verify(&disk, Path::new(DIRECTORY)).unwrap();
        assert_eq!((verdict.epoch, verdict.entries, verdict.torn_bytes), (Some(2), 3, 0));
        assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
        assert_eq!(disk.operations(), 0, "the disk was only read");
    }

    #[test]
    fn a_changed_byte_of_the_database_is_found_or_changes_nothing() {
        let disk = left_behind();
        let expected = entries(&Stopped::open(&disk, Path::new(DIRECTORY)).unwrap());
        let file = disk
            .open(&Path::new(DIRECTORY).join(durable::FILE), Mode::Existing)
            .unwrap();
        let mut found = 0;
        for at in (0..file.len().unwrap()).step_by(37) {
            let mut byte = [0];
            file.read_at(at, &mut byte).unwrap();
            file.write_at(at, &[byte[0] ^ 0x55]).unwrap();
            let verdict = verify(&disk, Path::new(DIRECTORY)).unwrap();
            if verdict.findings.is_empty() {
                assert_eq!(entries(&Stopped::open(&disk, Path::new(DIRECTORY)).unwrap()), expected);
            } else {
                found += 1;
            }
            file.write_at(at, &byte).unwrap();
        }
        assert!(found > 0);
    }

    #[test]
    fn damage_in_the_log_is_found_with_its_place() {
        let disk = left_behind();
        let path = Path::new(DIRECTORY).join("epochs-0002.log");
        disk.remove(&path).unwrap();
        disk.open(&Path::new(DIRECTORY).join("epochs-0004.log"), Mode::Make)
            .unwrap();
        let verdict = verify(&disk, Path::new(DIRECTORY)).unwrap();
        assert_eq!(verdict.epoch, Some(1));
        assert!(verdict.findings[0].what.contains("missing"), "{:?}", verdict.findings);
        assert!(verdict.findings[0].path.ends_with("epochs-0002.log"));
    }

    #[test]
    fn what_is_lost_after_an_orderly_end_is_missed() {
        for lose in [
            |disk: &Simulated, log: &Path| disk.remove(log).unwrap(),
            |disk: &Simulated, log: &Path| disk.open(log, Mode::Existing).unwrap().set_len(0).unwrap(),
            |disk: &Simulated, log: &Path| {
                let file = disk.open(log, Mode::Existing).unwrap();
                file.set_len(file.len().unwrap() - 1).unwrap();
            },
            |disk: &Simulated, log: &Path| {
                let file = disk.open(log, Mode::Existing).unwrap();
                let at = file.len().unwrap() - 1;
                file.write_at(at, b"?").unwrap();
            },
            |disk: &Simulated, _: &Path| disk.remove(&Path::new(DIRECTORY).join(durable::FILE)).unwrap(),
        ] {
            let disk = Simulated::new(1);
            let open = || Store::open(Arc::new(disk.clone()), Path::new(DIRECTORY));
            open().unwrap().commit(Snapshot::default()).unwrap();
            drop(open().unwrap());
            lose(&disk, &Path::new(DIRECTORY).join("epochs-0001.log"));
            let verdict = verify(&disk, Path::new(DIRECTORY)).unwrap();
            assert_eq!(verdict.findings.len(), 1, "{:?}", verdict.findings);
            let error = open().unwrap_err();
            assert!(
                matches!(error, Error::Missing { .. } | Error::Damaged { .. }),
                "{error}"
            );
            assert_eq!(pipelines(&disk, Path::new("/")).unwrap().len(), 1);
            Store::open_emptied(Arc::new(disk.clone()), Path::new(DIRECTORY)).unwrap();
        }
    }

    #[test]
    fn a_running_process_keeps_others_out() {
        let disk = Simulated::new(0);
        let store = Store::open(Arc::new(disk.clone()), Path::new(DIRECTORY)).unwrap();
        assert!(matches!(
            Stopped::open(&disk, Path::new(DIRECTORY)),
            Err(Error::InUse { .. })
        ));
        drop(store);
        assert_eq!(Stopped::open(&disk, Path::new(DIRECTORY)).unwrap().epoch(), 0);
        let found = pipelines(&disk, Path::new("/")).unwrap();
        assert_eq!(found, [("state".to_owned(), PathBuf::from("/state"))]);
    }
}
