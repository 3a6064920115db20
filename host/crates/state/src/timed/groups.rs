//! The events of a batch in groups, one for each segment or session that they touch.

use super::{Group, Plan, Resumed, Touched};
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
    pub(super) all: Vec<Group>,
    /// Of each group the one that it was joined to, or itself.
    into: Vec<u32>,
    /// Bytes that the turn is handed, and those that are looked through or moved for it: both take time in which nobody else runs.
    bytes: usize,
    pub(super) early_events: EarlyEvents,
}

impl Groups {
    /// An empty set of groups, for windows with early results as `early_events` says.
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
        let known = self.touched[touched].segments.iter().rev();
        if let Some((_, group)) = known.copied().find(|(span, _)| *span == segment) {
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
            resumes: before.iter().map(|before| Resumed::replaced(before.span)).collect(),
            key_bytes,
            ..self.resuming(before.map_or(0, |before| before.count))
        });
        self.touched[touched].segments.push((segment, group));
        self.add(group, place)
    }

    /// A group that resumes a window of `count` events.
    pub(super) fn resuming(&self, count: u64) -> Group {
        Group {
            count,
            results: self.early_events.results(count),
            ..Group::default()
        }
    }

    /// Adds an event to a group; that at `place` may bring an early result. Gives the group; `None` where it has brought one in this turn.
    pub(super) fn add(&mut self, group: u32, place: Option<usize>) -> Option<u32> {
        let of = &mut self.all[group as usize];
        if of.early.is_some() {
            return None;
        }
        of.added += 1;
        of.count += 1;
        let results = self.early_events.results(of.count);
        let before = std::mem::replace(&mut of.results, results);
        if let Some(place) = place.filter(|_| results > before) {
            let pane = of.session.as_mut().map_or(results - 1, |(_, pane)| {
                *pane += 1;
                *pane - 1
            });
            of.early = Some((group_number(place), pane));
        }
        Some(group)
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

    pub(super) fn has_room_for(&mut self, bytes: usize) -> bool {
        let has_room = self.bytes + bytes <= HANDED_BYTES_MAX || self.all.is_empty();
        if has_room {
            self.bytes += bytes;
        }
        has_room
    }

    pub(super) fn push(&mut self, group: Group) -> u32 {
        let number = group_number(self.all.len());
        self.all.push(group);
        self.into.push(number);
        number
    }

    /// Joins the events of two groups.
    pub(super) fn join(&mut self, group: u32, other: u32) -> u32 {
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
            keeps_sessions: false,
        };
        (plan, numbers)
    }
}
