//! A pipeline that has been validated: what the rest of the host trusts.
//!
//! Owns the types only. `pipeline::load` makes them from files and refuses everything that they cannot express.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dirigo_ground::windowing::{EarlyEvents, TimeWindows};
use serde::{Deserialize, Serialize};

pub use dirigo_connect::{Format, Pattern, Pointer, TimeField};
use dirigo_connect::{SinkSpec, SourceSpec};
use dirigo_disk::FileAccess;
pub use dirigo_ground::limits::{Budget, CompileLimits, Limits};

/// A named graph of sources, operators and sinks of one tenant. Acyclic; every reference resolves.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub tenant: String,
    /// Whose budget it uses: its tenant's, or the one that all files have together which no tenant lists.
    pub account: String,
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
    /// What becomes of a file that is there already when the dead letters begin theirs.
    pub dead_letters_if_exists: Option<IfExists>,
    /// How many dead letters a run may have, where the file says so.
    pub dead_letters_max: Option<DeadLettersMax>,
    /// The cases of `dirigo test`.
    pub tests: Vec<Test>,
    /// The file that it was read from.
    pub file: PathBuf,
    /// Which files it may open.
    pub access: Arc<FileAccess>,
    /// What compiling each of its components may take.
    pub compiling: CompileLimits,
}

/// How many dead letters a run may have before it fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DeadLettersMax {
    /// So many.
    Count(u64),
    /// This share of the events that were read, in percent.
    Percent(f64),
}

impl DeadLettersMax {
    /// Whether there are more.
    #[must_use]
    pub fn is_exceeded(self, dead_letters: u64, events: u64) -> bool {
        #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        match self {
            Self::Count(max) => dead_letters > max,
            Self::Percent(max) => dead_letters as f64 * 100.0 > max * events as f64,
        }
    }
}

/// As the pipeline file writes it.
impl fmt::Display for DeadLettersMax {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(max) => write!(formatter, "{max}"),
            Self::Percent(max) => write!(formatter, "\"{max}%\""),
        }
    }
}

/// What becomes of a file that is there already where one is to be begun; without it, only one that the pipeline wrote
/// is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfExists {
    /// It is emptied, regardless of its origin.
    Overwrite,
    /// It is added to.
    Append,
}

/// Where the events of an operator or a sink come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// `sources[i]`.
    Source(usize),
    /// `operators[i]`.
    Operator(usize),
    /// The events that come too late for `operators[i]`.
    Late(usize),
    /// What `operators[operator]` puts out under the name `operators[operator].read_outputs[output]`.
    Named {
        /// The operator.
        operator: usize,
        /// The output.
        output: usize,
    },
}

impl Input {
    /// The operator that the events leave, by whatever output.
    #[must_use]
    pub fn operator(self) -> Option<usize> {
        match self {
            Self::Source(_) => None,
            Self::Operator(operator) | Self::Late(operator) | Self::Named { operator, .. } => Some(operator),
        }
    }
}

/// Where events enter.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name in the pipeline.
    pub id: String,
    /// What it reads.
    pub spec: Arc<dyn SourceSpec>,
    /// Where the key is.
    pub key: Option<Pointer>,
    /// Where the event time is; without it an event's time is its arrival.
    pub time: Option<TimeField>,
    /// How far behind the newest event time the watermark runs.
    pub lateness: Duration,
    /// Where events say how far event time has come, in place of their times.
    pub watermark: Option<Pointer>,
    /// A source this long silent no longer holds the watermark back.
    pub idle: Option<Duration>,
    /// How far the time of an event may be ahead of the clock.
    pub max_ahead: Option<Duration>,
    /// How far it may read ahead of the slowest other source, in event time.
    pub max_drift: Option<Duration>,
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
    /// The names of its outputs that operators or sinks read, besides its own output. Whether its component has them, the file does not say.
    pub read_outputs: Vec<String>,
    /// What the component's `open` gets, as a JSON object.
    pub config: serde_json::Value,
    /// The same with `{ env = "NAME" }` as it is written: what may be shown and kept.
    pub config_as_written: serde_json::Value,
    /// Gives events a new key before the operator sees them.
    pub key: Option<Pointer>,
    /// How a `reduce` cuts its events into windows.
    pub window: Option<Window>,
    /// In which order a `process` is handed the events of a key.
    pub order: Option<EventOrder>,
    /// What becomes of the windows that are incomplete when its input ends, where the file says so; else they stay open.
    pub partial: Option<Partial>,
    /// What each of its actors may use.
    pub limits: Limits,
    /// What an error does.
    pub errors: OnError,
    /// How its events are spread over actors.
    pub actors: Actors,
    /// How long an instance lives.
    pub isolation: Isolation,
    /// How many turns of a stateless operator run at once; `None` for what the load asks for, up to as many as there are workers.
    pub replicas: Option<Count>,
    /// Whether the number of its replicas or shards follows the load.
    pub scaling: Scaling,
    /// Whether the last digits of results may depend on the order of events, so that replicas can share the load of one key.
    pub approximate: bool,
    /// An actor this long without events gives up its instance.
    pub idle_timeout: Duration,
    /// How long it runs before another actor gets the worker.
    pub slice: Duration,
    /// The most of it where tenants share the host.
    pub slice_shared: Duration,
}

