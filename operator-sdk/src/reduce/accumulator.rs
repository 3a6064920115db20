//! Accumulators as bytes: what the host keeps of a window between two batches.
//!
//! One byte for the version, then postcard. The version leaves room to read the state of an older operator, and keeps
//! every accumulator from being empty, which means a window that has seen nothing.

use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};

use crate::columns::Column;

const VERSION: u8 = 0;

/// The accumulator in `bytes`, or `zero` for a window that has seen nothing.
#[inline]
pub(super) fn decode_or<A: DeserializeOwned>(bytes: &[u8], zero: impl FnOnce() -> A) -> A {
    if bytes.is_empty() { zero() } else { decode(bytes) }
}

/// Decodes an accumulator that has seen events.
///
/// Panics when it is not one of this operator: no event is to blame for that, so none may be rejected for it.
#[inline]
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
#[inline]
pub(super) fn encode<A: Serialize>(accumulator: &A, column: &mut Column) {
    column.bytes.push(VERSION);
    postcard::serialize_with_flavor(accumulator, Appended(&mut column.bytes)).expect(
        "postcard encodes whatever serde derives; an accumulator needs lengths that are known before its items are",
    );
    column.close();
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
