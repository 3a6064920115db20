//! What a pipeline is connected to, opened where an earlier run stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::continuity;
use super::recovery::InTransit;
use dirigo_connect::sink::{self, Resume, Sink};
use dirigo_connect::source::{self, Opening, Source};
use dirigo_connectors::file::LineFile;
use dirigo_disk::{self as disk, Disk, Entry};
use dirigo_flow::LettersBookmark;
use dirigo_ground::clock::Clock;
use dirigo_pipeline::Pipeline;
use dirigo_state::{self as state, Store};

/// Events that a source reads into one batch: few enough that the first leave soon, enough that a turn costs little beside
/// them.
pub(super) const BATCH_EVENTS: usize = 256;
/// The dead letters within the state directory, unless the pipeline says where they go.
pub(super) const LETTERS_FILE: &str = "dead-letters.jsonl";

/// Where a pipeline's state is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
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

/// What a pipeline is connected to.
pub struct Connectors {
    /// By source.
    pub sources: Vec<Box<dyn Source>>,
    /// By sink.
    pub sinks: Vec<Box<dyn Sink>>,
    /// Opens the dead letters when the first one comes.
    pub letters: Box<dyn FnOnce() -> Result<Box<dyn Sink>, sink::Error> + Send>,
    /// Where the dead letters go on.
    pub letters_from: LettersBookmark,
    /// Where state is kept.
    pub store: Store,
    /// What was on its way when the last run stopped.
    pub in_transit: InTransit,
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
    Letters {
        /// Why.
        reason: sink::Error,
    },
}

impl Connectors {
    /// Opens the sources and sinks of `pipeline`, where the state in `place` says they stopped. That no two of them, and
    /// none of another pipeline, use one file was found with [`conflicts`](dirigo_pipeline::conflicts).
    ///
    /// # Errors
    /// When one of them, or the state, cannot be opened.
    pub fn open(pipeline: &Pipeline, clock: &Arc<dyn Clock>, place: &Place) -> Result<Self, StartError> {
        let disk: Arc<dyn Disk> = Arc::new(disk::Real);
        Self::open_on(&disk, state::Options::default(), pipeline, clock, place)
    }

    /// [`open`](Self::open) on another disk than the machine's. Sources still read that one.
    ///
    /// # Errors
    /// As there.
    pub fn open_on(
        disk: &Arc<dyn Disk>,
        options: state::Options,
        pipeline: &Pipeline,
        clock: &Arc<dyn Clock>,
        place: &Place,
    ) -> Result<Self, StartError> {
        let sink_error = |sink: &dirigo_pipeline::Sink, reason| StartError::Sink {
            id: sink.id.clone(),
            reason,
        };
        let store = match place {
            Place::Temporary => Store::temporary(),
            Place::Directory { path, fresh: true } => {
                // What cannot begin anew keeps its state.
                for sink in &pipeline.sinks {
                    sink.spec.check(&**disk).map_err(|reason| sink_error(sink, reason))?;
                }
                Store::open_emptied(disk.clone(), path)?
            }
            Place::Directory { path, fresh: false } => Store::open_with(disk.clone(), path, options)?,
        };
        let bookmarks = store.bookmarks()?;
        let known = bookmarks.clone().unwrap_or_default();
        let open_source = |source: &dirigo_pipeline::Source| {
            let opened = source.spec.open(Opening {
                key: source.key.as_ref(),
                time: source.time.as_ref(),
                clock: clock.clone(),
                from: known.sources.get(&source.id),
            });
            opened.map_err(|reason| StartError::Source {
                id: source.id.clone(),
                reason,
            })
        };
        let open_sink = |sink: &dirigo_pipeline::Sink| {
            let resume = known.sinks.get(&sink.id).map_or(Resume::Fresh, Resume::At);
            let opened = sink.spec.open(resume, disk, clock);
            opened.map_err(|reason| sink_error(sink, reason))
        };
        // What touches nothing comes first: neither a mistyped input nor events without a place must empty an output.
        let in_transit = InTransit::read(store.take_in_flight()?, &known, pipeline)?;
        let sources = pipeline.sources.iter().map(open_source).collect::<Result<_, _>>()?;
        let sinks = pipeline.sinks.iter().map(open_sink).collect::<Result<_, _>>()?;
        if let Place::Directory { path, fresh: true } = place {
            remove_letters(&path.join(LETTERS_FILE))?;
        }
        let letters = letters_path(pipeline, place);
        let have_moved = continuity::have_letters_moved(known.pipeline.as_ref(), pipeline, &letters, place);
        let (letters, letters_from) = open_letters(letters, known.dead_letters.clone(), have_moved, disk)?;
        let is_resumed = bookmarks.is_some();
        Ok(Self {
            sources,
            sinks,
            letters,
            letters_from,
            store,
            in_transit,
            is_resumed,
            batch_events: BATCH_EVENTS,
        })
    }
}

