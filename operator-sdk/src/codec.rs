//! From bytes to what an operator is written in, and back.
//!
//! Owns the traits and the codecs that they stand for: JSON for every type that serde knows, raw bytes for those that
//! say so. Knows nothing of batches.

use std::borrow::Borrow;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error, Result,
    columns::{Batch, ExactInteger, FieldColumn, FieldType, position},
    fields::{OutputMode, Read, Record, Written},
};

/// An event as it came: not decoded yet.
#[derive(Debug, Clone, Copy)]
pub struct Encoded<'a> {
    batch: &'a Batch,
    index: usize,
    value: &'a [u8],
}

impl<'a> Encoded<'a> {
    #[inline]
    pub(crate) fn new(batch: &'a Batch, index: usize, value: &'a [u8]) -> Encoded<'a> {
        Encoded { batch, index, value }
    }

    /// Its value.
    #[must_use]
    #[inline]
    pub fn value(self) -> &'a [u8] {
        self.value
    }

    /// The fields that its operator reads, and the place of the event in them.
    #[inline]
    pub(crate) fn fields(self) -> (&'a [FieldColumn], usize) {
        (&self.batch.fields, self.index)
    }

    /// A field that its operator reads, by its place in the schema, and the place of the event in it.
    #[inline]
    pub(crate) fn field(self, field: usize) -> (&'a FieldColumn, usize) {
        (&self.batch.fields[field], self.index)
    }

    /// The integer in a field, by its place in the schema, if it is read exactly and an `f64` does not hold it.
    #[inline]
    pub(crate) fn long_integer(self, field: usize) -> Option<i64> {
        if self.batch.integers.is_empty() {
            return None;
        }
        let place = (position(field), position(self.index));
        let place_of = |integer: &ExactInteger| (integer.field, integer.event);
        let at = self.batch.integers.binary_search_by_key(&place, place_of);
        at.ok().map(|at| self.batch.integers[at].value)
    }

    /// Decodes it as fields; for what `#[derive(Event)]` generates.
    ///
    /// # Errors
    /// When a value is out of the range of its type.
    #[doc(hidden)]
    #[inline]
    pub fn record<R: Record>(self) -> Result<R> {
        let (fields, index) = self.fields();
        R::read(fields, index)
    }

    /// Its key, empty if it has none.
    #[must_use]
    pub fn key(self) -> &'a [u8] {
        self.batch.keys.get(self.index)
    }

    /// Its event time in ms since the epoch.
    #[must_use]
    pub fn time(self) -> i64 {
        self.batch.times[self.index]
    }
}

/// Hands each event of a batch to `run`, with its place: with its value, if events of this type are read from that.
#[inline]
pub(crate) fn for_each_event<E: Decode + ?Sized>(batch: &Batch, mut run: impl FnMut(u32, Encoded<'_>)) {
    if E::IS_RAW {
        let values = batch
            .values
            .as_ref()
            .expect("the schema of an operator that reads values says so");
        for (index, value) in values.iter().enumerate() {
            run(position(index), Encoded::new(batch, index, value));
        }
    } else {
        for index in 0..batch.len() {
            run(position(index), Encoded::new(batch, index, &[]));
        }
    }
}

/// What the events of an operator can be.
///
/// - Any type with `#[derive(Event)]`: its fields come in typed columns, and nothing is parsed in the operator.
/// - [`Row`](crate::Row): fields that the operator's `schema` names.
/// - Any type that implements `Deserialize`: the value is JSON.
/// - `[u8]`: the value as it is, where it lies.
/// - [`Json`](crate::Json): a JSON document that is read and edited in place.
/// - [`Stamped<T>`]: any of the typed ones, with its key and event time.
pub trait Decode: 'static {
    /// What decoding yields: a typed event by value, bytes by reference.
    type Decoded<'a>: Borrow<Self>;

    /// Whether the value itself is read.
    const IS_RAW: bool = true;

    /// Which fields are read.
    #[must_use]
    fn reads() -> Vec<Read> {
        Vec::new()
    }

    /// Decodes an event.
    ///
    /// # Errors
    /// When its value is not of this type; the event is rejected.
    fn decode(event: Encoded<'_>) -> Result<Self::Decoded<'_>>;
}

impl<T: DeserializeOwned + 'static> Decode for T {
    type Decoded<'a> = T;

    #[inline]
    fn decode(event: Encoded<'_>) -> Result<T> {
        serde_json::from_slice(event.value).map_err(|error| undecodable(&error, event.value))
    }
}

