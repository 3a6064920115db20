//! JSON that is read and edited where it lies.
//!
//! A typed event costs building the type; an operator that needs one number of a document, and hands the rest on as it
//! is, need not pay for that. [`Json`] owns nothing and builds nothing: [`Json::locate`] checks the document in one
//! pass and tells where fields are; [`Place::set`] splices a value in and leaves all other bytes as they were.
//!
//! ```
//! use dirigo_operator::prelude::*;
//!
//! let (celsius, fahrenheit) = (Field::new("celsius")?, Field::new("fahrenheit")?);
//! let event = Json::new(br#"{"celsius": 20, "note": "the rest stays as it is"}"#);
//! let [from, into] = event.locate([&celsius, &fahrenheit])?;
//! let edited = into.set(&(from.number()? * 1.8 + 32.0))?;
//! assert_eq!(edited.as_bytes(), br#"{"celsius": 20, "note": "the rest stays as it is","fahrenheit":68.0}"#);
//! # Ok::<(), Error>(())
//! ```

use std::ops::Deref;

use serde::Serialize;

pub use dirigo_json::{Field, Kind, Value};

use crate::{
    Result,
    codec::{Decode, Encode, Encoded},
};

/// A JSON document as it came: bytes that no one has read yet.
#[derive(Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Json([u8]);

/// A JSON document of one's own, such as an edited one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonBuf(Vec<u8>);

/// Where a field is, or would be, in a document. It reads as a [`dirigo_json::Place`].
#[derive(Debug, Clone)]
pub struct Place<'j, 'f>(dirigo_json::Place<'j, 'f>);

impl Json {
    /// These bytes as a document. They are checked when it is read.
    #[must_use]
    #[allow(unsafe_code, reason = "the one way to make a reference to an unsized wrapper")]
    pub fn new(bytes: &[u8]) -> &Json {
        // SAFETY: `Json` is a transparent wrapper of `[u8]`, so both references have the same layout and validity.
        unsafe { &*(std::ptr::from_ref(bytes) as *const Json) }
    }

    /// The document as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads the whole document once, and finds one field in it.
    ///
    /// # Errors
    /// When the document is not JSON.
    #[inline]
    pub fn at<'j, 'f>(&'j self, field: &'f Field) -> Result<Place<'j, 'f>> {
        let [place] = dirigo_json::locate(&self.0, [field])?;
        Ok(Place(place))
    }

    /// Reads the whole document once, and finds up to 32 fields in it.
    ///
    /// # Errors
    /// When the document is not JSON.
    #[inline]
    pub fn locate<'j, 'f, const N: usize>(&'j self, fields: [&'f Field; N]) -> Result<[Place<'j, 'f>; N]> {
        Ok(dirigo_json::locate(&self.0, fields)?.map(Place))
    }
}

impl<'j, 'f> Deref for Place<'j, 'f> {
    type Target = dirigo_json::Place<'j, 'f>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Place<'_, '_> {
    /// The document with this value there, and every other byte as it was. A new field comes last in its object.
    ///
    /// # Errors
    /// When there is no object for the field to be in, or the value doesn't serialize.
    pub fn set<T: Serialize + ?Sized>(&self, value: &T) -> Result<JsonBuf> {
        Ok(JsonBuf(self.0.set(value)?))
    }
}

impl JsonBuf {
    /// The document as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Decode for Json {
    type Decoded<'a> = &'a Json;

    #[inline]
    fn decode(event: Encoded<'_>) -> Result<&Json> {
        Ok(Json::new(event.value()))
    }
}

impl Encode for Json {
    #[inline]
    fn encode(&self, buffer: &mut Vec<u8>) -> Result<()> {
        buffer.extend_from_slice(&self.0);
        Ok(())
    }
}

impl Encode for JsonBuf {
    #[inline]
    fn encode(&self, buffer: &mut Vec<u8>) -> Result<()> {
        buffer.extend_from_slice(&self.0);
        Ok(())
    }
}
