//! `wit/process.wit`: state and timers by key.

use std::collections::BTreeSet;
use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, ComponentType, Instance, Lift, TypedFunc};

use super::migration::{self, Migration, Start};
use super::named_outputs::{self, RawProcessedUnderNames};
use super::state_functions::StateFunctions;
use crate::abi::{BatchArg, RawColumn, RawFailure, RawOutputs, rejections};
use crate::call::call;
use crate::contract::{Interface, Violation};
use crate::failure::Failure;
use crate::guest::Guest;
use crate::list::List;
use crate::staging::{Staged, Unstaging};
use crate::validation::{self, InvalidResult};
use dirigo_ground::call::{self as request, Advances, KeysAfter, Known, Processed, Rejection, Timers};
use dirigo_ground::fields::{NamedOutput, Schema};

pub(super) type Args = (
    BatchArg,
    Arc<Vec<u32>>,
    Option<Arc<Vec<u32>>>,
    Option<Arc<Advances>>,
    Known,
);

/// `process.timers` as a guest returned them.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawTimers {
    ends: List<u32>,
    times: List<i64>,
    names: RawColumn,
}

impl Staged for RawTimers {
    async fn unstage(&mut self, from: &mut Unstaging) {
        self.ends.unstage(from).await;
        self.times.unstage(from).await;
        self.names.unstage(from).await;
    }
}

impl RawTimers {
    /// Those of so many keys.
    fn validate(self, keys: usize) -> Result<Timers, InvalidResult> {
        let (ends, times) = (self.ends.into_items(), self.times.into_items());
        let names = validation::text(self.names.validate("timers.names", times.len())?)?;
        validation::same_length("timers.ends", ends.len(), keys)?;
        validation::in_order("timers.ends", &ends, times.len() + 1, |before, after| before <= after)?;
        let last = ends.last().map_or(0, |end| *end as usize);
        validation::same_length("timers.times", times.len(), last)?;
        let all = Timers { ends, times, names };
        match (0..keys).find(|&key| !are_in_order(&all, key)) {
            Some(key) => Err(InvalidResult::Timers { key }),
            None => Ok(all),
        }
    }
}

/// Whether the timers of a key rise, and each has a name of its own.
fn are_in_order(timers: &Timers, key: usize) -> bool {
    // Most keys have none or one.
    if timers.of(key).nth(1).is_none() {
        return true;
    }
    let mut names = BTreeSet::new();
    timers.of(key).is_sorted() && timers.of(key).all(|(_, name)| names.insert(name))
}

/// `process.processed` as a guest returned it.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawProcessed {
    states: RawColumn,
    timers: Option<RawTimers>,
    outputs: RawOutputs,
    times: List<i64>,
    rejected: List<RawFailure>,
}

impl Staged for RawProcessed {
    async fn unstage(&mut self, from: &mut Unstaging) {
        self.states.unstage(from).await;
        if let Some(timers) = &mut self.timers {
            timers.unstage(from).await;
        }
        self.outputs.unstage(from).await;
        self.times.unstage(from).await;
    }
}

impl RawProcessed {
    /// So many steps were handed over, of so many keys.
    pub(super) fn validate(self, steps: usize, keys: usize, schema: &Schema) -> Result<Processed, InvalidResult> {
        let rejected = rejections(self.rejected);
        validation::failures(&rejected, steps)?;
        if !rejected.is_empty() {
            return Ok(Processed::Rejected(rejected));
        }
        let mut outputs = self.outputs.validate(steps, schema)?;
        if !outputs.failures.is_empty() {
            return Err(InvalidResult::FailedOutputs);
        }
        let times = self.times.into_items();
        validation::same_length("times", times.len(), outputs.origins.len())?;
        outputs.times = Some(times);
        Ok(Processed::Done(Box::new(KeysAfter {
            states: self.states.validate("states", keys)?,
            timers: self.timers.map(|timers| timers.validate(keys)).transpose()?,
            items: Vec::new(),
            outputs,
            named: Vec::new(),
        })))
    }
}

/// `process.migrated` as a guest returned it.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawMigrated {
    states: RawColumn,
    failures: List<RawFailure>,
}

impl Staged for RawMigrated {
    async fn unstage(&mut self, from: &mut Unstaging) {
        self.states.unstage(from).await;
    }
}

impl migration::RawMigrated for RawMigrated {
    const STATES: &'static str = "states";

    fn into_parts(self) -> (RawColumn, List<RawFailure>) {
        (self.states, self.failures)
    }
}

/// Where the functions of a process are.
pub(crate) struct Exports {
    process: ComponentExportIndex,
    named_outputs: Option<named_outputs::Exports>,
    pub(super) state: StateFunctions,
}

impl Exports {
    pub(super) fn of(interface: &Interface<'_>, component: &Component) -> Result<Self, Violation> {
        Ok(Self {
            process: interface.function::<Args, (RawProcessed,)>("process")?,
            named_outputs: named_outputs::Exports::of(component)?,
            state: StateFunctions::of::<RawMigrated>(interface, component)?,
        })
    }

    /// Asks an instance that is open for the outputs that it has besides its own.
    pub(super) async fn ask_named_outputs(
        &self,
        instance: Instance,
        store: &mut Store<Guest>,
    ) -> Result<Vec<NamedOutput>, Failure> {
        match &self.named_outputs {
            Some(exports) => exports.ask(instance, store).await,
            None => Ok(Vec::new()),
        }
    }
}

