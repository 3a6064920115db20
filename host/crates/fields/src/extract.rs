//! Out of JSON into columns.

use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use dirigo_ground::batch::Column;
use dirigo_ground::fields::{Bits, FieldColumn, FieldType, FieldValues, NamedColumn, Rounded};
use dirigo_json::{FIELDS_MAX, Field, Finder, Kind, Value, find};

/// A field that is wanted, and as what.
pub type Wanted = (Arc<Field>, FieldType);

/// Columns that are being filled.
#[derive(Debug, Default)]
pub struct Extraction {
    pub(crate) columns: Vec<Growing>,
    pub(crate) events: usize,
}

/// Takes the fields of extractions out of one value after another, and finds two other places in the same pass.
#[derive(Debug, Default)]
pub struct Pass {
    finder: Finder,
    /// How many of the fields that it finds are for columns.
    columns: usize,
    has: [bool; 2],
}

/// A column that is being filled.
#[derive(Debug)]
pub(crate) struct Growing {
    field: Arc<Field>,
    pub(crate) values: FieldValues,
    pub(crate) validity: Option<Bits>,
    mistyped: Vec<u32>,
    rounded: Vec<Rounded>,
}

impl Extraction {
    /// Columns for these fields.
    #[must_use]
    pub fn of(wanted: Vec<Wanted>) -> Self {
        let columns = wanted.into_iter().map(|(field, field_type)| Growing {
            field,
            values: FieldValues::none_of(field_type),
            validity: None,
            mistyped: Vec::new(),
            rounded: Vec::new(),
        });
        Self {
            columns: columns.collect(),
            events: 0,
        }
    }

    /// Whether no field is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The fields that are wanted.
    #[must_use]
    pub fn fields(&self) -> impl ExactSizeIterator<Item = &Arc<Field>> {
        self.columns.iter().map(|column| &column.field)
    }

    /// Of how many events it has the fields.
    #[must_use]
    pub fn events(&self) -> usize {
        self.events
    }

    /// Takes a value that is not JSON, which has no field.
    pub fn push_unreadable(&mut self) {
        self.events += 1;
        self.columns.iter_mut().for_each(Growing::push_mistyped);
    }

    /// Takes the fields out of the values in `range`.
    pub fn extend(&mut self, values: &Column, range: Range<usize>) {
        self.events += range.len();
        for columns in self.columns.chunks_mut(FIELDS_MAX) {
            match columns.len() {
                1 => extend::<1>(columns, values, range.clone()),
                2 => extend::<2>(columns, values, range.clone()),
                3 => extend::<3>(columns, values, range.clone()),
                4 => extend::<4>(columns, values, range.clone()),
                5..=8 => extend::<8>(columns, values, range.clone()),
                9..=16 => extend::<16>(columns, values, range.clone()),
                _ => extend::<FIELDS_MAX>(columns, values, range.clone()),
            }
        }
    }

    /// The columns, which have as many events each as were taken.
    #[must_use]
    pub fn finish(self) -> Vec<NamedColumn> {
        let columns = self.columns.into_iter().map(|column| NamedColumn {
            field: column.field,
            column: Arc::new(FieldColumn {
                values: column.values,
                validity: column.validity,
                mistyped: column.mistyped,
                rounded: column.rounded,
            }),
        });
        columns.collect()
    }
}

impl Pass {
    /// The most columns that are filled in one pass; more take one of their own.
    const COLUMNS_MAX: usize = FIELDS_MAX - 2;

    /// Looks for the fields of this extraction and for two others from now on.
    pub fn look_for(&mut self, extraction: &Extraction, others: [Option<&Arc<Field>>; 2]) {
        self.columns = match extraction.columns.len() {
            columns @ ..=Self::COLUMNS_MAX => columns,
            _ => 0,
        };
        self.has = others.map(|other| other.is_some());
        let columns = extraction.columns[..self.columns].iter().map(|column| &column.field);
        self.finder.look_for(columns.chain(others.into_iter().flatten()));
    }

    /// Hands what is at the two other places of a value to `accept`, and takes the fields out for the extraction for which it looks if that
    /// accepts them. `None` where the value is not JSON: then nothing is handed over, or taken.
    ///
    /// # Errors
    /// What `accept` says; nothing is taken then.
    #[inline]
    pub fn take<'v, T, E>(
        &mut self,
        value: &'v [u8],
        extraction: &mut Extraction,
        accept: impl FnOnce([Option<Value<'v>>; 2]) -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        match self.finder.len() {
            ..=2 => self.take_some::<2, T, E>(value, extraction, accept),
            3 => self.take_some::<3, T, E>(value, extraction, accept),
            4 => self.take_some::<4, T, E>(value, extraction, accept),
            5..=8 => self.take_some::<8, T, E>(value, extraction, accept),
            9..=16 => self.take_some::<16, T, E>(value, extraction, accept),
            _ => self.take_some::<FIELDS_MAX, T, E>(value, extraction, accept),
        }
    }

