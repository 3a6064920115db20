//! `reduce` over windows in time: a fold that closes none of them, though some may have an early result, and the end of those that a watermark has
//! closed.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::merge::{self, Merge};
use super::reduce::{Finish, attribute, early_by};
use super::{Call, Driver, Emission, Failed, Settled, Tally, mismatched, time_to_come, unread};
use dirigo_engine::{Component, Trap};
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::{Answer, Folded, Rejection, Request};
use dirigo_ground::lineage::SourceIndex;
use dirigo_ground::windowing::TimeWindows;
use dirigo_state::{Partials, Segment, Table, timed, windows};

/// Drives operators that fold events into windows in time.
pub(super) struct TimedReduce {
    pub(super) component: Component,
    pub(super) windows: TimeWindows,
    /// Bytes that may be kept of one key.
    pub(super) state_bytes_max: u64,
    /// The lines that come to the operator, once they are known.
    pub(super) inputs: OnceLock<Arc<[SourceIndex]>>,
}

/// Windows that are due are counted apart from open ones once a key has more than the limit divided by this: below that, the fold is not
/// held up by counting.
const COUNTED_EXACTLY: u64 = 8;

/// A fold under way.
struct Fold {
    plan: timed::Plan,
    /// The group of each event.
    groups: Arc<Vec<u32>>,
    /// The events that bring early results, in their order.
    early_by: Vec<u32>,
    limit: Limit,
    /// Of the windows, once there is an answer.
    accumulators: Column,
}

/// What may be kept of one key.
struct Limit {
    state_bytes_max: u64,
    windows: TimeWindows,
    /// The lines that come to the operator.
    inputs: Arc<[SourceIndex]>,
}

/// A merge of what `events` were folded to.
struct Bounded {
    plan: timed::Plan,
    limit: Limit,
    events: Batch,
}

impl Driver for TimedReduce {
    fn begin(&self, table: &mut Table, turn: u32, batch: &Batch) -> (Request, Box<dyn Call>) {
        let inputs = self.inputs.get().cloned().unwrap_or_default();
        let watermark = || batch.origin.ticket.time_reached(&inputs);
        let (fold, mut plan) = timed::assign(
            table,
            batch,
            self.windows,
            turn,
            self.component.state_version(),
            watermark,
        );
        let limit = self.limit(&mut plan, table, batch, inputs);
        let call = Fold {
            plan,
            groups: fold.groups.clone(),
            early_by: early_by(&fold),
            limit,
            accumulators: Column::default(),
        };
        (Request::Fold(fold), Box::new(call))
    }

    /// Which sessions an event joins and which event brings an early result follows from the order of events.
    fn can_be_helped(&self) -> bool {
        matches!(self.windows, TimeWindows::Sliding(sliding) if sliding.early_events.are_none())
    }

    fn merge(
        &self,
        table: &mut Table,
        turn: u32,
        events: &Batch,
        partials: &Partials,
    ) -> Option<(Request, Box<dyn Call>)> {
        let TimeWindows::Sliding(sliding) = self.windows else {
            return None;
        };
        let inputs = self.inputs.get().cloned().unwrap_or_default();
        let watermark = || events.origin.ticket.time_reached(&inputs);
        let version = self.component.state_version();
        let (fold, mut plan) = timed::merge(table, partials, events, sliding, turn, version, watermark)?;
        let limit = self.limit(&mut plan, table, events, inputs);
        let plan = Bounded {
            plan,
            limit,
            events: events.clone(),
        };
        Some((Request::Fold(fold), Box::new(Merge::new(plan, events.len()))))
    }

    fn finish(&self, batch: &Batch) -> (Request, Box<dyn Call>) {
        let finish = timed::finish(batch, self.windows, self.component.state_version());
        (Request::Finish(finish), Box::new(Finish))
    }

    fn windows(&self) -> Option<TimeWindows> {
        Some(self.windows)
    }

    fn set_lines(&self, inputs: &[SourceIndex], _own: SourceIndex) {
        self.inputs.get_or_init(|| inputs.into());
    }
}

impl TimedReduce {
    /// What may be kept of the keys of a batch, once `plan` knows what they keep.
    fn limit(&self, plan: &mut timed::Plan, table: &Table, batch: &Batch, inputs: Arc<[SourceIndex]>) -> Limit {
        if plan.is_any_above(self.state_bytes_max / COUNTED_EXACTLY) {
            let to_come = time_to_come(&inputs, batch);
            plan.count_open(table, |segment| timed::is_due(self.windows, segment, to_come));
        }
        Limit {
            state_bytes_max: self.state_bytes_max,
            windows: self.windows,
            inputs,
        }
    }
}

impl Limit {
    /// The groups whose keys would keep more than they may with these accumulators, each with about how many bytes.
    fn exceeded(&self, plan: &timed::Plan, accumulators: &Column, batch: &Batch) -> BTreeMap<u32, u64> {
        let to_come = OnceCell::new();
        let is_due = |segment: Segment<'_>| {
            let to_come = to_come.get_or_init(|| time_to_come(&self.inputs, batch));
            timed::is_due(self.windows, segment, *to_come)
        };
        plan.too_large(accumulators, self.state_bytes_max, is_due)
    }
}

impl merge::Plan for Bounded {
    fn is_too_large(&self, accumulators: &Column) -> bool {
        !self.limit.exceeded(&self.plan, accumulators, &self.events).is_empty()
    }

    fn commit(self, table: &mut Table, accumulators: &Column) -> windows::OpenChange {
        self.plan.commit(table, accumulators)
    }

    fn abandon(self, table: &mut Table) {
        self.plan.abandon(table);
    }
}

impl Fold {
    /// The events of keys that would keep more than they may.
    fn too_large(&self, batch: &Batch) -> Vec<Rejection> {
        let keys = self.limit.exceeded(&self.plan, &self.accumulators, batch);
        if keys.is_empty() {
            return Vec::new();
        }
        let allowed = self.limit.state_bytes_max;
        let events = (0..).zip(self.groups.iter());
        let failed = events.filter_map(|(index, group)| {
            let bytes = keys.get(group)?;
            let message =
                format!("the open windows of its key would take {bytes} bytes, and its `state` limit allows {allowed}");
            Some(Rejection { index, message })
        });
        failed.collect()
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
        let mut outputs = match folded {
            Folded::Done { accumulators, outputs } => {
                self.accumulators = accumulators;
                outputs
            }
            Folded::Rejected(failures) => return failed("rejected", failures),
            Folded::Unmigrated(failures) => return failed("migrate", failures),
        };
        attribute(&mut outputs, &self.early_by);
        // An event with which an early result fails stays out of its window, which goes on without it.
        if !outputs.failures.is_empty() {
            return failed("rejected", outputs.failures);
        }
        let too_large = self.too_large(batch);
        if !too_large.is_empty() {
            return failed("state", too_large);
        }
        Ok(Settled::Done {
            tally: Tally {
                absorbed: batch.len(),
                ..Tally::default()
            },
            outputs: Emission::derived(outputs),
            rejected: Vec::new(),
        })
    }

    fn commit(self: Box<Self>, table: &mut Table) -> windows::OpenChange {
        self.plan.commit(table, &self.accumulators)
    }

    fn abandon(self: Box<Self>, table: &mut Table) {
        self.plan.abandon(table);
    }

    fn skip_optional_work(&self, table: &mut Table) -> bool {
        self.plan.pause_aggregates(table)
    }
}
