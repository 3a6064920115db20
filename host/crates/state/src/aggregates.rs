//! Aggregates of segments: a window of many segments is merged from few.
//!
//! Segments are numbered by their time. Two neighbours whose numbers differ in their last bits only become an aggregate of the shortest stretch of
//! 2, 4, 8 … segments that holds both, once that is complete; aggregates become larger ones likewise. So a window of *n* segments is merged from at most
//! 2 log *n* parts, and each segment costs one merge more (Tangwongsan et al., General Incremental Sliding-Window Aggregation, VLDB 2015, who keep
//! such a tree over a ring of segments). The turn of a key that opens a segment merges what has become complete. Pairs that no turn has merged are
//! merged when a window closes. So a result does not depend on which aggregates there were.
//!
//! An aggregate is there to save time: it counts for no limit, and is dropped when an event comes to its time after all. Where a turn fails that made
//! some, it may have failed for that: it runs again without, and no turn of the actor makes any for a while ([`Attempts`]).

use std::ops::Range;

use smallvec::SmallVec;

use super::entry::Entry;
use super::parts::{Aggregate, Part};
use super::segments::Segment;
use dirigo_ground::windowing::{Sliding, Span};

/// Parts of a key that a turn looks at for what is complete: that takes some 20 us.
const LOOKED_AT_MAX: usize = 4_096;
/// How many aggregates a turn makes beyond two for each segment that it opens, by which it catches up: they take 0.1 ms.
const MORE_IN_A_TURN: usize = 256;
/// Larger stretches are not looked for: no window is of 4 billion segments. Nor are any around the epoch, on whose sides numbers differ in all bits.
const LEVEL_MAX: u32 = 32;
/// What an aggregate may take beyond half of what it is merged from. Of more, as of lists that grow, there would be a copy for each level.
const KEPT_BYTES: usize = 64;

/// How segments are numbered, where windows have many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    sliding: Sliding,
    segment_ms: i64,
}

impl Grid {
    /// That of these windows; `None` where they have few segments.
    pub(super) fn of(sliding: Sliding) -> Option<Self> {
        sliding.are_of_many_segments().then(|| Self {
            sliding,
            segment_ms: sliding.segment_ms(),
        })
    }

    fn number(self, start: i64) -> i64 {
        (start - self.sliding.offset_ms).div_euclid(self.segment_ms)
    }

    fn start(self, number: i64) -> i64 {
        number * self.segment_ms + self.sliding.offset_ms
    }

    /// The stretch of 2^`level` segments around one.
    fn stretch(self, number: i64, level: u32) -> Span {
        let first = number >> level;
        Span {
            start: self.start(first << level),
            end: self.start((first + 1) << level),
        }
    }

    /// Whether nothing comes to a stretch any more, but what is late for a window: event time has come to `watermark`.
    fn is_complete(self, stretch: Span, watermark: i64) -> bool {
        let last = Span {
            start: stretch.end - self.segment_ms,
            end: stretch.end,
        };
        self.sliding.first_end(last) <= watermark
    }

    /// The neighbours of these numbers that are next to become one, each with its stretch: those that are closest, and for which `may_join`.
    fn neighbours(
        self,
        numbers: &[i64],
        has_more_in_front: bool,
        may_join: impl Fn(Span, Range<usize>) -> bool,
    ) -> Vec<(Span, Range<usize>)> {
        let level = |place: usize| level(numbers[place], numbers[place + 1]);
        let mut found = Vec::new();
        let mut first = 0;
        while first + 1 < numbers.len() {
            let own = level(first);
            let mut last = first + 1;
            // Of one segment there may be several, of which some came late.
            while own == 0 && last + 1 < numbers.len() && level(last) == 0 {
                last += 1;
            }
            let before = match first.checked_sub(1) {
                Some(before) => level(before),
                None if has_more_in_front => 0,
                None => u32::MAX,
            };
            let after = if last + 1 < numbers.len() {
                level(last)
            } else {
                u32::MAX
            };
            let is_closest = own < before && own < after && own <= LEVEL_MAX;
            let stretch = is_closest.then(|| self.stretch(numbers[first], own));
            if let Some(stretch) = stretch.filter(|stretch| may_join(*stretch, first..last + 1)) {
                found.push((stretch, first..last + 1));
                first = last + 1;
            } else {
                first = if own == 0 { last } else { first + 1 };
            }
        }
        found
    }
}

/// How many last bits two numbers differ in.
fn level(one: i64, other: i64) -> u32 {
    i64::BITS - (one ^ other).leading_zeros()
}

/// Whether the turns of an actor make aggregates.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Turns that make none.
    pause: u32,
    /// How many the next pause is of.
    next_pause: u32,
}

impl Attempts {
    /// The first pause, in turns; each that follows it is twice as long, up to the longest.
    const FIRST_PAUSE: u32 = 64;
    const LONGEST_PAUSE: u32 = 1 << 16;

