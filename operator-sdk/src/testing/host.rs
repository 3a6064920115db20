//! What the host does around a call: takes fields out of values before it, and puts written fields into values after it.

use std::borrow::Cow;

use crate::{
    Error, Result,
    columns::{Batch, Column, ExactInteger, Failure, FieldColumn, FieldType, FieldValues, Outputs, position},
    fields::{FieldValue, OutputMode, Read, Schema, push_bit, push_none},
    json::{Kind, Value},
};

/// The events of a batch that an operator is handed, and those that it is not.
pub(super) struct Provided {
    pub(super) batch: Batch,
    /// The place of each in the whole batch.
    pub(super) places: Vec<usize>,
    pub(super) refused: Vec<(usize, String)>,
}

/// What an operator of this schema is handed of a batch of values.
pub(super) fn provide(schema: &Schema, all: &Batch) -> Provided {
    let values = all.values.as_ref().expect("a test gives values");
    let mut integers = Vec::new();
    let mut provided = Provided {
        batch: Batch {
            fields: schema
                .reads
                .iter()
                .map(|read| FieldColumn::empty(read.field_type))
                .collect(),
            values: schema.raw.then(Column::default),
            ..Batch::default()
        },
        places: Vec::new(),
        refused: Vec::new(),
    };
    for (place, value) in values.iter().enumerate() {
        let mut row = schema
            .reads
            .iter()
            .map(|read| FieldColumn::empty(read.field_type))
            .collect::<Vec<_>>();
        let extracted = row
            .iter_mut()
            .zip(&schema.reads)
            .try_for_each(|(column, read)| extract(value, read, column, 0).map(drop));
        if let Err(error) = extracted {
            provided.refused.push((place, error.into_message()));
            continue;
        }
        let events = provided.places.len();
        for (field, (column, read)) in provided.batch.fields.iter_mut().zip(&schema.reads).enumerate() {
            let integer = extract(value, read, column, events).expect("it was extracted before");
            let (field, event) = (position(field), position(events));
            integers.extend(integer.map(|value| ExactInteger { field, event, value }));
        }
        provided.batch.times.push(all.times[place]);
        provided.batch.keys.push(all.keys.get(place));
        if let Some(values) = &mut provided.batch.values {
            values.push(value);
        }
        provided.places.push(place);
    }
    integers.sort_by_key(|integer| (integer.field, integer.event));
    provided.batch.integers = integers;
    provided
}

/// Appends what is read of a value. Gives the integer itself where it is read exactly and an f64 does not hold it.
fn extract(value: &[u8], read: &Read, column: &mut FieldColumn, events: usize) -> Result<Option<i64>> {
    let [place] = dirigo_json::locate(value, [&read.field])?;
    let is_null = |value: Value<'_>| value.kind() == Kind::Null && read.field_type != FieldType::Json;
    if read.is_optional && place.value().is_none_or(is_null) {
        push_none(column, events);
        return Ok(None);
    }
    match read.field_type {
        FieldType::F64 if read.is_exact => {
            let (nearest, integer) = place.exact_number()?;
            Some(nearest).write(column, events)?;
            return Ok(integer);
        }
        FieldType::Boolean => Some(place.truth()?).write(column, events),
        FieldType::S64 => Some(place.integer()?).write(column, events),
        FieldType::F64 => Some(place.number()?).write(column, events),
        FieldType::Text => Some(place.text()?.into_owned()).write(column, events),
        FieldType::Bytes => Err(Error::new(
            "a test cannot hand over bytes: use the text of a JSON value",
        )),
        FieldType::Json => {
            let text = place.required()?.as_bytes();
            if let FieldValues::Json(values) = &mut column.values {
                values.push(text);
            }
            if let Some(validity) = &mut column.validity {
                push_bit(validity, events, true);
            }
            Ok(())
        }
    }?;
    Ok(None)
}

/// The values of outputs, of which written fields become part.
pub(super) fn values(schema: &Schema, batch: &Batch, provided: &Provided, outputs: &mut Outputs) -> Column {
    if schema.outputs == OutputMode::Raw {
        return outputs.values.take().unwrap_or_default();
    }
    let all = batch.values.as_ref();
    let fields: Vec<_> = schema.writes.iter().map(|written| &written.field).collect();
    let (mut values, mut kept) = (Column::default(), Vec::new());
    for (index, &origin) in outputs.origins.iter().enumerate() {
        let document: Cow<'_, [u8]> = match schema.outputs {
            OutputMode::Extend => {
                let place = provided.places[origin as usize];
                all.expect("a test gives values").get(place).into()
            }
            _ => b"{}".as_slice().into(),
        };
        let written = texts(&outputs.fields, index);
        let mut edited = Vec::new();
        let result = match written {
            Ok(texts) => dirigo_json::write_edited(&document, &fields, &mut edited, |field, buffer| {
                buffer.extend_from_slice(texts[field].as_bytes());
            })
            .map_err(Error::from),
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => {
                values.push(&edited);
                kept.push(origin);
            }
            Err(error) => outputs.failures.push(Failure {
                index: origin,
                message: error.into_message(),
            }),
        }
    }
    outputs.failures.sort_by_key(|failure| failure.index);
    outputs.origins = kept;
    values
}

/// The JSON of each field of an output.
fn texts(fields: &[FieldColumn], index: usize) -> Result<Vec<String>> {
    use FieldValues::{Boolean, Bytes, F64, Json, S64, Text};
    let text = |column: &FieldColumn| {
        if !column.is_valid(index) {
            return Ok("null".to_owned());
        }
        Ok(match &column.values {
            F64(values) if !values[index].is_finite() => {
                return Err(Error::new(format!(
                    "a written number is {}, which JSON cannot express",
                    values[index]
                )));
            }
            F64(values) => serde_json::json!(values[index]).to_string(),
            S64(values) => values[index].to_string(),
            Boolean(_) => bool::read(column, index)?.to_string(),
            Text(_) => serde_json::json!(String::read(column, index)?).to_string(),
            Bytes(_) => return Err(Error::new("a test cannot show bytes: write the text of a JSON value")),
            Json(values) => String::from_utf8_lossy(values.get(index)).into_owned(),
        })
    };
    fields.iter().map(text).collect()
}

/// A failure of an event that was handed over, at its place in the whole batch.
pub(super) fn at_place(provided: &Provided, failures: Vec<Failure>) -> Vec<(usize, String)> {
    let mut all = provided.refused.clone();
    all.extend(
        failures
            .into_iter()
            .map(|failure| (provided.places[failure.index as usize], failure.message)),
    );
    all.sort_by_key(|(place, _)| *place);
    all
}

/// The part of a batch at these places.
pub(super) fn part(batch: &Batch, kept: &[usize], schema: &Schema) -> Batch {
    let values = batch.values.as_ref().expect("a test gives values");
    provide(
        schema,
        &Batch {
            times: kept.iter().map(|&place| batch.times[place]).collect(),
            keys: kept.iter().map(|&place| batch.keys.get(place)).collect(),
            values: Some(kept.iter().map(|&place| values.get(place)).collect()),
            ..Batch::default()
        },
    )
    .batch
}
