//! Fields of events as typed columns, in the layouts of Arrow: a buffer of values, ends, and a bitmap of validity.
//!
//! Owns the layouts. Knows nothing of JSON: how a field gets out of a value and back, `dirigo_fields` says.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use dirigo_json::{Field, LongInteger};

use crate::column::Column;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// True or false.
    Boolean,
    /// An integer of 64 bits with a sign.
    S64,
    /// A number, as the nearest of 64 bits.
    F64,
    /// UTF-8.
    Text,
    /// Bytes: in JSON a string in base64.
    Bytes,
    /// Any JSON value, as it is written.
    Json,
}

impl FieldType {
    /// As it is written in WIT and in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::S64 => "s64",
            Self::F64 => "f64",
            Self::Text => "text",
            Self::Bytes => "bytes",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Bits, eight to a byte, the lowest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    bytes: Vec<u8>,
    length: usize,
}

impl Bits {
    /// So many bits, all of which are `value`.
    #[must_use]
    pub fn of(length: usize, value: bool) -> Self {
        let mut bits = Self {
            bytes: vec![if value { u8::MAX } else { 0 }; length.div_ceil(8)],
            length,
        };
        bits.clear_rest();
        bits
    }

    /// The first bits of these bytes; `None` where there are fewer bytes than it takes, or more.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>, length: usize) -> Option<Self> {
        let mut bits = (bytes.len() == length.div_ceil(8)).then_some(Self { bytes, length })?;
        bits.clear_rest();
        Some(bits)
    }

    /// Bits behind the last one are zero, so that equal bits are equal bytes.
    fn clear_rest(&mut self) {
        if let (Some(last), used @ 1..) = (self.bytes.last_mut(), self.length % 8) {
            *last &= (1 << used) - 1;
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bytes that hold them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bit `index`.
    ///
    /// # Panics
    /// When there is no such bit.
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> bool {
        assert!(index < self.length, "bit {index} of {}", self.length);
        self.bytes[index / 8] >> (index % 8) & 1 == 1
    }

    /// Appends a bit.
    #[inline]
    pub fn push(&mut self, value: bool) {
        if self.length.is_multiple_of(8) {
            self.bytes.push(0);
        }
        self.bytes[self.length / 8] |= u8::from(value) << (self.length % 8);
        self.length += 1;
    }

    /// Whether all are one.
    #[must_use]
    pub fn are_all_set(&self) -> bool {
        let ones: u32 = self.bytes.iter().map(|byte| byte.count_ones()).sum();
        ones as usize == self.length
    }

    /// Those at `indexes`, in that order.
    #[must_use]
    pub fn gather(&self, indexes: &[u32]) -> Self {
        indexes.iter().map(|&index| self.get(index as usize)).collect()
    }

    fn slice(&self, range: Range<usize>) -> Self {
        range.map(|index| self.get(index)).collect()
    }

    fn extend(&mut self, other: &Self) {
        (0..other.len()).for_each(|index| self.push(other.get(index)));
    }
}

impl FromIterator<bool> for Bits {
    fn from_iter<I: IntoIterator<Item = bool>>(values: I) -> Self {
        values.into_iter().fold(Self::default(), |mut bits, value| {
            bits.push(value);
            bits
        })
    }
}

/// The values of a field, one for each event; where an event has none, anything.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldValues {
    /// For [`FieldType::Boolean`].
    Boolean(Bits),
    /// For [`FieldType::S64`].
    S64(Vec<i64>),
    /// For [`FieldType::F64`].
    F64(Vec<f64>),
    /// For [`FieldType::Text`]; all of it is UTF-8.
    Text(Column),
    /// For [`FieldType::Bytes`].
    Bytes(Column),
    /// For [`FieldType::Json`].
    Json(Column),
}