    /// How many aggregates the next turn may make, which opens so many segments.
    pub(super) fn begin(&mut self, segments: usize) -> usize {
        if self.pause == 0 {
            return MORE_IN_A_TURN + 2 * segments;
        }
        self.pause -= 1;
        0
    }

    pub(super) fn succeed(&mut self) {
        self.next_pause = 0;
    }

    pub(super) fn fail(&mut self) {
        self.pause = self.next_pause.max(Self::FIRST_PAUSE);
        self.next_pause = self.pause.saturating_mul(2).min(Self::LONGEST_PAUSE);
    }
}

/// Which part it is, of those of a key. With more events it is another: the turn that merges it may add events to it, too, as event time may have come
/// past its end within the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PartId {
    span: Span,
    until: Option<i64>,
    count: u64,
}

impl PartId {
    fn of(part: Part<'_>) -> Self {
        Self {
            span: part.segment.span,
            until: part.aggregate.map(|aggregate| aggregate.until),
            count: part.segment.count,
        }
    }
}

/// Parts of a key that become an aggregate.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// The time of the aggregate.
    stretch: Span,
    parts: SmallVec<[PartId; 2]>,
    /// How many bytes stood behind the parts when they were found.
    behind: usize,
    /// Whether one of them has no accumulator, since that was too large to be kept: then so is what is merged of them.
    pub(super) is_hollow: bool,
}

impl Pending {
    /// How many parts there are.
    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }

    /// What the parts are in the entry in which they were found, which has not changed since.
    pub(super) fn segments<'a>(&self, entry: &'a Entry) -> impl Iterator<Item = Segment<'a>> + use<'a> {
        let bytes = entry.bytes();
        let found = self.find(bytes, bytes.len() - self.behind);
        let parts = found.map(|(_, parts)| parts).unwrap_or_default();
        parts.into_iter().map(|part| part.segment)
    }

    /// Where the parts begin, and what they are, if they end at `end` and nothing else is of their time.
    fn find<'a>(&self, bytes: &'a [u8], mut end: usize) -> Option<(usize, SmallVec<[Part<'a>; 2]>)> {
        let mut parts = SmallVec::new();
        for id in self.parts.iter().rev() {
            let (part, from) = Part::last(&bytes[..end])?;
            if PartId::of(part) != *id {
                return None;
            }
            parts.push(part);
            end = part.first_covered(from);
        }
        let before = Part::last(&bytes[..end]);
        let is_alone = before.is_none_or(|(part, _)| part.segment.span.start < self.stretch.start);
        parts.reverse();
        is_alone.then_some((end, parts))
    }

    /// Puts the aggregate behind its parts, if they are still there, in front of `end`. Gives where they begin: what is pending in front of them
    /// stands in front of that.
    pub(super) fn put(&self, entry: &mut Entry, accumulator: &[u8], state_version: u32, mut end: usize) -> usize {
        let bytes = entry.bytes();
        while let Some((part, from)) = Part::last(&bytes[..end]) {
            if part.segment.span.start < self.stretch.end {
                break;
            }
            end = part.first_covered(from);
        }
        let Some((start, parts)) = self.find(bytes, end) else {
            return end;
        };
        let merged: usize = parts.iter().map(|part| part.segment.accumulator.len()).sum();
        let is_kept = accumulator.len() <= merged / 2 + KEPT_BYTES;
        let segment_bytes: usize = parts.iter().map(|part| part.segment_bytes()).sum();
        let (Ok(covered), Ok(segment_bytes)) = (u32::try_from(end - start), u32::try_from(segment_bytes)) else {
            return start;
        };
        let part = Part {
            segment: Segment {
                span: Span {
                    start: self.stretch.start,
                    end: parts.iter().map(|part| part.segment.span.end).max().unwrap_or_default(),
                },
                count: parts.iter().map(|part| part.segment.count).sum(),
                state_version,
                accumulator: if is_kept { accumulator } else { &[] },
                session: None,
            },
            aggregate: Some(Aggregate {
                until: self.stretch.end,
                covered,
                segment_bytes,
            }),
        };
        let mut encoded = Vec::with_capacity(part.encoded_bytes());
        part.encode_into(&mut encoded);
        drop(parts);
        entry.replace(end..end, &encoded);
        start
    }
}

