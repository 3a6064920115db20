//! The items of a table's keys, outside of their entries: a turn that changes a few does not write the others.
//!
//! Encoded, items stand among the bytes of an entry ([`super::keyed`]), and the store knows nothing of them. They move out when a turn of a process
//! touches the key, and back when the key leaves the table.

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::HashMap;

use super::entry::Entry;
use super::hash;
use super::keyed::Keyed;
use super::table::Table;
use dirigo_ground::items::Items;

/// Items by key.
#[derive(Debug, Default)]
pub(super) struct TableItems {
    of_keys: HashMap<Box<[u8]>, Arc<Items>>,
    bytes: usize,
}

impl TableItems {
    /// The memory that they take, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The items of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Arc<Items>> {
        self.of_keys.get(key)
    }

    /// An entry with its items among its bytes.
    pub(super) fn whole<'a>(&self, key: &[u8], entry: &'a Entry) -> Cow<'a, Entry> {
        match self.of_keys.get(key) {
            Some(items) => {
                let mut entry = entry.clone();
                entry.put_items(items);
                Cow::Owned(entry)
            }
            None => Cow::Borrowed(entry),
        }
    }

    /// Has a key have these.
    fn put(&mut self, key: &[u8], items: Arc<Items>) {
        self.take(key);
        if !items.is_empty() {
            self.bytes += bytes_of(key, &items);
            self.of_keys.insert(key.into(), items);
        }
    }

    fn take(&mut self, key: &[u8]) -> Option<Arc<Items>> {
        let (key, items) = self.of_keys.remove_entry(key)?;
        self.bytes -= bytes_of(&key, &items);
        Some(items)
    }
}

fn bytes_of(key: &[u8], items: &Items) -> usize {
    key.len() + size_of::<(Box<[u8]>, Arc<Items>)>() + items.memory()
}

impl Table {
    /// The entry of `key` with its items, if it has one.
    #[must_use]
    pub fn whole(&self, key: &[u8]) -> Option<Cow<'_, Entry>> {
        Some(self.items.whole(key, self.get(key)?))
    }

    /// The bytes that the store keeps of the entry of `key`: 0 where it has none.
    #[must_use]
    pub fn bytes_of(&self, key: &[u8]) -> usize {
        let items = self.items.get(key).map_or(0, |items| items.bytes());
        self.get(key).map_or(0, |entry| entry.bytes().len() + items)
    }

    /// The items of a slot, out of its entry.
    pub(super) fn take_items_out(&mut self, number: u32) -> Option<&Arc<Items>> {
        let slot = self.slots.at_mut(number);
        let before = slot.outside();
        if let Some(items) = Keyed::of(&slot.entry).items() {
            slot.entry.put_items_apart(true);
            self.outside = self.outside + slot.outside() - before;
            self.items.put(&slot.key, Arc::new(items));
        }
        let has_items = Keyed::of(&slot.entry).are_items_apart();
        has_items.then(|| self.items.get(&slot.key)).flatten()
    }

    /// Keeps these items of a slot, whose entry is to say whether there are any.
    pub(super) fn put_items(&mut self, number: u32, items: Arc<Items>) {
        self.items.put(&self.slots.at(number).key, items);
    }

    /// Has the items of a slot stand in its entry.
    pub(super) fn put_items_in(&mut self, number: u32) {
        if self.items.of_keys.is_empty() {
            return;
        }
        let slot = self.slots.at_mut(number);
        if let Some(items) = self.items.take(&slot.key) {
            let before = slot.outside();
            slot.entry.put_items(&items);
            self.outside = self.outside + slot.outside() - before;
        }
    }

    /// Has all items stand in their entries.
    pub(super) fn put_all_items_in(&mut self) {
        let keys: Vec<Box<[u8]>> = self.items.of_keys.keys().cloned().collect();
        for key in keys {
            let number = self.find(hash::key(&key), &key);
            self.put_items_in(number.expect("a key with items has a slot"));
        }
    }
}
