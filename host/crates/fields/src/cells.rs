//! Out of the cells of a table into columns, without JSON between.
//!
//! Owns what a cell is in JSON. A column gets of a cell what it would get of that JSON. Knows nothing of how tables are written.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::extract::{Extraction, Growing};
use dirigo_ground::fields::FieldValues;
use dirigo_ground::json::write_text;
use dirigo_json::Value;

/// What a cell of a table holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// Nothing.
    Null,
    /// True or false.
    Boolean(bool),
    /// A number, as JSON writes it.
    Number(Cow<'a, [u8]>),
    /// UTF-8.
    Text(Cow<'a, [u8]>),
    /// A JSON value.
    Json(Cow<'a, [u8]>),
}

impl Cell<'_> {
    /// Appends it as a JSON value.
    pub fn write(&self, buffer: &mut Vec<u8>) {
        match self {
            Self::Text(text) => write_text(text, buffer),
            other => buffer.extend_from_slice(other.json().unwrap_or_default()),
        }
    }

    /// The JSON value that it is, except of a text.
    fn json(&self) -> Option<&[u8]> {
        match self {
            Self::Null => Some(b"null"),
            Self::Boolean(true) => Some(b"true"),
            Self::Boolean(false) => Some(b"false"),
            Self::Number(json) | Self::Json(json) => Some(json),
            Self::Text(_) => None,
        }
    }
}

impl Extraction {
    /// Takes the fields out of the cells of one event: `cell` gives what the field of this number holds, and `None` where the event has no
    /// such field.
    #[inline]
    pub fn push_cells<'c>(&mut self, mut cell: impl FnMut(usize) -> Option<Cell<'c>>) {
        self.events += 1;
        for (number, column) in self.columns.iter_mut().enumerate() {
            match cell(number) {
                Some(Cell::Text(text)) => column.push_text(&text),
                cell => column.push(cell.as_ref().and_then(Cell::json).map(Value::new)),
            }
        }
    }
}

impl Growing {
    #[inline]
    fn push_text(&mut self, text: &[u8]) {
        match &mut self.values {
            FieldValues::Text(values) => values.push(text),
            FieldValues::Json(values) => values.push_with(|buffer| write_text(text, buffer)),
            FieldValues::Bytes(values) => match BASE64_STANDARD.decode(text) {
                Ok(bytes) => values.push(&bytes),
                Err(_) => return self.push_mistyped(),
            },
            FieldValues::Boolean(_) | FieldValues::S64(_) | FieldValues::F64(_) => return self.push_mistyped(),
        }
        if let Some(validity) = &mut self.validity {
            validity.push(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use dirigo_ground::batch::Column;
    use dirigo_ground::fields::FieldType;
    use dirigo_json::Field;

    #[test]
    fn a_column_gets_of_a_cell_what_it_gets_of_its_json() {
        let text = |text: &'static str| Cell::Text(text.as_bytes().into());
        let cells = [
            Some(Cell::Null),
            Some(Cell::Boolean(true)),
            Some(Cell::Number(b"1.50".into())),
            Some(Cell::Number(b"1e400".into())),
            Some(Cell::Number(b"9007199254740993".into())),
            Some(text("")),
            Some(text("a\"\\\n\u{e9}")),
            Some(text("AAH/")),
            Some(Cell::Json(br#"{"a":[1]}"#.into())),
            Some(Cell::Json(b"null".into())),
            Some(Cell::Json(br#""AAH/""#.into())),
            None,
            Some(Cell::Boolean(false)),
        ];
        let types = [
            FieldType::Boolean,
            FieldType::S64,
            FieldType::F64,
            FieldType::Text,
            FieldType::Bytes,
            FieldType::Json,
        ];
        let wanted = || {
            types
                .map(|field_type| (Arc::new(Field::new("v").unwrap()), field_type))
                .to_vec()
        };
        let (mut direct, mut scanned) = (Extraction::of(wanted()), Extraction::of(wanted()));
        for cell in &cells {
            direct.push_cells(|_| cell.clone());
            let mut document = b"{".to_vec();
            if let Some(cell) = cell {
                document.extend_from_slice(br#""v":"#);
                cell.write(&mut document);
            }
            document.push(b'}');
            let mut values = Column::default();
            values.push(&document);
            scanned.extend(&values, 0..1);
        }
        assert_eq!(direct.events(), cells.len());
        for (direct, scanned) in direct.finish().iter().zip(scanned.finish()) {
            assert_eq!(direct.column, scanned.column);
        }
    }
}
