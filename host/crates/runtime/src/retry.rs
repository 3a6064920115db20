//! Dead letters that go back into their pipeline.
//!
//! A retry is one commit and one run. The commit takes letters from the dead letters and puts their events on their way to
//! the operators where they failed, as a checkpoint finds events on their way: both, or neither. The run reads nothing from
//! the sources, and goes on from that commit as any run goes on from a checkpoint; what ends it early leaves the rest to the
//! next retry or run. So each letter is retried once, whatever happens meanwhile.
//!
//! The letter of a window that could not be finished puts that window on its way, and touches none of the state. The windows
//! that the state has open stay so: a retry is not the end of their input.
//!
//! A pipeline that keeps no state gets a state directory for as long as the retry takes, next to its dead letters. What
//! was retried is then noted in a file there (`.NAME.retried`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::connectors::{BATCH_EVENTS, Connectors, begin, kept_by_sink};
use super::disks::Disks;
use super::host::Host;
use super::letter_file::{self, LetterLines};
use super::location::{StateLocation, dead_letters_path};
use super::opening::Opened;
use super::outputs::{self, Outputs, stored};
use super::prepare::Prepared;
use super::recovery::{RecoveredBatches, is_window};
use super::replay::entry_bytes;
use super::start_error::StartError;
use super::summary::OperatorSummary;
use super::wiring;
use dirigo_connect::Source;
use dirigo_connect::sink::{self, Resume};
use dirigo_connect::source::{self, Intake, Offset, Read, ReadLimit, ReadProgress};
use dirigo_connectors::records::Extract;
use dirigo_disk::Disk;
use dirigo_flow::{Attempts, Content, DeadLetter, DeadLetterOffset, IdRanges, SavedBatch};
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::behind::Behind;
use dirigo_ground::fields::Fields;
use dirigo_ground::lineage::{Origin, SourceIndex, Ticket};
use dirigo_pipeline::{EventOrder, Input, Pipeline};
use dirigo_state::{self as state, InFlight, Offsets, Snapshot, Step, Store, WaitingEvent};

/// Letters that one commit puts back: what waits at operators is in memory, and what is known of each letter's attempts is
/// written with every checkpoint.
const LETTERS_MAX: usize = 20_000;
/// Bytes of letters that one commit puts back, for the same reason.
const BYTES_MAX: usize = 64 << 20;
/// What the numbers of the tickets of letters begin at: behind those of all that was on its way.
const TICKETS_FROM: u64 = 1 << 62;
/// Tickets that a round may use: those of an interrupted one may still be on their way, and each round commits an epoch.
const TICKETS_OF_A_ROUND: u64 = 1 << 24;

/// Which letters are meant.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Those with a lower id.
    pub below: Option<u64>,
    /// Those that failed in this operator.
    pub operator: Option<String>,
    /// Those with these ids; all where there are none.
    pub ids: BTreeSet<u64>,
}

impl Selection {
    /// Whether a letter is meant.
    #[must_use]
    pub fn has(&self, letter: &DeadLetter) -> bool {
        self.below.is_none_or(|below| letter.id < below)
            && self
                .operator
                .as_ref()
                .is_none_or(|operator| *operator == letter.operator)
            && (self.ids.is_empty() || self.ids.contains(&letter.id))
    }
}

/// Letters that go back, and those that cannot.
#[derive(Debug, Default)]
pub struct Round {
    /// How many go back.
    pub letters: u64,
    /// Whether there are more of them.
    pub has_more: bool,
    /// Why others stay where they are, and how many.
    pub left: BTreeMap<String, u64>,
    /// Whether an interrupted retry or run had left events on their way, which go on now.
    pub is_resumed: bool,
    /// The id that the next letter gets: those that fail again have it or a later one.
    pub next_id: u64,
}

