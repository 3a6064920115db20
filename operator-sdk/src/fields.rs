//! Fields of events in typed columns: what an operator says that it reads and writes, and how it gets at them.
//!
//! The host takes the fields out of the values before a call, in one pass for all operators that read them, and puts what was written
//! into the values when bytes are needed. An event that lacks a required field, or has something else there, never comes to the
//! operator: the host sends it to the dead letters.
//!
//! Most operators say it all with `#[derive(Event)]`:
//!
//! ```
//! use dirigo_operator::prelude::*;
//!
//! #[derive(Event)]
//! struct Reading { celsius: f64 }
//!
//! #[derive(Event)]
//! struct Converted { fahrenheit: f64 }
//!
//! struct Convert;
//!
//! #[operator]
//! impl Map for Convert {
//!     type Config = NoConfig;
//!     type Event = Reading;
//!     type Output = Extend<Converted>;
//!
//!     fn open(_: NoConfig) -> Result<Self> {
//!         Ok(Convert)
//!     }
//!
//!     fn map(&mut self, event: &Reading) -> Result<Extend<Converted>> {
//!         Ok(Extend(Converted { fahrenheit: event.celsius * 1.8 + 32.0 }))
//!     }
//! }
//! # fn main() {}
//! ```

pub use crate::columns::FieldType;
pub use crate::row::{Row, RowRef};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error, Result,
    codec::{Decode, Encode},
    columns::{Column, FieldColumn, FieldValues},
    json::Field,
};

/// What an operator reads of events, and what it writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// The fields that it is handed.
    pub reads: Vec<Read>,
    /// Whether it is handed the values besides.
    pub raw: bool,
    /// The fields that it writes.
    pub writes: Vec<Written>,
    /// What its outputs are.
    pub outputs: OutputMode,
}

/// A field that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Which.
    pub field: Field,
    /// As what.
    pub field_type: FieldType,
    /// Whether events without it are handed over, or with `null` there.
    pub is_optional: bool,
    /// For [`FieldType::F64`]: whether integers that an `f64` does not hold come exactly, too ([`Row::number_exact`]). An event with an
    /// integer that 64 bits do not hold either is not handed over then.
    pub is_exact: bool,
}

/// A field that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Which.
    pub field: Field,
    /// As what.
    pub field_type: FieldType,
}

/// What the outputs of an operator are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputMode {
    /// Values in an encoding of its own.
    Raw,
    /// The event that each comes from, with the written fields set in it.
    Extend,
    /// A JSON object of the written fields.
    Replace,
}

impl Schema {
    /// That of an operator without outputs of its own, such as a filter.
    #[must_use]
    pub fn of_events<E: Decode + ?Sized>() -> Schema {
        Schema {
            reads: E::reads(),
            raw: E::IS_RAW,
            writes: Vec::new(),
            outputs: OutputMode::Raw,
        }
    }

    /// That of an operator whose functions take these events and give these outputs.
    #[must_use]
    pub fn of<E: Decode + ?Sized, O: Encode + ?Sized>() -> Schema {
        Schema {
            writes: O::writes(),
            outputs: O::MODE,
            ..Schema::of_events::<E>()
        }
    }
}

impl Read {
    /// A field without which an event is not handed over.
    #[must_use]
    pub fn required(field: Field, field_type: FieldType) -> Read {
        Read {
            field,
            field_type,
            is_optional: false,
            is_exact: false,
        }
    }

    /// A field that an event may lack.
    #[must_use]
    pub fn optional(field: Field, field_type: FieldType) -> Read {
        Read {
            is_optional: true,
            ..Read::required(field, field_type)
        }
    }

    /// The same, an `f64`, with integers that it does not hold exactly.
    #[must_use]
    pub fn exact(self) -> Read {
        Read { is_exact: true, ..self }
    }
}

impl Written {
    /// This field as this type.
    #[must_use]
    pub fn new(field: Field, field_type: FieldType) -> Written {
        Written { field, field_type }
    }
}

/// What a field can be in a `#[derive(Event)]`, and as which type it travels.
pub trait FieldValue: Sized {
    /// As which.
    const TYPE: FieldType;
    /// Whether events may lack it.
    const IS_OPTIONAL: bool = false;

