//! Where a pipeline writes, and what a run does to what is there.
//!
//! Owns the rule that nothing is replaced but what the pipeline wrote: with state, that is what the state knows; without,
//! what the sinks find marked. Knows of a file no more than its sink says.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::compatibility::{self, Description};
use super::disks::Disks;
use super::letter_file;
use super::location::{DEAD_LETTERS_FILE, StateLocation, dead_letters_path};
use super::prepare::Prepared;
use super::projection;
use super::recovery::RecoveredBatches;
use super::start_error::StartError;
use dirigo_connect::sink::{self, Beginning, Offset, Resume, Sink, SinkSpec as _};
use dirigo_connect::source::Opening;
use dirigo_connectors::file::{FileFormat, LinesSpec};
use dirigo_disk::{self as disk, Disk, PathKind};
use dirigo_flow::{Attempts, DeadLetterOffset};
use dirigo_ground::clock::Clock;
use dirigo_pipeline::{IfExists, Pipeline};
use dirigo_state::{self as state, Offsets};

/// Opens the dead letters when the first one comes.
type OpenDeadLetters = Box<dyn FnOnce() -> Result<Box<dyn Sink>, sink::Error> + Send>;

/// What a run of a pipeline does to each file that it writes: a line for each. Found out without touching anything.
///
/// # Errors
/// When a file is there that is not the pipeline's, or the state cannot be read.
pub fn foresee(prepared: &Prepared, location: &StateLocation) -> Result<Vec<String>, StartError> {
    let (mut known, mut discarded) = (Offsets::default(), Offsets::default());
    if let StateLocation::Directory { path, fresh } = location {
        match stored(&disk::Real, path) {
            Ok(stored) if *fresh => discarded = stored.unwrap_or_default(),
            Ok(stored) => known = stored.unwrap_or_default(),
            Err(_) if *fresh => {}
            Err(error) => return Err(error.into()),
        }
    }
    Outputs::new(prepared, location, known, discarded)?.check(&Disks::of(&prepared.pipeline))
}

/// Whether the sources could be read on, and what was on its way put back, as the state in `location` says. Opens the sources, and
/// closes them again; one that gives nothing twice is left alone.
///
/// # Errors
/// When one of them cannot be opened or has changed in what was read of it, events have no place to go, or the state cannot be read.
pub fn try_sources(prepared: &Prepared, clock: &Arc<dyn Clock>, location: &StateLocation) -> Result<(), StartError> {
    let pipeline = &prepared.pipeline;
    let disk = Disks::of(pipeline).sources;
    let mut known = Offsets::default();
    if let StateLocation::Directory { path, fresh: false } = location
        && let Some(stopped) = state::stopped(&disk::Real, path)?
    {
        known = stopped.offsets()?;
        RecoveredBatches::read(stopped.in_flight().to_vec(), &known, pipeline)?;
    }
    let projections = projection::of_sources(pipeline, &prepared.components);
    let sources = pipeline.sources.iter().zip(&projections);
    for (source, projection) in sources.filter(|(source, _)| source.spec.can_be_read_again(&*disk)) {
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
            disk: &disk,
            keep: None,
        });
        opened.map_err(|reason| StartError::Source {
            id: source.id.clone(),
            reason,
        })?;
    }
    Ok(())
}

/// What the state in a directory knows of sources and sinks, if there is any.
pub(super) fn stored(disk: &dyn Disk, directory: &Path) -> Result<Option<Offsets>, state::Error> {
    state::stopped(disk, directory)?
        .map(|stopped| stopped.offsets())
        .transpose()
}

/// Where a pipeline writes, and what its state knows of that.
pub(super) struct Outputs<'a> {
    pipeline: &'a Pipeline,
    keeps_state: bool,
    /// Whether it adds to what the last run wrote.
    goes_on: bool,
    /// What the run goes on from.
    pub(super) known: Offsets,
    /// What it discards, of the sinks that write where they did.
    discarded: Offsets,
    dead_letters: DeadLetterFile,
}

/// The file of the dead letters.
struct DeadLetterFile {
    path: PathBuf,
    /// Whether it is in the state directory, at a place of the host's choice; any other is the pipeline's.
    is_in_state: bool,
    if_exists: Option<IfExists>,
    /// Where they go on; without a `file` it begins.
    from: DeadLetterOffset,
    /// Where they ended in what the run discards.
    discarded: Option<Offset>,
}

