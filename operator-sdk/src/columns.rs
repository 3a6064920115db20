//! Events in columns, as `wit/types.wit` lays them out: what crosses the boundary between host and component.
//!
//! Owns the layout. Knows nothing of what the bytes mean; that is `codec`'s.

use crate::{
    Result,
    codec::Encode,
    fields::{self, OutputMode},
};

/// A sequence of byte strings laid end to end: item `i` is `bytes[ends[i - 1]..ends[i]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Column {
    /// All items, end to end.
    pub bytes: Vec<u8>,
    /// Where each of them ends.
    pub ends: Vec<u32>,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// True or false.
    Boolean,
    /// An integer of 64 bits, exact.
    S64,
    /// A number, as the nearest of 64 bits.
    F64,
    /// UTF-8.
    Text,
    /// Bytes; in JSON a string in base64.
    Bytes,
    /// Any JSON value, as it is written.
    Json,
}

/// The values of a field, one for each event; where an event has none, anything.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldValues {
    /// Bits, eight to a byte, the lowest first.
    Boolean(Vec<u8>),
    /// Integers.
    S64(Vec<i64>),
    /// Numbers.
    F64(Vec<f64>),
    /// Texts.
    Text(Column),
    /// Bytes.
    Bytes(Column),
    /// Texts of JSON values.
    Json(Column),
}

impl FieldValues {
    /// Their type.
    #[must_use]
    pub fn field_type(&self) -> FieldType {
        match self {
            FieldValues::Boolean(_) => FieldType::Boolean,
            FieldValues::S64(_) => FieldType::S64,
            FieldValues::F64(_) => FieldType::F64,
            FieldValues::Text(_) => FieldType::Text,
            FieldValues::Bytes(_) => FieldType::Bytes,
            FieldValues::Json(_) => FieldType::Json,
        }
    }
}

/// A field of several events.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldColumn {
    /// Bits, one for each event, the lowest of a byte first: whether the event has a value. `None` where all have.
    pub validity: Option<Vec<u8>>,
    /// The values.
    pub values: FieldValues,
}

/// An integer that an f64 does not hold. Laid out as the component model has it: a list of them is taken over as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct ExactInteger {
    /// The place of its field in the operator's schema.
    pub field: u32,
    /// The place of its event.
    pub event: u32,
    /// The integer.
    pub value: i64,
}

/// Events: the columns have the same number of items.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Event times in ms since the epoch.
    pub times: Vec<i64>,
    /// Keys, empty for events without one.
    pub keys: Column,
    /// The fields that the operator reads, in the order of its schema.
    pub fields: Vec<FieldColumn>,
    /// The integers in fields that it reads exactly, by rising field and event. Their columns have the nearest f64.
    pub integers: Vec<ExactInteger>,
    /// Encoded values, if it reads those.
    pub values: Option<Column>,
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
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outputs {
    /// The place of what each output came from; never decreases.
    pub origins: Vec<u32>,
    /// New keys, if any.
    pub keys: Option<Column>,
    /// The fields that the operator writes, in the order of its schema.
    pub fields: Vec<FieldColumn>,
    /// The values, where it writes no fields.
    pub values: Option<Column>,
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
    /// How often each was finished before.
    pub panes: Vec<u32>,
}

/// What a reduce made of a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Folded {
    /// The accumulators of the groups that stay open.
    pub accumulators: Column,
    /// What the closing windows emit.
    pub outputs: Outputs,
    /// The rejected events; where there are any, the rest is empty.
    pub rejected: Vec<Failure>,
}

/// The timers of several keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timers {
    /// Where those of each key end.
    pub ends: Vec<u32>,
    /// When each fires, in ms since the epoch; those of a key rise.
    pub times: Vec<i64>,
    /// The name of each.
    pub names: Column,
}

/// The keys of a call of a process, and what is known of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The keys, each once.
    pub keys: Column,
    /// Their states.
    pub states: Column,
    /// Their timers, if any has some.
    pub timers: Option<Timers>,
}

/// Steps of a process that are no events: event time goes on for a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advances {
    /// How many events come before each.
    pub places: Vec<u32>,
    /// The number of the key of each.
    pub keys: Vec<u32>,
    /// Up to which time timers fire.
    pub until: Vec<i64>,
}

/// What a process made of a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Processed {
    /// The state of each key.
    pub states: Column,
    /// The timers of each key, if any has some.
    pub timers: Option<Timers>,
    /// What is put out; an origin is the number of a step.
    pub outputs: Outputs,
    /// The time of each output.
    pub times: Vec<i64>,
    /// What is put out under names, by rising number of the output.
    pub named: Vec<NamedOutputs>,
    /// The rejected steps; where there are any, the rest is empty.
    pub rejected: Vec<Failure>,
}

/// What a process puts out under a name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NamedOutputs {
    /// The output, by its number among those of the operator.
    pub output: u32,
    /// What is put out; an origin is the number of a step.
    pub outputs: Outputs,
    /// The time of each.
    pub times: Vec<i64>,
}

/// What an operator made of state of an older version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migrated {
    /// The accumulators, or states of keys, in the version that it writes.
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
        self.times.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
}

/// What an operator of this output type writes into: fields in typed columns, or encoded values.
#[derive(Debug)]
pub(crate) struct Writing {
    /// Those of the first output and the others; none before it.
    fields: Vec<FieldColumn>,
    pub(crate) values: Column,
    is_raw: bool,
    /// How many outputs there is room for.
    capacity: usize,
    /// How many outputs of fields are there.
    outputs: usize,
}

impl Writing {
    /// For outputs of this type, so many of so many bytes.
    pub(crate) fn of<O: Encode + ?Sized>(items: usize, bytes: usize) -> Writing {
        let is_raw = O::MODE == OutputMode::Raw;
        Writing {
            fields: Vec::new(),
            values: if is_raw {
                Column::with_capacity(items, bytes)
            } else {
                Column::default()
            },
            is_raw,
            capacity: items,
            outputs: 0,
        }
    }

    /// Appends an output; nothing, where it cannot be written.
    #[inline]
    pub(crate) fn push<O: Encode + ?Sized>(&mut self, output: &O) -> Result<()> {
        if O::MODE == OutputMode::Raw {
            return self.push_written(|buffer| output.encode(buffer));
        }
        if self.fields.is_empty() {
            let column = |field_type| FieldColumn::with_capacity(field_type, self.capacity);
            self.fields = output.types().into_iter().map(column).collect();
        }
        if let Err(error) = output.write_fields(&mut self.fields, self.outputs) {
            fields::truncate(&mut self.fields, self.outputs);
            return Err(error);
        }
        self.outputs += 1;
        Ok(())
    }

    /// Appends an output that `write` encodes.
    #[inline]
    pub(crate) fn push_written(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        if let Err(error) = write(&mut self.values.bytes) {
            self.values.truncate(self.values.len());
            return Err(error);
        }
        self.values.close();
        Ok(())
    }

    /// Drops all outputs but the first so many.
    pub(crate) fn truncate(&mut self, outputs: usize) {
        self.values.truncate(outputs);
        fields::truncate(&mut self.fields, outputs);
        self.outputs = outputs;
    }

    /// Fields and values as the contract has them.
    pub(crate) fn finish(self) -> (Vec<FieldColumn>, Option<Column>) {
        (self.fields, self.is_raw.then_some(self.values))
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