/// Why letters cannot be retried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {}: {reason}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// The pipeline has not run with this state.
    #[error("there is no state of the pipeline in {}", .path.display())]
    NoState {
        /// The directory.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {reason}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// A sink, the dead letters or the state cannot be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The state cannot be read or written.
    #[error(transparent)]
    State(#[from] state::Error),
}

/// Which letters of a file that a user names were retried, as far as that is noted next to it.
#[must_use]
pub fn retried(disk: &dyn Disk, letters: &Path) -> IdRanges {
    letter_file::retried(disk, letters)
}

/// The state directory of a retry of letters whose pipeline keeps no state. Without it the letters are as they were before.
#[must_use]
pub fn private_state(letters: &Path) -> PathBuf {
    letter_file::private_state(letters)
}

/// The file of a pipeline's letters, and the disk on which the pipeline may have it.
#[must_use]
pub fn letters_of(pipeline: &Pipeline, state_directory: Option<&Path>) -> (Arc<dyn Disk>, PathBuf) {
    let place = Place::of(pipeline, state_directory);
    let disk = place.letters_disk(&Disks::of(pipeline)).clone();
    (disk, place.letters)
}

/// Opens a pipeline so that it retries letters and reads nothing: the next of `selection`, as many as one commit takes. The
/// commit is made; to launch what is opened is to retry them. `None` where nothing is to be done.
///
/// # Errors
/// When the letters or the state cannot be read, or a sink cannot be opened.
pub fn open(
    host: &Host,
    mut prepared: Prepared,
    state_directory: Option<&Path>,
    selection: &Selection,
) -> Result<(Option<Opened>, Round), Error> {
    let disks = Disks::of(&prepared.pipeline);
    let place = Place::of(&prepared.pipeline, state_directory);
    let disk = place.disk(&disks);
    let directory = place.directory();
    let is_known = stored(&**disk, directory)?.is_some();
    if !is_known && !place.is_private {
        return Err(Error::NoState {
            path: directory.to_owned(),
        });
    }
    prepared.pipeline.dead_letters = Some(place.letters.clone());
    // Its sources end at once, which is not the end of what they read in a run.
    for operator in &mut prepared.pipeline.operators {
        operator.partial = None;
    }
    // What was retried is not to be asked for again where nothing else of it is kept.
    let (mut known, in_flight, epoch) = if is_known {
        let store = Store::open(disk.clone(), directory)?;
        let known = store.offsets()?.unwrap_or_default();
        (known, store.take_in_flight()?, store.epoch())
    } else {
        (Offsets::default(), Vec::new(), 0)
    };
    let from = outputs::dead_letter_offset(&known)?;
    let mut already = from.as_ref().map(|from| from.retried.clone()).unwrap_or_default();
    if place.is_private {
        already.extend(&letter_file::retried(&**disk, &place.letters));
    }
    let length = match &from {
        Some(from) => from.file.as_ref().map_or(Some(0), |file| file["length"].as_u64()),
        None => None,
    };
    let mut gathered = gather(
        &place,
        &**place.letters_disk(&disks),
        length,
        &already,
        &prepared,
        selection,
    )?;
    gathered.round.is_resumed = !in_flight.is_empty();
    let mut from = from.unwrap_or(DeadLetterOffset {
        next_id: gathered.round.next_id,
        ..DeadLetterOffset::fresh()
    });
    gathered.round.next_id = from.next_id;
    if gathered.chosen.is_empty() && in_flight.is_empty() {
        return Ok((None, gathered.round));
    }
    if in_flight.is_empty() {
        from.attempts = Attempts::default();
    }
    from.retried = already;
    for chosen in &gathered.chosen {
        let DeadLetter { id, event, attempt, .. } = &chosen.letter;
        from.retried.insert(*id);
        from.attempts.insert(&event.source, event.position, *attempt);
    }
    known.dead_letters = Some(serde_json::to_value(from).expect("a position is plain JSON"));
    let in_flight: Vec<InFlight> = in_flight
        .into_iter()
        .chain(put_back(gathered.chosen, &prepared, epoch, &known.watermarks))
        .collect();
    let connectors = connect(host, &disks, &prepared, &place, known, in_flight)?;
    Ok((Some(Opened { prepared, connectors }), gathered.round))
}

/// Commits that letters are on their way, and where sinks begin that nothing is known of yet; opens everything for that.
fn connect(
    host: &Host,
    disks: &Disks,
    prepared: &Prepared,
    place: &Place,
    known: Offsets,
    in_flight: Vec<InFlight>,
) -> Result<Connectors, Error> {
    let pipeline = &prepared.pipeline;
    let outputs = if place.is_private {
        Outputs::that_go_on(prepared, known)?
    } else {
        Outputs::new(prepared, &place.location, known, Offsets::default())?
    };
    let known = &outputs.known;
    let clock = host.clock();
    outputs.check(disks)?;
    let store = Store::open(place.disk(disks).clone(), place.directory())?;
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
            keep: Some(kept_by_sink(place.disk(disks), place.directory(), &sink.id)),
        });
        opened.map_err(|reason| StartError::sink(&sink.id, reason))
    };
    let mut sinks: Vec<_> = pipeline.sinks.iter().map(open_sink).collect::<Result<_, _>>()?;
    let (dead_letters, dead_letter_offset) = outputs.open_dead_letters(disks, clock)?;
    let offsets = begin(known.clone(), &mut sinks, &dead_letter_offset, prepared)?;
    let recovered_batches = RecoveredBatches::read(in_flight.clone(), known, pipeline)?;
    store.commit(Snapshot {
        in_flight,
        offsets,
        ..Snapshot::default()
    })?;
    let held = |source: &dirigo_pipeline::Source| {
        let offset = known.sources.get(&source.id).cloned();
        Box::new(HeldSource(offset)) as Box<dyn Source>
    };
    Ok(Connectors {
        sources: pipeline.sources.iter().map(held).collect(),
        sinks,
        dead_letters,
        dead_letter_offset,
        store,
        recovered_batches,
        is_resumed: true,
        batch_events: BATCH_EVENTS,
    })
}

