//! Finding the key and the time of an event in its JSON value.
//!
//! Owns what counts as a key and as a time, and the words in which everything else is refused. Knows nothing of where
//! the value came from. A source has the fields that operators read taken out in the same pass ([`Extract::find_with`]); of members with
//! the same name the last counts. A document that is broken after its key and its time passes, and the operator that reads it rejects it.

use std::borrow::Cow;
use std::sync::Arc;

use super::json::{self, JsonKind, Unexpected, Value};
use super::time;
use dirigo_connect::{Pointer, TimeField};
use dirigo_fields::{Extraction, Pass};
use dirigo_json::Field;

/// Where in a JSON value the key and the time of an event are.
#[derive(Clone, Debug, Default)]
pub struct Extract {
    key: Option<Pointer>,
    time: Option<TimeField>,
    /// The same places, for a pass that takes fields out besides.
    key_field: Option<Arc<Field>>,
    time_field: Option<Arc<Field>>,
}

/// The key and the time of an event, of those that are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extracted<'a> {
    /// The key, empty where none is looked for.
    pub key: Cow<'a, [u8]>,
    /// The time in ms since the epoch; `None` where none is looked for.
    pub time: Option<i64>,
}

impl Extract {
    /// Looks for a key and a time by these pointers.
    #[must_use]
    pub fn new(key: Option<&Pointer>, time: Option<&TimeField>) -> Self {
        Self {
            key: key.cloned(),
            time: time.cloned(),
            key_field: key.map(|key| Arc::new(Field::from_names(&key.tokens))),
            time_field: time.map(|time| Arc::new(Field::from_names(&time.pointer.tokens))),
        }
    }

    /// Whether a time is looked for.
    #[must_use]
    pub fn has_time(&self) -> bool {
        self.time.is_some()
    }

    /// Whether nothing is looked for, so that every value passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.key.is_none() && self.time.is_none()
    }

    /// Where the key is.
    pub(crate) fn key_pointer(&self) -> Option<&Pointer> {
        self.key.as_ref()
    }

    /// Where the time is.
    pub(crate) fn time_field(&self) -> Option<&TimeField> {
        self.time.as_ref()
    }

    /// The key of the event with this value: a string's content, or the text of a number, `true` or `false`.
    ///
    /// # Errors
    /// The reason for which the event is refused: the key is missing, null, an array or an object, or the value is not
    /// JSON up to there.
    pub fn key<'a>(&self, value: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
        let (Some(pointer), Some(field)) = (&self.key, &self.key_field) else {
            return Ok(Cow::Borrowed(b""));
        };
        if let Some([key]) = dirigo_json::find(value, [field]) {
            return to_key(pointer, key.map(|key| Value(key.as_bytes())));
        }
        require_utf8(value)?;
        to_key(pointer, json::find(value, &pointer.tokens).map_err(not_json)?)
    }

    /// The key and the time of the event with this value. What a time can be, the module `time` says.
    ///
    /// # Errors
    /// The reason for which the event is refused, as for [`key`](Self::key), or a time that is of another type.
    pub fn find<'a>(&self, value: &'a [u8]) -> Result<Extracted<'a>, String> {
        let fields = [self.key_field.as_deref(), self.time_field.as_deref()];
        let Some(any) = fields[0].or(fields[1]) else {
            return self.extracted([None; 2]);
        };
        match dirigo_json::find(value, fields.map(|field| field.unwrap_or(any))) {
            Some(found) => self.extracted(found),
            None => self.find_up_to(value),
        }
    }

    /// Has the pass look for the key, the time and these fields.
    pub(super) fn prepare(&self, pass: &mut Pass, fields: &Extraction) {
        pass.look_for(fields, [self.key_field.as_ref(), self.time_field.as_ref()]);
    }

    /// The key and the time of the event with this value, of which `fields` are taken out in the same pass; nothing is taken of a
    /// value that is refused, or is not JSON.
    ///
    /// # Errors
    /// As for [`find`](Self::find).
    #[inline]
    pub(super) fn find_with<'a>(
        &self,
        value: &'a [u8],
        fields: &mut Extraction,
        pass: &mut Pass,
    ) -> Option<Result<Extracted<'a>, String>> {
        pass.take(value, fields, |found| self.extracted(found))
    }

    /// The key and the time of an event whose value is not JSON, if it is JSON up to there: the operator that reads it rejects it. Of
    /// members with the same name the first counts here.
    #[cold]
    pub(super) fn find_up_to<'a>(&self, value: &'a [u8]) -> Result<Extracted<'a>, String> {
        if self.is_empty() {
            return self.extracted([None; 2]);
        }
        require_utf8(value)?;
        let pointers = [self.key.as_ref(), self.time.as_ref().map(|time| &time.pointer)];
        let tops = pointers.map(|pointer| pointer.map(|pointer| &pointer.tokens[0]));
        let [key, time] = json::find_two(value, tops).map_err(not_json)?;
        let below = |top, pointer: Option<&Pointer>| pointer.map_or(Ok(None), |pointer| descend(top, pointer));
        self.convert(below(key, pointers[0])?, below(time, pointers[1])?)
    }

    /// Of what was found at the places of both, whether it is looked for or not.
    #[inline]
    fn extracted<'a>(&self, found: [Option<dirigo_json::Value<'a>>; 2]) -> Result<Extracted<'a>, String> {
        let [key, time] = found.map(|value| value.map(|value| Value(value.as_bytes())));
        self.convert(key, time)
    }

    #[inline]
    fn convert<'a>(&self, key: Option<Value<'a>>, time: Option<Value<'a>>) -> Result<Extracted<'a>, String> {
        Ok(Extracted {
            key: match &self.key {
                Some(pointer) => to_key(pointer, key)?,
                None => Cow::Borrowed(b""),
            },
            time: match &self.time {
                Some(field) => Some(to_time(field, time)?),
                None => None,
            },
        })
    }
}

