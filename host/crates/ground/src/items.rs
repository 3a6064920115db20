//! The items that a process keeps of a key: values by name, of which a turn reads and changes a few.
//!
//! They lie in the order of their names, end to end in chunks that are copied when they change: a copy of all of them costs a few
//! nanoseconds for each chunk, and shares what does not change. So a call works on a copy, which takes effect with its turn or not at all.
//!
//! Encoded, an item is `name bytes u32 | value bytes u32 | state version u32 | name | value`, all numbers little-endian.

use std::ops::{Bound, Range};
use std::sync::Arc;

/// A chunk of several items has at most this many bytes.
const CHUNK_BYTES_MAX: usize = 4 << 10;
/// What an item takes besides its name and its value.
pub const HEAD_BYTES: usize = 4 + 4 + 4;

/// Items by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Items {
    /// None of them is empty.
    chunks: Vec<Arc<Chunk>>,
    bytes: usize,
}

/// An item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// The state version of the component that wrote it.
    pub version: u32,
    /// Its value.
    pub value: &'a [u8],
}

/// Where an item is, or would be.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    chunk: usize,
    place: Result<usize, usize>,
}

/// Names from one to another.
pub type Names<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Some items, encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Chunk {
    bytes: Vec<u8>,
    /// Where each item begins.
    starts: Vec<u32>,
}

/// Where an item is: its chunk, and its place there.
type Place = (usize, usize);

