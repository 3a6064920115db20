//! `reduce` over count windows: a fold that closes those which it completes.

use super::merge::{self, Merge};
use super::{Call, Driver, Emission, Failed, Settled, Tally, mismatched, unread};
use dirigo_engine::{Component, Trap};
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::{self, Answer, Finished, Folded, Outputs, Rejection, Request};
use dirigo_ground::windowing::EarlyEvents;
use dirigo_state::windows::{self, CountWindows};
use dirigo_state::{Partials, Table};

/// Drives operators that fold events into count windows.
pub(super) struct Reduce {
    pub(super) component: Component,
    pub(super) windows: CountWindows,
}

/// A fold under way.
struct Fold {
    plan: windows::Plan,
    /// The events that bring early results, in their order.
    early_by: Vec<u32>,
    /// Of the windows that stay open, once there is an answer.
    accumulators: Column,
}

impl Driver for Reduce {
    fn begin(&self, table: &mut Table, turn: u32, batch: &Batch) -> (Request, Box<dyn Call>) {
        let (fold, plan) = windows::assign(table, batch, self.windows, turn, self.component.state_version());
        let call = Fold::new(plan, early_by(&fold));
        (Request::Fold(fold), Box::new(call))
    }

    /// Which events a count window holds follows from their order. A global window holds all.
    fn can_be_helped(&self) -> bool {
        self.windows == CountWindows::global(EarlyEvents::NONE)
    }

    fn merge(
        &self,
        table: &mut Table,
        turn: u32,
        events: &Batch,
        partials: &Partials,
    ) -> Option<(Request, Box<dyn Call>)> {
        let version = self.component.state_version();
        let (fold, plan) = windows::merge(table, partials, events, turn, version)?;
        Some((Request::Fold(fold), Box::new(Merge::new(plan, events.len()))))
    }

    fn finish(&self, batch: &Batch) -> (Request, Box<dyn Call>) {
        let finish = windows::finish(batch, self.windows.early_events, self.component.state_version());
        (Request::Finish(finish), Box::new(Finish))
    }
}

/// What may be kept of a key bounds its accumulator, and with that the answer of the guest.
impl merge::Plan for windows::Plan {
    fn is_too_large(&self, _: &Column) -> bool {
        false
    }

    fn commit(self, table: &mut Table, accumulators: &Column) -> windows::OpenChange {
        windows::Plan::commit(self, table, accumulators)
    }

    fn abandon(self, table: &mut Table) {
        windows::Plan::abandon(self, table);
    }
}

/// Windows being finished that have left the state: each by itself, so that one which fails takes nothing from the others.
pub(super) struct Finish;

/// The events that bring the early results of a fold.
pub(super) fn early_by(fold: &call::Fold) -> Vec<u32> {
    fold.early.as_ref().map_or_else(Vec::new, |early| early.events.clone())
}

/// Has what windows put out come of the events that bring it, with which it is lost if they fail.
pub(super) fn attribute(outputs: &mut Outputs, events: &[u32]) {
    let event_of = |window: &mut u32| *window = events[*window as usize];
    outputs.origins.iter_mut().for_each(event_of);
    let failures = outputs.failures.iter_mut();
    failures.for_each(|failure| event_of(&mut failure.index));
}

impl Fold {
    fn new(plan: windows::Plan, early_by: Vec<u32>) -> Self {
        Self {
            plan,
            early_by,
            accumulators: Column::default(),
        }
    }
}

impl Call for Fold {
    fn settle(&mut self, answer: Answer, batch: &Batch) -> Result<Settled, Trap> {
        let folded = match answer {
            Answer::Folded(folded) => folded,
            Answer::Unread(failures) => return Ok(unread(failures)),
            _ => return Err(mismatched()),
        };
        let failed = |kind, failures| Ok(Settled::Failed(Failed { kind, failures }));
        let (accumulators, mut outputs) = match folded {
            Folded::Done { accumulators, outputs } => (accumulators, outputs),
            Folded::Rejected(failures) => return failed("rejected", failures),
            Folded::Unmigrated(failures) => return failed("migrate", failures),
        };
        let has_early = !self.early_by.is_empty();
        let brought_by = if has_early {
            &self.early_by[..]
        } else {
            &self.plan.closed_by()[..]
        };
        attribute(&mut outputs, brought_by);
        let rejected: Vec<Rejection> = std::mem::take(&mut outputs.failures);
        // An event with which an early result fails stays out of its window, which goes on without it.
        if !rejected.is_empty() && (has_early || batch.len() > 1) {
            return failed("rejected", rejected);
        }
        self.accumulators = accumulators;
        Ok(Settled::Done {
            tally: Tally {
                absorbed: batch.len() - rejected.len(),
                ..Tally::default()
            },
            outputs: Emission::derived(outputs),
            rejected,
        })
    }

