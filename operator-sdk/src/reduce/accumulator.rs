//! Accumulators as bytes: what the host keeps of a window between two batches.
//!
//! One byte for the version, then postcard. The version leaves room to read the state of an older operator, and keeps
//! every accumulator from being empty, which means a window that has seen nothing.

use serde::{Serialize, de::DeserializeOwned};

use crate::columns::Column;

const VERSION: u8 = 0;

/// The accumulator of a group, decoded only if an event touches it.
pub(super) enum Group<'a, A> {
    /// As the host handed it over.
    Untouched(&'a [u8]),
    Decoded(A),
}

impl<A: Serialize + DeserializeOwned> Group<'_, A> {
    /// The accumulator, to be added to.
    #[inline]
    pub(super) fn touch(&mut self, zero: impl FnOnce() -> A) -> &mut A {
        if let Group::Untouched(bytes) = *self {
            *self = Group::Decoded(decode_or(bytes, zero));
        }
        match self {
            Group::Decoded(accumulator) => accumulator,
            Group::Untouched(_) => unreachable!("it has just been decoded"),
        }
    }

    pub(super) fn into_accumulator(self, zero: impl FnOnce() -> A) -> A {
        match self {
            Group::Decoded(accumulator) => accumulator,
            Group::Untouched(bytes) => decode_or(bytes, zero),
        }
    }

    pub(super) fn write(self, column: &mut Column) {
        match self {
            Group::Decoded(accumulator) => encode(&accumulator, column),
            Group::Untouched(bytes) => column.push(bytes),
        }
    }
}

fn decode_or<A: DeserializeOwned>(bytes: &[u8], zero: impl FnOnce() -> A) -> A {
    if bytes.is_empty() { zero() } else { decode(bytes) }
}

/// Decodes an accumulator that has seen events.
///
/// Panics when it is not one of this operator: no event is to blame for that, so none may be rejected for it.
pub(super) fn decode<A: DeserializeOwned>(bytes: &[u8]) -> A {
    let (&version, bytes) = bytes
        .split_first()
        .expect("the accumulator of a window with events is never empty");
    assert!(
        version == VERSION,
        "the accumulator has the state version {version}, this operator reads {VERSION}"
    );
    match postcard::from_bytes(bytes) {
        Ok(accumulator) => accumulator,
        Err(error) => panic!("the accumulator does not decode, was it written by another operator? {error}"),
    }
}

/// Appends an encoded accumulator.
pub(super) fn encode<A: Serialize>(accumulator: &A, column: &mut Column) {
    column.bytes.push(VERSION);
    let bytes = std::mem::take(&mut column.bytes);
    column.bytes = postcard::to_extend(accumulator, bytes).expect(
        "postcard encodes whatever serde derives; an accumulator needs lengths that are known before its items are",
    );
    column.close();
}
