//! One activation: a store with a guest in it.
//!
//! Calls are futures that yield whenever a slice of fuel is burnt. After a trap the store is poisoned and the instance must
//! be dropped; it holds nothing that the host does not own.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::ComponentExportIndex;

use crate::answers::Answers;
use crate::component::{Component, OpenArgs, Opened};
use crate::cooperative::Yielder;
use crate::driver::Driver;
use crate::failure::Failure;
use crate::fields;
use crate::guest::Guest;
use crate::reclaimer::StoreGuard;
use crate::seed::{EventIdentity, EventOrigins};
use crate::setup::{Budget, Setup};
use crate::trap::Trap;
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::{Answer, Rejection, Request, StaleGroups, StateVersions};
use dirigo_ground::clock::Clock;
use dirigo_ground::fields::Schema;

/// How much fuel `open` may burn, in events' worth: it may build tables or compile patterns that many events then use.
const OPEN_EVENTS: u64 = 100;
/// Bytes that one call may hand to the host, in all its lists together, beyond twice what it was given. The host copies
/// them without a pause to where they land: 2 MiB take 0.1 ms. A guest that makes more of a batch gets a smaller batch.
const RESULT_BYTES_ALLOWANCE: usize = 2 << 20;

/// Why there is no instance.
#[derive(Clone, Debug)]
pub enum Unopened {
    /// The operator refused its configuration, with this message.
    Refused(String),
    /// It trapped on the way.
    Trapped(Trap),
    /// It was not open after this many ms, and was given up.
    Late(u64),
}

impl fmt::Display for Unopened {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(message) => write!(formatter, "refuses its configuration: {message}"),
            Self::Trapped(trap) => write!(formatter, "cannot be opened: {}", trap.reason),
            Self::Late(ms) => write!(
                formatter,
                "cannot be opened: its `open` takes longer than {} s, which is its limit (`open` under `[operator.limits]`)",
                Duration::from_millis(*ms).as_secs_f64()
            ),
        }
    }
}

/// A guest in its store, opened and ready for batches.
pub struct Instance {
    store: StoreGuard,
    driver: Driver,
    schema: Arc<Schema>,
}

impl Instance {
    /// Activates `component`: a fresh store, an instance, one call of `open`. Yields like any call.
    ///
    /// # Errors
    /// When the operator refuses its configuration, traps, or takes longer than its limits allow.
    pub async fn activate(component: &Component, setup: &Setup, slice: u64) -> Result<Self, Unopened> {
        Self::activate_within(component, setup, slice, setup.limits.open_ms).await
    }

    /// Activates `component`, if that takes no longer than so many ms.
    ///
    /// # Errors
    /// As [`activate`](Self::activate).
    pub async fn activate_within(
        component: &Component,
        setup: &Setup,
        slice: u64,
        limit_ms: u64,
    ) -> Result<Self, Unopened> {
        let mut store = new_store(component, setup);
        let total = setup.limits.fuel_per_event.saturating_mul(OPEN_EVENTS);
        let mut yielder = Yielder::new(setup.clock.clone());
        let budget = Budget { total, slice };
        let opened = Self::open(component, &setup.config, &mut store, budget, &mut yielder);
        let opened = within(opened, &*setup.clock, limit_ms).await;
        let unopened = match opened {
            Some(Ok(Ok((driver, schema)))) => {
                return Ok(Self {
                    store,
                    driver,
                    schema: Arc::new(schema),
                });
            }
            Some(Ok(Err(message))) => Unopened::Refused(message),
            Some(Err(failure)) => Unopened::Trapped(Trap::of(failure, store.data_mut())),
            None => Unopened::Late(limit_ms),
        };
        store.reclaim(&mut yielder).await;
        Err(unopened)
    }

    /// What it reads and writes.
    #[must_use]
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Ends it: gives its memory back, and yields like a call.
    pub async fn end(self, clock: Arc<dyn Clock>) {
        self.store.reclaim(&mut Yielder::new(clock)).await;
    }

