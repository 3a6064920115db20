//! The open windows in time of one key, as its entry keeps them.
//!
//! They stand in the entry's accumulator, by their starts: sessions by themselves, other windows as the segments that they share. The end of
//! a segment is that of the first window which its events are in: mostly that is the first one that the segment is in; events that came too late
//! for it have a segment of their own, with a later end. Where a window has many segments, aggregates of them stand between them
//! ([`aggregates`](super::aggregates)). How their bytes are laid out says [`parts`](super::parts).
//!
//! The entry's own `start` is the least of theirs, its `count` the sum, and its `end` is when the next window of the key is to close.

use std::ops::Range;

use serde_json::{Value, json};
use smallvec::SmallVec;

use super::entry::{Entry, bytes_of_first};
use super::parts::{Aggregate, HEAD, Part, TAIL, first_segment};
use dirigo_ground::windowing::{EarlyEvents, Span};

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
    /// What is kept besides of a session that takes late events in, once it was finished. Without it, the end of the span is that of the session.
    pub session: Option<SessionState>,
}

/// What is kept of a session that was finished, or opened by a late event: the end of its span is when it is due, not its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionState {
    /// Where the session ends.
    pub end: i64,
    /// The number of its next result.
    pub pane: u32,
    /// What happens when it is due.
    pub stage: Stage,
}

/// What happens to a session when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has a result, and is kept for late events.
    Pending,
    /// It is forgotten.
    Finished,
    /// It has a result, and is forgotten: another session has taken its events over.
    Replaced,
}

impl Stage {
    pub(super) fn encoded(self) -> u32 {
        match self {
            Self::Pending => 0,
            Self::Finished => 1,
            Self::Replaced => 2,
        }
    }

    pub(super) fn decode(encoded: u32) -> Option<Self> {
        [Self::Pending, Self::Finished, Self::Replaced]
            .into_iter()
            .find(|stage| stage.encoded() == encoded)
    }
}

impl<'a> Segment<'a> {
    /// The bytes that it takes besides its accumulator.
    pub(super) const OVERHEAD_BYTES: usize = HEAD + TAIL;

    /// How many bytes it takes.
    pub(super) fn encoded_bytes(self) -> usize {
        self.as_part().encoded_bytes()
    }

    /// How many bytes it takes without what is kept of a session besides.
    fn open_bytes(self) -> usize {
        Self::OVERHEAD_BYTES + self.accumulator.len()
    }

    /// Appends its bytes.
    pub(super) fn encode_into(self, bytes: &mut Vec<u8>) {
        self.as_part().encode_into(bytes);
    }

    /// The bounds of the session that it is.
    pub(super) fn session_span(self) -> Span {
        Span {
            end: self.session.map_or(self.span.end, |session| session.end),
            ..self.span
        }
    }

    /// What happens to the session that it is, when it is due.
    pub(super) fn stage(self) -> Stage {
        self.session.map_or(Stage::Pending, |session| session.stage)
    }

    /// The number of the next result of the session that it is.
    pub(super) fn next_pane(self, early_events: EarlyEvents) -> u32 {
        self.session
            .map_or_else(|| early_events.results(self.count), |session| session.pane)
    }

    fn as_part(self) -> Part<'a> {
        Part {
            segment: self,
            aggregate: None,
        }
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
        while let Some((part, from)) = Part::last(&self.0[..end]) {
            if part.covers() {
                if part.segment.span.start > span.start {
                    end = part.first_covered(from);
                    continue;
                }
                let is_behind = Self(&self.0[..from]).newest().is_some_and(|newest| newest.span < span);
                if is_behind {
                    return Err(end);
                }
                end = from;
                continue;
            }
            match part.segment.span.cmp(&span) {
                std::cmp::Ordering::Equal => return Ok(from..end),
                std::cmp::Ordering::Less => return Err(end),
                std::cmp::Ordering::Greater => {}
            }
            end = from;
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
        self.newest_place().map(|(newest, _)| newest)
    }

