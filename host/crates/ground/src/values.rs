//! The payloads of events, into which operators may have written fields.
//!
//! A written field stays a column next to the payloads until bytes are needed (late materialization): most operators read columns. Then it
//! is put into the payload, and every other byte stays as it was read.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::column::Column;
use crate::fields::{Fields, NamedColumn};
use crate::json::write_extended;
use crate::picked::Picked;

/// The payloads of events.
#[derive(Clone, Debug, Default)]
pub struct Values {
    /// As they were before fields were written.
    base: Picked,
    written: Option<Arc<Written>>,
}

/// Fields that are not in the base yet. Each can be put in: `with_written` requires it of its caller.
#[derive(Debug)]
struct Written {
    fields: Fields,
    whole: OnceLock<Arc<Column>>,
}

impl From<Column> for Values {
    fn from(base: Column) -> Self {
        Arc::new(base).into()
    }
}

impl From<Arc<Column>> for Values {
    fn from(base: Arc<Column>) -> Self {
        Self {
            base: base.into(),
            written: None,
        }
    }
}

impl Values {
    /// The same payloads with these fields in them: members of objects, which the payloads are, that JSON can express. Any caller has checked both.
    #[must_use]
    pub fn with_written(&self, columns: &[NamedColumn]) -> Self {
        let mut all: Vec<NamedColumn> = self.written_fields().columns().to_vec();
        for column in columns {
            match all.iter_mut().find(|other| other.field == column.field) {
                Some(other) => *other = column.clone(),
                None => all.push(column.clone()),
            }
        }
        Self {
            base: self.base.clone(),
            written: (!all.is_empty()).then(|| Self::written(Fields::new(all))),
        }
    }

    fn written(fields: Fields) -> Arc<Written> {
        Arc::new(Written {
            fields,
            whole: OnceLock::new(),
        })
    }

    fn written_fields(&self) -> Fields {
        self.written
            .as_ref()
            .map(|written| written.fields.clone())
            .unwrap_or_default()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.base.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether each is a JSON object, as far as its first byte shows.
    #[must_use]
    pub fn are_objects(&self) -> bool {
        let is_object = |value: &[u8]| value.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        self.base.iter().all(is_object)
    }

    /// Whether fields have yet to be put into the payloads, which takes time.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.written
            .as_ref()
            .is_some_and(|written| written.whole.get().is_none())
    }

    /// The payloads as bytes.
    #[must_use]
    pub fn to_column(&self) -> Arc<Column> {
        match &self.written {
            None => self.base.to_column(),
            Some(written) => written
                .whole
                .get_or_init(|| Arc::new(self.whole(0..self.len())))
                .clone(),
        }
    }

    /// The payloads in `range` as bytes.
    #[must_use]
    pub fn whole(&self, range: Range<usize>) -> Column {
        let mut whole = Column::with_capacity(range.len(), self.slice_bytes(range.clone()));
        range.for_each(|index| whole.push_with(|buffer| self.write(index, buffer)));
        whole
    }

