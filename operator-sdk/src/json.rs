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

mod field;
mod scan;
mod value;

use std::borrow::Cow;

use serde::Serialize;

use self::scan::{Search, Spot};
pub use self::{
    field::Field,
    value::{Kind, Value},
};
use crate::{
    Error, Result,
    codec::{Decode, Encode, Encoded},
};

/// A JSON document as it came: bytes that no one has read yet.
#[derive(Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Json([u8]);

/// A JSON document of one's own, such as an edited one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonBuf(Vec<u8>);

/// Where a field is, or would be, in a document.
#[derive(Debug, Clone)]
pub struct Place<'j, 'f> {
    document: &'j Json,
    field: &'f Field,
    spot: Spot,
}

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
        let mut search = Search::new([field]);
        if !scan::locate(&self.0, &mut search) {
            return Err(self.what_is_wrong());
        }
        let [spot] = search.spots;
        Ok(Place {
            document: self,
            field,
            spot,
        })
    }

    /// Reads the whole document once, and finds up to 32 fields in it.
    ///
    /// # Errors
    /// When the document is not JSON.
    #[inline]
    pub fn locate<'j, 'f, const N: usize>(&'j self, fields: [&'f Field; N]) -> Result<[Place<'j, 'f>; N]> {
        let mut search = Search::new(fields);
        if !scan::locate(&self.0, &mut search) {
            return Err(self.what_is_wrong());
        }
        Ok(std::array::from_fn(|i| Place {
            document: self,
            field: fields[i],
            spot: search.spots[i],
        }))
    }

    /// Why it is refused: in the words of `serde_json`, and within the fuel of any event.
    #[cold]
    fn what_is_wrong(&self) -> Error {
        let explained = match std::str::from_utf8(&self.0) {
            Ok(_) => scan::fault::explain(&self.0)
                .unwrap_or_else(|| "it is nested too deeply: containers in more than 128 others".into()),
            Err(error) => error.to_string(),
        };
        Error::new(explained).context("the event is no JSON")
    }
}

impl<'j> Place<'j, '_> {
    /// The value there, if there is one.
    #[must_use]
    #[inline]
    pub fn value(&self) -> Option<Value<'j>> {
        match self.spot {
            Spot::Found { start, end } => Some(Value::new(&self.document.0[start..end])),
            Spot::Absent { .. } | Spot::Unreachable => None,
        }
    }

    /// The value there.
    ///
    /// # Errors
    /// When there is none; the message names the field.
    #[inline]
    pub fn required(&self) -> Result<Value<'j>> {
        match self.value() {
            Some(value) => Ok(value),
            None => Err(self.field.is_missing()),
        }
    }

    /// The number there.
    ///
    /// # Errors
    /// When there is none, or one beyond every `f64`; the message names the field and what it holds instead.
    #[inline]
    pub fn number(&self) -> Result<f64> {
        let value = self.required()?;
        match value.as_number() {
            Some(number) if number.is_finite() => Ok(number),
            Some(_) => Err(self.field.is_out_of_range(value)),
            None => Err(self.field.is_mistyped(value, "a number")),
        }
    }

    /// The string there.
    ///
    /// # Errors
    /// When there is none; the message names the field and what it holds instead.
    #[inline]
    pub fn text(&self) -> Result<Cow<'j, str>> {
        let value = self.required()?;
        value.as_text().ok_or_else(|| self.field.is_mistyped(value, "a string"))
    }

    /// The truth value there.
    ///
    /// # Errors
    /// When there is none; the message names the field and what it holds instead.
    #[inline]
    pub fn truth(&self) -> Result<bool> {
        let value = self.required()?;
        value
            .as_bool()
            .ok_or_else(|| self.field.is_mistyped(value, "true or false"))
    }

    /// The document with this value there, and every other byte as it was. A new field comes last in its object.
    ///
    /// # Errors
    /// When there is no object for the field to be in, or the value doesn't serialize.
    pub fn set<T: Serialize + ?Sized>(&self, value: &T) -> Result<JsonBuf> {
        let mut edited = Vec::new();
        self.write_edited(value, &mut edited)?;
        Ok(JsonBuf(edited))
    }

    /// Appends what [`Place::set`] returns.
    #[inline]
    pub(crate) fn write_edited<T: Serialize + ?Sized>(&self, value: &T, buffer: &mut Vec<u8>) -> Result<()> {
        /// Room for a number, so that the usual edit grows the buffer once at most.
        const VALUE_CAPACITY: usize = 32;

        let document = &self.document.0;
        let (start, end, label) = match self.spot {
            Spot::Found { start, end } => (start, end, &[][..]),
            // Only the first field of an object goes without the comma.
            Spot::Absent { end, commas } => (end, end, &self.field.label[1 - commas..]),
            Spot::Unreachable => return Err(self.field.is_unreachable()),
        };
        buffer.reserve(document.len() + label.len() + VALUE_CAPACITY);
        buffer.extend_from_slice(&document[..start]);
        buffer.extend_from_slice(label);
        value.encode(buffer)?;
        buffer.extend_from_slice(&document[end..]);
        Ok(())
    }
}

/// Why an event is rejected. Apart from the reading of places, so that those stay in registers.
impl Field {
    #[cold]
    fn is_missing(&self) -> Error {
        Error::new(format!("field `{self}` is missing"))
    }

    #[cold]
    fn is_unreachable(&self) -> Error {
        Error::new(format!("there is no object that could hold field `{self}`"))
    }

    #[cold]
    fn is_out_of_range(&self, value: Value<'_>) -> Error {
        Error::new(format!("field `{self}` is out of range: {value}"))
    }

