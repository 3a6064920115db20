//! The bytes of segments and of their aggregates, as an entry keeps them.
//!
//! ```text
//! a segment:     start i64 | end i64 | events u64 | state version u32 | length u32 | accumulator | length u32
//! a session that was finished, or is replaced:
//!                start i64 | due i64 | events u64 | state version u32 | length u32 | accumulator |
//!                end i64 | pane u32 | stage u32 | length u32
//! an aggregate:  start i64 | end i64 | events u64 | state version u32 | length u32 | accumulator |
//!                until i64 | covered u32 | segments u32 | length u32
//! ```
//!
//! All numbers are little-endian. The length stands on both sides, so that parts are found from either end; its highest bit says that it is an
//! aggregate, and the next one that it is such a session. Segments stand by their starts, and an aggregate stands right behind what it is merged from. So a walk from the end meets an
//! aggregate before its parts, and can skip them.

use super::segments::{Segment, SessionState, Stage};
use dirigo_ground::windowing::Span;

/// What stands in front of an accumulator.
pub(super) const HEAD: usize = 8 + 8 + 8 + 4 + 4;
/// What stands behind that of a segment.
pub(super) const TAIL: usize = 4;
/// What stands behind that of an aggregate.
const AGGREGATE_TAIL: usize = 8 + 4 + 4 + 4;
/// What stands behind that of a session with a state.
const SESSION_TAIL: usize = 8 + 4 + 4 + 4;
/// Says that a part is an aggregate. Limits keep accumulators shorter.
const IS_AGGREGATE: u32 = 1 << 31;
/// Says that a part is a session with a state.
const IS_SESSION: u32 = 1 << 30;
const LENGTH: u32 = !(IS_AGGREGATE | IS_SESSION);

/// What an aggregate says besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Aggregate {
    /// The end of its time; its start is that of its span.
    pub(super) until: i64,
    /// How many bytes in front of it are what it is merged from. Of these, the first may be gone.
    pub(super) covered: u32,
    /// The bytes of segments among them.
    pub(super) segment_bytes: u32,
}

/// A segment, or an aggregate of several: of these the span has the start of its time, and from when on all of them are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) segment: Segment<'a>,
    pub(super) aggregate: Option<Aggregate>,
}

impl<'a> Part<'a> {
    /// How many bytes it takes.
    pub(super) fn encoded_bytes(self) -> usize {
        HEAD + self.segment.accumulator.len() + tail_bytes(self.flags())
    }

    /// What its length says besides.
    fn flags(self) -> u32 {
        match (self.aggregate, self.segment.session) {
            (Some(_), _) => IS_AGGREGATE,
            (None, Some(_)) => IS_SESSION,
            (None, None) => 0,
        }
    }

    /// The bytes of segments that it stands for.
    pub(super) fn segment_bytes(self) -> usize {
        self.aggregate
            .map_or(self.encoded_bytes(), |aggregate| aggregate.segment_bytes as usize)
    }

    /// Whether it stands behind parts that it is merged from.
    pub(super) fn covers(self) -> bool {
        self.aggregate.is_some_and(|aggregate| aggregate.covered > 0)
    }

    /// Where what it covers begins, if it begins at `from`.
    pub(super) fn first_covered(self, from: usize) -> usize {
        from.saturating_sub(self.aggregate.map_or(0, |aggregate| aggregate.covered as usize))
    }