    /// For up to `N` fields.
    #[inline]
    fn take_some<'v, const N: usize, T, E>(
        &mut self,
        value: &'v [u8],
        extraction: &mut Extraction,
        accept: impl FnOnce([Option<Value<'v>>; 2]) -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        let found = self.finder.find::<N>(value)?;
        let [first, second] = self.has;
        let other = |place: usize| found[self.columns + place];
        let accepted = accept([
            if first { other(0) } else { None },
            if second { other(usize::from(first)) } else { None },
        ]);
        if accepted.is_err() {
            return Some(accepted);
        }
        if extraction.columns.len() > self.columns {
            let mut values = Column::default();
            values.push(value);
            extraction.extend(&values, 0..1);
        } else {
            extraction.events += 1;
            for (column, value) in extraction.columns.iter_mut().zip(found) {
                column.push(value);
            }
        }
        Some(accepted)
    }
}

/// For up to `N` columns, of which there is one at least: the last field stands for those that are not there.
fn extend<const N: usize>(columns: &mut [Growing], values: &Column, range: Range<usize>) {
    let fields: [Arc<Field>; N] = std::array::from_fn(|i| columns[i.min(columns.len() - 1)].field.clone());
    let fields: [&Field; N] = std::array::from_fn(|i| &*fields[i]);
    for index in range {
        match find(values.get(index), fields) {
            Some(found) => columns
                .iter_mut()
                .zip(found)
                .for_each(|(column, value)| column.push(value)),
            None => columns.iter_mut().for_each(Growing::push_mistyped),
        }
    }
}

impl Growing {
    #[inline]
    pub(crate) fn push(&mut self, value: Option<Value<'_>>) {
        let Some(value) = value else {
            return self.push_null();
        };
        let is_taken = match &mut self.values {
            FieldValues::F64(values) => {
                let number = value.as_number().filter(|number| number.is_finite());
                if let Some(integer) = number.and_then(|number| value.as_long_integer(number)) {
                    let index = u32::try_from(values.len()).expect("a batch is small");
                    self.rounded.push(Rounded { index, integer });
                }
                take(values, number)
            }
            FieldValues::S64(values) => take(values, value.as_integer()),
            FieldValues::Text(values) => value.as_text().map(|text| values.push(text.as_bytes())).is_some(),
            FieldValues::Json(values) => {
                values.push(value.as_bytes());
                true
            }
            FieldValues::Boolean(values) => value.as_bool().map(|truth| values.push(truth)).is_some(),
            FieldValues::Bytes(values) => bytes(value).map(|bytes| values.push(&bytes)).is_some(),
        };
        if is_taken {
            if let Some(validity) = &mut self.validity {
                validity.push(true);
            }
        } else if value.kind() == Kind::Null {
            self.push_null();
        } else {
            self.push_mistyped();
        }
    }

    #[cold]
    pub(crate) fn push_mistyped(&mut self) {
        let index = u32::try_from(self.values.len()).expect("a batch is small");
        self.mistyped.push(index);
        self.push_null();
    }

    fn push_null(&mut self) {
        let events = self.values.len();
        self.validity.get_or_insert_with(|| Bits::of(events, true)).push(false);
        match &mut self.values {
            FieldValues::F64(values) => values.push(0.0),
            FieldValues::S64(values) => values.push(0),
            FieldValues::Text(values) | FieldValues::Bytes(values) | FieldValues::Json(values) => values.push(b""),
            FieldValues::Boolean(values) => values.push(false),
        }
    }
}

#[inline]
fn take<T>(values: &mut Vec<T>, value: Option<T>) -> bool {
    value.map(|value| values.push(value)).is_some()
}

/// What a string in base64 stands for.
pub(crate) fn bytes(value: Value<'_>) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(&*value.as_text()?).ok()
}

#[cfg(test)]
mod tests {
    use dirigo_json::LongInteger;

    use super::*;

    fn extracted(documents: &[&str], name: &str, field_type: FieldType) -> FieldColumn {
        let mut values = Column::default();
        documents.iter().for_each(|document| values.push(document.as_bytes()));
        let wanted = vec![(Arc::new(Field::new(name).unwrap()), field_type)];
        let mut extraction = Extraction::of(wanted);
        extraction.extend(&values, 0..1);
        extraction.extend(&values, 1..values.len());
        FieldColumn::clone(&extraction.finish()[0].column)
    }

    const DOCUMENTS: [&str; 8] = [
        r#"{"v":1.5}"#,
        r#"{"v":-9007199254740993}"#,
        r#"{"w":{"v":1}}"#,
        r#"{"v":null}"#,
        r#"{"v":"a\u00e9"}"#,
        r#"{"v":true}"#,
        r#"{"v":1e400}"#,
        r#"{"v":1"#,
    ];

