//! JSON that is read and edited where it lies.
//!
//! [`locate`] owns nothing and builds nothing: it checks a document in one pass and tells where fields are;
//! [`Place::write_edited`] splices a value in and leaves all other bytes as they were. The host uses it to extract fields, the SDK for
//! operators that read raw documents.
//!
//! ```
//! use dirigo_json::{Field, locate};
//!
//! let (celsius, fahrenheit) = (Field::new("celsius")?, Field::new("fahrenheit")?);
//! let event = br#"{"celsius": 20, "note": "the rest stays as it is"}"#;
//! let [from, into] = locate(event, [&celsius, &fahrenheit])?;
//! let edited = into.set(&(from.number()? * 1.8 + 32.0))?;
//! assert_eq!(edited, br#"{"celsius": 20, "note": "the rest stays as it is","fahrenheit":68.0}"#);
//! # Ok::<(), dirigo_json::Error>(())
//! ```

mod error;
mod field;
mod finder;
mod scan;
mod value;

use std::borrow::Cow;

use serde::Serialize;

use self::scan::{Search, Spot};
pub use self::{
    error::{Error, Result},
    field::Field,
    finder::Finder,
    value::{Kind, LongInteger, Value},
};

/// Where a field is, or would be, in a document.
#[derive(Debug, Clone)]
pub struct Place<'j, 'f> {
    document: &'j [u8],
    field: &'f Field,
    spot: Spot,
}

/// Reads the whole document once, and finds up to 32 fields in it.
///
/// # Errors
/// When the document is not JSON.
#[inline]
pub fn locate<'j, 'f, const N: usize>(document: &'j [u8], fields: [&'f Field; N]) -> Result<[Place<'j, 'f>; N]> {
    let mut search = Search::new(fields);
    if !scan::locate(document, &mut search) {
        return Err(what_is_wrong(document));
    }
    Ok(std::array::from_fn(|i| Place {
        document,
        field: fields[i],
        spot: search.spots[i],
    }))
}

/// Reads the whole document once, and finds the values of up to 32 fields in it; `None` where it is not JSON.
///
/// As [`locate`], for those who need no words.
#[inline]
#[must_use]
pub fn find<'j, const N: usize>(document: &'j [u8], fields: [&Field; N]) -> Option<[Option<Value<'j>>; N]> {
    let mut search = Search::new(fields);
    if !scan::locate(document, &mut search) {
        return None;
    }
    Some(search.spots.map(|spot| match spot {
        Spot::Found { start, end } => Some(Value::new(&document[start..end])),
        Spot::Absent { .. } | Spot::Unreachable => None,
    }))
}

/// Whether this is one JSON value.
#[must_use]
pub fn is_json(document: &[u8]) -> bool {
    scan::locate(document, &mut Search::new([]))
}

/// The most fields that one pass over a document looks for.
pub const FIELDS_MAX: usize = 32;

/// Appends a document to `buffer` with several fields set, and every other byte as it was: `write` appends the value of the field of
/// this number. New fields come last in their objects, in their order.
///
/// # Errors
/// When the document is not JSON, or there is no object for a field to be in; nothing is appended then.
///
/// # Panics
/// When there are more than [`FIELDS_MAX`] fields.
pub fn write_edited(
    document: &[u8],
    fields: &[&Field],
    buffer: &mut Vec<u8>,
    write: impl FnMut(usize, &mut Vec<u8>),
) -> Result<()> {
    match fields.len() {
        0 => {
            buffer.extend_from_slice(document);
            Ok(())
        }
        1 => write_some::<1>(document, fields, buffer, write),
        2 => write_some::<2>(document, fields, buffer, write),
        3..=4 => write_some::<4>(document, fields, buffer, write),
        5..=8 => write_some::<8>(document, fields, buffer, write),
        _ => write_some::<FIELDS_MAX>(document, fields, buffer, write),
    }
}

