//! The keys of one active actor, with their accumulators.

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::hash;

/// What the host keeps of a key: its open window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The operator's accumulator: opaque, never empty.
    pub accumulator: SmallVec<[u8; 32]>,
    /// How many events it covers.
    pub count: u64,
    /// The event time of the first, ms since the epoch.
    pub start: i64,
    /// The event time of the last, ms since the epoch.
    pub end: i64,
}

/// An entry of a key that is to be written, or `None` for a key that is to be forgotten.
pub type Record = (Box<[u8]>, Option<Entry>);

/// Entries by key. Slots keep their number while their key stays, so that a turn can name them.
#[derive(Debug, Default)]
pub struct Table {
    index: HashTable<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Keys that the store knows and this table has closed since.
    forgotten: Vec<Box<[u8]>>,
}

#[derive(Debug, Default)]
pub(super) struct Slot {
    hash: u64,
    pub(super) key: SmallVec<[u8; 24]>,
    /// Without one the slot is only reserved, by a turn that has not ended.
    pub(super) entry: Option<Entry>,
    is_stored: bool,
    /// The turn that last touched it, and the group that its next event joins in that turn.
    pub(super) turn: u32,
    pub(super) group: Option<u32>,
}

impl Table {
    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The entry of `key`, if it has one.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.find(hash::key(key), key)
            .and_then(|number| self.slot(number).entry.as_ref())
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let is_it = |&number: &u32| {
            let slot = &self.slots[number as usize];
            slot.hash == hash && slot.key.as_slice() == key
        };
        self.index.find(hash, is_it).copied()
    }

    /// The number of the slot of `key`, which is reserved if the key is new.
    pub(super) fn slot_of(&mut self, key: &[u8]) -> u32 {
        let hash = hash::key(key);
        self.find(hash, key).unwrap_or_else(|| self.reserve(hash, key))
    }

    fn reserve(&mut self, hash: u64, key: &[u8]) -> u32 {
        let slot = Slot {
            hash,
            key: SmallVec::from_slice(key),
            ..Slot::default()
        };
        let number = if let Some(number) = self.free.pop() {
            self.slots[number as usize] = slot;
            number
        } else {
            self.slots.push(slot);
            u32::try_from(self.slots.len() - 1).expect("an actor has fewer than 2^32 keys: each takes memory")
        };
        let slots = &self.slots;
        self.index
            .insert_unique(hash, number, |&slot| slots[slot as usize].hash);
        number
    }

    pub(super) fn slot(&self, number: u32) -> &Slot {
        &self.slots[number as usize]
    }

    pub(super) fn slot_mut(&mut self, number: u32) -> &mut Slot {
        &mut self.slots[number as usize]
    }

    /// Forgets the key of a slot.
    pub(super) fn remove(&mut self, number: u32) {
        let slot = std::mem::take(&mut self.slots[number as usize]);
        if let Ok(found) = self.index.find_entry(slot.hash, |&other| other == number) {
            found.remove();
        }
        self.free.push(number);
        if slot.is_stored {
            self.forgotten.push(slot.key.as_slice().into());
        }
    }

    /// Puts back an entry that the store gave.
    pub fn restore(&mut self, key: &[u8], entry: Entry) {
        let number = self.slot_of(key);
        let slot = self.slot_mut(number);
        slot.entry = Some(entry);
        slot.is_stored = true;
    }

    /// Takes everything out, as records for the store.
    pub fn drain(&mut self) -> Vec<Record> {
        let Self { slots, forgotten, .. } = std::mem::take(self);
        // A key that was forgotten and came back stands in both lists: its entry must be written last.
        let gone = forgotten.into_iter().map(|key| (key, None));
        let kept = slots
            .into_iter()
            .filter_map(|slot| Some((slot.key.as_slice().into(), Some(slot.entry?))));
        gone.chain(kept).collect()
    }
}

impl Entry {
    /// The bytes that the store keeps.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(24 + self.accumulator.len());
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&self.start.to_le_bytes());
        bytes.extend_from_slice(&self.end.to_le_bytes());
        bytes.extend_from_slice(&self.accumulator);
        bytes
    }

    /// The entry in `bytes`, or `None` where they are too short to be one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk()?;
        let (start, rest) = rest.split_first_chunk()?;
        let (end, accumulator) = rest.split_first_chunk()?;
        Some(Self {
            accumulator: SmallVec::from_slice(accumulator),
            count: u64::from_le_bytes(*count),
            start: i64::from_le_bytes(*start),
            end: i64::from_le_bytes(*end),
        })
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
        }
    }

    #[test]
    fn an_entry_survives_the_store() {
        assert_eq!(Entry::decode(&entry(3).encode()), Some(entry(3)));
        assert_eq!(Entry::decode(&[0; 23]), None);
    }

    #[test]
    fn a_stored_key_that_closed_is_forgotten_in_the_store_too() {
        let mut table = Table::default();
        table.restore(b"gone", entry(1));
        table.restore(b"kept", entry(2));
        let gone = table.slot_of(b"gone");
        table.remove(gone);
        let records = table.drain();
        assert_eq!(
            records,
            [
                (b"gone".as_slice().into(), None),
                (b"kept".as_slice().into(), Some(entry(2)))
            ]
        );
        assert!(table.is_empty());
    }

    #[test]
    fn slots_are_reused() {
        let mut table = Table::default();
        for round in 0..1000_u32 {
            let slot = table.slot_of(&round.to_le_bytes());
            table.remove(slot);
        }
        assert_eq!((table.len(), table.slots.len()), (0, 1));
    }
}
