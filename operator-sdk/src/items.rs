//! Maps and lists in the state of a process, which are read and written entry by entry.
//!
//! To the host an entry is an *item* of a key: a value by name (`wit/items.wit`). The name of an item begins with that of its map, and
//! ends with the key of the entry in an encoding whose bytes are in the order of the keys (`order`).

mod order;

use std::{
    borrow::Borrow,
    fmt::{self, Write as _},
    marker::PhantomData,
    ops::{Bound, RangeBounds},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error, Result, layout,
    process::Process,
    stored::{self, Stored},
};
pub use order::{MapKey, OrderedBytes};

/// Stands between the name of a map and the key of an entry.
const SEPARATOR: u8 = 0;
/// Items of one page that is read from the host.
const PAGE_ITEMS: u32 = 256;

/// A map that a [`Process`](crate::Process) keeps for each of its keys. Entries are read and written one by one: an event does not pay for the entries
/// that it does not touch. All entries of a key together count for the operator's `state` limit, which is 1 MiB unless the pipeline file raises it.
///
/// A map is a constant, and stands among the [`ITEMS`](crate::Process::ITEMS) of its operator.
///
/// ```
/// use dirigo_operator::prelude::*;
///
/// /// Visitors of a page, each once.
/// const SEEN: MapState<String, u64> = MapState::new("seen");
///
/// struct Visitors;
///
/// #[operator]
/// impl Process for Visitors {
///     const ITEMS: &'static [&'static dyn ItemState] = &[&SEEN];
///     type Config = NoConfig;
///     type Event = String;
///     type State = u64;
///     type Output = u64;
///
///     fn open(_: NoConfig) -> Result<Self> {
///         Ok(Visitors)
///     }
///
///     fn event(&mut self, visitor: &String, page: &mut Context<'_, Self>) -> Result<()> {
///         let visits = page.map(SEEN).get(visitor)?.unwrap_or_default();
///         page.map(SEEN).insert(visitor, &(visits + 1));
///         *page.state() += u64::from(visits == 0);
///         let visitors = *page.state();
///         page.push(&visitors)
///     }
/// }
/// # fn main() {}
/// ```
pub struct MapState<K, V> {
    name: &'static str,
    of: PhantomData<fn() -> (K, V)>,
}

/// A list that a [`Process`](crate::Process) keeps for each of its keys. It grows at its end; an item is read without the others. As a
/// [`MapState`] otherwise.
pub struct ListState<V>(MapState<u64, V>);

/// A [`MapState`] or a [`ListState`] among the [`ITEMS`](crate::Process::ITEMS) of an operator.
pub trait ItemState {
    /// Its name.
    fn name(&self) -> &'static str;

    /// How keys and values are laid out in bytes, if that can be told.
    fn layout(&self) -> Option<String>;
}

impl<K, V> MapState<K, V> {
    /// A map of this name, which is unlike those of the other maps and lists of the operator. The host finds stored entries by it.
    ///
    /// # Panics
    /// When the name is empty, or has a byte 0.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        assert!(!name.is_empty(), "a map has a name");
        let bytes = name.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            assert!(bytes[at] != SEPARATOR, "the name of a map has no byte 0");
            at += 1;
        }
        Self { name, of: PhantomData }
    }
}

impl<V> ListState<V> {
    /// A list of this name, as [`MapState::new`].
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self(MapState::new(name))
    }

    pub(crate) fn as_map(self) -> MapState<u64, V> {
        self.0
    }
}

impl<K, V> Clone for MapState<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for MapState<K, V> {}

impl<V> Clone for ListState<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for ListState<V> {}

impl<K, V> fmt::Debug for MapState<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("MapState").field(&self.name).finish()
    }
}

impl<V> fmt::Debug for ListState<V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("ListState").field(&self.0.name).finish()
    }
}

impl<K: MapKey, V: DeserializeOwned> ItemState for MapState<K, V> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn layout(&self) -> Option<String> {
        Some(format!(
            "map {{{} => {}}}",
            layout::type_of::<K>()?,
            layout::type_of::<V>()?
        ))
    }
}

