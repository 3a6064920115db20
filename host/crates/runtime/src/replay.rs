//! One dead letter, run again: alone, with the component, configuration, state and fuel that it failed with. Of a window that could
//! not be finished that is finished again.
//!
//! Owns finding the dead letter, loading its component, and what came of it. Nothing of the pipeline is touched: what
//! the operator returns is reported and goes nowhere.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::SLICE_FUEL;
use super::letter_file::LetterLines;
use super::recovery::is_window;
use super::wiring;
use dirigo_disk::{Disk, Usage};
use dirigo_engine::{
    self as engine, Budget, Component, Engine, EventOrigins, GuestLog, Instance, Kind, Seed, Setup, Trap, Unopened,
};
use dirigo_flow::{DeadLetter, OperatorSetup};
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::{Answer, Finished, Folded, NamedOutputs, Outputs, Processed, Rejection, Request, Timers};
use dirigo_ground::clock::Clock;
use dirigo_ground::fields::{Fields, Schema};
use dirigo_ground::items::Items;
use dirigo_ground::lineage::{BEFORE_ALL, Ticket};
use dirigo_ground::windowing::EarlyEvents;
use dirigo_pipeline::{self as pipeline, Admission, Window};
use dirigo_state::windows::{self, CountWindows};
use dirigo_state::{Entry, Step, Table, process, timed};

/// Why a dead letter cannot be run again.
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
    /// The configuration takes a value from the environment that is not there.
    #[error("cannot make the operator's configuration: {0}")]
    Environment(String),
    /// The file has no such dead letter.
    #[error("there is no dead letter {id} in {}; {found}", .path.display())]
    NotFound {
        /// Which was looked for.
        id: u64,
        /// The file.
        path: PathBuf,
        /// What there is.
        found: String,
    },
    /// No component saw the event.
    #[error("{0}")]
    NeverRan(String),
    /// The component is not where it was.
    #[error("cannot load the component: {reason}; `--component FILE` says where it is")]
    Component {
        /// Why.
        reason: engine::Error,
    },
    /// The component is another one than the event failed in.
    #[error(
        "`{component}` is not the component that the event failed in: its sha256 is {found}, that one's was {recorded}; \
         to run the event in it all the same, name it with `--component`"
    )]
    Changed {
        /// Where it is.
        component: String,
        /// What is there now.
        found: String,
        /// What the dead letter says.
        recorded: String,
    },
    /// The component is of another kind than the event failed in.
    #[error("the component is a `{found}` operator: the operator of the dead letter has {what}")]
    Kind {
        /// Its kind.
        found: Kind,
        /// What the dead letter says of that.
        what: &'static str,
    },
    /// The dead letter is not what this version writes.
    #[error("the {what} of the dead letter cannot be read")]
    Damaged {
        /// Which part.
        what: &'static str,
    },
}

/// What came of an event that was run again.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// What the operator made of it, or how it failed.
    pub result: Result<ReplayResult, ReplayFailure>,
    /// Fuel that it burnt.
    pub fuel: u64,
}

/// What an operator made of an event.
#[derive(Clone, Debug, Default)]
pub struct ReplayResult {
    /// What it puts out.
    pub outputs: Vec<ReplayOutput>,
    /// What the host then keeps of the event's key: the open window of a reduce.
    pub state: Option<Entry>,
}

/// A value that an operator put out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayOutput {
    /// The name of the output, if it has one.
    pub name: Option<String>,
    /// Its key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// How an event failed.
#[derive(Clone, Debug)]
pub struct ReplayFailure {
    /// As in a dead letter: `rejected`, `trap`, `fuel`, `memory` or `malformed`; or `config` where the operator could not
    /// be opened.
    pub kind: &'static str,
    /// What happened.
    pub reason: String,
    /// The guest's stack, where it trapped.
    pub backtrace: Option<String>,
}

/// Finds dead letter `id` in the file at `path`.
///
/// # Errors
/// When the file cannot be read, or has no such dead letter: then with what it has.
pub fn find(disk: &dyn Disk, path: &Path, id: u64) -> Result<DeadLetter, Error> {
    let unreadable = |reason| Error::Read {
        path: path.to_owned(),
        reason,
    };
    let mut lines = LetterLines::open(disk, path, u64::MAX).map_err(unreadable)?;
    let mut contents = LetterFile::default();
    while let Some((_, letter)) = lines.read().map_err(unreadable)? {
        match letter {
            Some(dead_letter) if dead_letter.id == id => return Ok(dead_letter),
            Some(dead_letter) => contents.add(dead_letter.id),
            None => contents.broken += 1,
        }
    }
    Err(Error::NotFound {
        id,
        path: path.to_owned(),
        found: contents.described(),
    })
}

/// What a file holds besides what was looked for.
#[derive(Debug, Default)]
struct LetterFile {
    ids: Option<(u64, u64)>,
    broken: u64,
}

