//! The keys of one active actor, with their accumulators.

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::aggregates::Attempts;
use super::copies::Copies;
use super::due::DueTimes;
use super::entry::Entry;
use super::eviction::ClockHand;
use super::hash;
use super::slots::{Slot, Slots};
use super::table_items::TableItems;
use dirigo_ground::lineage::Epoch;

/// An entry of a key that is to be written, or `None` for a key that is to be forgotten.
pub type Record = (Box<[u8]>, Option<Entry>);

/// Slots without an open window that a table may keep whatever it holds: as many as are swept in a microsecond.
const VACANT_MAX: usize = 64;

/// Entries by key. A slot keeps its number from the beginning of a turn to its end, so that the turn can name it.
///
/// A key whose window closed keeps its slot, since its next window will most likely open; once most slots are vacant, the
/// table sweeps them out.
///
/// A *complete* table has every key that the store knows, so a key that is missing is new. How a table becomes partial,
/// and what is done with one, is in `eviction`.
#[derive(Debug)]
pub struct Table {
    pub(super) index: HashTable<u32>,
    pub(super) slots: Slots,
    /// How many slots have an open window.
    pub(super) open: usize,
    /// Bytes of keys and accumulators that are too long to lie within their slots.
    pub(super) outside: usize,
    /// The epoch that changes belong to: from one cut to the next.
    pub(super) epoch: Epoch,
    /// The slots that changed in this epoch, each once; some were freed since.
    pub(super) changed: Vec<u32>,
    /// Keys that the store knows and this table has swept out, with the epoch in which they closed. A partial table has
    /// none: the store has to know of those at once.
    pub(super) forgotten: Vec<(Box<[u8]>, Epoch)>,
    /// Slots that no key has. A complete table has none.
    pub(super) free: Vec<u32>,
    /// Whether the store may know keys that are not here.
    pub(super) is_partial: bool,
    pub(super) hand: ClockHand,
    /// Where windows are of time, when they close.
    pub(super) due: Option<DueTimes>,
    /// Where windows have many segments, whether turns merge some of these.
    pub(super) aggregating: Attempts,
    /// Of keys of a process, the items.
    pub(super) items: TableItems,
}

impl Default for Table {
    fn default() -> Self {
        Self::in_epoch(1)
    }
}

impl Table {
    /// An empty one, whose changes belong to `epoch` until the next cut.
    #[must_use]
    pub fn in_epoch(epoch: Epoch) -> Self {
        Self {
            index: HashTable::new(),
            slots: Slots::default(),
            open: 0,
            outside: 0,
            epoch,
            changed: Vec::new(),
            forgotten: Vec::new(),
            free: Vec::new(),
            is_partial: false,
            hand: ClockHand::default(),
            due: None,
            aggregating: Attempts::default(),
            items: TableItems::default(),
        }
    }

