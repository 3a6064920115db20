//! A stopped state, handed over to a pipeline that was changed on purpose.
//!
//! Owns what a person may say about a difference that [`continuity`](super::continuity) found, and the one commit that makes
//! it so: renamed operators, dropped parts, accepted changes, and every entry of an older version migrated.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::SLICE_FUEL;
use super::continuity::{Description, Refused, told};
use super::prepare::Prepared;
use crate::batch::Column;
use crate::disk;
use crate::engine::{Budget, Component, Instance, Setup, Unopened};
use crate::state::{self, Entry, Record, Snapshot, Stopped, Store};

/// Entries that are migrated in one call.
const BATCH_ENTRIES: usize = 256;

/// Entries by key.
type Entries = Vec<(Box<[u8]>, Entry)>;

/// What is said about the differences.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Operators that have another name now, by the old one.
    pub renamed: BTreeMap<String, String>,
    /// Operators, sources and sinks that are gone, with what is kept of them.
    pub dropped: BTreeSet<String>,
    /// Those whose settings changed, which shall go on from what there is all the same.
    pub accepted: BTreeSet<String>,
}

/// What was done, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// By operator: entries that were brought to the version that its component writes.
    pub migrated: BTreeMap<String, u64>,
    /// By operator under its new name: entries that were renamed.
    pub renamed: BTreeMap<String, u64>,
    /// By operator: entries that were deleted.
    pub dropped: BTreeMap<String, u64>,
}

/// Why a state is not handed over. It is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A difference remains that nothing was said about, or that nothing helps.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The state cannot be read or written.
    #[error(transparent)]
    State(#[from] state::Error),
    /// What was said makes no sense for this state.
    #[error("{0}")]
    Senseless(String),
    /// An entry cannot be migrated.
    #[error("operator `{operator}`: the state of key `{key}` cannot be migrated from version {from} to {to}: {reason}")]
    Unmigrated {
        /// Whose it is.
        operator: String,
        /// Of which key.
        key: String,
        /// Its version.
        from: u32,
        /// The version that the component writes.
        to: u32,
        /// What the component said, or how it failed.
        reason: String,
    },
}

/// Hands the state in `directory` over to a pipeline, unless `is_dry`: then it says only what would be done.
///
/// # Errors
/// When the pipeline does not fit the state even with these wishes, or an entry cannot be migrated.
pub async fn hand_over(prepared: &Prepared, directory: &Path, wishes: &Wishes, is_dry: bool) -> Result<Report, Error> {
    let stopped = Stopped::open(&disk::Real, directory)?;
    let mut bookmarks = stopped.bookmarks()?;
    let old = bookmarks.pipeline.as_ref().and_then(Description::from_json);
    let old = old.ok_or(Refused::Undescribed)?;
    let new = &prepared.description;
    let old = old.wished(wishes, new).map_err(Error::Senseless)?;
    let mut in_flight = stopped.in_flight().to_vec();
    for batch in &mut in_flight {
        if let Some(now) = wishes.renamed.get(&batch.item) {
            batch.item.clone_from(now);
        }
    }
    let waiting: BTreeSet<&str> = in_flight.iter().map(|batch| batch.item.as_str()).collect();
    let differences = old.differences(new, &waiting);
    if !differences.is_empty() {
        return Err(Refused::Changed(Box::new(told(prepared, directory, &differences))).into());
    }
    let (state, report) = records(prepared, &stopped, wishes).await?;
    drop(stopped);
    for id in &wishes.dropped {
        bookmarks.sources.remove(id);
        bookmarks.next_positions.remove(id);
        bookmarks.sinks.remove(id);
    }
    for sink in wishes.accepted.iter().filter(|id| old.has_sink(id)) {
        // Another file, which begins where it is accepted.
        bookmarks.sinks.remove(sink);
    }
    bookmarks.pipeline = Some(new.to_json());
    if !is_dry {
        let store = Store::open(Arc::new(disk::Real), directory)?;
        store.commit(Snapshot {
            state,
            in_flight,
            bookmarks,
        })?;
    }
    Ok(report)
}

