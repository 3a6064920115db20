//! Where the state of dormant actors is kept, and what outlives a run.
//!
//! What actors give up between two cuts goes to the *open* layer, which never becomes durable alone: after a crash, state would
//! be ahead of the positions of sources. A cut *freezes* it; a commit writes it with the rest of the moment to the log
//! ([`log`](super::log)) and merges it into the *logged* layer; once log or layer are large, the layer is *applied* to the
//! database ([`durable`](super::durable)). A look-up goes through them in that order, and records only ever move that way, each
//! being written to the next layer before it leaves the one before: so a look-up that overlaps a move finds it.
//!
//! At the end of a run the log stays as it is: opening reads it back, which is quicker than to apply it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use parking_lot::{RwLock, RwLockWriteGuard};
use redb::Database;

use super::durable::{self, Moment};
use super::error::Error;
use super::keys::{self, Found, Keys, Range, Stored};
use super::log::{self, Log};
use super::logged::Logged;
use super::marker::Marker;
use super::search::Search;
use super::snapshot::{Bookmarks, InFlight, Snapshot};
use super::spilled::{PENDING_BYTES_MAX, RECORD_OVERHEAD_BYTES, Spilled};
use super::table::{Entry, Record, Table};
use crate::disk::{self, Disk, File, Mode};
use crate::sync::Mutex;
use crate::thread;

/// Whoever has the lock on it has the directory.
pub(super) const LOCK_FILE: &str = "lock";
/// Records that are written in one transaction at the least: a worker does it between two turns, and 64 take about 0.2 ms,
/// most of which is the transaction itself. All of them at once would keep it for half a second.
const FLUSH_RECORDS_MIN: usize = 64;
/// Records that are merged into the logged layer while look-ups wait: 256 take about 0.1 ms.
const MERGED_AT_ONCE: usize = 256;

/// When the logged layer goes to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apply {
    /// On a thread of its own, once a bound is passed.
    Thread,
    /// When [`Store::apply_now`] says so, or within a commit once a bound is passed twice over: a simulation knows when.
    ByHand,
}

/// How a store keeps what is committed.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Who applies the log.
    pub apply: Apply,
    /// Bytes of log beyond which it is applied. Opening reads them back: 115 MiB took 0.15 s.
    pub log_bytes_max: u64,
    /// Bytes of the logged layer beyond which it is applied. An epoch that has more goes to the database at once.
    pub layer_bytes_max: usize,
    /// Entries that an actor loads when it is activated: 256 take about 0.3 ms. Of more it loads each when its key comes.
    pub loaded_max: usize,
    /// Keys that an actor keeps however short memory is: those of 128 KiB are not worth letting go one by one. It gives up all
    /// of so few when it is at rest.
    pub kept_min: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            apply: Apply::Thread,
            log_bytes_max: 128 << 20,
            layer_bytes_max: 64 << 20,
            loaded_max: 256,
            kept_min: 1024,
        }
    }
}

/// The state of one pipeline outside its active actors.
pub struct Store {
    inner: Arc<Inner>,
    options: Options,
}

struct Inner {
    /// Locked while pending records move to a scratch database, so that a look-up finds them in one or the other.
    spilled: Mutex<Layers>,
    logged: RwLock<LoggedLayers>,
    /// Whether no look-up can find anything; most runs never spill, and then no key is looked for.
    is_empty: AtomicBool,
    durable: Option<Durable>,
}

#[derive(Default)]
struct Layers {
    open: Spilled,
    frozen: Option<Arc<Spilled>>,
}

#[derive(Default)]
struct LoggedLayers {
    logged: Logged,
    applying: Option<Arc<Logged>>,
}

struct Durable {
    database: Database,
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// The last one committed.
    latest: Mutex<Moment>,
    /// Held by whoever commits.
    log: Mutex<Log>,
    applier: Mutex<Option<JoinHandle<()>>>,
    /// The failure after which nothing is committed.
    poison: OnceLock<String>,
    /// Closed last.
    _lock: Box<dyn File>,
}

/// A logged layer on its way to the database.
struct Application {
    layer: Arc<Logged>,
    moment: Moment,
    /// What of the log holds it.
    segments: Vec<PathBuf>,
}

impl Store {
    /// A store whose contents end with it.
    #[must_use]
    pub fn temporary() -> Self {
        Self::new(None, LoggedLayers::default(), true, Options::default())
    }

