//! `reduce` over windows in time: a fold that closes none of them, though some may have an early result, and the end of those that a watermark has
//! closed.

use std::cell::OnceCell;
use std::sync::{Arc, OnceLock};

use super::reduce::{Finish, attribute, early_by};
use super::{Call, Driver, Emission, Failed, Settled, Tally, mismatched, time_to_come, unread};
use dirigo_engine::{Component, Trap};
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::{Answer, Folded, Rejection, Request};
use dirigo_ground::lineage::SourceIndex;
use dirigo_ground::windowing::TimeWindows;
use dirigo_state::{Segment, Table, timed, windows};

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
    state_bytes_max: u64,
    windows: TimeWindows,
    inputs: Arc<[SourceIndex]>,
    /// Of the windows, once there is an answer.
    accumulators: Column,
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
        if plan.is_any_above(self.state_bytes_max / COUNTED_EXACTLY) {
            let to_come = time_to_come(&inputs, batch);
            plan.count_open(table, |segment| timed::is_due(self.windows, segment, to_come));
        }
        let call = Fold {
            plan,
            groups: fold.groups.clone(),
            early_by: early_by(&fold),
            state_bytes_max: self.state_bytes_max,
            windows: self.windows,
            inputs,
            accumulators: Column::default(),
        };
        (Request::Fold(fold), Box::new(call))
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

impl Fold {
    /// The events of keys that would keep more than they may.
    fn too_large(&self, batch: &Batch) -> Vec<Rejection> {
        let to_come = OnceCell::new();
        let is_due = |segment: Segment<'_>| {
            let to_come = to_come.get_or_init(|| time_to_come(&self.inputs, batch));
            timed::is_due(self.windows, segment, *to_come)
        };
        let keys = self.plan.too_large(&self.accumulators, self.state_bytes_max, is_due);
        if keys.is_empty() {
            return Vec::new();
        }
        let allowed = self.state_bytes_max;
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