    /// Appends its bytes.
    pub(super) fn encode_into(self, bytes: &mut Vec<u8>) {
        let Segment {
            span,
            count,
            state_version,
            accumulator,
            session,
        } = self.segment;
        let length = u32::try_from(accumulator.len()).ok().filter(|length| *length <= LENGTH);
        let length = length.expect("limits keep accumulators under 1 GiB") | self.flags();
        bytes.extend_from_slice(&span.start.to_le_bytes());
        bytes.extend_from_slice(&span.end.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&state_version.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(accumulator);
        if let Some(aggregate) = self.aggregate {
            bytes.extend_from_slice(&aggregate.until.to_le_bytes());
            bytes.extend_from_slice(&aggregate.covered.to_le_bytes());
            bytes.extend_from_slice(&aggregate.segment_bytes.to_le_bytes());
        } else if let Some(session) = session {
            bytes.extend_from_slice(&session.end.to_le_bytes());
            bytes.extend_from_slice(&session.pane.to_le_bytes());
            bytes.extend_from_slice(&session.stage.encoded().to_le_bytes());
        }
        bytes.extend_from_slice(&length.to_le_bytes());
    }

    /// The first part, and what is behind it. `None` where there is none, or it is damaged.
    pub(super) fn first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        if let Some((segment, rest)) = first_segment(bytes) {
            let aggregate = None;
            return Some((Self { segment, aggregate }, rest));
        }
        let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
        let length = length_in(head);
        let (accumulator, rest) = rest.split_at_checked((length & LENGTH) as usize)?;
        let (time, rest) = rest.split_first_chunk()?;
        let (first, rest) = rest.split_first_chunk()?;
        let (second, rest) = rest.split_first_chunk()?;
        let (_, rest) = rest.split_first_chunk::<TAIL>()?;
        let (time, first, second) = (
            i64::from_le_bytes(*time),
            u32::from_le_bytes(*first),
            u32::from_le_bytes(*second),
        );
        let mut segment = segment(head, accumulator);
        if length & IS_AGGREGATE == 0 {
            segment.session = Some(SessionState {
                end: time,
                pane: first,
                stage: Stage::decode(second)?,
            });
            return Some((
                Self {
                    segment,
                    aggregate: None,
                },
                rest,
            ));
        }
        let aggregate = Some(Aggregate {
            until: time,
            covered: first,
            segment_bytes: second,
        });
        Some((Self { segment, aggregate }, rest))
    }

    /// The last part, and where it begins. `None` where there is none, or it is damaged.
    pub(super) fn last(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let length = u32::from_le_bytes(*bytes.last_chunk()?);
        let tail = tail_bytes(length);
        let length = usize::try_from(length & LENGTH).ok()?;
        let from = bytes.len().checked_sub(tail)?.checked_sub(length)?.checked_sub(HEAD)?;
        Self::first(&bytes[from..]).map(|(part, _)| (part, from))
    }
}

/// How many bytes stand behind an accumulator with this length, which says what it is of.
fn tail_bytes(length: u32) -> usize {
    if length & IS_AGGREGATE != 0 {
        AGGREGATE_TAIL
    } else if length & IS_SESSION != 0 {
        SESSION_TAIL
    } else {
        TAIL
    }
}

/// The first segment, and what is behind it. `None` where there is none, it is an aggregate or a session with a state, or it is damaged.
#[inline]
pub(super) fn first_segment(bytes: &[u8]) -> Option<(Segment<'_>, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let length = length_in(head);
    if length & !LENGTH != 0 {
        return None;
    }
    let (accumulator, rest) = rest.split_at_checked(length as usize)?;
    let (_, rest) = rest.split_first_chunk::<TAIL>()?;
    Some((segment(head, accumulator), rest))
}

#[inline]
fn length_in(head: &[u8; HEAD]) -> u32 {
    u32::from_le_bytes(*head.last_chunk().expect("a head ends with a length"))
}

#[inline]
fn segment<'a>(head: &[u8; HEAD], accumulator: &'a [u8]) -> Segment<'a> {
    let (start, rest) = head.split_first_chunk().expect("a head begins with a start");
    let (end, rest) = rest.split_first_chunk().expect("the end comes next");
    let (count, rest) = rest.split_first_chunk().expect("the events come next");
    let state_version = rest.first_chunk().expect("the state version comes next");
    Segment {
        span: Span {
            start: i64::from_le_bytes(*start),
            end: i64::from_le_bytes(*end),
        },
        count: u64::from_le_bytes(*count),
        state_version: u32::from_le_bytes(*state_version),
        accumulator,
        session: None,
    }
}
