//! CSV records as JSON objects.
//!
//! Owns how a record is written as JSON, and how many bytes that takes. Knows no header but the names in it, and finds no faults.

use std::sync::Arc;

use super::cells::to_cell;
use super::csv::{Fields, Scan};
use dirigo_fields::Cell;
use dirigo_ground::fields::FieldType;
use dirigo_ground::json::write_text;
use dirigo_ground::sync::Mutex;
use dirigo_ground::values::RecordEncoder;

/// Makes JSON objects of records in which `CsvTable::take` found no fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CsvEncoder {
    /// What precedes each value in the JSON object: `{"first":`, `,"second":`.
    prefixes: Vec<Vec<u8>>,
    /// The type of each column; `None` where each cell is what it looks like.
    types: Vec<Option<FieldType>>,
    nulls: Vec<String>,
    added_bytes: usize,
}

impl CsvEncoder {
    pub(super) fn new(names: &[String], types: Vec<Option<FieldType>>, nulls: Vec<String>) -> Self {
        /// `null` for an empty cell: quotes take two bytes, and a number that JSON writes in another way one.
        const VALUE_BYTES: usize = 4;
        let prefixes: Vec<Vec<u8>> = names
            .iter()
            .enumerate()
            .map(|(index, name)| prefix(index, name))
            .collect();
        let added_bytes = prefixes.iter().map(|prefix| prefix.len() + VALUE_BYTES).sum::<usize>() + 1;
        Self {
            prefixes,
            types,
            nulls,
            added_bytes,
        }
    }

    /// The type of a column; `None` where each cell is what it looks like.
    #[inline]
    pub(super) fn column_type(&self, index: usize) -> Option<FieldType> {
        self.types[index]
    }

    /// The cells, as they are written, that stand for null.
    #[inline]
    pub(super) fn nulls(&self) -> &[String] {
        &self.nulls
    }

    /// What a cell holds; `None` where it is not of its column's type.
    #[inline]
    pub(super) fn cell<'a>(&self, index: usize, written: &'a [u8]) -> Option<Cell<'a>> {
        to_cell(written, self.types[index], &self.nulls)
    }

    /// What a cell holds of a record whose cells were found to be of their types.
    #[inline]
    pub(super) fn checked_cell<'a>(&self, index: usize, record: Fields<'a>) -> Cell<'a> {
        self.cell(index, record.written(index))
            .expect("each cell is of its type")
    }
}

impl RecordEncoder for CsvEncoder {
    fn encode(&self, record: &[u8], payload: &mut Vec<u8>) {
        let mut scan = Scan::default();
        let record = scan.fields_of(record);
        for (index, prefix) in self.prefixes.iter().enumerate() {
            payload.extend_from_slice(prefix);
            self.checked_cell(index, record).write(payload);
        }
        payload.push(b'}');
    }

    fn added_bytes(&self) -> usize {
        self.added_bytes
    }
}

fn prefix(index: usize, name: &str) -> Vec<u8> {
    let mut prefix = vec![if index == 0 { b'{' } else { b',' }];
    write_text(name.as_bytes(), &mut prefix);
    prefix.push(b':');
    prefix
}

/// The encoder of the file of a source that was opened last: most have one header, and batches of one encoder are joined as they are.
#[derive(Clone, Debug, Default)]
pub(super) struct LastEncoder(Arc<Mutex<Option<Arc<CsvEncoder>>>>);

impl LastEncoder {
    /// The last one where it is equal to this one, which else becomes the last.
    pub(super) fn or(&self, encoder: CsvEncoder) -> Arc<CsvEncoder> {
        let mut last = self.0.lock();
        match &*last {
            Some(last) if **last == encoder => last.clone(),
            _ => last.insert(Arc::new(encoder)).clone(),
        }
    }
}
