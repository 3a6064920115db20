//! Byte strings that were picked out of columns, without a copy of them.
//!
//! Payloads are most of the bytes of an event, and few operators look at them: an event that is passed on costs a number here, whatever
//! its payload is.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use crate::column::Column;

/// Columns that may be joined without a copy: of more, each event would keep little.
const COLUMNS_MAX: usize = 64;

/// How many times as many bytes as are picked may be held for them; then they are copied. Once bytes are wanted, a copy is held besides.
const HELD_MAX: usize = 3;

/// Bytes of items, on average, that are copied at once: to note where they are takes as long.
const COPIED_BYTES_MAX: usize = 32;

/// Byte strings in columns. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Picked(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    columns: SmallVec<[Arc<Column>; 1]>,
    /// Where each is; `None` where they are all of the only column, in its order.
    picks: Option<Vec<Pick>>,
    /// Bytes of all of them together.
    bytes: usize,
    whole: OnceLock<Arc<Column>>,
}

/// Item `item` of column `column`.
#[derive(Clone, Copy, Debug)]
struct Pick {
    column: u32,
    item: u32,
}

impl From<Arc<Column>> for Picked {
    fn from(column: Arc<Column>) -> Self {
        Self(Arc::new(Parts {
            bytes: column.bytes().len(),
            columns: SmallVec::from_buf([column]),
            ..Parts::default()
        }))
    }
}

