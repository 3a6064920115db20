//! What a pipeline is connected to, opened where an earlier run stopped.

use std::path::Path;
use std::sync::Arc;

use super::disks::Disks;
use super::location::StateLocation;
use super::outputs::{Outputs, stored};
use super::prepare::Prepared;
use super::projection;
use super::recovery::RecoveredBatches;
use super::start_error::StartError;
use dirigo_connect::sink::{self, Resume, Sink};
use dirigo_connect::source::{Keep, Opening, Source};
use dirigo_disk::Disk;
use dirigo_flow::{DeadLetterOffset, Projection};
use dirigo_ground::clock::Clock;
use dirigo_state::{self as state, Offsets, Snapshot, Store};

/// Events that a source reads into one batch at most: those of one turn, so that no turn has to join batches. What is there is read at
/// once, so that a batch waits for nothing.
pub(super) const BATCH_EVENTS: usize = 1024;

/// The folder in the directory of a pipeline's state in which its sources keep what cannot be asked for again.
const KEPT_BY_SOURCES: &str = "sources";
/// The folder in which its sinks keep what has yet to reach their media.
const KEPT_BY_SINKS: &str = "sinks";

/// The folder of a sink, next to the state in `directory`.
pub(super) fn kept_by_sink(disk: &Arc<dyn Disk>, directory: &Path, id: &str) -> Keep {
    Keep {
        disk: disk.clone(),
        folder: directory.join(KEPT_BY_SINKS).join(id),
    }
}

/// What a pipeline is connected to.
pub struct Connectors {
    /// By source.
    pub sources: Vec<Box<dyn Source>>,
    /// By sink.
    pub sinks: Vec<Box<dyn Sink>>,
    /// Opens the dead letters when the first one comes.
    pub dead_letters: Box<dyn FnOnce() -> Result<Box<dyn Sink>, sink::Error> + Send>,
    /// Where the dead letters go on.
    pub dead_letter_offset: DeadLetterOffset,
    /// Where state is kept.
    pub store: Store,
    /// What was on its way when the last run stopped.
    pub recovered_batches: RecoveredBatches,
    /// Whether this goes on from an earlier run.
    pub is_resumed: bool,
    /// Events that a source reads into one batch.
    pub batch_events: usize,
}

impl Connectors {
    /// Opens the sources and sinks of a pipeline, where the state in `location` says they stopped. That no two of them,
    /// and none of another pipeline, use one file was found with [`SideBySide`](dirigo_pipeline::SideBySide).
    ///
    /// # Errors
    /// When one of them, or the state, cannot be opened.
    pub fn open(prepared: &Prepared, clock: &Arc<dyn Clock>, location: &StateLocation) -> Result<Self, StartError> {
        let disks = Disks::of(&prepared.pipeline);
        Self::open_with(&disks, state::StoreOptions::default(), prepared, clock, location)
    }

    /// [`open`](Self::open) on another disk than the machine's. Sources still read that one.
    ///
    /// # Errors
    /// As there.
    pub fn open_on(
        disk: &Arc<dyn Disk>,
        options: state::StoreOptions,
        prepared: &Prepared,
        clock: &Arc<dyn Clock>,
        location: &StateLocation,
    ) -> Result<Self, StartError> {
        let disks = Disks::written_on(disk, &prepared.pipeline);
        Self::open_with(&disks, options, prepared, clock, location)
    }