    /// That of an event, which has one.
    ///
    /// # Errors
    /// When the type holds less than the column: 300 for a `u8`.
    fn read(column: &FieldColumn, index: usize) -> Result<Self>;

    /// Appends it behind that of so many events.
    ///
    /// # Errors
    /// When it cannot be written.
    fn write(&self, column: &mut FieldColumn, events: usize) -> Result<()>;
}

/// A field that travels as the text of a JSON value, for every other type that serde knows; for what `#[derive(Event)]` generates.
#[doc(hidden)]
#[derive(Debug)]
pub struct AsJson<T>(pub T);

/// Several fields that belong together. `#[derive(Event)]` implements it.
pub trait Record: Sized {
    /// Which are read.
    fn reads() -> Vec<Read>;
    /// Which are written.
    fn writes() -> Vec<Written>;
    /// The types of what is written, in order.
    #[doc(hidden)]
    #[must_use]
    fn types() -> Vec<FieldType> {
        Self::writes().into_iter().map(|written| written.field_type).collect()
    }
    /// Those of an event.
    ///
    /// # Errors
    /// When a value is out of the range of its type.
    fn read(columns: &[FieldColumn], index: usize) -> Result<Self>;
    /// Appends each to its column, behind those of so many events.
    ///
    /// # Errors
    /// When one cannot be written; what was appended to others stays.
    fn write(&self, columns: &mut [FieldColumn], events: usize) -> Result<()>;
}

/// An output that is the event it comes from, with these fields set in it and every other byte as it was.
///
/// `Extend<f64>` is a single field, which the operator names in its `schema`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extend<T>(pub T);

impl<T: Record> Encode for Extend<T> {
    const MODE: OutputMode = OutputMode::Extend;

    fn writes() -> Vec<Written> {
        T::writes()
    }

    fn types(&self) -> Vec<FieldType> {
        T::types()
    }

    fn encode(&self, _: &mut Vec<u8>) -> Result<()> {
        Err(Error::new("an output of fields has no encoding of its own"))
    }

    #[inline]
    fn write_fields(&self, columns: &mut [FieldColumn], events: usize) -> Result<()> {
        self.0.write(columns, events)
    }
}

impl Record for f64 {
    fn reads() -> Vec<Read> {
        Vec::new()
    }

    fn writes() -> Vec<Written> {
        Vec::new()
    }

    fn types() -> Vec<FieldType> {
        vec![FieldType::F64]
    }

    fn read(_: &[FieldColumn], _: usize) -> Result<f64> {
        Err(Error::new("a single number is no event"))
    }

    #[inline]
    fn write(&self, columns: &mut [FieldColumn], events: usize) -> Result<()> {
        FieldValue::write(self, &mut columns[0], events)
    }
}

impl FieldColumn {
    /// A column of this type without events.
    pub(crate) fn empty(field_type: FieldType) -> FieldColumn {
        FieldColumn::with_capacity(field_type, 0)
    }

    /// An empty column of this type, with capacity for `events` events.
    pub(crate) fn with_capacity(field_type: FieldType, events: usize) -> FieldColumn {
        let column = || Column::with_capacity(events, 0);
        let values = match field_type {
            FieldType::Boolean => FieldValues::Boolean(Vec::with_capacity(events.div_ceil(8))),
            FieldType::S64 => FieldValues::S64(Vec::with_capacity(events)),
            FieldType::F64 => FieldValues::F64(Vec::with_capacity(events)),
            FieldType::Text => FieldValues::Text(column()),
            FieldType::Bytes => FieldValues::Bytes(column()),
            FieldType::Json => FieldValues::Json(column()),
        };
        FieldColumn { validity: None, values }
    }

    /// Whether event `index` has a value.
    #[must_use]
    #[inline]
    pub fn is_valid(&self, index: usize) -> bool {
        let is_set = |bits: &Vec<u8>| bits[index / 8] >> (index % 8) & 1 == 1;
        self.validity.as_ref().is_none_or(is_set)
    }

    #[cold]
    pub(crate) fn is_no(&self, wanted: &str) -> ! {
        panic!(
            "this field of the schema is {:?}, and was read as {wanted}",
            self.values.field_type()
        )
    }
}