    /// Which state `component` reads and writes, without opening it; `None` for a stateless one.
    ///
    /// # Errors
    /// When it traps, or makes no sense.
    pub async fn ask_state_versions(component: &Component, setup: &Setup) -> Result<Option<StateVersions>, Trap> {
        let Some(state) = component.exports().state() else {
            return Ok(None);
        };
        if state.versions().is_none() {
            let mut store = new_store(component, setup);
            let total = setup.limits.fuel_per_event;
            let ask = async |store: &mut Store<Guest>| {
                refuel(store, Budget { total, slice: total })?;
                let instance = component.pre().instantiate_async(&mut *store).await?;
                state.learn_versions(instance, store).await
            };
            let asked = ask(&mut store).await;
            asked.map_err(|failure| Trap::of(failure, store.data_mut()))?;
        }
        Ok(state.versions())
    }

    /// Asks `component` how it lays out its state, if it keeps some and has not said so. One that traps over the question says nothing. One
    /// that does not answer within so many ms is asked again the next time.
    pub async fn learn_state_layout(component: &Component, setup: &Setup, limit_ms: u64) {
        let Some(state) = component.exports().state() else {
            return;
        };
        if let Some(layout) = state.layout_to_ask()
            && let Ok(answer) = ask_for_text(component, setup, layout, limit_ms).await
        {
            state.note_layout(answer);
        }
    }

    /// What settings `component` has: a JSON Schema, if it says so.
    pub async fn ask_settings(component: &Component, setup: &Setup) -> Option<String> {
        let settings = component.settings()?;
        ask_for_text(component, setup, settings, setup.limits.open_ms)
            .await
            .ok()
            .flatten()
    }

    async fn open(
        component: &Component,
        config: &str,
        store: &mut StoreGuard,
        budget: Budget,
        yielder: &mut Yielder,
    ) -> Result<Result<(Driver, Schema), String>, Failure> {
        refuel(store, budget)?;
        let instance = component.pre().instantiate_async(&mut **store).await?;
        let open = instance.get_typed_func::<OpenArgs<'_>, (Opened,)>(&mut **store, component.open())?;
        store.note_entry(*open.func());
        yielder.yield_if_due().await;
        if let Some(state) = component.exports().state() {
            state.learn_versions(instance, store).await?;
        }
        yielder.restart();
        let mut schema = match open.call_async(&mut **store, (config,)).await? {
            (Ok(schema),) => schema.validate(component.kind())?,
            (Err(message),) => return Ok(Err(message.into())),
        };
        yielder.yield_if_due().await;
        schema.named = component.exports().ask_named_outputs(instance, store).await?;
        let driver = Driver::new(component.exports(), instance, store, &schema)?;
        Ok(Ok((driver, schema)))
    }

    /// Runs a request as a call for each of its events: what the host answers the guest depends on the event. A fold has but one, and so
    /// have windows that are finished.
    ///
    /// # Panics
    /// As [`run`](Self::run), and when a fold, or what finishes windows, has several.
    pub async fn run_each(
        &mut self,
        request: &Request,
        origins: &EventOrigins,
        budget: Budget,
    ) -> (Result<Answer, Trap>, u64) {
        let batch = request.batch();
        let Request::Batch(_) = request else {
            assert_eq!(batch.len(), 1, "what several events make of state is one call");
            match request {
                Request::Process(process) if let Some(step) = &process.origin => {
                    let event = EventIdentity::of_step(step, batch);
                    self.store.data_mut().begin_event(event, batch.times[0]);
                }
                _ => self.begin_event(origins, batch, 0),
            }
            return self.run(request, budget).await;
        };
        let mut event = 0;
        let answer = self.call_each(batch, origins, budget, &mut event).await;
        let fuel = self.burnt(budget);
        let answer = answer.map_err(|failure| Trap {
            // The guest was handed no other.
            event: u32::try_from(event).ok(),
            ..Trap::of(failure, self.store.data_mut())
        });
        (answer, fuel)
    }

    fn begin_event(&mut self, origins: &EventOrigins, batch: &Batch, index: usize) {
        let event = EventIdentity::new(origins, batch, index);
        self.store.data_mut().begin_event(event, batch.times[index]);
    }