impl Items {
    /// The bytes that they take, encoded.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.starts.len()).sum()
    }

    /// The memory that they take.
    #[must_use]
    pub fn memory(&self) -> usize {
        let of = |chunk: &Arc<Chunk>| {
            size_of::<Arc<Chunk>>() + size_of::<Chunk>() + chunk.bytes.capacity() + 4 * chunk.starts.capacity()
        };
        self.chunks.iter().map(of).sum()
    }

    /// The item of this name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<Item<'_>> {
        self.at(self.look_for(name))
    }

    /// Where the item of this name is, or would be: in these items and in a copy of them, until they change.
    #[must_use]
    pub fn look_for(&self, name: &[u8]) -> Found {
        let (chunk, place) = self.find(name);
        Found { chunk, place }
    }

    /// The item that was found, if there is one.
    #[must_use]
    pub fn at(&self, found: Found) -> Option<Item<'_>> {
        let place = found.place.ok()?;
        Some(self.chunks[found.chunk].item(place))
    }

    /// Sets an item, in place of the one of the same name.
    ///
    /// # Panics
    /// When a name or a value takes 4 GiB.
    pub fn set(&mut self, item: Item<'_>) {
        self.set_at(self.look_for(item.name), item);
    }

    /// The same, of an item that was [looked for](Self::look_for).
    ///
    /// # Panics
    /// As [`set`](Self::set).
    pub fn set_at(&mut self, found: Found, item: Item<'_>) {
        if self.chunks.is_empty() {
            self.chunks.push(Arc::default());
        }
        let chunk = Arc::make_mut(&mut self.chunks[found.chunk]);
        let before = chunk.bytes.len();
        match found.place {
            Ok(at) => chunk.replace(at, item),
            Err(at) => chunk.insert(at, item),
        }
        self.bytes = self.bytes + chunk.bytes.len() - before;
        self.split_large(found.chunk);
    }

    /// Removes an item. Says whether there was one.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let (place, Ok(at)) = self.find(name) else {
            return false;
        };
        self.take_out(place, at..at + 1);
        true
    }

    /// Removes the items of these names. Returns how many bytes were removed.
    pub fn remove_all(&mut self, names: Names<'_>) -> usize {
        let [from, to] = self.places(names);
        let before = self.bytes;
        // From the last chunk to the first, so that the numbers of those before stay as they are.
        for place in (from.0..self.chunks.len().min(to.0 + 1)).rev() {
            let start = if place == from.0 { from.1 } else { 0 };
            let end = if place == to.0 {
                to.1
            } else {
                self.chunks[place].starts.len()
            };
            if start < end {
                self.take_out(place, start..end);
            }
        }
        before - self.bytes
    }

    /// The items of these names, in their order.
    #[must_use]
    pub fn range(&self, names: Names<'_>) -> impl DoubleEndedIterator<Item = Item<'_>> {
        let [from, to] = self.places(names);
        let chunks = from.0..self.chunks.len().min(to.0 + 1);
        chunks.flat_map(move |place| {
            let chunk = &self.chunks[place];
            let start = if place == from.0 { from.1 } else { 0 };
            let end = if place == to.0 { to.1 } else { chunk.starts.len() };
            (start..end.max(start)).map(move |at| chunk.item(at))
        })
    }

    /// All of them.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Item<'_>> {
        self.range((Bound::Unbounded, Bound::Unbounded))
    }

    /// Adds their bytes.
    pub fn encode_into(&self, bytes: &mut Vec<u8>) {
        self.chunks
            .iter()
            .for_each(|chunk| bytes.extend_from_slice(&chunk.bytes));
    }

    /// The items in `bytes`; `None` where these are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut items = Self {
            chunks: Vec::new(),
            bytes: bytes.len(),
        };
        let mut chunk = Chunk::default();
        let (mut rest, mut last) = (bytes, None);
        while !rest.is_empty() {
            let (item, behind) = split(rest)?;
            if last.is_some_and(|last| last >= item.name) {
                return None;
            }
            last = Some(item.name);
            let encoded = &rest[..rest.len() - behind.len()];
            // As full as chunks are on the average that grow by splits.
            if !chunk.starts.is_empty() && chunk.bytes.len() + encoded.len() > CHUNK_BYTES_MAX * 3 / 4 {
                items.chunks.push(Arc::new(std::mem::take(&mut chunk)));
            }
            chunk.starts.push(number(chunk.bytes.len()));
            chunk.bytes.extend_from_slice(encoded);
            rest = behind;
        }
        if !chunk.starts.is_empty() {
            items.chunks.push(Arc::new(chunk));
        }
        Some(items)
    }

    /// The chunk that an item of this name is in, or would be; and its place there.
    fn find(&self, name: &[u8]) -> (usize, Result<usize, usize>) {
        let behind = self.chunks.partition_point(|chunk| chunk.item(0).name <= name);
        let place = behind.saturating_sub(1);
        let found = self.chunks.get(place).map_or(Err(0), |chunk| chunk.find(name));
        (place, found)
    }

    /// Where items of these names begin and end.
    fn places(&self, (from, to): Names<'_>) -> [Place; 2] {
        let place = |name: &[u8], is_behind: bool| {
            let (chunk, found) = self.find(name);
            let at = found.map_or_else(|at| at, |at| at + usize::from(is_behind));
            (chunk, at)
        };
        let start = match from {
            Bound::Included(name) => place(name, false),
            Bound::Excluded(name) => place(name, true),
            Bound::Unbounded => (0, 0),
        };
        let end = match to {
            Bound::Included(name) => place(name, true),
            Bound::Excluded(name) => place(name, false),
            Bound::Unbounded => (self.chunks.len(), 0),
        };
        [start, end]
    }

    fn take_out(&mut self, place: usize, items: Range<usize>) {
        if items.len() == self.chunks[place].starts.len() {
            self.bytes -= self.chunks.remove(place).bytes.len();
            return;
        }
        let chunk = Arc::make_mut(&mut self.chunks[place]);
        let before = chunk.bytes.len();
        chunk.remove(items);
        self.bytes = self.bytes + chunk.bytes.len() - before;
        self.join_with_next(place);
    }

    /// Splits a chunk until none of its parts is too large, but for those of one item.
    fn split_large(&mut self, place: usize) {
        let chunk = &self.chunks[place];
        if chunk.bytes.len() <= CHUNK_BYTES_MAX || chunk.starts.len() == 1 {
            return;
        }
        let behind = Arc::make_mut(&mut self.chunks[place]).split();
        self.chunks.insert(place + 1, Arc::new(behind));
        self.split_large(place + 1);
        self.split_large(place);
    }

    /// Joins a chunk with the next one, if both are small.
    fn join_with_next(&mut self, place: usize) {
        let bytes = |place: usize| self.chunks.get(place).map(|chunk| chunk.bytes.len());
        if let (Some(one), Some(next)) = (bytes(place), bytes(place + 1))
            && one + next < CHUNK_BYTES_MAX / 2
        {
            let next = self.chunks.remove(place + 1);
            Arc::make_mut(&mut self.chunks[place]).append(&next);
        }
    }
}

impl Chunk {
    fn end_of(&self, at: usize) -> usize {
        self.starts.get(at + 1).map_or(self.bytes.len(), |end| *end as usize)
    }

