//! State of an older version, before the call that touches it.
//!
//! Migrating is part of the turn: it burns the turn's fuel, and what it makes is kept only if the turn ends well. Most folds
//! have nothing to migrate, and pay for none of this.

use std::marker::PhantomData;
use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, Instance, Lift};

use super::state_functions::StateFunctions;
use crate::abi::{RawColumn, RawFailure, rejections};
use crate::call::call;
use crate::failure::{Failure, unmigrated};
use crate::guest::Guest;
use crate::list::List;
use crate::staging::Staged;
use crate::validation::{self, InvalidResult};
use dirigo_ground::batch::Column;
use dirigo_ground::call::{Rejection, StaleGroups};

pub(super) type Args = (u32, Column);

/// What the `migrate` of a kind returned.
pub(crate) trait RawMigrated: Lift + Staged + Send + Sync + 'static {
    /// The name of its list of states.
    const STATES: &'static str;

    /// What it made of older state, and what it could not read.
    fn into_parts(self) -> (RawColumn, List<RawFailure>);
}

/// The migrated ones of so many accumulators, or those among them that the component cannot read.
fn validate<R: RawMigrated>(migrated: R, items: usize) -> Result<Result<Column, Vec<Rejection>>, InvalidResult> {
    let (accumulators, failures) = migrated.into_parts();
    let failures = rejections(failures);
    validation::failures(&failures, items)?;
    if !failures.is_empty() {
        return Ok(Err(failures));
    }
    accumulators.validate_states(R::STATES, items).map(Ok)
}

/// What it takes to migrate in an instance. The function is looked up when it is first wanted, which for most is never.
pub(crate) struct Migration<R> {
    instance: Instance,
    migrate: ComponentExportIndex,
    /// The version of the component's state.
    written: u32,
    returned: PhantomData<fn() -> R>,
}

/// What a fold starts from, or what is finished.
pub(super) enum Start {
    /// These accumulators, all of the component's version.
    From(Arc<Column>),
    /// Nothing: the component cannot read the accumulators of these groups, in no order.
    Impossible(Vec<Rejection>),
}

impl<R: RawMigrated> Migration<R> {
    /// In an instance of a component with these functions, which was asked for its versions.
    pub(super) fn new(functions: &StateFunctions, instance: Instance) -> Self {
        let versions = functions.versions();
        Self {
            instance,
            migrate: functions.migrate,
            written: versions.expect("they are asked before an instance is opened").written,
            returned: PhantomData,
        }
    }

    /// The version of the component's state.
    pub(super) fn written(&self) -> u32 {
        self.written
    }

    /// Brings accumulators to the component's version, of which some are not.
    pub(super) async fn start(
        &self,
        store: &mut Store<Guest>,
        stored: &Arc<Column>,
        stale_groups: &[StaleGroups],
    ) -> Result<Start, Failure> {
        if stale_groups.is_empty() {
            return Ok(Start::From(stored.clone()));
        }
        let written = self.written;
        let mut failures = Vec::new();
        let mut migrated = Vec::with_capacity(stale_groups.len());
        for stale in stale_groups {
            let from = stale.version;
            if from > written {
                let reason =
                    format!("it was written by a newer version, {from}, of the operator; this one writes {written}");
                failures.extend(stale.groups.iter().map(|&group| Rejection {
                    index: group,
                    message: reason.clone(),
                }));
                continue;
            }
            let migrated_here = self.migrate(store, stored, stale).await;
            let of_migration = |failure| Failure::Migration {
                from,
                to: written,
                failure: Box::new(failure),
            };
            match migrated_here.map_err(of_migration)? {
                Ok(column) => migrated.push((stale, column)),
                Err(unread) => failures.extend(unread.into_iter().map(|failure| Rejection {
                    index: stale.groups[failure.index as usize],
                    message: unmigrated(from, written, &failure.message),
                })),
            }
        }
        if !failures.is_empty() {
            return Ok(Start::Impossible(failures));
        }
        let mut accumulators: Vec<&[u8]> = stored.iter().collect();
        for (stale, column) in &migrated {
            for (&group, accumulator) in stale.groups.iter().zip(column.iter()) {
                accumulators[group as usize] = accumulator;
            }
        }
        let mut column = Column::with_capacity(accumulators.len(), stored.bytes().len());
        accumulators
            .into_iter()
            .for_each(|accumulator| column.push(accumulator));
        Ok(Start::From(Arc::new(column)))
    }

    /// Brings the accumulators of these groups to the component's version, if it can read them.
    pub(super) async fn migrate(
        &self,
        store: &mut Store<Guest>,
        accumulators: &Column,
        stale: &StaleGroups,
    ) -> Result<Result<Column, Vec<Rejection>>, Failure> {
        let migrate = self.instance.get_typed_func::<Args, (R,)>(&mut *store, self.migrate)?;
        let args = (stale.version, accumulators.gather(&stale.groups));
        let items = stale.groups.len();
        let migrated = call(store, &migrate, args, items).await?;
        Ok(validate(migrated, items)?)
    }
}

/// The failures of groups as those of their events, in the order of the events.
pub(super) fn of_events(groups: &[u32], failures: &[Rejection]) -> Vec<Rejection> {
    let failure = |(event, group): (u32, &u32)| {
        let failed = failures.iter().find(|failed| failed.index == *group)?;
        Some(Rejection {
            index: event,
            message: failed.message.clone(),
        })
    };
    (0..).zip(groups).filter_map(failure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_of_a_group_that_cannot_be_migrated_fails() {
        let failed = |index, message: &str| Rejection {
            index,
            message: message.into(),
        };
        let failures = of_events(&[2, 0, 1, 2], &[failed(2, "no"), failed(0, "never")]);
        let told: Vec<_> = failures
            .iter()
            .map(|failure| (failure.index, failure.message.as_str()))
            .collect();
        assert_eq!(told, [(0, "no"), (1, "never"), (3, "no")]);
    }
}
