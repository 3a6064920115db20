//! Batches in the journal.
//!
//! Each is one record of it: `number u64 | records before it u64 | count u32 | a length u32 for each record | their bytes`, little-endian.

use std::io::{self, Read as _};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use dirigo_journal::Journal;

use super::Reach;
use super::error::Error;

const HEADER_BYTES: usize = 8 + 8 + 4;

/// A batch that is being filled.
#[derive(Debug, Default)]
pub(super) struct OpenBatch {
    lengths: Vec<u32>,
    bytes: Vec<u8>,
    frame: Vec<u8>,
}

impl OpenBatch {
    pub(super) fn push(&mut self, record: &[u8]) {
        let length = u32::try_from(record.len()).expect("an event is bounded far below 4 GiB");
        self.lengths.push(length);
        self.bytes.extend_from_slice(record);
    }

    pub(super) fn len(&self) -> usize {
        self.lengths.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// As it is in the journal, behind batches that reach so far.
    pub(super) fn seal(&mut self, before: Reach) -> &[u8] {
        let count = u32::try_from(self.lengths.len()).expect("a batch has a bounded number of records");
        self.frame.clear();
        self.frame.extend_from_slice(&(before.batches + 1).to_le_bytes());
        self.frame.extend_from_slice(&before.records.to_le_bytes());
        self.frame.extend_from_slice(&count.to_le_bytes());
        self.frame
            .extend(self.lengths.iter().flat_map(|length| length.to_le_bytes()));
        self.frame.extend_from_slice(&self.bytes);
        &self.frame
    }

    pub(super) fn clear(&mut self) {
        self.lengths.clear();
        self.bytes.clear();
    }
}

/// Records that are delivered together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    key: String,
    number: u64,
    range: Range<u64>,
    records_before: u64,
    lengths: Vec<u32>,
    bytes: Bytes,
}

impl Batch {
    /// One that a test makes.
    #[cfg(test)]
    pub(crate) fn of(name: &str, number: u64, records: &[&str]) -> Self {
        let bytes = records.concat().into_bytes();
        Self {
            key: format!("{name}/{number}"),
            number,
            range: 0..bytes.len() as u64,
            records_before: 0,
            lengths: records
                .iter()
                .map(|record| u32::try_from(record.len()).unwrap())
                .collect(),
            bytes: bytes.into(),
        }
    }

    /// Its number, from 1, rising by one from batch to batch.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What tells it from every other batch, of this sink or another, and is the same each time that it is sent:
    /// `PIPELINE/SINK/LINEAGE/NUMBER`.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its records, in order.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes[..];
        self.lengths.iter().map(move |&length| {
            let (record, behind) = rest.split_at(length as usize);
            rest = behind;
            record
        })
    }

    /// Its records, in order, which share the memory of the batch.
    pub fn shared_records(&self) -> impl Iterator<Item = Bytes> {
        let mut rest = self.bytes.clone();
        self.lengths.iter().map(move |&length| rest.split_to(length as usize))
    }

    /// How many records it has, which is not none.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a batch has a record")]
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// How many records come before its first one, of all batches.
    #[must_use]
    pub fn records_before(&self) -> u64 {
        self.records_before
    }

    /// The bytes of all records.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How far the batches before it reach.
    pub(super) fn before(&self) -> Reach {
        Reach {
            batches: self.number - 1,
            records: self.records_before,
            bytes: self.range.start,
        }
    }

    /// How far the stream reaches with it.
    pub(super) fn behind(&self) -> Reach {
        Reach {
            batches: self.number,
            records: self.records_before + self.lengths.len() as u64,
            bytes: self.range.end,
        }
    }
}

/// Reads batches.
#[derive(Debug)]
pub(super) struct Reader {
    reader: dirigo_journal::Reader,
    at: u64,
}

impl Reader {
    /// A reader of those from an offset of the journal on, where one begins.
    pub(super) fn new(journal: Arc<Journal>, at: u64) -> Result<Self, Error> {
        let reader = dirigo_journal::Reader::new(journal, at)?;
        Ok(Self { reader, at })
    }

    /// The next one, which is there.
    pub(super) fn next(&mut self) -> Result<Batch, Error> {
        let start = self.at;
        self.read(start).map_err(|reason| Error::Read { at: start, reason })
    }

    fn read(&mut self, start: u64) -> io::Result<Batch> {
        let mut header = [0; HEADER_BYTES];
        self.reader.read_exact(&mut header)?;
        let [number, records_before] =
            [0, 8].map(|at| u64::from_le_bytes(*header[at..].first_chunk().expect("8 bytes")));
        let count = u32::from_le_bytes(*header[16..].first_chunk().expect("4 bytes"));
        let mut lengths = vec![0; count as usize * 4];
        self.reader.read_exact(&mut lengths)?;
        let lengths: Vec<u32> = lengths
            .chunks_exact(4)
            .map(|length| u32::from_le_bytes(*length.first_chunk().expect("4 bytes")))
            .collect();
        let mut bytes = vec![0; lengths.iter().map(|&length| length as usize).sum()];
        self.reader.read_exact(&mut bytes)?;
        self.at += (HEADER_BYTES + lengths.len() * 4 + bytes.len()) as u64;
        Ok(Batch {
            key: String::new(),
            number,
            range: start..self.at,
            records_before,
            lengths,
            bytes: bytes.into(),
        })
    }

    /// The next one, of the outbox with that name.
    pub(super) fn next_of(&mut self, name: &str) -> Result<Batch, Error> {
        let mut batch = self.next()?;
        batch.key = format!("{name}/{}", batch.number);
        Ok(batch)
    }
}
