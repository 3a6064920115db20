//! Which events lack what an operator reads.

use std::sync::Arc;

use dirigo_ground::batch::Batch;
use dirigo_ground::call::Rejection;
use dirigo_ground::fields::{FieldColumn, FieldType, Read};
use dirigo_json::{LongInteger, locate};

use crate::extract::{self, Wanted};

/// The fields that are read of events, and not known of these yet.
#[must_use]
pub fn lacking(batch: &Batch, reads: &[Read]) -> Vec<Wanted> {
    let unknown = |read: &&Read| batch.fields.get(&read.field, read.field_type).is_none();
    let mut wanted: Vec<Wanted> = Vec::new();
    for read in reads.iter().filter(unknown) {
        let is_wanted = |(field, field_type): &Wanted| *field == read.field && *field_type == read.field_type;
        if !wanted.iter().any(is_wanted) {
            wanted.push((read.field.clone(), read.field_type));
        }
    }
    wanted
}

/// The events that lack a field that is read of them, or have something else there, by rising index. Says why of an event that is alone: the
/// host tries each failing event of a larger batch again by itself.
///
/// # Panics
/// When a field is [lacking].
#[must_use]
pub fn failures(batch: &Batch, reads: &[Read]) -> Vec<Rejection> {
    let columns: Vec<(&Read, &Arc<FieldColumn>)> = reads
        .iter()
        .map(|read| {
            let column = batch.fields.get(&read.field, read.field_type);
            (read, column.expect("what is read is known of a batch by then"))
        })
        .filter(|(read, column)| {
            let lacks_values = !read.is_optional && column.validity.is_some();
            lacks_values || !column.mistyped.is_empty() || (read.is_exact && !column.rounded.is_empty())
        })
        .collect();
    if columns.is_empty() {
        return Vec::new();
    }
    let fails = |(read, column): &&(&Read, &Arc<FieldColumn>), event: usize, index: u32| {
        let is_missing = !read.is_optional && !column.is_valid(event);
        let is_too_long = read.is_exact && column.rounded_at(index) == Some(LongInteger::Longer);
        is_missing || is_too_long || column.mistyped.binary_search(&index).is_ok()
    };
    let mut failures = Vec::new();
    for (index, event) in (0_u32..).zip(0..batch.len()) {
        if let Some((read, _)) = columns.iter().find(|column| fails(column, event, index)) {
            failures.push(Rejection {
                index,
                message: if batch.len() == 1 {
                    reason(&batch.values.get(event), read)
                } else {
                    String::new()
                },
            });
        }
    }
    failures
}

