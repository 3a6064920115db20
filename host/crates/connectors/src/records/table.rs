//! CSV records as JSON objects.
//!
//! Owns the header and what it makes of fields: text that is a JSON number becomes that number, an empty field null,
//! and everything else a string. Keys and times are taken from the fields themselves.

use std::borrow::Cow;
use std::collections::HashSet;

use super::csv::{FIELDS_MAX, Fields};
use super::extract::{Extract, Extracted, finds_nothing, is_null};
use super::json::{is_number, plain_length};
use super::time;
use dirigo_connect::{Pointer, TimeField};

/// The columns of a file.
#[derive(Debug)]
pub(super) struct CsvTable {
    names: Vec<String>,
    /// Whether a record like the header is the header once more: not where numbers are among the names, as in a file whose
    /// first record is none.
    is_known_again: bool,
    /// What precedes each value in the JSON object: `{"first":`, `,"second":`.
    prefixes: Vec<Vec<u8>>,
    key: Option<CsvColumn>,
    time: Option<(CsvColumn, TimeField)>,
}

#[derive(Debug)]
struct CsvColumn {
    index: usize,
    pointer: Pointer,
}

impl CsvTable {
    /// The table with this header.
    ///
    /// # Errors
    /// What is wrong with the header, or that it lacks the column of the key or the time.
    pub(super) fn new(header: Fields<'_>, extract: &Extract) -> Result<Self, String> {
        if header.len() > FIELDS_MAX {
            return Err(format!(
                "the header has {} columns, more than {FIELDS_MAX}",
                header.len()
            ));
        }
        let mut names: Vec<String> = Vec::with_capacity(header.len());
        let mut seen = HashSet::with_capacity(header.len());
        for name in header.iter() {
            let name =
                str::from_utf8(name).map_err(|_| format!("column {} has a name not in UTF-8", names.len() + 1))?;
            if !seen.insert(name) {
                return Err(match names.iter().position(|before| before == name) {
                    Some(before) if name.is_empty() => {
                        format!(
                            "columns {} and {} of the header have no name",
                            before + 1,
                            names.len() + 1
                        )
                    }
                    _ => format!("the header names column `{name}` twice"),
                });
            }
            names.push(name.to_owned());
        }
        if let [only] = names.as_slice()
            && let Some(separator) = [';', '\t', '|'].into_iter().find(|&separator| only.contains(separator))
        {
            return Err(format!(
                "the header {only:?} is one column: fields are separated by commas, not by {separator:?}"
            ));
        }
        Ok(Self {
            is_known_again: !names.iter().any(|name| is_number(name.as_bytes())),
            key: extract
                .key_pointer()
                .map(|pointer| column(&names, pointer))
                .transpose()?,
            time: extract
                .time_field()
                .map(|time| Ok::<_, String>((column(&names, &time.pointer)?, time.clone())))
                .transpose()?,
            prefixes: names
                .iter()
                .enumerate()
                .map(|(index, name)| prefix(index, name))
                .collect(),
            names,
        })
    }

    /// The key and the time of a record.
    ///
    /// # Errors
    /// The reason for which the record is refused: it has other fields than the header, or not in UTF-8, or no key or
    /// time.
    pub(super) fn find<'a>(&self, fields: Fields<'a>) -> Result<Extracted<'a>, String> {
        if fields.len() != self.names.len() {
            return Err(format!(
                "the record has {} fields, the header has {}",
                fields.len(),
                self.names.len()
            ));
        }
        if let Some(index) = fields.iter().position(|field| str::from_utf8(field).is_err()) {
            return Err(format!("field `{}` is not UTF-8", self.names[index]));
        }
        Ok(Extracted {
            key: self
                .key
                .as_ref()
                .map_or(Ok(Cow::Borrowed(b"".as_slice())), |column| to_key(column, fields))?,
            time: self
                .time
                .as_ref()
                .map(|(column, time)| to_time(column, time, fields))
                .transpose()?,
        })
    }

    /// Whether the record is the header once more, as where files were joined.
    #[inline]
    pub(super) fn is_header(&self, fields: Fields<'_>) -> bool {
        self.is_known_again
            && fields.len() == self.names.len()
            && fields
                .iter()
                .zip(&self.names)
                .all(|(field, name)| field == name.as_bytes())
    }

    /// Appends a record in which [`find`](Self::find) found no fault, as a JSON object.
    pub(super) fn write(&self, fields: Fields<'_>, json: &mut Vec<u8>) {
        for (prefix, field) in self.prefixes.iter().zip(fields.iter()) {
            json.extend_from_slice(prefix);
            write_value(field, json);
        }
        json.push(b'}');
    }
}

fn column(names: &[String], pointer: &Pointer) -> Result<CsvColumn, String> {
    let index = match pointer.tokens.as_slice() {
        [name] => names.iter().position(|other| other == name),
        _ => None,
    };
    let Some(index) = index else {
        return Err(format!(
            "{} among the columns `{}`",
            finds_nothing(pointer),
            names.join("`, `")
        ));
    };
    Ok(CsvColumn {
        index,
        pointer: pointer.clone(),
    })
}

fn prefix(index: usize, name: &str) -> Vec<u8> {
    let mut prefix = vec![if index == 0 { b'{' } else { b',' }];
    write_string(name.as_bytes(), &mut prefix);
    prefix.push(b':');
    prefix
}

fn to_key<'a>(column: &CsvColumn, fields: Fields<'a>) -> Result<Cow<'a, [u8]>, String> {
    match fields.get(column.index) {
        b"" => Err(is_null(&column.pointer)),
        field => Ok(Cow::Borrowed(field)),
    }
}

fn to_time(column: &CsvColumn, time: &TimeField, fields: Fields<'_>) -> Result<i64, String> {
    match fields.get(column.index) {
        b"" => Err(is_null(&column.pointer)),
        field if is_number(field) => time::from_number(time, field),
        field => time::from_text(time, field),
    }
}

fn write_value(field: &[u8], json: &mut Vec<u8>) {
    match field {
        b"" => json.extend_from_slice(b"null"),
        field if is_number(field) => json.extend_from_slice(field),
        field => write_string(field, json),
    }
}

fn write_string(text: &[u8], json: &mut Vec<u8>) {
    if plain_length(text) == text.len() {
        json.push(b'"');
        json.extend_from_slice(text);
        json.push(b'"');
    } else {
        let text = str::from_utf8(text).expect("fields are written after they were found to be UTF-8");
        serde_json::to_writer(json, text).expect("a vector takes every byte");
    }
}
