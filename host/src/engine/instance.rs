//! One activation: a store with a guest in it.
//!
//! Calls are futures that yield whenever a slice of fuel is burnt. After a trap the store is poisoned and the instance must
//! be dropped; it holds nothing that the host does not own.

use std::fmt;
use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::TypedFunc;

use super::Component;
use super::abi::{BatchArg, Filtered, FoldArgs, Folded, Outputs, RawFiltered, RawFolded, RawOutputs, Windows};
use super::contract::Kind;
use super::guest::Guest;
use super::trap::Trap;
use super::voice::Voice;
use crate::batch::{Batch, Column};
use crate::pipeline::Limits;

/// How much fuel `open` may burn, in events' worth: it may build tables or compile patterns that many events then use.
const OPEN_EVENTS: u64 = 100;
/// Bytes that one call may hand to the host, in all its lists together; the memory limit of the guest bounds it too.
const RESULT_BYTES_MAX: usize = 64 << 20;

/// What an instance is made from, besides its component.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What it may use.
    pub limits: Limits,
    /// What `open` gets: a JSON object.
    pub config: Arc<str>,
    /// Where what it says goes.
    pub voice: Arc<Voice>,
}

/// Fuel for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Fuel after which the call traps.
    pub total: u64,
    /// Fuel after which it yields, again and again; at least 1.
    pub slice: u64,
}

/// Why there is no instance.
#[derive(Clone, Debug)]
pub enum Unopened {
    /// The operator refused its configuration, with this message.
    Refused(String),
    /// It trapped on the way.
    Trapped(Trap),
}

/// What one turn asks of a guest.
#[derive(Clone, Debug)]
pub enum Request {
    /// `map` or `filter` over a batch.
    Batch(Batch),
    /// `reduce.accumulate`.
    Fold(Fold),
}

/// The arguments of `reduce.accumulate`.
#[derive(Clone, Debug)]
pub struct Fold {
    /// The events.
    pub batch: Batch,
    /// The group of each.
    pub groups: Arc<Vec<u32>>,
    /// What each group starts from.
    pub accumulators: Arc<Column>,
    /// The windows of the first groups, which close.
    pub closing: Option<Arc<Windows>>,
}

/// What a guest answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// From `map`.
    Mapped(Outputs),
    /// From `filter`.
    Filtered(Filtered),
    /// From `reduce.accumulate`.
    Folded(Folded),
}

type Accumulate = TypedFunc<FoldArgs, (RawFolded,)>;

enum Calls {
    Map(TypedFunc<(BatchArg,), (RawOutputs,)>),
    Filter(TypedFunc<(BatchArg,), (RawFiltered,)>),
    Reduce { accumulate: Accumulate },
}

/// A guest in its store, opened and ready for batches.
pub struct Instance {
    store: Store<Guest>,
    calls: Calls,
}

impl Instance {
    /// Activates `component`: a fresh store, an instance, one call of `open`. Yields like any call.
    ///
    /// # Errors
    /// When the operator refuses its configuration, or traps.
    pub async fn activate(component: &Component, setup: &Setup, slice: u64) -> Result<Self, Unopened> {
        let mut store = Store::new(component.pre().engine(), Guest::new(setup.limits, setup.voice.clone()));
        store.limiter(|guest| guest);
        store.set_hostcall_fuel(RESULT_BYTES_MAX);
        let total = setup.limits.fuel_per_event.saturating_mul(OPEN_EVENTS);
        let opened = Self::open(component, &setup.config, &mut store, Budget { total, slice }).await;
        match opened {
            Ok(Ok(calls)) => Ok(Self { store, calls }),
            Ok(Err(message)) => Err(Unopened::Refused(message)),
            Err(error) => Err(Unopened::Trapped(Trap::new(&error, store.data_mut()))),
        }
    }

    async fn open(
        component: &Component,
        config: &str,
        store: &mut Store<Guest>,
        budget: Budget,
    ) -> wasmtime::Result<Result<Calls, String>> {
        refuel(store, budget)?;
        let instance = component.pre().instantiate_async(&mut *store).await?;
        let open = instance.get_typed_func::<(&str,), (Result<(), String>,)>(&mut *store, component.open())?;
        if let (Err(message),) = open.call_async(&mut *store, (config,)).await? {
            return Ok(Err(message));
        }
        let functions = component.functions();
        Ok(Ok(match component.kind() {
            Kind::Map => Calls::Map(instance.get_typed_func(&mut *store, functions[0])?),
            Kind::Filter => Calls::Filter(instance.get_typed_func(&mut *store, functions[0])?),
            Kind::Reduce => Calls::Reduce {
                accumulate: instance.get_typed_func(&mut *store, functions[0])?,
            },
        }))
    }

    /// Runs one request to its end. Says how much fuel it burnt, whatever came of it.
    ///
    /// # Panics
    /// When the request is not of the component's kind.
    pub async fn run(&mut self, request: &Request, budget: Budget) -> (Result<Answer, Trap>, u64) {
        let answer = self.call(request, budget).await;
        let fuel = budget.total - self.store.get_fuel().expect("the engine counts fuel").min(budget.total);
        let answer = match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(broken)) => Err(Trap::broken(&broken)),
            Err(error) => Err(Trap::new(&error, self.store.data_mut())),
        };
        (answer, fuel)
    }

    async fn call(
        &mut self,
        request: &Request,
        budget: Budget,
    ) -> wasmtime::Result<Result<Answer, super::abi::Broken>> {
        refuel(&mut self.store, budget)?;
        let guest = self.store.data_mut();
        guest.memory_denied = false;
        guest.last_words = None;
        Ok(match (&self.calls, request) {
            (Calls::Map(map), Request::Batch(batch)) => {
                let (raw,) = map.call_async(&mut self.store, (batch.into(),)).await?;
                raw.validate(batch.len()).map(Answer::Mapped)
            }
            (Calls::Filter(filter), Request::Batch(batch)) => {
                let (raw,) = filter.call_async(&mut self.store, (batch.into(),)).await?;
                raw.validate(batch.len()).map(Answer::Filtered)
            }
            (Calls::Reduce { accumulate }, Request::Fold(fold)) => {
                let args = (
                    (&fold.batch).into(),
                    fold.groups.clone(),
                    fold.accumulators.clone(),
                    fold.closing.clone(),
                );
                let (raw,) = accumulate.call_async(&mut self.store, args).await?;
                raw.validate(
                    fold.batch.len(),
                    fold.accumulators.len(),
                    fold.closing.as_ref().map_or(0, |windows| windows.len()),
                )
                .map(Answer::Folded)
            }
            _ => unreachable!("a request is made for the kind of its operator"),
        })
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Instance").finish_non_exhaustive()
    }
}

fn refuel(store: &mut Store<Guest>, budget: Budget) -> wasmtime::Result<()> {
    store.set_fuel(budget.total)?;
    store.fuel_async_yield_interval(Some(budget.slice.max(1)))
}
