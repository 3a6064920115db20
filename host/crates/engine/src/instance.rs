//! One activation: a store with a guest in it.
//!
//! Calls are futures that yield whenever a slice of fuel is burnt. After a trap the store is poisoned and the instance must
//! be dropped; it holds nothing that the host does not own.

use std::fmt;
use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::TypedFunc;

use super::Component;
use super::abi::{BatchArg, Broken, FoldArgs, RawFiltered, RawFolded, RawOutputs, validate_versions};
use super::contract::Kind;
use super::guest::Guest;
use super::landing::{self, Landed};
use super::migration::{Migration, Start};
use super::reaper::Mortal;
use super::trap::Trap;
use super::voice::Voice;
use super::way::Service;
use dirigo_ground::account::Account;
use dirigo_ground::batch::Column;
use dirigo_ground::call::{Answer, Folded, Foreign, Rejection, Request, StateVersions};
use dirigo_ground::clock::Clock;
use dirigo_ground::limits::Limits;

/// How much fuel `open` may burn, in events' worth: it may build tables or compile patterns that many events then use.
const OPEN_EVENTS: u64 = 100;
/// Bytes that one call may hand to the host, in all its lists together, beyond twice what it was given. The host copies
/// them without a pause to where they land: 2 MiB take 0.1 ms. Whoever makes more of a batch gets a smaller batch.
const RESULT_BYTES_ALLOWANCE: usize = 2 << 20;

/// What an instance is made from, besides its component.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What it may use.
    pub limits: Limits,
    /// What `open` gets: a JSON object.
    pub config: Arc<str>,
    /// Where what it says goes.
    pub voice: Arc<Voice>,
    /// Whose memory it takes.
    pub account: Arc<Account>,
    /// By which it lets others run while the host does something for it.
    pub clock: Arc<dyn Clock>,
}

impl Setup {
    /// The same, on a tenant's account.
    #[must_use]
    pub fn on_account(self, account: &Arc<Account>) -> Self {
        Self {
            voice: Arc::new(self.voice.on_account(account.clone())),
            account: account.clone(),
            ..self
        }
    }
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

type Accumulate = TypedFunc<FoldArgs, (RawFolded,)>;

enum Calls {
    Map(TypedFunc<(BatchArg,), (RawOutputs,)>),
    Filter(TypedFunc<(BatchArg,), (RawFiltered,)>),
    Reduce {
        accumulate: Accumulate,
        migration: Migration,
    },
}

/// A guest in its store, opened and ready for batches.
pub struct Instance {
    store: Mortal,
    calls: Calls,
}

impl Instance {
    /// Activates `component`: a fresh store, an instance, one call of `open`. Yields like any call.
    ///
    /// # Errors
    /// When the operator refuses its configuration, or traps.
    pub async fn activate(component: &Component, setup: &Setup, slice: u64) -> Result<Self, Unopened> {
        let mut store = new_store(component, setup);
        let total = setup.limits.fuel_per_event.saturating_mul(OPEN_EVENTS);
        let mut service = Service::new(setup.clock.clone());
        let opened = Self::open(
            component,
            &setup.config,
            &mut store,
            Budget { total, slice },
            &mut service,
        )
        .await;
        let unopened = match opened {
            Ok(Ok(calls)) => return Ok(Self { store, calls }),
            Ok(Err(message)) => Unopened::Refused(message),
            Err(error) => Unopened::Trapped(Trap::new(&error, store.data_mut())),
        };
        store.give_back(&mut service).await;
        Err(unopened)
    }

    /// Ends it: gives its memory back, and yields like a call.
    pub async fn end(self, clock: Arc<dyn Clock>) {
        self.store.give_back(&mut Service::new(clock)).await;
    }