    /// The store in `directory`, which is made if it is missing.
    ///
    /// # Errors
    /// When another process has it, it is damaged, or it can't be made or opened.
    pub fn open(disk: Arc<dyn Disk>, directory: &Path) -> Result<Self, Error> {
        Self::open_with(disk, directory, Options::default())
    }

    /// As [`open`](Self::open).
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(disk: Arc<dyn Disk>, directory: &Path, options: Options) -> Result<Self, Error> {
        make_directory(&*disk, directory)?;
        let lock = lock(&*disk, directory, Mode::Make)?;
        Self::open_locked(disk, directory, options, lock)
    }

    /// The store in `directory`, emptied. Discards nothing that another process has, or that no store wrote.
    ///
    /// # Errors
    /// When there are other things in the directory, or it can't be opened or emptied.
    pub fn open_emptied(disk: Arc<dyn Disk>, directory: &Path) -> Result<Self, Error> {
        make_directory(&*disk, directory)?;
        let names = disk.list(directory).map_err(Error::io("reading", directory))?;
        let is_own = |name: &std::ffi::OsString| name == durable::FILE || name == LOCK_FILE;
        if !names.is_empty() && !names.iter().any(is_own) {
            return Err(Error::Foreign {
                path: directory.to_owned(),
            });
        }
        let lock = lock(&*disk, directory, Mode::Make)?;
        // What is known of it first, then the database: what a crash leaves is then either whole, or refused since the log does not
        // fit.
        Marker::default().write(&*disk, directory)?;
        durable::remove(&*disk, directory)?;
        for (_, path) in log::segments(&*disk, directory)? {
            disk.remove(&path).map_err(Error::io("removing", &path))?;
        }
        Self::open_locked(disk, directory, Options::default(), lock)
    }

    fn open_locked(
        disk: Arc<dyn Disk>,
        directory: &Path,
        options: Options,
        lock: Box<dyn File>,
    ) -> Result<Self, Error> {
        let database = durable::open(&*disk, directory)?;
        let path = directory.join(durable::FILE);
        let mut latest = durable::moment(&database).map_err(Error::database("reading", &path))?;
        let mut logged = Logged::default();
        let found = log::read(&*disk, directory, latest.epoch, |epoch| {
            logged.extend(epoch.records);
            latest = Moment {
                epoch: epoch.number,
                bookmarks: Some(epoch.bookmarks.into()),
                in_flight: epoch.in_flight.into(),
            };
        })?;
        let is_empty =
            logged.bytes() == 0 && durable::is_empty(&database).map_err(Error::database("reading", &path))?;
        let durable = Durable {
            database,
            latest: Mutex::new(latest),
            log: Mutex::new(Log::open(&disk, directory, found)?),
            disk,
            directory: directory.to_owned(),
            applier: Mutex::default(),
            poison: OnceLock::new(),
            _lock: lock,
        };
        let logged = LoggedLayers { logged, applying: None };
        Ok(Self::new(Some(durable), logged, is_empty, options))
    }

    fn new(durable: Option<Durable>, logged: LoggedLayers, is_empty: bool, options: Options) -> Self {
        let inner = Inner {
            spilled: Mutex::default(),
            logged: RwLock::new(logged),
            is_empty: AtomicBool::new(is_empty),
            durable,
        };
        Self {
            inner: Arc::new(inner),
            options,
        }
    }

    #[cfg(test)]
    pub(super) fn look_at_open(&self, look: impl FnOnce(&Spilled)) {
        look(&self.inner.spilled.lock().open);
    }

    /// Keys that an actor keeps however short memory is.
    #[must_use]
    pub fn kept_min(&self) -> usize {
        self.options.kept_min
    }

