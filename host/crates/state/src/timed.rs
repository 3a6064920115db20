//! Which events fold into which window in time, and which windows close.
//!
//! Before a turn, [`assign`] sorts the events of a batch into groups, one for each segment or session that they touch. After it,
//! [`Plan::commit`] writes the accumulators back. No fold closes a window: that is done when the watermark has passed its end
//! ([`Table::take_due`]), by which time every event is in it that is not late. So a window may leave its table while a fold is under way: no
//! event of that can belong to it.
//!
//! An event is late for a window that ends at or before the watermark which its source had before the event
//! ([`dirigo_ground::behind`]). Whether it is depends on the input alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::aggregates::{self, Grid, Joined};
use super::entry::Entry;
use super::parts::Part;
use super::segments::{self, ClosedWindow, Segment, Segments};
use super::table::Table;
use super::windows::{HANDED_BYTES_MAX, OpenChange, group_number, stale};
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::{Finish, Fold, StaleGroups, Windows};
use dirigo_ground::windowing::{Sliding, Span, TimeWindows, bounded};

/// What a turn will do to a table, once it succeeded.
#[derive(Debug)]
pub struct Plan {
    groups: Vec<Group>,
    /// By slot, parts that become aggregates without being merged: these would be too large.
    hollow: Vec<(u32, Joined)>,
    state_version: u32,
    /// Whether windows have aggregates of segments.
    has_aggregates: bool,
}

/// Events of a batch that belong to one segment or session.
#[derive(Debug)]
struct Group {
    slot: u32,
    span: Span,
    /// How many events the turn adds.
    added: u64,
    /// What it goes on from: several where events join sessions.
    resumes: SmallVec<[Span; 1]>,
    /// Where it has no events: what it is merged from.
    joined: Option<Box<Joined>>,
    /// How many bytes the key's windows took before.
    key_bytes: usize,
}

/// A key that a turn has touched.
#[derive(Debug, Default)]
struct Touched {
    slot: u32,
    /// What of it the turn knows: segments, each with its group; or all sessions, those without a group as they were.
    known: SmallVec<[(Span, Option<u32>); 2]>,
}

/// The events of `batch` that are late for every window, rising, as far as that depends on their times alone: for sessions, those that
/// may be.
#[must_use]
pub fn late(batch: &Batch, windows: TimeWindows) -> Vec<u32> {
    let last_end = |time: i64| match windows {
        TimeWindows::Sliding(sliding) => {
            sliding.last_end(sliding.segment(time, sliding.segment_ms())) + sliding.allowed_ms
        }
        TimeWindows::Session { gap_ms } => bounded(time).saturating_add(gap_ms),
    };
    let behind = batch.origin.behind.events().iter();
    let is_late = |(event, watermark): &&(u32, i64)| last_end(batch.times[*event as usize]) <= *watermark;
    behind.filter(is_late).map(|(event, _)| *event).collect()
}