impl FieldValues {
    /// None yet.
    #[must_use]
    pub fn none_of(field_type: FieldType) -> Self {
        match field_type {
            FieldType::Boolean => Self::Boolean(Bits::default()),
            FieldType::S64 => Self::S64(Vec::new()),
            FieldType::F64 => Self::F64(Vec::new()),
            FieldType::Text => Self::Text(Column::default()),
            FieldType::Bytes => Self::Bytes(Column::default()),
            FieldType::Json => Self::Json(Column::default()),
        }
    }

    /// Their type.
    #[must_use]
    pub fn field_type(&self) -> FieldType {
        match self {
            Self::Boolean(_) => FieldType::Boolean,
            Self::S64(_) => FieldType::S64,
            Self::F64(_) => FieldType::F64,
            Self::Text(_) => FieldType::Text,
            Self::Bytes(_) => FieldType::Bytes,
            Self::Json(_) => FieldType::Json,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Boolean(values) => values.len(),
            Self::S64(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::Text(values) | Self::Bytes(values) | Self::Json(values) => values.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that they take, bits for a byte each: several have as many as each of them together.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Boolean(values) => values.len(),
            Self::S64(values) => size_of_val(&values[..]),
            Self::F64(values) => size_of_val(&values[..]),
            Self::Text(values) | Self::Bytes(values) | Self::Json(values) => {
                values.bytes().len() + size_of_val(values.ends())
            }
        }
    }

    /// Those at `indexes`, in that order.
    #[must_use]
    pub fn gather(&self, indexes: &[u32]) -> Self {
        fn picked<T: Copy>(values: &[T], indexes: &[u32]) -> Vec<T> {
            indexes.iter().map(|&index| values[index as usize]).collect()
        }
        match self {
            Self::Boolean(values) => Self::Boolean(values.gather(indexes)),
            Self::S64(values) => Self::S64(picked(values, indexes)),
            Self::F64(values) => Self::F64(picked(values, indexes)),
            Self::Text(values) => Self::Text(values.gather(indexes)),
            Self::Bytes(values) => Self::Bytes(values.gather(indexes)),
            Self::Json(values) => Self::Json(values.gather(indexes)),
        }
    }

    fn slice(&self, range: Range<usize>) -> Self {
        match self {
            Self::Boolean(values) => Self::Boolean(values.slice(range)),
            Self::S64(values) => Self::S64(values[range].to_vec()),
            Self::F64(values) => Self::F64(values[range].to_vec()),
            Self::Text(values) => Self::Text(values.slice(range)),
            Self::Bytes(values) => Self::Bytes(values.slice(range)),
            Self::Json(values) => Self::Json(values.slice(range)),
        }
    }

    /// Appends those of another column of the same type.
    fn extend(&mut self, other: &Self) {
        match (self, other) {
            (Self::Boolean(own), Self::Boolean(other)) => own.extend(other),
            (Self::S64(own), Self::S64(other)) => own.extend_from_slice(other),
            (Self::F64(own), Self::F64(other)) => own.extend_from_slice(other),
            (Self::Text(own), Self::Text(other))
            | (Self::Bytes(own), Self::Bytes(other))
            | (Self::Json(own), Self::Json(other)) => own.extend(other),
            (own, other) => panic!(
                "a column of {} is joined with one of {}",
                own.field_type(),
                other.field_type()
            ),
        }
    }
}

/// A field of several events.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldColumn {
    /// The values.
    pub values: FieldValues,
    /// Which events have one; all where it is `None`.
    pub validity: Option<Bits>,
    /// The events, rising, that have something else there, or whose value is not JSON. None of them is valid.
    pub mistyped: Vec<u32>,
    /// For [`FieldType::F64`]: the integers, by rising event, of which the value is only the nearest.
    pub rounded: Vec<Rounded>,
}

/// An integer that an `f64` does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounded {
    /// Of which event.
    pub index: u32,
    /// Which it is.
    pub integer: LongInteger,
}