    /// The last one, and where it begins.
    fn newest_place(&self) -> Option<(Segment<'a>, usize)> {
        let mut bytes = self.0;
        loop {
            let (part, from) = Part::last(bytes)?;
            if !part.covers() {
                return Some((part.segment, from));
            }
            bytes = &bytes[..from];
        }
    }

    /// The next one, where an aggregate stands first.
    #[cold]
    fn next_behind_aggregate(&mut self) -> Option<Segment<'a>> {
        loop {
            let (part, rest) = Part::first(self.0)?;
            self.0 = rest;
            if !part.covers() {
                return Some(part.segment);
            }
        }
    }

    /// The bytes of sessions for which `is_due` does not hold, whatever is kept of them besides.
    pub(super) fn open_session_bytes(&self, is_due: impl Fn(Segment<'_>) -> bool) -> usize {
        let open = self.clone().filter(|session| !is_due(*session));
        open.map(Segment::open_bytes).sum()
    }

    /// The bytes of those for which `is_due` holds, which are the first ones.
    pub(super) fn due_bytes(&self, is_due: impl Fn(Segment<'_>) -> bool) -> usize {
        let (mut front, mut back) = (self.clone(), self.clone());
        bytes_of_first(
            self.0.len(),
            || front.next().filter(|first| is_due(*first)).map(Segment::encoded_bytes),
            || {
                let (_, from) = back.newest_place().filter(|(newest, _)| !is_due(*newest))?;
                let bytes = back.0.len() - from;
                back.0 = &back.0[..from];
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

/// All that are not covered by others, aggregates in the middle left out.
impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    #[inline]
    fn next(&mut self) -> Option<Segment<'a>> {
        match first_segment(self.0) {
            Some((segment, rest)) => {
                self.0 = rest;
                Some(segment)
            }
            None => self.next_behind_aggregate(),
        }
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

    /// One of these segments and aggregates, at least one.
    pub(super) fn of_parts(span: Span, parts: &[Part<'_>]) -> Self {
        let mut segments = Vec::new();
        for part in parts {
            let alone = |aggregate| Aggregate {
                covered: 0,
                segment_bytes: 0,
                ..aggregate
            };
            let part = Part {
                aggregate: part.aggregate.map(alone),
                ..*part
            };
            part.encode_into(&mut segments);
        }
        Self {
            span,
            count: parts.iter().map(|part| part.segment.count).sum(),
            pane: 0,
            segments: segments.into(),
        }
    }

    /// Its segments, some of which may be aggregates of several.
    #[must_use]
    pub fn segments(&self) -> Segments<'_> {
        Segments(&self.segments)
    }

    /// The same, with what aggregates say of themselves.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let mut rest = &self.segments[..];
        std::iter::from_fn(move || {
            let (part, behind) = Part::first(rest)?;
            rest = behind;
            Some(part)
        })
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
            "end": segment.session_span().end,
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
            session: None,
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
                Segments(&bytes).due_bytes(|segment| segment.span.start < bound),
                expected,
                "{due} are due"
            );
        }
        assert_eq!(Segments(&[]).due_bytes(|_| true), 0);
    }

    #[test]
    fn sessions_with_a_state_are_found_from_both_ends() {
        let state = |stage| SessionState { end: 7, pane: 3, stage };
        let stages = [Stage::Pending, Stage::Finished, Stage::Replaced];
        let all: Vec<_> = (0..)
            .zip(stages)
            .flat_map(|(place, stage)| {
                let with_state = Segment {
                    session: Some(state(stage)),
                    ..segment(20 * place, b"abc")
                };
                [with_state, segment(20 * place + 10, b"d")]
            })
            .collect();
        let bytes = encode(all.iter().copied());
        assert!(Segments(&bytes).eq(all.iter().copied()));
        assert!(Segments(&bytes).are_sound());
        for expected in all {
            assert_eq!(Segments(&bytes).get(expected.span), Some(expected));
        }
    }

    #[test]
    fn what_was_cut_off_is_not_sound() {
        let with_state = Segment {
            session: Some(SessionState {
                end: 25,
                pane: 1,
                stage: Stage::Finished,
            }),
            ..segment(20, b"c")
        };
        let bytes = encode([segment(0, b"a"), with_state]);
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
