//! The keys of one active actor, with their accumulators.

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::copies::Copies;
use super::hash;

/// What the host keeps of a key: its open window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Entry {
    /// How many events it covers; 0 for no window.
    pub count: u64,
    /// The event time of the first, ms since the epoch.
    pub start: i64,
    /// The event time of the last, ms since the epoch.
    pub end: i64,
    /// The state version of the operator that wrote the accumulator.
    pub state_version: u32,
    /// The operator's accumulator: opaque, never empty.
    pub accumulator: SmallVec<[u8; 32]>,
}

/// An entry of a key that is to be written, or `None` for a key that is to be forgotten.
pub type Record = (Box<[u8]>, Option<Entry>);

/// Slots without an open window that a table may keep whatever it holds: as many as are swept in a microsecond.
const VACANT_MAX: usize = 64;

/// Entries by key. A slot keeps its number from the beginning of a turn to its end, so that the turn can name it.
///
/// A key whose window closed keeps its slot, since its next window will most likely open; once most slots are vacant, the
/// table sweeps them out.
#[derive(Debug)]
pub struct Table {
    index: HashTable<u32>,
    slots: Vec<Slot>,
    /// How many slots have an open window.
    open: usize,
    /// Bytes of keys and accumulators that are too long to lie within their slots.
    outside: usize,
    /// The epoch that changes belong to: from one cut to the next.
    epoch: Epoch,
    /// The slots that changed in this epoch.
    changed: Vec<u32>,
    /// Keys that the store knows and this table has swept out, with the epoch in which they closed.
    forgotten: Vec<(Box<[u8]>, Epoch)>,
}

/// Counts the cuts of a run from 1; 0 is before all of them.
pub type Epoch = u32;

/// Two cache lines: a look-up reads the first, a fold the second besides.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Slot {
    hash: u64,
    pub(super) key: SmallVec<[u8; 24]>,
    /// The turn that last touched it, and the group that its next event joins in that turn.
    pub(super) turn: u32,
    pub(super) group: u32,
    /// When it last changed, 0 for what is as the store gave it.
    changed: Epoch,
    /// Whether the store knows, or is about to learn, an entry of the key.
    is_stored: bool,
    pub(super) entry: Entry,
}

const _: () = assert!(size_of::<Slot>() == 128, "a slot takes two cache lines");

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
            slots: Vec::new(),
            open: 0,
            outside: 0,
            epoch,
            changed: Vec::new(),
            forgotten: Vec::new(),
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
            + self.outside
    }

    /// The entry of `key`, if it has one.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        let number = self.find(hash::key(key), key)?;
        Some(&self.slot(number).entry).filter(|entry| entry.count > 0)
    }

    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let is_it = |&number: &u32| {
            let slot = &self.slots[number as usize];
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
        let number =
            u32::try_from(self.slots.len()).expect("an actor has fewer than 2^32 keys: each takes 128 bytes of memory");
        let slot = Slot {
            hash,
            key: SmallVec::from_slice(key),
            ..Slot::default()
        };
        self.outside += slot.outside();
        self.slots.push(slot);
        let slots = &self.slots;
        self.index
            .insert_unique(hash, number, |&slot| slots[slot as usize].hash);
        number
    }

    pub(super) fn slot(&self, number: u32) -> &Slot {
        &self.slots[number as usize]
    }

    #[inline]
    pub(super) fn slot_mut(&mut self, number: u32) -> &mut Slot {
        &mut self.slots[number as usize]
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
        let entry = &mut self.slots[number as usize].entry;
        self.open += usize::from(entry.count == 0);
        (entry.count, entry.start, entry.end) = (count, start, end);
        entry.state_version = state_version;
        let before = outside(&entry.accumulator);
        entry.accumulator.clear();
        entry.accumulator.extend_from_slice(accumulator);
        self.outside = self.outside + outside(&entry.accumulator) - before;
    }

    /// Closes the window of a slot, if one is open.
    pub(super) fn close(&mut self, number: u32) {
        let entry = &mut self.slots[number as usize].entry;
        if entry.count > 0 {
            self.outside -= outside(&entry.accumulator);
            self.open -= 1;
            *entry = Entry::default();
            self.note_change(number);
        }
    }

    #[inline]
    fn note_change(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        if slot.changed != self.epoch {
            slot.changed = self.epoch;
            self.changed.push(number);
        }
    }

    /// Lets go of vacant slots where they are more than the others. Numbers of slots are void after it.
    pub(super) fn sweep(&mut self) {
        let vacant = self.slots.len() - self.open;
        if vacant <= self.open.max(VACANT_MAX) {
            return;
        }
        let (forgotten, outside) = (&mut self.forgotten, &mut self.outside);
        self.slots.retain(|slot| {
            let is_open = slot.entry.count > 0;
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
        for (number, slot) in (0..).zip(slots) {
            self.index
                .insert_unique(slot.hash, number, |&slot| slots[slot as usize].hash);
            if slot.changed == self.epoch {
                self.changed.push(number);
            }
        }
    }

    /// Puts back an entry that the store gave.
    pub fn restore(&mut self, key: &[u8], entry: Entry) {
        let number = self.slot_of(key);
        let slot = &mut self.slots[number as usize];
        self.open += usize::from(slot.entry.count == 0);
        self.outside = self.outside + outside(&entry.accumulator) - outside(&slot.entry.accumulator);
        slot.entry = entry;
        slot.is_stored = true;
    }

    /// The keys with an open window.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        let open = self.slots.iter().filter(|slot| slot.entry.count > 0);
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
            let slot = &mut self.slots[number as usize];
            let is_open = slot.entry.count > 0;
            if is_open || slot.is_stored {
                copies.push(&slot.key, is_open.then_some(&slot.entry));
            }
            slot.is_stored |= is_open;
        }
        self.epoch = next;
    }

    /// Takes everything out. What the store does not have for certain, since it changed after the epoch `committed`, is
    /// returned as records for it.
    pub fn drain(&mut self, committed: Epoch) -> Vec<Record> {
        let Self { slots, forgotten, .. } = std::mem::replace(self, Self::in_epoch(self.epoch));
        let gone = forgotten.into_iter().filter(|(_, epoch)| *epoch > committed);
        let gone = gone.map(|(key, _)| (key, None));
        let kept = slots.iter().filter(|slot| slot.changed > committed);
        gone.chain(kept.filter_map(Slot::record)).collect()
    }
}