impl FieldColumn {
    /// Values that all events have, each as it is.
    #[must_use]
    pub fn of(values: FieldValues) -> Self {
        Self {
            values,
            validity: None,
            mistyped: Vec::new(),
            rounded: Vec::new(),
        }
    }

    /// The number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether event `index` has a value.
    #[must_use]
    #[inline]
    pub fn is_valid(&self, index: usize) -> bool {
        self.validity.as_ref().is_none_or(|validity| validity.get(index))
    }

    /// The bytes that its values take.
    #[must_use]
    pub fn size(&self) -> usize {
        self.values.size() + size_of_val(&self.rounded[..])
    }

    /// Of event `index`, the integer of which its value is only the nearest.
    #[must_use]
    #[inline]
    pub fn rounded_at(&self, index: u32) -> Option<LongInteger> {
        let at = self.rounded.binary_search_by_key(&index, |rounded| rounded.index);
        at.ok().map(|at| self.rounded[at].integer)
    }

    fn gather(&self, indexes: &[u32]) -> Self {
        let is_mistyped = |index: &u32| self.mistyped.binary_search(index).is_ok();
        let rounded = |(index, from): (u32, &u32)| {
            let integer = self.rounded_at(*from)?;
            Some(Rounded { index, integer })
        };
        Self {
            values: self.values.gather(indexes),
            validity: self.validity.as_ref().map(|validity| validity.gather(indexes)),
            mistyped: match self.mistyped[..] {
                [] => Vec::new(),
                _ => (0..)
                    .zip(indexes)
                    .filter(|(_, index)| is_mistyped(index))
                    .map(|(at, _)| at)
                    .collect(),
            },
            rounded: match self.rounded[..] {
                [] => Vec::new(),
                _ => (0..).zip(indexes).filter_map(rounded).collect(),
            },
        }
    }

    fn slice(&self, range: Range<usize>) -> Self {
        let shift = |index: u32| {
            let at = (index as usize).checked_sub(range.start)?;
            (at < range.len()).then(|| u32::try_from(at).expect("it is below what it was"))
        };
        let rounded = |&Rounded { index, integer }: &Rounded| {
            let index = shift(index)?;
            Some(Rounded { index, integer })
        };
        Self {
            mistyped: self.mistyped.iter().copied().filter_map(shift).collect(),
            rounded: self.rounded.iter().filter_map(rounded).collect(),
            values: self.values.slice(range.clone()),
            validity: self.validity.as_ref().map(|validity| validity.slice(range.clone())),
        }
    }

    fn extend(&mut self, other: &Self) {
        let before = self.len();
        if self.validity.is_some() || other.validity.is_some() {
            let all = |column: &Self| column.validity.clone().unwrap_or_else(|| Bits::of(column.len(), true));
            let mut validity = all(self);
            validity.extend(&all(other));
            self.validity = Some(validity);
        }
        let shift = |index: u32| index + u32::try_from(before).expect("a batch is small");
        self.mistyped.extend(other.mistyped.iter().copied().map(shift));
        self.rounded
            .extend(other.rounded.iter().map(|&Rounded { index, integer }| Rounded {
                index: shift(index),
                integer,
            }));
        self.values.extend(&other.values);
    }
}

/// The fields of a batch that were taken out of its values, or written by an operator that put them into its values: each says
/// what the values say. So it is right to drop any of them.
#[derive(Clone, Debug, Default)]
pub struct Fields(Option<Arc<Vec<NamedColumn>>>);

/// A field and what it holds.
#[derive(Clone, Debug)]
pub struct NamedColumn {
    /// Which field.
    pub field: Arc<Field>,
    /// What it holds.
    pub column: Arc<FieldColumn>,
}

impl Fields {
    /// These.
    #[must_use]
    pub fn new(columns: Vec<NamedColumn>) -> Self {
        Self((!columns.is_empty()).then(|| Arc::new(columns)))
    }

    /// All of them.
    #[must_use]
    pub fn columns(&self) -> &[NamedColumn] {
        self.0.as_deref().map_or(&[], |columns| columns)
    }