/// Where letters are, and the state that they are retried with.
struct Place {
    letters: PathBuf,
    location: StateLocation,
    /// Whether the state is only there for the retry.
    is_private: bool,
}

impl Place {
    fn of(pipeline: &Pipeline, state_directory: Option<&Path>) -> Self {
        let location = |path: PathBuf| StateLocation::Directory { path, fresh: false };
        if let Some(directory) = state_directory {
            let location = location(directory.to_owned());
            return Self {
                letters: dead_letters_path(pipeline, &location),
                location,
                is_private: false,
            };
        }
        let letters = dead_letters_path(pipeline, &StateLocation::Temporary);
        Self {
            location: location(letter_file::private_state(&letters)),
            letters,
            is_private: true,
        }
    }

    /// Where the state is: next to the letters, whose place may be the pipeline's, or where the host keeps it.
    fn disk<'a>(&self, disks: &'a Disks) -> &'a Arc<dyn Disk> {
        if self.is_private { &disks.sinks } else { &disks.host }
    }

    /// Where the letters are.
    fn letters_disk<'a>(&self, disks: &'a Disks) -> &'a Arc<dyn Disk> {
        if self.letters.starts_with(self.directory()) {
            &disks.host
        } else {
            &disks.sinks
        }
    }

    fn directory(&self) -> &Path {
        match &self.location {
            StateLocation::Directory { path, .. } => path,
            StateLocation::Temporary => unreachable!("a retry has a state"),
        }
    }
}

/// Notes what was retried where people and `dirigo dead-letters list` look, and removes what only an interrupted retry
/// needs.
///
/// # Errors
/// When the state cannot be read or removed, or the note not be written.
pub fn conclude(pipeline: &Pipeline, state_directory: Option<&Path>) -> Result<(), Error> {
    let place = Place::of(pipeline, state_directory);
    let directory = place.directory();
    let disks = Disks::of(pipeline);
    let (disk, letters_disk) = (place.disk(&disks), &**place.letters_disk(&disks));
    let known = stored(&**disk, directory)?.unwrap_or_default();
    let failed = |path: &Path| {
        let path = path.to_owned();
        |reason| Error::Write { path, reason }
    };
    if let Some(offset) = outputs::dead_letter_offset(&known)? {
        let mut ids = letter_file::retried(letters_disk, &place.letters);
        ids.extend(&offset.retried);
        letter_file::note_retried(letters_disk, &place.letters, &ids).map_err(failed(&place.letters))?;
    }
    if place.is_private {
        letter_file::remove_state(&**disk, directory).map_err(failed(directory))?;
    }
    Ok(())
}