impl<'a> Outputs<'a> {
    /// The outputs of a pipeline whose state knows `known`, after `discarded` was discarded.
    pub(super) fn new(
        prepared: &'a Prepared,
        location: &StateLocation,
        known: Offsets,
        mut discarded: Offsets,
    ) -> Result<Self, StartError> {
        let pipeline = &prepared.pipeline;
        let path = dead_letters_path(pipeline, location);
        let have_moved = |offsets: &Offsets| {
            compatibility::have_dead_letters_moved(offsets.pipeline.as_ref(), pipeline, &path, location)
        };
        let mut from = dead_letter_offset(&known)?.unwrap_or_else(DeadLetterOffset::fresh);
        if have_moved(&known) {
            // They are counted on, in a file of their own.
            from.file = None;
        }
        let discarded_letters = dead_letter_offset(&discarded).ok().flatten();
        let discarded_letters = discarded_letters.filter(|_| !have_moved(&discarded));
        let before = discarded.pipeline.as_ref().and_then(Description::from_json);
        discarded.sinks.retain(|id, _| {
            let is_same = |before: &Description| before.has_same_sink(id, &prepared.description);
            before.as_ref().is_some_and(is_same)
        });
        let is_in_state =
            matches!(location, StateLocation::Directory { path: own, .. } if path == own.join(DEAD_LETTERS_FILE));
        Ok(Self {
            pipeline,
            keeps_state: *location != StateLocation::Temporary,
            goes_on: false,
            known,
            discarded,
            dead_letters: DeadLetterFile {
                path,
                is_in_state,
                if_exists: if is_in_state {
                    Some(IfExists::Overwrite)
                } else {
                    pipeline.dead_letters_if_exists
                },
                from,
                discarded: discarded_letters.and_then(|letters| letters.file),
            },
        })
    }

    /// The outputs of a retry of a pipeline that keeps no state: it adds to those of the last run. `known` is what an
    /// interrupted retry knew of them.
    pub(super) fn that_go_on(prepared: &'a Prepared, known: Offsets) -> Result<Self, StartError> {
        let pipeline = &prepared.pipeline;
        Ok(Self {
            pipeline,
            keeps_state: false,
            goes_on: true,
            discarded: Offsets::default(),
            dead_letters: DeadLetterFile {
                is_in_state: false,
                path: dead_letters_path(pipeline, &StateLocation::Temporary),
                if_exists: pipeline.dead_letters_if_exists,
                from: dead_letter_offset(&known)?.unwrap_or_else(DeadLetterOffset::fresh),
                discarded: None,
            },
            known,
        })
    }

    /// Forgets how often events had been tried that are on their way: there are none.
    pub(super) fn forget_attempts(&mut self) {
        self.dead_letters.from.attempts = Attempts::default();
    }

    /// How a sink begins of which the state knows nothing.
    pub(super) fn beginning(&self, sink: &str) -> Beginning<'_> {
        Beginning {
            pipeline: &self.pipeline.name,
            keeps_state: self.keeps_state,
            discarded: self.discarded.sinks.get(sink),
            goes_on: self.goes_on,
        }
    }

    /// What becomes of what is there, a line for each output.
    pub(super) fn check(&self, disks: &Disks) -> Result<Vec<String>, StartError> {
        let (disk, letter_disk) = (&*disks.sinks, &**self.dead_letters.disk(disks));
        let mut found = Vec::new();
        for sink in &self.pipeline.sinks {
            let id = &sink.id;
            if let Some(offset) = self.known.sinks.get(id) {
                let checked = sink.spec.check_committed(offset, self.beginning(id), disk);
                checked.map_err(|reason| StartError::sink(id, reason))?;
                found.push(format!(
                    "sink `{id}`: goes on where the last run with this state stopped"
                ));
                continue;
            }
            let fate = sink.spec.check(self.beginning(id), disk);
            found.extend(
                fate.map_err(|reason| StartError::sink(id, reason))?
                    .map(|fate| format!("sink `{id}`: {fate}")),
            );
        }
        let has_letters = self.dead_letters.has_content(letter_disk)?;
        if let Some(offset) = self.dead_letters.from.file.as_ref().filter(|_| has_letters) {
            let letters = &self.dead_letters;
            let checked = letters
                .spec()
                .check_committed(offset, letters.beginning(self), letter_disk);
            checked.map_err(|reason| StartError::DeadLetters { reason })?;
        } else if has_letters {
            let fate = self
                .dead_letters
                .spec()
                .check(self.dead_letters.beginning(self), letter_disk);
            let fate = fate.map_err(|reason| StartError::DeadLetters { reason })?;
            found.extend(fate.map(|fate| format!("dead letters: {fate}")));
        }
        Ok(found)
    }

    /// Prepares the file of the dead letters; it is opened when the first one comes, unless it is there and goes on.
    pub(super) fn open_dead_letters(
        &self,
        disks: &Disks,
        clock: &Arc<dyn Clock>,
    ) -> Result<(OpenDeadLetters, DeadLetterOffset), StartError> {
        let failed = |reason| StartError::DeadLetters { reason };
        let letters = &self.dead_letters;
        let disk = letters.disk(disks);
        let (spec, path) = (letters.spec(), &letters.path);
        let mut from = letters.from.clone();
        let has_content = letters.has_content(&**disk)?;
        match &from.file {
            // What an earlier run wrote after its last checkpoint goes now, also where no dead letter comes.
            Some(file) if has_content => {
                let opened = spec
                    .open(opening(
                        (&self.pipeline.name, &self.pipeline.tenant),
                        Resume::At(file),
                        disk,
                        clock,
                    ))
                    .map_err(failed)?;
                return Ok((Box::new(move || Ok(opened)), from));
            }
            Some(file) if file["length"].as_u64() > Some(0) => {
                // A user who is done with them may clear them; the ids of the next ones are still others.
                tracing::warn!(
                    "the dead letters in {} were taken away: the file begins anew",
                    path.display()
                );
            }
            None if has_content && (self.goes_on || letters.if_exists == Some(IfExists::Append)) => {
                if !self.goes_on {
                    letters.expect_no_retry(&**disk)?;
                    let next_id = letter_file::next_id(&**disk, path);
                    from.next_id = next_id.map_err(|reason| failed(sink::Error::fatal(reason)))?;
                }
                let fresh = Resume::Fresh(letters.beginning(self));
                let mut opened = spec
                    .open(opening(
                        (&self.pipeline.name, &self.pipeline.tenant),
                        fresh,
                        disk,
                        clock,
                    ))
                    .map_err(failed)?;
                from.file = opened.prepare().and_then(sink::Prepared::synced).map_err(failed)?;
                opened.publish().map_err(failed)?;
                return Ok((Box::new(move || Ok(opened)), from));
            }
            None if has_content => {
                // Those of an earlier run would pass for this one's.
                spec.check(letters.beginning(self), &**disk).map_err(failed)?;
                remove(path, &**disk)?;
            }
            Some(_) | None => {}
        }
        if letters.from.file.is_none() {
            letter_file::forget_retries(&**disk, path).map_err(|reason| StartError::Remove {
                path: path.clone(),
                reason,
            })?;
        }
        let is_regular = !matches!(disk.look(path), Ok(PathKind::Other));
        from.file = (self.keeps_state && is_regular).then(|| serde_json::json!({ "length": 0 }));
        let (disk, clock, at) = (disk.clone(), clock.clone(), from.file.clone());
        let (pipeline, tenant) = (self.pipeline.name.clone(), self.pipeline.tenant.clone());
        let keeps_state = self.keeps_state;
        let open = move || {
            let fresh = Resume::Fresh(Beginning {
                pipeline: &pipeline,
                keeps_state,
                discarded: None,
                goes_on: false,
            });
            spec.open(opening(
                (&pipeline, &tenant),
                at.as_ref().map_or(fresh, Resume::At),
                &disk,
                &clock,
            ))
        };
        Ok((Box::new(open), from))
    }
}