/// Appends a bit behind so many.
pub(crate) fn push_bit(bits: &mut Vec<u8>, index: usize, value: bool) {
    if index.is_multiple_of(8) {
        bits.push(0);
    }
    bits[index / 8] |= u8::from(value) << (index % 8);
}

/// Cuts written columns back to so many events.
pub(crate) fn truncate(columns: &mut [FieldColumn], events: usize) {
    for column in columns {
        let bits_of = |bits: &mut Vec<u8>| {
            bits.truncate(events.div_ceil(8));
            if let (Some(last), used @ 1..) = (bits.last_mut(), events % 8) {
                *last &= (1 << used) - 1;
            }
        };
        if let Some(validity) = &mut column.validity {
            bits_of(validity);
        }
        match &mut column.values {
            FieldValues::Boolean(bits) => bits_of(bits),
            FieldValues::S64(values) => values.truncate(events),
            FieldValues::F64(values) => values.truncate(events),
            FieldValues::Text(values) | FieldValues::Bytes(values) | FieldValues::Json(values) => {
                values.truncate(events);
            }
        }
    }
}

/// Appends that an event has no value: `events` are there before it.
pub(crate) fn push_none(column: &mut FieldColumn, events: usize) {
    let validity = column.validity.get_or_insert_with(|| {
        let mut all = vec![u8::MAX; events.div_ceil(8)];
        if let (Some(last), used @ 1..) = (all.last_mut(), events % 8) {
            *last &= (1 << used) - 1;
        }
        all
    });
    push_bit(validity, events, false);
    match &mut column.values {
        FieldValues::Boolean(bits) => push_bit(bits, events, false),
        FieldValues::S64(values) => values.push(0),
        FieldValues::F64(values) => values.push(0.0),
        FieldValues::Text(values) | FieldValues::Bytes(values) | FieldValues::Json(values) => values.push(b""),
    }
}

impl FieldValue for f64 {
    const TYPE: FieldType = FieldType::F64;

    #[inline]
    fn read(column: &FieldColumn, index: usize) -> Result<f64> {
        match &column.values {
            FieldValues::F64(values) => Ok(values[index]),
            _ => column.is_no("an f64"),
        }
    }

    #[inline]
    fn write(&self, column: &mut FieldColumn, _: usize) -> Result<()> {
        match &mut column.values {
            FieldValues::F64(values) => values.push(*self),
            _ => column.is_no("an f64"),
        }
        Ok(())
    }
}

impl FieldValue for f32 {
    const TYPE: FieldType = FieldType::F64;

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the nearest is what is asked for")]
    fn read(column: &FieldColumn, index: usize) -> Result<f32> {
        <f64 as FieldValue>::read(column, index).map(|number| number as f32)
    }

    #[inline]
    fn write(&self, column: &mut FieldColumn, events: usize) -> Result<()> {
        FieldValue::write(&f64::from(*self), column, events)
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl FieldValue for $integer {
            const TYPE: FieldType = FieldType::S64;

            #[inline]
            fn read(column: &FieldColumn, index: usize) -> Result<$integer> {
                let FieldValues::S64(values) = &column.values else { column.is_no("an s64") };
                let integer = values[index];
                <$integer>::try_from(integer)
                    .map_err(|_| Error::new(format!("the integer {integer} is out of the range of {}", stringify!($integer))))
            }

            #[inline]
            fn write(&self, column: &mut FieldColumn, _: usize) -> Result<()> {
                match &mut column.values {
                    FieldValues::S64(values) => values.push(i64::from(*self)),
                    _ => column.is_no("an s64"),
                }
                Ok(())
            }
        }
    )*};
}

integers!(i8, i16, i32, i64, u8, u16, u32);

impl FieldValue for bool {
    const TYPE: FieldType = FieldType::Boolean;

    #[inline]
    fn read(column: &FieldColumn, index: usize) -> Result<bool> {
        match &column.values {
            FieldValues::Boolean(bits) => Ok(bits[index / 8] >> (index % 8) & 1 == 1),
            _ => column.is_no("a boolean"),
        }
    }