    /// Whether it outlives the process.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.inner.durable.is_some()
    }

    /// The last epoch that was committed; 0 if none was.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        let durable = self.inner.durable.as_ref();
        durable.map_or(0, |durable| durable.latest.lock().epoch)
    }

    /// Where the last committed epoch stood; `None` if there was none.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn bookmarks(&self) -> Result<Option<Bookmarks>, Error> {
        let durable = self.inner.durable.as_ref();
        let bytes = durable.and_then(|durable| durable.latest.lock().bookmarks.clone());
        let parse = |bytes: Arc<[u8]>| serde_json::from_slice(&bytes);
        bytes
            .map(parse)
            .transpose()
            .map_err(|_| Error::Unreadable { what: "positions" })
    }

    /// What was on its way at the last committed epoch, in the order in which it was committed.
    ///
    /// # Errors
    /// None today: opening reads it.
    pub fn take_in_flight(&self) -> Result<Vec<InFlight>, Error> {
        let durable = self.inner.durable.as_ref();
        let in_flight = durable.map(|durable| durable.latest.lock().in_flight.clone());
        Ok(in_flight.unwrap_or_default().to_vec())
    }

    /// Keeps what an actor of `operator` gives up.
    ///
    /// # Errors
    /// When the scratch database can't be written.
    pub fn spill(&self, operator: &str, records: Vec<Record>) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        self.inner.is_empty.store(false, Ordering::Relaxed);
        // More leave than came: what waits stays bounded.
        let leaving = FLUSH_RECORDS_MIN.max(2 * records.len());
        let open = &mut self.inner.spilled.lock().open;
        for record in stored(operator, records) {
            open.pending.insert(record);
        }
        if open.pending.bytes < PENDING_BYTES_MAX {
            return Ok(());
        }
        // The lock stays held: whoever spills more meanwhile waits for it, which bounds the memory.
        open.flush(leaving)
            .map_err(Error::database("writing", Path::new("the scratch state")))
    }

    /// Loads the entries of the keys that `wanted` names into `table`.
    ///
    /// # Errors
    /// When a database can't be read, or holds what is no entry.
    pub fn load(&self, operator: &str, wanted: &Keys<'_>, table: &mut Table) -> Result<(), Error> {
        self.load_up_to(usize::MAX, operator, wanted, table)
    }

    /// As [`load`](Self::load), where there are few of them. Otherwise it loads none, and leaves `table` incomplete.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_few(&self, operator: &str, wanted: &Keys<'_>, table: &mut Table) -> Result<(), Error> {
        self.load_up_to(self.options.loaded_max, operator, wanted, table)
    }

    fn load_up_to(&self, keys_max: usize, operator: &str, wanted: &Keys<'_>, table: &mut Table) -> Result<(), Error> {
        if self.inner.is_empty.load(Ordering::Relaxed) {
            return Ok(());
        }
        let found = self.inner.find(&wanted.range(operator), keys_max)?;
        if found.is_too_much() {
            table.note_incomplete();
            return Ok(());
        }
        let prefix = keys::prefix_bytes(operator);
        for (key, bytes) in found.records.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            let entry = Entry::decode(bytes).ok_or(Error::Unreadable { what: "state" })?;
            table.restore(&key[prefix..], entry);
        }
        Ok(())
    }

    /// Loads the entries of `wanted` keys into `table`, one by one.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn look_up(&self, operator: &str, wanted: &[&[u8]], table: &mut Table) -> Result<(), Error> {
        if wanted.is_empty() || self.inner.is_empty.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut search = Search::of(operator, wanted, table);
        self.inner.search(&mut search)
    }

    /// Sets apart what was spilled up to now for the next [`commit`](Self::commit), and takes a moment however much it is. To
    /// be called while nobody spills, and not again before that commit.
    pub fn freeze(&self) {
        let Some(durable) = &self.inner.durable else { return };
        let mut spilled = self.inner.spilled.lock();
        if spilled.frozen.is_some() {
            debug_assert!(durable.poison.get().is_some(), "what was frozen is committed first");
            durable.poison("the state was frozen twice");
            return;
        }
        spilled.frozen = Some(Arc::new(std::mem::take(&mut spilled.open)));
    }

    /// Makes an epoch durable: what is frozen, and the snapshot. Spilling and loading go on meanwhile. A key of the snapshot must
    /// not be loaded before it is spilled once more or this has returned, since look-ups do not see the snapshot on its way.
    ///
    /// # Errors
    /// When it can't be written, or an earlier commit failed. Nobody knows whether the epoch that failed is durable; nothing
    /// after it will be.
    pub fn commit(&self, snapshot: Snapshot) -> Result<(), Error> {
        let Some(durable) = &self.inner.durable else {
            return Ok(());
        };
        let mut log = durable.log.lock();
        durable.check()?;
        let committed = self.commit_next(durable, &mut log, snapshot);
        committed.inspect_err(|error| durable.poison(&error.to_string()))
    }

    /// Applies what is logged to the database, to the end.
    ///
    /// # Errors
    /// When the database can't be written; nothing can be committed then.
    pub fn apply_now(&self) -> Result<(), Error> {
        let Some(durable) = &self.inner.durable else {
            return Ok(());
        };
        let mut log = durable.log.lock();
        durable.wait_for_applier();
        durable.check()?;
        let application = self.inner.begin_to_apply(durable, &mut log)?;
        self.inner.finish_applying(durable, application);
        durable.check()
    }

    fn commit_next(&self, durable: &Durable, log: &mut Log, snapshot: Snapshot) -> Result<(), Error> {
        self.bound_layers(durable, log)?;
        let state = snapshot.state;
        let bookmarks = serde_json::to_vec(&snapshot.bookmarks).expect("positions are plain JSON");
        let moment = Moment {
            epoch: self.epoch() + 1,
            bookmarks: Some(bookmarks.into()),
            in_flight: snapshot.in_flight.into(),
        };
        let frozen = self.inner.spilled.lock().frozen.clone().unwrap_or_default();
        if frozen.bytes() + bytes_of(&state) > self.options.layer_bytes_max {
            return self.inner.commit_to_database(durable, log, &moment, &frozen, &state);
        }
        write(log, &moment, &frozen, &state)?;
        *durable.latest.lock() = moment;
        self.inner.merge(&frozen, state)?;
        self.apply_if_large(durable, log)
    }

    /// Waits where the disk does not keep up, which bounds what is in memory.
    fn bound_layers(&self, durable: &Durable, log: &mut Log) -> Result<(), Error> {
        let is_over_twice = |logged: usize, log: &Log| {
            logged > 2 * self.options.layer_bytes_max || log.bytes() > 2 * self.options.log_bytes_max
        };
        let logged = self.inner.logged.read().logged.bytes();
        if !is_over_twice(logged, log) {
            return Ok(());
        }
        durable.wait_for_applier();
        durable.check()?;
        let application = self.inner.begin_to_apply(durable, log)?;
        self.inner.finish_applying(durable, application);
        durable.check()
    }

    /// Has the logged layer applied beside the pipeline, where that is worth it.
    fn apply_if_large(&self, durable: &Durable, log: &mut Log) -> Result<(), Error> {
        let (bytes, is_applying) = {
            let layers = self.inner.logged.read();
            (layers.logged.bytes(), layers.applying.is_some())
        };
        let is_large = bytes > self.options.layer_bytes_max || log.bytes() > self.options.log_bytes_max;
        if !is_large || is_applying || self.options.apply == Apply::ByHand {
            return Ok(());
        }
        durable.wait_for_applier();
        let application = self.inner.begin_to_apply(durable, log)?;
        let inner = self.inner.clone();
        let apply = move || {
            // Nobody waits for it before the layers are over their bounds twice.
            thread::give_way(thread::LAST_NICENESS);
            let durable = inner.durable.as_ref().expect("only a durable store applies a log");
            inner.finish_applying(durable, application);
        };
        let thread = std::thread::Builder::new().name("state".into()).spawn(apply);
        let thread = thread.map_err(Error::io("starting a thread to write", &durable.directory))?;
        *durable.applier.lock() = Some(thread);
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // The directory is free for the next owner once this is gone.
        if let Some(durable) = &self.inner.durable {
            durable.wait_for_applier();
            if durable.check().is_ok() {
                durable.log.lock().close(self.epoch());
            }
        }
    }
}

