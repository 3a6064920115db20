//! The items of the keys of the call under way, as `wit/items.wit` has them.
//!
//! A call reads and writes copies, which share unchanged chunks with the table of the actor. The turn commits them with its other effects.

use std::ops::Bound;
use std::sync::Arc;

use wasmtime::component::{ComponentType, Lower};

use dirigo_ground::items::{HEAD_BYTES, Item, Items, Names};

/// A page takes no further item once its items take more bytes than this.
const PAGE_BYTES: usize = 64 << 10;

/// `items.item`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct FoundItem {
    version: u32,
    value: Vec<u8>,
}

/// `items.page`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Page {
    names: Vec<Vec<u8>>,
    items: Vec<FoundItem>,
    #[component(name = "has-more")]
    has_more: bool,
}

impl From<Item<'_>> for FoundItem {
    fn from(item: Item<'_>) -> Self {
        Self {
            version: item.version,
            value: item.value.to_vec(),
        }
    }
}

/// The items of the keys of the call under way; no keys where none is.
#[derive(Default)]
pub(crate) struct CallItems {
    keys: Vec<Key>,
    /// The state version that the component writes.
    version: u32,
    /// Bytes that items of one key may take.
    bytes_max: u64,
    /// How many bytes the call may still set.
    left: usize,
    /// How many bytes the items of a key would take, if that exceeds the `state` limit: the call then traps.
    too_much: Option<usize>,
}

struct Key {
    items: Option<Arc<Items>>,
    is_changed: bool,
}

impl CallItems {
    /// Begins a call over keys with these items. The component writes `version`; the call may set at most `left` bytes, and a key may have at most
    /// `bytes_max`.
    pub(crate) fn begin(&mut self, keys: &[Option<Arc<Items>>], version: u32, left: usize, bytes_max: u64) {
        let key = |items: &Option<Arc<Items>>| Key {
            items: items.clone(),
            is_changed: false,
        };
        self.keys.clear();
        self.keys.extend(keys.iter().map(key));
        (self.version, self.left, self.bytes_max) = (version, left, bytes_max);
        self.too_much = None;
    }

    /// How many bytes the items of a key would have taken, if the call trapped because that exceeds the `state` limit.
    pub(crate) fn too_much(&self) -> Option<usize> {
        self.too_much
    }

    /// Ends it. Gives the items of each key whose items changed; nothing where none did.
    pub(crate) fn end(&mut self) -> Vec<Option<Arc<Items>>> {
        let are_changed = self.keys.iter().any(|key| key.is_changed);
        let keys = self.keys.drain(..);
        let changed = keys.map(|key| key.items.filter(|_| key.is_changed));
        if are_changed { changed.collect() } else { Vec::new() }
    }

    /// An item, and how many bytes it took to find it.
    pub(crate) fn get(&self, key: u32, name: &[u8]) -> wasmtime::Result<(Option<FoundItem>, usize)> {
        let items = self.of(key)?;
        let found = items.and_then(|items| items.get(name)).map(FoundItem::from);
        let bytes = found.as_ref().map_or(0, |found| found.value.len());
        Ok((found, name.len() + bytes))
    }

    /// Sets an item. Gives whether there was one, and how many bytes it went through.
    pub(crate) fn set(&mut self, key: u32, name: &[u8], value: &[u8]) -> wasmtime::Result<(bool, usize)> {
        let bytes = HEAD_BYTES + name.len() + value.len();
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or_else(|| wasmtime::Error::msg("items are set whose bytes are more than one call may hand over"))?;
        let (version, bytes_max) = (self.version, self.bytes_max);
        let items = self.of(key)?;
        let found = items.map(|items| items.look_for(name));
        let before = items.zip(found).and_then(|(items, found)| items.at(found));
        let was_there = before.is_some();
        // A copy that nothing is changed of is not made.
        if before == Some(Item { name, version, value }) {
            return Ok((was_there, bytes));
        }
        let items = self.change(key)?;
        let found = found.unwrap_or_else(|| items.look_for(name));
        items.set_at(found, Item { name, version, value });
        let kept = items.bytes();
        if kept as u64 > bytes_max {
            self.too_much = Some(kept);
            return Err(wasmtime::Error::msg(
                "the items of a key take more than its `state` limit allows",
            ));
        }
        Ok((was_there, bytes))
    }

    /// Removes an item. Gives whether there was one.
    pub(crate) fn remove(&mut self, key: u32, name: &[u8]) -> wasmtime::Result<bool> {
        if self.of(key)?.and_then(|items| items.get(name)).is_none() {
            return Ok(false);
        }
        Ok(self.change(key)?.remove(name))
    }

    /// Removes the items of a range of names. Returns how many bytes were removed.
    pub(crate) fn remove_range(&mut self, key: u32, start: &[u8], end: Option<&[u8]>) -> wasmtime::Result<usize> {
        let is_any = |items: &Items| items.range(names(start, end)).next().is_some();
        if !self.of(key)?.is_some_and(is_any) {
            return Ok(0);
        }
        Ok(self.change(key)?.remove_all(names(start, end)))
    }

