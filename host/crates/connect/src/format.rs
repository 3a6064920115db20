//! How a byte stream divides into events.

use std::fmt;

use serde_json::Value;

/// How a byte stream divides into events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON value per line.
    Jsonl,
    /// A header line, then records; each becomes a JSON object.
    Csv,
    /// One event per line, any bytes.
    Lines,
}

impl Format {
    /// The record that an event with this value has in this format once it was read, or `None` if there is none.
    #[must_use]
    pub fn record(self, value: &Value) -> Option<Vec<u8>> {
        match (self, value) {
            (Format::Csv, value) if !value.is_object() => None,
            (Format::Lines, Value::String(line)) => Some(line.clone().into_bytes()),
            _ => Some(value.to_string().into_bytes()),
        }
    }
}

/// As the pipeline file writes it.
impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Format::Jsonl => "jsonl",
            Format::Csv => "csv",
            Format::Lines => "lines",
        })
    }
}