    /// The field as this type, if it is there.
    #[must_use]
    pub fn get(&self, field: &Field, field_type: FieldType) -> Option<&Arc<FieldColumn>> {
        let columns = self.columns().iter();
        let is_it = |named: &&NamedColumn| named.column.values.field_type() == field_type && *named.field == *field;
        columns.clone().find(is_it).map(|named| &named.column)
    }

    /// The bytes that they take.
    #[must_use]
    pub fn size(&self) -> usize {
        self.columns().iter().map(|named| named.column.size()).sum()
    }

    /// Whether the same is known of others, so that they can be joined and nothing is dropped.
    #[must_use]
    pub fn is_alike(&self, others: &Self) -> bool {
        let (own, others) = (self.columns(), others.columns());
        let is_same = |(one, other): (&NamedColumn, &NamedColumn)| {
            one.column.values.field_type() == other.column.values.field_type() && one.field == other.field
        };
        own.len() == others.len() && own.iter().zip(others).all(is_same)
    }

    fn each(&self, make: impl Fn(&FieldColumn) -> FieldColumn) -> Self {
        let columns = self.columns().iter().map(|NamedColumn { field, column }| NamedColumn {
            field: field.clone(),
            column: Arc::new(make(column)),
        });
        Self::new(columns.collect())
    }

    /// Those of the events at `indexes`.
    #[must_use]
    pub fn gather(&self, indexes: &[u32]) -> Self {
        self.each(|column| column.gather(indexes))
    }

    /// Those of the events in `range`.
    #[must_use]
    pub fn slice(&self, range: &Range<usize>) -> Self {
        self.each(|column| column.slice(range.clone()))
    }

    /// Those that all have, end to end.
    #[must_use]
    pub fn concat<'a>(all: impl Iterator<Item = &'a Fields> + Clone) -> Self {
        let mut rest = all;
        let Some(first) = rest.next() else {
            return Self::default();
        };
        let joined = first.columns().iter().filter_map(|NamedColumn { field, column }| {
            let mut joined = FieldColumn::clone(column);
            for other in rest.clone() {
                joined.extend(other.get(field, column.values.field_type())?);
            }
            Some(NamedColumn {
                field: field.clone(),
                column: Arc::new(joined),
            })
        });
        Self::new(joined.collect())
    }
}

/// What an operator reads and writes: `lifecycle.schema`.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// The fields that it is handed, in this order.
    pub reads: Vec<Read>,
    /// Whether it is handed the values besides.
    pub raw: bool,
    /// The fields that it hands back, in this order.
    pub writes: Vec<Written>,
    /// What its outputs are.
    pub outputs: OutputMode,
    /// What it puts out under names: `named-outputs.declared`.
    pub named: Vec<NamedOutput>,
}

/// An output of a process with a name.
#[derive(Clone, Debug)]
pub struct NamedOutput {
    /// Its name, of which the operator has no other.
    pub name: String,
    /// The fields that are written to it, in this order.
    pub writes: Vec<Written>,
    /// What is put out to it: never an event that is extended.
    pub mode: OutputMode,
}

/// A field that an operator reads.
#[derive(Clone, Debug)]
pub struct Read {
    /// Which.
    pub field: Arc<Field>,
    /// As what.
    pub field_type: FieldType,
    /// Whether events without it are handed over.
    pub is_optional: bool,
    /// For [`FieldType::F64`]: whether it gets integers that an `f64` does not hold exactly, or not at all.
    pub is_exact: bool,
}

/// A field that an operator writes.
#[derive(Clone, Debug)]
pub struct Written {
    /// Which.
    pub field: Arc<Field>,
    /// As what.
    pub field_type: FieldType,
}

