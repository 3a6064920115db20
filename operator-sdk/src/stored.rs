//! State as bytes: what the host keeps of a window, or of a key, between two batches.
//!
//! One byte for the encoding, then postcard. The byte leaves room for another encoding, and keeps all that is stored from
//! being empty, which means that nothing was. Which type was encoded is not in it: the host keeps the state
//! version of the operator beside the bytes.

use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error, Result,
    columns::{Column, Failure, Migrated, position},
};

/// Postcard 1.
const ENCODING: u8 = 0;

/// State that an older version of the operator wrote: the accumulator of a [`Reduce`](crate::Reduce), or what a
/// [`Process`](crate::Process) keeps of a key.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) bytes: &'a [u8],
}

impl Stored<'_> {
    /// Reads it as what the state was then.
    ///
    /// # Errors
    /// When it is not of this type, as far as its bytes tell.
    pub fn read<A: DeserializeOwned>(self) -> Result<A> {
        try_decode(self.bytes)
    }

    /// What to say of a version that there is no migration from.
    #[must_use]
    pub fn unknown(self) -> Error {
        let Stored { from, to, .. } = self;
        Error::new(format!(
            "state of version {from} is unknown to the operator, which writes version {to}"
        ))
    }
}

/// Brings state of an older version, `from`, to `to`, with what `migrate` makes of each.
pub(crate) fn migrate_all<S: Serialize>(
    from: u32,
    to: u32,
    states: &Column,
    mut migrate: impl FnMut(Stored<'_>) -> Result<S>,
) -> Migrated {
    let mut migrated = Migrated::default();
    for (index, bytes) in states.iter().enumerate() {
        match migrate(Stored { from, to, bytes }) {
            Ok(state) => encode(&state, &mut migrated.accumulators),
            Err(error) => migrated.failures.push(Failure {
                index: position(index),
                message: error.into_message(),
            }),
        }
    }
    if !migrated.failures.is_empty() {
        migrated.accumulators = Column::default();
    }
    migrated
}

/// The accumulator in `bytes`, or `zero` for a window that has seen nothing.
#[inline]
pub(crate) fn decode_or<A: DeserializeOwned>(bytes: &[u8], zero: impl FnOnce() -> A) -> A {
    if bytes.is_empty() { zero() } else { decode(bytes) }
}

/// Decodes an accumulator that has seen events.
///
/// Panics when it is not one of this operator: no event is to blame for that, so none may be rejected for it.
#[inline]
pub(crate) fn decode<A: DeserializeOwned>(bytes: &[u8]) -> A {
    try_decode(bytes).unwrap_or_else(|error| panic!("{error}"))
}

/// Decodes an accumulator that may be of another type than it was written as.
#[inline]
pub(crate) fn try_decode<A: DeserializeOwned>(bytes: &[u8]) -> Result<A> {
    match bytes.split_first() {
        Some((&ENCODING, bytes)) => match postcard::take_from_bytes(bytes) {
            Ok((accumulator, [])) => Ok(accumulator),
            Ok((_, rest)) => Err(undecodable(&format!("{} bytes are left over", rest.len()))),
            Err(error) => Err(undecodable(&error.to_string())),
        },
        Some((encoding, _)) => Err(Error::new(format!(
            "the state has the encoding {encoding}, this operator reads {ENCODING}"
        ))),
        None => Err(Error::new("stored state is never empty")),
    }
}

#[cold]
fn undecodable(why: &str) -> Error {
    Error::new(format!(
        "the state does not decode, was it written by another operator? {why}"
    ))
}

/// Appends an encoded accumulator.
#[inline]
pub(crate) fn encode<A: Serialize>(accumulator: &A, column: &mut Column) {
    encode_into(accumulator, &mut column.bytes);
    column.close();
}

/// Appends the bytes of a value.
#[inline]
pub(crate) fn encode_into<A: Serialize>(value: &A, bytes: &mut Vec<u8>) {
    bytes.push(ENCODING);
    postcard::serialize_with_flavor(value, Appended(bytes)).expect(
        "postcard encodes whatever serde derives; an accumulator needs lengths that are known before its items are",
    );
}

/// Where postcard writes to. In a guest a copy of unknown length is a call out to the host, which costs more than all the
/// rest of a small number: those are stored byte by byte.
struct Appended<'a>(&'a mut Vec<u8>);

impl Flavor for Appended<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        /// The longest integer of 64 bits, as postcard writes it.
        const SHORT_BYTES_MAX: usize = 10;
        if let Ok(float) = <&[u8; 8]>::try_from(bytes) {
            self.0.extend_from_slice(float);
        } else if bytes.len() <= SHORT_BYTES_MAX {
            for &byte in bytes {
                self.0.push(byte);
            }
        } else {
            self.0.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
