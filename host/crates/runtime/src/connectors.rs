//! What a pipeline is connected to, opened where an earlier run stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::compatibility;
use super::recovery::RecoveredBatches;
use dirigo_connect::sink::{self, Resume, Sink};
use dirigo_connect::source::{self, Opening, Source};
use dirigo_connectors::file::LineFile;
use dirigo_disk::{self as disk, Disk, PathKind, Usage};
use dirigo_flow::DeadLetterOffset;
use dirigo_ground::clock::Clock;
use dirigo_pipeline::Pipeline;
use dirigo_state::{self as state, Store};

/// Events that a source reads into one batch: few enough that the first leave soon, enough that a turn costs little by
/// comparison.
pub(super) const BATCH_EVENTS: usize = 256;
/// The dead letters within the state directory, unless the pipeline says where they go.
pub(super) const DEAD_LETTERS_FILE: &str = "dead-letters.jsonl";

/// Where a pipeline's state is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateLocation {
    /// Nowhere: it ends with the run.
    Temporary,
    /// In a directory of the pipeline's own.
    Directory {
        /// Which.
        path: PathBuf,
        /// Whether what is there is discarded first.
        fresh: bool,
    },
}

/// Where files are.
struct Disks {
    /// Those of the host itself: state, and dead letters within it.
    host: Arc<dyn Disk>,
    /// Those that sinks write, and dead letters whose place the pipeline says.
    sinks: Arc<dyn Disk>,
    /// Those that sources read.
    sources: Arc<dyn Disk>,
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

/// Why a pipeline cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A source cannot be opened.
    #[error("source `{id}`: {reason}")]
    Source {
        /// Which.
        id: String,
        /// Why.
        reason: source::Error,
    },
    /// A sink cannot be opened.
    #[error("sink `{id}`: {reason}")]
    Sink {
        /// Which.
        id: String,
        /// Why.
        reason: sink::Error,
    },
    /// The state cannot be opened.
    #[error(transparent)]
    State(#[from] state::Error),
    /// Old dead letters cannot be removed.
    #[error("cannot remove {}: {reason}", .path.display())]
    Remove {
        /// What.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// What is stored is not what this version writes.
    #[error("the stored {what} cannot be read; `--fresh` discards the state")]
    Unreadable {
        /// Which part.
        what: &'static str,
    },
    /// What was on its way in the last run has nowhere to go.
    #[error(
        "{events} events were on their way to `{item}` when the last run stopped, and the pipeline has none of that name"
    )]
    Orphaned {
        /// Where they were.
        item: String,
        /// How many.
        events: usize,
    },
    /// The dead letters cannot be opened.
    #[error("dead letters: {reason}")]
    DeadLetters {
        /// Why.
        reason: sink::Error,
    },
}

impl Connectors {
    /// Opens the sources and sinks of `pipeline`, where the state in `location` says they stopped. That no two of them,
    /// and none of another pipeline, use one file was found with [`conflicts`](dirigo_pipeline::conflicts).
    ///
    /// # Errors
    /// When one of them, or the state, cannot be opened.
    pub fn open(pipeline: &Pipeline, clock: &Arc<dyn Clock>, location: &StateLocation) -> Result<Self, StartError> {
        let disks = Disks {
            host: Arc::new(disk::Real),
            sinks: pipeline.access.disk(Usage::Write),
            sources: pipeline.access.disk(Usage::Read),
        };
        Self::open_with(&disks, state::StoreOptions::default(), pipeline, clock, location)
    }

    /// [`open`](Self::open) on another disk than the machine's. Sources still read that one.
    ///
    /// # Errors
    /// As there.
    pub fn open_on(
        disk: &Arc<dyn Disk>,
        options: state::StoreOptions,
        pipeline: &Pipeline,
        clock: &Arc<dyn Clock>,
        location: &StateLocation,
    ) -> Result<Self, StartError> {
        let disks = Disks {
            host: disk.clone(),
            sinks: disk.clone(),
            sources: pipeline.access.disk(Usage::Read),
        };
        Self::open_with(&disks, options, pipeline, clock, location)
    }

