//! Migrates the state of a stopped pipeline to one that was changed on purpose.
//!
//! Owns the options for a difference that [`compatibility`] found, and the one commit that makes
//! it so: renamed and dropped parts, restarted sources, accepted changes, and every entry of an older version migrated.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::SLICE_FUEL;
use super::compatibility::{self, Description, Incompatible};
use super::in_flight::{self, InFlightCounts};
use super::prepare::Prepared;
use super::wiring;
use dirigo_disk as disk;
use dirigo_engine::{Budget, Component, Instance, Setup, Unopened};
use dirigo_ground::batch::Column;
use dirigo_state::{self as state, Entry, EntryForm, Offsets, Record, Snapshot, Stopped, Store};

/// Entries that are migrated in one call.
const BATCH_ENTRIES: usize = 256;

/// Entries by key.
type Entries = Vec<(Box<[u8]>, Entry)>;

/// What to do about the differences.
#[derive(Clone, Debug, Default)]
pub struct MigrationOptions {
    /// Operators, sources and sinks that have another name now, by the old one.
    pub renamed: BTreeMap<String, String>,
    /// Operators, sources and sinks that are gone, with what is kept of them.
    pub dropped: BTreeSet<String>,
    /// Those whose settings changed, which shall go on from what there is all the same.
    pub accepted: BTreeSet<String>,
    /// Sources that are read from their start again.
    pub restarted: BTreeSet<String>,
}

/// What was done, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// By operator: entries that were brought to the version that its component writes.
    pub migrated: BTreeMap<String, u64>,
    /// By the old name of an operator, source or sink.
    pub renamed: BTreeMap<String, Renamed>,
    /// By operator: entries that were deleted.
    pub dropped: BTreeMap<String, u64>,
    /// By operator, source or sink: events that were on their way to it or from it, and were deleted.
    pub dropped_in_flight: BTreeMap<String, u64>,
    /// Sinks that begin in another place, which has nothing yet.
    pub begun: BTreeSet<String>,
    /// Sources that are read from their start.
    pub restarted: BTreeSet<String>,
}

/// Something that has another name now.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Renamed {
    /// The new name.
    pub to: String,
    /// Entries that went with it.
    pub entries: u64,
}