/// Sorts `batch` into windows, for an operator that writes accumulators of `state_version`: as many of its events as one turn can be handed
/// the state of, which the fold has. `turn` is not 0 and differs from that of the turn before.
///
/// Of sessions, the events end before the first one that is late: the caller drops that ([`is_late`]) and comes again. Of other windows,
/// the caller has dropped those that are [`late`].
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
        TimeWindows::Session { .. } => None,
    };
    let mut groups = Groups::default();
    let mut joined: Vec<u32> = Vec::with_capacity(batch.len());
    // A pass of its own, as for count windows: look-ups overlap.
    let slots: Vec<u32> = batch.keys.iter().map(|key| table.slot_of(key)).collect();
    let segment_ms = match windows {
        TimeWindows::Sliding(sliding) => sliding.segment_ms(),
        TimeWindows::Session { gap_ms } => gap_ms,
    };
    // Of the event before: most are in the same one, which a calendar is slow to find.
    let mut recent = Recent::default();
    for (event, (number, &time)) in slots.into_iter().zip(batch.times.iter()).enumerate() {
        let slot = table.slot_mut(number);
        if slot.turn != turn {
            slot.turn = turn;
            slot.group = group_number(groups.touched.len());
            let known = match windows {
                TimeWindows::Sliding(_) => SmallVec::new(),
                TimeWindows::Session { .. } => Segments::of(&slot.entry).map(|session| (session.span, None)).collect(),
            };
            groups.touched.push(Touched { slot: number, known });
        }
        let touched = slot.group as usize;
        let entry = &slot.entry;
        let behind = batch.origin.behind.watermark_before(event);
        let added = match windows {
            TimeWindows::Sliding(sliding) => {
                let segment = recent.segment(sliding, time, segment_ms);
                let end = seen_from(sliding, recent.first_end, behind);
                groups.add_to_segment(touched, entry, Span { end, ..segment }, grid.is_some())
            }
            TimeWindows::Session { .. } => {
                let start = bounded(time);
                let span = Span {
                    start,
                    end: start + segment_ms,
                };
                groups.add_to_session(touched, entry, span, behind, event == 0)
            }
        };
        let Some(group) = added else { break };
        joined.push(group);
    }
    let hollow = match grid {
        Some(grid) => groups.join_complete(table, grid, watermark()),
        None => Vec::new(),
    };
    let (mut plan, numbers) = groups.into_plan(state_version);
    plan.hollow = hollow;
    plan.has_aggregates = grid.is_some();
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
        stale: plan.stale(table),
    };
    (fold, plan)
}

/// Whether a segment or session is in no window that is open at a watermark.
#[must_use]
pub fn is_due(windows: TimeWindows, span: Span, watermark: i64) -> bool {
    let end = match windows {
        TimeWindows::Sliding(sliding) => sliding.last_end(span).saturating_add(sliding.allowed_ms),
        TimeWindows::Session { .. } => span.end,
    };
    end <= watermark
}

/// From when on an event is seen that came behind this watermark: from the end of the first window that its segment is in, `first_end`, or of
/// the first one that it is not late for. Where windows take late events in, that is as soon as event time goes on.
fn seen_from(sliding: Sliding, first_end: i64, behind: Option<i64>) -> i64 {
    match behind {
        Some(watermark) if watermark < first_end => first_end,
        Some(watermark) if sliding.allowed_ms == 0 => sliding.next_end(watermark),
        Some(watermark) => watermark + 1,
        None => first_end,
    }
}

/// The segment of the latest event.
#[derive(Default)]
struct Recent {
    segment: Option<Span>,
    /// The end of the first window that it is in.
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
}

/// Whether an event is late that [`late`] says may be: it reaches no session that is still open by the watermark before it.
#[must_use]
pub fn is_late(table: &Table, batch: &Batch, event: usize, gap_ms: i64) -> bool {
    let Some(watermark) = batch.origin.behind.watermark_before(event) else {
        return false;
    };
    let start = bounded(batch.times[event]);
    let own = Span {
        start,
        end: start + gap_ms,
    };
    let reaches = |entry: &Entry| Segments::of(entry).any(|open| open.span.end > watermark && open.span.overlaps(own));
    own.end <= watermark && !table.get(batch.keys.get(event)).is_some_and(reaches)
}

/// Groups as they are made.
#[derive(Default)]
struct Groups {
    touched: Vec<Touched>,
    all: Vec<Group>,
    /// Of each group the one that it was joined to, or itself.
    into: Vec<u32>,
    /// Bytes that the turn is handed, and those that are looked through or moved for it: both take time in which nobody else runs.
    bytes: usize,
}

impl Groups {
    /// Adds an event to a segment. Gives its group; `None` where that is too much for one turn.
    fn add_to_segment(&mut self, touched: usize, entry: &Entry, segment: Span, has_aggregates: bool) -> Option<u32> {
        let known = &self.touched[touched].known;
        if let Some((_, Some(group))) = known.iter().rev().find(|(span, _)| *span == segment) {
            let group = *group;
            self.all[group as usize].added += 1;
            return Some(group);
        }
        let segments = Segments::of(entry);
        let (at, before) = match segments.place_of(segment) {
            Ok(range) => (range.start, segments.get(segment)),
            Err(at) => (at, None),
        };
        if !self.has_room_for(entry.bytes().len() - at) {
            return None;
        }
        let group = self.push(Group {
            slot: self.touched[touched].slot,
            span: segment,
            added: 1,
            resumes: before.iter().map(|before| before.span).collect(),
            joined: None,
            key_bytes: if has_aggregates {
                aggregates::open_bytes(entry, |_| false)
            } else {
                entry.bytes().len()
            },
        });
        self.touched[touched].known.push((segment, Some(group)));
        Some(group)
    }

