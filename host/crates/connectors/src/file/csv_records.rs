//! CSV records of JSON events.
//!
//! Owns which member of an event is in which column, and how a value becomes a field. Knows nothing of files: what it
//! makes, a [`LineFile`](super::line_file::LineFile) writes.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{self, Read};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The longest header that is read of a file that is added to.
const HEADER_BYTES_MAX: usize = 1 << 20;

/// Why an event is no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The event has no members.
    #[error("a CSV record is made of a JSON object, and an event is {0}")]
    NoObject(String),
    /// The event has a member that no column is for.
    #[error(
        "an event has `{member}`, and there is no such column: the columns are those of the first event ({columns}); \
         name all with `columns = [...]`"
    )]
    NoColumn {
        /// The member.
        member: String,
        /// The columns.
        columns: String,
    },
    /// The first event, which says the columns, has none.
    #[error("the first event has no members to make columns of; name them with `columns = [...]`")]
    NoColumns,
}

/// Makes records.
#[derive(Clone, Debug)]
pub(super) struct CsvRecords {
    columns: Vec<String>,
    index: HashMap<String, usize>,
    /// Whether the pipeline file says the columns: then other members are left out.
    are_given: bool,
    /// Whether the header is written.
    has_header: bool,
    /// The fields of one record: where each stands in `text`, or `None` for one that the event does not have.
    text: Vec<u8>,
    fields: Vec<Option<(usize, usize)>>,
}

impl CsvRecords {
    /// Records with the given columns, or with those of the first event.
    pub(super) fn new(columns: Option<&[String]>) -> Self {
        let mut records = Self {
            columns: Vec::new(),
            index: HashMap::new(),
            are_given: columns.is_some(),
            has_header: false,
            text: Vec::new(),
            fields: Vec::new(),
        };
        records.set_columns(columns.unwrap_or_default());
        records
    }

    /// The columns, once they are known.
    pub(super) fn columns(&self) -> Option<&[String]> {
        (!self.columns.is_empty()).then_some(&self.columns)
    }

    /// Goes on in a file that has a header.
    pub(super) fn go_on(&mut self, columns: Option<&[String]>) {
        if let Some(columns) = columns.filter(|_| !self.are_given) {
            self.set_columns(columns);
        }
        self.has_header = true;
    }

    /// Takes over the columns of the part before, for a file that has no header yet.
    pub(super) fn inherit(&mut self, columns: Option<&[String]>) {
        if let Some(columns) = columns.filter(|_| !self.are_given) {
            self.set_columns(columns);
        }
    }

    fn set_columns(&mut self, columns: &[String]) {
        self.columns = columns.to_vec();
        let numbered = self.columns.iter().cloned().zip(0..);
        self.index = numbered.collect();
    }

    /// Writes the header, where the columns are known and it is not written yet.
    pub(super) fn write_header(&mut self, out: &mut Vec<u8>) {
        if self.has_header || self.columns.is_empty() {
            return;
        }
        self.has_header = true;
        let is_only = self.columns.len() == 1;
        for (index, column) in self.columns.iter().enumerate() {
            separate(index, out);
            write_field(column.as_bytes(), is_only, out);
        }
        out.push(b'\n');
    }