/// What the outputs of an operator are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputMode {
    /// Values as bytes.
    #[default]
    Raw,
    /// The event that each comes from, with the written fields in it.
    Extend,
    /// An object of the written fields.
    Replace,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(text: &str) -> Bits {
        text.bytes().map(|byte| byte == b'1').collect()
    }

    fn column(values: Vec<i64>, validity: &str, mistyped: &[u32]) -> FieldColumn {
        FieldColumn {
            validity: (!validity.is_empty()).then(|| bits(validity)),
            mistyped: mistyped.to_vec(),
            ..FieldColumn::of(FieldValues::S64(values))
        }
    }

    fn fields(column: FieldColumn) -> Fields {
        Fields::new(vec![NamedColumn {
            field: Arc::new(Field::new("value").expect("a name")),
            column: Arc::new(column),
        }])
    }

    fn only(fields: &Fields) -> &FieldColumn {
        fields
            .get(&Field::new("/value").expect("a pointer"), FieldType::S64)
            .expect("it is there")
    }

    #[test]
    fn bits_are_what_was_pushed_and_the_rest_of_a_byte_is_zero() {
        let mut all = bits("1011000111");
        assert_eq!(all.bytes(), [0b1000_1101, 0b11]);
        all.push(true);
        assert_eq!((all.len(), all.get(10), all.get(4)), (11, true, false));
        assert_eq!(Bits::from_bytes(vec![0xff, 0xff], 10).unwrap(), Bits::of(10, true));
        assert_eq!(Bits::from_bytes(vec![0xff], 10), None);
        assert_eq!(Bits::from_bytes(vec![0xff, 0, 0], 10), None);
        assert!(Bits::of(10, true).are_all_set() && !bits("1110").are_all_set());
    }

    #[test]
    fn a_column_keeps_with_each_event_what_belongs_to_it() {
        let all = fields(column(vec![10, 0, 12, 0, 14], "10101", &[3]));
        assert_eq!(*only(&all.gather(&[3, 0, 3])), column(vec![0, 10, 0], "010", &[0, 2]));
        assert_eq!(*only(&all.slice(&(2..5))), column(vec![12, 0, 14], "101", &[1]));
        let plain = fields(column(vec![7, 8], "", &[]));
        let joined = Fields::concat([&plain, &all].into_iter());
        assert_eq!(*only(&joined), column(vec![7, 8, 10, 0, 12, 0, 14], "1110101", &[5]));
    }

    #[test]
    fn integers_that_were_rounded_stay_with_their_events() {
        let numbers = |length: u32, rounded: &[(u32, LongInteger)]| FieldColumn {
            rounded: rounded
                .iter()
                .map(|&(index, integer)| Rounded { index, integer })
                .collect(),
            ..FieldColumn::of(FieldValues::F64((0..length).map(f64::from).collect()))
        };
        let rounded_of = |fields: &Fields| {
            let column = &fields.columns()[0].column;
            (0..)
                .take(column.len())
                .map(|index| column.rounded_at(index))
                .collect::<Vec<_>>()
        };
        let (long, longer) = (Some(LongInteger::S64(7)), Some(LongInteger::Longer));
        let all = fields(numbers(5, &[(1, LongInteger::S64(7)), (4, LongInteger::Longer)]));
        assert_eq!(rounded_of(&all), [None, long, None, None, longer]);
        assert_eq!(rounded_of(&all.gather(&[4, 0, 1, 4])), [longer, None, long, longer]);
        assert_eq!(rounded_of(&all.slice(&(1..4))), [long, None, None]);
        let joined = Fields::concat([&fields(numbers(1, &[])), &all, &all.slice(&(4..5))].into_iter());
        assert_eq!(rounded_of(&joined), [None, None, long, None, None, longer, longer]);
        assert_eq!(
            joined.size(),
            fields(numbers(1, &[])).size() + all.size() + all.slice(&(4..5)).size()
        );
    }

    #[test]
    fn what_one_of_the_joined_lacks_is_dropped() {
        let joined = Fields::concat([&fields(column(vec![1], "", &[])), &Fields::default()].into_iter());
        assert!(joined.columns().is_empty());
    }
}