/// How many events of a retry, by what the operators of the pipeline did, came too late for their windows and went nowhere: no operator or sink takes the late ones.
#[must_use]
pub fn lost_as_late(pipeline: &Pipeline, operators: &[OperatorSummary]) -> u64 {
    let inputs = || {
        let of_operators = pipeline.operators.iter().flat_map(|operator| &operator.inputs);
        of_operators.chain(pipeline.sinks.iter().flat_map(|sink| &sink.inputs))
    };
    let is_lost = |id: &str| {
        let index = pipeline.operators.iter().position(|operator| operator.id == id);
        index.is_some_and(|index| !inputs().any(|input| *input == Input::Late(index)))
    };
    let operators = operators.iter();
    operators
        .filter(|operator| is_lost(&operator.id))
        .map(|operator| operator.counts.late)
        .sum()
}

/// A source that is not read, and stays where it is.
struct HeldSource(Option<Offset>);

impl Source for HeldSource {
    fn read(&mut self, _: &mut Intake, _: ReadLimit) -> Result<Read, source::Error> {
        Ok(Read::End)
    }

    fn offset(&self) -> Option<Offset> {
        self.0.clone()
    }

    fn ends_its_input(&self) -> bool {
        false
    }

    fn progress(&self) -> Option<ReadProgress> {
        None
    }
}

/// What a file of letters has for a retry.
struct Gathered {
    chosen: Vec<Chosen>,
    round: Round,
}

/// A letter that goes back.
struct Chosen {
    /// The line that it comes back by: its source, or the operator's own, where it waits for nothing any more.
    line: String,
    letter: DeadLetter,
    /// The operator, as the pipeline counts them.
    operator: usize,
    content: Content,
    /// By which way it comes back: where an operator tells its inputs apart, that says by which.
    path: u32,
    time: i64,
    key: Vec<u8>,
    /// Of a window, its entry; of an event that waited, the step.
    value: Vec<u8>,
}

/// Reads the letters of a file, as far as they are committed, and chooses those that go back.
fn gather(
    place: &Place,
    disk: &dyn Disk,
    length: Option<u64>,
    already: &IdRanges,
    prepared: &Prepared,
    selection: &Selection,
) -> Result<Gathered, Error> {
    let unreadable = |reason| Error::Read {
        path: place.letters.clone(),
        reason,
    };
    let mut gathered = Gathered {
        chosen: Vec::new(),
        round: Round {
            next_id: 1,
            ..Round::default()
        },
    };
    let Gathered { chosen, round } = &mut gathered;
    let mut lines = match LetterLines::open(disk, &place.letters, length.unwrap_or(u64::MAX)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(gathered),
        lines => lines.map_err(unreadable)?,
    };
    let mut bytes = 0;
    while let Some((size, letter)) = lines.read().map_err(unreadable)? {
        let Some(letter) = letter else {
            *round.left.entry("it cannot be read".to_owned()).or_default() += 1;
            continue;
        };
        round.next_id = round.next_id.max(letter.id.saturating_add(1));
        if already.contains(letter.id) || !selection.has(&letter) {
            continue;
        }
        match choose(letter, prepared, place.is_private) {
            Err(reason) => *round.left.entry(reason).or_default() += 1,
            Ok(_) if chosen.len() == LETTERS_MAX || (bytes + size > BYTES_MAX && bytes > 0) => {
                round.has_more = true;
            }
            Ok(letter) => {
                bytes += size;
                round.letters += 1;
                chosen.push(letter);
            }
        }
    }
    Ok(gathered)
}

