//! When something of a table's keys is due: a window in time that closes, or a timer or an event of a process.
//!
//! A heap has an entry for each key of which something is to be due, at or before the time when the next is. What has moved on since,
//! as a session does with each event, is found out when its time has come: so an event that moves an end costs nothing here.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use smallvec::SmallVec;

use super::aggregates::{self, Pending};
use super::entry::Entry;
use super::first_keys::FirstKeys;
use super::hash;
use super::segments::{Segment, Segments, SessionState, Stage};
use super::slots::Slot;
use super::table::Table;
use super::timed::{Due, Resumed};
use super::windows::{OpenChange, group_number};
use dirigo_ground::lineage::{AFTER_ALL, Epoch};
use dirigo_ground::windowing::{Span, TimeWindows};

/// The times of the keys of a table.
#[derive(Debug, Default)]
pub(super) struct DueTimes {
    /// By time, the number of a slot.
    times: BinaryHeap<Reverse<(i64, u32)>>,
    /// The least of those whose keys the table has given up.
    given_up: Option<i64>,
    /// Whether the entries are those of a process, whose `start` is the time that is noted of them.
    are_keyed: bool,
}

impl DueTimes {
    pub(super) fn bytes(&self) -> usize {
        self.times.capacity() * size_of::<(i64, u32)>()
    }

    /// Notes when something of a slot is due next.
    fn note(&mut self, number: u32, slot: &mut Slot) {
        slot.is_due_noted = true;
        if self.are_keyed {
            slot.entry.start = slot.entry.end;
        }
        self.times.push(Reverse((slot.entry.end, number)));
    }

    pub(super) fn give_up(&mut self, due: i64) {
        self.given_up = Some(self.given_up.map_or(due, |least| least.min(due)));
    }
}

/// A key behind a time, in bytes that sort by both.
#[must_use]
pub fn due_key(due: i64, key: &[u8]) -> Vec<u8> {
    // The sign is flipped, so that negative times come first.
    let time = (due.cast_unsigned() ^ (1 << 63)).to_be_bytes();
    [&time, key].concat()
}

/// The time and the key in such bytes.
///
/// # Panics
/// When they are none.
#[must_use]
pub fn split_due_key(bytes: &[u8]) -> (i64, &[u8]) {
    let (time, key) = bytes.split_first_chunk().expect("a time stands in front");
    ((u64::from_be_bytes(*time) ^ (1 << 63)).cast_signed(), key)
}

impl Table {
    /// An empty one of a timed operator, whose changes belong to `epoch` until the next cut.
    #[must_use]
    pub fn timed_in_epoch(epoch: Epoch) -> Self {
        Self {
            due: Some(DueTimes::default()),
            ..Self::in_epoch(epoch)
        }
    }

    /// An empty one of a process, whose changes belong to `epoch` until the next cut.
    #[must_use]
    pub fn keyed_in_epoch(epoch: Epoch) -> Self {
        let due = DueTimes {
            are_keyed: true,
            ..DueTimes::default()
        };
        Self {
            due: Some(due),
            ..Self::in_epoch(epoch)
        }
    }

    /// Notes when something of a slot of a process is due, where that is before what is noted of it.
    pub(super) fn note_keyed_due(&mut self, number: u32) {
        let slot = self.slots.at_mut(number);
        let is_known = slot.is_due_noted && slot.entry.start <= slot.entry.end;
        if let Some(due) = self.due.as_mut().filter(|_| !is_known && slot.is_due_ever()) {
            due.note(number, slot);
        }
    }

    /// Notes when the next window of a slot closes, where that may be before what is noted.
    pub(super) fn note_due(&mut self, number: u32, before: Option<i64>) {
        let slot = self.slots.at_mut(number);
        let end = slot.entry.end;
        let is_known = slot.is_due_noted && before.is_some_and(|before| before <= end);
        if let Some(due) = self.due.as_mut().filter(|_| !is_known && end != AFTER_ALL) {
            due.note(number, slot);
        }
    }

