//! From events to the JSON of a batch.

use std::borrow::Cow;
use std::fmt;

use dirigo_connect::Pointer;
use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A column, and where in an event its value is.
#[derive(Clone, Debug)]
pub(crate) struct Mapped {
    pub(crate) column: String,
    pub(crate) pointer: Pointer,
}

/// The JSON array of a batch: the events as they are, or objects of the columns.
pub(crate) fn array<'r>(records: impl Iterator<Item = &'r [u8]>, columns: Option<&[Mapped]>) -> String {
    let mut array = String::from("[");
    for record in records {
        if array.len() > 1 {
            array.push(',');
        }
        // Events are JSON, which is UTF-8; the server reports bytes that are not.
        let record = String::from_utf8_lossy(record);
        match columns {
            None => array.push_str(&record),
            Some(columns) => push_mapped(&record, columns, &mut array),
        }
    }
    array.push(']');
    array
}

fn push_mapped(record: &str, columns: &[Mapped], array: &mut String) {
    array.push('{');
    let mut is_first = true;
    for Mapped { column, pointer } in columns {
        let Some(value) = at(record, &pointer.tokens) else {
            continue;
        };
        if !std::mem::take(&mut is_first) {
            array.push(',');
        }
        array.push_str(&serde_json::to_string(column).expect("a text is written as JSON"));
        array.push(':');
        array.push_str(value.get());
    }
    array.push('}');
}

/// The value at a place of an event, if there is one.
fn at<'r>(record: &'r str, tokens: &[String]) -> Option<&'r RawValue> {
    let mut found: &RawValue = serde_json::from_str(record).ok()?;
    for token in tokens {
        let mut within = serde_json::Deserializer::from_str(found.get());
        found = within.deserialize_any(Member(token)).ok()??;
    }
    Some(found)
}

/// Takes the member with a name out of an object, or the item with a number out of an array. Of members with one name the last one counts.
struct Member<'t>(&'t str);

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key_seed(Name)? {
            if name == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let wanted: Option<usize> = self.0.parse().ok();
        let (mut found, mut place) = (None, 0);
        while let Some(item) = items.next_element::<&RawValue>()? {
            if Some(place) == wanted {
                found = Some(item);
            }
            place += 1;
        }
        Ok(found)
    }
}

/// A name of a member, borrowed where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(column: &str, tokens: &[&str]) -> Mapped {
        Mapped {
            column: column.to_owned(),
            pointer: Pointer {
                text: String::new(),
                tokens: tokens.iter().map(|&token| token.to_owned()).collect(),
            },
        }
    }

    #[test]
    fn a_batch_is_an_array_of_events_or_of_what_columns_take_of_them() {
        let events: [&[u8]; 3] = [
            b"{\"a\":1.000000000000000000001,\"b\":{\"c\":[1,\"x\"]}}",
            b"{\"b\":{\"c\":null},\"\\u0061\":\"y\"}",
            b"7",
        ];
        let plain = array(events.into_iter(), None);
        assert_eq!(
            plain,
            format!("[{}]", events.map(|event| str::from_utf8(event).unwrap()).join(","))
        );
        let columns = [mapped("one", &["a"]), mapped("t\"wo", &["b", "c", "1"])];
        assert_eq!(
            array(events.into_iter(), Some(&columns)),
            "[{\"one\":1.000000000000000000001,\"t\\\"wo\":\"x\"},{\"one\":\"y\"},{}]"
        );
    }
}
