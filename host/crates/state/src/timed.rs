//! Which events fold into which window in time, and which windows close.
//!
//! Before a turn, [`assign`] sorts the events of a batch into groups, one for each segment or session that they touch. After it,
//! [`Plan::commit`] writes the accumulators back. No fold closes a window: that is done when the watermark has passed its end
//! ([`Table::take_due`]), by which time every event is in it that is not late. So a window may leave its table while a fold is under way: no
//! event of that can belong to it.
//!
//! An event is late for a window that ends at or before the watermark which its source had before the event
//! ([`dirigo_ground::behind`]). Whether it is depends on the input alone.

mod closing;
mod finishing;
mod groups;
mod merging;
mod sessions;

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::aggregates::{self, Grid, Pending};
use super::segments::{Segment, Segments, SessionState, Stage};
use super::table::Table;
use super::windows::{OpenChange, Slots, group_number, stale};
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::{EarlyResults, Fold, StaleGroups, Windows};
use dirigo_ground::windowing::{Sliding, Span, TimeWindows, bounded};

pub use closing::Due;
pub use finishing::{closed, finish};
pub use merging::merge;
pub use sessions::is_late;

use groups::Groups;
use sessions::Known;

/// What a turn will do to a table, once it succeeded.
#[derive(Debug)]
pub struct Plan {
    groups: Vec<Group>,
    /// By slot, parts that become aggregates without being merged: these would be too large.
    hollow: Vec<(u32, Pending)>,
    state_version: u32,
    /// Whether windows have aggregates of segments.
    has_aggregates: bool,
    /// Whether they are sessions that take late events in.
    keeps_sessions: bool,
    /// The groups whose windows have an early result, by the events that bring it.
    early: Vec<u32>,
}

/// Events of a batch that belong to one segment or session.
#[derive(Debug, Default)]
struct Group {
    slot: u32,
    /// Of a session, from its start to when it is due.
    span: Span,
    /// Of a session that was finished, or opened by a late event: its end, and the number of its next result.
    session: Option<(i64, u32)>,
    /// How many events the turn adds.
    added: u64,
    /// How many it has with those, where that brings early results.
    count: u64,
    /// How many early results its window has had, or those that became it.
    results: u32,
    /// The event that brings an early result of its window, which is the last of the turn in it; and the pane of the result.
    early: Option<(u32, u32)>,
    /// What it goes on from: several where events join sessions.
    resumes: SmallVec<[Resumed; 1]>,
    /// Where it has no events: what it is merged from.
    pending: Option<Box<Pending>>,
    /// How many bytes the key's windows took before.
    key_bytes: usize,
}

/// A segment or session that a group goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Resumed {
    pub(super) span: Span,
    /// Of a session that is to have a result which holds none of the events of the group. That may be put out while the turn is under way.
    pub(super) result: Option<OwnResult>,
}

/// The result that a session is to have before others take its events over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OwnResult {
    /// The number of it.
    pub(super) pane: u32,
    /// Until when the session is kept once it has been put out.
    pub(super) kept_until: i64,
}

impl Resumed {
    /// One that the group takes the place of.
    pub(super) fn replaced(span: Span) -> Self {
        Self { span, result: None }
    }
}

/// A key that a turn has touched.
#[derive(Debug, Default)]
struct Touched {
    slot: u32,
    /// Of segments those that the turn knows, each with its group.
    segments: SmallVec<[(Span, u32); 2]>,
    /// All sessions that events may join, those without a group as they were.
    sessions: SmallVec<[Known; 1]>,
    /// How many bytes its segments took before, once that was counted.
    key_bytes: Option<usize>,
}

/// The events of `batch` that are late for every window, rising, as far as that depends on their times alone: for sessions, those that
/// may be.
#[must_use]
pub fn late(batch: &Batch, windows: TimeWindows) -> Vec<u32> {
    let last_end = |time: i64| match windows {
        TimeWindows::Sliding(sliding) => {
            sliding.last_end(sliding.segment(time, sliding.segment_ms())) + sliding.allowed_ms
        }
        TimeWindows::Session(session) => session.span(time).end + session.allowed_ms,
    };
    let behind = batch.origin.behind.events().iter();
    let is_late = |(event, watermark): &&(u32, i64)| last_end(batch.times[*event as usize]) <= *watermark;
    behind.filter(is_late).map(|(event, _)| *event).collect()
}