    /// Which state `component` reads and writes, without opening it; `None` for a stateless one.
    ///
    /// # Errors
    /// When it traps, or makes no sense.
    pub async fn ask_state_versions(component: &Component, setup: &Setup) -> Result<Option<StateVersions>, Trap> {
        if component.kind() != Kind::Reduce || component.state_versions().is_some() {
            return Ok(component.state_versions());
        }
        let mut store = new_store(component, setup);
        let total = setup.limits.fuel_per_event;
        let ask = async |store: &mut Store<Guest>| {
            refuel(store, Budget { total, slice: total })?;
            let instance = component.pre().instantiate_async(&mut *store).await?;
            learn_state_versions(component, &instance, store).await
        };
        match ask(&mut store).await {
            Ok(()) => Ok(component.state_versions()),
            Err(error) => Err(Trap::new(&error, store.data_mut())),
        }
    }

    async fn open(
        component: &Component,
        config: &str,
        store: &mut Mortal,
        budget: Budget,
        service: &mut Service,
    ) -> wasmtime::Result<Result<Calls, String>> {
        refuel(store, budget)?;
        let instance = component.pre().instantiate_async(&mut **store).await?;
        let open = instance.get_typed_func::<(&str,), (Result<(), String>,)>(&mut **store, component.open())?;
        store.note_entry(*open.func());
        service.give_way_when_due().await;
        if component.kind() == Kind::Reduce && component.state_versions().is_none() {
            learn_state_versions(component, &instance, store).await?;
        }
        service.restart();
        if let (Err(message),) = open.call_async(&mut **store, (config,)).await? {
            return Ok(Err(message));
        }
        service.give_way_when_due().await;
        let functions = component.functions();
        Ok(Ok(match component.kind() {
            Kind::Map => Calls::Map(instance.get_typed_func(&mut **store, functions[0])?),
            Kind::Filter => Calls::Filter(instance.get_typed_func(&mut **store, functions[0])?),
            Kind::Reduce => Calls::Reduce {
                accumulate: instance.get_typed_func(&mut **store, functions[0])?,
                migration: Migration::new(instance, component),
            },
        }))
    }

    /// Runs one request to its end. Says how much fuel it burnt, whatever came of it.
    ///
    /// # Panics
    /// When the request is not of the component's kind.
    pub async fn run(&mut self, request: &Request, budget: Budget) -> (Result<Answer, Trap>, u64) {
        let mut migrating = None;
        let answer = self.call(request, budget, &mut migrating).await;
        let fuel = budget.total - self.store.get_fuel().expect("the engine counts fuel").min(budget.total);
        let answer = match answer {
            Ok(Ok(answer)) => match too_much_state(request, &answer, self.store.data().limits.state) {
                Some(trap) => Err(trap),
                None => Ok(answer),
            },
            Ok(Err(broken)) => Err(Trap::broken(&broken)),
            Err(error) => Err(Trap::new(&error, self.store.data_mut())),
        };
        let answer = answer.map_err(|trap| match migrating {
            Some((from, to)) => trap.of_migration(from, to),
            None => trap,
        });
        (answer, fuel)
    }

    /// Migrates accumulators of the version `from` by themselves, without a fold. Gives them, or those that the component
    /// cannot read.
    ///
    /// # Errors
    /// When it traps.
    ///
    /// # Panics
    /// When the component is no reduce.
    pub async fn migrate(
        &mut self,
        from: u32,
        accumulators: &Column,
        budget: Budget,
    ) -> Result<Result<Column, Vec<Rejection>>, Trap> {
        let Calls::Reduce { migration, .. } = &self.calls else {
            unreachable!("only a reduce keeps state")
        };
        let all = Foreign {
            version: from,
            groups: (0..).take(accumulators.len()).collect(),
        };
        let migrated = match refuel(&mut self.store, budget) {
            Ok(()) => migration.migrate(&mut self.store, accumulators, &all).await,
            Err(error) => Err(error),
        };
        migrated.map_err(|error| Trap::new(&error, self.store.data_mut()))
    }

