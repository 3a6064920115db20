//! How a moment becomes durable: what is frozen goes to the log and the logged layer, and that, once it is large, to the
//! database.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Apply, Durable, Inner, Store};
use crate::durable::{self, EpochMeta};
use crate::entry::Entry;
use crate::error::Error;
use crate::keys::{self, Stored};
use crate::log::Log;
use crate::logged::Logged;
use crate::snapshot::Snapshot;
use crate::spilled::{RECORD_OVERHEAD_BYTES, Spilled};
use crate::table::Record;
use dirigo_ground::thread;

/// Records that are merged into the logged layer while look-ups wait: 256 take less than 0.1 ms.
const MERGED_AT_ONCE: usize = 256;

/// A logged layer on its way to the database.
struct Application {
    layer: Arc<Logged>,
    moment: EpochMeta,
    /// What of the log holds it.
    segments: Vec<PathBuf>,
}

impl Store {
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
        let offsets = serde_json::to_vec(&snapshot.offsets).expect("positions are plain JSON");
        let moment = EpochMeta {
            epoch: self.epoch() + 1,
            offsets: Some(offsets.into()),
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

    /// Has the logged layer applied next to the pipeline, where that is worth it.
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
            thread::set_niceness(thread::LAST_NICENESS);
            let durable = inner.durable.as_ref().expect("only a durable store applies a log");
            inner.finish_applying(durable, application);
        };
        let thread = std::thread::Builder::new().name("state".into()).spawn(apply);
        let thread = thread.map_err(Error::io("starting a thread to write", &durable.directory))?;
        *durable.applier.lock() = Some(thread);
        Ok(())
    }
}

impl Inner {
    /// Moves what was committed into the logged layer, a few records at a time.
    fn merge(&self, frozen: &Spilled, state: SnapshotState) -> Result<(), Error> {
        if frozen.bytes() > 0 || state.iter().any(|(_, records)| !records.is_empty()) {
            self.is_empty.store(false, Ordering::Relaxed);
        }
        let mut gathered = Vec::with_capacity(MERGED_AT_ONCE);
        let mut insert = |record: Stored| {
            gathered.push(record);
            if gathered.len() == MERGED_AT_ONCE {
                self.logged.write().logged.extend(gathered.drain(..));
                self.logged.admit_readers();
            }
        };
        frozen.each(|key, bytes| {
            insert((key.into(), bytes.into()));
            Ok::<_, Error>(())
        })?;
        for (operator, records) in state {
            stored(&operator, records).for_each(&mut insert);
        }
        self.logged.write().logged.extend(gathered);
        self.thaw();
        Ok(())
    }

    /// Drops what was frozen; whatever a look-up finds in it is in a later layer, too.
    fn thaw(&self) {
        let frozen = self.spilled.lock().frozen.take();
        drop(frozen);
    }

    /// Commits an epoch that is too large for the logged layer, with all that is logged, to the database.
    fn commit_to_database(
        &self,
        durable: &Durable,
        log: &mut Log,
        moment: &EpochMeta,
        frozen: &Spilled,
        state: &SnapshotState,
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
    pub(super) fn poison(&self, reason: &str) {
        // The first reason is the one that explains the others.
        let _ = self.poison.set(reason.to_owned());
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        self.poison
            .get()
            .map_or(Ok(()), |reason| Err(Error::Poisoned { reason: reason.clone() }))
    }

    pub(super) fn wait_for_applier(&self) {
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
fn write(log: &mut Log, moment: &EpochMeta, frozen: &Spilled, state: &SnapshotState) -> Result<(), Error> {
    let mut writer = log.write(moment.epoch);
    frozen.each(|key, bytes| writer.state(key, bytes))?;
    each(state, |key, bytes| writer.state(key, bytes))?;
    moment.in_flight.iter().try_for_each(|one| writer.in_flight(one))?;
    writer.end(moment.offsets.as_deref().unwrap_or_default())
}

/// What a snapshot has of active tables.
type SnapshotState = Vec<(String, Vec<Record>)>;

/// Records as they are stored.
pub(super) fn stored(operator: &str, records: Vec<Record>) -> impl Iterator<Item = Stored> + '_ {
    records
        .into_iter()
        .map(move |(key, entry)| (keys::full(operator, &key), encode(entry.as_ref())))
}

/// Gives each record as it is stored. They may be very many, so that there is never more than one of them in that form.
fn each<E>(state: &SnapshotState, mut take: impl FnMut(&[u8], &[u8]) -> Result<(), E>) -> Result<(), E> {
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
fn bytes_of(state: &SnapshotState) -> usize {
    let bytes_of = |operator: &str, (key, entry): &Record| {
        let entry = entry.as_ref().map_or(0, Entry::encoded_bytes);
        keys::prefix_bytes(operator) + key.len() + entry + RECORD_OVERHEAD_BYTES
    };
    let operators = state.iter();
    let operators =
        operators.map(|(operator, records)| records.iter().map(|record| bytes_of(operator, record)).sum::<usize>());
    operators.sum()
}