impl Inner {
    /// The newest bytes of everything stored in `range`, or so much of it that there is more than `keys_max`; those of a
    /// forgotten key are empty.
    fn find(&self, range: &Range, keys_max: usize) -> Result<Found, Error> {
        let mut found = Found::up_to(keys_max);
        let (scratch, frozen) = {
            let spilled = self.spilled.lock();
            spilled.open.pending.read(range, &mut found);
            (spilled.open.scratch.clone(), spilled.frozen.clone())
        };
        let is_enough = |found: &Found| found.is_too_much() || (range.one().is_some() && !found.records.is_empty());
        if is_enough(&found) {
            return Ok(found);
        }
        if let Some(scratch) = scratch {
            scratch.read(range, &mut found)?;
        }
        if let Some(frozen) = frozen {
            frozen.read(range, &mut found)?;
        }
        let Some(durable) = &self.durable else { return Ok(found) };
        if is_enough(&found) {
            return Ok(found);
        }
        let applying = {
            let layers = self.logged.read();
            layers.logged.read(range, &mut found);
            layers.applying.clone()
        };
        if let Some(applying) = applying {
            applying.read(range, &mut found);
        }
        if !is_enough(&found) {
            durable::read(&durable.database, range, &mut found)?;
        }
        Ok(found)
    }