impl LetterFile {
    fn add(&mut self, id: u64) {
        let (first, last) = self.ids.unwrap_or((id, id));
        self.ids = Some((first.min(id), last.max(id)));
    }

    fn described(&self) -> String {
        match (self.ids, self.broken) {
            (None, 0) => "it is empty".into(),
            (None, _) => "its lines are no dead letters".into(),
            (Some((only, last)), _) if only == last => format!("the only one is {only}"),
            (Some((first, last)), _) => format!("there are {first} to {last}"),
        }
    }
}

/// Loads the component that `dead_letter` failed in, where the letter may read it, or instead of it the one at `instead`, which
/// the caller names.
///
/// # Errors
/// When no component saw the event, or it can't be loaded, or has changed since.
pub fn load(
    engine: &Engine,
    dead_letter: &DeadLetter,
    instead: Option<&str>,
    admission: &Admission,
) -> Result<Component, Error> {
    let setup = setup_of(dead_letter)?;
    let name = instead.unwrap_or(&setup.component);
    let loaded = if instead.is_some() || name.starts_with("builtin:") {
        engine.load_named(Path::new(name))
    } else {
        let disk = admission.access.disk(Usage::Read);
        engine.load_file_on(&*disk, Path::new(name), admission.compiling())
    };
    let component = loaded.map_err(|reason| Error::Component { reason })?;
    let recorded = dead_letter.component.as_deref().unwrap_or_default();
    if instead.is_none() && component.sha256() != recorded {
        return Err(Error::Changed {
            component: name.to_owned(),
            found: component.sha256().to_owned(),
            recorded: recorded.to_owned(),
        });
    }
    Ok(component)
}

/// The set-up of the operator that saw the event, if one did.
fn setup_of(dead_letter: &DeadLetter) -> Result<&OperatorSetup, Error> {
    let DeadLetter {
        id,
        operator,
        kind,
        reason,
        ..
    } = dead_letter;
    match &dead_letter.setup {
        None => Err(Error::NeverRan(format!(
            "dead letter {id} never reached an operator: source `{operator}` could not make an event of it ({reason})"
        ))),
        Some(_) if kind == "key" => Err(Error::NeverRan(format!(
            "dead letter {id} never reached the component of `{operator}`: the operator's `key` is not in it ({reason})"
        ))),
        Some(setup) => Ok(setup),
    }
}

/// Runs the event of `dead_letter` in `component`, with the limits that it failed under, as far as it may have them.
///
/// # Errors
/// When no component saw the event, this one is of another kind, or the dead letter is damaged.
pub async fn run(
    dead_letter: &DeadLetter,
    component: &Component,
    admission: &Admission,
    clock: Arc<dyn Clock>,
) -> Result<Replayed, Error> {
    let setup = setup_of(dead_letter)?;
    let limits = admission.capped(setup.limits);
    check_kind(component.kind(), setup)?;
    let batch = batch(dead_letter)?;
    let mut table = Table::default();
    if let Some(entry) = entry(dead_letter)?.filter(|_| dead_letter.window.is_none()) {
        table.restore(batch.keys.get(0), entry);
    }
    let instance_setup = Setup {
        schema: None,
        limits,
        config: pipeline::resolve(&setup.config, admission)
            .map_err(Error::Environment)?
            .to_string()
            .into(),
        log: Arc::new(GuestLog::new(
            &dead_letter.pipeline,
            &dead_letter.operator,
            clock.clone(),
            Arc::default(),
        )),
        quota: Arc::default(),
        seed: Seed::new(&dead_letter.pipeline, &dead_letter.operator),
        clock,
    };
    let mut instance = match Instance::activate(component, &instance_setup, SLICE_FUEL).await {
        Ok(instance) => instance,
        Err(unopened) => {
            return Ok(Replayed {
                result: Err(unopened.into()),
                fuel: 0,
            });
        }
    };
    let (request, plan) = if setup.order.is_some() {
        process_request(component, dead_letter, &batch, &mut table)
    } else if dead_letter.window.is_some() {
        (
            Request::Finish(match setup.window {
                Some(Window::Time(windows)) => timed::finish(&batch, windows, component.state_version()),
                Some(Window::Global { early_events }) => {
                    windows::finish(&batch, early_events, component.state_version())
                }
                Some(Window::Count(_)) | None => windows::finish(&batch, EarlyEvents::NONE, component.state_version()),
            }),
            None,
        )
    } else {
        request(component, &batch, &mut table, setup.window)
    };
    let budget = Budget {
        total: limits.fuel_per_event,
        slice: SLICE_FUEL,
    };
    // A dead letter does not tell it from others that were made of the same event: it is taken for the first of them.
    let origins = EventOrigins {
        source: dead_letter.event.source.as_str().into(),
        twins: vec![0],
    };
    let (answer, fuel) = instance.run_each(&request, &origins, budget).await;
    let result = answer
        .map_err(ReplayFailure::from)
        .and_then(|answer| made(answer, &batch, &mut table, plan, instance.schema()));
    Ok(Replayed { result, fuel })
}

