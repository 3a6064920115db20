//! `wit/reduce.wit`: a fold over keys and windows.

mod merging;

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, ComponentType, Instance, Lift, TypedFunc};

use crate::abi::{BatchArg, RawColumn, RawFailure, RawOutputs, rejections};
use crate::call::call;
use crate::contract::{Interface, Violation};
use crate::failure::Failure;
use crate::guest::Guest;
use crate::list::List;
use crate::staging::{Staged, Unstaging};
use crate::validation::{self, InvalidResult};
use dirigo_ground::batch::Column;
use dirigo_ground::call::{Finish, Finished, Fold, Folded, Outputs, Rejection, Windows};
use dirigo_ground::fields::Schema;

use super::migration::{self, Migration, Start};
use super::state_functions::StateFunctions;
use merging::Merging;

type Args = (BatchArg, Arc<Vec<u32>>, Arc<Column>, Option<Arc<Windows>>);
type FinishArgs = (Arc<Windows>, Arc<Column>);

/// `reduce.folded` as a guest returned it.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawFolded {
    accumulators: RawColumn,
    outputs: RawOutputs,
    rejected: List<RawFailure>,
}

impl Staged for RawFolded {
    async fn unstage(&mut self, from: &mut Unstaging) {
        self.accumulators.unstage(from).await;
        self.outputs.unstage(from).await;
    }
}

impl RawFolded {
    /// `events` were handed over, in `groups` groups of which the first `closing` close.
    fn validate(self, events: usize, groups: usize, closing: usize, schema: &Schema) -> Result<Folded, InvalidResult> {
        let rejected = rejections(self.rejected);
        validation::failures(&rejected, events)?;
        if !rejected.is_empty() {
            return Ok(Folded::Rejected(rejected));
        }
        Ok(Folded::Done {
            accumulators: self.accumulators.validate_states("accumulators", groups - closing)?,
            outputs: self.outputs.validate(closing, schema)?,
        })
    }
}

/// `reduce.migrated` as a guest returned it.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawMigrated {
    accumulators: RawColumn,
    failures: List<RawFailure>,
}

impl Staged for RawMigrated {
    async fn unstage(&mut self, from: &mut Unstaging) {
        self.accumulators.unstage(from).await;
    }
}

impl migration::RawMigrated for RawMigrated {
    const STATES: &'static str = "accumulators";

    fn into_parts(self) -> (RawColumn, List<RawFailure>) {
        (self.accumulators, self.failures)
    }
}

/// Where the functions of a reduce are.
pub(crate) struct Exports {
    accumulate: ComponentExportIndex,
    finish: ComponentExportIndex,
    merge: ComponentExportIndex,
    pub(super) state: StateFunctions,
}

impl Exports {
    pub(super) fn of(interface: &Interface<'_>, component: &Component) -> Result<Self, Violation> {
        Ok(Self {
            accumulate: interface.function::<Args, (RawFolded,)>("accumulate")?,
            finish: interface.function::<FinishArgs, (RawOutputs,)>("finish")?,
            merge: interface.function::<merging::Args, (RawColumn,)>("merge")?,
            state: StateFunctions::of::<RawMigrated>(interface, component)?,
        })
    }
}

/// The functions of an instance of a reduce.
pub(crate) struct Reduce {
    instance: Instance,
    accumulate: TypedFunc<Args, (RawFolded,)>,
    /// Looked up when it is first wanted, which for most is never.
    finish: ComponentExportIndex,
    merging: Merging,
    migration: Migration<RawMigrated>,
}

impl Reduce {
    pub(super) fn new(exports: &Exports, instance: Instance, store: &mut Store<Guest>) -> wasmtime::Result<Self> {
        Ok(Self {
            instance,
            accumulate: instance.get_typed_func(store, exports.accumulate)?,
            finish: exports.finish,
            merging: Merging {
                instance,
                merge: exports.merge,
            },
            migration: Migration::new(&exports.state, instance),
        })
    }

    pub(super) async fn fold(&self, store: &mut Store<Guest>, fold: &Fold, schema: &Schema) -> Result<Folded, Failure> {
        let accumulators = match self.migration.start(store, &fold.accumulators, &fold.stale).await? {
            Start::From(accumulators) => accumulators,
            Start::Impossible(failures) => {
                let failures = of_owners(fold.merged.as_deref(), failures);
                return Ok(Folded::Unmigrated(migration::of_events(&fold.groups, &failures)));
            }
        };
        let accumulators = self.merged(store, accumulators, fold.merged.as_deref()).await?;
        if fold.batch.is_empty() && fold.closing.is_none() {
            return merged_alone(fold, accumulators, store.data().limits.state);
        }
        let groups = accumulators.len();
        let events = fold.batch.len();
        let args = (
            BatchArg::of(&fold.batch, schema),
            fold.groups.clone(),
            accumulators,
            fold.closing.clone(),
        );
        let folded = call(store, &self.accumulate, args, events).await?;
        let mut folded = folded.validate(events, groups, closing(fold), schema)?;
        if let Folded::Done { accumulators, outputs } = &mut folded {
            check_size(fold, accumulators, store.data().limits.state)?;
            if let Some(early) = &fold.early {
                let of_groups = Arc::new(accumulators.gather(&early.groups));
                // Few folds have some: what finishes them is kept out of the turns of the others.
                *outputs = Box::pin(self.finished(store, early.windows.clone(), of_groups, schema)).await?;
            }
        }
        Ok(folded)
    }