    #[cold]
    fn is_mistyped(&self, found: Value<'_>, wanted: &str) -> Error {
        Error::new(format!("field `{self}` is {}, not {wanted}", found.description()))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn field(text: &str) -> Field {
        Field::new(text).unwrap()
    }

    fn found(document: &str, name: &str) -> Option<String> {
        let field = field(name);
        let place = Json::new(document.as_bytes()).at(&field).unwrap();
        place.value().map(|value| value.to_string())
    }

    fn set(document: &str, name: &str, value: f64) -> Result<String> {
        let edited = Json::new(document.as_bytes()).at(&field(name))?.set(&value)?;
        Ok(String::from_utf8(edited.0).unwrap())
    }

    #[test]
    fn a_name_finds_its_field_and_not_a_deeper_one() {
        assert_eq!(
            found(r#"{"deep":{"value":1}, "value" : [2, 3] }"#, "value").as_deref(),
            Some("[2, 3]")
        );
        assert_eq!(found(r#"{"deep":{"value":1}}"#, "value"), None);
    }

    #[test]
    fn a_pointer_leads_through_objects_and_arrays() {
        let document = r#"{"a":[{"b":1},{"b":{"":true}}],"x/y":{"~":null}}"#;
        assert_eq!(found(document, "/a/1/b/").as_deref(), Some("true"));
        assert_eq!(found(document, "/a/0/b").as_deref(), Some("1"));
        assert_eq!(found(document, "/a/2/b"), None);
        assert_eq!(found(document, "/x~1y/~0").as_deref(), Some("null"));
    }

    #[test]
    fn the_last_of_equal_names_counts() {
        assert_eq!(found(r#"{"a":1,"a":2}"#, "a").as_deref(), Some("2"));
        assert_eq!(found(r#"{"a":{"b":1},"a":{}}"#, "/a/b"), None);
        assert_eq!(found(r#"{"a":{"b":1},"a":2}"#, "/a/b"), None);
    }

    #[test]
    fn an_escaped_name_is_the_same_name() {
        assert_eq!(found(r#"{"v\u0061lue":1}"#, "value").as_deref(), Some("1"));
        assert_eq!(found(r#"{"a\"b":1}"#, "a\"b").as_deref(), Some("1"));
    }

    #[test]
    fn several_fields_are_found_in_one_pass() {
        let fields = ["/a/b", "c", "/a/d", "e"].map(field);
        let document = Json::new(br#"{"c":1,"a":{"d":2,"b":3}}"#);
        let places = document.locate(fields.each_ref()).unwrap();
        assert_eq!(
            places.map(|place| place.number().ok()),
            [Some(3.0), Some(1.0), Some(2.0), None]
        );
    }

    #[test]
    fn an_edit_leaves_every_other_byte_alone() {
        assert_eq!(
            set("{ \"a\" : 1e0 ,\t\"b\":\"\\u00e9\"}\n", "a", 2.5).unwrap(),
            "{ \"a\" : 2.5 ,\t\"b\":\"\\u00e9\"}\n"
        );
    }

    #[test]
    fn a_new_field_comes_last() {
        assert_eq!(set(r#"{"a":1}"#, "b", 2.0).unwrap(), r#"{"a":1,"b":2.0}"#);
        assert_eq!(set("{ \"a\": 1 }", "b", 2.0).unwrap(), "{ \"a\": 1,\"b\":2.0 }");
        assert_eq!(set(" {} ", "b", 2.0).unwrap(), r#" {"b":2.0} "#);
        assert_eq!(
            set(r#"{"a":{"b":1},"c":0}"#, "/a/\"q\"", 2.0).unwrap(),
            r#"{"a":{"b":1,"\"q\"":2.0},"c":0}"#
        );
    }

    #[test]
    fn a_field_cannot_be_set_where_there_is_no_object() {
        let error = set(r#"{"a":[1]}"#, "/a/1", 2.0).unwrap_err();
        assert_eq!(error.message(), "there is no object that could hold field `/a/1`");
        assert!(set("7", "a", 2.0).is_err());
    }

    #[test]
    fn a_wrong_type_is_named() {
        let message = |document: &str| {
            Json::new(document.as_bytes())
                .at(&field("v"))
                .unwrap()
                .number()
                .unwrap_err()
                .message()
                .to_owned()
        };
        assert_eq!(message("{}"), "field `v` is missing");
        assert_eq!(message("[]"), "field `v` is missing");
        assert_eq!(message(r#"{"v":"12"}"#), "field `v` is the string \"12\", not a number");
        assert_eq!(message(r#"{"v":null}"#), "field `v` is null, not a number");
        assert_eq!(message(r#"{"v":[1]}"#), "field `v` is an array, not a number");
        assert_eq!(message(r#"{"v":1e999}"#), "field `v` is out of range: 1e999");
    }

    #[test]
    fn what_is_no_json_is_explained() {
        let error = |document: &[u8]| Json::new(document).at(&field("v")).unwrap_err().message().to_owned();
        assert_eq!(
            error(b"{\"v\": 1"),
            "the event is no JSON: EOF while parsing an object at line 1 column 7"
        );
        assert_eq!(
            error(b"{\"v\": \"\xff\"}"),
            "the event is no JSON: invalid utf-8 sequence of 1 bytes from index 7"
        );
        let deep = [b"[".repeat(200), b"]".repeat(200)].concat();
        assert_eq!(
            error(&deep),
            "the event is no JSON: it is nested too deeply: containers in more than 128 others"
        );
    }
}
