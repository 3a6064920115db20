//! Byte strings in a column.
//!
//! Owns the layout that `wit/types.wit` gives to the guests. Knows nothing of what the bytes mean.

use std::ops::Range;

/// A sequence of byte strings laid end to end: item `i` is `bytes[ends[i - 1]..ends[i]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "component-model",
    derive(wasmtime::component::ComponentType, wasmtime::component::Lower),
    component(record)
)]
pub struct Column {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

/// A column that breaks its own layout; only a guest can make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// An end lies before the one in front of it.
    #[error("column end {index} lies before the end in front of it")]
    Descending {
        /// Which end.
        index: usize,
    },
    /// The last end is not where the bytes end.
    #[error("the last column end is {end}, but there are {bytes} bytes")]
    Uncovered {
        /// The last end, 0 without any.
        end: usize,
        /// How many bytes there are.
        bytes: usize,
    },
}

/// Why a length fits the `u32` of an end.
const FITS: &str = "batch limits keep a column under 4 GiB";

impl Column {
    /// The most bytes that one column holds, so that every end fits its `u32`.
    pub const BYTES_MAX: usize = u32::MAX as usize;

    /// An empty column with room for `items` of `bytes` bytes together.
    #[must_use]
    pub fn with_capacity(items: usize, bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            ends: Vec::with_capacity(items),
        }
    }

    /// `items` empty byte strings.
    #[must_use]
    pub fn of_empty(items: usize) -> Self {
        Self {
            bytes: Vec::new(),
            ends: vec![0; items],
        }
    }

    /// A column from its parts.
    ///
    /// # Errors
    /// When the ends descend or do not cover the bytes exactly.
    pub fn from_parts(bytes: Vec<u8>, ends: Vec<u32>) -> Result<Self, Malformed> {
        if let Some(before) = first_unordered(&ends, |before, after| before <= after) {
            return Err(Malformed::Descending { index: before + 1 });
        }
        let end = ends.last().map_or(0, |end| *end as usize);
        if end != bytes.len() {
            return Err(Malformed::Uncovered {
                end,
                bytes: bytes.len(),
            });
        }
        Ok(Self { bytes, ends })
    }

    /// The number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of all items, end to end.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where each item ends in [`bytes`](Self::bytes).
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Item `index`.
    ///
    /// # Panics
    /// When there is no such item.
    #[must_use]
    pub fn get(&self, index: usize) -> &[u8] {
        &self.bytes[self.start(index)..self.ends[index] as usize]
    }

    fn start(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.ends[index - 1] as usize }
    }

    /// Appends an item.
    ///
    /// # Panics
    /// When the bytes would exceed [`BYTES_MAX`](Self::BYTES_MAX), which batch limits keep far away.
    pub fn push(&mut self, item: &[u8]) {
        self.bytes.extend_from_slice(item);
        self.close_item();
    }

    /// Appends an item that `write` appends to the bytes.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.close_item();
    }

    fn close_item(&mut self) {
        self.ends.push(u32::try_from(self.bytes.len()).expect(FITS));
    }

    /// Appends all items of `other`.
    pub fn extend(&mut self, other: &Column) {
        let base = u32::try_from(self.bytes.len()).expect(FITS);
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| base + end));
    }

    /// The items in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let item = &self.bytes[start..end as usize];
            start = end as usize;
            item
        })
    }

    /// The items of `range`.
    ///
    /// # Panics
    /// When the range ends past the last item.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Column {
        let base = self.start(range.start);
        let ends: Vec<u32> = self.ends[range]
            .iter()
            .map(|&end| end - u32::try_from(base).expect("it is one of the ends"))
            .collect();
        let length = ends.last().map_or(0, |&end| end as usize);
        Column {
            bytes: self.bytes[base..base + length].to_vec(),
            ends,
        }
    }

    /// How many bytes the items of `range` have.
    ///
    /// # Panics
    /// When the range ends past the last item.
    #[must_use]
    pub fn slice_bytes(&self, range: Range<usize>) -> usize {
        if range.is_empty() {
            return 0;
        }
        self.ends[range.end - 1] as usize - self.start(range.start)
    }

    /// The items at `indexes`, in that order.
    ///
    /// # Panics
    /// When there is no such item.
    #[must_use]
    pub fn gather(&self, indexes: &[u32]) -> Column {
        match self.width() {
            Some(8) => return self.gather_of_width::<8>(indexes),
            Some(16) => return self.gather_of_width::<16>(indexes),
            _ => {}
        }
        let mean = self.bytes.len().checked_div(self.len()).unwrap_or(0) + 1;
        let mut picked = Column::with_capacity(indexes.len(), mean * indexes.len());
        // A filter keeps runs of neighbours, each of which is one copy; a flat map repeats what it starts from.
        let mut rest = indexes;
        while let Some(&first) = rest.first() {
            let same = rest.iter().take_while(|index| **index == first).count();
            if same > 1 {
                picked.extend_repeated(self.get(first as usize), same);
                rest = &rest[same..];
                continue;
            }
            let length = rest
                .iter()
                .zip(first..)
                .take_while(|(index, expected)| *index == expected)
                .count();
            picked.extend_from(self, first as usize..first as usize + length);
            rest = &rest[length..];
        }
        picked
    }

    /// The length of every item, if all have the same.
    fn width(&self) -> Option<u32> {
        let (&width, &last) = (self.ends.first()?, self.ends.last()?);
        if u64::from(width) * self.ends.len() as u64 != u64::from(last) {
            return None;
        }
        // One pass without branches: a vector instruction compares many ends at once. Nothing wraps, the last end fits.
        let differences = self.ends.iter().zip(1_u32..).fold(0, |differences, (&end, items)| {
            differences | (end ^ items.wrapping_mul(width))
        });
        (differences == 0).then_some(width)
    }

    /// [`gather`](Self::gather) for items of `WIDTH` bytes, such as numbers: moves without calls or branches.
    fn gather_of_width<const WIDTH: usize>(&self, indexes: &[u32]) -> Column {
        let (items, _) = self.bytes.as_chunks::<WIDTH>();
        let picked: Vec<[u8; WIDTH]> = indexes.iter().map(|&index| items[index as usize]).collect();
        let width = u32::try_from(WIDTH).expect(FITS);
        let ends = (1..).take(indexes.len()).map(|items: u32| items * width).collect();
        Column {
            bytes: picked.into_flattened(),
            ends,
        }
    }

    /// Appends an item so many times.
    fn extend_repeated(&mut self, item: &[u8], times: usize) {
        let fits = |bytes: usize| u32::try_from(bytes).expect(FITS);
        let start = self.bytes.len();
        let total = item.len() * times;
        let (first, length, _) = (fits(start), fits(item.len()), fits(start + total));
        self.bytes.reserve(total);
        self.bytes.extend_from_slice(item);
        // What is there is doubled until it is enough.
        loop {
            let there = self.bytes.len() - start;
            let more = there.min(total - there);
            if more == 0 {
                break;
            }
            self.bytes.extend_from_within(start..start + more);
        }
        self.ends
            .extend((1..).take(times).map(|items: u32| first + items * length));
    }

    /// Appends the items of `range` of another column.
    fn extend_from(&mut self, other: &Column, range: Range<usize>) {
        let (from, to) = (other.start(range.start), other.ends[range.end - 1] as usize);
        let base = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes[from..to]);
        // Wrapping, since items may move towards the front or the back of the bytes.
        let shift = u32::try_from(base)
            .expect(FITS)
            .wrapping_sub(u32::try_from(from).expect(FITS));
        self.ends
            .extend(other.ends[range].iter().map(|end| end.wrapping_add(shift)));
    }
}