    /// Notes it of all slots anew: they have new numbers.
    pub(super) fn note_all_due(&mut self) {
        let Some(due) = &mut self.due else { return };
        due.times.clear();
        for number in 0..self.slots.len() {
            let number = u32::try_from(number).expect("slots have numbers of 32 bits");
            let slot = self.slots.at_mut(number);
            slot.is_due_noted = false;
            if slot.is_due_ever() {
                due.note(number, slot);
            }
        }
    }

    /// Whether its operator goes by event time.
    pub(super) fn goes_by_time(&self) -> bool {
        self.due.is_some()
    }

    /// When the next of its windows closes, or sooner: [`AFTER_ALL`] where it has none.
    #[must_use]
    pub fn next_due(&self) -> i64 {
        let first = self.due.as_ref().and_then(|due| due.times.peek());
        first.map_or(AFTER_ALL, |Reverse((end, _))| *end)
    }

    /// When the next window closes of the keys that it has given up since this was last asked, if it had such.
    pub fn take_given_up(&mut self) -> Option<i64> {
        self.due.as_mut()?.given_up.take()
    }

    /// Shows `first` the keys of which a window closes by `watermark`, as [`due_key`]s.
    pub fn show_due(&mut self, watermark: i64, first: &mut FirstKeys) {
        let Some(due) = &mut self.due else { return };
        let mut met = Vec::new();
        while due.times.peek().is_some_and(|Reverse((end, _))| *end <= watermark) {
            met.extend(due.times.pop().map(|Reverse((_, number))| number));
        }
        met.sort_unstable();
        met.dedup();
        for number in met {
            // One that was taken away since is no more.
            if number as usize >= self.slots.len() {
                continue;
            }
            let slot = self.slots.at_mut(number);
            slot.is_due_noted = false;
            if slot.is_due_ever() {
                let end = slot.entry.end;
                due.note(number, slot);
                if end <= watermark {
                    first.show(&due_key(end, &slot.key));
                }
            }
        }
    }

    /// Takes out what is due next of `key`, if that is by `watermark`. `is_at_rest` is false while a turn goes on from
    /// slots of the table: none of them moves then.
    pub fn take_due(&mut self, key: &[u8], windows: TimeWindows, watermark: i64, is_at_rest: bool) -> Option<Due> {
        let number = self.find(hash::key(key), key)?;
        let entry = &mut self.slots.at_mut(number).entry;
        let before = entry.outside();
        let taken = entry.take_due(windows, watermark)?;
        let (after, is_closed) = (entry.outside(), entry.count == 0);
        self.outside = self.outside + after - before;
        self.open -= usize::from(is_closed);
        self.note_change(number);
        if is_at_rest && is_closed {
            self.sweep();
        }
        Some(taken)
    }

    /// Puts a segment into the entry of a slot, in place of those `resumed`, but for sessions that are still to have a result: its count is what it adds to
    /// theirs. Gives what that changes in the entry.
    pub(super) fn put_segment(&mut self, number: u32, resumed: &[Resumed], segment: Segment<'_>) -> OpenChange {
        self.note_change(number);
        let entry = &mut self.slots.at_mut(number).entry;
        let due_before = (entry.count > 0).then_some(entry.end);
        let before = entry.outside();
        aggregates::dissolve(entry, segment.span.start);
        let added = segment.count;
        let (moved, staying) = replace(entry, resumed, segment);
        // A session that grows or is joined closes later; what else the key has open may close first.
        let next = |entry: &Entry| Segments::of(entry).map(|session| session.span.end).min();
        (entry.start, entry.end) = match due_before {
            None => (segment.span.start, segment.span.end),
            Some(end) if moved.contains(&end) => (
                entry.start.min(segment.span.start),
                next(entry).unwrap_or(segment.span.end),
            ),
            Some(end) => (entry.start.min(segment.span.start), end.min(segment.span.end)),
        };
        entry.state_version = segment.state_version;
        let change = OpenChange {
            windows: 1 + staying.windows - i64::from(group_number(resumed.len())),
            events: added.cast_signed() + staying.events,
        };
        entry.count = entry.count.saturating_add_signed(change.events);
        let after = entry.outside();
        self.outside = self.outside + after - before;
        self.open += usize::from(due_before.is_none());
        self.note_due(number, due_before);
        change
    }
}