    /// Some items, and how many bytes they take.
    pub(crate) fn range(
        &self,
        key: u32,
        (start, end): (&[u8], Option<&[u8]>),
        from_last: bool,
        max: u32,
    ) -> wasmtime::Result<(Page, usize)> {
        let mut page = Page {
            names: Vec::new(),
            items: Vec::new(),
            has_more: false,
        };
        let Some(items) = self.of(key)? else {
            return Ok((page, 0));
        };
        let mut items = items.range(names(start, end));
        let mut next = || if from_last { items.next_back() } else { items.next() };
        let mut bytes = 0;
        while let Some(item) = next() {
            if page.items.len() >= max as usize || bytes > PAGE_BYTES {
                page.has_more = true;
                break;
            }
            bytes += HEAD_BYTES + item.name.len() + item.value.len();
            page.names.push(item.name.to_vec());
            page.items.push(item.into());
        }
        Ok((page, bytes))
    }

    fn of(&self, key: u32) -> wasmtime::Result<Option<&Items>> {
        let keys = self.keys.len();
        let found = self.keys.get(key as usize).ok_or_else(|| no_key(key, keys))?;
        Ok(found.items.as_deref())
    }

    fn change(&mut self, key: u32) -> wasmtime::Result<&mut Items> {
        let keys = self.keys.len();
        let found = self.keys.get_mut(key as usize).ok_or_else(|| no_key(key, keys))?;
        found.is_changed = true;
        Ok(Arc::make_mut(found.items.get_or_insert_default()))
    }
}

#[cold]
fn no_key(key: u32, keys: usize) -> wasmtime::Error {
    wasmtime::Error::msg(format!("asks for items of key {key}; the call has {keys} keys"))
}

fn names<'a>(start: &'a [u8], end: Option<&'a [u8]>) -> Names<'a> {
    (Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(keys: &[Option<Arc<Items>>]) -> CallItems {
        let mut items = CallItems::default();
        items.begin(keys, 7, 1_000, 100);
        items
    }

    fn value(found: Option<FoundItem>) -> Option<(u32, Vec<u8>)> {
        found.map(|found| (found.version, found.value))
    }

    #[test]
    fn a_call_sees_what_it_changes_and_gives_what_changed() {
        let mut call = begun(&[None, None]);
        assert!(!call.set(1, b"a", b"1").unwrap().0);
        assert_eq!(value(call.get(1, b"a").unwrap().0), Some((7, b"1".to_vec())));
        assert!(call.get(0, b"a").unwrap().0.is_none());
        let [None, Some(kept)] = &call.end()[..] else {
            panic!("one key changed");
        };
        assert_eq!(kept.len(), 1);

        let mut call = begun(&[Some(kept.clone())]);
        assert!(!call.remove(0, b"b").unwrap());
        assert!(call.set(0, b"a", b"1").unwrap().0, "it is there, and the same");
        assert_eq!(call.remove_range(0, b"b", None).unwrap(), 0);
        assert!(call.end().is_empty(), "nothing changed");
        let mut call = begun(&[Some(kept.clone())]);
        assert!(call.remove(0, b"a").unwrap());
        assert!(call.end()[0].as_ref().is_some_and(|items| items.is_empty()));
        assert_eq!(kept.len(), 1, "what the host keeps stays as it is");
    }

    #[test]
    fn pages_are_as_long_as_is_asked_for_and_no_larger_than_they_may_be() {
        let mut items = Items::default();
        for place in 0..100_u8 {
            items.set(Item {
                name: &[place],
                version: 1,
                value: &[0; 2_000],
            });
        }
        let call = begun(&[Some(Arc::new(items))]);
        let page = |start, end, from_last, max| {
            let (page, _) = call.range(0, (start, end), from_last, max).unwrap();
            (page.names.concat(), page.has_more)
        };
        assert_eq!(page(&[3], Some(&[6][..]), false, 10), (vec![3, 4, 5], false));
        assert_eq!(page(&[3], Some(&[6][..]), true, 2), (vec![5, 4], true));
        assert_eq!(page(&[98], None, false, 2), (vec![98, 99], false));
        let (names, has_more) = page(&[], None, false, 1_000);
        assert_eq!((names.len(), has_more), (33, true));
    }

    #[test]
    fn bounds_hold_for_a_key_and_for_a_call() {
        let mut call = begun(&[None]);
        let is_refused = |error: wasmtime::Error, why: &str| assert!(error.to_string().contains(why), "{error}");
        is_refused(call.set(0, b"a", &[0; 100]).unwrap_err(), "`state` limit");
        assert_eq!(call.too_much(), Some(113));
        let mut call = begun(&[None]);
        let refused = (0..100)
            .find_map(|_| call.set(0, b"a", &[0; 50]).err())
            .expect("it has an end");
        is_refused(refused, "one call");
        is_refused(call.set(1, b"a", b"").unwrap_err(), "key 1");
        call.end();
        is_refused(call.get(0, b"a").map(|_| ()).unwrap_err(), "0 keys");
    }
}