/// Sorts `batch` into windows, for an operator that writes accumulators of `state_version`: as many of its events as one turn can be handed
/// the state of, which the fold has. `turn` is not 0 and differs from that of the turn before.
///
/// Of sessions, the events end before the first one that is late: the caller drops that ([`is_late`]) and comes again. Of other windows,
/// the caller has dropped those that are [`late`]. Behind an event that brings an early result, the events end before the next one of that window:
/// the result is made of what the fold leaves.
///
/// Where windows have many segments, what is complete by `watermark` is merged to aggregates in the same turn.
pub fn assign(
    table: &mut Table,
    batch: &Batch,
    windows: TimeWindows,
    turn: u32,
    state_version: u32,
    watermark: impl FnOnce() -> i64,
) -> (Fold, Plan) {
    let grid = match windows {
        TimeWindows::Sliding(sliding) => Grid::of(sliding),
        TimeWindows::Session(_) => None,
    };
    let mut groups = Groups::of(windows.early_events());
    let mut joined: Vec<u32> = Vec::with_capacity(batch.len());
    let mut slots = Slots::new(batch, windows.early_events());
    let segment_ms = match windows {
        TimeWindows::Sliding(sliding) => sliding.segment_ms(),
        TimeWindows::Session(session) => session.gap_ms,
    };
    // Of the event before: most are in the same one, which a calendar is slow to find.
    let mut recent = Recent::default();
    for (event, &time) in batch.times.iter().enumerate() {
        let number = slots.of(event, table);
        let slot = table.slot_mut(number);
        if slot.turn != turn {
            slot.turn = turn;
            slot.group = group_number(groups.touched.len());
            let sessions = match windows {
                TimeWindows::Sliding(_) => SmallVec::new(),
                TimeWindows::Session(_) => sessions::known(&slot.entry),
            };
            groups.touched.push(Touched {
                slot: number,
                sessions,
                ..Touched::default()
            });
        }
        let touched = slot.group as usize;
        let entry = &slot.entry;
        let behind = batch.origin.behind.watermark_before(event);
        let added = match windows {
            TimeWindows::Sliding(sliding) => {
                let segment = recent.segment(sliding, time, segment_ms);
                let end = recent.seen_from(sliding, behind);
                // What comes behind the end of its window brings no early result.
                let place = (end == recent.first_end).then_some(event);
                groups.add_to_segment(touched, entry, Span { end, ..segment }, place, grid.is_some())
            }
            TimeWindows::Session(session) => {
                groups.add_to_session(touched, entry, session, session.span(time), behind, event)
            }
        };
        let Some(group) = added else { break };
        joined.push(group);
    }
    let hollow = match grid {
        Some(grid) => groups.merge_complete(table, grid, watermark, state_version),
        None => Vec::new(),
    };
    let (mut plan, numbers) = groups.into_plan(state_version);
    plan.hollow = hollow;
    plan.has_aggregates = grid.is_some();
    plan.keeps_sessions = matches!(windows, TimeWindows::Session(session) if session.allowed_ms > 0);
    joined.iter_mut().for_each(|group| *group = numbers[*group as usize]);
    let is_whole = joined.len() == batch.len();
    let (accumulators, merged) = plan.accumulators(table);
    let fold = Fold {
        batch: if is_whole {
            batch.clone()
        } else {
            batch.slice(0..joined.len())
        },
        groups: Arc::new(joined),
        accumulators: Arc::new(accumulators),
        merged: merged.map(Arc::new),
        closing: None,
        early: plan.early_results(table).map(Arc::new),
        stale: plan.stale(table),
    };
    (fold, plan)
}

/// Whether a segment or session takes nothing in any more at a watermark.
#[must_use]
pub fn is_due(windows: TimeWindows, segment: Segment<'_>, watermark: i64) -> bool {
    let end = match windows {
        TimeWindows::Sliding(sliding) => sliding.last_end(segment.span).saturating_add(sliding.allowed_ms),
        TimeWindows::Session(_) if segment.stage() == Stage::Replaced => segment.span.end,
        TimeWindows::Session(session) => segment.session_span().end.saturating_add(session.allowed_ms),
    };
    end <= watermark
}