    pub(super) async fn finish(
        &self,
        store: &mut Store<Guest>,
        finish: &Finish,
        schema: &Schema,
    ) -> Result<Finished, Failure> {
        let started = self.migration.start(store, &finish.accumulators, &finish.stale).await?;
        let accumulators = match started {
            Start::From(accumulators) => accumulators,
            Start::Impossible(failures) => {
                let owned = finish.merged.as_deref().map(|rounds| merging::of_rounds(rounds));
                let mut failures = of_owners(owned.as_ref(), failures);
                failures.sort_unstable_by_key(|failure| failure.index);
                return Ok(Finished::Unmigrated(failures));
            }
        };
        let mut accumulators = accumulators;
        for round in finish.merged.iter().flat_map(|rounds| rounds.iter()) {
            accumulators = self.merged(store, accumulators, Some(round)).await?;
        }
        let outputs = self
            .finished(store, finish.windows.clone(), accumulators, schema)
            .await?;
        Ok(Finished::Done(outputs))
    }

    /// What windows emit, each of which has one accumulator.
    async fn finished(
        &self,
        store: &mut Store<Guest>,
        windows: Arc<Windows>,
        accumulators: Arc<Column>,
        schema: &Schema,
    ) -> Result<Outputs, Failure> {
        let count = windows.len();
        let function = self
            .instance
            .get_typed_func::<FinishArgs, (RawOutputs,)>(&mut *store, self.finish)?;
        let outputs = call(store, &function, (windows, accumulators), count).await?;
        Ok(outputs.validate(count, schema)?)
    }

    /// One accumulator for each group or window, where some have several.
    async fn merged(
        &self,
        store: &mut Store<Guest>,
        accumulators: Arc<Column>,
        counts: Option<&Vec<u32>>,
    ) -> Result<Arc<Column>, Failure> {
        match counts {
            None => Ok(accumulators),
            // Few have several: what merges is kept out of the turns of the others, which are smaller without it.
            Some(counts) => Box::pin(self.merging.merged(store, accumulators, counts)).await,
        }
    }

    /// What brings accumulators to the component's version.
    pub(super) fn migration(&self) -> &Migration<RawMigrated> {
        &self.migration
    }
}

/// What becomes of a fold that merges only.
fn merged_alone(fold: &Fold, accumulators: Arc<Column>, bytes_max: u64) -> Result<Folded, Failure> {
    check_size(fold, &accumulators, bytes_max)?;
    Ok(Folded::Done {
        accumulators: Arc::unwrap_or_clone(accumulators),
        outputs: Outputs::default(),
    })
}

/// Failures of accumulators as those of the groups or windows that have them.
fn of_owners(counts: Option<&Vec<u32>>, failures: Vec<Rejection>) -> Vec<Rejection> {
    match counts {
        None => failures,
        Some(counts) => merging::of_groups(counts, failures),
    }
}

/// How many windows close with a fold.
fn closing(fold: &Fold) -> usize {
    fold.closing.as_ref().map_or(0, |windows| windows.len())
}

/// Refuses accumulators of which one is larger than what may be kept of a key.
fn check_size(fold: &Fold, accumulators: &Column, bytes_max: u64) -> Result<(), Failure> {
    if accumulators.bytes().len() as u64 <= bytes_max {
        return Ok(());
    }
    let too_large = |(_, accumulator): &(usize, &[u8])| accumulator.len() as u64 > bytes_max;
    let Some((open, large)) = accumulators.iter().enumerate().find(too_large) else {
        return Ok(());
    };
    // Where several events made it, nobody knows which of them was too much.
    let group = closing(fold) + open;
    let mut made_by = (0..)
        .zip(fold.groups.iter())
        .filter(|&(_, &of_event)| of_event as usize == group);
    let event = match (made_by.next(), made_by.next()) {
        (Some((event, _)), None) => Some(event),
        _ => None,
    };
    Err(Failure::TooMuchState {
        bytes: large.len(),
        bytes_max,
        event,
    })
}