/// Follows the tokens of `pointer` after the first.
#[inline]
fn descend<'a>(top: Option<Value<'a>>, pointer: &Pointer) -> Result<Option<Value<'a>>, String> {
    match (top, &pointer.tokens[1..]) {
        (Some(top), rest) if !rest.is_empty() => json::find(top.0, rest).map_err(not_json),
        (top, _) => Ok(top),
    }
}

/// A key comes from bytes that may say anything, but an event's key is text wherever it is shown.
#[inline]
fn require_utf8(value: &[u8]) -> Result<(), String> {
    // Most values are ASCII, which takes a third of the time to see.
    if value.is_ascii() {
        return Ok(());
    }
    match str::from_utf8(value) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "the value is not UTF-8 from byte {} on",
            error.valid_up_to() + 1
        )),
    }
}

#[cold]
#[allow(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
fn not_json(unexpected: Unexpected) -> String {
    format!("the value is not JSON: {unexpected}")
}

#[inline]
pub(super) fn to_key<'a>(pointer: &Pointer, value: Option<Value<'a>>) -> Result<Cow<'a, [u8]>, String> {
    let Some(value) = value else {
        return Err(finds_nothing(pointer));
    };
    match value.kind() {
        JsonKind::String => unescape(pointer, value),
        JsonKind::Number | JsonKind::Bool => Ok(Cow::Borrowed(value.0)),
        JsonKind::Null => Err(is_null(pointer)),
        JsonKind::Array | JsonKind::Object => Err(format!(
            "`{}` is {}, a key must be a string, number or boolean",
            pointer.text,
            article(value.kind())
        )),
    }
}