    /// The same for single keys, each of which is looked for until a layer has it.
    fn search(&self, search: &mut Search<'_>) -> Result<(), Error> {
        let (scratch, frozen) = {
            let spilled = self.spilled.lock();
            search.in_memory(|key| spilled.open.pending.get(key))?;
            (spilled.open.scratch.clone(), spilled.frozen.clone())
        };
        if let Some(scratch) = scratch {
            search.in_database(|| scratch.reader())?;
        }
        if let Some(frozen) = frozen {
            search.in_memory(|key| frozen.pending.get(key))?;
            if let Some(scratch) = &frozen.scratch {
                search.in_database(|| scratch.reader())?;
            }
        }
        let Some(durable) = &self.durable else { return Ok(()) };
        let applying = {
            let layers = self.logged.read();
            search.in_memory(|key| layers.logged.get(key))?;
            layers.applying.clone()
        };
        if let Some(applying) = applying {
            search.in_memory(|key| applying.get(key))?;
        }
        search.in_database(|| durable::Reader::of(&durable.database))
    }

    /// Moves what was committed into the logged layer, a few records at a time.
    fn merge(&self, frozen: &Spilled, state: State) -> Result<(), Error> {
        if frozen.bytes() > 0 || state.iter().any(|(_, records)| !records.is_empty()) {
            self.is_empty.store(false, Ordering::Relaxed);
        }
        let mut layers = self.logged.write();
        let mut inserted = 0;
        let mut insert = |key: Box<[u8]>, bytes: Box<[u8]>| {
            layers.logged.insert(key, bytes);
            inserted += 1;
            if inserted % MERGED_AT_ONCE == 0 {
                RwLockWriteGuard::bump(&mut layers);
            }
        };
        frozen.each(|key, bytes| {
            insert(key.into(), bytes.into());
            Ok::<_, Error>(())
        })?;
        for (operator, records) in state {
            stored(&operator, records).for_each(|(key, bytes)| insert(key, bytes.into()));
        }
        drop(layers);
        self.thaw();
        Ok(())
    }

    /// Lets go of what was frozen; whatever a look-up finds in it is in a later layer, too.
    fn thaw(&self) {
        let frozen = self.spilled.lock().frozen.take();
        drop(frozen);
    }

    /// Commits an epoch that is too large for the logged layer, with all that is logged, to the database.
    fn commit_to_database(
        &self,
        durable: &Durable,
        log: &mut Log,
        moment: &Moment,
        frozen: &Spilled,
        state: &State,
    ) -> Result<(), Error> {
        durable.wait_for_applier();
        durable.check()?;
        self.is_empty.store(false, Ordering::Relaxed);
        let layers = self.logged.read();
        let applied = durable::apply(&durable.database, moment, |write| {
            layers.logged.each(&mut *write)?;
            frozen.each(&mut *write)?;
            each(state, |key, bytes| write(key, bytes))
        });
        applied.map_err(Error::database("writing", &durable.directory.join(durable::FILE)))?;
        drop(layers);
        *durable.latest.lock() = moment.clone();
        // In this order: what is frozen hides what is logged, and what is logged hides the database.
        let logged = std::mem::take(&mut self.logged.write().logged);
        drop(logged);
        self.thaw();
        let segments = log.rotate(moment.epoch + 1)?;
        durable.remove(&segments)
    }

    /// Sets the logged layer apart, and the part of the log that holds it.
    fn begin_to_apply(&self, durable: &Durable, log: &mut Log) -> Result<Application, Error> {
        let moment = durable.latest.lock().clone();
        let segments = log
            .rotate(moment.epoch + 1)
            .inspect_err(|error| durable.poison(&error.to_string()))?;
        let mut layers = self.logged.write();
        let layer = Arc::new(std::mem::take(&mut layers.logged));
        layers.applying = Some(layer.clone());
        Ok(Application {
            layer,
            moment,
            segments,
        })
    }

    fn finish_applying(&self, durable: &Durable, application: Application) {
        let Application {
            layer,
            moment,
            segments,
        } = application;
        let applied = durable::apply(&durable.database, &moment, |write| layer.each(write))
            .map_err(Error::database("writing", &durable.directory.join(durable::FILE)));
        let applied = applied.and_then(|()| {
            self.logged.write().applying = None;
            durable.remove(&segments)
        });
        if let Err(error) = applied {
            durable.poison(&error.to_string());
        }
    }
}

