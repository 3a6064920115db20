//! How outputs leave: in the order in which chunks were taken, for as long as a slice lasts.

use std::sync::Arc;
use std::time::Duration;

use super::slice_clock::SliceClock;
use super::{Phase, Replica};
use crate::{Actor, Runnable, Step, counters};

impl Replica {
    /// Lets outputs leave while there is time: those of the chunk that there are so far if it is its turn, the rest when it is
    /// finished, and those of other chunks that had to wait for them. Whether all have left that may.
    pub(super) fn drain(&mut self, actor: &Arc<Actor>, clock: &SliceClock) -> bool {
        let has_drained = self.send(actor, clock);
        if has_drained && self.chunk.is_none() {
            self.held.clear();
        }
        has_drained
    }

    fn send(&mut self, actor: &Arc<Actor>, clock: &SliceClock) -> bool {
        let forward = |batch| actor.operator.forward(batch);
        if let Some(chunk) = self.chunk.as_mut().filter(|chunk| !chunk.is_done()) {
            if actor.sequence.is_next(chunk.number) {
                while let Some(batch) = chunk.outputs.pop_front() {
                    forward(batch);
                    if !clock.is_left() {
                        return chunk.outputs.is_empty();
                    }
                }
            }
            return true;
        }
        let mut has_early = true;
        if let Some(chunk) = self.chunk.take() {
            actor.urgency(self.number).close();
            let completed = actor.sequence.complete(chunk.number, chunk.outputs, forward);
            has_early = completed.has_early;
            completed.unblocked.into_iter().for_each(Runnable::schedule);
        }
        while has_early {
            if !clock.is_left() {
                return false;
            }
            let completed = actor.sequence.send_early(forward);
            has_early = completed.has_early;
            completed.unblocked.into_iter().for_each(Runnable::schedule);
        }
        true
    }

    /// Goes on from where all outputs have left.
    pub(super) fn leave_draining(&mut self, actor: &Arc<Actor>, backoff: Option<Duration>) -> Option<Step> {
        let Some(backoff) = backoff else {
            self.phase.enter(Phase::Idle);
            return None;
        };
        self.phase.enter(Phase::Backoff);
        counters::add(&actor.operator.counters.quarantines, 1_u64);
        let runnable = self.runnable(actor);
        actor.operator.context.runtime.spawn(async move {
            tokio::time::sleep(backoff).await;
            runnable.schedule();
        });
        Some(Step::Parked)
    }
}
