//! The open windows in time of one key, as its entry keeps them.
//!
//! They stand in the entry's accumulator, by their starts: sessions by themselves, other windows as the panes that they share. The end of
//! a pane is that of the first window which its events are in: mostly that is the first one that the pane is in; events that came too late
//! for it have a pane of their own, with a later end. Of each:
//!
//! ```text
//! start i64 | end i64 | events u64 | state version u32 | length u32 | accumulator | length u32
//! ```
//!
//! All numbers are little-endian. The length stands on both sides, so that the newest are found from the end, where most events go.
//!
//! The entry's own `start` is the least of theirs, its `count` the sum, and its `end` is when the next window of the key is to close.

use std::ops::Range;

use serde_json::{Value, json};
use smallvec::SmallVec;

use super::table::Entry;
use dirigo_ground::windowing::Span;

/// What stands in front of an accumulator.
const HEAD: usize = 8 + 8 + 8 + 4 + 4;
/// What stands behind it.
const TAIL: usize = 4;

/// A stretch of time whose events of a key have one accumulator: a session, or what windows share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pane<'a> {
    /// From its start to the end of the first window that it is in.
    pub span: Span,
    /// How many events.
    pub count: u64,
    /// The state version of the operator that wrote the accumulator.
    pub state_version: u32,
    /// What they were folded to.
    pub accumulator: &'a [u8],
}

impl Pane<'_> {
    /// The bytes that it takes besides its accumulator.
    pub(super) const OVERHEAD_BYTES: usize = HEAD + TAIL;

    /// How many bytes it takes.
    pub(super) fn encoded_bytes(self) -> usize {
        HEAD + self.accumulator.len() + TAIL
    }

    /// Appends its bytes.
    pub(super) fn encode_into(self, bytes: &mut Vec<u8>) {
        let length = u32::try_from(self.accumulator.len())
            .expect("limits keep accumulators under 4 GiB")
            .to_le_bytes();
        bytes.extend_from_slice(&self.span.start.to_le_bytes());
        bytes.extend_from_slice(&self.span.end.to_le_bytes());
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&self.state_version.to_le_bytes());
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(self.accumulator);
        bytes.extend_from_slice(&length);
    }
}

/// Panes in the bytes of an accumulator. What is damaged ends them.
#[derive(Clone, Copy, Debug)]
pub struct Panes<'a>(&'a [u8]);

impl<'a> Panes<'a> {
    /// Those of an entry of an operator with windows in time.
    #[must_use]
    pub fn of(entry: &'a Entry) -> Self {
        Self(&entry.accumulator)
    }

    /// Those in the bytes of an accumulator.
    #[must_use]
    pub fn in_bytes(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Where the one of this time is, or where it would be.
    pub(super) fn place_of(self, span: Span) -> Result<Range<usize>, usize> {
        let mut end = self.0.len();
        let mut rest = Self(self.0);
        while let Some(pane) = rest.last() {
            let from = rest.0.len() - HEAD - pane.accumulator.len() - TAIL;
            match pane.span.cmp(&span) {
                std::cmp::Ordering::Equal => return Ok(from..end),
                std::cmp::Ordering::Less => return Err(end),
                std::cmp::Ordering::Greater => {}
            }
            end = from;
            rest = Self(&self.0[..from]);
        }
        Err(0)
    }

    /// The one of this time.
    pub(super) fn get(self, span: Span) -> Option<Pane<'a>> {
        let range = self.place_of(span).ok()?;
        Self(&self.0[range]).next()
    }

    /// The last one.
    pub(super) fn last(self) -> Option<Pane<'a>> {
        let (rest, length) = self.0.split_last_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let from = rest.len().checked_sub(length)?.checked_sub(HEAD)?;
        Self(&self.0[from..]).next()
    }

    /// Whether they are panes from end to end, as much as one can tell.
    #[must_use]
    pub fn are_sound(self) -> bool {
        let mut rest = self;
        let mut last: Option<Span> = None;
        while let Some(pane) = rest.next() {
            let rises = last.is_none_or(|last| last < pane.span);
            if !rises || pane.span.end <= pane.span.start || pane.count == 0 || pane.accumulator.is_empty() {
                return false;
            }
            last = Some(pane.span);
        }
        rest.0.is_empty() && !self.0.is_empty()
    }
}

impl<'a> Iterator for Panes<'a> {
    type Item = Pane<'a>;