    /// The number of keys with an open window.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open
    }

    /// Whether no window is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// The memory that it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
            + self.index.allocation_size()
            + self.changed.capacity() * size_of::<u32>()
            + self.free.capacity() * size_of::<u32>()
            + self.due.as_ref().map_or(0, DueTimes::bytes)
            + self.items.bytes()
            + self.outside
    }

    /// The entry of `key`, if it has one. Items of it are elsewhere: [`whole`](Self::whole) has them, too.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        let number = self.find(hash::key(key), key)?;
        Some(&self.slot(number).entry).filter(|entry| entry.count > 0)
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let is_it = |&number: &u32| {
            let slot = self.slots.at(number);
            slot.hash == hash && is_same(&slot.key, key)
        };
        self.index.find(hash, is_it).copied()
    }

    /// The number of the slot of `key`, a vacant one if the key is new.
    #[inline]
    pub(super) fn slot_of(&mut self, key: &[u8]) -> u32 {
        let hash = hash::key(key);
        self.find(hash, key).unwrap_or_else(|| self.add(hash, key))
    }

    #[cold]
    fn add(&mut self, hash: u64, key: &[u8]) -> u32 {
        let mut slot = Slot {
            hash,
            key: SmallVec::from_slice(key),
            ..Slot::default()
        };
        self.outside += slot.outside();
        let number = if let Some(number) = self.free.pop() {
            let free = self.slots.at_mut(number);
            slot.is_listed = free.is_listed;
            *free = slot;
            number
        } else {
            self.slots.push(slot)
        };
        let slots = &self.slots;
        self.index.insert_unique(hash, number, |&slot| slots.at(slot).hash);
        number
    }

    pub(super) fn slot(&self, number: u32) -> &Slot {
        self.slots.at(number)
    }

    #[inline]
    pub(super) fn slot_mut(&mut self, number: u32) -> &mut Slot {
        self.slots.at_mut(number)
    }

    /// Opens or replaces the window of a slot; `count` is not 0.
    pub(super) fn put(
        &mut self,
        number: u32,
        (count, start, end): (u64, i64, i64),
        state_version: u32,
        accumulator: &[u8],
    ) {
        self.note_change(number);
        let entry = &mut self.slots.at_mut(number).entry;
        self.open += usize::from(entry.count == 0);
        (entry.count, entry.start, entry.end) = (count, start, end);
        entry.state_version = state_version;
        let before = entry.outside();
        entry.set_bytes(accumulator);
        self.outside = self.outside + entry.outside() - before;
    }

    /// Closes the window of a slot, if one is open.
    pub(super) fn close(&mut self, number: u32) {
        drop(self.take_from(number));
    }

    /// Closes the window of `key`, and gives it; `None` where no window of it is open here.
    pub fn take(&mut self, key: &[u8]) -> Option<Entry> {
        let number = self.find(hash::key(key), key)?;
        self.put_items_in(number);
        let taken = self.take_from(number);
        self.sweep();
        taken
    }

    fn take_from(&mut self, number: u32) -> Option<Entry> {
        let entry = &mut self.slots.at_mut(number).entry;
        if entry.count == 0 {
            return None;
        }
        self.outside -= entry.outside();
        self.open -= 1;
        let taken = std::mem::take(entry);
        self.note_change(number);
        Some(taken)
    }

    /// Whether what it has of `key` is all that there is: that it has no window, too.
    #[must_use]
    pub fn knows(&self, key: &[u8]) -> bool {
        !self.is_partial || self.find(hash::key(key), key).is_some()
    }

    #[inline]
    pub(super) fn note_change(&mut self, number: u32) {
        let slot = self.slots.at_mut(number);
        if slot.changed != self.epoch {
            slot.changed = self.epoch;
            if !std::mem::replace(&mut slot.is_listed, true) {
                self.changed.push(number);
            }
        }
    }

    /// How many slots have a key and no open window.
    pub(super) fn vacant(&self) -> usize {
        self.slots.len() - self.free.len() - self.open
    }

    /// Whether it should free vacant slots, since they are more than the others.
    pub(super) fn has_too_many_vacant(&self) -> bool {
        self.vacant() > self.open.max(VACANT_MAX)
    }

    /// Frees vacant slots where they are more than the others. Numbers of slots are void after it.
    pub(super) fn sweep(&mut self) {
        // A partial table frees them a few at a time, since the store has to know of each.
        if self.is_partial || !self.has_too_many_vacant() {
            return;
        }
        let (forgotten, outside) = (&mut self.forgotten, &mut self.outside);
        self.slots.retain(|slot| {
            let is_open = slot.is_open();
            if !is_open {
                *outside -= slot.outside();
            }
            if !is_open && slot.is_stored {
                forgotten.push((slot.key.as_slice().into(), slot.changed));
            }
            is_open
        });
        let slots = &self.slots;
        self.index.clear();
        self.changed.clear();
        for (number, slot) in (0..).zip(slots.iter()) {
            self.index.insert_unique(slot.hash, number, |&slot| slots.at(slot).hash);
            if slot.is_listed {
                self.changed.push(number);
            }
        }
        self.note_all_due();
    }

    /// Whether all counts are right.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let slots = || self.slots.iter();
        assert_eq!(self.open, slots().filter(|slot| slot.is_open()).count());
        assert_eq!(self.outside, slots().map(Slot::outside).sum::<usize>());
        assert_eq!(self.free.len(), slots().filter(|slot| slot.is_free).count());
        assert_eq!(self.index.len() + self.free.len(), self.slots.len());
        assert!(self.is_partial || self.free.is_empty());
    }

    /// Puts back an entry that the store gave.
    pub fn restore(&mut self, key: &[u8], entry: Entry) {
        let number = self.slot_of(key);
        let slot = self.slots.at_mut(number);
        self.open += usize::from(!slot.is_open());
        self.outside = self.outside + entry.outside() - slot.entry.outside();
        slot.entry = entry;
        slot.is_stored = true;
        self.note_due(number, None);
    }

    /// The keys with an open window.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        let open = self.slots.iter().filter(|slot| slot.is_open());
        open.map(|slot| (slot.key.as_slice(), &slot.entry))
    }

    /// Copies what changed in this epoch; what changes from now on belongs to `next`. Up to `committed` the store has
    /// everything that was captured before.
    pub fn capture(&mut self, committed: Epoch, next: Epoch, copies: &mut Copies) {
        self.forgotten.retain(|(_, epoch)| *epoch > committed);
        // A key that was forgotten and came back stands in both lists: its entry must be written last.
        let gone = self.forgotten.iter().filter(|(_, epoch)| *epoch == self.epoch);
        gone.for_each(|(key, _)| copies.push(key, None));
        for number in self.changed.drain(..) {
            // One that was taken away since is no more.
            if number as usize >= self.slots.len() {
                continue;
            }
            let slot = self.slots.at_mut(number);
            slot.is_listed = false;
            // One that was freed may have another key by now, of which the store has everything.
            if slot.changed != self.epoch {
                continue;
            }
            let is_open = slot.is_open();
            if is_open || slot.is_stored {
                let whole = is_open.then(|| self.items.whole(&slot.key, &slot.entry));
                copies.push(&slot.key, whole.as_deref());
            }
            slot.is_stored |= is_open;
        }
        self.epoch = next;
    }

    /// What [`capture`](Self::capture) copies.
    #[cfg(test)]
    pub(super) fn captured(&mut self, committed: Epoch, next: Epoch) -> Vec<Record> {
        let mut copies = Copies::default();
        self.capture(committed, next, &mut copies);
        copies.records(0..copies.end()).collect()
    }

    /// Takes everything out. What the store does not have for certain, since it changed after the epoch `committed`, is
    /// returned as records for it.
    pub fn drain(&mut self, committed: Epoch) -> Vec<Record> {
        self.put_all_items_in();
        let mut empty = Self::in_epoch(self.epoch);
        if self.due.is_some() {
            let mut due = DueTimes::default();
            let ends = self.entries().map(|(_, entry)| entry.end);
            ends.min().into_iter().for_each(|end| due.give_up(end));
            empty.due = Some(due);
        }
        let Self { slots, forgotten, .. } = std::mem::replace(self, empty);
        let gone = forgotten.into_iter().filter(|(_, epoch)| *epoch > committed);
        let gone = gone.map(|(key, _)| (key, None));
        let kept = slots.iter().filter(|slot| slot.changed > committed);
        gone.chain(kept.filter_map(Slot::record)).collect()
    }
}

