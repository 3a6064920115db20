//! The events of a batch in groups, one for each segment or session that they touch.

use smallvec::{SmallVec, smallvec};

use super::{Group, Plan, Touched};
use crate::aggregates::{self, Grid, Pending};
use crate::entry::Entry;
use crate::segments::Segments;
use crate::table::Table;
use crate::windows::{HANDED_BYTES_MAX, group_number};
use dirigo_ground::windowing::{EarlyEvents, Span};

/// Groups as they are made.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) touched: Vec<Touched>,
    all: Vec<Group>,
    /// Of each group the one that it was joined to, or itself.
    into: Vec<u32>,
    /// Bytes that the turn is handed, and those that are looked through or moved for it: both take time in which nobody else runs.
    bytes: usize,
    early_events: EarlyEvents,
}

impl Groups {
    /// None so far, of windows that have a result before their end after so many events.
    pub(super) fn of(early_events: EarlyEvents) -> Self {
        Self {
            early_events,
            ..Self::default()
        }
    }

    /// Adds an event to a segment; that at `place` may bring an early result. Gives its group; `None` where that is too much for one turn, or its window has a
    /// result before.
    pub(super) fn add_to_segment(
        &mut self,
        touched: usize,
        entry: &Entry,
        segment: Span,
        place: Option<usize>,
        has_aggregates: bool,
    ) -> Option<u32> {
        let known = &self.touched[touched].known;
        if let Some((_, Some(group))) = known.iter().rev().find(|(span, _)| *span == segment) {
            let group = *group;
            return self.add(group, place);
        }
        let segments = Segments::of(entry);
        let (at, before) = match segments.place_of(segment) {
            Ok(range) => (range.start, segments.get(segment)),
            Err(at) => (at, None),
        };
        if !self.has_room_for(entry.bytes().len() - at) {
            return None;
        }
        let known = &mut self.touched[touched];
        let key_bytes = *known.key_bytes.get_or_insert_with(|| {
            if has_aggregates {
                aggregates::open_bytes(entry, |_| false)
            } else {
                entry.bytes().len()
            }
        });
        let group = self.push(Group {
            slot: self.touched[touched].slot,
            span: segment,
            resumes: before.iter().map(|before| before.span).collect(),
            key_bytes,
            ..self.resuming(before.map_or(0, |before| before.count))
        });
        self.touched[touched].known.push((segment, Some(group)));
        self.add(group, place)
    }

    /// What goes on from so many events of a window.
    fn resuming(&self, count: u64) -> Group {
        Group {
            count,
            results: self.early_events.results(count),
            ..Group::default()
        }
    }

    /// Adds an event to a group; that at `place` may bring an early result. Gives the group; `None` where it has brought one in this turn.
    fn add(&mut self, group: u32, place: Option<usize>) -> Option<u32> {
        let of = &mut self.all[group as usize];
        if of.early.is_some() {
            return None;
        }
        of.added += 1;
        of.count += 1;
        let results = self.early_events.results(of.count);
        if let Some(place) = place.filter(|_| results > of.results) {
            of.early = Some((group_number(place), results - 1));
        }
        Some(group)
    }