fn batch(dead_letter: &DeadLetter) -> Result<Batch, Error> {
    let event = &dead_letter.event;
    let one = |bytes: Vec<u8>| {
        let mut column = Column::default();
        column.push(&bytes);
        Arc::new(column)
    };
    let damaged = |what| move |_| Error::Damaged { what };
    let value = match dead_letter.window {
        Some(_) => {
            let window = dead_letter.setup.as_ref().and_then(|setup| setup.window);
            let form = wiring::form(window, None);
            let bytes = entry_bytes(dead_letter).filter(|bytes| is_window(bytes, form));
            bytes.ok_or(Error::Damaged { what: "state" })?
        }
        None => event.value_bytes().map_err(damaged("value"))?,
    };
    Ok(Batch {
        times: Arc::new(vec![event.time.ok_or(Error::Damaged { what: "time" })?]),
        keys: one(event.key_bytes().map_err(damaged("key"))?),
        values: one(value).into(),
        fields: Fields::default(),
        positions: Arc::new(vec![event.position]),
        origin: Ticket::detached().into(),
    })
}

/// What was kept of the event's key.
fn entry(dead_letter: &DeadLetter) -> Result<Option<Entry>, Error> {
    if dead_letter.state.is_none() {
        return Ok(None);
    }
    let entry = entry_bytes(dead_letter).and_then(|bytes| Entry::decode(&bytes));
    entry.map(Some).ok_or(Error::Damaged { what: "state" })
}

/// The entry of state that a dead letter has; `None` where it has none, or what is none.
pub(super) fn entry_bytes(dead_letter: &DeadLetter) -> Option<Vec<u8>> {
    let bytes = BASE64_STANDARD.decode(dead_letter.state.as_ref()?).ok()?;
    Entry::decode(&bytes).map(|_| bytes)
}

/// Refuses a component that is of another kind than the one that saw the event.
fn check_kind(found: Kind, setup: &OperatorSetup) -> Result<(), Error> {
    let (fits, what) = match (setup.window, setup.order) {
        (Some(_), _) => (found == Kind::Reduce, "a window, which a reduce has"),
        (None, Some(_)) => (found == Kind::Process, "an order of events, which a process has"),
        (None, None) => (!found.is_stateful(), "neither a window nor an order of events"),
    };
    if fits { Ok(()) } else { Err(Error::Kind { found, what }) }
}

/// What to ask of a process: to process the event again, or to fire the timers.
fn process_request(
    component: &Component,
    dead_letter: &DeadLetter,
    batch: &Batch,
    table: &mut Table,
) -> (Request, Option<Plan>) {
    let version = component.state_version();
    let (process, plan) = match dead_letter.timers.as_ref().map(|timers| timers.until) {
        None => process::assign_events(table, batch, dead_letter.input.unwrap_or(0), 1, version),
        Some(until) => {
            let mut steps = Column::default();
            steps.push(&Step::Advance { until }.encode());
            let steps = Batch {
                values: steps.into(),
                ..batch.clone()
            };
            process::assign_steps(table, &steps, &dead_letter.operator.as_str().into(), 1, version)
        }
    };
    (Request::Process(process), Some(Plan::Process(plan)))
}

/// What to ask of a component that has been activated.
fn request(component: &Component, batch: &Batch, table: &mut Table, window: Option<Window>) -> (Request, Option<Plan>) {
    match window {
        None => (Request::Batch(batch.clone()), None),
        Some(Window::Count(size)) => count_request(component, batch, table, CountWindows::of(size)),
        Some(Window::Global { early_events }) => {
            count_request(component, batch, table, CountWindows::global(early_events))
        }
        Some(Window::Time(windows)) => {
            let (fold, plan) = timed::assign(table, batch, windows, 1, component.state_version(), || BEFORE_ALL);
            (Request::Fold(fold), Some(Plan::Time(plan)))
        }
    }
}

fn count_request(
    component: &Component,
    batch: &Batch,
    table: &mut Table,
    windows: CountWindows,
) -> (Request, Option<Plan>) {
    let (fold, plan) = windows::assign(table, batch, windows, 1, component.state_version());
    (Request::Fold(fold), Some(Plan::Count(plan)))
}

/// What a call does to the state of its event.
enum Plan {
    Count(windows::Plan),
    Time(timed::Plan),
    Process(process::Plan),
}