impl Slot {
    /// What the store is to know of it; nothing of a key that came and went without its knowing.
    fn record(&self) -> Option<Record> {
        let is_open = self.entry.count > 0;
        (is_open || self.is_stored).then(|| (self.key.as_slice().into(), is_open.then(|| self.entry.clone())))
    }

    fn outside(&self) -> usize {
        outside(&self.key) + outside(&self.entry.accumulator)
    }
}

/// The bytes that a vector has outside of itself.
fn outside<const N: usize>(bytes: &SmallVec<[u8; N]>) -> usize {
    if bytes.spilled() { bytes.capacity() } else { 0 }
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
        let mut bytes = Vec::with_capacity(28 + self.accumulator.len());
        self.encode_into(&mut bytes);
        bytes
    }

    pub(super) fn encode_into(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&self.start.to_le_bytes());
        bytes.extend_from_slice(&self.end.to_le_bytes());
        bytes.extend_from_slice(&self.state_version.to_le_bytes());
        bytes.extend_from_slice(&self.accumulator);
    }

    /// The entry in `bytes`, or `None` where they are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk()?;
        let (start, rest) = rest.split_first_chunk()?;
        let (end, rest) = rest.split_first_chunk()?;
        let (state_version, accumulator) = rest.split_first_chunk()?;
        let entry = Self {
            count: u64::from_le_bytes(*count),
            start: i64::from_le_bytes(*start),
            end: i64::from_le_bytes(*end),
            state_version: u32::from_le_bytes(*state_version),
            accumulator: SmallVec::from_slice(accumulator),
        };
        Some(entry).filter(|entry| entry.count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(count: u64) -> Entry {
        Entry {
            accumulator: SmallVec::from_slice(b"acc"),
            count,
            start: -1,
            end: 7,
            state_version: 2,
        }
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

    fn captured(table: &mut Table, committed: Epoch, next: Epoch) -> Vec<Record> {
        let mut copies = Copies::default();
        table.capture(committed, next, &mut copies);
        copies.records(0..copies.end()).collect()
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
        assert_eq!(captured(&mut table, 0, 2), [record(b"a", 1), record(b"b", 1)]);
        put(&mut table, b"b", 2);
        let a = table.slot_of(b"a");
        table.close(a);
        assert_eq!(captured(&mut table, 0, 3), [record(b"b", 2), record(b"a", 0)]);
        assert_eq!(captured(&mut table, 1, 4), []);
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
        assert!(table.slots.is_empty());
        let forgotten = (b"gone".as_slice().into(), None);
        assert_eq!(captured(&mut table, 0, 2), [forgotten]);
        assert_eq!(captured(&mut table, 0, 3), [], "it was captured");
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