/// The functions of an instance of a process.
pub(crate) struct Process {
    process: Function,
    migration: Migration<RawMigrated>,
}

/// What processes a batch.
enum Function {
    /// `process.process`.
    Unnamed(TypedFunc<Args, (RawProcessed,)>),
    /// `named-outputs.process`.
    UnderNames(TypedFunc<Args, (RawProcessedUnderNames,)>),
}

impl Function {
    /// Calls it with so many steps.
    async fn call(
        &self,
        store: &mut Store<Guest>,
        args: Args,
        steps: usize,
    ) -> wasmtime::Result<RawProcessedUnderNames> {
        match self {
            Self::Unnamed(process) => call(store, process, args, steps)
                .await
                .map(RawProcessedUnderNames::from),
            Self::UnderNames(process) => call(store, process, args, steps).await,
        }
    }
}

impl Process {
    pub(super) fn new(
        exports: &Exports,
        instance: Instance,
        store: &mut Store<Guest>,
        schema: &Schema,
    ) -> wasmtime::Result<Self> {
        Ok(Self {
            process: match &exports.named_outputs {
                Some(named) if !schema.named.is_empty() => Function::UnderNames(named.process(instance, store)?),
                _ => Function::Unnamed(instance.get_typed_func(store, exports.process)?),
            },
            migration: Migration::new(&exports.state, instance),
        })
    }

    /// What brings states to the component's version.
    pub(super) fn migration(&self) -> &Migration<RawMigrated> {
        &self.migration
    }

    pub(super) async fn run(
        &self,
        store: &mut Store<Guest>,
        request: &request::Process,
        schema: &Schema,
    ) -> Result<Processed, Failure> {
        let states = match self
            .migration
            .start(store, &request.known.states, &request.stale)
            .await?
        {
            Start::From(states) => states,
            Start::Impossible(failures) => return Ok(Processed::Unmigrated(of_steps(request, &failures))),
        };
        let (steps, keys) = (request.steps.len(), states.len());
        let known = Known {
            states,
            ..request.known.clone()
        };
        let args = (
            BatchArg::of(&request.events, schema),
            request.keys.clone(),
            request.inputs.clone(),
            request.advances.clone(),
            known,
        );
        let guest = store.data_mut();
        let bytes_max = guest.limits.state;
        let version = self.migration.written();
        guest.items.begin(&request.items, version, SET_BYTES_MAX, bytes_max);
        let processed = self.process.call(store, args, steps).await;
        let too_much = store.data().items.too_much().filter(|_| processed.is_err());
        let items = store.data_mut().items.end();
        if let Some(bytes) = too_much {
            return Err(Failure::TooMuchState {
                bytes,
                bytes_max,
                event: None,
            });
        }
        let mut processed = processed?.validate(steps, keys, schema)?;
        if let Processed::Done(after) = &mut processed {
            after.items = items;
            check_size(request, after, bytes_max)?;
        }
        Ok(processed)
    }
}

/// The numbers of the keys of the steps, in the order of the steps.
fn keys_of_steps(request: &request::Process) -> Vec<u32> {
    let mut keys = Vec::with_capacity(request.steps.len());
    let mut events = request.keys.iter().copied();
    if let Some(advances) = &request.advances {
        for (place, key) in (0..).zip(&advances.keys) {
            let before = advances.places[place] as usize + place;
            keys.extend(events.by_ref().take(before - keys.len()));
            keys.push(*key);
        }
    }
    keys.extend(events);
    keys
}

/// The failures of keys as those of their steps, in the order of the steps.
fn of_steps(request: &request::Process, failures: &[Rejection]) -> Vec<Rejection> {
    migration::of_events(&keys_of_steps(request), failures)
}

/// Refuses what is more than may be kept of a key.
fn check_size(request: &request::Process, after: &KeysAfter, bytes_max: u64) -> Result<(), Failure> {
    let (states, timers) = (&after.states, after.timers.as_ref());
    let of_items = |key: usize| {
        let changed = after.items.get(key).and_then(Option::as_ref);
        let items = changed.or_else(|| request.items.get(key)?.as_ref());
        items.map_or(0, |items| items.bytes())
    };
    let items: usize = (0..states.len()).map(of_items).sum();
    let all = states.bytes().len() + timers.map_or(0, Timers::size) + items;
    if all as u64 <= bytes_max {
        return Ok(());
    }
    let of_timers = |key| {
        let timers = timers.into_iter().flat_map(|timers| timers.of(key));
        timers.map(|(_, name)| TIMER_BYTES + name.len()).sum::<usize>()
    };
    let mut sizes = states
        .iter()
        .enumerate()
        .map(|(key, state)| (key, state.len() + of_timers(key) + of_items(key)));
    let Some((key, bytes)) = sizes.find(|(_, bytes)| *bytes as u64 > bytes_max) else {
        return Ok(());
    };
    // Where several steps made it, it is not known which of them was too much.
    let keys = keys_of_steps(request);
    let mut made_by = (0..).zip(&keys).filter(|(_, of_step)| **of_step as usize == key);
    let event = match (made_by.next(), made_by.next()) {
        (Some((step, _)), None) => Some(step),
        _ => None,
    };
    Err(Failure::TooMuchState {
        bytes,
        bytes_max,
        event,
    })
}

/// How many bytes of items one call may set at most: the tenant's quota counts them only when the call has ended.
const SET_BYTES_MAX: usize = 16 << 20;
/// What a timer takes besides its name.
const TIMER_BYTES: usize = size_of::<i64>() + size_of::<u32>();