/// Whether two keys are one. Numbers, the commonest keys of all, are compared without a call.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    match (one.as_array::<8>(), other.as_array::<8>()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

impl Entry {
    /// The bytes that the store keeps.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_bytes());
        self.encode_into(&mut bytes);
        bytes
    }

    pub(super) fn encode_into(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&self.start.to_le_bytes());
        bytes.extend_from_slice(&self.end.to_le_bytes());
        bytes.extend_from_slice(&self.state_version.to_le_bytes());
        bytes.extend_from_slice(self.bytes());
    }

    /// How many bytes the store keeps.
    pub(super) fn encoded_bytes(&self) -> usize {
        28 + self.bytes().len()
    }

    /// The entry in `bytes`, or `None` where they are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk()?;
        let (start, rest) = rest.split_first_chunk()?;
        let (end, rest) = rest.split_first_chunk()?;
        let (state_version, accumulator) = rest.split_first_chunk()?;
        let times = (i64::from_le_bytes(*start), i64::from_le_bytes(*end));
        let version = u32::from_le_bytes(*state_version);
        let entry = Self::new(u64::from_le_bytes(*count), times, version, accumulator);
        Some(entry).filter(|entry| entry.count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(count: u64) -> Entry {
        Entry::new(count, (-1, 7), 2, b"acc")
    }

    #[test]
    fn an_entry_survives_the_store() {
        assert_eq!(Entry::decode(&entry(3).encode()), Some(entry(3)));
        assert_eq!(Entry::decode(&[1; 27]), None, "it is too short");
        assert_eq!(Entry::decode(&[0; 30]), None, "a window has events");
    }

    #[test]
    fn a_stored_key_that_closed_is_forgotten_in_the_store_too() {
        let mut table = Table::default();
        table.restore(b"gone", entry(1));
        table.restore(b"kept", entry(2));
        let gone = table.slot_of(b"gone");
        table.close(gone);
        assert_eq!(table.drain(0), [(b"gone".as_slice().into(), None)]);
        assert!(table.is_empty());
    }

    #[test]
    fn a_cut_takes_what_changed_since_the_one_before() {
        let mut table = Table::default();
        let put = |table: &mut Table, key: &[u8], count| {
            let slot = table.slot_of(key);
            table.put(slot, (count, -1, 7), 2, b"acc");
        };
        table.restore(b"old", entry(9));
        put(&mut table, b"a", 1);
        put(&mut table, b"b", 1);
        let record = |key: &[u8], count: u64| (key.into(), (count > 0).then(|| entry(count)));
        assert_eq!(table.captured(0, 2), [record(b"a", 1), record(b"b", 1)]);
        put(&mut table, b"b", 2);
        let a = table.slot_of(b"a");
        table.close(a);
        assert_eq!(table.captured(0, 3), [record(b"b", 2), record(b"a", 0)]);
        assert_eq!(table.captured(1, 4), []);
        assert_eq!(
            table.drain(1),
            [record(b"a", 0), record(b"b", 2)],
            "what was captured is not committed yet"
        );
    }

    #[test]
    fn a_key_that_closed_and_was_swept_out_is_still_forgotten() {
        let mut table = Table::default();
        table.restore(b"gone", entry(1));
        let gone = table.slot_of(b"gone");
        table.close(gone);
        for key in 0..=VACANT_MAX {
            table.slot_of(&key.to_le_bytes());
        }
        table.sweep();
        assert_eq!(table.slots.len(), 0);
        let forgotten = (b"gone".as_slice().into(), None);
        assert_eq!(table.captured(0, 2), [forgotten]);
        assert_eq!(table.captured(0, 3), [], "it was captured");
        assert_eq!(table.drain(0).len(), 1, "the cut that has it may fail");
        assert!(table.drain(0).is_empty());
    }

    #[test]
    fn keys_that_closed_do_not_pile_up() {
        let mut table = Table::default();
        table.restore(b"stored", entry(1));
        let stored = table.slot_of(b"stored");
        table.close(stored);
        table.restore(b"open", entry(2));
        for round in 0..10_000_u32 {
            let slot = table.slot_of(&[round.to_le_bytes(); 10].concat());
            table.put(slot, (1, 0, 0), 1, &[7; 100]);
            table.put(slot, (2, 0, 0), 1, &[7; 200]);
            table.close(slot);
            table.sweep();
        }
        assert!(table.slots.len() <= VACANT_MAX + 2, "{} slots", table.slots.len());
        assert_eq!((table.len(), table.get(b"open")), (1, Some(&entry(2))));
        assert_eq!(table.outside, table.slots.iter().map(Slot::outside).sum::<usize>());
        assert_eq!(table.drain(0), [(b"stored".as_slice().into(), None)]);
    }
}
