//! Events whose fields an operator names in its schema, read by their numbers there.

use std::borrow::Borrow;

use crate::{
    Number, Result,
    codec::{Decode, Encoded},
    columns::{FieldColumn, FieldValues},
    json::Value,
};

/// An event of which the operator says in its `schema` what it reads, such as fields that its configuration names.
#[derive(Debug)]
#[repr(transparent)]
pub struct Row(Encoded<'static>);

/// What lends a [`Row`].
#[derive(Debug)]
pub struct RowRef<'a>(Encoded<'a>);

impl Row {
    fn column(&self, field: usize) -> (&FieldColumn, usize) {
        self.0.field(field)
    }

    /// Whether the event has field `field` of the schema.
    #[must_use]
    pub fn has(&self, field: usize) -> bool {
        let (column, index) = self.column(field);
        column.is_valid(index)
    }

    /// The number in field `field` of the schema, which is an `f64`; 0 where the event has none.
    ///
    /// # Panics
    /// When the schema has no such field.
    #[must_use]
    #[inline]
    pub fn number(&self, field: usize) -> f64 {
        match self.column(field) {
            (
                FieldColumn {
                    values: FieldValues::F64(values),
                    ..
                },
                index,
            ) => values[index],
            (column, _) => column.is_no("an f64"),
        }
    }

    /// The number in field `field` of the schema, which is an `f64` that is read [exactly](crate::fields::Read::exact); 0 where the event has none.
    ///
    /// # Panics
    /// When the schema has no such field.
    #[must_use]
    #[inline]
    pub fn number_exact(&self, field: usize) -> Number {
        match self.0.long_integer(field) {
            None => Number::from(self.number(field)),
            Some(integer) => Number::from(integer),
        }
    }

    /// The integer in field `field` of the schema, which is an `s64`; 0 where the event has none.
    ///
    /// # Panics
    /// When the schema has no such field.
    #[must_use]
    #[inline]
    pub fn integer(&self, field: usize) -> i64 {
        match self.column(field) {
            (
                FieldColumn {
                    values: FieldValues::S64(values),
                    ..
                },
                index,
            ) => values[index],
            (column, _) => column.is_no("an s64"),
        }
    }

    /// The truth in field `field` of the schema, which is a `boolean`; false where the event has none.
    ///
    /// # Panics
    /// When the schema has no such field.
    #[must_use]
    #[inline]
    pub fn truth(&self, field: usize) -> bool {
        match self.column(field) {
            (
                FieldColumn {
                    values: FieldValues::Boolean(bits),
                    ..
                },
                index,
            ) => bits[index / 8] >> (index % 8) & 1 == 1,
            (column, _) => column.is_no("a boolean"),
        }
    }

    /// The text in field `field` of the schema, which is a `text`; empty where the event has none.
    ///
    /// # Panics
    /// When the schema has no such field.
    #[must_use]
    #[inline]
    pub fn text(&self, field: usize) -> &str {
        match self.column(field) {
            (
                FieldColumn {
                    values: FieldValues::Text(values),
                    ..
                },
                index,
            ) => std::str::from_utf8(values.get(index)).expect("the host hands over UTF-8"),
            (column, _) => column.is_no("a text"),
        }
    }

    /// The JSON value in field `field` of the schema, which is a `json`; `null` where the event has none.
    ///
    /// # Panics
    /// When the schema has no such field.
    #[must_use]
    #[inline]
    pub fn json(&self, field: usize) -> Value<'_> {
        match self.column(field) {
            (
                FieldColumn {
                    values: FieldValues::Json(values),
                    ..
                },
                index,
            ) if self.has(field) => Value::new(values.get(index)),
            (
                FieldColumn {
                    values: FieldValues::Json(_),
                    ..
                },
                _,
            ) => Value::new(b"null"),
            (column, _) => column.is_no("a json"),
        }
    }

    /// The bytes in field `field` of the schema, or the text of the JSON value there; empty where the event has none.
    ///
    /// # Panics
    /// When the schema has no such field.
    #[must_use]
    #[inline]
    pub fn bytes(&self, field: usize) -> &[u8] {
        match self.column(field) {
            (
                FieldColumn {
                    values: FieldValues::Bytes(values) | FieldValues::Json(values),
                    ..
                },
                index,
            ) => values.get(index),
            (column, _) => column.is_no("bytes"),
        }
    }
}

impl Borrow<Row> for RowRef<'_> {
    #[inline]
    #[allow(unsafe_code, reason = "an associated type of a trait has no lifetime to lend for")]
    fn borrow(&self) -> &Row {
        // SAFETY: `Row` is a transparent wrapper of what is referred to, but for a lifetime that is longer than it should be. Nothing of
        // a `Row` can be had but through a reference to it, for which the borrowed batch lives.
        unsafe { &*std::ptr::from_ref(&self.0).cast::<Row>() }
    }
}

impl Decode for Row {
    type Decoded<'a> = RowRef<'a>;

    const IS_RAW: bool = false;

    #[inline]
    fn decode(event: Encoded<'_>) -> Result<RowRef<'_>> {
        Ok(RowRef(event))
    }
}