/// The parts of an entry that are next to become aggregates, the newest first: those that are complete now that event time has come to `watermark`,
/// and of `state_version`. Besides, how many bytes were looked at.
pub(super) fn pending(entry: &Entry, grid: Grid, watermark: i64, state_version: u32) -> (Vec<Pending>, usize) {
    let bytes = entry.bytes();
    let mut end = bytes.len();
    // Each with how many bytes stand behind it.
    let mut parts: SmallVec<[(Part<'_>, usize); 32]> = SmallVec::new();
    let mut looked_at = 0;
    while let Some((part, from)) = Part::last(&bytes[..end]).filter(|_| parts.len() < LOOKED_AT_MAX) {
        looked_at += part.encoded_bytes();
        parts.push((part, bytes.len() - end));
        end = part.first_covered(from);
    }
    parts.reverse();
    let numbers: SmallVec<[i64; 32]> = parts
        .iter()
        .map(|(part, _)| grid.number(part.segment.span.start))
        .collect();
    let may_join = |stretch: Span, of: Range<usize>| {
        let may_merge =
            |part: Part<'_>| part.segment.span.end <= watermark && part.segment.state_version == state_version;
        grid.is_complete(stretch, watermark) && parts[of].iter().all(|(part, _)| may_merge(*part))
    };
    let found = grid.neighbours(&numbers, end > 0, may_join).into_iter().rev();
    let pending = found.map(|(stretch, of)| Pending {
        stretch,
        parts: parts[of.clone()].iter().map(|(part, _)| PartId::of(*part)).collect(),
        behind: parts[of.end - 1].1,
        is_hollow: parts[of].iter().any(|(part, _)| part.segment.accumulator.is_empty()),
    });
    (pending.collect(), looked_at)
}

/// Drops the aggregates that cover a time.
pub(super) fn dissolve(entry: &mut Entry, time: i64) {
    let bytes = entry.bytes();
    let (mut end, mut dropped): (_, SmallVec<[Range<usize>; 4]>) = (bytes.len(), SmallVec::new());
    while let Some((part, from)) = Part::last(&bytes[..end]) {
        let until = part.aggregate.map(|aggregate| aggregate.until);
        if part.segment.span.start > time {
            end = part.first_covered(from);
        } else if until.is_some_and(|until| until > time) {
            dropped.push(from..end);
            end = from;
        } else {
            break;
        }
    }
    dropped.into_iter().for_each(|range| entry.remove(range));
}

/// The bytes that segments take which are not due.
pub(super) fn open_bytes(entry: &Entry, is_due: impl Fn(Segment<'_>) -> bool) -> usize {
    let bytes = entry.bytes();
    let (mut end, mut total) = (bytes.len(), 0);
    while let Some((part, from)) = Part::last(&bytes[..end]) {
        if !part.covers() {
            if is_due(part.segment) {
                break;
            }
            total += part.segment_bytes();
            end = from;
            continue;
        }
        let is_whole = part
            .aggregate
            .is_some_and(|aggregate| aggregate.covered as usize <= from);
        if is_whole && !is_due(part.segment) {
            total += part.segment_bytes();
            end = part.first_covered(from);
        } else {
            end = from;
        }
    }
    total
}

/// What a window is merged from, in order: all that is seen by its end, in as few parts as there are.
pub(super) fn parts_of(entry: &Entry, window: Span) -> Vec<Part<'_>> {
    let bytes = entry.bytes();
    let (mut parts, mut end) = (Vec::new(), bytes.len());
    while let Some((part, from)) = Part::last(&bytes[..end]) {
        let Segment { span, accumulator, .. } = part.segment;
        let until = part.aggregate.map(|aggregate| aggregate.until);
        if span.start >= window.end {
            end = part.first_covered(from);
        } else if until.unwrap_or(span.start + 1) <= window.start {
            break;
        } else if let Some(until) = until {
            let is_within = window.start <= span.start && until <= window.end && span.end <= window.end;
            if is_within && !accumulator.is_empty() {
                parts.push(part);
                end = part.first_covered(from);
            } else {
                end = from;
            }
        } else {
            if span.end <= window.end {
                parts.push(part);
            }
            end = from;
        }
    }
    parts.reverse();
    parts
}

/// In which groups of neighbours the parts of a window are merged before those that are left are: of each round how many parts each group has.
pub(super) fn rounds(parts: &[Part<'_>], grid: Grid, window: Span) -> Vec<Vec<u32>> {
    let number = |part: &Part<'_>| grid.number(part.segment.span.start);
    let mut numbers: SmallVec<[i64; 32]> = parts.iter().map(number).collect();
    let is_within = |stretch: Span, _: Range<usize>| window.start <= stretch.start && stretch.end <= window.end;
    let mut rounds = Vec::new();
    loop {
        let found = grid.neighbours(&numbers, false, is_within);
        if found.is_empty() {
            return rounds;
        }
        let (mut sizes, mut left, mut behind) = (Vec::new(), SmallVec::new(), 0);
        for (_, of) in found {
            sizes.extend(std::iter::repeat_n(1, of.start - behind));
            left.extend_from_slice(&numbers[behind..=of.start]);
            sizes.push(u32::try_from(of.len()).expect("a key has few segments of one time"));
            behind = of.end;
        }
        sizes.extend(std::iter::repeat_n(1, numbers.len() - behind));
        left.extend_from_slice(&numbers[behind..]);
        rounds.push(sizes);
        numbers = left;
    }
}