    fn open_with(
        disks: &Disks,
        options: state::StoreOptions,
        prepared: &Prepared,
        clock: &Arc<dyn Clock>,
        location: &StateLocation,
    ) -> Result<Self, StartError> {
        let pipeline = &prepared.pipeline;
        let host = &disks.host;
        let (store, mut outputs) = match location {
            StateLocation::Temporary => {
                let outputs = Outputs::new(prepared, location, Offsets::default(), Offsets::default())?;
                (Store::temporary(), outputs)
            }
            StateLocation::Directory { path, fresh: true } => {
                let discarded = stored(&**host, path).ok().flatten().unwrap_or_default();
                let outputs = Outputs::new(prepared, location, Offsets::default(), discarded)?;
                // What cannot begin anew keeps its state.
                outputs.check(disks)?;
                (Store::open_emptied(host.clone(), path)?, outputs)
            }
            StateLocation::Directory { path, fresh: false } => {
                let store = Store::open_with(host.clone(), path, options)?;
                let known = store.offsets()?.unwrap_or_default();
                let outputs = Outputs::new(prepared, location, known, Offsets::default())?;
                (store, outputs)
            }
        };
        let is_resumed = store.offsets()?.is_some();
        let in_flight = store.take_in_flight()?;
        if in_flight.is_empty() {
            outputs.forget_attempts();
        }
        let known = &outputs.known;
        let projections = projection::of_sources(pipeline, &prepared.components);
        let open_source = |(source, projection): (&dirigo_pipeline::Source, &Projection)| {
            let opened = source.spec.open(Opening {
                id: &source.id,
                pipeline: &pipeline.name,
                tenant: &pipeline.tenant,
                key: source.key.as_ref(),
                time: source.time.as_ref(),
                reads: &projection.fields,
                clock: clock.clone(),
                from: known.sources.get(&source.id),
                is_continued: matches!(location, StateLocation::Directory { .. }),
                disk: &disks.sources,
                keep: location.directory().map(|directory| Keep {
                    disk: host.clone(),
                    folder: directory.join(KEPT_BY_SOURCES).join(&source.id),
                }),
            });
            opened.map_err(|reason| StartError::Source {
                id: source.id.clone(),
                reason,
            })
        };
        let open_sink = |sink: &dirigo_pipeline::Sink| {
            let fresh = || Resume::Fresh(outputs.beginning(&sink.id));
            let resume = known.sinks.get(&sink.id).map_or_else(fresh, Resume::At);
            let opened = sink.spec.open(sink::Opening {
                id: &sink.id,
                pipeline: &pipeline.name,
                tenant: &pipeline.tenant,
                from: resume,
                disk: &disks.sinks,
                clock,
                keep: location
                    .directory()
                    .map(|directory| kept_by_sink(host, directory, &sink.id)),
            });
            opened.map_err(|reason| StartError::sink(&sink.id, reason))
        };
        // What touches nothing comes first: neither a mistyped input, nor events without a place, nor an output that is
        // another's must empty an output.
        let recovered_batches = RecoveredBatches::read(in_flight.clone(), known, pipeline)?;
        let sources = pipeline.sources.iter().zip(&projections);
        let sources: Vec<_> = sources.map(open_source).collect::<Result<_, _>>()?;
        outputs.check(disks)?;
        let mut sinks: Vec<_> = pipeline.sinks.iter().map(open_sink).collect::<Result<_, _>>()?;
        let (dead_letters, dead_letter_offset) = outputs.open_dead_letters(disks, clock)?;
        if store.is_durable() {
            let mut begun = begin(known.clone(), &mut sinks, &dead_letter_offset, prepared)?;
            begin_sources(&mut begun, &sources, prepared);
            if begun != *known {
                store.commit(Snapshot {
                    in_flight,
                    offsets: begun,
                    ..Snapshot::default()
                })?;
            }
        }
        Ok(Self {
            sources,
            sinks,
            dead_letters,
            dead_letter_offset,
            store,
            recovered_batches,
            is_resumed,
            batch_events: BATCH_EVENTS,
        })
    }
}

/// Notes where each source begins that the state does not know: a run that is killed before its first checkpoint has read what the next one must
/// find again.
fn begin_sources(offsets: &mut Offsets, sources: &[Box<dyn Source>], prepared: &Prepared) {
    for (source, opened) in prepared.pipeline.sources.iter().zip(sources) {
        if !offsets.sources.contains_key(&source.id)
            && let Some(offset) = opened.offset()
        {
            offsets.sources.insert(source.id.clone(), offset);
        }
    }
}

/// What the state is to know before a sink writes anything: else what a run wrote that is killed before its first
/// checkpoint would be another's file to the next one. Returns what was known, and of each sink that has begun where it
/// begins.
pub(super) fn begin(
    known: Offsets,
    sinks: &mut [Box<dyn Sink>],
    dead_letters: &DeadLetterOffset,
    prepared: &Prepared,
) -> Result<Offsets, StartError> {
    let mut offsets = known;
    for (sink, opened) in prepared.pipeline.sinks.iter().zip(sinks) {
        if !offsets.sinks.contains_key(&sink.id) {
            let prepared = opened.prepare().and_then(sink::Prepared::synced);
            let published = prepared.and_then(|offset| opened.publish().map(|()| offset));
            if let Some(offset) = published.map_err(|reason| StartError::sink(&sink.id, reason))? {
                offsets.sinks.insert(sink.id.clone(), offset);
            }
        }
    }
    let dead_letters = serde_json::to_value(dead_letters).expect("a position is plain JSON");
    offsets.dead_letters = Some(dead_letters);
    offsets.pipeline = Some(prepared.description.to_json());
    Ok(offsets)
}