/// For up to `N` fields, of which there is one at least: the last stands for those that are not there.
fn write_some<const N: usize>(
    document: &[u8],
    fields: &[&Field],
    buffer: &mut Vec<u8>,
    mut write: impl FnMut(usize, &mut Vec<u8>),
) -> Result<()> {
    assert!(fields.len() <= N, "{} fields are set in one pass", fields.len());
    let places = locate(
        document,
        std::array::from_fn::<_, N, _>(|i| fields[i.min(fields.len() - 1)]),
    )?;
    let mut edits = [(0, 0, 0, 0); N];
    for (number, (edit, place)) in edits.iter_mut().zip(&places[..fields.len()]).enumerate() {
        *edit = match place.spot {
            Spot::Found { start, end } => (start, number, end, 2),
            Spot::Absent { end, commas } => (end, number, end, 1 - commas),
            Spot::Unreachable => return Err(place.field.is_unreachable()),
        };
    }
    let edits = &mut edits[..fields.len()];
    edits.sort_unstable();
    let mut copied = 0;
    let mut new_at = None;
    for &(start, number, end, label) in &*edits {
        buffer.extend_from_slice(&document[copied..start]);
        copied = end;
        if label < 2 {
            // Behind another new field in the same object there is a comma in any case.
            let without_comma = if new_at == Some(start) { 0 } else { label };
            buffer.extend_from_slice(&fields[number].label[without_comma..]);
            new_at = Some(start);
        }
        write(number, buffer);
    }
    buffer.extend_from_slice(&document[copied..]);
    Ok(())
}

/// Why a document is refused: in the words of `serde_json`, and within the fuel of any event.
#[cold]
fn what_is_wrong(document: &[u8]) -> Error {
    let explained = match std::str::from_utf8(document) {
        Ok(_) => scan::fault::explain(document)
            .unwrap_or_else(|| "it is nested too deeply: containers in more than 128 others".into()),
        Err(error) => error.to_string(),
    };
    Error::new(format!("the event is no JSON: {explained}"))
}

/// What `serde_json` says is wrong with a document, with the byte where it goes wrong, counted from 1: an event is one line, so line and
/// column would say no more.
#[cold]
#[must_use]
pub fn explained(error: &serde_json::Error, document: &[u8]) -> String {
    let (message, end) = scan::fault::by_byte(error, document);
    // Some errors have no place, and what is wrong with the whole document needs none.
    if error.line() == 0 || (error.is_data() && end == 0) {
        return message;
    }
    format!("{message} at byte {end}")
}