impl Table {
    /// Puts aggregates behind the parts of slots that they are merged from, where these are still there: of each slot the newest first.
    pub(super) fn put_aggregates(&mut self, aggregates: &[(u32, &Pending, &[u8])], state_version: u32) {
        for of_slot in aggregates.chunk_by(|(one, ..), (other, ..)| one == other) {
            let number = of_slot[0].0;
            let entry = &mut self.slots.at_mut(number).entry;
            let before = entry.outside();
            let mut end = entry.bytes().len();
            for (_, pending, accumulator) in of_slot {
                end = pending.put(entry, accumulator, state_version, end);
            }
            let after = entry.outside();
            self.outside = self.outside + after - before;
            self.note_change(number);
        }
    }
}

/// Puts a segment into the bytes of an entry in place of others, whose counts it takes over. Gives the ends of those that were not of the same
/// time: they were sessions that have grown or were joined; and what sessions stay next to it, since their results are not put out yet.
fn replace(entry: &mut Entry, resumed: &[Resumed], mut segment: Segment<'_>) -> (SmallVec<[i64; 2]>, OpenChange) {
    const FOUND: &str = "what a turn goes on from stays until it ends";
    let (mut moved, mut staying) = (SmallVec::new(), OpenChange::default());
    let mut encoded = Vec::with_capacity(segment.encoded_bytes());
    if let [Resumed { span, result: None }] = *resumed {
        let segments = Segments::of(entry);
        let (range, before) = (segments.place_of(span).expect(FOUND), segments.get(span).expect(FOUND));
        segment.count += before.count;
        let is_moved = before.span != segment.span;
        moved.extend(is_moved.then_some(before.span.end));
        segment.encode_into(&mut encoded);
        // A segment stays where it is, and mostly as long as it was.
        if !is_moved && range.len() == encoded.len() {
            entry.replace(range, &encoded);
        } else {
            entry.remove(range);
            insert(entry, segment.span, &encoded);
        }
        return (moved, staying);
    }
    for Resumed { span, result } in resumed {
        let segments = Segments::of(entry);
        let pending = result.filter(|_| segments.place_of(*span).is_ok());
        let span = match result {
            // Its result was put out while the turn was under way.
            Some(result) if pending.is_none() => Span {
                end: result.kept_until,
                ..*span
            },
            _ => *span,
        };
        let (range, before) = (segments.place_of(span).expect(FOUND), segments.get(span).expect(FOUND));
        segment.count += before.count;
        let Some(result) = pending else {
            moved.push(before.span.end);
            entry.remove(range);
            continue;
        };
        staying.windows += 1;
        staying.events += before.count.cast_signed();
        let state = SessionState {
            end: before.session_span().end,
            pane: result.pane,
            stage: Stage::Replaced,
        };
        let replaced = Segment {
            session: Some(state),
            ..before
        };
        let mut bytes = Vec::with_capacity(replaced.encoded_bytes());
        replaced.encode_into(&mut bytes);
        entry.replace(range, &bytes);
    }
    segment.encode_into(&mut encoded);
    insert(entry, segment.span, &encoded);
    (moved, staying)
}

fn insert(entry: &mut Entry, span: Span, segment: &[u8]) {
    let at = match Segments::of(entry).place_of(span) {
        Ok(there) => there.start,
        Err(at) => at,
    };
    entry.replace(at..at, segment);
}
