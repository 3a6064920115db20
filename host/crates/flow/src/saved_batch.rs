//! Batches as a checkpoint keeps them.
//!
//! Owns the bytes. A batch comes back with a ticket of the same number, so that those of one read still share theirs.
//!
//! A batch is of events, or of windows that are closed because their input has ended, or of what was put out for either
//! ([`Content`]).
//!
//! All numbers are little-endian: flags `u8` | source `u16` length, bytes | ticket `u64` | first position of the ticket `u64` |
//! path `u32` | events `u32` | times `i64` each | positions `u64` each | keys | values; a column is its number of bytes `u32`,
//! the ends `u32` each, and the bytes. Where some events came behind the watermark of their source, a flag says so, and at the end follow
//! how many `u32`, and of each its place `u32` and the watermark `i64`. Where it leaves by an output with a name, a flag says so, and the name
//! stands last: its length `u16`, and its bytes.

use std::sync::Arc;

use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::behind::Behind;
use dirigo_ground::fields::Fields;
use dirigo_ground::lineage::{Origin, OutputTag, Ticket};

/// A batch that was on its way at a cut.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedBatch {
    /// The source that its events entered by.
    pub source: String,
    /// The number of its ticket.
    pub ticket: u64,
    /// The first position of its ticket.
    pub first_position: u64,
    /// What it is to the operator where it waited.
    pub content: Content,
    /// The name of the output that it leaves by, if it has one.
    pub output: Option<String>,
    path: u32,
    times: Vec<i64>,
    positions: Vec<u64>,
    keys: Column,
    values: Column,
    behind: Behind,
}

/// The flag of a batch of which some events came behind the watermark.
const HAS_BEHIND: u8 = 4;
/// The flag of a batch that leaves by an output with a name.
const HAS_OUTPUT: u8 = 8;

/// What a batch is to the operator where it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Events that it is to take in.
    Events,
    /// What it has put out for events, to be handed on.
    Outputs,
    /// Windows of it that are closed because their input has ended, to be finished. Their values are entries of state.
    Windows,
    /// What it has put out for such windows, to be handed on.
    OutputsOfWindows,
}

impl Content {
    /// By their flags.
    const ALL: [Self; 4] = [Self::Events, Self::Outputs, Self::Windows, Self::OutputsOfWindows];

    fn flags(self) -> u8 {
        match self {
            Self::Events => 0,
            Self::Outputs => 1,
            Self::Windows => 2,
            Self::OutputsOfWindows => 3,
        }
    }
}

impl SavedBatch {
    /// Events in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.keys.bytes().len() + self.values.bytes().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Its values.
    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.values.iter()
    }

    /// The batch again, under its new ticket. By which output it leaves is for the caller to say, who knows what the name stands for.
    #[must_use]
    pub fn into_batch(self, ticket: Arc<Ticket>) -> Batch {
        Batch {
            times: Arc::new(self.times),
            keys: Arc::new(self.keys),
            values: self.values.into(),
            fields: Fields::default(),
            positions: Arc::new(self.positions),
            origin: Origin {
                ticket,
                path: self.path,
                output: OutputTag::Own,
                behind: self.behind,
            },
        }
    }

    /// The bytes of a batch whose events entered by the source of that name, and which leaves by that output, if it has a name.
    #[must_use]
    pub fn encode(batch: &Batch, source: &str, content: Content, output: Option<&str>) -> Vec<u8> {
        let ticket = &batch.origin.ticket;
        let mut bytes = Self::encode_with_ticket(batch, source, content, ticket.number(), ticket.first_position());
        if let Some(output) = output {
            bytes[0] |= HAS_OUTPUT;
            push_name(&mut bytes, output);
        }
        bytes
    }

    /// The bytes of a batch that is to be read as one of the ticket of this number, whose first position is that.
    #[must_use]
    pub fn encode_with_ticket(
        batch: &Batch,
        source: &str,
        content: Content,
        ticket: u64,
        first_position: u64,
    ) -> Vec<u8> {
        /// What a batch takes besides its events and the name of its source.
        const HEADER_BYTES: usize = 64;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + source.len() + batch.size());
        let behind = &batch.origin.behind;
        bytes.push(content.flags() | if behind.is_empty() { 0 } else { HAS_BEHIND });
        push_name(&mut bytes, source);
        bytes.extend_from_slice(&ticket.to_le_bytes());
        bytes.extend_from_slice(&first_position.to_le_bytes());
        bytes.extend_from_slice(&batch.origin.path.to_le_bytes());
        bytes.extend_from_slice(&length(batch.len()));
        bytes.extend(batch.times.iter().flat_map(|time| time.to_le_bytes()));
        bytes.extend(batch.positions.iter().flat_map(|position| position.to_le_bytes()));
        for column in [&batch.keys, &batch.values.to_column()] {
            bytes.extend_from_slice(&length(column.bytes().len()));
            bytes.extend(column.ends().iter().flat_map(|end| end.to_le_bytes()));
            bytes.extend_from_slice(column.bytes());
        }
        if !behind.is_empty() {
            bytes.extend_from_slice(&length(behind.events().len()));
            for (event, watermark) in behind.events() {
                bytes.extend_from_slice(&event.to_le_bytes());
                bytes.extend_from_slice(&watermark.to_le_bytes());
            }
        }
        bytes
    }

    /// The bytes of a batch, as if its events had entered by the source of that name; `None` where they are none.
    #[must_use]
    pub fn with_source(bytes: &[u8], source: &str) -> Option<Vec<u8>> {
        let mut rest = Decoder(bytes);
        let flags = rest.take(1)?;
        let before = usize::from(u16::from_le_bytes(rest.array()?));
        rest.take(before)?;
        let length = u16::try_from(source.len()).ok()?.to_le_bytes();
        Some([flags, &length, source.as_bytes(), rest.0].concat())
    }

    /// The batch in `bytes`, or `None` where they are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = Decoder(bytes);
        let flags = rest.take(1)?[0];
        let source = rest.name()?;
        let (ticket, first_position) = (u64::from_le_bytes(rest.array()?), u64::from_le_bytes(rest.array()?));
        let path = u32::from_le_bytes(rest.array()?);
        let events = rest.length()?;
        let mut saved = Self {
            source,
            ticket,
            first_position,
            content: *Content::ALL.get(usize::from(flags & !(HAS_BEHIND | HAS_OUTPUT)))?,
            output: None,
            path,
            times: rest.list(events, i64::from_le_bytes)?,
            positions: rest.list(events, u64::from_le_bytes)?,
            keys: rest.column(events)?,
            values: rest.column(events)?,
            behind: if flags & HAS_BEHIND == 0 {
                Behind::default()
            } else {
                rest.behind(events)?
            },
        };
        if flags & HAS_OUTPUT != 0 {
            saved.output = Some(rest.name()?);
        }
        let is_sound = rest.0.is_empty() && events > 0 && first_position < u64::MAX;
        is_sound.then_some(saved)
    }
}