/// Where the dead letters of `pipeline` go.
#[must_use]
pub fn letters_path(pipeline: &Pipeline, place: &Place) -> PathBuf {
    match (&pipeline.dead_letters, place) {
        (Some(path), _) => path.clone(),
        (None, Place::Directory { path, .. }) => path.join(LETTERS_FILE),
        (None, Place::Temporary) => PathBuf::from(format!("{}.dead.jsonl", pipeline.name)),
    }
}

type OpenLetters = Box<dyn FnOnce() -> Result<Box<dyn Sink>, sink::Error> + Send>;

fn open_letters(
    path: PathBuf,
    known: Option<serde_json::Value>,
    have_moved: bool,
    disk: &Arc<dyn Disk>,
) -> Result<(OpenLetters, LettersBookmark), StartError> {
    let known: Option<LettersBookmark> =
        known
            .map(serde_json::from_value)
            .transpose()
            .map_err(|_| StartError::Unreadable {
                what: "position of the dead letters",
            })?;
    let mut from = known.unwrap_or_else(LettersBookmark::fresh);
    if have_moved {
        // They are counted on, in a file of their own.
        from.file = None;
    }
    if let Some(file) = &from.file
        && file["length"].as_u64() > Some(0)
        && matches!(disk.look(&path), Ok(Entry::Missing | Entry::File(0)))
    {
        // Whoever is done with them may clear them; the ids of the next ones are still others.
        tracing::warn!(
            "the dead letters in {} were taken away: the file begins anew",
            path.display()
        );
        from.file = None;
    }
    if from.file.is_none() {
        // Those of an earlier run would pass for this one's.
        remove_letters(&path)?;
    }
    // What an earlier run wrote after its last checkpoint goes now, also where no dead letter comes.
    if let Some(file) = &from.file {
        let opened = LineFile::open(&path, Resume::At(file), disk);
        let opened = opened.map_err(|reason| StartError::Letters { reason: reason.into() })?;
        return Ok((Box::new(move || Ok(Box::new(opened))), from));
    }
    let disk = disk.clone();
    let open =
        move || -> Result<Box<dyn Sink>, sink::Error> { Ok(Box::new(LineFile::open(&path, Resume::Fresh, &disk)?)) };
    Ok((Box::new(open), from))
}

/// Removes the dead letters of an earlier run. A device or a pipe has none: it stays.
fn remove_letters(path: &Path) -> Result<(), StartError> {
    let remove = || -> std::io::Result<()> {
        // What a symbolic link leads to, not the link.
        let path = path.canonicalize()?;
        let file = path.metadata()?.file_type();
        if file.is_file() || file.is_dir() {
            std::fs::remove_file(path)?;
        }
        Ok(())
    };
    match remove() {
        Err(reason) if reason.kind() != std::io::ErrorKind::NotFound => Err(StartError::Remove {
            path: path.to_owned(),
            reason,
        }),
        _ => Ok(()),
    }
}