impl Durable {
    /// Has every later commit fail.
    fn poison(&self, reason: &str) {
        // The first reason is the one that explains the others.
        let _ = self.poison.set(reason.to_owned());
    }

    fn check(&self) -> Result<(), Error> {
        self.poison
            .get()
            .map_or(Ok(()), |reason| Err(Error::Poisoned { reason: reason.clone() }))
    }

    fn wait_for_applier(&self) {
        let thread = self.applier.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            self.poison("the thread that writes the database panicked");
        }
    }

    fn remove(&self, segments: &[PathBuf]) -> Result<(), Error> {
        // Not synchronised: what comes back after a crash is recognised as stale.
        let remove = |path: &PathBuf| self.disk.remove(path).map_err(Error::io("removing", path));
        segments.iter().try_for_each(remove)
    }
}

/// Writes an epoch to the log.
fn write(log: &mut Log, moment: &Moment, frozen: &Spilled, state: &State) -> Result<(), Error> {
    let mut writer = log.write(moment.epoch);
    frozen.each(|key, bytes| writer.state(key, bytes))?;
    each(state, |key, bytes| writer.state(key, bytes))?;
    moment.in_flight.iter().try_for_each(|one| writer.in_flight(one))?;
    writer.end(moment.bookmarks.as_deref().unwrap_or_default())
}

/// What a snapshot has of active tables.
type State = Vec<(String, Vec<Record>)>;

/// Records as they are stored.
fn stored(operator: &str, records: Vec<Record>) -> impl Iterator<Item = Stored> + '_ {
    records
        .into_iter()
        .map(move |(key, entry)| (keys::full(operator, &key), encode(entry.as_ref())))
}

/// Gives each record as it is stored. They may be very many, so that there is never more than one of them in that form.
fn each<E>(state: &State, mut take: impl FnMut(&[u8], &[u8]) -> Result<(), E>) -> Result<(), E> {
    let records = state
        .iter()
        .flat_map(|(operator, records)| records.iter().map(move |record| (operator, record)));
    for (operator, (key, entry)) in records {
        take(&keys::full(operator, key), &encode(entry.as_ref()))?;
    }
    Ok(())
}

fn encode(entry: Option<&Entry>) -> Vec<u8> {
    entry.map(Entry::encode).unwrap_or_default()
}

/// What the records take once they are stored, about.
fn bytes_of(state: &State) -> usize {
    let bytes_of = |operator: &str, (key, entry): &Record| {
        let entry = entry.as_ref().map_or(0, Entry::encoded_bytes);
        keys::prefix_bytes(operator) + key.len() + entry + RECORD_OVERHEAD_BYTES
    };
    let operators = state.iter();
    let operators =
        operators.map(|(operator, records)| records.iter().map(|record| bytes_of(operator, record)).sum::<usize>());
    operators.sum()
}

/// Makes the directory and those above it, durably.
fn make_directory(disk: &dyn Disk, directory: &Path) -> Result<(), Error> {
    let make = || {
        if disk.look(&directory.join(durable::FILE))? != disk::Entry::Missing {
            // Whoever made the database in it saw to it first.
            return Ok(());
        }
        disk.make_folder(directory)?;
        // An earlier process may have made them and ended here, so that they are there without being durable.
        for folder in directory.ancestors().skip(1) {
            let folder = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            };
            match disk.sync_folder(folder) {
                // In folders that this process may only pass through it has made nothing.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => break,
                synced => synced?,
            }
        }
        Ok(())
    };
    make().map_err(|reason| Error::Directory {
        path: directory.to_owned(),
        reason,
    })
}

/// Takes the directory for this process.
pub(super) fn lock(disk: &dyn Disk, directory: &Path, mode: Mode) -> Result<Box<dyn File>, Error> {
    let path = directory.join(LOCK_FILE);
    let file = disk.open(&path, mode).map_err(Error::io("opening", &path))?;
    if file.try_lock().map_err(Error::io("locking", &path))? {
        return Ok(file);
    }
    Err(Error::InUse {
        path: directory.to_owned(),
    })
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Store")
            .field("is_durable", &self.is_durable())
            .finish_non_exhaustive()
    }
}
