//! Where the state of dormant actors is kept, and what outlives a run.
//!
//! What actors give up between two cuts goes to the *open* layer, which never becomes durable alone: after a crash, state would
//! be ahead of the positions of sources. A cut *freezes* it; a commit writes it with the rest of the moment to the log
//! ([`log`](super::log)) and merges it into the *logged* layer; once log or layer are large, the layer is *applied* to the
//! database ([`durable`](super::durable)). A look-up goes through them in that order, and records only ever move that way, each
//! being written to the next layer before it leaves the one before: so a look-up that overlaps a move finds it.
//!
//! At the end of a run the log stays as it is: opening reads it back, which is quicker than to apply it.
//!
//! Owns the layers, what goes to the open one, and look-ups; [`opening`] and [`committing`] have the rest.

mod committing;
mod opening;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use redb::Database;

use super::durable::{self, EpochMeta};
use super::entry::Entry;
use super::error::Error;
use super::first_keys::FirstKeys;
use super::keys::{self, FoundRecords, Keys, Range};
use super::log::Log;
use super::logged::Logged;
use super::search::Search;
use super::snapshot::{InFlight, Offsets};
use super::spilled::{PENDING_BYTES_MAX, Spilled};
use super::table::{Record, Table};
use committing::stored;
use dirigo_disk::{Disk, File};
use dirigo_ground::sync::{Mutex, RwLock};
pub(super) use opening::{LOCK_FILE, lock};

/// Records that are written in one transaction at least: a worker does it between two turns, and 64 take about 0.2 ms,
/// most of which is the transaction itself. All of them at once would keep it for half a second.
const FLUSH_RECORDS_MIN: usize = 64;
/// Bytes of entries that an actor loads when it activates: they are copied in less than a millisecond. Of more, each is loaded when it is needed.
const LOADED_BYTES_MAX: usize = 1 << 20;
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
pub struct StoreOptions {
    /// Who applies the log.
    pub apply: Apply,
    /// Bytes of log beyond which it is applied. Opening reads them back: 115 MiB took 0.15 s.
    pub log_bytes_max: u64,
    /// Bytes of the logged layer beyond which it is applied. An epoch that has more goes to the database at once.
    pub layer_bytes_max: usize,
    /// Entries that an actor loads when it is activated: 256 take about 0.3 ms. Of more it loads each when its key comes.
    pub loaded_max: usize,
    /// Keys that an actor keeps however short memory is: those of 128 KiB are not worth evicting one by one. It gives
    /// up all of so few when it is at rest.
    pub kept_min: usize,
}

impl Default for StoreOptions {
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
    options: StoreOptions,
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
    latest: Mutex<EpochMeta>,
    /// Held by the thread that commits.
    log: Mutex<Log>,
    applier: Mutex<Option<JoinHandle<()>>>,
    /// The failure after which nothing is committed.
    poison: OnceLock<String>,
    /// Closed last.
    _lock: Box<dyn File>,
}

impl Store {
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
    pub fn offsets(&self) -> Result<Option<Offsets>, Error> {
        let durable = self.inner.durable.as_ref();
        let bytes = durable.and_then(|durable| durable.latest.lock().offsets.clone());
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
        // The lock stays held: an actor that spills more meanwhile waits for it, which bounds the memory.
        open.flush(leaving)
    }

    /// Loads the entries of the keys that `wanted` names into `table`.
    ///
    /// # Errors
    /// When a database can't be read, or holds what is no entry.
    pub fn load(&self, operator: &str, wanted: &Keys<'_>, table: &mut Table) -> Result<(), Error> {
        self.load_up_to(usize::MAX, usize::MAX, operator, wanted, table)
    }

    /// As [`load`](Self::load), where there are few of them, which are not large. Otherwise it loads none, and leaves `table` partial.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_few(&self, operator: &str, wanted: &Keys<'_>, table: &mut Table) -> Result<(), Error> {
        self.load_up_to(self.options.loaded_max, LOADED_BYTES_MAX, operator, wanted, table)
    }

    fn load_up_to(
        &self,
        keys_max: usize,
        bytes_max: usize,
        operator: &str,
        wanted: &Keys<'_>,
        table: &mut Table,
    ) -> Result<(), Error> {
        if self.inner.is_empty.load(Ordering::Relaxed) {
            return Ok(());
        }
        let found = self.inner.find(&wanted.range(operator), keys_max, bytes_max)?;
        if found.is_too_much() {
            table.note_partial();
            return Ok(());
        }
        let prefix = keys::prefix_bytes(operator);
        for (key, bytes) in found.records.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            let entry = Entry::decode(bytes).ok_or(Error::Unreadable { what: "state" })?;
            table.restore(&key[prefix..], entry);
        }
        Ok(())
    }

    /// Shows `keys` each key of `operator` that any layer knows, and some that a newer one has forgotten. To be asked while nobody
    /// spills entries of that operator.
    ///
    /// # Errors
    /// When a database can't be read.
    pub fn show_keys(&self, operator: &str, keys: &mut FirstKeys) -> Result<(), Error> {
        if self.inner.is_empty.load(Ordering::Relaxed) {
            return Ok(());
        }
        let prefix = keys::prefix_bytes(operator);
        self.inner.each_key(operator, |key| keys.show(&key[prefix..]))
    }

    /// Forgets these keys of `operator`: as [`spill`](Self::spill) of what has closed.
    ///
    /// # Errors
    /// As [`spill`](Self::spill).
    pub fn forget(&self, operator: &str, keys: Vec<Box<[u8]>>) -> Result<(), Error> {
        self.spill(operator, keys.into_iter().map(|key| (key, None)).collect())
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
    fn find(&self, range: &Range, keys_max: usize, bytes_max: usize) -> Result<FoundRecords, Error> {
        let mut found = FoundRecords::up_to(keys_max, bytes_max);
        let (scratch, frozen) = {
            let spilled = self.spilled.lock();
            spilled.open.pending.read(range, &mut found);
            (spilled.open.scratch.clone(), spilled.frozen.clone())
        };
        let is_enough =
            |found: &FoundRecords| found.is_too_much() || (range.one().is_some() && !found.records.is_empty());
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

    /// Gives each full key of `operator` that a layer has not forgotten, once for each such layer.
    fn each_key(&self, operator: &str, mut take: impl FnMut(&[u8])) -> Result<(), Error> {
        let range = Keys::ALL.range(operator);
        let (scratch, frozen) = {
            let spilled = self.spilled.lock();
            spilled.open.pending.each_key(&range, &mut take);
            (spilled.open.scratch.clone(), spilled.frozen.clone())
        };
        if let Some(scratch) = scratch {
            scratch.each_key(&range, &mut take)?;
        }
        if let Some(frozen) = frozen {
            frozen.each_key(&range, &mut take)?;
        }
        let Some(durable) = &self.durable else { return Ok(()) };
        let applying = {
            let layers = self.logged.read();
            layers.logged.each_key(operator, &mut take);
            layers.applying.clone()
        };
        if let Some(applying) = applying {
            applying.each_key(operator, &mut take);
        }
        Ok(durable::each_key(&durable.database, &range, take)?)
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
        search.in_database(|| durable::TableReader::of(&durable.database))
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