fn push_name(bytes: &mut Vec<u8>, name: &str) {
    let length = u16::try_from(name.len()).expect("pipeline files bound the length of names");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(name.as_bytes());
}

fn length(items: usize) -> [u8; 4] {
    u32::try_from(items)
        .expect("batch limits keep counts and columns under 4 Gi")
        .to_le_bytes()
}

/// What is still to be read.
struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn name(&mut self) -> Option<String> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).ok()
    }

    fn list<T, const N: usize>(&mut self, items: usize, parse: fn([u8; N]) -> T) -> Option<Vec<T>> {
        let (items, _) = self.take(items.checked_mul(N)?)?.as_chunks::<N>();
        Some(items.iter().map(|&item| parse(item)).collect())
    }

    fn behind(&mut self, events: usize) -> Option<Behind> {
        let count = self.length()?;
        let mut behind: Vec<(u32, i64)> = Vec::new();
        for _ in 0..count {
            let event = u32::from_le_bytes(self.array()?);
            let rises = behind.last().is_none_or(|(last, _)| *last < event);
            if !rises || event as usize >= events {
                return None;
            }
            behind.push((event, i64::from_le_bytes(self.array()?)));
        }
        Some(Behind::new(behind))
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

    fn column(items: &[&[u8]]) -> Arc<Column> {
        let mut column = Column::default();
        items.iter().for_each(|item| column.push(item));
        Arc::new(column)
    }

    fn batch() -> Batch {
        Batch {
            times: Arc::new(vec![-1, 5]),
            positions: Arc::new(vec![1_003, 1_004]),
            keys: column(&[b"a", b""]),
            values: column(&[b"{}", &[0xff; 300]]).into(),
            fields: Fields::default(),
            origin: Origin {
                path: 3,
                behind: Behind::new(vec![(1, 60)]),
                ..Ticket::detached().into()
            },
        }
    }

    #[test]
    fn a_batch_survives_a_checkpoint() {
        for content in Content::ALL {
            for output in [None, Some("too-hot")] {
                let saved = SavedBatch::decode(&SavedBatch::encode(&batch(), "readings", content, output)).unwrap();
                assert_eq!((saved.content, saved.output.as_deref()), (content, output));
            }
        }
        let bytes = SavedBatch::encode(&batch(), "readings", Content::Outputs, Some("too-hot"));
        let renamed = SavedBatch::decode(&SavedBatch::with_source(&bytes, "days").unwrap()).unwrap();
        assert_eq!(
            (renamed.source.as_str(), renamed.output.as_deref()),
            ("days", Some("too-hot"))
        );
        let saved = SavedBatch::decode(&bytes).unwrap();
        assert_eq!((saved.source.as_str(), saved.path), ("readings", 3));
        let again = saved.into_batch(Ticket::detached());
        assert_eq!((again.times, again.positions), (batch().times, batch().positions));
        assert_eq!(again.keys, batch().keys);
        assert_eq!(again.origin.behind, batch().origin.behind);
        assert_eq!(again.values.to_column(), batch().values.to_column());
    }

    #[test]
    fn what_was_cut_off_or_appended_to_is_no_batch() {
        for output in [None, Some("too-hot")] {
            let bytes = SavedBatch::encode(&batch(), "readings", Content::Outputs, output);
            for length in 0..bytes.len() {
                assert_eq!(SavedBatch::decode(&bytes[..length]), None, "{length} bytes");
            }
            assert_eq!(SavedBatch::decode(&[bytes, vec![0]].concat()), None);
        }
    }
}