impl Picked {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match &self.0.picks {
            Some(picks) => picks.len(),
            None => self.0.columns.iter().map(|column| column.len()).sum(),
        }
    }

    /// Bytes of all of them together.
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// The only column, where all items are its, in its order.
    fn only(&self) -> Option<&Arc<Column>> {
        match &self.0.columns[..] {
            [only] if self.0.picks.is_none() => Some(only),
            _ => None,
        }
    }

    /// The only column, if its items are short.
    fn only_short(&self) -> Option<&Arc<Column>> {
        self.only()
            .filter(|only| only.bytes().len() <= COPIED_BYTES_MAX * only.len())
    }

    /// Item `index`.
    ///
    /// # Panics
    /// When there is no such item.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        let Pick { column, item } = self.pick(index);
        self.0.columns[column as usize].get(item as usize)
    }

    #[inline]
    fn pick(&self, index: usize) -> Pick {
        match &self.0.picks {
            Some(picks) => picks[index],
            None => Pick {
                column: 0,
                item: u32::try_from(index).expect("a batch is small"),
            },
        }
    }

    /// The items in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// All of them end to end, which are copied at most once.
    pub(crate) fn to_column(&self) -> Arc<Column> {
        match self.only() {
            Some(only) => only.clone(),
            None => self
                .0
                .whole
                .get_or_init(|| Arc::new(self.copied(0..self.len())))
                .clone(),
        }
    }

    /// A copy of those in `range`, end to end.
    pub(crate) fn copied(&self, range: Range<usize>) -> Column {
        if let Some(only) = self.only() {
            return only.slice(range);
        }
        let mut copy = Column::with_capacity(range.len(), self.slice_bytes(range.clone()));
        range.for_each(|index| copy.push(self.get(index)));
        copy
    }

    /// How many bytes those in `range` have.
    ///
    /// # Panics
    /// When the range ends past the last item.
    pub(crate) fn slice_bytes(&self, range: Range<usize>) -> usize {
        match self.only() {
            Some(only) => only.slice_bytes(range),
            None if range.len() == self.len() => self.0.bytes,
            None => range.map(|index| self.get(index).len()).sum(),
        }
    }

    /// Those at `indexes`, in that order.
    pub(crate) fn gather(&self, indexes: &[u32]) -> Self {
        if let Some(only) = self.only_short() {
            return Arc::new(only.gather(indexes)).into();
        }
        self.picked(indexes.iter().map(|&index| self.pick(index as usize)).collect())
    }

    /// Those in `range`.
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        if range.len() == self.len() {
            return self.clone();
        }
        if let Some(only) = self.only_short() {
            return Arc::new(only.slice(range)).into();
        }
        self.picked(range.map(|index| self.pick(index)).collect())
    }

    fn picked(&self, picks: Vec<Pick>) -> Self {
        let columns = &self.0.columns;
        let length = |pick: &Pick| {
            let item = pick.item as usize;
            columns[pick.column as usize].slice_bytes(item..item + 1)
        };
        let picked = Self(Arc::new(Parts {
            bytes: picks.iter().map(length).sum(),
            columns: columns.clone(),
            picks: Some(picks),
            whole: OnceLock::new(),
        }));
        picked.compacted()
    }

    /// The same, copied if much more is held for them.
    fn compacted(self) -> Self {
        let bytes = |column: &Arc<Column>| column.bytes().len() + size_of_val(column.ends());
        let held: usize = self.0.columns.iter().map(bytes).sum();
        let counted = self.0.bytes + self.len() * size_of::<u32>();
        if held > HELD_MAX * counted {
            Arc::new(self.copied(0..self.len())).into()
        } else {
            self
        }
    }

    /// All of them, end to end.
    pub(crate) fn concat<'a>(all: impl Iterator<Item = &'a Picked> + Clone) -> Self {
        let items = all.clone().map(Picked::len).sum();
        let bytes = all.clone().map(Picked::bytes).sum();
        let columns = all.clone().map(|part| part.0.columns.len()).sum::<usize>();
        if columns > COLUMNS_MAX || all.clone().all(|part| part.only_short().is_some()) {
            let mut copy = Column::with_capacity(items, bytes);
            for part in all {
                match part.only() {
                    Some(only) => copy.extend(only),
                    None => part.iter().for_each(|item| copy.push(item)),
                }
            }
            return Arc::new(copy).into();
        }
        let mut columns: SmallVec<[Arc<Column>; 1]> = SmallVec::new();
        let mut picks = Vec::with_capacity(items);
        for part in all {
            let place = |column: &Arc<Column>| {
                let known = columns.iter().position(|known| Arc::ptr_eq(known, column));
                let place = known.unwrap_or_else(|| {
                    columns.push(column.clone());
                    columns.len() - 1
                });
                u32::try_from(place).expect("columns are few")
            };
            let places: SmallVec<[u32; 1]> = part.0.columns.iter().map(place).collect();
            let of_part = (0..part.len()).map(|index| part.pick(index));
            picks.extend(of_part.map(|Pick { column, item }| Pick {
                column: places[column as usize],
                item,
            }));
        }
        let joined = Parts {
            columns,
            picks: Some(picks),
            bytes,
            whole: OnceLock::new(),
        };
        Self(Arc::new(joined)).compacted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(items: &[&str]) -> Arc<Column> {
        let mut column = Column::default();
        items.iter().for_each(|item| column.push(item.as_bytes()));
        Arc::new(column)
    }

    fn text(picked: &Picked) -> Vec<String> {
        let text = |item: &[u8]| String::from_utf8(item.to_vec()).unwrap();
        let all: Vec<String> = picked.iter().map(text).collect();
        let whole: Vec<String> = picked.to_column().iter().map(text).collect();
        assert_eq!(all, whole);
        assert_eq!(picked.bytes(), all.concat().len());
        assert_eq!(picked.slice_bytes(0..picked.len()), picked.bytes());
        all
    }

    #[test]
    fn what_is_picked_is_what_was_there() {
        let long = "l".repeat(2 * COPIED_BYTES_MAX);
        for [a, b, c] in [["a", "bcd", "ef"], [&long, "bcd", "ef"]] {
            let all = Picked::from(column(&[a, b, "", c]));
            assert_eq!(text(&all), [a, b, "", c]);
            let some = all.gather(&[3, 1, 0, 1]);
            assert_eq!(text(&some), [c, b, a, b]);
            assert_eq!(text(&some.slice(1..3)), [b, a]);
            assert_eq!(text(&some.gather(&[3, 2])), [b, a]);
            let joined = Picked::concat([&some, &all, &all.slice(2..2)].into_iter());
            assert_eq!(text(&joined), [c, b, a, b, a, b, "", c]);
            assert_eq!(text(&joined.slice(2..7)), [a, b, a, b, ""]);
            assert_eq!(
                (joined.slice_bytes(3..4), joined.copied(3..4).bytes()),
                (b.len(), b.as_bytes())
            );
        }
        let [one, other] = [["a", &long], ["b", &long]].map(|items| Picked::from(column(&items)));
        let joined = Picked::concat([&one, &other].into_iter());
        let again = Picked::concat([&other, &joined.gather(&[3, 2, 0, 1])].into_iter());
        assert_eq!(
            text(&again),
            ["b", &long, &long, "b", "a", &long],
            "of parts that have several columns"
        );
        assert_eq!(text(&Picked::concat([].into_iter())), Vec::<String>::new());
        assert_eq!(text(&Picked::default()), Vec::<String>::new());
    }

    #[test]
    fn nothing_is_copied_while_most_of_it_is_kept_and_little_keeps_little() {
        const LENGTH: usize = 2 * COPIED_BYTES_MAX;
        let items: Vec<String> = (0..100).map(|item| format!("{item:0>LENGTH$}")).collect();
        let items: Vec<&str> = items.iter().map(String::as_str).collect();
        let whole = column(&items);
        let all = Picked::from(whole.clone());
        let half = all.slice(0..50);
        assert!(Arc::ptr_eq(&half.0.columns[0], &whole));
        let few = half.slice(0..5);
        assert_eq!(few.0.columns[0].bytes().len(), 5 * LENGTH);
        let joined = Picked::concat([&half, &few, &half].into_iter());
        assert_eq!(
            (joined.0.columns.len(), joined.len()),
            (2, 105),
            "a column is held once"
        );
        let many: Vec<Picked> = (0..=COLUMNS_MAX).map(|_| few.clone()).collect();
        assert_eq!(Picked::concat(many.iter()).0.columns.len(), 1);
    }
}