/// The place of the first item that is not in order with the one behind it.
#[must_use]
pub fn first_unordered(items: &[u32], ordered: impl Fn(&u32, &u32) -> bool) -> Option<usize> {
    let is_ordered = |pair: &[u32]| ordered(&pair[0], &pair[1]);
    // Almost always all are, and a pass without an early end is one of vector instructions.
    let are_all = items.windows(2).fold(true, |all, pair| all & is_ordered(pair));
    if are_all {
        return None;
    }
    items.windows(2).position(|pair| !is_ordered(pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_what_was_pushed() {
        let mut column = Column::default();
        for item in [b"one".as_slice(), b"", b"three"] {
            column.push(item);
        }
        assert_eq!(column.iter().collect::<Vec<_>>(), [b"one".as_slice(), b"", b"three"]);
        assert_eq!(
            column.gather(&[2, 0]).iter().collect::<Vec<_>>(),
            [b"three".as_slice(), b"one"]
        );
    }

    #[test]
    fn gathering_gives_the_items_whatever_their_widths() {
        for widths in [
            [8, 8, 8, 8, 8],
            [16, 16, 16, 16, 16],
            [8, 8, 16, 0, 8],
            [0, 0, 0, 0, 0],
            [3, 3, 3, 3, 3],
        ] {
            let mut column = Column::default();
            (0_u8..)
                .zip(widths)
                .for_each(|(byte, width)| column.push(&vec![byte; width]));
            for indexes in [&[0, 1, 2, 3, 4][..], &[1, 2, 4], &[4, 0], &[0, 0, 0, 1, 2, 2, 4], &[]] {
                let gathered = column.gather(indexes);
                let wanted: Vec<&[u8]> = indexes.iter().map(|&index| column.get(index as usize)).collect();
                assert_eq!(gathered.iter().collect::<Vec<_>>(), wanted, "{widths:?} at {indexes:?}");
            }
        }
    }

    /// A bound counts in what it counts out again, however its events were taken apart and put together meanwhile.
    #[test]
    fn ends_that_descend_are_malformed() {
        assert_eq!(
            Column::from_parts(vec![0; 3], vec![2, 1, 3]),
            Err(Malformed::Descending { index: 1 })
        );
    }

    #[test]
    fn ends_that_miss_bytes_are_malformed() {
        assert_eq!(
            Column::from_parts(vec![0; 3], vec![2]),
            Err(Malformed::Uncovered { end: 2, bytes: 3 })
        );
        assert_eq!(
            Column::from_parts(vec![0; 3], vec![4]),
            Err(Malformed::Uncovered { end: 4, bytes: 3 })
        );
        assert_eq!(
            Column::from_parts(vec![0; 3], vec![]),
            Err(Malformed::Uncovered { end: 0, bytes: 3 })
        );
    }
}