/// The segment of the latest event.
#[derive(Default)]
struct Recent {
    segment: Option<Span>,
    /// The end of the first window that it is in, or its first early result.
    first_end: i64,
}

impl Recent {
    /// That of an event at this time.
    fn segment(&mut self, sliding: Sliding, time: i64, segment_ms: i64) -> Span {
        match self.segment {
            Some(segment) if (segment.start..segment.end).contains(&bounded(time)) => segment,
            _ => {
                let segment = sliding.segment(time, segment_ms);
                (self.segment, self.first_end) = (Some(segment), sliding.first_end(segment));
                segment
            }
        }
    }

    /// From when on an event of the segment is seen that came behind this watermark: from the first result that it is not late for. Where windows
    /// take late events in, that is as soon as event time goes on.
    fn seen_from(&self, sliding: Sliding, behind: Option<i64>) -> i64 {
        let (Some(watermark), Some(segment)) = (behind, self.segment) else {
            return self.first_end;
        };
        if watermark < self.first_end {
            return self.first_end;
        }
        let end = sliding.last_end(segment);
        let is_early = sliding.early_ms > 0 && watermark < end;
        if sliding.allowed_ms == 0 || is_early {
            sliding.next_result(watermark, end)
        } else {
            watermark + 1
        }
    }
}

impl Plan {
    /// What the groups start from, one after the other; and how many of these each has, where one has several.
    fn accumulators(&self, table: &Table) -> (Column, Option<Vec<u32>>) {
        let mut column = Column::with_capacity(self.groups.len(), 0);
        for group in &self.groups {
            Self::resumed(table, group).for_each(|segment| column.push(segment.accumulator));
            if group.starts_from() == 0 {
                column.push(&[]);
            }
        }
        let are_several = self.groups.iter().any(|group| group.starts_from() > 1);
        let numbers = || self.groups.iter().map(|group| group_number(group.starts_from().max(1)));
        (column, are_several.then(|| numbers().collect()))
    }

