//! CSV records as events.
//!
//! Owns the header: which columns there are, and what each record has to have. Keys, times and the fields that operators read are taken from
//! the cells themselves. Does not know how a record becomes a JSON object.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::cells::{CellRules, mistyped, to_cell};
use super::csv::{FIELDS_MAX, Fields};
use super::encoder::CsvEncoder;
use super::extract::{Extracted, finds_nothing, is_null, to_key as key_of, to_time as time_of};
use super::json::{Value, is_number};
use super::text::Reading;
use super::time;
use dirigo_connect::{Pointer, TimeField};
use dirigo_fields::{Cell, Extraction, Wanted};
use dirigo_ground::fields::FieldType;
use dirigo_json::Field;
use dirigo_pipeline::suggestion;

/// The columns of a file.
#[derive(Debug)]
pub(super) struct CsvTable {
    names: Vec<String>,
    /// Whether a record like the header is the header once more: not where numbers are among the names, as in a file whose
    /// first record is none.
    is_known_again: bool,
    key: Option<CsvColumn>,
    time: Option<(CsvColumn, TimeField)>,
    encoder: Arc<CsvEncoder>,
    /// The columns of which a cell may be of another type than its column.
    checked: Vec<usize>,
    /// The fields that were wanted last, and where they are.
    bound: Vec<(Arc<Field>, Option<Bound>)>,
}

/// The column of the key or of the time.
#[derive(Debug)]
struct CsvColumn {
    index: usize,
    pointer: Pointer,
    /// The type that `fields` gives it: what operators read it as changes neither keys nor times.
    given: Option<FieldType>,
}

impl CsvTable {
    /// The table with this header.
    ///
    /// # Errors
    /// What is wrong with the header, or that it lacks the column of the key, of the time, or one that is given a type.
    pub(super) fn new(header: Fields<'_>, reading: &Reading) -> Result<Self, String> {
        let Reading {
            extract, cells: rules, ..
        } = reading;
        if header.len() > FIELDS_MAX {
            return Err(format!(
                "the header has {} columns, more than {FIELDS_MAX}",
                header.len()
            ));
        }
        let mut names: Vec<String> = Vec::with_capacity(header.len());
        let mut seen = HashSet::with_capacity(header.len());
        for name in header.iter() {
            let name = String::from_utf8(name.into_owned())
                .map_err(|_| format!("column {} has a name not in UTF-8", names.len() + 1))?;
            if !seen.insert(name.clone()) {
                return Err(match names.iter().position(|before| *before == name) {
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
            names.push(name);
        }
        if let [only] = names.as_slice()
            && let Some(separator) = [';', '\t', '|'].into_iter().find(|&separator| only.contains(separator))
        {
            return Err(format!(
                "the header {only:?} is one column: fields are separated by commas, not by {separator:?}"
            ));
        }
        let given = given_types(&names, rules)?;
        let is_checked = |index: &usize| given[*index].is_some_and(|field_type| field_type != FieldType::Text);
        let checked = (0..names.len()).filter(is_checked).collect();
        let is_text = text_columns(&names, &reading.reads);
        let types = given
            .iter()
            .zip(is_text)
            .map(|(given, is_text)| given.or(is_text.then_some(FieldType::Text)))
            .collect();
        let encoder = CsvEncoder::new(&names, types, rules.nulls.clone());
        Ok(Self {
            is_known_again: !names.iter().any(|name| is_number(name.as_bytes())),
            key: extract
                .key_pointer()
                .map(|pointer| column(&names, &given, pointer))
                .transpose()?,
            time: extract
                .time_field()
                .map(|time| Ok::<_, String>((column(&names, &given, &time.pointer)?, time.clone())))
                .transpose()?,
            encoder: reading.last_encoder.or(encoder),
            checked,
            bound: Vec::new(),
            names,
        })
    }

    /// The key and the time of a record, whose cells `fields` gets of those columns that it wants. A record that is refused leaves nothing.
    ///
    /// # Errors
    /// The reason for which the record is refused: it has other fields than the header, or not in UTF-8, or no key or
    /// time, or a cell that is not of its column's type.
    pub(super) fn take<'a>(&mut self, record: Fields<'a>, fields: &mut Extraction) -> Result<Extracted<'a>, String> {
        self.bind(fields);
        let encoder = &*self.encoder;
        if record.len() != self.names.len() {
            return Err(format!(
                "the record has {} fields, the header has {}",
                record.len(),
                self.names.len()
            ));
        }
        if !is_utf8(record.record()) {
            let is_flawed = |index: &usize| !is_utf8(record.written(*index));
            let index = (0..record.len()).find(is_flawed).expect("commas are whole in UTF-8");
            return Err(format!("field `{}` is not UTF-8", self.names[index]));
        }
        for &index in &self.checked {
            let written = record.written(index);
            if let (None, Some(field_type)) = (encoder.cell(index, written), encoder.column_type(index)) {
                return Err(mistyped(&self.names[index], written, field_type));
            }
        }
        let found = Extracted {
            key: match &self.key {
                Some(column) => to_key(&column.pointer, column.cell(encoder, record))?,
                None => Cow::Borrowed(b"".as_slice()),
            },
            time: match &self.time {
                Some((column, time)) => Some(to_time(time, column.cell(encoder, record))?),
                None => None,
            },
        };
        fields.push_cells(|number| self.bound[number].1.as_ref()?.cell(encoder, record));
        Ok(found)
    }

    /// Finds the columns of the fields that are wanted.
    #[inline]
    fn bind(&mut self, fields: &Extraction) {
        let wanted = fields.fields();
        let is_bound = wanted.len() == self.bound.len()
            && wanted
                .zip(&self.bound)
                .all(|(field, (bound, _))| Arc::ptr_eq(field, bound));
        if !is_bound {
            self.bound = fields
                .fields()
                .map(|field| (field.clone(), self.bound_to(field)))
                .collect();
        }
    }

    fn bound_to(&self, field: &Field) -> Option<Bound> {
        let (name, below) = field.split();
        let index = self.names.iter().position(|other| other == name)?;
        Some(Bound { index, below })
    }

    /// Whether the record is the header once more, as where files were joined.
    #[inline]
    pub(super) fn is_header(&self, fields: Fields<'_>) -> bool {
        self.is_known_again
            && fields.len() == self.names.len()
            && fields
                .iter()
                .zip(&self.names)
                .all(|(field, name)| *field == *name.as_bytes())
    }

    /// What makes payloads of its records.
    pub(super) fn encoder(&self) -> &Arc<CsvEncoder> {
        &self.encoder
    }
}

fn is_utf8(bytes: &[u8]) -> bool {
    bytes.is_ascii() || str::from_utf8(bytes).is_ok()
}

impl CsvColumn {
    #[inline]
    fn cell<'a>(&self, encoder: &CsvEncoder, record: Fields<'a>) -> Cell<'a> {
        to_cell(record.written(self.index), self.given, encoder.nulls()).expect("each cell is of its type")
    }
}

