//! From the payload of a message to lines of a journal.

use std::borrow::Cow;
use std::fmt;

use dirigo_connect::Format;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Appends the lines of a payload, each with its end. A JSON value that is broken into several lines becomes one.
pub(crate) fn push_lines(payload: &[u8], format: Format, topic: Option<(&str, &str)>, lines: &mut Vec<u8>) {
    if payload.is_empty() {
        return;
    }
    let start = lines.len();
    let has_breaks = payload[..payload.len() - 1].contains(&b'\n');
    match topic {
        _ if has_breaks && format == Format::Jsonl && is_one_value(payload) => {
            // Within a string JSON has no line break, and elsewhere it is a space.
            let flat = payload
                .iter()
                .map(|&byte| if byte == b'\n' || byte == b'\r' { b' ' } else { byte });
            match topic {
                None => lines.extend(flat),
                Some(field) => push_with_topic(&flat.collect::<Vec<u8>>(), field, lines),
            }
        }
        None => lines.extend_from_slice(payload),
        Some(field) => {
            for line in payload.split_inclusive(|byte| *byte == b'\n') {
                push_with_topic(line, field, lines);
            }
        }
    }
    if lines.len() > start && lines.last() != Some(&b'\n') {
        lines.push(b'\n');
    }
}

fn is_one_value(payload: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(payload).is_ok()
}

/// Appends a line with the topic as a field of its object. What is no object stays as it is.
fn push_with_topic(line: &[u8], (field, topic): (&str, &str), lines: &mut Vec<u8>) {
    let mut values = serde_json::Deserializer::from_slice(line);
    let members = values.deserialize_map(Members);
    let (Ok(members), Ok(())) = (members, values.end()) else {
        lines.extend_from_slice(line);
        return;
    };
    let text = |text: &str| serde_json::to_string(text).expect("a text is written as JSON");
    lines.push(b'{');
    for (name, value) in members.iter().filter(|(name, _)| name != field) {
        lines.extend_from_slice(text(name).as_bytes());
        lines.push(b':');
        lines.extend_from_slice(value.get().as_bytes());
        lines.push(b',');
    }
    lines.extend_from_slice(text(field).as_bytes());
    lines.push(b':');
    lines.extend_from_slice(text(topic).as_bytes());
    lines.extend_from_slice(b"}\n");
}

/// The members of an object, in order.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            members.push((Cow::Owned(name), map.next_value()?));
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(payload: &str, format: Format, topic: Option<(&str, &str)>) -> String {
        let mut lines = Vec::new();
        push_lines(payload.as_bytes(), format, topic, &mut lines);
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn a_payload_becomes_lines() {
        let jsonl = |payload| made(payload, Format::Jsonl, None);
        assert_eq!(jsonl(""), "");
        assert_eq!(jsonl("{\"a\":1}"), "{\"a\":1}\n");
        assert_eq!(jsonl("{\"a\":1}\n"), "{\"a\":1}\n");
        assert_eq!(jsonl("{\"a\":1}\n{\"a\":2}"), "{\"a\":1}\n{\"a\":2}\n");
        // As tools print it for people.
        assert_eq!(jsonl("{\n  \"a\": \"x\\ny\"\n}\n"), "{   \"a\": \"x\\ny\" } \n");
        assert_eq!(made("{\n}", Format::Lines, None), "{\n}\n");
    }

    #[test]
    fn the_topic_becomes_a_field_that_a_message_cannot_forge() {
        let with = |payload| made(payload, Format::Jsonl, Some(("topic", "a/\"b\"")));
        assert_eq!(with("{}"), "{\"topic\":\"a/\\\"b\\\"\"}\n");
        assert_eq!(
            with("{\"n\":1.0000000000000000001,\"topic\":\"c\",\"t\\u006fpic\":2}\n{\"n\": 2}"),
            "{\"n\":1.0000000000000000001,\"topic\":\"a/\\\"b\\\"\"}\n{\"n\":2,\"topic\":\"a/\\\"b\\\"\"}\n"
        );
        assert_eq!(with("{\n\"n\":\n1}"), "{\"n\":1,\"topic\":\"a/\\\"b\\\"\"}\n");
        for other in ["7", "[1]", "{\"n\":", "{} {}", "none"] {
            assert_eq!(
                with(other),
                format!("{other}\n"),
                "a dead letter, or an event without fields"
            );
        }
    }
}
