//! The payloads of events, which may have yet to be made.
//!
//! A source that has fields of its own hands over records, and an encoder that makes payloads of them. A field that an operator wrote stays a
//! column next to the payloads. Both become bytes only where bytes are needed (late materialization): most operators read columns. What
//! records look like, the encoder knows.

use std::borrow::Cow;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::column::Column;
use crate::fields::{Fields, NamedColumn};
use crate::json::write_extended;
use crate::picked::Picked;

/// Makes payloads of records.
pub trait RecordEncoder: Debug + Send + Sync {
    /// Appends the payload of a record, which is a JSON object.
    fn encode(&self, record: &[u8], payload: &mut Vec<u8>);

    /// How many bytes longer a payload is than its record at most, escapes apart.
    fn added_bytes(&self) -> usize;
}

/// The payloads of events.
#[derive(Clone, Debug, Default)]
pub struct Values {
    /// As they were before fields were written: payloads, or the records that they are made of.
    base: Picked,
    late: Option<Arc<Late>>,
}

/// How the base becomes payloads. Each field can be put in: `with_written` requires it of its caller.
#[derive(Debug)]
struct Late {
    encoder: Option<Arc<dyn RecordEncoder>>,
    written: Fields,
    whole: OnceLock<Arc<Column>>,
}

impl Late {
    fn new(encoder: Option<Arc<dyn RecordEncoder>>, written: Fields) -> Option<Arc<Self>> {
        let is_late = encoder.is_some() || !written.columns().is_empty();
        is_late.then(|| {
            Arc::new(Self {
                encoder,
                written,
                whole: OnceLock::new(),
            })
        })
    }

    fn is_alike(&self, other: &Self) -> bool {
        let have_one_encoder = match (&self.encoder, &other.encoder) {
            (None, None) => true,
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            _ => false,
        };
        have_one_encoder && self.written.is_alike(&other.written)
    }

    /// Appends the payload of event `index`, whose record this is.
    fn write(&self, record: &[u8], index: usize, buffer: &mut Vec<u8>) {
        let written = self.written.columns();
        let Some(encoder) = &self.encoder else {
            return write_fields(record, written, index, buffer);
        };
        if written.is_empty() {
            return encoder.encode(record, buffer);
        }
        let mut document = Vec::with_capacity(record.len() + encoder.added_bytes());
        encoder.encode(record, &mut document);
        write_fields(&document, written, index, buffer);
    }
}

fn write_fields(document: &[u8], written: &[NamedColumn], index: usize, buffer: &mut Vec<u8>) {
    write_extended(document, written, index, buffer)
        .expect("only fields that can be put into the payloads are kept next to them");
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
            late: None,
        }
    }
}

impl Values {
    /// Payloads that are made of records by `encoder` once they are needed.
    #[must_use]
    pub fn of_records(records: Column, encoder: Arc<dyn RecordEncoder>) -> Self {
        Self {
            base: Arc::new(records).into(),
            late: Late::new(Some(encoder), Fields::default()),
        }
    }

    /// The same payloads with these fields in them: members of objects, which the payloads are, that JSON can express. Any caller has checked both.
    #[must_use]
    pub fn with_written(&self, columns: &[NamedColumn]) -> Self {
        let mut all: Vec<NamedColumn> = self.written().columns().to_vec();
        for column in columns {
            match all.iter_mut().find(|other| other.field == column.field) {
                Some(other) => *other = column.clone(),
                None => all.push(column.clone()),
            }
        }
        Self {
            base: self.base.clone(),
            late: Late::new(self.encoder().cloned(), Fields::new(all)),
        }
    }

    fn written(&self) -> Fields {
        self.late.as_ref().map(|late| late.written.clone()).unwrap_or_default()
    }

    fn encoder(&self) -> Option<&Arc<dyn RecordEncoder>> {
        self.late.as_ref()?.encoder.as_ref()
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
        self.encoder().is_some() || self.base.iter().all(is_object)
    }

    /// Whether they are there as bytes. To make bytes of them takes time.
    #[must_use]
    pub fn are_bytes(&self) -> bool {
        self.late.as_ref().is_none_or(|late| late.whole.get().is_some())
    }

    /// The payloads as bytes.
    #[must_use]
    pub fn to_column(&self) -> Arc<Column> {
        match &self.late {
            None => self.base.to_column(),
            Some(late) => late.whole.get_or_init(|| Arc::new(self.whole(0..self.len()))).clone(),
        }
    }

    /// The payloads in `range` as bytes.
    #[must_use]
    pub fn whole(&self, range: Range<usize>) -> Column {
        let Some(late) = &self.late else {
            return self.base.copied(range);
        };
        let mut whole = Column::with_capacity(range.len(), self.slice_bytes(range.clone()));
        range.for_each(|index| whole.push_with(|buffer| late.write(self.base.get(index), index, buffer)));
        whole
    }