    /// Writes the record of an event, and the header before the first one.
    pub(super) fn write(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<(), RecordError> {
        let Members(members) = serde_json::from_slice(event).map_err(|_| RecordError::NoObject(shown(event)))?;
        if self.columns.is_empty() {
            let mut found: HashSet<&str> = HashSet::new();
            // Of members with the same name the last counts.
            let new = members.iter().filter(|(name, _)| found.insert(name));
            let columns: Vec<String> = new.map(|(name, _)| name.clone().into_owned()).collect();
            if columns.is_empty() {
                return Err(RecordError::NoColumns);
            }
            self.set_columns(&columns);
        }
        self.text.clear();
        self.fields.clear();
        self.fields.resize(self.columns.len(), None);
        for (name, value) in members {
            match self.index.get(&*name) {
                Some(&index) => {
                    let from = self.text.len();
                    write_value(value, &mut self.text);
                    self.fields[index] = Some((from, self.text.len()));
                }
                None if self.are_given => {}
                None => {
                    return Err(RecordError::NoColumn {
                        member: name.into_owned(),
                        columns: self.columns.join(", "),
                    });
                }
            }
        }
        self.write_header(out);
        let is_only = self.columns.len() == 1;
        for (index, field) in self.fields.iter().enumerate() {
            separate(index, out);
            let text = field.map_or(&[][..], |(from, to)| &self.text[from..to]);
            write_field(text, is_only, out);
        }
        out.push(b'\n');
        Ok(())
    }
}

fn separate(index: usize, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
}

/// The text of a value: that of a string without its quotes, nothing for null, and the JSON of anything else.
fn write_value(value: &RawValue, text: &mut Vec<u8>) {
    let json = value.get();
    match json.as_bytes().first() {
        Some(b'n') => {}
        Some(b'"') => match serde_json::from_str::<Cow<'_, str>>(json) {
            Ok(string) => text.extend_from_slice(string.as_bytes()),
            // A string that is no Unicode stays as it is written.
            Err(_) => text.extend_from_slice(json.as_bytes()),
        },
        _ => text.extend_from_slice(json.as_bytes()),
    }
}

/// Writes a field; in quotes where RFC 4180 asks for them, and where the line would else be empty.
fn write_field(text: &[u8], is_only: bool, out: &mut Vec<u8>) {
    let is_special = |byte: &u8| matches!(byte, b',' | b'"' | b'\n' | b'\r');
    let is_quoted = text.iter().any(is_special) || (is_only && text.is_empty());
    if !is_quoted {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for &byte in text {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// The fields of the first record of a text.
pub(super) fn header(mut text: impl Read) -> io::Result<Vec<String>> {
    let mut reader = csv_core::Reader::new();
    let (mut output, mut ends) = (vec![0; HEADER_BYTES_MAX], vec![0; HEADER_BYTES_MAX]);
    let (mut written, mut fields) = (0, 0);
    let mut input = vec![0; 8 << 10];
    let (mut from, mut to) = (0, 0);
    loop {
        if from == to {
            (from, to) = (0, text.read(&mut input)?);
        }
        let (result, taken, bytes, ended) =
            reader.read_record(&input[from..to], &mut output[written..], &mut ends[fields..]);
        from += taken;
        written += bytes;
        fields += ended;
        match result {
            csv_core::ReadRecordResult::InputEmpty => {}
            csv_core::ReadRecordResult::Record | csv_core::ReadRecordResult::End => break,
            csv_core::ReadRecordResult::OutputFull | csv_core::ReadRecordResult::OutputEndsFull => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "its first line is too long for a header",
                ));
            }
        }
    }
    let mut columns = Vec::new();
    let mut start = 0;
    for &end in &ends[..fields] {
        let column = String::from_utf8_lossy(&output[start..end]);
        columns.push(column.trim_start_matches('\u{feff}').to_owned());
        start = end;
    }
    Ok(columns)
}

/// What an event is that is no object, for a person.
fn shown(event: &[u8]) -> String {
    const SHOWN_MAX: usize = 60;
    match serde_json::from_slice::<&RawValue>(event) {
        Ok(value) if value.get().len() <= SHOWN_MAX => format!("`{}`", value.get()),
        Ok(_) => "another value".to_owned(),
        Err(_) => "no JSON".to_owned(),
    }
}

/// The members of an object, in their order, with values as they are written.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

