//! Events in columns, as `wit/types.wit` lays them out: what crosses the boundary between host and component.
//!
//! Owns the layout. Knows nothing of what the bytes mean; that is `codec`'s.

/// A sequence of byte strings laid end to end: item `i` is `bytes[ends[i - 1]..ends[i]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Column {
    /// All items, end to end.
    pub bytes: Vec<u8>,
    /// Where each of them ends.
    pub ends: Vec<u32>,
}

/// Events: the columns have the same number of items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Event times in ms since the epoch.
    pub times: Vec<i64>,
    /// Keys, empty for events without one.
    pub keys: Column,
    /// Encoded values.
    pub values: Column,
}

/// What the operator rejects, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its place among what was handed over.
    pub index: u32,
    /// Why.
    pub message: String,
}

/// Values that an operator hands on, each with the place of what it came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outputs {
    /// The place of what each value came from; never decreases.
    pub origins: Vec<u32>,
    /// New keys, if any.
    pub keys: Option<Column>,
    /// The values.
    pub values: Column,
    /// The origins that were rejected instead.
    pub failures: Vec<Failure>,
}

/// What a filter made of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filtered {
    /// The places of the events to keep, rising.
    pub kept: Vec<u32>,
    /// The rejected events.
    pub failures: Vec<Failure>,
}

/// Windows: the columns have the same number of items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Windows {
    /// The key of each.
    pub keys: Column,
    /// Where each begins, in ms since the epoch.
    pub starts: Vec<i64>,
    /// Where each ends.
    pub ends: Vec<i64>,
    /// How many events each holds.
    pub counts: Vec<u64>,
}

/// What a reduce made of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folded {
    /// The accumulators of the groups that stay open.
    pub accumulators: Column,
    /// What the closing windows emit.
    pub outputs: Outputs,
    /// The rejected events; where there are any, the rest is empty.
    pub rejected: Vec<Failure>,
}

/// What a reduce made of accumulators of an older version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migrated {
    /// The accumulators in the version that it writes.
    pub accumulators: Column,
    /// Those that it cannot read; where there are any, the rest is empty.
    pub failures: Vec<Failure>,
}

impl Column {
    /// An empty column with room for `items` of `bytes` bytes together.
    #[must_use]
    pub fn with_capacity(items: usize, bytes: usize) -> Column {
        Column {
            bytes: Vec::with_capacity(bytes),
            ends: Vec::with_capacity(items),
        }
    }

    /// The number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Item `index`.
    ///
    /// # Panics
    /// When there is no such item.
    #[must_use]
    pub fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.bytes[start..self.ends[index] as usize]
    }

    /// The items in turn.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let end = end as usize;
            let item = &self.bytes[start..end];
            start = end;
            item
        })
    }

    /// Appends an item.
    #[inline]
    pub fn push(&mut self, item: &[u8]) {
        self.bytes.extend_from_slice(item);
        self.close();
    }

    /// Makes an item of the bytes that were written behind the last one.
    #[inline]
    pub(crate) fn close(&mut self) {
        self.ends.push(position(self.bytes.len()));
    }

    /// Drops all items but the first `items`, and what was written behind them.
    pub(crate) fn truncate(&mut self, items: usize) {
        self.ends.truncate(items);
        self.bytes.truncate(self.ends.last().map_or(0, |&end| end as usize));
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Column {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Column {
        items.into_iter().fold(Column::default(), |mut column, item| {
            column.push(item.as_ref());
            column
        })
    }
}

impl Batch {
    /// The number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl Windows {
    /// The number of windows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }
}

/// A place in a column, or of an event in a batch, as the contract writes it.
#[inline]
pub(crate) fn position(place: usize) -> u32 {
    u32::try_from(place).expect("a batch is smaller than 4 GiB: a component has no more memory than that")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_as_they_were_pushed() {
        let column: Column = ["a", "", "ccc"].into_iter().collect();
        assert_eq!(column.ends, [1, 1, 4]);
        assert_eq!(column.iter().collect::<Vec<_>>(), [&b"a"[..], b"", b"ccc"]);
        assert_eq!(
            (0..3).map(|i| column.get(i)).collect::<Vec<_>>(),
            column.iter().collect::<Vec<_>>()
        );
    }

    #[test]
    fn truncating_drops_an_unfinished_item_too() {
        let mut column: Column = ["a", "bb"].into_iter().collect();
        column.bytes.extend_from_slice(b"unfinished");
        column.truncate(1);
        assert_eq!(column, ["a"].into_iter().collect());
    }
}
