//! A fold of no events: it merges what a helper folded into the state of the keys.

use super::{Call, Emission, Failed, Settled, Tally, mismatched};
use dirigo_engine::Trap;
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::{Answer, Folded, Outputs};
use dirigo_state::Table;
use dirigo_state::windows::OpenChange;

/// What a merge will do to a table, once it succeeded.
pub(super) trait Plan: Send {
    /// Whether a key would keep more than it may with these accumulators. Which event is too much is not known then: all are folded one by one.
    fn is_too_large(&self, accumulators: &Column) -> bool;

    /// Takes effect.
    fn commit(self, table: &mut Table, accumulators: &Column) -> OpenChange;

    /// Leaves the table as it was.
    fn abandon(self, table: &mut Table);
}

/// A merge under way.
pub(super) struct Merge<P> {
    plan: P,
    /// How many events were folded to what is merged.
    events: usize,
    accumulators: Column,
}

impl<P: Plan> Merge<P> {
    /// Merges the partials of `events` events.
    pub(super) fn new(plan: P, events: usize) -> Self {
        Self {
            plan,
            events,
            accumulators: Column::default(),
        }
    }
}

impl<P: Plan> Call for Merge<P> {
    fn settle(&mut self, answer: Answer, _: &Batch) -> Result<Settled, Trap> {
        let failed = |kind| {
            Ok(Settled::Failed(Failed {
                kind,
                failures: Vec::new(),
            }))
        };
        match answer {
            Answer::Folded(Folded::Done { accumulators, .. }) => self.accumulators = accumulators,
            Answer::Folded(Folded::Unmigrated(_)) => return failed("migrate"),
            _ => return Err(mismatched()),
        }
        if self.plan.is_too_large(&self.accumulators) {
            return failed("state");
        }
        Ok(Settled::Done {
            tally: Tally {
                absorbed: self.events,
                ..Tally::default()
            },
            outputs: Emission::derived(Outputs::default()),
            rejected: Vec::new(),
        })
    }

    fn commit(self: Box<Self>, table: &mut Table) -> OpenChange {
        self.plan.commit(table, &self.accumulators)
    }

    fn abandon(self: Box<Self>, table: &mut Table) {
        self.plan.abandon(table);
    }
}