/// Why a state was not migrated. It is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A difference remains that nothing was said about, or that nothing helps.
    #[error(transparent)]
    Incompatible(#[from] Incompatible),
    /// The state cannot be read or written.
    #[error(transparent)]
    State(#[from] state::Error),
    /// What was said makes no sense for this state.
    #[error("{0}")]
    Invalid(String),
    /// A sink has another place now, and that is not empty.
    #[error("`--accept {sink}`: the sink would start in {what} and overwrite it: move it away, or remove it")]
    Occupied {
        /// The sink.
        sink: String,
        /// What is there.
        what: String,
    },
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

/// Migrates the state in `directory` to a pipeline, unless `is_dry`: then it only reports what would be done.
///
/// # Errors
/// When the pipeline does not fit the state even with these options, or an entry cannot be migrated.
pub async fn migrate_state(
    prepared: &Prepared,
    directory: &Path,
    options: &MigrationOptions,
    is_dry: bool,
) -> Result<Report, Error> {
    let stopped = Stopped::open(&disk::Real, directory)?;
    let mut offsets = stopped.offsets()?;
    let old = offsets.pipeline.as_ref().and_then(Description::from_json);
    let old = old.ok_or(Incompatible::Undescribed)?;
    let new = &prepared.description;
    let waiting = InFlightCounts::count(stopped.in_flight())?;
    let expected = old
        .clone()
        .with_options(options, new, &waiting)
        .map_err(Error::Invalid)?;
    keep_what_is_in_time(&old, new, options)?;
    let gone = options.dropped.iter().filter(|id| !new.has(id)).cloned().collect();
    let (in_flight, dropped_in_flight) = in_flight::changed(stopped.in_flight(), &gone, &options.renamed)?;
    let differences = expected.differences(new, &InFlightCounts::count(&in_flight)?);
    if !differences.is_empty() {
        return Err(Incompatible::Changed(Box::new(compatibility::report(prepared, directory, &differences))).into());
    }
    let (state, mut report) = records(prepared, &stopped, options).await?;
    drop(stopped);
    report.dropped_in_flight = dropped_in_flight;
    move_offsets(&mut offsets, options);
    let still_waiting = InFlightCounts::count(&in_flight)?;
    for source in &options.restarted {
        restart(&mut offsets, source, new, &still_waiting)?;
        report.restarted.insert(source.clone());
    }
    let unaccepted = MigrationOptions {
        accepted: BTreeSet::new(),
        ..options.clone()
    };
    let named = old
        .clone()
        .with_options(&unaccepted, new, &waiting)
        .map_err(Error::Invalid)?;
    for sink in &prepared.pipeline.sinks {
        let is_accepted = options.accepted.contains(&sink.id) && offsets.sinks.contains_key(&sink.id);
        if is_accepted && !named.has_same_sink(&sink.id, new) {
            // Its position is one in another file. A user who has moved that there, or has another one, must not lose
            // it.
            if let Some(what) = sink.spec.content(&disk::Real) {
                return Err(Error::Occupied {
                    sink: sink.id.clone(),
                    what,
                });
            }
            offsets.sinks.remove(&sink.id);
            report.begun.insert(sink.id.clone());
        }
    }
    if old.has_other_dead_letters(new)
        && let Some(dead_letters) = &mut offsets.dead_letters
    {
        // Where they end is known of the file that they were in; they are counted on in the new one.
        dead_letters["file"] = serde_json::Value::Null;
    }
    offsets.pipeline = Some(new.to_json());
    if !is_dry {
        let store = Store::open(Arc::new(disk::Real), directory)?;
        store.commit(Snapshot {
            state,
            in_flight,
            offsets,
        })?;
    }
    Ok(report)
}

/// Refuses that what an operator keeps in time becomes something else, or that something else becomes that: what is kept of one fits no other.
fn keep_what_is_in_time(old: &Description, new: &Description, options: &MigrationOptions) -> Result<(), Error> {
    for id in &options.accepted {
        let before = options
            .renamed
            .iter()
            .find(|(_, now)| *now == id)
            .map_or(id, |(before, _)| before);
        let is_in_time = [old.entry_form(before), new.entry_form(id)] != [EntryForm::Window; 2];
        if old.has_operator(before) && new.has_operator(id) && is_in_time && !old.has_same_windows(before, new, id) {
            return Err(Error::Invalid(format!(
                "`--accept {id}`: what is kept of a process, or of windows in time, cannot become that of another kind of operator or of other \
                 windows; `--drop {id}` begins with none"
            )));
        }
    }
    Ok(())
}

/// Forgets the positions of what is dropped, and gives the others their names.
fn move_offsets(offsets: &mut Offsets, options: &MigrationOptions) {
    for id in &options.dropped {
        offsets.sources.remove(id);
        offsets.next_positions.remove(id);
        offsets.watermarks.remove(id);
        offsets.sinks.remove(id);
        offsets.open_windows.remove(id);
    }
    for (old, now) in &options.renamed {
        for places in [&mut offsets.sources, &mut offsets.sinks] {
            if let Some(place) = places.remove(old) {
                places.insert(now.clone(), place);
            }
        }
        if let Some(position) = offsets.next_positions.remove(old) {
            offsets.next_positions.insert(now.clone(), position);
        }
        if let Some(watermark) = offsets.watermarks.remove(old) {
            offsets.watermarks.insert(now.clone(), watermark);
        }
        if let Some(open) = offsets.open_windows.remove(old) {
            offsets.open_windows.insert(now.clone(), open);
        }
    }
}

/// Forgets where a source had been read to. Its positions begin again, so none of the old ones may be on its way: a sink in
/// the order of the source would wait for what is long through.
fn restart(offsets: &mut Offsets, source: &str, new: &Description, waiting: &InFlightCounts) -> Result<(), Error> {
    if !new.has_source(source) {
        return Err(Error::Invalid(format!(
            "`--restart {source}`: the pipeline has no source `{source}`"
        )));
    }
    if let Some(events) = waiting.of.get(source) {
        return Err(Error::Invalid(format!(
            "`--restart {source}`: {events} events of it are still on their way; run the pipeline once more over what it read \
             before, and end that run with Ctrl-C"
        )));
    }
    offsets.sources.remove(source);
    offsets.next_positions.remove(source);
    // What it read before is read again: it is not late.
    offsets.watermarks.remove(source);
    Ok(())
}

/// Every entry that changes, by operator, and how many there are.
async fn records(
    prepared: &Prepared,
    stopped: &Stopped,
    options: &MigrationOptions,
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
    let renamed = options.renamed.iter().map(|(old, now)| {
        let (to, entries) = (now.clone(), 0);
        (old.clone(), Renamed { to, entries })
    });
    let mut report = Report {
        renamed: renamed.collect(),
        ..Report::default()
    };
    stopped.each(|id, key, entry| {
        if options.dropped.contains(id) {
            *report.dropped.entry(id.to_owned()).or_default() += 1;
            state.entry(id.to_owned()).or_default().push((key.into(), None));
            return Ok::<_, state::Error>(());
        }
        let now = options.renamed.get(id).map_or(id, String::as_str);
        if now != id {
            let renamed = report.renamed.get_mut(id).expect("each renamed part has its line");
            renamed.entries += 1;
            state.entry(id.to_owned()).or_default().push((key.into(), None));
        }
        let Some((component, _)) = components
            .get(now)
            .filter(|(component, _)| component.kind().is_stateful())
        else {
            return Ok(());
        };
        let written = component.state_version();
        let accumulators = entry.accumulators(wiring::entry_form(&prepared.pipeline, now));
        if accumulators.iter().any(|(version, _)| *version != written) {
            *report.migrated.entry(now.to_owned()).or_default() += 1;
            old.entry(now.to_owned()).or_default().push((key.into(), entry));
        } else if now != id {
            state.entry(now.to_owned()).or_default().push((key.into(), Some(entry)));
        }
        Ok(())
    })?;
    for (id, entries) in old {
        let (component, setup) = components[id.as_str()];
        let migrated = migrate(
            &id,
            component,
            setup,
            entries,
            wiring::entry_form(&prepared.pipeline, &id),
        )
        .await?;
        state.entry(id).or_default().extend(migrated);
    }
    Ok((state.into_iter().collect(), report))
}

/// An accumulator to be migrated: its entry, and which of the entry's it is.
struct Stale<'a> {
    entry: usize,
    place: usize,
    from: u32,
    accumulator: &'a [u8],
}

async fn migrate(
    id: &str,
    component: &Component,
    setup: &Setup,
    entries: Entries,
    form: EntryForm,
) -> Result<Vec<Record>, Error> {
    let to = component.state_version();
    let failed = |entry: usize, from: u32, reason: String| Error::Unmigrated {
        operator: id.to_owned(),
        key: String::from_utf8_lossy(&entries[entry].0).into_owned(),
        from,
        to,
        reason,
    };
    let unopened = |unopened: Unopened| Error::Invalid(format!("operator `{id}` {unopened}"));
    let mut instance = Instance::activate(component, setup, SLICE_FUEL)
        .await
        .map_err(unopened)?;
    let mut written: Vec<Vec<Vec<u8>>> = Vec::with_capacity(entries.len());
    let mut stale: Vec<Stale<'_>> = Vec::new();
    for (number, (_, entry)) in entries.iter().enumerate() {
        let accumulators = entry.accumulators(form);
        written.push(accumulators.iter().map(|(_, bytes)| bytes.to_vec()).collect());
        let of_entry = accumulators.into_iter().enumerate();
        stale.extend(
            of_entry
                .filter(|(_, (from, _))| *from != to)
                .map(|(place, (from, accumulator))| Stale {
                    entry: number,
                    place,
                    from,
                    accumulator,
                }),
        );
    }
    stale.sort_by_key(|stale| stale.from);
    for same in stale.chunk_by(|one, next| one.from == next.from) {
        for batch in same.chunks(BATCH_ENTRIES) {
            let first = &batch[0];
            let mut accumulators = Column::default();
            batch.iter().for_each(|stale| accumulators.push(stale.accumulator));
            let budget = Budget {
                total: setup.limits.fuel_per_event.saturating_mul(batch.len() as u64),
                slice: SLICE_FUEL,
            };
            let column = match instance.migrate(first.from, &accumulators, budget).await {
                Ok(Ok(column)) => column,
                Ok(Err(failures)) => {
                    let failure = &failures[0];
                    let stale = &batch[failure.index as usize];
                    return Err(failed(stale.entry, stale.from, failure.message.clone()));
                }
                Err(trap) => {
                    let reason = format!("{} (or one after it)", trap.reason);
                    return Err(failed(first.entry, first.from, reason));
                }
            };
            for (stale, accumulator) in batch.iter().zip(column.iter()) {
                written[stale.entry][stale.place] = accumulator.to_vec();
            }
        }
    }
    let records = entries.iter().zip(&written);
    let records = records.map(|((key, entry), accumulators)| {
        let entry = entry.with_accumulators(form, accumulators, to);
        (key.clone(), Some(entry))
    });
    Ok(records.collect())
}