/// How the file of the dead letters of a pipeline is opened.
fn opening<'a>(
    (pipeline, tenant): (&'a str, &'a str),
    from: Resume<'a>,
    disk: &'a Arc<dyn Disk>,
    clock: &'a Arc<dyn Clock>,
) -> sink::Opening<'a> {
    sink::Opening {
        id: "dead letters",
        pipeline,
        tenant,
        from,
        disk,
        clock,
        keep: None,
    }
}

impl DeadLetterFile {
    fn spec(&self) -> LinesSpec {
        LinesSpec {
            path: self.path.clone(),
            format: FileFormat::Jsonl,
            if_exists: self.if_exists,
        }
    }

    fn disk<'a>(&self, disks: &'a Disks) -> &'a Arc<dyn Disk> {
        if self.is_in_state { &disks.host } else { &disks.sinks }
    }

    fn beginning<'a>(&'a self, outputs: &'a Outputs<'_>) -> Beginning<'a> {
        Beginning {
            pipeline: &outputs.pipeline.name,
            keeps_state: outputs.keeps_state,
            discarded: self.discarded.as_ref(),
            goes_on: outputs.goes_on,
        }
    }

    /// Refuses to add letters to those of which a retry was interrupted: it would go on in outputs that have grown since.
    fn expect_no_retry(&self, disk: &dyn Disk) -> Result<(), StartError> {
        let path = letter_file::private_state(&self.path);
        match disk.look(&path) {
            Ok(PathKind::Missing) => Ok(()),
            Ok(_) => Err(StartError::RetryUnfinished { path }),
            Err(reason) => Err(cannot_look_at(&path, &reason)),
        }
    }

    fn has_content(&self, disk: &dyn Disk) -> Result<bool, StartError> {
        let found = disk.look(&self.path);
        let found = found.map_err(|reason| cannot_look_at(&self.path, &reason))?;
        Ok(matches!(found, PathKind::File(1..) | PathKind::Folder))
    }
}

fn cannot_look_at(path: &Path, reason: &std::io::Error) -> StartError {
    let message = format!("cannot look at {}: {reason}", path.display());
    let reason = sink::Error::caused_by(reason.kind(), message);
    StartError::DeadLetters { reason }
}

/// Where the dead letters end, as far as the state knows.
pub(super) fn dead_letter_offset(known: &Offsets) -> Result<Option<DeadLetterOffset>, StartError> {
    let stored = known.dead_letters.clone().map(serde_json::from_value).transpose();
    stored.map_err(|_| StartError::Unreadable {
        what: "position of the dead letters",
    })
}

/// Removes a file; of a symbolic link, what it leads to.
fn remove(path: &Path, disk: &dyn Disk) -> Result<(), StartError> {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    disk.remove(&target).map_err(|reason| StartError::Remove {
        path: path.to_owned(),
        reason,
    })
}