    /// One of the payloads as bytes.
    #[must_use]
    pub fn get(&self, index: usize) -> Cow<'_, [u8]> {
        let record = self.base.get(index);
        let Some(late) = &self.late else {
            return record.into();
        };
        let mut buffer = Vec::new();
        late.write(record, index, &mut buffer);
        buffer.into()
    }

    /// The bytes that they take, without what was written. Records count as the payloads that are made of them, escapes apart.
    #[must_use]
    pub fn size(&self) -> usize {
        self.base.bytes() + self.added_bytes(self.len())
    }

    /// How many bytes the encoder adds to the records of `events` events.
    fn added_bytes(&self, events: usize) -> usize {
        self.encoder().map_or(0, |encoder| events * encoder.added_bytes())
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
        let base = self.base.slice_bytes(range) + self.added_bytes(events);
        let Some(late) = &self.late else { return base };
        let bytes = |named: &NamedColumn| {
            let mean = named.column.size() / self.len().max(1);
            named.field.name().len() + MEMBER_BYTES + mean
        };
        base + events * late.written.columns().iter().map(bytes).sum::<usize>()
    }

    /// Whether others are made of records by the same encoder and the same fields were written into them, so that they can be joined as they
    /// are.
    #[must_use]
    pub fn is_alike(&self, others: &Self) -> bool {
        match (&self.late, &others.late) {
            (None, None) => true,
            (Some(own), Some(others)) => own.is_alike(others),
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
        let late = self.late.as_ref();
        Self {
            base,
            late: late.and_then(|late| Late::new(late.encoder.clone(), part(&late.written))),
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
        let written: Vec<Fields> = all.map(Values::written).collect();
        Self {
            base,
            late: Late::new(first.encoder().cloned(), Fields::concat(written.iter())),
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
        assert!(plain.are_bytes());
        let once = plain.with_written(&[numbers("b", &[7, 8, 9])]);
        assert!(!once.are_bytes());
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
        assert!(!alike.are_bytes());
        assert_eq!(text(&alike), [r#"{"a":1}"#, r#"{"x":0,"a":2}"#]);
        let unlike = Values::concat([&one, &other, &two].into_iter());
        assert!(unlike.are_bytes());
        assert_eq!(text(&unlike), [r#"{"a":1}"#, "no JSON", r#"{"x":0,"a":2}"#]);
    }

    /// Makes an object of a record that is a number.
    #[derive(Debug)]
    struct Numbered(&'static str);

    impl RecordEncoder for Numbered {
        fn encode(&self, record: &[u8], payload: &mut Vec<u8>) {
            payload.extend_from_slice(self.0.as_bytes());
            payload.extend_from_slice(record);
            payload.push(b'}');
        }

        fn added_bytes(&self) -> usize {
            self.0.len() + 1
        }
    }

    #[test]
    fn records_become_payloads_once_bytes_are_wanted() {
        let encoder: Arc<dyn RecordEncoder> = Arc::new(Numbered(r#"{"n":"#));
        let of = |records: &[&str], encoder: &Arc<dyn RecordEncoder>| {
            Values::of_records(Column::clone(&values(records).to_column()), encoder.clone())
        };
        let records = of(&["1", "2", "30"], &encoder);
        assert!(!records.are_bytes() && records.are_objects());
        assert_eq!(records.size(), r#"{"n":1}{"n":2}{"n":30}"#.len());
        let parts = [records.slice(&(0..1)), records.gather(&[2, 1])];
        assert_eq!(parts.iter().map(Values::size).sum::<usize>(), records.size());
        assert_eq!(records.slice_bytes(1..3), parts[1].size());
        assert_eq!(text(&parts[1]), [r#"{"n":30}"#, r#"{"n":2}"#]);
        let joined = Values::concat(parts.iter());
        assert!(joined.is_alike(&records) && !joined.are_bytes());
        let written = joined.with_written(&[numbers("m", &[7, 8, 9])]);
        assert!(!written.is_alike(&records));
        assert_eq!(
            text(&written.gather(&[1])),
            [r#"{"n":30,"m":8}"#],
            "a field is put into what the encoder made"
        );
        assert_eq!(text(&records), [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":30}"#]);
        assert!(records.are_bytes());
    }

    #[test]
    fn records_of_two_encoders_are_joined_as_bytes() {
        let [one, two] = [r#"{"n":"#, r#"{"m":"#].map(|start| {
            let encoder: Arc<dyn RecordEncoder> = Arc::new(Numbered(start));
            Values::of_records(Column::clone(&values(&["1"]).to_column()), encoder)
        });
        assert!(!one.is_alike(&two));
        let joined = Values::concat([&one, &values(&["{}"]), &two].into_iter());
        assert!(joined.are_bytes());
        assert_eq!(text(&joined), [r#"{"n":1}"#, "{}", r#"{"m":1}"#]);
    }
}