impl Plan {
    fn commit(self, table: &mut Table, states: &Column, timers: Option<&Timers>, items: &[Option<Arc<Items>>]) {
        match self {
            Self::Count(plan) => plan.commit(table, states),
            Self::Time(plan) => plan.commit(table, states),
            Self::Process(plan) => plan.commit(table, states, timers, items),
        };
    }
}

/// Why there is a plan where an answer changes state.
const HAS_PLAN: &str = "a call that changes state is run by a plan";

fn made(
    answer: Answer,
    batch: &Batch,
    table: &mut Table,
    plan: Option<Plan>,
    schema: &Schema,
) -> Result<ReplayResult, ReplayFailure> {
    match answer {
        Answer::Mapped(outputs) | Answer::Finished(Finished::Done(outputs)) => {
            expect_none(&outputs.failures)?;
            Ok(ReplayResult {
                outputs: listed(&outputs, None, &batch.keys).collect(),
                state: None,
            })
        }
        Answer::Filtered(filtered) => {
            expect_none(&filtered.failures)?;
            let kept = batch.gather(&filtered.kept);
            let values = kept.values.to_column();
            let pairs = kept.keys.iter().zip(values.iter());
            Ok(ReplayResult {
                outputs: pairs.map(|(key, value)| output(None, key, value)).collect(),
                state: None,
            })
        }
        Answer::Unread(rejected)
        | Answer::Folded(Folded::Rejected(rejected))
        | Answer::Processed(Processed::Rejected(rejected)) => {
            expect_none(&rejected)?;
            Ok(ReplayResult::default())
        }
        Answer::Folded(Folded::Unmigrated(failures))
        | Answer::Finished(Finished::Unmigrated(failures))
        | Answer::Processed(Processed::Unmigrated(failures)) => {
            let failure = failures.into_iter().next_back();
            Err(ReplayFailure {
                kind: "migrate",
                reason: failure
                    .expect("the one event or window has no state that can be read")
                    .message,
                backtrace: None,
            })
        }
        Answer::Folded(Folded::Done { accumulators, outputs }) => {
            expect_none(&outputs.failures)?;
            plan.expect(HAS_PLAN).commit(table, &accumulators, None, &[]);
            Ok(ReplayResult {
                outputs: listed(&outputs, None, &batch.keys).collect(),
                state: table.whole(batch.keys.get(0)).map(Cow::into_owned),
            })
        }
        Answer::Processed(Processed::Done(after)) => {
            expect_none(&after.outputs.failures)?;
            for named in &after.named {
                expect_none(&named.outputs.failures)?;
            }
            plan.expect(HAS_PLAN)
                .commit(table, &after.states, after.timers.as_ref(), &after.items);
            let named = after.named.iter().flat_map(|NamedOutputs { output, outputs }| {
                let name = &schema.named[*output].name;
                listed(outputs, Some(name), &batch.keys)
            });
            Ok(ReplayResult {
                outputs: listed(&after.outputs, None, &batch.keys).chain(named).collect(),
                state: table.whole(batch.keys.get(0)).map(Cow::into_owned),
            })
        }
    }
}

fn expect_none(rejections: &[Rejection]) -> Result<(), ReplayFailure> {
    rejections.first().map_or(Ok(()), |rejection| {
        Err(ReplayFailure {
            kind: "rejected",
            reason: rejection.message.clone(),
            backtrace: None,
        })
    })
}

/// The outputs of one event, whose key they inherit unless they have their own.
fn listed(outputs: &Outputs, name: Option<&str>, inherited: &Column) -> impl Iterator<Item = ReplayOutput> {
    let key = |index: usize| match &outputs.keys {
        Some(keys) => keys.get(index),
        None => inherited.get(0),
    };
    let values = outputs.values.to_column();
    let values = values.iter().enumerate();
    let all: Vec<ReplayOutput> = values.map(|(index, value)| output(name, key(index), value)).collect();
    all.into_iter()
}

fn output(name: Option<&str>, key: &[u8], value: &[u8]) -> ReplayOutput {
    ReplayOutput {
        name: name.map(str::to_owned),
        key: key.to_vec(),
        value: value.to_vec(),
    }
}

impl From<Trap> for ReplayFailure {
    fn from(trap: Trap) -> Self {
        Self {
            kind: trap.cause.name(),
            reason: trap.reason,
            backtrace: trap.backtrace,
        }
    }
}

impl From<Unopened> for ReplayFailure {
    fn from(unopened: Unopened) -> Self {
        match unopened {
            Unopened::Refused(message) => Self {
                kind: "config",
                reason: format!("the operator refuses its configuration: {message}"),
                backtrace: None,
            },
            Unopened::Late(_) => Self {
                kind: "config",
                reason: format!("the operator {unopened}"),
                backtrace: None,
            },
            Unopened::Trapped(trap) => Self {
                reason: format!("the operator cannot be opened: {}", trap.reason),
                ..trap.into()
            },
        }
    }
}