    /// Calls for the events of a batch in turn, from `event` on, which says afterwards at which it ended.
    async fn call_each(
        &mut self,
        batch: &Batch,
        origins: &EventOrigins,
        budget: Budget,
        event: &mut usize,
    ) -> Result<Answer, Failure> {
        self.prepare(batch.size(), budget)?;
        let mut yielder = self.store.data().yielder();
        let batch = &match fields::provide(batch, &self.schema, &mut yielder).await {
            Ok(batch) => batch,
            Err(failures) => return Ok(Answer::Unread(failures)),
        };
        let bytes_max = result_bytes_max(batch.size());
        let mut all = Answers::of(batch);
        while *event < batch.len() {
            self.begin_event(origins, batch, *event);
            // What the batch may come to holds for its events together.
            let left = bytes_max.saturating_sub(all.bytes());
            self.store.set_hostcall_fuel(left);
            let one = Request::Batch(batch.slice(*event..*event + 1));
            let mut answer = self.driver.run(&mut self.store, &one, &self.schema).await?;
            fields::write(&mut answer, one.batch(), &self.schema, left, &mut yielder).await?;
            all.add(*event, answer);
            *event += 1;
            yielder.yield_if_due().await;
        }
        Ok(all.into_answer())
    }

    /// Runs one request to its end. Says how much fuel it burnt, whatever came of it.
    ///
    /// # Panics
    /// When the request is not of the component's kind.
    pub async fn run(&mut self, request: &Request, budget: Budget) -> (Result<Answer, Trap>, u64) {
        let answer = self.call(request, budget).await;
        let fuel = self.burnt(budget);
        (answer.map_err(|failure| Trap::of(failure, self.store.data_mut())), fuel)
    }

    /// Has what the guest counted count: its answer takes effect.
    pub fn commit_counts(&mut self) {
        self.store.data_mut().commit_counts();
    }

    /// Forgets what the guest counted: its answer takes no effect.
    pub fn discard_counts(&mut self) {
        self.store.data_mut().discard_counts();
    }

    /// Migrates accumulators or states of the version `from` by themselves, without a call that touches them. Gives them, or those that the
    /// component cannot read.
    ///
    /// # Errors
    /// When it traps.
    ///
    /// # Panics
    /// When the component keeps no state.
    pub async fn migrate(
        &mut self,
        from: u32,
        accumulators: &Column,
        budget: Budget,
    ) -> Result<Result<Column, Vec<Rejection>>, Trap> {
        let all = StaleGroups {
            version: from,
            groups: (0..).take(accumulators.len()).collect(),
        };
        let migrated = match refuel(&mut self.store, budget) {
            Ok(()) => self.driver.migrate(&mut self.store, accumulators, &all).await,
            Err(error) => Err(error.into()),
        };
        migrated.map_err(|failure| Trap::of(failure, self.store.data_mut()))
    }

    async fn call(&mut self, request: &Request, budget: Budget) -> Result<Answer, Failure> {
        self.prepare(request.size(), budget)?;
        let has_values = !self.schema.raw || request.events().values.are_bytes();
        let has_fields =
            !(self.schema.reads.is_empty() && self.schema.writes.is_empty() && self.schema.named.is_empty());
        if has_values && !has_fields {
            return self.driver.run(&mut self.store, request, &self.schema).await;
        }
        self.call_with_fields(request).await
    }

    /// Calls for a request whose events lose fields on the way, or get some.
    async fn call_with_fields(&mut self, request: &Request) -> Result<Answer, Failure> {
        let mut yielder = self.store.data().yielder();
        let provided = match request {
            // Of windows nothing is read but what the host kept of them.
            Request::Finish(_) => request.clone(),
            _ => match fields::provide(request.events(), &self.schema, &mut yielder).await {
                Ok(batch) => request.with_batch(batch),
                Err(failures) => return Ok(Answer::Unread(of_steps(request, failures))),
            },
        };
        // Payloads that were made of records may be larger than what was counted for them.
        let bytes_max = result_bytes_max(provided.size());
        self.store.set_hostcall_fuel(bytes_max);
        let mut answer = self.driver.run(&mut self.store, &provided, &self.schema).await?;
        yielder.restart();
        fields::write(&mut answer, provided.batch(), &self.schema, bytes_max, &mut yielder).await?;
        Ok(answer)
    }

    /// Prepares for calls that are handed so many bytes, and burn no more than that together.
    fn prepare(&mut self, bytes: usize, budget: Budget) -> wasmtime::Result<()> {
        refuel(&mut self.store, budget)?;
        self.store.set_hostcall_fuel(result_bytes_max(bytes));
        let guest = self.store.data_mut();
        guest.memory_denied = false;
        guest.panic_message = None;
        Ok(())
    }

    /// What the calls since then have burnt.
    fn burnt(&self, budget: Budget) -> u64 {
        budget.total - self.store.get_fuel().expect("the engine counts fuel").min(budget.total)
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Instance").finish_non_exhaustive()
    }
}