    /// One of the payloads as bytes.
    #[must_use]
    pub fn get(&self, index: usize) -> Cow<'_, [u8]> {
        if self.written.is_none() {
            return self.base.get(index).into();
        }
        let mut buffer = Vec::new();
        self.write(index, &mut buffer);
        buffer.into()
    }

    fn write(&self, index: usize, buffer: &mut Vec<u8>) {
        let document = self.base.get(index);
        let fields = self
            .written
            .as_ref()
            .map_or(&[][..], |written| written.fields.columns());
        let written = write_extended(document, fields, index, buffer);
        written.expect("only fields that can be put into the payloads are kept next to them");
    }

    /// The bytes that they take, without what was written.
    #[must_use]
    pub fn size(&self) -> usize {
        self.base.bytes()
    }

    /// The bytes that those in `range` take or would, once written fields are in them: each for its name and what its column takes of
    /// an event on average.
    ///
    /// # Panics
    /// When the range ends past the last.
    #[must_use]
    pub fn slice_bytes(&self, range: Range<usize>) -> usize {
        /// A comma, quotes, a colon, and a number.
        const MEMBER_BYTES: usize = 24;
        let events = range.len();
        let base = self.base.slice_bytes(range);
        let Some(written) = &self.written else { return base };
        let bytes = |named: &NamedColumn| {
            let mean = named.column.size() / self.len().max(1);
            named.field.name().len() + MEMBER_BYTES + mean
        };
        base + events * written.fields.columns().iter().map(bytes).sum::<usize>()
    }

    /// Whether the same fields were written into others, so that they can be joined as they are.
    #[must_use]
    pub fn is_alike(&self, others: &Self) -> bool {
        match (&self.written, &others.written) {
            (None, None) => true,
            (Some(own), Some(others)) => own.fields.is_alike(&others.fields),
            _ => false,
        }
    }

    /// Those at `indexes`, in that order.
    #[must_use]
    pub fn gather(&self, indexes: &[u32]) -> Self {
        self.with_parts(self.base.gather(indexes), |fields| fields.gather(indexes))
    }

    /// Those in `range`.
    #[must_use]
    pub fn slice(&self, range: &Range<usize>) -> Self {
        self.with_parts(self.base.slice(range.clone()), |fields| fields.slice(range))
    }

    fn with_parts(&self, base: Picked, part: impl FnOnce(&Fields) -> Fields) -> Self {
        Self {
            base,
            written: self
                .written
                .as_ref()
                .map(|written| Self::written(part(&written.fields))),
        }
    }

    /// All of them, end to end.
    #[must_use]
    pub fn concat<'a>(all: impl Iterator<Item = &'a Values> + Clone) -> Self {
        let Some(first) = all.clone().next() else {
            return Self::default();
        };
        let are_alike = all.clone().all(|values| values.is_alike(first));
        if !are_alike {
            let items = all.clone().map(Values::len).sum();
            let bytes = all.clone().map(|values| values.base.bytes()).sum();
            let mut joined = Column::with_capacity(items, bytes);
            all.for_each(|values| joined.extend(&values.to_column()));
            return joined.into();
        }
        let base = Picked::concat(all.clone().map(|values| &values.base));
        let fields: Vec<Fields> = all.map(Values::written_fields).collect();
        let fields = Fields::concat(fields.iter());
        Self {
            base,
            written: first.written.is_some().then(|| Self::written(fields)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::{FieldColumn, FieldValues};
    use dirigo_json::Field;

    fn values(documents: &[&str]) -> Values {
        let mut column = Column::default();
        documents.iter().for_each(|document| column.push(document.as_bytes()));
        column.into()
    }

    fn numbers(name: &str, numbers: &[i64]) -> NamedColumn {
        NamedColumn {
            field: Arc::new(Field::new(name).unwrap()),
            column: Arc::new(FieldColumn::of(FieldValues::S64(numbers.to_vec()))),
        }
    }

    fn text(values: &Values) -> Vec<String> {
        let whole = values.to_column();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let all: Vec<String> = whole.iter().map(text).collect();
        let each: Vec<String> = (0..values.len()).map(|index| text(&values.get(index))).collect();
        assert_eq!(all, each);
        all
    }

    #[test]
    fn what_is_written_is_put_in_once_bytes_are_wanted() {
        let plain = values(&[r#"{"a":1}"#, "{}", r#"{ "b" : [] }"#]);
        assert!(!plain.is_written());
        let once = plain.with_written(&[numbers("b", &[7, 8, 9])]);
        assert!(once.is_written());
        assert_eq!(text(&once), [r#"{"a":1,"b":7}"#, r#"{"b":8}"#, r#"{ "b" : 9 }"#]);
        let twice = once.with_written(&[numbers("c", &[1, 2, 3]), numbers("/b", &[4, 5, 6])]);
        let expected = [r#"{"a":1,"b":4,"c":1}"#, r#"{"b":5,"c":2}"#, r#"{ "b" : 6,"c":3 }"#];
        assert_eq!(text(&twice), expected);
        assert_eq!(text(&twice.gather(&[2, 0, 0])), [expected[2], expected[0], expected[0]]);
        assert_eq!(text(&twice.slice(&(1..3))), expected[1..]);
        assert_eq!((twice.size(), plain.slice_bytes(0..3)), (plain.size(), plain.size()));
        assert!(twice.slice_bytes(0..3) > plain.size());
    }

    #[test]
    fn joined_values_are_those_of_each() {
        let one = values(&["{}"]).with_written(&[numbers("a", &[1])]);
        let two = values(&[r#"{"x":0}"#]).with_written(&[numbers("a", &[2])]);
        let other = values(&["no JSON"]);
        let alike = Values::concat([&one, &two].into_iter());
        assert!(alike.is_written());
        assert_eq!(text(&alike), [r#"{"a":1}"#, r#"{"x":0,"a":2}"#]);
        let unlike = Values::concat([&one, &other, &two].into_iter());
        assert!(!unlike.is_written());
        assert_eq!(text(&unlike), [r#"{"a":1}"#, "no JSON", r#"{"x":0,"a":2}"#]);
    }
}