/// A name, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn written(records: &mut CsvRecords, events: &[&str]) -> Result<String, RecordError> {
        let mut out = Vec::new();
        for event in events {
            records.write(event.as_bytes(), &mut out)?;
        }
        Ok(String::from_utf8(out).unwrap())
    }

    fn columns(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_first_event_says_the_columns_and_the_header_comes_once() {
        let mut records = CsvRecords::new(None);
        let events = [r#"{"b":1,"a":"x"}"#, r#"{"a":"y","b":2.50}"#, r#"{"b":null}"#];
        assert_eq!(written(&mut records, &events).unwrap(), "b,a\n1,x\n2.50,y\n,\n");
        assert_eq!(records.columns(), Some(&columns(&["b", "a"])[..]));
    }

    #[test]
    fn an_event_may_say_very_many_columns_some_of_them_twice() {
        let mut records = CsvRecords::new(None);
        let members: Vec<String> = (0..100_000).map(|n| format!("\"c{}\":{n}", n % 60_000)).collect();
        written(&mut records, &[&format!("{{{}}}", members.join(","))]).unwrap();
        let found = records.columns().unwrap();
        assert_eq!(found.len(), 60_000);
        assert!(
            found
                .iter()
                .zip(0..)
                .all(|(column, n): (&String, u32)| *column == format!("c{n}"))
        );
    }

    #[test]
    fn fields_are_quoted_as_rfc_4180_says() {
        let mut records = CsvRecords::new(None);
        let event = r#"{"a,b":"say \"hi\"","c":"two\nlines","d":"é, \u00e9","e":"cr\r","f":" plain "}"#;
        assert_eq!(
            written(&mut records, &[event]).unwrap(),
            "\"a,b\",c,d,e,f\n\"say \"\"hi\"\"\",\"two\nlines\",\"é, é\",\"cr\r\", plain \n"
        );
    }

    #[test]
    fn nested_values_are_json_and_numbers_are_as_they_were_written() {
        let mut records = CsvRecords::new(None);
        let event = r#"{"o":{"x":[1,"a"]},"n":123456789012345678901234567890,"f":1e400,"t":true}"#;
        assert_eq!(
            written(&mut records, &[event]).unwrap(),
            "o,n,f,t\n\"{\"\"x\"\":[1,\"\"a\"\"]}\",123456789012345678901234567890,1e400,true\n"
        );
    }

    #[test]
    fn a_record_of_one_empty_field_is_no_empty_line() {
        let mut records = CsvRecords::new(None);
        assert_eq!(
            written(&mut records, &[r#"{"a":""}"#, r#"{"a":1}"#]).unwrap(),
            "a\n\"\"\n1\n"
        );
    }

    #[test]
    fn a_member_without_a_column_is_refused_unless_the_columns_are_given() {
        let mut records = CsvRecords::new(None);
        let error = written(&mut records, &[r#"{"a":1,"b":2}"#, r#"{"a":1,"c":3}"#]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "an event has `c`, and there is no such column: the columns are those of the first event (a, b); name all with \
             `columns = [...]`"
        );
        let mut records = CsvRecords::new(Some(&columns(&["c", "a"])));
        let events = [r#"{"a":1,"b":2}"#, r#"{"a":1,"c":3}"#];
        assert_eq!(written(&mut records, &events).unwrap(), "c,a\n,1\n3,1\n");
    }

    #[test]
    fn of_members_with_the_same_name_the_last_counts() {
        let mut records = CsvRecords::new(None);
        assert_eq!(written(&mut records, &[r#"{"a":1,"a":2}"#]).unwrap(), "a\n2\n");
    }

    #[test]
    fn what_is_no_object_is_no_record() {
        let mut records = CsvRecords::new(None);
        let mut reason = |event| written(&mut records, &[event]).unwrap_err().to_string();
        assert_eq!(
            reason("7"),
            "a CSV record is made of a JSON object, and an event is `7`"
        );
        assert_eq!(
            reason("{"),
            "a CSV record is made of a JSON object, and an event is no JSON"
        );
        assert!(reason("{}").starts_with("the first event has no members"));
    }

    #[test]
    fn a_file_that_has_a_header_gets_no_second_one() {
        let mut records = CsvRecords::new(None);
        records.go_on(Some(&columns(&["b", "a"])));
        assert_eq!(written(&mut records, &[r#"{"a":1,"b":2}"#]).unwrap(), "2,1\n");
    }
}
