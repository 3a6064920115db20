//! Events that wait in the state until event time has come to them: they leave before a turn, and no guest sees them yet.

use super::Replica;
use super::slice_clock::SliceClock;
use crate::driver::CountedKeys;
use crate::operator::EventFailure;
use crate::{Actor, counters};

/// Events between two looks at the clock, as long as none of them has to find its place among many.
const PIECE: usize = 16;

/// Bytes of a key's waiting events that are many.
const MANY_BYTES: u64 = 1 << 15;

impl Replica {
    /// Has events from the start of what is left of the chunk wait, where the operator is handed them in the order of their times, as long as the
    /// slice lasts. The keys of the first part are in the table, which took `load_ns`; where that lacks keys, no other part is touched. Whether what
    /// is left is nothing of that.
    pub(super) fn have_events_wait(&mut self, actor: &Actor, clock: &SliceClock, load_ns: u64) -> bool {
        let operator = &*actor.operator;
        let Some(process) = operator.driver.process().filter(|process| process.has_events_wait()) else {
            return true;
        };
        while let Some(chunk) = &self.chunk {
            let Some(next) = chunk.next().filter(|part| !process.are_due(&part.batch)) else {
                return true;
            };
            let batch = next.batch.clone();
            let twins = chunk.twins().map(<[u32]>::to_vec);
            let source = &operator.context.sources[usize::from(batch.origin.ticket.source())];
            let (mut taken, mut waiting) = (0, 0_u64);
            let mut piece = 1;
            while taken < batch.len() && clock.is_left_for_work(load_ns) {
                let events = taken..batch.len().min(taken + piece);
                taken = events.end;
                // What is due by now does not count: so that is not kept for long.
                let mut counted = CountedKeys::default();
                for event in events {
                    let twin = twins.as_ref().map_or(0, |twins| twins[event]);
                    match process.put_event(&mut self.table, &batch, event, (source, twin), &mut counted) {
                        Ok(change) => {
                            operator.open_windows.change(change);
                            waiting += 1;
                        }
                        Err(reason) => {
                            let failure = EventFailure::of("state", reason);
                            operator.send_to_dead_letters(&batch, event, failure);
                        }
                    }
                }
                piece = if counted.most > MANY_BYTES { 1 } else { PIECE };
            }
            if taken == 0 {
                return false;
            }
            let chunk = self.chunk.as_mut().expect("nothing has taken it");
            // Once a slice: what is cut off is copied.
            if taken < batch.len() {
                chunk.cut_next(taken);
            }
            let Some(part) = chunk.take_next() else { return true };
            counters::add(&operator.counters.absorbed, waiting);
            operator.next_due.note(self.table.next_due());
            Self::done(operator, &part.batch);
            self.update_quota(actor);
            if self.table.is_partial() && self.chunk.as_ref().is_some_and(|chunk| chunk.next().is_some()) {
                // The keys of the next part are still to be looked up.
                return false;
            }
        }
        true
    }
}