    /// Adds an event to the session that it opens or joins. Gives its group; `None` where that is too much for one turn, or the event may
    /// be late and is not the first.
    fn add_to_session(
        &mut self,
        touched: usize,
        entry: &Entry,
        own: Span,
        behind: Option<i64>,
        is_first: bool,
    ) -> Option<u32> {
        // One that the watermark had passed before this event is closed for it, whether or not it has left the table.
        let is_open = |span: Span| behind.is_none_or(|watermark| span.end > watermark);
        let is_met = |(span, _): &&(Span, Option<u32>)| is_open(*span) && span.overlaps(own);
        let known = &self.touched[touched].known;
        let looked_through = known.len() * size_of::<(Span, Option<u32>)>();
        let met: SmallVec<[(Span, Option<u32>); 2]> = known.iter().filter(is_met).copied().collect();
        if met.is_empty() && behind.is_some_and(|watermark| own.end <= watermark) && !is_first {
            return None;
        }
        let new = met.iter().filter(|(_, group)| group.is_none());
        let bytes = new.filter_map(|(span, _)| Segments::of(entry).get(*span));
        let bytes: usize = bytes.map(|session| session.accumulator.len()).sum();
        if !self.has_room_for(bytes + looked_through) {
            return None;
        }
        let span = met.iter().fold(own, |joined, (span, _)| joined.joined(*span));
        let mut group: Option<u32> = None;
        for (met_span, of) in &met {
            let of = of.unwrap_or_else(|| {
                self.push(Group {
                    slot: self.touched[touched].slot,
                    span: *met_span,
                    added: 0,
                    resumes: smallvec![*met_span],
                    joined: None,
                    key_bytes: entry.bytes().len(),
                })
            });
            group = Some(group.map_or(of, |group| self.join(group, of)));
        }
        let group = group.unwrap_or_else(|| {
            self.push(Group {
                slot: self.touched[touched].slot,
                span,
                added: 0,
                resumes: SmallVec::new(),
                joined: None,
                key_bytes: entry.bytes().len(),
            })
        });
        let of = &mut self.all[group as usize];
        of.added += 1;
        of.span = span;
        let known = &mut self.touched[touched].known;
        known.retain(|(other, _)| !(is_open(*other) && other.overlaps(own)));
        known.push((span, Some(group)));
        Some(group)
    }

    /// Adds a group for each aggregate that is complete, of keys of which the turn opens a segment. Gives those that are hollow, by slot.
    fn join_complete(&mut self, table: &Table, grid: Grid, watermark: i64) -> Vec<(u32, Joined)> {
        let mut hollow = Vec::new();
        let opens = |group: &&mut Group| group.resumes.is_empty();
        let mut slots: Vec<u32> = self.all.iter_mut().filter(opens).map(|group| group.slot).collect();
        slots.sort_unstable();
        slots.dedup();
        for slot in slots {
            let entry = &table.slot(slot).entry;
            let (joined, looked_at) = aggregates::joinable(entry, grid, watermark);
            self.bytes += looked_at;
            for joined in joined {
                if joined.is_hollow {
                    hollow.push((slot, joined));
                    continue;
                }
                let bytes = joined
                    .segments(entry)
                    .iter()
                    .map(|segment| segment.accumulator.len())
                    .sum();
                if !self.has_room_for(bytes) {
                    return hollow;
                }
                self.push(Group {
                    slot,
                    span: Span::default(),
                    added: 0,
                    resumes: SmallVec::new(),
                    joined: Some(Box::new(joined)),
                    key_bytes: 0,
                });
            }
        }
        hollow
    }

    fn has_room_for(&mut self, bytes: usize) -> bool {
        let has_room = self.bytes + bytes <= HANDED_BYTES_MAX || self.all.is_empty();
        if has_room {
            self.bytes += bytes;
        }
        has_room
    }