impl<V: DeserializeOwned> ItemState for ListState<V> {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn layout(&self) -> Option<String> {
        Some(format!("[{}]", layout::type_of::<V>()?))
    }
}

/// What the host keeps of a key, item by item: `wit/items.wit`, where keys are named by their numbers.
#[doc(hidden)]
pub trait ItemStore {
    /// The version and the value of an item.
    fn get(&self, key: u32, name: &[u8]) -> Option<StoredItem>;
    /// Sets an item; says whether there was one.
    fn set(&mut self, key: u32, name: &[u8], value: &[u8]) -> bool;
    /// Removes an item; says whether there was one.
    fn remove(&mut self, key: u32, name: &[u8]) -> bool;
    /// Removes those from a name on, and before another.
    fn remove_range(&mut self, key: u32, start: &[u8], end: Option<&[u8]>);
    /// Some of those.
    fn range(&self, key: u32, start: &[u8], end: Option<&[u8]>, from_last: bool, max: u32) -> Page;
}

/// The version and the value of an item.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredItem {
    /// Which version of the operator wrote it.
    pub version: u32,
    /// Its value.
    pub value: Vec<u8>,
}

/// Some items, each with its name.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Page {
    /// In the order in which they were asked for.
    pub items: Vec<(Vec<u8>, StoredItem)>,
    /// Whether there are more.
    pub has_more: bool,
}

/// A value that [`Process::migrate_item`](crate::Process::migrate_item) made.
#[derive(Debug)]
pub struct MigratedItem(Vec<u8>);

impl MigratedItem {
    /// This value, of the type that its map has now.
    #[must_use]
    pub fn of<V: Serialize>(value: &V) -> Self {
        Self(encoded(value))
    }
}

fn encoded<V: Serialize>(value: &V) -> Vec<u8> {
    let mut bytes = Vec::new();
    stored::encode_into(value, &mut bytes);
    bytes
}

/// A map of the key that an event or a timer is of.
pub struct KeyMap<'a, O: Process, K, V> {
    store: &'a mut dyn ItemStore,
    key: u32,
    map: MapState<K, V>,
    of: PhantomData<fn() -> O>,
}

impl<O: Process, K, V> fmt::Debug for KeyMap<'_, O, K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("KeyMap")
            .field("map", &self.map)
            .finish_non_exhaustive()
    }
}

impl<'a, O: Process, K: MapKey, V: Serialize + DeserializeOwned> KeyMap<'a, O, K, V> {
    /// # Panics
    /// When the map does not stand among the items of the operator: no layout would tell of it.
    pub(crate) fn new(store: &'a mut dyn ItemStore, key: u32, map: MapState<K, V>) -> Self {
        assert!(
            O::ITEMS.iter().any(|item| item.name() == map.name),
            "`{}` does not stand among the `ITEMS` of the operator",
            map.name
        );
        Self {
            store,
            key,
            map,
            of: PhantomData,
        }
    }

    /// The value of a key, if it has one.
    ///
    /// # Errors
    /// When an older version of the operator wrote it, and it cannot be [migrated](crate::Process::migrate_item).
    pub fn get<Q: OrderedBytes + ?Sized>(&self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        let found = self.store.get(self.key, &self.name_of(key));
        found.map(|item| self.value(&item)).transpose()
    }