    #[test]
    fn a_number_is_the_nearest_and_an_integer_is_exact() {
        let numbers = extracted(&DOCUMENTS, "v", FieldType::F64);
        let wanted = [1.5, -9_007_199_254_740_992.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(numbers.values, FieldValues::F64(wanted.to_vec()));
        assert_eq!(numbers.validity.unwrap().bytes(), [0b0000_0011]);
        assert_eq!(numbers.mistyped, [4, 5, 6, 7]);
        let rounded = Rounded {
            index: 1,
            integer: LongInteger::S64(-9_007_199_254_740_993),
        };
        assert_eq!(numbers.rounded, [rounded]);
        let integers = extracted(&DOCUMENTS, "v", FieldType::S64);
        assert_eq!(
            integers.values,
            FieldValues::S64(vec![0, -9_007_199_254_740_993, 0, 0, 0, 0, 0, 0])
        );
        assert_eq!(integers.mistyped, [0, 4, 5, 6, 7]);
    }

    #[test]
    fn text_is_unescaped_and_json_is_as_it_is_written() {
        let text = extracted(&DOCUMENTS, "v", FieldType::Text);
        let FieldValues::Text(values) = text.values else {
            panic!("it is text")
        };
        assert_eq!(values.get(4), "aé".as_bytes());
        assert_eq!(text.mistyped, [0, 1, 5, 6, 7]);
        let json = extracted(&DOCUMENTS, "v", FieldType::Json);
        let FieldValues::Json(values) = json.values else {
            panic!("it is JSON")
        };
        assert_eq!(
            (values.get(3), values.get(4)),
            (&b"null"[..], br#""a\u00e9""#.as_slice())
        );
        assert_eq!(
            (json.mistyped, json.validity.unwrap().bytes()),
            (vec![7], &[0b0111_1011][..])
        );
    }

    #[test]
    fn truth_and_bytes() {
        let truth = extracted(&DOCUMENTS, "v", FieldType::Boolean);
        assert_eq!(truth.validity.unwrap().bytes(), [0b0010_0000]);
        let bytes = extracted(&[r#"{"v":"AAH/"}"#, r#"{"v":"?"}"#], "v", FieldType::Bytes);
        let FieldValues::Bytes(values) = bytes.values else {
            panic!("it is bytes")
        };
        assert_eq!((values.get(0), bytes.mistyped), (&[0, 1, 255][..], vec![1]));
    }

    #[test]
    fn one_value_after_the_other_is_as_all_at_once_and_what_is_refused_leaves_nothing() {
        let field = |name: &str| Arc::new(Field::new(name).unwrap());
        let (key, time) = (field("k"), field("/t/0"));
        for count in [0, 1, 2, 3, 4, 7, 15, 40] {
            let wanted = || (0..count).map(|i| (field(&format!("f{i}")), FieldType::S64)).collect();
            let members: Vec<String> = (0..count).map(|i| format!(r#""f{i}":{i},"#)).collect();
            let document = format!(r#"{{{}"k":"a","t":[7]}}"#, members.concat());
            let mut extraction = Extraction::of(wanted());
            let mut pass = Pass::default();
            let found = |found: [Option<Value<'_>>; 2]| found.map(|value| value.map(|value| value.to_string()));
            for others in [[Some(&key), Some(&time)], [None, Some(&time)], [None, None]] {
                pass.look_for(&extraction, others);
                let expected = [
                    others[0].map(|_| r#""a""#.to_owned()),
                    others[1].map(|_| "7".to_owned()),
                ];
                let taken = pass.take(document.as_bytes(), &mut extraction, |others| {
                    Ok::<_, ()>(found(others))
                });
                assert_eq!(taken, Some(Ok(expected)));
                assert!(pass.take(b"{", &mut extraction, |_| Ok::<_, ()>(())).is_none());
                let refused = pass.take(document.as_bytes(), &mut extraction, |_| Err::<(), _>(7));
                assert_eq!(refused, Some(Err(7)));
            }
            let mut values = Column::default();
            (0..3).for_each(|_| values.push(document.as_bytes()));
            let mut whole = Extraction::of(wanted());
            whole.extend(&values, 0..3);
            assert_eq!((extraction.events(), whole.events()), (3, 3));
            for (one, other) in extraction.finish().iter().zip(whole.finish()) {
                assert_eq!(one.column, other.column);
            }
        }
    }

    #[test]
    fn any_number_of_fields_is_extracted() {
        for count in [1, 2, 3, 4, 5, 9, 31, 32, 33, 70] {
            let wanted = (0..count).map(|i| (Arc::new(Field::new(format!("f{i}")).unwrap()), FieldType::S64));
            let members: Vec<String> = (0..count).map(|i| format!(r#""f{i}":{i}"#)).collect();
            let mut values = Column::default();
            values.push(format!("{{{}}}", members.join(",")).as_bytes());
            let mut extraction = Extraction::of(wanted.collect());
            extraction.extend(&values, 0..1);
            let found = extraction.finish();
            for (i, named) in (0..).zip(&found) {
                assert_eq!(named.column.values, FieldValues::S64(vec![i]), "of {count}");
            }
            assert_eq!(found.len(), count);
        }
    }
}