impl<'j> Place<'j, '_> {
    /// The value there, if there is one.
    #[must_use]
    #[inline]
    pub fn value(&self) -> Option<Value<'j>> {
        match self.spot {
            Spot::Found { start, end } => Some(Value::new(&self.document[start..end])),
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

    /// The number there, and the integer itself if an `f64` does not hold it.
    ///
    /// # Errors
    /// When there is none, or an integer that neither an `f64` nor an `i64` holds; the message names the field and what it holds instead.
    pub fn exact_number(&self) -> Result<(f64, Option<i64>)> {
        let nearest = self.number()?;
        let value = self.required()?;
        match value.as_long_integer(nearest) {
            None => Ok((nearest, None)),
            Some(LongInteger::S64(integer)) => Ok((nearest, Some(integer))),
            Some(LongInteger::Longer) => Err(Error::new(format!(
                "field `{}` is the integer {value}, which neither f64 nor s64 holds",
                self.field
            ))),
        }
    }

    /// The integer there: any number without a fraction that 64 bits hold, such as `12`, `12.0` or `1.2e1`.
    ///
    /// # Errors
    /// When there is none; the message names the field and what it holds instead.
    pub fn integer(&self) -> Result<i64> {
        let value = self.required()?;
        match value.as_integer() {
            Some(integer) => Ok(integer),
            None if value.as_number().is_some_and(|number| number.fract() == 0.0) => {
                Err(self.field.is_out_of_range(value))
            }
            None => Err(self.field.is_mistyped(value, "an integer")),
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
    pub fn set<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>> {
        let mut edited = Vec::new();
        self.write_edited(value, &mut edited)?;
        Ok(edited)
    }

    /// Appends what [`Place::set`] returns.
    ///
    /// # Errors
    /// As [`Place::set`]; what was appended by then stays.
    #[inline]
    pub fn write_edited<T: Serialize + ?Sized>(&self, value: &T, buffer: &mut Vec<u8>) -> Result<()> {
        /// Room for a number, so that the usual edit grows the buffer once at most.
        const VALUE_CAPACITY: usize = 32;

        let document = self.document;
        let (start, end, label) = match self.spot {
            Spot::Found { start, end } => (start, end, &[][..]),
            // Only the first field of an object goes without the comma.
            Spot::Absent { end, commas } => (end, end, &self.field.label[1 - commas..]),
            Spot::Unreachable => return Err(self.field.is_unreachable()),
        };
        buffer.reserve(document.len() + label.len() + VALUE_CAPACITY);
        buffer.extend_from_slice(&document[..start]);
        buffer.extend_from_slice(label);
        serde_json::to_writer(&mut *buffer, value)
            .map_err(|error| Error::new(format!("the output is no JSON: {error}")))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn field(text: &str) -> Field {
        Field::new(text).unwrap()
    }

    fn found(document: &str, name: &str) -> Option<String> {
        let field = field(name);
        let [place] = locate(document.as_bytes(), [&field]).unwrap();
        place.value().map(|value| value.to_string())
    }

    fn set(document: &str, name: &str, value: f64) -> Result<String> {
        let field = field(name);
        let [place] = locate(document.as_bytes(), [&field])?;
        let edited = place.set(&value)?;
        Ok(String::from_utf8(edited).unwrap())
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
        let places = locate(br#"{"c":1,"a":{"d":2,"b":3}}"#, fields.each_ref()).unwrap();
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
    fn several_fields_are_set_in_one_pass() {
        let edited = |document: &str, names: &[&str]| {
            let fields: Vec<Field> = names.iter().map(|name| field(name)).collect();
            let mut buffer = b"> ".to_vec();
            let fields: Vec<&Field> = fields.iter().collect();
            write_edited(document.as_bytes(), &fields, &mut buffer, |number, buffer| {
                buffer.extend_from_slice(number.to_string().as_bytes());
            })?;
            Ok::<_, Error>(String::from_utf8(buffer).unwrap())
        };
        assert_eq!(edited("{}", &["a", "b"]).unwrap(), r#"> {"a":0,"b":1}"#);
        assert_eq!(
            edited(r#"{"z":[]}"#, &["b", "z", "a"]).unwrap(),
            r#"> {"z":1,"b":0,"a":2}"#
        );
        assert_eq!(
            edited(r#"{"o":{"i":true}, "n":"x" }"#, &["n", "/o/j", "/o/i", "m", "/o/k"]).unwrap(),
            r#"> {"o":{"i":2,"j":1,"k":4}, "n":0,"m":3 }"#
        );
        assert_eq!(edited("[1]", &[]).unwrap(), "> [1]");
        assert_eq!(
            edited("[1]", &["a"]).unwrap_err().message(),
            "there is no object that could hold field `a`"
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
            let field = field("v");
            let [place] = locate(document.as_bytes(), [&field]).unwrap();
            place.number().unwrap_err().message().to_owned()
        };
        assert_eq!(message("{}"), "field `v` is missing");
        assert_eq!(message("[]"), "field `v` is missing");
        assert_eq!(message(r#"{"v":"12"}"#), "field `v` is the string \"12\", not a number");
        assert_eq!(message(r#"{"v":null}"#), "field `v` is null, not a number");
        assert_eq!(message(r#"{"v":[1]}"#), "field `v` is an array, not a number");
        assert_eq!(message(r#"{"v":1e999}"#), "field `v` is out of range: 1e999");
    }

    #[test]
    fn an_error_of_serde_json_is_told_by_its_byte_whatever_the_line() {
        let explained =
            |document: &str| explained(&serde_json::from_str::<u8>(document).unwrap_err(), document.as_bytes());
        assert_eq!(explained("300 "), "invalid value: integer `300`, expected u8 at byte 3");
        assert_eq!(explained("[1]"), "invalid type: sequence, expected u8");
        assert_eq!(explained(" \n \n x"), "expected value at byte 6");
        assert_eq!(
            super::explained(&serde::de::Error::custom("no place"), b"{}"),
            "no place"
        );
    }

    #[test]
    fn what_is_no_json_is_explained() {
        let error = |document: &[u8]| locate(document, [&field("v")]).unwrap_err().message().to_owned();
        assert_eq!(
            error(b"{\"v\": 1"),
            "the event is no JSON: EOF while parsing an object at byte 7"
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
