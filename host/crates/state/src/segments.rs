//! The open windows in time of one key, as its entry keeps them.
//!
//! They stand in the entry's accumulator, by their starts: sessions by themselves, other windows as the segments that they share. The end of
//! a segment is that of the first window which its events are in: mostly that is the first one that the segment is in; events that came too late
//! for it have a segment of their own, with a later end. Of each:
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

use super::entry::{Entry, bytes_of_first};
use dirigo_ground::windowing::Span;

/// What stands in front of an accumulator.
const HEAD: usize = 8 + 8 + 8 + 4 + 4;
/// What stands behind it.
const TAIL: usize = 4;

/// A stretch of time whose events of a key have one accumulator: a session, or what windows share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// From its start to the end of the first window that it is in.
    pub span: Span,
    /// How many events.
    pub count: u64,
    /// The state version of the operator that wrote the accumulator.
    pub state_version: u32,
    /// What they were folded to.
    pub accumulator: &'a [u8],
}

impl Segment<'_> {
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

/// Segments in the bytes of an accumulator. What is damaged ends them.
#[derive(Clone, Debug)]
pub struct Segments<'a>(&'a [u8]);

impl<'a> Segments<'a> {
    /// Those of an entry of an operator with windows in time.
    #[must_use]
    pub fn of(entry: &'a Entry) -> Self {
        Self(entry.bytes())
    }

    /// Those in the bytes of an accumulator.
    #[must_use]
    pub fn in_bytes(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Where the one of this time is, or where it would be.
    pub(super) fn place_of(&self, span: Span) -> Result<Range<usize>, usize> {
        let mut end = self.0.len();
        let mut rest = Self(self.0);
        while let Some(segment) = rest.newest() {
            let from = rest.0.len() - HEAD - segment.accumulator.len() - TAIL;
            match segment.span.cmp(&span) {
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
    pub(super) fn get(&self, span: Span) -> Option<Segment<'a>> {
        let range = self.place_of(span).ok()?;
        Self(&self.0[range]).next()
    }

    /// The last one.
    pub(super) fn newest(&self) -> Option<Segment<'a>> {
        let (rest, length) = self.0.split_last_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let from = rest.len().checked_sub(length)?.checked_sub(HEAD)?;
        Self(&self.0[from..]).next()
    }

    /// The bytes of those for which `is_due` holds, which are the first ones.
    pub(super) fn due_bytes(&self, is_due: impl Fn(Span) -> bool) -> usize {
        let (mut front, mut back) = (self.clone(), self.clone());
        bytes_of_first(
            self.0.len(),
            || {
                front
                    .next()
                    .filter(|first| is_due(first.span))
                    .map(Segment::encoded_bytes)
            },
            || {
                let bytes = back.newest().filter(|last| !is_due(last.span))?.encoded_bytes();
                back.0 = &back.0[..back.0.len() - bytes];
                Some(bytes)
            },
        )
    }

    /// Whether they are segments from end to end, as much as one can tell.
    #[must_use]
    pub fn are_sound(&self) -> bool {
        let mut rest = self.clone();
        let mut last: Option<Span> = None;
        for segment in rest.by_ref() {
            let rises = last.is_none_or(|last| last < segment.span);
            if !rises || segment.span.end <= segment.span.start || segment.count == 0 || segment.accumulator.is_empty()
            {
                return false;
            }
            last = Some(segment.span);
        }
        rest.0.is_empty() && !self.0.is_empty()
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        let (start, rest) = self.0.split_first_chunk()?;
        let (end, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (state_version, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (accumulator, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        let (_, rest) = rest.split_first_chunk::<TAIL>()?;
        self.0 = rest;
        Some(Segment {
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
    pub pane: u32,
    segments: SmallVec<[u8; 32]>,
}

impl ClosedWindow {
    /// One of these segments, at least one.
    pub(super) fn new(span: Span, pane: u32, segments: &[Segment<'_>]) -> Self {
        Self {
            span,
            count: segments.iter().map(|segment| segment.count).sum(),
            pane,
            segments: encode(segments.iter().copied()).into(),
        }
    }

    /// Its segments.
    #[must_use]
    pub fn segments(&self) -> Segments<'_> {
        Segments(&self.segments)
    }

    /// Its bytes, on its way: laid out as an entry, with its pane in place of a state version.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let entry = Entry::new(self.count, (self.span.start, self.span.end), self.pane, &self.segments);
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
            pane: entry.state_version,
            segments: SmallVec::from_slice(entry.bytes()),
        };
        Some(window).filter(|window| window.segments().are_sound())
    }
}

/// The segments of an entry as JSON: of each its `start`, `end`, `count` and `accumulator`, as `show` has it.
#[must_use]
pub fn shown(entry: &Entry, mut show: impl FnMut(Segment<'_>) -> Value) -> Value {
    let segment = |segment: Segment<'_>| {
        json!({
            "start": segment.span.start,
            "end": segment.span.end,
            "count": segment.count,
            "accumulator": show(segment),
        })
    };
    Value::Array(Segments::of(entry).map(segment).collect())
}

/// Bytes of segments, in order.
pub(super) fn encode<'a>(segments: impl IntoIterator<Item = Segment<'a>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    segments.into_iter().for_each(|segment| segment.encode_into(&mut bytes));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(start: i64, accumulator: &[u8]) -> Segment<'_> {
        Segment {
            span: Span { start, end: start + 10 },
            count: 3,
            state_version: 2,
            accumulator,
        }
    }

    #[test]
    fn segments_are_found_from_both_ends() {
        let all = [segment(-10, b"a"), segment(0, b"longer"), segment(20, b"c")];
        let bytes = encode(all);
        let segments = Segments(&bytes);
        assert!(segments.clone().eq(all));
        assert_eq!(segments.newest(), Some(all[2]));
        for expected in all {
            assert_eq!(segments.get(expected.span), Some(expected));
        }
        let at = |start| segment(start, b"").span;
        assert_eq!(segments.get(at(10)), None);
        assert_eq!(segments.place_of(at(10)), Err(encode(all[..2].iter().copied()).len()));
        assert_eq!(
            (segments.place_of(at(-50)), segments.place_of(at(90))),
            (Err(0), Err(bytes.len()))
        );
        assert_eq!(Segments(&[]).place_of(at(7)), Err(0));
        assert!(segments.are_sound());
    }

    #[test]
    fn those_that_are_due_are_counted_from_either_end() {
        let accumulators = [&b"a"[..], b"ab", b"abc", b"abcd", b"abcde", b"a", b"ab"];
        let all: Vec<_> = (0..)
            .zip(accumulators)
            .map(|(place, accumulator)| segment(place * 10, accumulator))
            .collect();
        let bytes = encode(all.iter().copied());
        for due in 0..=all.len() {
            let expected = encode(all[..due].iter().copied()).len();
            let bound = all.get(due).map_or(i64::MAX, |first_left| first_left.span.start);
            assert_eq!(
                Segments(&bytes).due_bytes(|span| span.start < bound),
                expected,
                "{due} are due"
            );
        }
        assert_eq!(Segments(&[]).due_bytes(|_| true), 0);
    }

    #[test]
    fn what_was_cut_off_is_not_sound() {
        let bytes = encode([segment(0, b"a"), segment(20, b"c")]);
        let whole = encode([segment(0, b"a")]).len();
        for length in (0..bytes.len()).filter(|length| *length != whole) {
            assert!(!Segments(&bytes[..length]).are_sound(), "{length} bytes");
        }
        assert!(
            !Segments(&encode([segment(20, b"c"), segment(0, b"a")])).are_sound(),
            "they rise"
        );
    }
}
