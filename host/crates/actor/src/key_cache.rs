//! The keys of a replica as a cache of the store: which ones it evicts where its tenant's memory is short, and which it
//! loads.
//!
//! Both happen before a turn, and are part of what the turn takes from its worker: turns get smaller where it takes long.

use super::Actor;
use super::replica::Replica;
use dirigo_ground::quota::MemoryPressure;
use dirigo_state::{self as state, Record};

/// Keys that the store is asked for before one turn: 64 take about 0.2 ms where the database is in memory. A turn that would
/// need more of them is cut.
const LOOKED_UP_MAX: usize = 64;

/// Keys that the store is asked for in one call: the entry of each may take a mebibyte.
const LOOKED_UP_AT_ONCE: usize = 8;
/// Bytes after which no further keys are asked for before a turn.
const LOOKED_UP_BYTES_MAX: usize = 1 << 20;

impl Replica {
    /// Sees to it that the next turn finds the keys of its events in the table. Gives the time that it took, in ns.
    pub(super) fn load_keys(&mut self, actor: &Actor) -> Result<u64, state::Error> {
        let context = &actor.operator.context;
        let pressure = context.instances.quota.memory_pressure();
        if pressure == MemoryPressure::None && !self.table.is_partial() {
            return Ok(0);
        }
        let started_ns = context.clock.now_ns();
        self.evict_keys(actor, pressure)?;
        if self.table.is_partial() {
            self.look_up(actor)?;
        }
        Ok(context.clock.now_ns() - started_ns)
    }

    /// Evicts keys, where memory is short and there are others to come.
    fn evict_keys(&mut self, actor: &Actor, pressure: MemoryPressure) -> Result<(), state::Error> {
        let context = &actor.operator.context;
        let committed = context.epochs.committed();
        let is_large = self.table.has_more_than(context.store.kept_min());
        let next = self.chunk.as_ref().and_then(|chunk| chunk.next());
        let events = next.map_or(0, |part| part.batch.len());
        let lacking = events.min(LOOKED_UP_MAX).saturating_sub(self.table.room());
        let records = match pressure {
            MemoryPressure::Exhausted if is_large => self.table.shrink(committed),
            MemoryPressure::High if is_large && lacking > 0 => self.table.evict(lacking, self.turns, committed),
            _ => self.table.evict_vacant(self.turns, committed),
        };
        self.spill(actor, records)
    }

    /// Gives records to the store.
    pub(super) fn spill(&mut self, actor: &Actor, records: Vec<Record>) -> Result<(), state::Error> {
        let operator = &actor.operator;
        let due = self.table.take_given_up();
        // Noted on both sides: who looks through the store meanwhile forgets what was noted before, and may be past these keys.
        due.into_iter().for_each(|due| operator.next_due.note_stored(due));
        operator.context.store.spill(&operator.id, records)?;
        due.into_iter().for_each(|due| operator.next_due.note_stored(due));
        self.update_quota(actor);
        Ok(())
    }

    /// Looks up the keys of the next turn that are missing, and leaves events whose keys would be too many to another.
    fn look_up(&mut self, actor: &Actor) -> Result<(), state::Error> {
        let Some(chunk) = &mut self.chunk else { return Ok(()) };
        let Some(batch) = chunk.next().map(|part| &part.batch) else {
            return Ok(());
        };
        let operator = &actor.operator;
        let bytes_before = self.table.bytes();
        let (mut admitted, mut looked_up) = (0, 0);
        let mut found = Ok(());
        while found.is_ok() && admitted < batch.len() && looked_up < LOOKED_UP_MAX {
            let keys = batch.keys.iter().skip(admitted);
            let (more, missing) = self.table.admit(keys, LOOKED_UP_AT_ONCE);
            found = operator.context.store.look_up(&operator.id, &missing, &mut self.table);
            admitted += more;
            looked_up += missing.len();
            if self.table.bytes() > bytes_before + LOOKED_UP_BYTES_MAX {
                break;
            }
        }
        operator.next_due.note(self.table.next_due());
        if admitted < batch.len() {
            chunk.cut_next(admitted);
        }
        found
    }
}