    fn open_with(
        disks: &Disks,
        options: state::StoreOptions,
        pipeline: &Pipeline,
        clock: &Arc<dyn Clock>,
        location: &StateLocation,
    ) -> Result<Self, StartError> {
        let Disks {
            host: disk,
            sinks: sink_disk,
            sources: source_disk,
        } = disks;
        let sink_error = |sink: &dirigo_pipeline::Sink, reason| StartError::Sink {
            id: sink.id.clone(),
            reason,
        };
        let store = match location {
            StateLocation::Temporary => Store::temporary(),
            StateLocation::Directory { path, fresh: true } => {
                // What cannot begin anew keeps its state.
                for sink in &pipeline.sinks {
                    sink.spec
                        .check(&**sink_disk)
                        .map_err(|reason| sink_error(sink, reason))?;
                }
                Store::open_emptied(disk.clone(), path)?
            }
            StateLocation::Directory { path, fresh: false } => Store::open_with(disk.clone(), path, options)?,
        };
        let offsets = store.offsets()?;
        let known = offsets.clone().unwrap_or_default();
        let open_source = |source: &dirigo_pipeline::Source| {
            let opened = source.spec.open(Opening {
                key: source.key.as_ref(),
                time: source.time.as_ref(),
                clock: clock.clone(),
                from: known.sources.get(&source.id),
                disk: source_disk,
            });
            opened.map_err(|reason| StartError::Source {
                id: source.id.clone(),
                reason,
            })
        };
        let open_sink = |sink: &dirigo_pipeline::Sink| {
            let resume = known.sinks.get(&sink.id).map_or(Resume::Fresh, Resume::At);
            let opened = sink.spec.open(resume, sink_disk, clock);
            opened.map_err(|reason| sink_error(sink, reason))
        };
        // What touches nothing comes first: neither a mistyped input nor events without a place must empty an output.
        let recovered_batches = RecoveredBatches::read(store.take_in_flight()?, &known, pipeline)?;
        let sources = pipeline.sources.iter().map(open_source).collect::<Result<_, _>>()?;
        let sinks = pipeline.sinks.iter().map(open_sink).collect::<Result<_, _>>()?;
        if let StateLocation::Directory { path, fresh: true } = location {
            remove_dead_letters(&path.join(DEAD_LETTERS_FILE), disk)?;
        }
        let dead_letters = dead_letters_path(pipeline, location);
        // Those in the state directory are at a place of the host's choice; any other is the pipeline's.
        let letter_disk = match location {
            StateLocation::Directory { path, .. } if dead_letters == path.join(DEAD_LETTERS_FILE) => disk,
            _ => sink_disk,
        };
        let have_moved =
            compatibility::have_dead_letters_moved(known.pipeline.as_ref(), pipeline, &dead_letters, location);
        let (dead_letters, dead_letter_offset) =
            open_dead_letters(dead_letters, known.dead_letters.clone(), have_moved, letter_disk)?;
        let is_resumed = offsets.is_some();
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

/// Where the dead letters of `pipeline` go.
#[must_use]
pub fn dead_letters_path(pipeline: &Pipeline, location: &StateLocation) -> PathBuf {
    match (&pipeline.dead_letters, location) {
        (Some(path), _) => path.clone(),
        (None, StateLocation::Directory { path, .. }) => path.join(DEAD_LETTERS_FILE),
        (None, StateLocation::Temporary) => {
            let name = format!("{}.dead.jsonl", pipeline.name);
            pipeline.access.default_folder().join(name)
        }
    }
}

type OpenDeadLetters = Box<dyn FnOnce() -> Result<Box<dyn Sink>, sink::Error> + Send>;

fn open_dead_letters(
    path: PathBuf,
    known: Option<serde_json::Value>,
    have_moved: bool,
    disk: &Arc<dyn Disk>,
) -> Result<(OpenDeadLetters, DeadLetterOffset), StartError> {
    let known: Option<DeadLetterOffset> =
        known
            .map(serde_json::from_value)
            .transpose()
            .map_err(|_| StartError::Unreadable {
                what: "position of the dead letters",
            })?;
    let mut from = known.unwrap_or_else(DeadLetterOffset::fresh);
    if have_moved {
        // They are counted on, in a file of their own.
        from.file = None;
    }
    if let Some(file) = &from.file
        && file["length"].as_u64() > Some(0)
        && matches!(disk.look(&path), Ok(PathKind::Missing | PathKind::File(0)))
    {
        // A user who is done with them may clear them; the ids of the next ones are still others.
        tracing::warn!(
            "the dead letters in {} were taken away: the file begins anew",
            path.display()
        );
        from.file = None;
    }
    if from.file.is_none() {
        // Those of an earlier run would pass for this one's.
        remove_dead_letters(&path, disk)?;
    }
    // What an earlier run wrote after its last checkpoint goes now, also where no dead letter comes.
    if let Some(file) = &from.file {
        let opened = LineFile::open(&path, Resume::At(file), disk);
        let opened = opened.map_err(|reason| StartError::DeadLetters { reason: reason.into() })?;
        return Ok((Box::new(move || Ok(Box::new(opened))), from));
    }
    let disk = disk.clone();
    let open =
        move || -> Result<Box<dyn Sink>, sink::Error> { Ok(Box::new(LineFile::open(&path, Resume::Fresh, &disk)?)) };
    Ok((Box::new(open), from))
}

/// Removes the dead letters of an earlier run. A device or a pipe has none: it stays.
fn remove_dead_letters(path: &Path, disk: &Arc<dyn Disk>) -> Result<(), StartError> {
    let remove = || -> std::io::Result<()> {
        match disk.look(path)? {
            // What a symbolic link leads to, not the link.
            PathKind::File(_) | PathKind::Folder => disk.remove(&path.canonicalize()?),
            PathKind::Missing | PathKind::Other => Ok(()),
        }
    };
    match remove() {
        Err(reason) if reason.kind() != std::io::ErrorKind::NotFound => Err(StartError::Remove {
            path: path.to_owned(),
            reason,
        }),
        _ => Ok(()),
    }
}