    fn push(&mut self, group: Group) -> u32 {
        let number = group_number(self.all.len());
        self.all.push(group);
        self.into.push(number);
        number
    }

    /// Joins the events of two groups.
    fn join(&mut self, group: u32, other: u32) -> u32 {
        let joined = &mut self.all[other as usize];
        let (added, resumes) = (std::mem::take(&mut joined.added), std::mem::take(&mut joined.resumes));
        let of = &mut self.all[group as usize];
        of.added += added;
        of.resumes.extend(resumes);
        of.resumes.sort_unstable();
        self.into[other as usize] = group;
        group
    }

    /// The groups that were joined to no other; and for each group the number of the one that its events are in.
    fn into_plan(self, state_version: u32) -> (Plan, Vec<u32>) {
        let Self { all: groups, into, .. } = self;
        let mut numbers = vec![0; groups.len()];
        let mut kept = Vec::with_capacity(groups.len());
        for (number, group) in groups.into_iter().enumerate() {
            if into[number] as usize == number {
                numbers[number] = group_number(kept.len());
                kept.push(group);
            }
        }
        let root = |mut number: usize| {
            while into[number] as usize != number {
                number = into[number] as usize;
            }
            number
        };
        let numbers = (0..numbers.len()).map(|number| numbers[root(number)]).collect();
        let plan = Plan {
            groups: kept,
            hollow: Vec::new(),
            state_version,
            has_aggregates: false,
        };
        (plan, numbers)
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
        let of_one = move |span: &Span| {
            segments
                .get(*span)
                .expect("what a turn goes on from stays until it ends")
        };
        let joined = group.joined.iter().flat_map(|joined| joined.segments(entry));
        group.resumes.iter().map(of_one).chain(joined)
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

    /// Whether the windows of any key took more than `bytes` before the turn.
    #[must_use]
    pub fn is_any_above(&self, bytes: u64) -> bool {
        self.groups.iter().any(|group| group.key_bytes as u64 > bytes)
    }

    /// Leaves the windows that are due out of the size of each key.
    pub fn count_open(&mut self, table: &Table, is_due: impl Fn(Span) -> bool) {
        let mut open: BTreeMap<u32, usize> = BTreeMap::new();
        for group in &mut self.groups {
            let slot = group.slot;
            group.key_bytes = *open.entry(slot).or_insert_with(|| {
                let entry = &table.slot(slot).entry;
                if self.has_aggregates {
                    aggregates::open_bytes(entry, &is_due)
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
        is_due: impl Fn(Span) -> bool,
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
            if group.starts_from() == 0 && !is_due(group.span) {
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
        for (group, accumulator) in self.groups.iter().zip(accumulators.iter()) {
            if let Some(joined) = &group.joined {
                table.put_aggregate(group.slot, joined, accumulator, self.state_version);
                continue;
            }
            let resumed = group_number(group.resumes.len());
            change.windows += 1 - i64::from(resumed);
            change.events += group.added.cast_signed();
            let segment = Segment {
                span: group.span,
                count: group.added,
                state_version: self.state_version,
                accumulator,
            };
            table.put_segment(group.slot, &group.resumes, segment);
        }
        for (slot, joined) in &self.hollow {
            table.put_aggregate(*slot, joined, &[], self.state_version);
        }
        table.sweep();
        change
    }

    /// Leaves the table as it was before [`assign`].
    pub fn abandon(self, table: &mut Table) {
        table.sweep();
    }
}

impl Group {
    /// How many accumulators it starts from.
    fn starts_from(&self) -> usize {
        self.resumes.len() + self.joined.as_ref().map_or(0, |joined| joined.len())
    }
}

/// What finishes windows that are closed: the values of `batch` are [`ClosedWindow`]s of these `windows`.
///
/// # Panics
/// When a value is none: whatever brings back such a batch looks at that.
#[must_use]
pub fn finish(batch: &Batch, windows: TimeWindows, state_version: u32) -> Finish {
    let grid = match windows {
        TimeWindows::Sliding(sliding) => Grid::of(sliding),
        TimeWindows::Session { .. } => None,
    };
    let mut closed = Windows::default();
    let mut accumulators = Column::default();
    let mut merges = Merges::default();
    let mut by_version: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (key, value) in batch.keys.iter().zip(batch.values.to_column().iter()) {
        let window = ClosedWindow::decode(value).expect("the values of closed windows are such windows");
        closed.keys.push(key);
        closed.starts.push(window.span.start);
        closed.ends.push(window.span.end);
        closed.counts.push(window.count);
        closed.panes.push(window.pane);
        let before = accumulators.len();
        for segment in window.segments() {
            if segment.state_version != state_version {
                let place = group_number(accumulators.len());
                by_version.entry(segment.state_version).or_default().push(place);
            }
            accumulators.push(segment.accumulator);
        }
        let rounds = grid.map_or_else(Vec::new, |grid| {
            let parts: Vec<Part<'_>> = window.parts().collect();
            aggregates::rounds(&parts, grid, window.span)
        });
        merges.push(group_number(accumulators.len() - before), rounds);
    }
    Finish {
        batch: batch.clone(),
        windows: Arc::new(closed),
        accumulators: Arc::new(accumulators),
        merged: merges.into_rounds().map(Arc::new),
        stale: stale(by_version),
    }
}

/// How the accumulators of windows are merged to one for each.
#[derive(Default)]
struct Merges {
    /// Of each window how many accumulators it has before the last round, and the rounds before that.
    windows: Vec<(u32, Vec<Vec<u32>>)>,
}

impl Merges {
    /// Adds a window of so many accumulators, of which those of each group in `rounds` are merged to one, round by round.
    fn push(&mut self, count: u32, rounds: Vec<Vec<u32>>) {
        self.windows.push((count, rounds));
    }

    /// Of each round the sizes of all groups, the last one with a group for each window; `None` where nothing is to be merged.
    fn into_rounds(self) -> Option<Vec<Vec<u32>>> {
        let several = self.windows.iter().any(|(count, _)| *count > 1);
        let most = self.windows.iter().map(|(_, rounds)| rounds.len()).max()?;
        let mut left: Vec<u32> = self.windows.iter().map(|(count, _)| *count).collect();
        let mut all = Vec::with_capacity(most + 1);
        for round in 0..most {
            let mut sizes = Vec::new();
            for ((_, rounds), left) in self.windows.iter().zip(&mut left) {
                if let Some(of_window) = rounds.get(round) {
                    *left = group_number(of_window.len());
                    sizes.extend_from_slice(of_window);
                } else {
                    sizes.extend(std::iter::repeat_n(1, *left as usize));
                }
            }
            all.push(sizes);
        }
        all.push(left);
        several.then_some(all)
    }
}

/// What is due of a key at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// When.
    pub at: i64,
    /// The windows that are finished then, by their ends; none where nothing is left but to forget.
    pub windows: Vec<ClosedWindow>,
    /// By how much what lies in open windows shrinks.
    pub change: OpenChange,
    /// When the next window of the key is due, if there is one.
    pub next: Option<i64>,
}

impl Entry {
    /// Takes out what is due next, if that is by `watermark`; `None` where it is not. The entry has what is left: nothing, or when the next
    /// window is due.
    pub fn take_due(&mut self, windows: TimeWindows, watermark: i64) -> Option<Due> {
        if self.count == 0 || self.end > watermark {
            return None;
        }
        let at = self.end;
        if let TimeWindows::Sliding(sliding) = windows
            && sliding.allowed_ms == 0
        {
            let due = if sliding.are_of_many_segments() {
                self.take_next_of_many(sliding)
            } else {
                self.take_next(sliding)
            };
            return Some(due);
        }
        if matches!(windows, TimeWindows::Session { .. })
            && let Some(first) = Segments::of(self).next().filter(|first| first.span.end == at)
        {
            let closed = ClosedWindow::new(first.span, 0, &[first]);
            let (bytes, events) = (first.encoded_bytes(), first.count);
            return Some(self.take_session(closed, bytes, events));
        }
        let segments: Vec<Segment<'_>> = Segments::of(self).collect();
        let (closed, left, next) = match windows {
            TimeWindows::Sliding(sliding) => {
                let left = |segment: &Segment<'_>| forgotten_at(sliding, segment.span) > at;
                let left: Vec<Segment<'_>> = segments.iter().copied().filter(left).collect();
                let next = left.iter().map(|segment| next_due(sliding, segment.span, at)).min();
                (due_sliding(sliding, &segments, at), left, next)
            }
            TimeWindows::Session { .. } => {
                let (ended, left): (Vec<_>, Vec<_>) =
                    segments.iter().copied().partition(|session| session.span.end == at);
                let closed = ended
                    .iter()
                    .map(|session| ClosedWindow::new(session.span, 0, &[*session]));
                let next = left.iter().map(|session| session.span.end).min();
                (closed.collect(), left, next)
            }
        };
        let left_count: u64 = left.iter().map(|segment| segment.count).sum();
        let signed = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let due = Due {
            at,
            windows: closed,
            change: OpenChange {
                windows: signed(left.len()) - signed(segments.len()),
                events: left_count.cast_signed() - self.count.cast_signed(),
            },
            next,
        };
        let left_start = left.first().map_or(0, |segment| segment.span.start);
        let bytes = segments::encode(left);
        *self = Entry::new(
            left_count,
            (left_start, next.unwrap_or_default()),
            self.state_version,
            &bytes,
        );
        Some(due)
    }
}

impl Entry {
    /// Takes out the window that is due next, where windows take no late events in. What the key has behind that window is not looked at, if
    /// that can be: it may be much, where closing is behind.
    fn take_next(&mut self, sliding: Sliding) -> Due {
        let at = self.end;
        let next_end = sliding.next_end(at);
        let (mut held, mut gone, mut next) = (Vec::new(), (0, 0, 0), None);
        for segment in Segments::of(self).take_while(|segment| segment.span.start < at) {
            if segment.span.end <= at {
                held.push(segment);
            }
            if sliding.last_end(segment.span) <= at {
                let (segments, bytes, events) = gone;
                gone = (segments + 1, bytes + segment.encoded_bytes(), events + segment.count);
            } else {
                let own = segment.span.end.max(next_end);
                next = Some(next.map_or(own, |next: i64| next.min(own)));
            }
        }
        let span = Span {
            start: sliding.start_of(at),
            end: at,
        };
        let window = (!held.is_empty()).then(|| ClosedWindow::new(span, 0, &held));
        drop(held);
        let (segments, bytes, events) = gone;
        self.remove(0..bytes);
        self.count -= events;
        let mut left = Segments::of(self).map(|segment| segment.span);
        let first = left.next();
        let is_known = next == Some(next_end) || first.is_some_and(|first| Self::is_first_due(sliding, first, at));
        if is_known {
            next = next.or(first.map(|first| first.end));
        } else {
            next = first.into_iter().chain(left).map(|span| span.end.max(next_end)).min();
        }
        self.start = first.map_or(0, |first| first.start);
        self.end = next.unwrap_or_default();
        Due {
            at,
            windows: window.into_iter().collect(),
            change: OpenChange {
                windows: -i64::from(group_number(segments)),
                events: -events.cast_signed(),
            },
            next,
        }
    }

    /// The same, where windows have many segments, and aggregates of these.
    fn take_next_of_many(&mut self, sliding: Sliding) -> Due {
        let at = self.end;
        let span = Span {
            start: sliding.start_of(at),
            end: at,
        };
        let parts = aggregates::parts_of(self, span);
        let window = (!parts.is_empty()).then(|| ClosedWindow::of_parts(span, &parts));
        drop(parts);
        let (mut bytes, mut segments, mut events) = (0, 0, 0);
        let mut rest = self.bytes();
        while let Some((part, behind)) = Part::first(rest) {
            // What an aggregate in front was merged from is gone.
            if !part.covers() {
                if sliding.last_end(part.segment.span) > at {
                    break;
                }
                (segments, events) = (segments + 1, events + part.segment.count);
            }
            bytes += part.encoded_bytes();
            rest = behind;
        }
        self.remove(0..bytes);
        self.count -= events;
        let next_end = sliding.next_end(at);
        let mut left = Segments::of(self).map(|segment| segment.span);
        let first = left.next();
        let next = match first {
            Some(first) if first.start < at && first.end <= next_end => Some(next_end),
            Some(first) if Self::is_first_due(sliding, first, at) => Some(first.end),
            _ => first.into_iter().chain(left).map(|span| span.end.max(next_end)).min(),
        };
        self.start = first.map_or(0, |first| first.start);
        self.end = next.unwrap_or_default();
        Due {
            at,
            windows: window.into_iter().collect(),
            change: OpenChange {
                windows: -i64::from(group_number(segments)),
                events: -events.cast_signed(),
            },
            next,
        }
    }

    /// Takes out the first session, of so many bytes and events, which is the one that ends first.
    fn take_session(&mut self, closed: ClosedWindow, bytes: usize, events: u64) -> Due {
        let at = self.end;
        self.remove(0..bytes);
        self.count -= events;
        // Sessions overlap where one was closed for an event that came later. What begins behind the end of one ends behind it.
        let mut sessions = Segments::of(self).map(|session| session.span);
        let first = sessions.next();
        let next = first.map(|first| {
            sessions.try_fold(first.end, |next, session| {
                if session.start < next {
                    Ok(next.min(session.end))
                } else {
                    Err(next)
                }
            })
        });
        let next = next.map(|next| next.unwrap_or_else(|next| next));
        self.start = first.map_or(0, |session| session.start);
        self.end = next.unwrap_or_default();
        Due {
            at,
            windows: vec![closed],
            change: OpenChange {
                windows: -1,
                events: -events.cast_signed(),
            },
            next,
        }
    }

    /// Whether no segment is due before the first one: it is seen by the first window that it is in, and begins behind `at`.
    fn is_first_due(sliding: Sliding, first: Span, at: i64) -> bool {
        let own = sliding.segment(first.start, sliding.segment_ms());
        first.start >= at && first.end == sliding.first_end(own)
    }
}

/// When the last window of a segment takes nothing in any more.
fn forgotten_at(sliding: Sliding, segment: Span) -> i64 {
    sliding.last_end(segment) + sliding.allowed_ms
}

/// When something is due of a segment next, behind `time`, by which it is not forgotten.
fn next_due(sliding: Sliding, segment: Span, time: i64) -> i64 {
    if segment.end > time {
        return segment.end;
    }
    let next = sliding.next_end(time);
    if next <= sliding.last_end(segment) {
        next
    } else {
        forgotten_at(sliding, segment)
    }
}

/// The windows of these segments that are finished at a time: the one that ends then, and those before it that late events have come to which
/// are seen from then on.
fn due_sliding(sliding: Sliding, segments: &[Segment<'_>], at: i64) -> Vec<ClosedWindow> {
    let mut ends: BTreeSet<i64> = BTreeSet::new();
    let first_seen = segments.iter().filter(|segment| segment.span.end == at);
    for segment in first_seen.filter(|_| sliding.allowed_ms > 0) {
        let own = Span {
            end: segment.span.start + sliding.segment_ms(),
            ..segment.span
        };
        let last = sliding.last_end(own).min(at - 1);
        // Those before it take nothing in any more.
        let first = sliding
            .first_end(own)
            .max(sliding.next_end(at - sliding.allowed_ms - 1));
        let of_segment = std::iter::successors(Some(first), |end| Some(sliding.next_end(*end)));
        ends.extend(of_segment.take_while(|end| *end <= last));
    }
    if sliding.next_end(at - 1) == at {
        ends.insert(at);
    }
    let window = |end: i64| {
        let span = Span {
            start: sliding.start_of(end),
            end,
        };
        let is_in = |segment: &Segment<'_>| (span.start..end).contains(&segment.span.start) && segment.span.end <= at;
        let held: Vec<Segment<'_>> = segments.iter().copied().filter(is_in).collect();
        // It was finished at its end, and whenever late events had come to it.
        let times: BTreeSet<i64> = held.iter().map(|segment| segment.span.end.max(end)).collect();
        let pane = group_number(times.len().saturating_sub(1));
        (!held.is_empty()).then(|| ClosedWindow::new(span, pane, &held))
    };
    ends.into_iter().filter_map(window).collect()
}

#[cfg(test)]
mod tests;