impl Operator {
    /// Whether a watermark has it put out something: it has windows in time, or timers.
    #[must_use]
    pub fn goes_by_time(&self) -> bool {
        self.order.is_some() || self.window.is_some_and(Window::is_in_time)
    }
}

/// Which component an operator runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComponentRef {
    /// One that the binary carries, by its name without `builtin:`.
    Builtin(String),
    /// A `.wasm` file.
    File(PathBuf),
    /// One that the host has stored.
    Stored {
        /// As the pipeline file calls it.
        called: String,
        /// Where the host has it.
        path: PathBuf,
    },
}

impl fmt::Display for ComponentRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ComponentRef::Builtin(name) => write!(formatter, "builtin:{name}"),
            ComponentRef::File(path) => path.display().fmt(formatter),
            ComponentRef::Stored { called, .. } => called.fmt(formatter),
        }
    }
}

/// How a `reduce` cuts the events of a key into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// The number of events in a window; at least 1.
    Count(u64),
    /// One of all events of a key: it is always incomplete, and closed at the end of the input.
    Global {
        /// After how many events it has a result before that.
        #[serde(default, skip_serializing_if = "EarlyEvents::are_none")]
        early_events: EarlyEvents,
    },
    /// By event time: a watermark closes them.
    Time(TimeWindows),
}

impl Window {
    /// Whether some of its results come with the events that bring them, when nothing closes it.
    #[must_use]
    pub fn has_results_by_events(self) -> bool {
        match self {
            Self::Count(_) => false,
            Self::Global { early_events } => !early_events.are_none(),
            Self::Time(windows) => !windows.early_events().are_none(),
        }
    }

    /// Whether it is one of event time, which a watermark closes.
    #[must_use]
    pub fn is_in_time(self) -> bool {
        matches!(self, Self::Time(_))
    }
}

/// In which order a `process` is handed the events of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventOrder {
    /// By their times, once the watermark has passed them.
    Time,
    /// As they arrive.
    Arrival,
}

/// What becomes of windows that are incomplete when all sources have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partial {
    /// They stay open.
    Keep,
    /// They are closed, and emitted as they are.
    Emit,
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
    /// By key hash over this many; `None` for what the load asks for, up to as many as there are workers. A stateless operator has one.
    Shards(Option<Count>),
    /// One for every key.
    PerKey,
}

/// How many replicas or shards an operator has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The fewest, at least 1.
    pub min: u32,
    /// The most; `None` for as many as there are workers.
    pub max: Option<u32>,
}

impl Count {
    /// So many, whatever the load.
    #[must_use]
    pub fn exactly(number: u32) -> Self {
        Self {
            min: number,
            max: Some(number),
        }
    }

    /// The most on a host with so many workers.
    #[must_use]
    pub fn most(self, workers: u32) -> u32 {
        self.max.unwrap_or(workers).max(self.min)
    }
}

/// Any number.
impl Default for Count {
    fn default() -> Self {
        Self { min: 1, max: None }
    }
}

/// Whether the number of an operator's replicas or shards follows its load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    /// It does, within its bounds.
    Auto,
    /// It has as many as it may have all the time.
    Off,
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
    pub spec: Arc<dyn SinkSpec>,
    /// Which order it keeps.
    pub order: Order,
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
    pub input: Vec<TestEntry>,
    /// What leaves; per sink in order.
    pub output: Vec<TestEvent>,
    /// Whether it has to leave in that order.
    pub order: OutputOrder,
    /// The dead letters that come; `None` where any may.
    pub dead_letters: Option<Vec<ExpectedDeadLetter>>,
    /// How many events come too late; `None` where any number may.
    pub late: Option<u64>,
    /// Fuel that an operator may burn per event on average; `None` where it may burn any amount.
    pub fuel_per_event_max: Option<u64>,
    /// The line of the file where the case starts, from 1.
    pub line: usize,
}

/// What enters in a test case.
#[derive(Clone, Debug, PartialEq)]
pub struct TestEntry {
    /// The source.
    pub at: String,
    /// What enters there.
    pub input: TestInput,
}

/// What enters by a source in a test case.
#[derive(Clone, Debug, PartialEq)]
pub enum TestInput {
    /// An event with this value.
    Event(serde_json::Value),
    /// Event time comes so far, in ms since the epoch.
    Watermark(i64),
}

/// An event that leaves in a test case.
#[derive(Clone, Debug, PartialEq)]
pub struct TestEvent {
    /// The sink.
    pub at: String,
    /// Its value.
    pub value: serde_json::Value,
}

/// In which order the outputs of a test case have to leave by each sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputOrder {
    /// As they are listed.
    #[default]
    Listed,
    /// In any.
    Any,
}

/// A dead letter that has to come in a test case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExpectedDeadLetter {
    /// The operator, or the source.
    pub operator: String,
    /// A part of the reason; `None` for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The value of the event; `None` for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<serde_json::Value>,
}