    /// Whether a key has a value.
    #[must_use]
    pub fn contains<Q: OrderedBytes + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.store.get(self.key, &self.name_of(key)).is_some()
    }

    /// Has a key have this value, in place of the one that it has. Says whether it had none: whether the key is new.
    pub fn insert<Q: OrderedBytes + ?Sized>(&mut self, key: &Q, value: &V) -> bool
    where
        K: Borrow<Q>,
    {
        let name = self.name_of(key);
        !self.store.set(self.key, &name, &encoded(value))
    }

    /// Removes a key; says whether it had a value.
    pub fn remove<Q: OrderedBytes + ?Sized>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let name = self.name_of(key);
        self.store.remove(self.key, &name)
    }

    /// Removes all keys.
    pub fn clear(&mut self) {
        let (start, end) = self.all();
        self.store.remove_range(self.key, &start, Some(&end));
    }

    /// Removes the keys of a range.
    pub fn remove_range(&mut self, keys: impl RangeBounds<K>) {
        let (start, end) = self.names(keys);
        self.store.remove_range(self.key, &start, Some(&end));
    }

    /// Whether no key has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let (start, end) = self.all();
        self.store
            .range(self.key, &start, Some(&end), false, 1)
            .items
            .is_empty()
    }

    /// The least key, and its value.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn first(&self) -> Result<Option<(K, V)>> {
        self.page(self.all(), false, 1).next().transpose()
    }

    /// The greatest key, and its value.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn last(&self) -> Result<Option<(K, V)>> {
        self.page(self.all(), true, 1).next().transpose()
    }

    /// All keys with their values, in order. Pages of entries are read as the iterator needs them.
    pub fn iter(&self) -> impl Iterator<Item = Result<(K, V)>> {
        self.page(self.all(), false, PAGE_ITEMS)
    }

    /// All keys with their values, from the greatest to the least.
    pub fn iter_back(&self) -> impl Iterator<Item = Result<(K, V)>> {
        self.page(self.all(), true, PAGE_ITEMS)
    }

    /// The keys of a range with their values, in order.
    pub fn range(&self, keys: impl RangeBounds<K>) -> impl Iterator<Item = Result<(K, V)>> {
        self.page(self.names(keys), false, PAGE_ITEMS)
    }

    fn page(&self, (start, end): (Vec<u8>, Vec<u8>), from_last: bool, max: u32) -> Entries<'_, 'a, O, K, V> {
        Entries {
            map: self,
            start,
            end,
            from_last,
            max,
            page: Vec::new().into_iter(),
            has_more: true,
        }
    }

    fn name_of<Q: OrderedBytes + ?Sized>(&self, key: &Q) -> Vec<u8> {
        let mut name = self.prefix(SEPARATOR);
        key.write(&mut name);
        name
    }

    fn prefix(&self, last: u8) -> Vec<u8> {
        let mut name = Vec::with_capacity(self.map.name.len() + 16);
        name.extend_from_slice(self.map.name.as_bytes());
        name.push(last);
        name
    }

    /// The names of all entries.
    fn all(&self) -> (Vec<u8>, Vec<u8>) {
        (self.prefix(SEPARATOR), self.prefix(SEPARATOR + 1))
    }

    /// The names of the entries of a range.
    fn names(&self, keys: impl RangeBounds<K>) -> (Vec<u8>, Vec<u8>) {
        // No name lies between one and the same with a byte 0 behind it.
        let behind = |key: &K| {
            let mut name = self.name_of(key);
            name.push(0);
            name
        };
        let (first, last) = self.all();
        let start = match keys.start_bound() {
            Bound::Included(key) => self.name_of(key),
            Bound::Excluded(key) => behind(key),
            Bound::Unbounded => first,
        };
        let end = match keys.end_bound() {
            Bound::Included(key) => behind(key),
            Bound::Excluded(key) => self.name_of(key),
            Bound::Unbounded => last,
        };
        (start, end)
    }

    fn entry(&self, name: &[u8], item: &StoredItem) -> Result<(K, V)> {
        let mut key = &name[self.map.name.len() + 1..];
        let read = K::read(&mut key).filter(|_| key.is_empty());
        let key = read.unwrap_or_else(|| panic!("the map `{}` has a key of another type", self.map.name));
        Ok((key, self.value(item)?))
    }

    fn value(&self, item: &StoredItem) -> Result<V> {
        if item.version == O::STATE_VERSION {
            return Ok(stored::decode(&item.value));
        }
        let stored = Stored {
            from: item.version,
            to: O::STATE_VERSION,
            bytes: &item.value,
        };
        let MigratedItem(value) = O::migrate_item(item.version, self.map.name, stored)?;
        Ok(stored::decode(&value))
    }
}