    fn item(&self, at: usize) -> Item<'_> {
        let bytes = &self.bytes[self.starts[at] as usize..];
        split(bytes).expect("a chunk consists of items").0
    }

    fn find(&self, name: &[u8]) -> Result<usize, usize> {
        let (mut from, mut to) = (0, self.starts.len());
        while from < to {
            let middle = usize::midpoint(from, to);
            match self.item(middle).name.cmp(name) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        Err(from)
    }

    fn insert(&mut self, at: usize, item: Item<'_>) {
        let start = self.starts.get(at).map_or(self.bytes.len(), |start| *start as usize);
        let by = self.write(start..start, item);
        self.starts.insert(at, number(start));
        self.starts[at + 1..].iter_mut().for_each(|start| *start += number(by));
    }

    fn replace(&mut self, at: usize, item: Item<'_>) {
        let range = self.starts[at] as usize..self.end_of(at);
        let shrunk = number(range.len());
        let grown = number(self.write(range, item));
        let behind = &mut self.starts[at + 1..];
        behind.iter_mut().for_each(|start| *start = *start - shrunk + grown);
    }

    /// Writes an item in place of these bytes. Gives how many it takes.
    fn write(&mut self, range: Range<usize>, item: Item<'_>) -> usize {
        let (before, behind) = (self.bytes.len(), range.end..self.bytes.len());
        let taken = HEAD_BYTES + item.name.len() + item.value.len();
        let end = range.start + taken;
        self.bytes.resize(before.max(end + behind.len()), 0);
        self.bytes.copy_within(behind.clone(), end);
        self.bytes.truncate(end + behind.len());
        let head = [number(item.name.len()), number(item.value.len()), item.version];
        let mut to = &mut self.bytes[range.start..end];
        for part in head
            .map(u32::to_le_bytes)
            .iter()
            .map(|word| &word[..])
            .chain([item.name, item.value])
        {
            let (own, rest) = to.split_at_mut(part.len());
            own.copy_from_slice(part);
            to = rest;
        }
        taken
    }

    fn remove(&mut self, items: Range<usize>) {
        let bytes = self.starts[items.start] as usize..self.end_of(items.end - 1);
        let by = number(bytes.len());
        self.bytes.drain(bytes);
        self.starts.drain(items.clone());
        self.starts[items.start..].iter_mut().for_each(|start| *start -= by);
    }

    /// Takes the second half off.
    fn split(&mut self) -> Self {
        let half = self.bytes.len() / 2;
        let at = self.starts.partition_point(|start| (*start as usize) < half);
        let at = at.clamp(1, self.starts.len() - 1);
        let from = self.starts[at];
        let mut starts = self.starts.split_off(at);
        starts.iter_mut().for_each(|start| *start -= from);
        Self {
            bytes: self.bytes.split_off(from as usize),
            starts,
        }
    }

    fn append(&mut self, other: &Self) {
        let from = number(self.bytes.len());
        self.bytes.extend_from_slice(&other.bytes);
        self.starts.extend(other.starts.iter().map(|start| start + from));
    }
}

fn number(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("limits keep what is known of a key under 4 GiB")
}

