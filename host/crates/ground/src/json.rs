//! Out of columns into JSON: how fields that were written become part of values.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::fields::{FieldColumn, FieldValues, NamedColumn};
use dirigo_json::{Field, is_json};

/// Why an output cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwritable(pub String);

/// Appends the document with the written fields of event `index` in it, every other byte as it was. Nothing is appended where that
/// cannot be.
///
/// # Errors
/// When a field cannot be written.
pub fn write_extended(
    document: &[u8],
    columns: &[NamedColumn],
    index: usize,
    buffer: &mut Vec<u8>,
) -> Result<(), Unwritable> {
    check(columns, index)?;
    let fields: Vec<&Field> = columns.iter().map(|named| &*named.field).collect();
    dirigo_json::write_edited(document, &fields, buffer, |number, buffer| {
        write_value(&columns[number].column, index, buffer);
    })
    .map_err(|error| Unwritable(error.message().to_owned()))
}

/// Appends an object of the written fields of event `index`. Nothing is appended where that cannot be.
///
/// # Errors
/// When a field cannot be written.
pub fn write_replaced(columns: &[NamedColumn], index: usize, buffer: &mut Vec<u8>) -> Result<(), Unwritable> {
    check(columns, index)?;
    buffer.push(b'{');
    for (number, NamedColumn { field, column }) in columns.iter().enumerate() {
        let label = field.label();
        buffer.extend_from_slice(if number == 0 { &label[1..] } else { label });
        write_value(column, index, buffer);
    }
    buffer.push(b'}');
    Ok(())
}

/// Refuses what JSON cannot express.
///
/// # Errors
/// When a field of event `index` cannot be written, whatever the document.
pub fn check(columns: &[NamedColumn], index: usize) -> Result<(), Unwritable> {
    for NamedColumn { field, column } in columns {
        if !column.is_valid(index) {
            continue;
        }
        let problem = match &column.values {
            FieldValues::F64(values) if !values[index].is_finite() => {
                format!("{}, which JSON cannot express", values[index])
            }
            FieldValues::Json(values) if !is_json(values.get(index)) => "not JSON, and is declared to be".to_owned(),
            _ => continue,
        };
        return Err(Unwritable(format!("the output's field `{field}` is {problem}")));
    }
    Ok(())
}

const WRITES: &str = "memory takes what is written";

/// Appends a text as a JSON string. What is not UTF-8 in it becomes U+FFFD.
pub fn write_text(text: &[u8], buffer: &mut Vec<u8>) {
    let is_escaped = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    if text.is_ascii() && !text.iter().any(is_escaped) {
        buffer.push(b'"');
        buffer.extend_from_slice(text);
        buffer.push(b'"');
    } else {
        serde_json::to_writer(buffer, &String::from_utf8_lossy(text)).expect(WRITES);
    }
}

/// Appends the value of event `index`: `null` where it has none.
fn write_value(column: &FieldColumn, index: usize, buffer: &mut Vec<u8>) {
    if !column.is_valid(index) {
        buffer.extend_from_slice(b"null");
        return;
    }
    match &column.values {
        FieldValues::F64(values) => serde_json::to_writer(buffer, &values[index]).expect(WRITES),
        FieldValues::S64(values) => serde_json::to_writer(buffer, &values[index]).expect(WRITES),
        FieldValues::Boolean(values) => serde_json::to_writer(buffer, &values.get(index)).expect(WRITES),
        FieldValues::Text(values) => write_text(values.get(index), buffer),
        FieldValues::Bytes(values) => {
            serde_json::to_writer(buffer, &BASE64_STANDARD.encode(values.get(index))).expect(WRITES);
        }
        FieldValues::Json(values) => buffer.extend_from_slice(values.get(index)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::column::Column;
    use crate::fields::Bits;

    fn written(name: &str, values: FieldValues) -> NamedColumn {
        with_validity(name, values, None)
    }

    fn with_validity(name: &str, values: FieldValues, validity: Option<Bits>) -> NamedColumn {
        NamedColumn {
            field: Arc::new(Field::new(name).unwrap()),
            column: Arc::new(FieldColumn {
                validity,
                ..FieldColumn::of(values)
            }),
        }
    }

    fn column(item: &[u8]) -> Column {
        let mut column = Column::default();
        column.push(item);
        column
    }

    fn extended(document: &str, columns: &[NamedColumn]) -> Result<String, Unwritable> {
        let mut buffer = Vec::new();
        write_extended(document.as_bytes(), columns, 0, &mut buffer)?;
        Ok(String::from_utf8(buffer).unwrap())
    }

    #[test]
    fn every_type_is_written_as_json_has_it() {
        let all = [
            written("f", FieldValues::F64(vec![68.0])),
            written("i", FieldValues::S64(vec![i64::MAX])),
            written("t", FieldValues::Text(column("a\"é\n".as_bytes()))),
            written("b", FieldValues::Boolean(Bits::of(1, true))),
            written("y", FieldValues::Bytes(column(&[0, 1, 255]))),
            written("j", FieldValues::Json(column(b"[1, 2]"))),
            with_validity("none", FieldValues::S64(vec![7]), Some(Bits::of(1, false))),
        ];
        let expected = r#""f":68.0,"i":9223372036854775807,"t":"a\"é\n","b":true,"y":"AAH/","j":[1, 2],"none":null}"#;
        assert_eq!(extended("{}", &all).unwrap(), format!("{{{expected}"));
        let mut buffer = Vec::new();
        write_replaced(&all, 0, &mut buffer).unwrap();
        assert_eq!(String::from_utf8(buffer).unwrap(), format!("{{{expected}"));
    }

    #[test]
    fn what_json_has_no_word_for_is_refused_and_nothing_is_written() {
        let nan = extended("{}", &[written("f", FieldValues::F64(vec![f64::NAN]))]);
        assert_eq!(
            nan.unwrap_err().0,
            "the output's field `f` is NaN, which JSON cannot express"
        );
        let no_json = extended("{}", &[written("j", FieldValues::Json(column(b"1}")))]);
        assert_eq!(
            no_json.unwrap_err().0,
            "the output's field `j` is not JSON, and is declared to be"
        );
        let nowhere = extended("[]", &[written("f", FieldValues::F64(vec![1.0]))]);
        assert_eq!(nowhere.unwrap_err().0, "there is no object that could hold field `f`");
    }
}