/// A letter as it goes back, or why it cannot.
fn choose(letter: DeadLetter, prepared: &Prepared, is_private: bool) -> Result<Chosen, String> {
    let pipeline = &prepared.pipeline;
    let DeadLetter {
        operator: id, event, ..
    } = &letter;
    if letter.setup.is_none() {
        return Err(format!("source `{id}` could not make an event of it"));
    }
    if letter.pipeline != pipeline.name {
        return Err(format!("it is of pipeline `{}`", letter.pipeline));
    }
    let Some(operator) = pipeline.operators.iter().position(|operator| operator.id == *id) else {
        return Err(format!("the pipeline has no operator `{id}`"));
    };
    if !wiring::line_ids(pipeline).any(|id| *id == event.source) {
        return Err(format!("the pipeline has no source `{}`", event.source));
    }
    if letter.timers.is_some() {
        return Err("its timers failed, and no event: those are gone".to_owned());
    }
    let content = if letter.window.is_some() {
        Content::Windows
    } else {
        Content::Events
    };
    if content == Content::Windows && !prepared.components[operator].0.kind().is_stateful() {
        return Err(format!("operator `{id}` has no windows any more"));
    }
    if let Some(keeper) = is_private.then(|| first_keeper(operator, content, prepared)).flatten() {
        return Err(format!(
            "operator `{keeper}` keeps state, and that of a run without `--state` is gone"
        ));
    }
    let damaged = |_| "it is damaged".to_owned();
    let value = match content {
        Content::Windows => entry_bytes(&letter)
            .filter(|bytes| is_window(bytes, wiring::entry_form(pipeline, id)))
            .ok_or_else(|| "it is damaged".to_owned())?,
        _ => event.value_bytes().map_err(damaged)?,
    };
    let key = match &pipeline.operators[operator].key {
        Some(pointer) if content == Content::Events => match Extract::new(Some(pointer), None).key(&value) {
            Ok(key) => key.into_owned(),
            Err(_) => return Err(format!("the `key` of operator `{id}` is not in it")),
        },
        _ => event.key_bytes().map_err(damaged)?,
    };
    let time = event.time.ok_or_else(|| "it has no time".to_owned())?;
    let path = letter.input.unwrap_or(0);
    let has_waited = pipeline.operators[operator].order == Some(EventOrder::Time);
    let (line, way, value) = if has_waited {
        let step = Step::Event(WaitingEvent {
            input: u16::try_from(path).unwrap_or(u16::MAX),
            source: &event.source,
            position: event.position,
            path,
            twin: 0,
            value: &value,
        });
        (id.clone(), 0, step.encode())
    } else {
        (event.source.clone(), path, value)
    };
    Ok(Chosen {
        line,
        letter,
        operator,
        content,
        path: way,
        time,
        key,
        value,
    })
}

/// The first operator that keeps state of those that an event comes to which enters `operator`, or what comes of a window of it.
fn first_keeper(operator: usize, content: Content, prepared: &Prepared) -> Option<&str> {
    let operators = &prepared.pipeline.operators;
    let mut is_reached = vec![false; operators.len()];
    is_reached[operator] = true;
    // They are in topological order.
    for (index, candidate) in operators.iter().enumerate().skip(operator) {
        let is_fed = |input: &Input| input.operator().is_some_and(|fed_by| is_reached[fed_by]);
        if index > operator && !candidate.inputs.iter().any(is_fed) {
            continue;
        }
        is_reached[index] = true;
        let is_entered = index > operator || content == Content::Events;
        if is_entered && prepared.components[index].0.kind().is_stateful() {
            return Some(&candidate.id);
        }
    }
    None
}

/// How far event time had come on a line: for what windows put out, as far as it had come where they closed.
fn watermark_of(pipeline: &Pipeline, line: &str, watermarks: &BTreeMap<String, i64>) -> Option<i64> {
    let place = pipeline.operators.iter().position(|operator| operator.id == line);
    let Some(place) = place else {
        return watermarks.get(line).copied();
    };
    let sources = wiring::sources_of_operators(pipeline)[place].clone();
    let of = |source: SourceIndex| watermarks.get(&pipeline.sources[usize::from(source)].id).copied();
    sources.into_iter().map(of).min().flatten()
}