    /// Adds the event at `place` to the session that it opens or joins. Gives its group; `None` where that is too much for one turn, the event
    /// may be late and is not the first, or what it joins has a result before.
    pub(super) fn add_to_session(
        &mut self,
        touched: usize,
        entry: &Entry,
        own: Span,
        behind: Option<i64>,
        place: usize,
    ) -> Option<u32> {
        // One that the watermark had passed before this event is closed for it, whether or not it has left the table.
        let is_open = |span: Span| behind.is_none_or(|watermark| span.end > watermark);
        let is_met = |(span, _): &&(Span, Option<u32>)| is_open(*span) && span.overlaps(own);
        let known = &self.touched[touched].known;
        let looked_through = known.len() * size_of::<(Span, Option<u32>)>();
        let met: SmallVec<[(Span, Option<u32>); 2]> = known.iter().filter(is_met).copied().collect();
        if met.is_empty() && behind.is_some_and(|watermark| own.end <= watermark) && place > 0 {
            return None;
        }
        let new = met.iter().filter(|(_, group)| group.is_none());
        let bytes = new.filter_map(|(span, _)| Segments::of(entry).get(*span));
        let bytes: usize = bytes.map(|session| session.accumulator.len()).sum();
        if !self.has_room_for(bytes + looked_through) {
            return None;
        }
        let has_result =
            |(_, group): &(Span, Option<u32>)| group.is_some_and(|group| self.all[group as usize].early.is_some());
        if met.iter().any(has_result) {
            return None;
        }
        let span = met.iter().fold(own, |joined, (span, _)| joined.joined(*span));
        let mut group: Option<u32> = None;
        for (met_span, of) in &met {
            let of = of.unwrap_or_else(|| {
                let count = Segments::of(entry).get(*met_span).map_or(0, |session| session.count);
                self.push(Group {
                    slot: self.touched[touched].slot,
                    resumes: smallvec![*met_span],
                    key_bytes: entry.bytes().len(),
                    ..self.resuming(count)
                })
            });
            group = Some(group.map_or(of, |group| self.join(group, of)));
        }
        let group = group.unwrap_or_else(|| {
            self.push(Group {
                slot: self.touched[touched].slot,
                key_bytes: entry.bytes().len(),
                ..self.resuming(0)
            })
        });
        self.all[group as usize].span = span;
        let known = &mut self.touched[touched].known;
        known.retain(|(other, _)| !(is_open(*other) && other.overlaps(own)));
        known.push((span, Some(group)));
        self.add(group, Some(place))
    }

    /// Adds a group for each aggregate that is complete, of keys of which the turn opens a segment. Gives those that are hollow, by slot.
    pub(super) fn merge_complete(
        &mut self,
        table: &mut Table,
        grid: Grid,
        watermark: impl FnOnce() -> i64,
        state_version: u32,
    ) -> Vec<(u32, Pending)> {
        let mut hollow = Vec::new();
        let opened = self.all.iter().filter(|group| group.resumes.is_empty());
        let mut slots: Vec<u32> = opened.map(|group| group.slot).collect();
        let mut room = table.aggregating.begin(slots.len());
        if slots.is_empty() || room == 0 {
            return hollow;
        }
        let watermark = watermark();
        slots.sort_unstable();
        slots.dedup();
        for slot in slots {
            let entry = &table.slot(slot).entry;
            let (found, looked_at) = aggregates::pending(entry, grid, watermark, state_version);
            self.bytes += looked_at;
            for pending in found {
                let bytes = pending.segments(entry).map(|segment| segment.accumulator.len()).sum();
                if room == 0 || !self.has_room_for(bytes) {
                    return hollow;
                }
                room -= 1;
                if pending.is_hollow {
                    hollow.push((slot, pending));
                    continue;
                }
                self.push(Group {
                    slot,
                    pending: Some(Box::new(pending)),
                    ..Group::default()
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
        let joined = std::mem::take(joined);
        let of = &mut self.all[group as usize];
        of.added += joined.added;
        of.count += joined.count;
        of.results += joined.results;
        of.resumes.extend(joined.resumes);
        of.resumes.sort_unstable();
        self.into[other as usize] = group;
        group
    }

    /// The groups that were joined to no other; and for each group the number of the one that its events are in.
    pub(super) fn into_plan(self, state_version: u32) -> (Plan, Vec<u32>) {
        let Self { all: groups, into, .. } = self;
        let mut numbers = vec![0; groups.len()];
        let mut kept = Vec::with_capacity(groups.len());
        let mut early = Vec::new();
        for (number, group) in groups.into_iter().enumerate() {
            if into[number] as usize == number {
                numbers[number] = group_number(kept.len());
                early.extend(group.early.map(|(event, _)| (event, numbers[number])));
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
        early.sort_unstable();
        let plan = Plan {
            groups: kept,
            early: early.into_iter().map(|(_, group)| group).collect(),
            hollow: Vec::new(),
            state_version,
            has_aggregates: false,
        };
        (plan, numbers)
    }
}