    async fn call(
        &mut self,
        request: &Request,
        budget: Budget,
        migrating: &mut Option<(u32, u32)>,
    ) -> wasmtime::Result<Result<Answer, Broken>> {
        refuel(&mut self.store, budget)?;
        let allowed = request.size().saturating_mul(2).saturating_add(RESULT_BYTES_ALLOWANCE);
        self.store.set_hostcall_fuel(allowed);
        let guest = self.store.data_mut();
        guest.memory_denied = false;
        guest.last_words = None;
        Ok(match (&self.calls, request) {
            (Calls::Map(map), Request::Batch(batch)) => {
                let call = map.call_async(&mut *self.store, (batch.into(),));
                let ((raw,), landing) = landing::of(batch.len(), call).await?;
                let mut landed = Landed::of(landing, self.store.data()).await;
                raw.validate(batch.len(), &mut landed).await.map(Answer::Mapped)
            }
            (Calls::Filter(filter), Request::Batch(batch)) => {
                let call = filter.call_async(&mut *self.store, (batch.into(),));
                let ((raw,), landing) = landing::of(batch.len(), call).await?;
                let mut landed = Landed::of(landing, self.store.data()).await;
                raw.validate(batch.len(), &mut landed).await.map(Answer::Filtered)
            }
            (Calls::Reduce { accumulate, migration }, Request::Fold(fold)) => {
                let accumulators = match migration.start(&mut self.store, fold, migrating).await? {
                    Start::From(accumulators) => accumulators,
                    Start::Impossible(failures) => return Ok(Ok(Answer::Folded(Folded::Unmigrated(failures)))),
                };
                let args = (
                    (&fold.batch).into(),
                    fold.groups.clone(),
                    accumulators,
                    fold.closing.clone(),
                );
                let events = fold.batch.len();
                let call = accumulate.call_async(&mut *self.store, args);
                let ((raw,), landing) = landing::of(events, call).await?;
                let closing = fold.closing.as_ref().map_or(0, |windows| windows.len());
                let mut landed = Landed::of(landing, self.store.data()).await;
                raw.validate(events, fold.accumulators.len(), closing, &mut landed)
                    .await
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

fn new_store(component: &Component, setup: &Setup) -> Mortal {
    let mut store = Mortal::new(Store::new(component.pre().engine(), Guest::new(setup)));
    store.limiter_async(|guest| guest);
    store.set_hostcall_fuel(RESULT_BYTES_ALLOWANCE);
    store
}

async fn learn_state_versions(
    component: &Component,
    instance: &wasmtime::component::Instance,
    store: &mut Store<Guest>,
) -> wasmtime::Result<()> {
    let ask = instance.get_typed_func::<(), (StateVersions,)>(&mut *store, component.functions()[3])?;
    let (versions,) = ask.call_async(store, ()).await?;
    component.learn_state_versions(validate_versions(versions)?);
    Ok(())
}

/// The trap that an answer counts as which would keep more of a key than is allowed.
fn too_much_state(request: &Request, answer: &Answer, bytes_max: u64) -> Option<Trap> {
    let (Request::Fold(fold), Answer::Folded(Folded::Done { accumulators, .. })) = (request, answer) else {
        return None;
    };
    if accumulators.bytes().len() as u64 <= bytes_max {
        return None;
    }
    let closed = fold.closing.as_ref().map_or(0, |windows| windows.len());
    let (open, large) = accumulators
        .iter()
        .enumerate()
        .find(|(_, accumulator)| accumulator.len() as u64 > bytes_max)?;
    // Where several events made it, nobody knows which of them was too much.
    let mut made_by = (0..)
        .zip(fold.groups.iter())
        .filter(|&(_, &group)| group as usize == closed + open);
    let event = match (made_by.next(), made_by.next()) {
        (Some((event, _)), None) => Some(event),
        _ => None,
    };
    Some(Trap::too_much_state(large.len(), bytes_max, event))
}

fn refuel(store: &mut Store<Guest>, budget: Budget) -> wasmtime::Result<()> {
    store.set_fuel(budget.total)?;
    store.fuel_async_yield_interval(Some(budget.slice.max(1)))
}