/// Why a value does not have what is read of it.
#[cold]
fn reason(value: &[u8], read: &Read) -> String {
    let place = match locate(value, [&*read.field]) {
        Ok([place]) => place,
        Err(error) => return error.message().to_owned(),
    };
    let refused = match read.field_type {
        FieldType::Boolean => place.truth().err(),
        FieldType::S64 => place.integer().err(),
        FieldType::F64 if read.is_exact => place.exact_number().err(),
        FieldType::F64 => place.number().err(),
        FieldType::Text => place.text().err(),
        FieldType::Json => place.required().err(),
        FieldType::Bytes => match place.text() {
            Ok(_) => match place.value().and_then(extract::bytes) {
                Some(_) => None,
                None => return format!("field `{}` is no base64, which stands for bytes", read.field),
            },
            Err(error) => Some(error),
        },
    };
    match refused {
        Some(error) => error.message().to_owned(),
        // The bytes have changed since they were read, which nothing does.
        None => format!("field `{}` is no {}", read.field, read.field_type),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Extraction;
    use dirigo_ground::batch::Column;
    use dirigo_ground::fields::Fields;
    use dirigo_ground::lineage::Ticket;
    use dirigo_json::{Field, Kind};

    fn failures_of(documents: &[&str], reads: &[Read]) -> Vec<(u32, String)> {
        let mut values = Column::default();
        documents.iter().for_each(|document| values.push(document.as_bytes()));
        let mut batch = Batch {
            times: Arc::new(vec![0; documents.len()]),
            keys: Arc::new(Column::of_empty(documents.len())),
            positions: Arc::new((0..documents.len() as u64).collect()),
            origin: Ticket::detached().into(),
            fields: Fields::default(),
            values: values.into(),
        };
        let mut extraction = Extraction::of(lacking(&batch, reads));
        extraction.extend(&batch.values.to_column(), 0..batch.len());
        batch.fields = Fields::new(extraction.finish());
        assert!(lacking(&batch, reads).is_empty());
        let failing = failures(&batch, reads);
        let alone = |failure: &Rejection| {
            let event = failure.index as usize;
            let message = failures(&batch.slice(event..event + 1), reads).remove(0).message;
            (failure.index, message)
        };
        failing.iter().map(alone).collect()
    }

    fn read(name: &str, field_type: FieldType, is_optional: bool) -> Read {
        Read {
            field: Arc::new(Field::new(name).unwrap()),
            field_type,
            is_optional,
            is_exact: false,
        }
    }

    #[test]
    fn what_is_required_is_there_and_what_is_there_is_of_its_type() {
        let reads = [read("a", FieldType::F64, false), read("b", FieldType::Text, true)];
        let found = failures_of(
            &[
                r#"{"a":1,"b":"x"}"#,
                r#"{"a":1}"#,
                r#"{"a":1,"b":null}"#,
                r#"{"b":"x"}"#,
                r#"{"a":"1"}"#,
                r#"{"a":1,"b":2}"#,
                "{",
            ],
            &reads,
        );
        let expected = [
            (3, "field `a` is missing"),
            (4, "field `a` is the string \"1\", not a number"),
            (5, "field `b` is the number 2, not a string"),
            (6, "the event is no JSON: EOF while parsing an object at byte 1"),
        ];
        assert_eq!(found, expected.map(|(index, message)| (index, message.to_owned())));
    }

    #[test]
    fn what_is_wrong_is_said_of_each_type() {
        for (field_type, document, message) in [
            (
                FieldType::S64,
                r#"{"v":1.5}"#,
                "field `v` is the number 1.5, not an integer",
            ),
            (
                FieldType::S64,
                r#"{"v":9223372036854775808}"#,
                "field `v` is out of range: 9223372036854775808",
            ),
            (FieldType::F64, r#"{"v":1e400}"#, "field `v` is out of range: 1e400"),
            (
                FieldType::Boolean,
                r#"{"v":1}"#,
                "field `v` is the number 1, not true or false",
            ),
            (
                FieldType::Bytes,
                r#"{"v":"?"}"#,
                "field `v` is no base64, which stands for bytes",
            ),
            (FieldType::Json, "{}", "field `v` is missing"),
            (FieldType::F64, r#"{"v":null}"#, "field `v` is null, not a number"),
        ] {
            let found = failures_of(&[document], &[read("v", field_type, false)]);
            assert_eq!(found, [(0, message.to_owned())], "{document} as {field_type}");
        }
    }

    #[test]
    fn an_integer_that_neither_type_holds_is_lacking_where_it_is_read_exactly() {
        let nearest = [read("v", FieldType::F64, false)];
        let exact = nearest.clone().map(|read| Read { is_exact: true, ..read });
        let documents = [
            r#"{"v":9007199254740993}"#,
            r#"{"v":18446744073709551615}"#,
            r#"{"v":1e300}"#,
            r#"{"v":"x"}"#,
        ];
        let too_long = "field `v` is the integer 18446744073709551615, which neither f64 nor s64 holds";
        let no_number = "field `v` is the string \"x\", not a number";
        assert_eq!(failures_of(&documents, &nearest), [(3, no_number.to_owned())]);
        assert_eq!(
            failures_of(&documents, &exact),
            [(1, too_long.to_owned()), (3, no_number.to_owned())]
        );
    }

    #[test]
    fn an_operator_that_reads_nothing_takes_anything() {
        assert!(failures_of(&["no JSON"], &[]).is_empty());
    }

    #[test]
    fn json_may_be_null_where_it_is_required() {
        assert!(failures_of(&[r#"{"v":null}"#], &[read("v", FieldType::Json, false)]).is_empty());
        assert_eq!(
            Kind::Null,
            locate(br#"{"v":null}"#, [&Field::new("v").unwrap()]).unwrap()[0]
                .value()
                .unwrap()
                .kind()
        );
    }
}