#[inline]
pub(super) fn to_time(time: &TimeField, value: Option<Value<'_>>) -> Result<i64, String> {
    let pointer = &time.pointer;
    let Some(value) = value else {
        return Err(finds_nothing(pointer));
    };
    match value.kind() {
        JsonKind::Number => time::from_number(time, value.0),
        JsonKind::String => time::from_text(time, &unescape(pointer, value)?),
        JsonKind::Null => Err(is_null(pointer)),
        JsonKind::Bool | JsonKind::Array | JsonKind::Object => Err(format!(
            "`{}` is {}, a time must be {}",
            pointer.text,
            article(value.kind()),
            time::described(time)
        )),
    }
}

#[inline]
fn unescape<'a>(pointer: &Pointer, value: Value<'a>) -> Result<Cow<'a, [u8]>, String> {
    value
        .unescaped()
        .map_err(|error| format!("`{}` is not JSON: {error} of it", pointer.text))
}

fn article(kind: JsonKind) -> &'static str {
    match kind {
        JsonKind::Null => "null",
        JsonKind::Bool => "a boolean",
        JsonKind::Number => "a number",
        JsonKind::String => "a string",
        JsonKind::Array => "an array",
        JsonKind::Object => "an object",
    }
}

#[cold]
pub(super) fn finds_nothing(pointer: &Pointer) -> String {
    format!("`{}` finds nothing", pointer.text)
}