impl Decode for [u8] {
    type Decoded<'a> = &'a [u8];

    #[inline]
    fn decode(event: Encoded<'_>) -> Result<&[u8]> {
        Ok(event.value)
    }
}

/// An event together with its key and its event time.
///
/// For `type Event = Stamped<Reading>`, an operator's functions get a `&Stamped<Reading>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped<T> {
    /// The event time in ms since the epoch.
    pub time: i64,
    /// The key, empty if the event has none.
    pub key: Vec<u8>,
    /// The event.
    pub event: T,
}

impl<T: for<'a> Decode<Decoded<'a> = T>> Decode for Stamped<T> {
    type Decoded<'a> = Stamped<T>;

    const IS_RAW: bool = T::IS_RAW;

    fn reads() -> Vec<Read> {
        T::reads()
    }

    fn decode(event: Encoded<'_>) -> Result<Stamped<T>> {
        Ok(Stamped {
            time: event.time(),
            key: event.key().to_vec(),
            event: T::decode(event)?,
        })
    }
}

/// What the outputs of an operator can be: any type with `#[derive(Event)]`, which replaces the event, [`Extend`](crate::Extend) of one,
/// any type that implements `Serialize` (it becomes JSON), and [`Raw`] bytes.
pub trait Encode {
    /// What such outputs are.
    const MODE: OutputMode = OutputMode::Raw;

    /// Which fields are written.
    #[must_use]
    fn writes() -> Vec<Written> {
        Vec::new()
    }

    /// The types of what is written, in order: the same for each output of an operator.
    #[doc(hidden)]
    #[must_use]
    fn types(&self) -> Vec<FieldType> {
        Self::writes().into_iter().map(|written| written.field_type).collect()
    }

    /// Appends its fields to columns of so many events.
    ///
    /// # Errors
    /// When one cannot be written; what was appended to others is dropped.
    fn write_fields(&self, columns: &mut [FieldColumn], events: usize) -> Result<()> {
        let _ = (columns, events);
        Err(Error::new("an output that is encoded has no fields"))
    }

    /// Appends the encoded value to `buffer`.
    ///
    /// # Errors
    /// When the value has no encoding; what it came from is rejected, and what was appended dropped.
    fn encode(&self, buffer: &mut Vec<u8>) -> Result<()>;
}

impl<T: Serialize + ?Sized> Encode for T {
    #[inline]
    fn encode(&self, buffer: &mut Vec<u8>) -> Result<()> {
        serde_json::to_writer(buffer, self).map_err(|error| Error::from(error).context("the output is no JSON"))
    }
}

/// An output that travels as these bytes, not as JSON: `Raw<Vec<u8>>`, `Raw<[u8; 16]>`, `Raw<String>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw<T>(pub T);

impl<T: AsRef<[u8]>> Encode for Raw<T> {
    #[inline]
    fn encode(&self, buffer: &mut Vec<u8>) -> Result<()> {
        buffer.extend_from_slice(self.0.as_ref());
        Ok(())
    }
}

#[cold]
fn undecodable(error: &serde_json::Error, value: &[u8]) -> Error {
    let what = if error.is_data() {
        "the event is not what this operator reads"
    } else {
        "the event is no JSON"
    };
    Error::new(format!("{what}: {}", dirigo_json::explained(error, value)))
}