/// Where a field of events is in a record.
#[derive(Debug)]
struct Bound {
    index: usize,
    /// Where in the value of the cell.
    below: Option<Field>,
}

impl Bound {
    #[inline]
    fn cell<'a>(&self, encoder: &CsvEncoder, record: Fields<'a>) -> Option<Cell<'a>> {
        let cell = encoder.checked_cell(self.index, record);
        match &self.below {
            None => Some(cell),
            Some(below) => within(&cell, below),
        }
    }
}

/// A field of the value that a cell holds.
fn within(cell: &Cell<'_>, below: &Field) -> Option<Cell<'static>> {
    let Cell::Json(json) = cell else { return None };
    let [value] = dirigo_json::find(json, [below]).expect("it was found to be JSON");
    Some(Cell::Json(value?.as_bytes().to_vec().into()))
}

fn column(names: &[String], given: &[Option<FieldType>], pointer: &Pointer) -> Result<CsvColumn, String> {
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
        given: given[index],
    })
}

/// The types that `fields` gives to the columns.
///
/// # Errors
/// When a type is given to a column that the header does not have.
fn given_types(names: &[String], rules: &CellRules) -> Result<Vec<Option<FieldType>>, String> {
    let mut types = vec![None; names.len()];
    for (name, column_type) in &rules.types {
        let Some(index) = names.iter().position(|other| other == name) else {
            let known: Vec<&str> = names.iter().map(String::as_str).collect();
            let help = suggestion(name, &known, "the columns are");
            return Err(format!(
                "`fields` gives a type to column `{name}`, and there is none: {help}"
            ));
        };
        types[index] = Some((*column_type).into());
    }
    Ok(types)
}

/// Which columns are read as text, and as nothing else: a read of what lies within a cell is one of JSON.
fn text_columns(names: &[String], reads: &[Wanted]) -> Vec<bool> {
    let reads: Vec<(&str, bool)> = reads
        .iter()
        .map(|(field, field_type)| {
            let (name, below) = field.split();
            (name, below.is_none() && *field_type == FieldType::Text)
        })
        .collect();
    let is_text = |name: &String| {
        let mut of_column = reads.iter().filter(|(read, _)| read == name).peekable();
        of_column.peek().is_some() && of_column.all(|(_, is_text)| *is_text)
    };
    names.iter().map(is_text).collect()
}

fn to_key<'a>(pointer: &Pointer, cell: Cell<'a>) -> Result<Cow<'a, [u8]>, String> {
    match cell {
        Cell::Null => Err(is_null(pointer)),
        Cell::Boolean(truth) => Ok(Cow::Borrowed(if truth { b"true" } else { b"false" })),
        Cell::Number(text) | Cell::Text(text) => Ok(text),
        Cell::Json(json) => key_of(pointer, Some(Value(&json))).map(|key| Cow::Owned(key.into_owned())),
    }
}

fn to_time(time: &TimeField, cell: Cell<'_>) -> Result<i64, String> {
    match cell {
        Cell::Null => Err(is_null(&time.pointer)),
        Cell::Boolean(truth) => time_of(time, Some(Value(if truth { b"true" } else { b"false" }))),
        Cell::Number(number) => time::from_number(time, &number),
        Cell::Text(text) => time::from_text(time, &text),
        Cell::Json(json) => time_of(time, Some(Value(&json))),
    }
}

#[cfg(test)]
mod tests;