#[cold]
pub(super) fn is_null(pointer: &Pointer) -> String {
    format!("`{}` is null", pointer.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer(text: &str) -> Pointer {
        Pointer {
            text: text.to_owned(),
            tokens: text.split('/').skip(1).map(str::to_owned).collect(),
        }
    }

    fn key(value: &str) -> Result<String, String> {
        let key = Extract::new(Some(&pointer("/sensor")), None)
            .key(value.as_bytes())?
            .into_owned();
        Ok(String::from_utf8(key).unwrap())
    }

    fn time_of(value: &str) -> Result<i64, String> {
        let value = format!(r#"{{"ts":{value}}}"#);
        Ok(Extract::new(None, Some(&pointer("/ts").into()))
            .find(value.as_bytes())?
            .time
            .unwrap())
    }

    #[test]
    fn a_key_is_a_strings_content_or_a_literals_text() {
        assert_eq!(key(r#"{"sensor":"s-17"}"#).unwrap(), "s-17");
        assert_eq!(key(r#"{"sensor":"a\"\u00e9\n"}"#).unwrap(), "a\"é\n");
        assert_eq!(key(r#"{"sensor":-1.50e2}"#).unwrap(), "-1.50e2");
        assert_eq!(key(r#"{"sensor":true}"#).unwrap(), "true");
        assert_eq!(key(r#"{"sensor":""}"#).unwrap(), "");
    }

    #[test]
    fn a_key_that_is_none_is_refused_by_name() {
        assert_eq!(key(r#"{"sensor":null}"#).unwrap_err(), "`/sensor` is null");
        assert_eq!(key(r#"{"other":1}"#).unwrap_err(), "`/sensor` finds nothing");
        assert_eq!(key("12").unwrap_err(), "`/sensor` finds nothing");
        assert_eq!(
            key(r#"{"sensor":[1]}"#).unwrap_err(),
            "`/sensor` is an array, a key must be a string, number or boolean"
        );
        assert_eq!(
            key(r#"{"sensor":{}}"#).unwrap_err(),
            "`/sensor` is an object, a key must be a string, number or boolean"
        );
        assert_eq!(
            key(r#"{"sensor":"\q"}"#).unwrap_err(),
            "`/sensor` is not JSON: invalid escape at byte 3 of it"
        );
    }

    #[test]
    fn a_value_that_is_not_json_up_to_the_pointer_is_refused() {
        assert_eq!(
            key(r#"{"sensor":"s-1"#).unwrap_err(),
            "the value is not JSON: expected a string's closing quote but it ends after byte 14"
        );
        assert_eq!(
            key("oops").unwrap_err(),
            "the value is not JSON: expected a value but found `o` at byte 1"
        );
    }

    #[test]
    fn what_follows_the_pointers_is_not_looked_at() {
        assert_eq!(key(r#"{"sensor":"s-1", oops"#).unwrap(), "s-1");
    }

    #[test]
    fn invalid_utf8_anywhere_is_refused() {
        let extract = Extract::new(Some(&pointer("/sensor")), None);
        let reason = extract.key(b"{\"sensor\":\"s\",\"x\":\"\xff\"}").unwrap_err();
        assert_eq!(reason, "the value is not UTF-8 from byte 20 on");
    }

    #[test]
    fn without_pointers_everything_passes() {
        let found = Extract::default().find(b"\xff").unwrap();
        assert_eq!(
            found,
            Extracted {
                key: Cow::Borrowed(b""),
                time: None
            }
        );
    }

    #[test]
    fn key_and_time_are_found_together_at_any_depth() {
        let extract = Extract::new(Some(&pointer("/a/k")), Some(&pointer("/a/t/1").into()));
        let found = extract.find(br#"{"z":[1,2],"a":{"t":[0,5],"k":"x"}}"#).unwrap();
        assert_eq!(
            found,
            Extracted {
                key: Cow::Borrowed(b"x"),
                time: Some(5)
            }
        );
        let same = Extract::new(Some(&pointer("/t")), Some(&pointer("/t").into()));
        assert_eq!(
            same.find(br#"{"t":7}"#).unwrap(),
            Extracted {
                key: Cow::Borrowed(b"7"),
                time: Some(7)
            }
        );
    }

    #[test]
    fn a_time_is_an_integer() {
        assert_eq!(time_of("1700000000000").unwrap(), 1_700_000_000_000);
        assert_eq!(time_of("-5").unwrap(), -5);
        assert_eq!(time_of("9223372036854775807").unwrap(), i64::MAX);
        assert_eq!(time_of("-9223372036854775808").unwrap(), i64::MIN);
    }

    #[test]
    fn a_time_is_an_rfc_3339_string() {
        assert_eq!(time_of(r#""1970-01-01T00:00:01Z""#).unwrap(), 1_000);
        assert_eq!(time_of(r#""1970-01-01T00:00:01.2345Z""#).unwrap(), 1_234);
        assert_eq!(time_of(r#""1969-12-31T23:59:59.9999Z""#).unwrap(), -1);
        assert_eq!(time_of(r#""2024-06-19T15:22:45+02:00""#).unwrap(), 1_718_803_365_000);
        assert_eq!(time_of(r#""2024-06-19T15\u003a22:45Z""#).unwrap(), 1_718_810_565_000);
    }

    #[test]
    fn a_time_that_is_none_is_refused_by_name() {
        assert_eq!(time_of("1.5").unwrap_err(), "`/ts` is 1.5, a time must be an integer");
        assert_eq!(time_of("1e-3").unwrap_err(), "`/ts` is 1e-3, a time must be an integer");
        assert_eq!(
            time_of("9223372036854775808").unwrap_err(),
            "`/ts` is 9223372036854775808, which is beyond 64 bits"
        );
        assert_eq!(time_of("null").unwrap_err(), "`/ts` is null");
        assert_eq!(
            time_of("true").unwrap_err(),
            "`/ts` is a boolean, a time must be an integer of ms since the epoch or an RFC 3339 string"
        );
        assert!(
            time_of(r#""yesterday""#)
                .unwrap_err()
                .starts_with("`/ts` is \"yesterday\", which is not an RFC 3339 time:")
        );
        assert!(time_of(r#""2024-06-19T15:22:45""#).is_err());
    }

    #[test]
    fn a_reason_quotes_only_the_start_of_a_long_value() {
        let reason = time_of(&"9".repeat(1_000_000)).unwrap_err();
        assert_eq!(
            reason.len(),
            "`/ts` is …, which is beyond 64 bits".len() + time::EXCERPT_BYTES_MAX
        );
    }
}