    fn resumed<'a>(table: &'a Table, group: &'a Group) -> impl Iterator<Item = Segment<'a>> + use<'a> {
        let entry = &table.slot(group.slot).entry;
        let segments = Segments::of(entry);
        let of_one = move |resumed: &Resumed| {
            segments
                .get(resumed.span)
                .expect("what a turn goes on from stays until it ends")
        };
        let pending = group.pending.iter().flat_map(|pending| pending.segments(entry));
        group.resumes.iter().map(of_one).chain(pending)
    }

    /// The places of accumulators of another state version, by version.
    fn stale(&self, table: &Table) -> Vec<StaleGroups> {
        let mut by_version: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let mut place = 0;
        for group in &self.groups {
            for segment in Self::resumed(table, group) {
                if segment.state_version != self.state_version {
                    by_version.entry(segment.state_version).or_default().push(place);
                }
                place += 1;
            }
            place += u32::from(group.starts_from() == 0);
        }
        stale(by_version)
    }

    /// The windows that have an early result once the fold is done.
    fn early_results(&self, table: &Table) -> Option<EarlyResults> {
        if self.early.is_empty() {
            return None;
        }
        let mut of_windows = Windows::default();
        let mut results = EarlyResults::default();
        for number in &self.early {
            let group = &self.groups[*number as usize];
            let (event, pane) = group.early.expect("it is one of those that have an early result");
            of_windows.keys.push(&table.slot(group.slot).key);
            of_windows.starts.push(group.span.start);
            of_windows
                .ends
                .push(group.session.map_or(group.span.end, |(end, _)| end));
            of_windows.counts.push(group.count);
            of_windows.panes.push(pane);
            results.groups.push(*number);
            results.events.push(event);
        }
        results.windows = Arc::new(of_windows);
        Some(results)
    }

    /// Whether the windows of any key took more than `bytes` before the turn.
    #[must_use]
    pub fn is_any_above(&self, bytes: u64) -> bool {
        self.groups.iter().any(|group| group.key_bytes as u64 > bytes)
    }

    /// Leaves the windows that are due out of the size of each key.
    pub fn count_open(&mut self, table: &Table, is_due: impl Fn(Segment<'_>) -> bool) {
        let mut open: BTreeMap<u32, usize> = BTreeMap::new();
        for group in &mut self.groups {
            let slot = group.slot;
            group.key_bytes = *open.entry(slot).or_insert_with(|| {
                let entry = &table.slot(slot).entry;
                if self.has_aggregates {
                    aggregates::open_bytes(entry, &is_due)
                } else if self.keeps_sessions {
                    Segments::of(entry).open_session_bytes(&is_due)
                } else {
                    entry.bytes().len() - Segments::of(entry).due_bytes(&is_due)
                }
            });
        }
    }

    /// The numbers of the groups whose keys would have more than `bytes_max` bytes of open windows with these accumulators, each with about
    /// how many bytes its key would have. Windows for which `is_due` holds do not count.
    #[must_use]
    pub fn too_large(
        &self,
        accumulators: &Column,
        bytes_max: u64,
        is_due: impl Fn(Segment<'_>) -> bool,
    ) -> BTreeMap<u32, u64> {
        let written = accumulators.bytes().len() + self.groups.len() * Segment::OVERHEAD_BYTES;
        let largest = self.groups.iter().map(|group| group.key_bytes).max().unwrap_or(0);
        let mut found = BTreeMap::new();
        if (largest + written) as u64 <= bytes_max {
            return found;
        }
        let mut by_key: BTreeMap<u32, u64> = BTreeMap::new();
        let sizes = |group: &Group, accumulator: &[u8]| {
            // What it goes on from is replaced, and mostly about as large. Aggregates do not count.
            if group.starts_from() == 0 && !is_due(group.segment(self.state_version, accumulator)) {
                (accumulator.len() + Segment::OVERHEAD_BYTES) as u64
            } else {
                0
            }
        };
        for (group, accumulator) in self.groups.iter().zip(accumulators.iter()) {
            *by_key.entry(group.slot).or_insert(group.key_bytes as u64) += sizes(group, accumulator);
        }
        for (number, group) in (0..).zip(&self.groups) {
            let bytes = by_key[&group.slot];
            if bytes > bytes_max {
                found.insert(number, bytes);
            }
        }
        found
    }

    /// Takes effect: `accumulators` are those of the groups, in order.
    pub fn commit(self, table: &mut Table, accumulators: &Column) -> OpenChange {
        let mut change = OpenChange::default();
        let mut aggregates = Vec::new();
        for (group, accumulator) in self.groups.iter().zip(accumulators.iter()) {
            if let Some(pending) = &group.pending {
                aggregates.push((group.slot, &**pending, accumulator));
                continue;
            }
            let segment = group.segment(self.state_version, accumulator);
            let of_group = table.put_segment(group.slot, &group.resumes, segment);
            change.windows += of_group.windows;
            change.events += of_group.events;
        }
        let hollow = self.hollow.iter().map(|(slot, pending)| (*slot, pending, &[][..]));
        table.put_aggregates(&aggregates, self.state_version);
        table.put_aggregates(&hollow.collect::<Vec<_>>(), self.state_version);
        if !aggregates.is_empty() {
            table.aggregating.succeed();
        }
        table.sweep();
        change
    }

    /// Has turns make no aggregates for a while, since this one failed. `false` where it makes none.
    pub fn pause_aggregates(&self, table: &mut Table) -> bool {
        let makes_some = self.groups.iter().any(|group| group.pending.is_some());
        if makes_some {
            table.aggregating.fail();
        }
        makes_some
    }

    /// Leaves the table as it was before [`assign`].
    pub fn abandon(self, table: &mut Table) {
        table.sweep();
    }
}

impl Group {
    /// What it becomes, with the events that the turn adds.
    fn segment<'a>(&self, state_version: u32, accumulator: &'a [u8]) -> Segment<'a> {
        let state = |(end, pane)| SessionState {
            end,
            pane,
            stage: Stage::Pending,
        };
        Segment {
            span: self.span,
            count: self.added,
            state_version,
            accumulator,
            session: self.session.map(state),
        }
    }

    /// How many accumulators it starts from.
    fn starts_from(&self) -> usize {
        self.resumes.len() + self.pending.as_ref().map_or(0, |pending| pending.len())
    }
}

#[cfg(test)]
mod tests;
