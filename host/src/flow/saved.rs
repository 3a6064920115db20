//! Batches as a checkpoint keeps them.
//!
//! Owns the bytes. A batch comes back with a ticket of the same number, so that those of one read still share theirs.
//!
//! All numbers are little-endian: flags `u8` | source `u16` length, bytes | ticket `u64` | first position of the ticket `u64` |
//! path `u32` | events `u32` | times `i64` each | positions `u64` each | keys | values; a column is its number of bytes `u32`,
//! the ends `u32` each, and the bytes.

use std::sync::Arc;

use super::Ticket;
use crate::batch::{Batch, Column, Origin};

/// A batch that was on its way at a cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// The source that its events entered by.
    pub source: String,
    /// The number of its ticket.
    pub ticket: u64,
    /// The first position of its ticket.
    pub first_position: u64,
    /// Whether it had been put out by the operator where it waited, and was not to be taken in.
    pub is_output: bool,
    path: u32,
    times: Vec<i64>,
    positions: Vec<u64>,
    keys: Column,
    values: Column,
}

const IS_OUTPUT: u8 = 1;

impl Saved {
    /// A batch of the source of that name.
    #[must_use]
    pub fn new(batch: &Batch, source: &str, is_output: bool) -> Self {
        let ticket = &batch.origin.ticket;
        Self {
            source: source.to_owned(),
            ticket: ticket.number(),
            first_position: ticket.first_position(),
            is_output,
            path: batch.origin.path,
            times: batch.times.to_vec(),
            positions: batch.positions.to_vec(),
            keys: (*batch.keys).clone(),
            values: (*batch.values).clone(),
        }
    }

    /// Events in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The batch again, under its new ticket.
    #[must_use]
    pub fn into_batch(self, ticket: Arc<Ticket>) -> Batch {
        Batch {
            times: Arc::new(self.times),
            keys: Arc::new(self.keys),
            values: Arc::new(self.values),
            positions: Arc::new(self.positions),
            origin: Origin {
                ticket,
                path: self.path,
            },
        }
    }

    /// The bytes of it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        /// What a batch takes besides its events and the name of its source.
        const HEADER_BYTES: usize = 64;
        const EVENT_BYTES: usize = 24;
        let columns = self.keys.bytes().len() + self.values.bytes().len();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + EVENT_BYTES * self.len() + columns);
        bytes.push(if self.is_output { IS_OUTPUT } else { 0 });
        let source = u16::try_from(self.source.len()).expect("pipeline files bound the length of names");
        bytes.extend_from_slice(&source.to_le_bytes());
        bytes.extend_from_slice(self.source.as_bytes());
        bytes.extend_from_slice(&self.ticket.to_le_bytes());
        bytes.extend_from_slice(&self.first_position.to_le_bytes());
        bytes.extend_from_slice(&self.path.to_le_bytes());
        bytes.extend_from_slice(&length(self.len()));
        self.times.iter().for_each(|time| bytes.extend_from_slice(&time.to_le_bytes()));
        let positions = self.positions.iter();
        positions.for_each(|position| bytes.extend_from_slice(&position.to_le_bytes()));
        for column in [&self.keys, &self.values] {
            bytes.extend_from_slice(&length(column.bytes().len()));
            column.ends().iter().for_each(|end| bytes.extend_from_slice(&end.to_le_bytes()));
            bytes.extend_from_slice(column.bytes());
        }
        bytes
    }

    /// The batch in `bytes`, or `None` where they are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = Rest(bytes);
        let flags = rest.take(1)?[0];
        let length = usize::from(u16::from_le_bytes(rest.array()?));
        let source = String::from_utf8(rest.take(length)?.to_vec()).ok()?;
        let (ticket, first_position) = (u64::from_le_bytes(rest.array()?), u64::from_le_bytes(rest.array()?));
        let path = u32::from_le_bytes(rest.array()?);
        let events = rest.length()?;
        let saved = Self {
            source,
            ticket,
            first_position,
            is_output: flags & IS_OUTPUT != 0,
            path,
            times: rest.list(events, i64::from_le_bytes)?,
            positions: rest.list(events, u64::from_le_bytes)?,
            keys: rest.column(events)?,
            values: rest.column(events)?,
        };
        (rest.0.is_empty() && flags <= IS_OUTPUT).then_some(saved)
    }
}

fn length(items: usize) -> [u8; 4] {
    u32::try_from(items).expect("batch limits keep counts and columns under 4 Gi").to_le_bytes()
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).ok()
    }

    fn list<T, const N: usize>(&mut self, items: usize, parse: fn([u8; N]) -> T) -> Option<Vec<T>> {
        let (items, _) = self.take(items.checked_mul(N)?)?.as_chunks::<N>();
        Some(items.iter().map(|&item| parse(item)).collect())
    }

    fn column(&mut self, items: usize) -> Option<Column> {
        let length = self.length()?;
        let ends = self.list(items, u32::from_le_bytes)?;
        Column::from_parts(self.take(length)?.to_vec(), ends).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved() -> Saved {
        let column = |items: &[&[u8]]| {
            let mut column = Column::default();
            items.iter().for_each(|item| column.push(item));
            column
        };
        Saved {
            source: "readings".into(),
            ticket: 7,
            first_position: 1_000,
            is_output: true,
            path: 3,
            times: vec![-1, 5],
            positions: vec![1_003, 1_004],
            keys: column(&[b"a", b""]),
            values: column(&[b"{}", &[0xff; 300]]),
        }
    }

    #[test]
    fn a_batch_survives_a_checkpoint() {
        assert_eq!(Saved::decode(&saved().encode()), Some(saved()));
    }

    #[test]
    fn what_was_cut_off_or_appended_to_is_no_batch() {
        let bytes = saved().encode();
        for length in 0..bytes.len() {
            assert_eq!(Saved::decode(&bytes[..length]), None, "{length} bytes");
        }
        assert_eq!(Saved::decode(&[bytes, vec![0]].concat()), None);
    }
}
