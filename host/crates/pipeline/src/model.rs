//! A pipeline that has been validated: what the rest of the host trusts.
//!
//! Owns the types only. `pipeline::load` makes them from files and refuses everything that they cannot express.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::pattern::Pattern;
pub use dirigo_ground::limits::{Budget, Limits};

/// A named graph of sources, operators and sinks of one tenant. Acyclic; every reference resolves.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub tenant: String,
    /// What the file says that its tenant may use.
    pub budget: Option<Budget>,
    /// Latency target from arrival to sink.
    pub slo: Option<Duration>,
    /// How often state and positions become durable where a run keeps state; `None` for never but at the end.
    pub checkpoint: Option<Duration>,
    /// The sources; an [`Input::Source`] counts them.
    pub sources: Vec<Source>,
    /// The operators in topological order: an operator's inputs stand before it.
    pub operators: Vec<Operator>,
    /// The sinks.
    pub sinks: Vec<Sink>,
    /// Where dead letters go, where the file says so.
    pub dead_letters: Option<PathBuf>,
    /// The cases of `dirigo test`.
    pub tests: Vec<Test>,
    /// The file that it was read from.
    pub file: PathBuf,
}

/// Where the events of an operator or a sink come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// `sources[i]`.
    Source(usize),
    /// `operators[i]`.
    Operator(usize),
}

/// Where events enter.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name in the pipeline.
    pub id: String,
    /// What it reads.
    pub kind: SourceKind,
    /// Where the key is.
    pub key: Option<Pointer>,
    /// Where the event time is; without it an event's time is its arrival.
    pub time: Option<Pointer>,
    /// How far behind the newest event time the watermark runs.
    pub lateness: Duration,
    /// A source this long silent no longer holds the watermark back.
    pub idle: Option<Duration>,
}

/// What a source reads.
#[derive(Clone, Debug)]
pub enum SourceKind {
    /// A file; `.gz` and `.zst` are decompressed.
    File {
        /// Absolute, or relative to the working directory.
        path: PathBuf,
        /// How records are told apart.
        format: Format,
    },
    /// The files of a folder, one after another in the order of their names; `.gz` and `.zst` are decompressed.
    Folder {
        /// Which of them. Those whose names begin with a dot are never among them.
        pattern: Pattern,
        /// How records are told apart.
        format: Format,
    },
    /// Standard input.
    Stdin {
        /// How records are told apart.
        format: Format,
    },
    /// Seeded sensor readings, `{"sensor":"s-17","ts":…,"value":…}`.
    Generator(Generator),
}

/// The readings of a generator source: the same options, the same readings.
#[derive(Clone, Debug, PartialEq)]
pub struct Generator {
    /// How many readings; `None` for no end.
    pub count: Option<u64>,
    /// Readings per second of wall time; `None` for as fast as they are taken.
    pub rate: Option<f64>,
    /// How many sensors take turns at random.
    pub sensors: u32,
    /// The seed of everything random in it.
    pub seed: u64,
    /// The event time of the first reading, ms since the epoch.
    pub start_ms: i64,
    /// The event time between two readings, in ms.
    pub step_ms: u64,
}

/// How a byte stream divides into events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON value per line.
    Jsonl,
    /// A header line, then records; each becomes a JSON object.
    Csv,
    /// One event per line, any bytes.
    Lines,
}

/// A parsed RFC 6901 JSON pointer, such as `/sensor/id`; a bare column name for csv is the pointer to that field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// As written.
    pub text: String,
    /// The unescaped reference tokens, at least one.
    pub tokens: Vec<String>,
}

/// A component placed in a pipeline.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Its name in the pipeline.
    pub id: String,
    /// Which component.
    pub component: ComponentRef,
    /// Where its events come from, at least one.
    pub inputs: Vec<Input>,
    /// What the component's `open` gets, as a JSON object.
    pub config: serde_json::Value,
    /// The same with `{ env = "NAME" }` as it is written: what may be shown and kept.
    pub config_as_written: serde_json::Value,
    /// Gives events a new key before the operator sees them.
    pub key: Option<Pointer>,
    /// How a `reduce` cuts its events into windows.
    pub window: Option<Window>,
    /// What each of its actors may use.
    pub limits: Limits,
    /// What an error does.
    pub errors: OnError,
    /// How its events are spread over actors.
    pub actors: Actors,
    /// How long an instance lives.
    pub isolation: Isolation,
    /// How many turns of a stateless operator run at once; `None` for as many as there are workers.
    pub replicas: Option<u32>,
    /// An actor this long without events gives up its instance.
    pub idle_timeout: Duration,
    /// How long it runs before another actor gets the worker.
    pub slice: Duration,
}

/// Which component an operator runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComponentRef {
    /// One that the binary carries, by its name without `builtin:`.
    Builtin(String),
    /// A `.wasm` file.
    File(PathBuf),
}

impl fmt::Display for ComponentRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ComponentRef::Builtin(name) => write!(formatter, "builtin:{name}"),
            ComponentRef::File(path) => path.display().fmt(formatter),
        }
    }
}

/// How a `reduce` cuts the events of a key into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Every so many events; at least 1.
    Count(u64),
}

/// What happens to an event that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// It goes to the dead letters and the pipeline goes on.
    DeadLetter,
    /// The pipeline stops with an error.
    Stop,
}

/// How the events of an operator are spread over actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actors {
    /// By key hash over this many; `None` for as many as there are workers. A stateless operator has one.
    Shards(Option<u32>),
    /// One for every key.
    PerKey,
}

/// How long an instance lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// As long as its actor is active.
    Actor,
    /// One turn.
    Fresh,
}

/// Where events leave.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Its name in the pipeline.
    pub id: String,
    /// Where its events come from, at least one.
    pub inputs: Vec<Input>,
    /// What it writes to.
    pub kind: SinkKind,
    /// Which order it keeps.
    pub order: Order,
}

/// What a sink writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkKind {
    /// A file, one event per line; `.gz` and `.zst` are compressed.
    File {
        /// Absolute, or relative to the working directory.
        path: PathBuf,
    },
    /// The files of a folder, one event per line; each is shown under its name once all that is in it is committed.
    Parts {
        /// Their names; nine digits, counted from 1, stand for the `*`.
        pattern: Pattern,
        /// When a part is full; `None` for at the end of each epoch that has events.
        roll: Option<Roll>,
    },
    /// Standard output, one event per line.
    Stdout,
    /// Nowhere: events are counted.
    Null,
}

/// When a part is full: at the first end of an epoch at which it is beyond either bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roll {
    /// In bytes, as they are in the file.
    pub size: Option<u64>,
    /// Since its first event came.
    pub every: Option<Duration>,
}

/// Which order a sink keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// That of the events of each key.
    Key,
    /// That of the source, between keys too.
    Source,
}

/// A case of `dirigo test`.
#[derive(Clone, Debug)]
pub struct Test {
    /// What it shows.
    pub name: String,
    /// What enters, in order.
    pub input: Vec<TestEvent>,
    /// What leaves; per sink in order.
    pub output: Vec<TestEvent>,
    /// The line of the file where the case starts, from 1.
    pub line: usize,
}

/// An event of a test case.
#[derive(Clone, Debug, PartialEq)]
pub struct TestEvent {
    /// The source or sink.
    pub at: String,
    /// Its value.
    pub value: serde_json::Value,
}