/// The item in front of `bytes`, and what follows it.
fn split(bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (name, rest) = bytes.split_first_chunk()?;
    let (value, rest) = rest.split_first_chunk()?;
    let (version, rest) = rest.split_first_chunk()?;
    let [name, value, version] = [name, value, version].map(|word| u32::from_le_bytes(*word));
    let (name, rest) = rest.split_at_checked(usize::try_from(name).ok()?)?;
    let (value, rest) = rest.split_at_checked(usize::try_from(value).ok()?)?;
    Some((Item { name, version, value }, rest))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A name, a version and a value.
    type ModelItem = (Vec<u8>, (u32, Vec<u8>));
    type Model = BTreeMap<Vec<u8>, (u32, Vec<u8>)>;

    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(self.0 >> 33).unwrap() % bound
        }

        fn name(&mut self) -> Vec<u8> {
            let length = [0, 1, 2, 2, 2, 40][self.below(6)];
            (0..length).map(|_| u8::try_from(self.below(20)).unwrap()).collect()
        }
    }

    fn shown<'a>(items: impl Iterator<Item = Item<'a>>) -> Vec<ModelItem> {
        items
            .map(|item| (item.name.to_vec(), (item.version, item.value.to_vec())))
            .collect()
    }

    fn bound<'a>(random: &mut Random, name: &'a [u8]) -> Bound<&'a [u8]> {
        match random.below(3) {
            0 => Bound::Included(name),
            1 => Bound::Excluded(name),
            _ => Bound::Unbounded,
        }
    }

    fn within(model: &Model, (from, to): Names<'_>) -> Model {
        let is_behind = |name: &[u8]| match from {
            Bound::Included(from) => name >= from,
            Bound::Excluded(from) => name > from,
            Bound::Unbounded => true,
        };
        let is_before = |name: &[u8]| match to {
            Bound::Included(to) => name <= to,
            Bound::Excluded(to) => name < to,
            Bound::Unbounded => true,
        };
        let is_within = |(name, _): &(&Vec<u8>, _)| is_behind(name) && is_before(name);
        let items = model.iter().filter(is_within);
        items.map(|(name, item)| (name.clone(), item.clone())).collect()
    }

    #[test]
    fn items_are_as_good_as_a_sorted_map_and_a_copy_stays_as_it_is() {
        for seed in 1..=6 {
            let mut random = Random(seed);
            let (mut items, mut model) = (Items::default(), Model::new());
            for step in 0..600 {
                let (copy, before) = (items.clone(), model.clone());
                let (name, other) = (random.name(), random.name());
                match random.below(20) {
                    0..12 => {
                        let length = [0, 8, 60, 5_000][random.below(4)];
                        let (version, value) = (u32::try_from(step).unwrap(), vec![7; length]);
                        items.set(Item {
                            name: &name,
                            version,
                            value: &value,
                        });
                        model.insert(name, (version, value));
                    }
                    12..19 => assert_eq!(items.remove(&name), model.remove(&name).is_some()),
                    _ => {
                        let names = (bound(&mut random, &name), bound(&mut random, &other));
                        let gone = within(&model, names);
                        let bytes = items.bytes();
                        assert_eq!(items.remove_all(names), bytes - items.bytes());
                        model.retain(|name, _| !gone.contains_key(name));
                    }
                }
                assert_eq!(shown(copy.iter()), shown_model(&before), "seed {seed}, step {step}");
                check(&items, &model, &format!("seed {seed}, step {step}"));
                let (name, other) = (random.name(), random.name());
                let names = (bound(&mut random, &name), bound(&mut random, &other));
                let expected = shown_model(&within(&model, names));
                assert_eq!(shown(items.range(names)), expected, "seed {seed}, step {step}");
                let backward: Vec<_> = expected.into_iter().rev().collect();
                assert_eq!(shown(items.range(names).rev()), backward, "seed {seed}, step {step}");
            }
        }
    }

    fn shown_model(model: &Model) -> Vec<ModelItem> {
        model.clone().into_iter().collect()
    }

    fn check(items: &Items, model: &Model, at: &str) {
        assert_eq!(shown(items.iter()), shown_model(model), "{at}");
        assert_eq!((items.len(), items.is_empty()), (model.len(), model.is_empty()), "{at}");
        for (name, (version, value)) in model {
            let item = items.get(name).expect("it is there");
            assert_eq!((item.version, item.value), (*version, &value[..]), "{at}");
        }
        let mut bytes = Vec::new();
        items.encode_into(&mut bytes);
        assert_eq!(bytes.len(), items.bytes(), "{at}");
        let decoded = Items::decode(&bytes).expect("it was encoded");
        assert_eq!(shown(decoded.iter()), shown_model(model), "{at}");
        let large = items.chunks.iter().filter(|chunk| chunk.starts.len() > 1);
        assert!(
            large.into_iter().all(|chunk| chunk.bytes.len() <= CHUNK_BYTES_MAX),
            "{at}"
        );
    }

    #[test]
    fn what_are_no_items_is_not_read() {
        let mut items = Items::default();
        for name in [b"a", b"b"] {
            items.set(Item {
                name,
                version: 1,
                value: b"value",
            });
        }
        let mut bytes = Vec::new();
        items.encode_into(&mut bytes);
        for length in 0..bytes.len() {
            let is_whole = length == 0 || length == bytes.len() / 2;
            assert_eq!(Items::decode(&bytes[..length]).is_some(), is_whole, "{length} bytes");
        }
        let twice = bytes.repeat(2);
        assert_eq!(Items::decode(&twice), None, "names do not rise");
    }
}