    fn commit(self: Box<Self>, table: &mut Table) -> windows::OpenChange {
        self.plan.commit(table, &self.accumulators)
    }

    fn abandon(self: Box<Self>, table: &mut Table) {
        self.plan.abandon(table);
    }
}

impl Call for Finish {
    fn settle(&mut self, answer: Answer, _: &Batch) -> Result<Settled, Trap> {
        let Answer::Finished(finished) = answer else {
            return Err(mismatched());
        };
        Ok(match finished {
            Finished::Done(mut outputs) => Settled::Done {
                rejected: std::mem::take(&mut outputs.failures),
                outputs: Emission::derived(outputs),
                // Their events were counted when they were taken in.
                tally: Tally::default(),
            },
            Finished::Unmigrated(failures) => Settled::Failed(Failed {
                kind: "migrate",
                failures,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{batch, rejection};
    use super::*;

    /// A fold of two events, each of which completes a window; and its answer, in which these fail to be finished.
    fn closing(batch: &Batch, failing: &[u32]) -> (Box<Fold>, Answer) {
        let (_, plan) = windows::assign(&mut Table::default(), batch, CountWindows::of(1), 1, 1);
        let windows = 0..u32::try_from(batch.len()).unwrap();
        let origins: Vec<u32> = windows.filter(|window| !failing.contains(window)).collect();
        let outputs = Outputs {
            values: Column::of_empty(origins.len()).into(),
            origins,
            failures: failing.iter().map(|window| rejection(*window)).collect(),
            ..Outputs::default()
        };
        let accumulators = Column::default();
        let answer = Answer::Folded(Folded::Done { accumulators, outputs });
        (Box::new(Fold::new(plan, Vec::new())), answer)
    }

    #[test]
    fn a_window_that_cannot_be_finished_fails_the_fold_unless_its_event_is_alone() {
        let two = batch(2);
        let (mut fold, answer) = closing(&two, &[1]);
        let settled = fold.settle(answer, &two).expect("it is no trap");
        let Settled::Failed(Failed { kind, failures }) = settled else {
            panic!("the fold takes no effect")
        };
        assert_eq!((kind, failures), ("rejected", vec![rejection(1)]));

        let one = batch(1);
        let (mut fold, answer) = closing(&one, &[0]);
        let settled = fold.settle(answer, &one).expect("it is no trap");
        let Settled::Done { rejected, tally, .. } = settled else {
            panic!("the event fails, and the fold takes effect")
        };
        assert_eq!((rejected.len(), tally), (1, Tally::default()));
    }

    #[test]
    fn an_event_whose_early_result_fails_stays_out_of_its_window() {
        let one = batch(1);
        let windows = CountWindows::global(EarlyEvents::every(1));
        let (fold, plan) = windows::assign(&mut Table::default(), &one, windows, 1, 1);
        let mut call = Fold::new(plan, early_by(&fold));
        let answer = Answer::Folded(Folded::Done {
            accumulators: Column::of_empty(1),
            outputs: Outputs {
                failures: vec![rejection(0)],
                ..Outputs::default()
            },
        });
        let Ok(Settled::Failed(Failed { kind, failures })) = call.settle(answer, &one) else {
            panic!("the fold takes no effect")
        };
        assert_eq!((kind, failures), ("rejected", vec![rejection(0)]));
    }

    #[test]
    fn outputs_come_of_the_events_that_completed_their_windows() {
        let three = batch(3);
        let mut table = Table::default();
        let keys = Batch {
            keys: std::sync::Arc::new({
                let mut keys = Column::default();
                [b"a", b"b", b"b"].iter().for_each(|key| keys.push(*key));
                keys
            }),
            ..three
        };
        let (_, plan) = windows::assign(&mut table, &keys, CountWindows::of(2), 1, 1);
        let mut fold = Fold::new(plan, Vec::new());
        let answer = Answer::Folded(Folded::Done {
            accumulators: Column::of_empty(1),
            outputs: Outputs {
                origins: vec![0],
                values: Column::of_empty(1).into(),
                ..Outputs::default()
            },
        });
        let settled = fold.settle(answer, &keys).expect("it is no trap");
        let Settled::Done {
            outputs: Emission::Derived { outputs, events },
            tally,
            ..
        } = settled
        else {
            panic!("the fold takes effect")
        };
        assert_eq!((outputs.origins, events, tally.absorbed), (vec![2], 1, 3));
        Box::new(fold).commit(&mut table);
        assert_eq!(table.len(), 1, "the window of `a` stays open");
    }
}