    fn write(&self, column: &mut FieldColumn, events: usize) -> Result<()> {
        match &mut column.values {
            FieldValues::Boolean(bits) => push_bit(bits, events, *self),
            _ => column.is_no("a boolean"),
        }
        Ok(())
    }
}

impl FieldValue for String {
    const TYPE: FieldType = FieldType::Text;

    #[inline]
    fn read(column: &FieldColumn, index: usize) -> Result<String> {
        match &column.values {
            FieldValues::Text(values) => {
                Ok(String::from_utf8(values.get(index).to_vec()).expect("the host hands over UTF-8"))
            }
            _ => column.is_no("a text"),
        }
    }

    #[inline]
    fn write(&self, column: &mut FieldColumn, _: usize) -> Result<()> {
        match &mut column.values {
            FieldValues::Text(values) => values.push(self.as_bytes()),
            _ => column.is_no("a text"),
        }
        Ok(())
    }
}

impl<T: FieldValue> FieldValue for Option<T> {
    const TYPE: FieldType = T::TYPE;
    const IS_OPTIONAL: bool = true;

    #[inline]
    fn read(column: &FieldColumn, index: usize) -> Result<Option<T>> {
        if column.is_valid(index) {
            T::read(column, index).map(Some)
        } else {
            Ok(None)
        }
    }

    fn write(&self, column: &mut FieldColumn, events: usize) -> Result<()> {
        let Some(value) = self else {
            push_none(column, events);
            return Ok(());
        };
        value.write(column, events)?;
        if let Some(validity) = &mut column.validity {
            push_bit(validity, events, true);
        }
        Ok(())
    }
}

impl<T: DeserializeOwned> AsJson<T> {
    /// That of an event.
    ///
    /// # Errors
    /// When the JSON there is not of this type.
    pub fn read(column: &FieldColumn, index: usize, name: &str) -> Result<T> {
        let FieldValues::Json(values) = &column.values else {
            column.is_no("a json");
        };
        // What may be missing reads as `null`, as serde has it.
        let text = if column.is_valid(index) {
            values.get(index)
        } else {
            b"null"
        };
        serde_json::from_slice(text).map_err(|error| Error::new(format!("field `{name}`: {error}")))
    }
}

impl<T: Serialize> AsJson<&T> {
    /// Appends it.
    ///
    /// # Errors
    /// When it has no encoding.
    pub fn write(&self, column: &mut FieldColumn) -> Result<()> {
        let FieldValues::Json(values) = &mut column.values else {
            column.is_no("a json");
        };
        self.0.encode(&mut values.bytes)?;
        values.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back_and_a_cut_leaves_nothing_of_the_rest() {
        let mut column = FieldColumn::empty(FieldType::Boolean);
        let values: Vec<Option<bool>> = (0..20).map(|i| (i % 3 != 0).then_some(i % 2 == 0)).collect();
        for round in 0..2 {
            let from = if round == 0 { 0 } else { 9 };
            truncate(std::slice::from_mut(&mut column), from);
            for (events, value) in values.iter().enumerate().skip(from) {
                value.write(&mut column, events).unwrap();
            }
        }
        for (index, value) in values.iter().enumerate() {
            assert_eq!(Option::<bool>::read(&column, index).unwrap(), *value, "{index}");
        }
    }

    #[test]
    fn values_before_the_first_that_is_missing_stay() {
        let mut column = FieldColumn::empty(FieldType::S64);
        for (events, value) in [Some(7), Some(8), None, Some(9)].iter().enumerate() {
            value.write(&mut column, events).unwrap();
        }
        let back = |index| Option::<i64>::read(&column, index).unwrap();
        assert_eq!([0, 1, 2, 3].map(back), [Some(7), Some(8), None, Some(9)]);
        assert_eq!(column.validity, Some(vec![0b1011]));
    }

    #[test]
    fn an_integer_beyond_its_type_is_refused() {
        let mut column = FieldColumn::empty(FieldType::S64);
        300_i64.write(&mut column, 0).unwrap();
        let refused = u8::read(&column, 0).unwrap_err();
        assert_eq!(refused.message(), "the integer 300 is out of the range of u8");
    }
}