    fn next(&mut self) -> Option<Pane<'a>> {
        let (start, rest) = self.0.split_first_chunk()?;
        let (end, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (state_version, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (accumulator, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        let (_, rest) = rest.split_first_chunk::<TAIL>()?;
        self.0 = rest;
        Some(Pane {
            span: Span {
                start: i64::from_le_bytes(*start),
                end: i64::from_le_bytes(*end),
            },
            count: u64::from_le_bytes(*count),
            state_version: u32::from_le_bytes(*state_version),
            accumulator,
        })
    }
}

/// A window that has left the state, to be finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedWindow {
    /// Its bounds.
    pub span: Span,
    /// How many events it has.
    pub count: u64,
    /// How often it was finished before.
    pub number: u32,
    panes: SmallVec<[u8; 32]>,
}

impl ClosedWindow {
    /// One of these panes, at least one.
    pub(super) fn new(span: Span, number: u32, panes: &[Pane<'_>]) -> Self {
        Self {
            span,
            count: panes.iter().map(|pane| pane.count).sum(),
            number,
            panes: encode(panes.iter().copied()).into(),
        }
    }

    /// Its panes.
    #[must_use]
    pub fn panes(&self) -> Panes<'_> {
        Panes(&self.panes)
    }

    /// Its bytes, on its way: laid out as an entry, with its number in place of a state version.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let entry = Entry {
            count: self.count,
            start: self.span.start,
            end: self.span.end,
            state_version: self.number,
            accumulator: self.panes.clone(),
        };
        entry.encode()
    }

    /// The window in `bytes`, or `None` where they are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let entry = Entry::decode(bytes)?;
        let window = Self {
            span: Span {
                start: entry.start,
                end: entry.end,
            },
            count: entry.count,
            number: entry.state_version,
            panes: entry.accumulator,
        };
        Some(window).filter(|window| window.panes().are_sound())
    }
}

impl Entry {
    /// The accumulators of an operator's entry, each with the state version that it was written by: that of its window, or those of its
    /// panes where windows are of time.
    #[must_use]
    pub fn accumulators(&self, is_timed: bool) -> Vec<(u32, &[u8])> {
        if is_timed {
            let panes = Panes::of(self);
            panes.map(|pane| (pane.state_version, pane.accumulator)).collect()
        } else {
            vec![(self.state_version, &self.accumulator)]
        }
    }

    /// The entry with others in place of [these](Self::accumulators), as many and in their order, all written by `state_version`.
    #[must_use]
    pub fn with_accumulators(&self, is_timed: bool, accumulators: &[Vec<u8>], state_version: u32) -> Self {
        let panes = |accumulators: &[Vec<u8>]| {
            let panes = Panes::of(self).zip(accumulators);
            encode(panes.map(|(pane, accumulator)| Pane {
                state_version,
                accumulator,
                ..pane
            }))
        };
        Self {
            state_version,
            accumulator: match accumulators {
                [only] if !is_timed => only.as_slice().into(),
                several => panes(several).into(),
            },
            ..self.clone()
        }
    }
}

/// The panes of an entry as JSON: of each its `start`, `end`, `count` and `accumulator`, as `show` has it.
#[must_use]
pub fn shown(entry: &Entry, mut show: impl FnMut(Pane<'_>) -> Value) -> Value {
    let pane = |pane: Pane<'_>| {
        json!({
            "start": pane.span.start,
            "end": pane.span.end,
            "count": pane.count,
            "accumulator": show(pane),
        })
    };
    Value::Array(Panes::of(entry).map(pane).collect())
}

/// Bytes of panes, in order.
pub(super) fn encode<'a>(panes: impl IntoIterator<Item = Pane<'a>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    panes.into_iter().for_each(|pane| pane.encode_into(&mut bytes));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pane(start: i64, accumulator: &[u8]) -> Pane<'_> {
        Pane {
            span: Span { start, end: start + 10 },
            count: 3,
            state_version: 2,
            accumulator,
        }
    }

    #[test]
    fn panes_are_found_from_both_ends() {
        let all = [pane(-10, b"a"), pane(0, b"longer"), pane(20, b"c")];
        let bytes = encode(all);
        let panes = Panes(&bytes);
        assert!(panes.eq(all));
        assert_eq!(panes.last(), Some(all[2]));
        for expected in all {
            assert_eq!(panes.get(expected.span), Some(expected));
        }
        let at = |start| pane(start, b"").span;
        assert_eq!(panes.get(at(10)), None);
        assert_eq!(panes.place_of(at(10)), Err(encode(all[..2].iter().copied()).len()));
        assert_eq!(
            (panes.place_of(at(-50)), panes.place_of(at(90))),
            (Err(0), Err(bytes.len()))
        );
        assert_eq!(Panes(&[]).place_of(at(7)), Err(0));
        assert!(panes.are_sound());
    }

    #[test]
    fn what_was_cut_off_is_not_sound() {
        let bytes = encode([pane(0, b"a"), pane(20, b"c")]);
        let whole = encode([pane(0, b"a")]).len();
        for length in (0..bytes.len()).filter(|length| *length != whole) {
            assert!(!Panes(&bytes[..length]).are_sound(), "{length} bytes");
        }
        assert!(
            !Panes(&encode([pane(20, b"c"), pane(0, b"a")])).are_sound(),
            "they rise"
        );
    }
}
