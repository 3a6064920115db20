//! An entry as it is printed.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dirigo::runtime::compatibility::Description;
use dirigo::state::{self, EntryForm};
use serde::Serialize;
use serde_json::Value;

#[derive(Debug, Serialize)]
pub(super) struct PrintedEntry<'a> {
    pipeline: &'a str,
    operator: &'a str,
    /// The key, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    /// The key, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    pub(super) count: u64,
    /// The least time of the window, or of all that are open where they are of time.
    pub(super) start: i64,
    /// The greatest time of the window; or when the next one closes, where they are of time.
    pub(super) end: i64,
    /// That of the operator which wrote the accumulator.
    pub(super) state_version: u32,
    /// As JSON where its layout is known, else in base64; of windows in time a list.
    pub(super) accumulator: Value,
    /// The accumulator, if its layout is not known and it is JSON or text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<Value>,
}

impl<'a> PrintedEntry<'a> {
    pub(super) fn new(
        pipeline: &'a str,
        operator: &'a str,
        key: &'a [u8],
        entry: &state::Entry,
        description: Option<&Description>,
    ) -> Self {
        let text = text(key);
        let decode = |version: u32, accumulator: &[u8]| {
            let layout = description.and_then(|description| description.layout(operator, version));
            layout.and_then(|layout| layout.decode(accumulator))
        };
        let shown = |version: u32, bytes: &[u8]| {
            let decoded = decode(version, bytes);
            decoded.unwrap_or_else(|| BASE64_STANDARD.encode(bytes).into())
        };
        let form = description.map_or(EntryForm::Window, |description| description.entry_form(operator));
        let decoded = match form {
            EntryForm::Segments => Some(state::shown_segments(entry, |segment| {
                shown(segment.state_version, segment.accumulator)
            })),
            EntryForm::Keyed => Some(state::shown_keyed(
                entry,
                |bytes| shown(entry.state_version, bytes),
                |item| {
                    let layout = description.and_then(|description| description.layout(operator, item.version));
                    let decoded = layout.as_ref().and_then(|layout| layout.decode_item(item));
                    decoded.map_or_else(
                        || {
                            let base64 = |bytes| BASE64_STANDARD.encode(bytes).into();
                            (String::new(), base64(item.name), base64(item.value))
                        },
                        |(map, key, value)| (map.to_owned(), key, value),
                    )
                },
            )),
            EntryForm::Window => decode(entry.state_version, entry.bytes()),
        };
        Self {
            pipeline,
            operator,
            key: text,
            key_base64: text.is_none().then(|| BASE64_STANDARD.encode(key)),
            count: entry.count,
            start: entry.start,
            end: entry.end,
            state_version: entry.state_version,
            value: decoded.is_none().then(|| value(entry.bytes())).flatten(),
            accumulator: decoded.unwrap_or_else(|| BASE64_STANDARD.encode(entry.bytes()).into()),
        }
    }
}

/// Bytes that are text for people.
fn text(bytes: &[u8]) -> Option<&str> {
    let is_plain = |text: &&str| !text.chars().any(|char| char.is_control() && !char.is_whitespace());
    std::str::from_utf8(bytes).ok().filter(is_plain)
}

fn value(bytes: &[u8]) -> Option<Value> {
    let text = text(bytes)?;
    Some(serde_json::from_str(text).unwrap_or_else(|_| text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accumulator_is_told_as_what_it_looks_like() {
        assert_eq!(value(br#"{"sum":1}"#), Some(serde_json::json!({"sum": 1})));
        assert_eq!(value(b"on hold"), Some("on hold".into()));
        assert_eq!(value(&[0, 1, 2]), None);
        assert_eq!(value(&[0xff]), None);
    }
}