/// Letters as batches that wait at their operators: those of one operator in the order of their source, and operators
/// furthest downstream first, as a checkpoint has them.
///
/// What comes back comes behind all that its source has read: behind that source's watermark, of which `watermarks` has those that matter.
fn put_back(
    mut chosen: Vec<Chosen>,
    prepared: &Prepared,
    epoch: u64,
    watermarks: &BTreeMap<String, i64>,
) -> Vec<InFlight> {
    chosen.sort_by(|a, b| {
        // What waited for its time comes in the order of the times, from whatever source.
        let time = |chosen: &Chosen| {
            if chosen.line == chosen.letter.event.source {
                0
            } else {
                chosen.time
            }
        };
        let place = |chosen: &Chosen| (time(chosen), chosen.letter.event.position, chosen.letter.id);
        (&a.line, a.path, place(a)).cmp(&(&b.line, b.path, place(b)))
    });
    let is_one =
        |a: &Chosen, b: &Chosen| (a.operator, a.content, &a.line, a.path) == (b.operator, b.content, &b.line, b.path);
    let runs = chosen.chunk_by(is_one).flat_map(|run| run.chunks(BATCH_EVENTS));
    let first_ticket = TICKETS_FROM + epoch * TICKETS_OF_A_ROUND;
    let mut batches: Vec<(usize, InFlight)> = (first_ticket..)
        .zip(runs)
        .map(|(ticket, run)| {
            let operator = run[0].operator;
            let column = |bytes: fn(&Chosen) -> &[u8]| {
                let mut column = Column::default();
                run.iter().for_each(|chosen| column.push(bytes(chosen)));
                Arc::new(column)
            };
            let line = &run[0].line;
            let watermark = watermark_of(&prepared.pipeline, line, watermarks);
            let is_behind = |(_, chosen): &(u32, &Chosen)| watermark.is_some_and(|watermark| chosen.time < watermark);
            let behind = (0..).zip(run).filter(is_behind);
            let behind = behind.map(|(place, _)| (place, watermark.unwrap_or_default()));
            let batch = Batch {
                times: Arc::new(run.iter().map(|chosen| chosen.time).collect()),
                keys: column(|chosen| &chosen.key),
                values: column(|chosen| &chosen.value).into(),
                fields: Fields::default(),
                positions: Arc::new(run.iter().map(|chosen| chosen.letter.event.position).collect()),
                origin: Origin {
                    behind: Behind::new(behind.collect()),
                    path: run[0].path,
                    ..Ticket::detached().into()
                },
            };
            let waiting = InFlight {
                item: prepared.pipeline.operators[operator].id.clone(),
                bytes: SavedBatch::encode_with_ticket(&batch, line, run[0].content, ticket, batch.positions[0]),
            };
            (operator, waiting)
        })
        .collect();
    batches.sort_by_key(|(operator, _)| std::cmp::Reverse(*operator));
    batches.into_iter().map(|(_, waiting)| waiting).collect()
}

/// The operators in which the letters of a pipeline failed that are meant and were not retried, as far as that is noted.
///
/// # Errors
/// When the file cannot be read.
pub fn operators(
    pipeline: &Pipeline,
    state_directory: Option<&Path>,
    selection: &Selection,
) -> Result<BTreeSet<String>, Error> {
    let disks = Disks::of(pipeline);
    let place = Place::of(pipeline, state_directory);
    let (disk, letters) = (&**place.letters_disk(&disks), &place.letters);
    let unreadable = |reason| Error::Read {
        path: letters.clone(),
        reason,
    };
    let retried = letter_file::retried(disk, letters);
    let mut operators = BTreeSet::new();
    let mut lines = LetterLines::open(disk, letters, u64::MAX).map_err(unreadable)?;
    while let Some((_, letter)) = lines.read().map_err(unreadable)? {
        let meant =
            letter.filter(|letter| letter.setup.is_some() && selection.has(letter) && !retried.contains(letter.id));
        operators.extend(meant.map(|letter| letter.operator));
    }
    Ok(operators)
}
