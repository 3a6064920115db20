//! Events that event time has passed already: they leave before a turn, and are counted.

use super::slice_clock::SliceClock;
use super::{Replica, Role};
use crate::mailbox::Chunk;
use crate::operator::Operator;
use dirigo_ground::windowing::TimeWindows;
use dirigo_state::timed;

impl Replica {
    /// What was taken, but for the events that are late whatever the state is.
    pub(super) fn without_late(&self, operator: &Operator, mut chunk: Chunk) -> Chunk {
        if self.role == Role::Closer || chunk.is_done {
            return chunk;
        }
        let late = match operator.time_windows() {
            Some(windows @ TimeWindows::Sliding(_)) => timed::late(&chunk.batch, windows),
            Some(TimeWindows::Session(_)) => return chunk,
            None => match operator.driver.process() {
                Some(process) => process.late(&chunk.batch),
                None => return chunk,
            },
        };
        if late.is_empty() {
            return chunk;
        }
        let mut rest = late.iter().peekable();
        let all = (0..).take(chunk.batch.len());
        let kept: Vec<u32> = all.filter(|event| rest.next_if_eq(&event).is_none()).collect();
        let dropped = chunk.batch.gather(&late);
        Self::done(operator, &dropped);
        operator.forward_late(dropped);
        chunk.batch = chunk.batch.gather(&kept);
        if !chunk.twins.is_empty() {
            chunk.twins = kept.iter().map(|event| chunk.twins[*event as usize]).collect();
        }
        chunk
    }

    /// Takes events from the start of what is left of the chunk that reach no session which is open, as long as the slice lasts. The keys of the
    /// first part are in the table, which took `load_ns`; where that lacks keys, no other part is touched. Whether the first that is left is none of
    /// those.
    pub(super) fn drop_late_first(&mut self, operator: &Operator, clock: &SliceClock, load_ns: u64) -> bool {
        let Some(TimeWindows::Session(session)) = operator.time_windows() else {
            return true;
        };
        let Some(chunk) = self.chunk.as_mut().filter(|_| self.role != Role::Closer) else {
            return true;
        };
        let mut looked_up = chunk.next().map_or(0, |part| part.batch.len());
        while let Some(part) = chunk.next() {
            if looked_up == 0 && self.table.is_partial() {
                return false;
            }
            if !timed::is_late(&self.table, &part.batch, 0, session) {
                return true;
            }
            if !clock.is_left_for_work(load_ns) {
                return false;
            }
            if part.batch.len() > 1 {
                chunk.cut_next(1);
            }
            looked_up = looked_up.saturating_sub(1);
            if let Some(late) = chunk.take_next() {
                Self::done(operator, &late.batch);
                operator.forward_late(late.batch);
            }
        }
        true
    }
}