/// Every entry that changes, by operator, and how many there are.
async fn records(
    prepared: &Prepared,
    stopped: &Stopped,
    wishes: &Wishes,
) -> Result<(Vec<(String, Vec<Record>)>, Report), Error> {
    let components: BTreeMap<&str, &(Component, Setup)> = prepared
        .pipeline
        .operators
        .iter()
        .map(|operator| operator.id.as_str())
        .zip(&prepared.components)
        .collect();
    let mut state: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    let mut old: BTreeMap<String, Entries> = BTreeMap::new();
    let mut report = Report::default();
    stopped.each(|id, key, entry| {
        if wishes.dropped.contains(id) {
            *report.dropped.entry(id.to_owned()).or_default() += 1;
            state.entry(id.to_owned()).or_default().push((key.into(), None));
            return Ok::<_, state::Error>(());
        }
        let now = wishes.renamed.get(id).map_or(id, String::as_str);
        if now != id {
            *report.renamed.entry(now.to_owned()).or_default() += 1;
            state.entry(id.to_owned()).or_default().push((key.into(), None));
        }
        let Some((component, _)) = components
            .get(now)
            .filter(|(component, _)| component.kind().is_stateful())
        else {
            return Ok(());
        };
        if entry.state_version != component.state_version() {
            *report.migrated.entry(now.to_owned()).or_default() += 1;
            old.entry(now.to_owned()).or_default().push((key.into(), entry));
        } else if now != id {
            state.entry(now.to_owned()).or_default().push((key.into(), Some(entry)));
        }
        Ok(())
    })?;
    for (id, entries) in old {
        let (component, setup) = components[id.as_str()];
        let migrated = migrate(&id, component, setup, entries).await?;
        state.entry(id).or_default().extend(migrated);
    }
    Ok((state.into_iter().collect(), report))
}

async fn migrate(id: &str, component: &Component, setup: &Setup, mut entries: Entries) -> Result<Vec<Record>, Error> {
    let to = component.state_version();
    let failed = |key: &[u8], from: u32, reason: String| Error::Unmigrated {
        operator: id.to_owned(),
        key: String::from_utf8_lossy(key).into_owned(),
        from,
        to,
        reason,
    };
    let unopened = |unopened| match unopened {
        Unopened::Refused(reason) => Error::Senseless(format!("operator `{id}` refuses its configuration: {reason}")),
        Unopened::Trapped(trap) => Error::Senseless(format!("operator `{id}` cannot be opened: {}", trap.reason)),
    };
    let mut instance = Instance::activate(component, setup, SLICE_FUEL)
        .await
        .map_err(unopened)?;
    entries.sort_by_key(|(_, entry)| entry.state_version);
    let mut records = Vec::with_capacity(entries.len());
    for same in entries.chunk_by(|(_, one), (_, next)| one.state_version == next.state_version) {
        for batch in same.chunks(BATCH_ENTRIES) {
            let (
                first,
                Entry {
                    state_version: from, ..
                },
            ) = &batch[0];
            let mut accumulators = Column::default();
            batch
                .iter()
                .for_each(|(_, entry)| accumulators.push(&entry.accumulator));
            let budget = Budget {
                total: setup.limits.fuel_per_event.saturating_mul(batch.len() as u64),
                slice: SLICE_FUEL,
            };
            let column = match instance.migrate(*from, &accumulators, budget).await {
                Ok(Ok(column)) => column,
                Ok(Err(failures)) => {
                    let failure = &failures[0];
                    let (key, _) = &batch[failure.index as usize];
                    return Err(failed(key, *from, failure.message.clone()));
                }
                Err(trap) => return Err(failed(first, *from, format!("{} (or one after it)", trap.reason))),
            };
            records.extend(batch.iter().zip(column.iter()).map(|((key, entry), accumulator)| {
                let entry = Entry {
                    state_version: to,
                    accumulator: accumulator.into(),
                    ..entry.clone()
                };
                (key.clone(), Some(entry))
            }));
        }
    }
    Ok(records)
}