/// What a function without arguments answers in an instance of its own: text, or nothing where it is empty, too long, or does not come.
/// It gets the same fuel whatever the limits are, so that what is known of a component does not depend on where it is placed.
async fn ask_for_text(
    component: &Component,
    setup: &Setup,
    function: &ComponentExportIndex,
    limit_ms: u64,
) -> Result<Option<String>, Late> {
    /// To tell an accumulator takes some 10,000 for each of its parts.
    const FUEL: u64 = 1_000_000_000;
    const SLICE_FUEL: u64 = 10_000_000;
    /// Longer than any type that a person writes down.
    const BYTES_MAX: usize = 64 << 10;
    let mut store = new_store(component, setup);
    let budget = Budget {
        total: FUEL,
        slice: SLICE_FUEL,
    };
    let ask = async |store: &mut Store<Guest>| {
        refuel(store, budget)?;
        let instance = component.pre().instantiate_async(&mut *store).await?;
        let ask = instance.get_typed_func::<(), (String,)>(&mut *store, function)?;
        ask.call_async(store, ()).await
    };
    let answered: wasmtime::Result<(String,)> = within(ask(&mut store), &*setup.clock, limit_ms).await.ok_or(Late)?;
    let text = answered.ok().map(|(text,)| text);
    Ok(text.filter(|text| (1..=BYTES_MAX).contains(&text.len())))
}

/// It did not answer in time: what it would say is not known.
struct Late;

/// What `future` comes to, if it runs for no more than so many ms. What it waits for a worker that others keep does not count. Looked
/// at where it yields: it burns fuel between.
async fn within<T>(future: impl Future<Output = T>, clock: &dyn Clock, limit_ms: u64) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut left_ns = limit_ms.saturating_mul(1_000_000);
    poll_fn(|context| {
        let started_ns = clock.now_ns();
        let polled = future.as_mut().poll(context);
        let used_ns = clock.now_ns().saturating_sub(started_ns);
        let is_over = used_ns > left_ns;
        left_ns = left_ns.saturating_sub(used_ns);
        match polled {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if is_over => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Failures of events as those of the steps that they are.
fn of_steps(request: &Request, mut failures: Vec<Rejection>) -> Vec<Rejection> {
    if let Request::Process(process) = request {
        failures
            .iter_mut()
            .for_each(|failure| failure.index = process.step_of(failure.index));
    }
    failures
}

/// What a guest may hand back for so many bytes of events.
fn result_bytes_max(bytes: usize) -> usize {
    bytes.saturating_mul(2).saturating_add(RESULT_BYTES_ALLOWANCE)
}

fn new_store(component: &Component, setup: &Setup) -> StoreGuard {
    let mut store = StoreGuard::new(Store::new(component.pre().engine(), Guest::new(setup)));
    store.limiter_async(|guest| guest);
    store.set_hostcall_fuel(RESULT_BYTES_ALLOWANCE);
    store
}

fn refuel(store: &mut Store<Guest>, budget: Budget) -> wasmtime::Result<()> {
    store.set_fuel(budget.total)?;
    store.fuel_async_yield_interval(Some(budget.slice.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cooperative::{done, yield_now};
    use dirigo_ground::clock::ManualClock;

    #[test]
    fn what_takes_longer_than_it_may_is_given_up_where_it_yields() {
        let clock = ManualClock::default();
        let working = async |yields: u64| {
            for _ in 0..yields {
                clock.advance(Duration::from_millis(10));
                yield_now().await;
            }
        };
        assert_eq!(done(within(working(5), &clock, 50)), (Some(()), 5));
        assert_eq!(done(within(working(u64::MAX), &clock, 50)), (None, 5));
    }

    #[test]
    fn what_it_waits_for_a_worker_does_not_count() {
        let clock = ManualClock::default();
        let mut opening = std::pin::pin!(within(
            async {
                for _ in 0..10 {
                    clock.advance(Duration::from_millis(5));
                    yield_now().await;
                }
            },
            &clock,
            50,
        ));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let opened = std::iter::repeat_with(|| {
            clock.advance(Duration::from_secs(1));
            opening.as_mut().poll(&mut context)
        });
        let opened = opened.take(11).find(Poll::is_ready);
        assert_eq!(opened, Some(Poll::Ready(Some(()))));
    }
}
