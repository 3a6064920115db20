//! Tables that do not hold every key: what they evict where memory is short, and what they load again.
//!
//! A table becomes partial when it evicts its first key, or when there are too many to load at once. From then on a key
//! that is missing may still be known to the store, which is asked before a turn. So the store has to know of everything that
//! leaves, closed windows included, before the next turn begins; that is why whatever frees slots gives records to be spilled.

use super::hash;
use super::slots::{Slot, Slots};
use super::table::{Record, Table};
use dirigo_ground::lineage::Epoch;

/// Slots that are freed in one go: 128 records are spilled in about 0.2 ms.
const FREED_AT_ONCE: usize = 128;
/// Bytes of entries that are freed in one go, or one entry that has more: they are copied in about 0.1 ms.
const FREED_BYTES_AT_ONCE: usize = 256 << 10;
/// Slots that are looked at for each that is to be freed. Where all of them were touched lately, one of those has to go.
const VISITS: usize = 4;

/// The hand of a clock that goes round the slots, and finds those that were not touched since it came by two rounds ago.
#[derive(Debug, Default)]
pub(super) struct ClockHand {
    place: u32,
    /// The turns in which this round and the one before began.
    rounds: [u32; 2],
}

impl ClockHand {
    /// Goes on to the next slot. Gives its number, and whether it was touched lately.
    fn advance(&mut self, slots: &Slots, turn: u32) -> (u32, bool) {
        if self.place as usize >= slots.len() {
            self.place = 0;
            self.rounds = [turn, self.rounds[0]];
        }
        let number = self.place;
        self.place += 1;
        // Turns are counted round and round, so that only what lies between two of them tells which was before.
        let age = |of: u32| turn.wrapping_sub(of);
        (number, age(slots.at(number).turn) <= age(self.rounds[1]))
    }
}

impl Table {
    /// Whether the store may know keys that are not here, so that it has to be asked for them.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// Notes that the store knows keys that were not loaded.
    pub fn note_partial(&mut self) {
        debug_assert!(self.forgotten.is_empty(), "nothing was swept out of a new table");
        self.is_partial = true;
    }

    /// Whether it has more than so many keys.
    #[must_use]
    pub fn has_more_than(&self, keys: usize) -> bool {
        self.slots.len() - self.free.len() > keys
    }

    /// Whether so much is in it that it should leave piece by piece: more than so many keys, or a mebibyte.
    #[must_use]
    pub fn is_large(&self, keys: usize) -> bool {
        const BYTES: usize = 1 << 20;
        self.has_more_than(keys) || (self.outside > BYTES && self.has_more_than(1))
    }

    /// How many new keys it can take without more memory for slots.
    #[must_use]
    pub fn room(&self) -> usize {
        self.free.len() + self.slots.capacity() - self.slots.len()
    }

    /// Finds or makes slots for `keys`, in their order, and stops where more than `missing_max` of them were missing. Gives how
    /// many have a slot now, and those of them that had none.
    pub fn admit<'a>(&mut self, keys: impl Iterator<Item = &'a [u8]>, missing_max: usize) -> (usize, Vec<&'a [u8]>) {
        let mut missing = Vec::new();
        let mut admitted = 0;
        for key in keys {
            if self.find(hash::key(key), key).is_none() {
                if missing.len() == missing_max {
                    break;
                }
                missing.push(key);
                self.slot_of(key);
            }
            admitted += 1;
        }
        (admitted, missing)
    }

    /// Frees so many slots, but not too many at once: of keys that were not touched for longest, about. `turn` is the last one.
    /// The store has to be given what is returned before it is asked for anything.
    #[must_use]
    pub fn evict(&mut self, slots: usize, turn: u32, committed: Epoch) -> Vec<Record> {
        let mut records = Vec::new();
        if !self.open_up(committed, &mut records) {
            return records;
        }
        let slots = slots.min(FREED_AT_ONCE).min(self.slots.len() - self.free.len());
        let mut visits = VISITS * slots;
        let mut freed = 0;
        while freed < slots {
            let (number, is_recent) = self.hand.advance(&self.slots, turn);
            if self.slots.at(number).is_free {
                continue;
            }
            visits = visits.saturating_sub(1);
            if !is_recent || visits == 0 {
                records.extend(self.evict_slot(number, committed));
                freed += 1;
            }
        }
        records
    }

    /// Frees slots without an open window, where they are too many; some at a time. As [`evict`](Self::evict) otherwise.
    #[must_use]
    pub fn evict_vacant(&mut self, turn: u32, committed: Epoch) -> Vec<Record> {
        let mut records = Vec::new();
        if !self.is_partial || !self.has_too_many_vacant() {
            return records;
        }
        for _ in 0..FREED_AT_ONCE.min(self.slots.len()) {
            let (number, _) = self.hand.advance(&self.slots, turn);
            let slot = self.slots.at(number);
            if !slot.is_free && !slot.is_open() {
                records.extend(self.evict_slot(number, committed));
            }
        }
        records
    }

    /// Gives memory back: takes some slots away, whatever key they have. As [`evict`](Self::evict) otherwise.
    #[must_use]
    pub fn shrink(&mut self, committed: Epoch) -> Vec<Record> {
        let mut records = Vec::new();
        if !self.open_up(committed, &mut records) {
            return records;
        }
        let kept = self.outside.saturating_sub(FREED_BYTES_AT_ONCE);
        for _ in 0..FREED_AT_ONCE {
            let Some(last) = self.slots.last() else { break };
            if !self.slots.at(last).is_free {
                records.extend(self.evict_slot(last, committed));
            }
            self.slots.pop();
            if self.outside < kept {
                break;
            }
        }
        let len = self.slots.len();
        self.free.retain(|&number| (number as usize) < len);
        if self.changed.len() > 2 * len.max(FREED_AT_ONCE) {
            // Most of them are of slots that are no more.
            let slots = (0..).zip(self.slots.iter());
            self.changed = slots
                .filter(|(_, slot)| slot.is_listed)
                .map(|(number, _)| number)
                .collect();
        }
        records
    }

    /// Has the store know of keys that were swept out, some at a time; once it knows of all, the table is partial.
    fn open_up(&mut self, committed: Epoch, records: &mut Vec<Record>) -> bool {
        for _ in 0..FREED_AT_ONCE {
            let Some((key, epoch)) = self.forgotten.pop() else {
                self.is_partial = true;
                return true;
            };
            if epoch <= committed {
                continue;
            }
            if let Some(number) = self.find(hash::key(&key), &key) {
                // It came back, and its slot did not have to know of what the store has, since the cut that is to come would
                // have told the store first that the key was forgotten.
                self.slots.at_mut(number).is_stored = true;
                self.note_change(number);
            } else {
                records.push((key, None));
            }
        }
        false
    }

    /// Frees a slot. Gives what the store does not have for certain, since it changed after the epoch `committed`.
    fn evict_slot(&mut self, number: u32, committed: Epoch) -> Option<Record> {
        self.put_items_in(number);
        let slot = self.slots.at_mut(number);
        let record = if slot.changed > committed { slot.record() } else { None };
        self.open -= usize::from(slot.is_open());
        self.outside -= slot.outside();
        if let Some(due) = self.due.as_mut().filter(|_| slot.is_open()) {
            due.give_up(slot.entry.end);
        }
        if let Ok(entry) = self.index.find_entry(slot.hash, |&other| other == number) {
            entry.remove();
        }
        *slot = Slot {
            is_free: true,
            // It stays in the list of what changed.
            is_listed: slot.is_listed,
            ..Default::default()
        };
        self.free.push(number);
        record
    }
}