/// Entries of a map, page by page.
struct Entries<'m, 'a, O: Process, K, V> {
    map: &'m KeyMap<'a, O, K, V>,
    start: Vec<u8>,
    end: Vec<u8>,
    from_last: bool,
    max: u32,
    page: std::vec::IntoIter<(Vec<u8>, StoredItem)>,
    has_more: bool,
}

impl<O: Process, K: MapKey, V: Serialize + DeserializeOwned> Iterator for Entries<'_, '_, O, K, V> {
    type Item = Result<(K, V)>;

    fn next(&mut self) -> Option<Self::Item> {
        let KeyMap { store, key, .. } = self.map;
        if self.page.as_slice().is_empty() && self.has_more {
            let page = store.range(*key, &self.start, Some(&self.end), self.from_last, self.max);
            self.has_more = page.has_more;
            if let Some((last, _)) = page.items.last() {
                if self.from_last {
                    self.end.clone_from(last);
                } else {
                    self.start.clone_from(last);
                    self.start.push(0);
                }
            }
            self.page = page.items.into_iter();
        }
        let (name, item) = self.page.next()?;
        Some(self.map.entry(&name, &item))
    }
}

/// A list of the key that an event or a timer is of.
pub struct KeyList<'a, O: Process, V> {
    map: KeyMap<'a, O, u64, V>,
}

impl<O: Process, V> fmt::Debug for KeyList<'_, O, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KeyList").field("map", &self.map).finish()
    }
}

impl<'a, O: Process, V: Serialize + DeserializeOwned> KeyList<'a, O, V> {
    pub(crate) fn new(store: &'a mut dyn ItemStore, key: u32, list: ListState<V>) -> Self {
        Self {
            map: KeyMap::new(store, key, list.as_map()),
        }
    }

    /// Adds an item behind the last.
    ///
    /// # Errors
    /// As [`KeyMap::get`].
    pub fn push(&mut self, value: &V) -> Result<()> {
        let next = self.map.last()?.map_or(0, |(last, _)| last + 1);
        self.map.insert(&next, value);
        Ok(())
    }

    /// Takes the first item out.
    ///
    /// # Errors
    /// As [`KeyMap::get`].
    pub fn pop_front(&mut self) -> Result<Option<V>> {
        let first = self.map.first()?;
        Ok(first.map(|(place, value)| {
            self.map.remove(&place);
            value
        }))
    }

    /// Takes the last item out.
    ///
    /// # Errors
    /// As [`KeyMap::get`].
    pub fn pop_back(&mut self) -> Result<Option<V>> {
        let last = self.map.last()?;
        Ok(last.map(|(place, value)| {
            self.map.remove(&place);
            value
        }))
    }

    /// The first item.
    ///
    /// # Errors
    /// As [`KeyMap::get`].
    pub fn first(&self) -> Result<Option<V>> {
        Ok(self.map.first()?.map(|(_, value)| value))
    }

    /// The last item.
    ///
    /// # Errors
    /// As [`KeyMap::get`].
    pub fn last(&self) -> Result<Option<V>> {
        Ok(self.map.last()?.map(|(_, value)| value))
    }

    /// All items, in order. Pages of items are read as the iterator needs them.
    pub fn iter(&self) -> impl Iterator<Item = Result<V>> {
        self.map.iter().map(|entry| entry.map(|(_, value)| value))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Removes all items.
    pub fn clear(&mut self) {
        self.map.clear();
    }
}

/// The layout of what an operator keeps: that of its state, which may be unknown, and those of its items.
pub(crate) fn layout_with(state: Option<String>, items: &[&dyn ItemState]) -> Option<String> {
    let mut text = state?;
    for item in items {
        write!(text, "; {}: {}", layout::name(item.name()), item.layout()?).expect("a string takes what is written");
    }
    Some(text)
}

/// What to say of an item of a version that there is no migration from.
pub(crate) fn unknown(map: &str, stored: Stored<'_>) -> Error {
    Error::new(format!("in the map `{map}`, {}", stored.unknown().message()))
}
