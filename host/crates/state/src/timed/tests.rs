//! Windows in time against a search: events in batches of any size, with windows that close between them, must end in the windows that
//! sorting all events and looking at each of them gives.

use super::*;
use crate::{ClosedWindow, FirstKeys, due_key, split_due_key};
use dirigo_ground::behind::Behind;
use dirigo_ground::fields::Fields;
use dirigo_ground::lineage::{AFTER_ALL, Origin, Ticket};
use dirigo_ground::windowing::{EarlyEvents, Session};
use dirigo_ground::zone::Zone;
use std::collections::BTreeSet;

/// Numbers that are the same for the same seed: xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: i64) -> i64 {
        for (left, right) in [(13, 7), (17, 0)] {
            self.0 ^= self.0 << left;
            self.0 ^= self.0 >> right.max(1);
        }
        i64::try_from(self.0 % bound.unsigned_abs()).expect("it is below the bound")
    }

    fn size(&mut self, max: usize) -> usize {
        1 + usize::try_from(self.below(i64::try_from(max).expect("sizes are small"))).expect("it is not negative")
    }
}

/// An event: its key, time and position, and the watermark before it.
#[derive(Clone, Copy, Debug)]
struct Event {
    key: u8,
    time: i64,
    watermark: i64,
    number: u8,
}

/// A window that was finished: when, its key and end, how often it was before, and the numbers of its events, sorted.
type Closed = (i64, u8, i64, u32, Vec<u8>);

fn batch(events: &[Event]) -> Batch {
    let mut keys = Column::default();
    events.iter().for_each(|event| keys.push(&[event.key]));
    let behind = (0..).zip(events).filter(|(_, event)| event.time < event.watermark);
    Batch {
        times: Arc::new(events.iter().map(|event| event.time).collect()),
        keys: Arc::new(keys),
        values: Column::of_empty(events.len()).into(),
        fields: Fields::default(),
        positions: Arc::new((0..events.len() as u64).collect()),
        origin: Origin {
            behind: Behind::new(behind.map(|(place, event)| (place, event.watermark)).collect()),
            ..Ticket::detached().into()
        },
    }
}

/// How many bytes the number of an event takes in an accumulator: enough that aggregates of many are too large to be kept.
const NUMBER_BYTES: usize = 6;

/// What folds and merges as a guest does, where event time has come to `watermark`: an accumulator is the numbers of its events.
fn fold(table: &mut Table, windows: TimeWindows, turn: &mut u32, events: &[Event], watermark: i64) -> usize {
    fold_with_early(table, windows, turn, events, watermark, &mut Vec::new(), |_| {})
}

/// An early result by the number of events: the event that brings it, its key, start, end and pane, and the numbers of its events, sorted.
type Early = (u8, u8, i64, i64, u32, Vec<u8>);

/// The same; adds the early results that the events bring. `meanwhile` happens while the turn is under way.
fn fold_with_early(
    table: &mut Table,
    windows: TimeWindows,
    turn: &mut u32,
    events: &[Event],
    watermark: i64,
    found: &mut Vec<Early>,
    meanwhile: impl FnOnce(&mut Table),
) -> usize {
    *turn += 1;
    let (fold, plan) = assign(table, &batch(events), windows, *turn, 1, || watermark);
    assert_eq!(fold.groups.len(), fold.batch.len());
    let mut parts = fold.accumulators.iter();
    let several = fold.merged.clone().unwrap_or_default();
    let groups = plan.groups.len();
    let mut accumulators: Vec<Vec<u8>> = (0..groups)
        .map(|group| {
            let count = several.get(group).map_or(1, |count| *count as usize);
            parts.by_ref().take(count).flatten().copied().collect()
        })
        .collect();
    assert_eq!(parts.next(), None);
    for (event, group) in events.iter().zip(fold.groups.iter()) {
        accumulators[*group as usize].extend([event.number; NUMBER_BYTES]);
    }
    if let Some(early) = &fold.early {
        for (place, (group, event)) in early.groups.iter().zip(&early.events).enumerate() {
            assert_eq!(fold.groups[*event as usize], *group);
            let held = accumulators[*group as usize].iter().step_by(NUMBER_BYTES).copied();
            let mut held: Vec<u8> = held.collect();
            held.sort_unstable();
            let of = &early.windows;
            assert_eq!(of.counts[place], held.len() as u64);
            let brought_by = events[*event as usize].number;
            found.push((
                brought_by,
                of.keys.get(place)[0],
                of.starts[place],
                of.ends[place],
                of.panes[place],
                held,
            ));
        }
    }
    let mut column = Column::default();
    accumulators.iter().for_each(|accumulator| column.push(accumulator));
    meanwhile(table);
    plan.commit(table, &column);
    table.check();
    fold.batch.len()
}

/// Closes all windows that are due, in order.
fn close(table: &mut Table, windows: TimeWindows, watermark: i64, closed: &mut Vec<Closed>) {
    close_during(table, windows, watermark, true, closed);
}

/// The same, while a turn goes on from the table if it is not at rest.
fn close_during(table: &mut Table, windows: TimeWindows, watermark: i64, is_at_rest: bool, closed: &mut Vec<Closed>) {
    let mut first = FirstKeys::after(None);
    table.show_due(watermark, &mut first);
    let (due, _) = first.into_keys();
    let mut due: BTreeSet<Box<[u8]>> = due.collect();
    while let Some(next) = due.pop_first() {
        let (end, key) = split_due_key(&next);
        let taken = table.take_due(key, windows, watermark, is_at_rest).expect("it is due");
        assert_eq!(taken.at, end);
        for window in taken.windows {
            let mut events: Vec<u8> = window
                .segments()
                .flat_map(|segment| segment.accumulator.iter().step_by(NUMBER_BYTES).copied())
                .collect();
            events.sort_unstable();
            assert_eq!(window.count, events.len() as u64);
            let again = ClosedWindow::decode(&window.encode());
            assert_eq!(again.as_ref(), Some(&window));
            closed.push((taken.at, key[0], window.span.end, window.pane, events));
        }
        due.extend(
            taken
                .next
                .filter(|next| *next <= watermark)
                .map(|next| due_key(next, key).into()),
        );
        if is_at_rest {
            table.check();
        }
    }
    table.show_due(watermark, &mut FirstKeys::after(None));
    assert!(table.next_due() > watermark || watermark == AFTER_ALL);
}

const HOUR_MS: i64 = 3_600_000;
/// 2024-03-31T01:00:00Z, when clocks are put forward by an hour in Paris.
const PUT_FORWARD: i64 = 1_711_846_800_000;

/// All windows that events of these tests may lie in.
fn all_windows(sliding: Sliding) -> Vec<Span> {
    let first_day = PUT_FORWARD / (24 * HOUR_MS) - 400;
    // Midnight in Paris is at 23 o'clock UTC, then at 22.
    let midnight = |day: i64| {
        let utc = (first_day + day) * 24 * HOUR_MS;
        utc - if utc > PUT_FORWARD { 2 } else { 1 } * HOUR_MS
    };
    let of_days = |day| Span {
        start: midnight(day),
        end: midnight(day + sliding.periods),
    };
    let of_ms = |number| {
        let start = sliding.offset_ms + number * sliding.every_ms;
        Span {
            start,
            end: start + sliding.length_ms,
        }
    };
    if sliding.days > 0 {
        (0..800).map(of_days).collect()
    } else {
        (-700..700).map(of_ms).collect()
    }
}

/// The same by looking at every event and window; besides, the early results that events bring, and how many events are late.
fn searched(events: &[Event], windows: TimeWindows) -> (Vec<Closed>, Vec<Early>, usize) {
    match windows {
        TimeWindows::Sliding(sliding) => searched_sliding(events, sliding),
        TimeWindows::Session(session) => searched_sessions(events, session),
    }
}

fn searched_sliding(events: &[Event], sliding: Sliding) -> (Vec<Closed>, Vec<Early>, usize) {
    // By end and key, the events with the times from which they are seen.
    let mut found: BTreeMap<(i64, u8), Vec<(i64, u8)>> = BTreeMap::new();
    let mut late = 0;
    let windows = all_windows(sliding);
    let mut by_events: Vec<Early> = Vec::new();
    for event in events {
        let holding = windows
            .iter()
            .filter(|span| span.start <= event.time && event.time < span.end);
        let open: Vec<i64> = holding
            .map(|span| span.end)
            .filter(|end| end + sliding.allowed_ms > event.watermark)
            .collect();
        late += usize::from(open.is_empty());
        for end in open {
            let seen = end.max(event.watermark.saturating_add(1));
            let early = sliding.early_ms;
            let seen = if early > 0 && event.watermark < end {
                let bounds = (1..2_000).map(|number| end - sliding.length_ms + number * early);
                let after = event.time.max(event.watermark);
                bounds
                    .into_iter()
                    .find(|bound| *bound > after)
                    .map_or(end, |bound| bound.min(end))
            } else {
                seen
            };
            let seen_events = found.entry((end, event.key)).or_default();
            seen_events.push((seen, event.number));
            let in_time: Vec<u8> = seen_events
                .iter()
                .filter(|(seen, _)| *seen <= end)
                .map(|(_, number)| *number)
                .collect();
            let results = sliding.early_events.results(in_time.len() as u64);
            if event.watermark < end && results > sliding.early_events.results(in_time.len() as u64 - 1) {
                let start = end - sliding.length_ms;
                by_events.push((event.number, event.key, start, end, results - 1, in_time));
            }
        }
    }
    let mut closed: Vec<Closed> = Vec::new();
    for ((end, key), events) in found {
        let mut times: BTreeSet<i64> = events.iter().map(|(seen, _)| *seen).collect();
        if times.first().is_some_and(|first| *first < end) && sliding.early_ms > 0 {
            times.insert(end);
        }
        let in_time = events.iter().filter(|(seen, _)| *seen <= end).count();
        let before = sliding.early_events.results(in_time as u64);
        for (number, at) in (before..).zip(times) {
            let seen = events.iter().filter(|(seen, _)| *seen <= at);
            let mut numbers: Vec<u8> = seen.map(|(_, number)| *number).collect();
            numbers.sort_unstable();
            closed.push((at, key, end, number, numbers));
        }
    }
    closed.sort();
    (closed, by_events, late)
}

/// A session of the search.
struct Held {
    key: u8,
    span: Span,
    numbers: Vec<u8>,
    /// When it has its next result, if it is to have one.
    due: Option<i64>,
    /// The number of that, once it was finished, or where a late event opened it.
    pane: Option<u32>,
}

impl Held {
    fn next_pane(&self, windows: Session) -> u32 {
        let by_events = windows.early_events.results(self.numbers.len() as u64);
        self.pane.unwrap_or(by_events)
    }

    /// Adds the result that is due by a watermark.
    fn finish(&mut self, windows: Session, watermark: i64, closed: &mut Vec<Closed>) {
        if let Some(due) = self.due.filter(|due| *due <= watermark) {
            let pane = self.next_pane(windows);
            closed.push((due, self.key, self.span.end, pane, self.numbers.clone()));
            (self.due, self.pane) = (None, Some(pane + 1));
        }
    }
}

fn searched_sessions(events: &[Event], windows: Session) -> (Vec<Closed>, Vec<Early>, usize) {
    let mut sessions: Vec<Held> = Vec::new();
    let (mut closed, mut early, mut late) = (Vec::new(), Vec::new(), 0);
    let results = |numbers: &[u8]| windows.early_events.results(numbers.len() as u64);
    for event in events {
        let watermark = event.watermark;
        for held in &mut sessions {
            held.finish(windows, watermark, &mut closed);
        }
        let own = windows.span(event.time);
        let takes_in = |span: Span| span.end + windows.allowed_ms > watermark;
        let is_met = |held: &Held| held.key == event.key && takes_in(held.span) && held.span.overlaps(own);
        let (met, rest): (Vec<_>, Vec<_>) = sessions.into_iter().partition(is_met);
        sessions = rest;
        if met.is_empty() && !takes_in(own) {
            late += 1;
            continue;
        }
        let span = met.iter().fold(own, |span, held| span.joined(held.span));
        let is_open = span.end > watermark;
        let before: u32 = met.iter().map(|held| results(&held.numbers)).sum();
        let greatest = met.iter().map(|held| held.next_pane(windows)).max().unwrap_or(0);
        let was_finished = !is_open || met.iter().any(|held| held.pane.is_some());
        let mut pane = was_finished.then_some(greatest);
        let mut numbers: Vec<u8> = met.into_iter().flat_map(|held| held.numbers).collect();
        numbers.push(event.number);
        numbers.sort_unstable();
        if is_open && results(&numbers) > before {
            let own_pane = pane.unwrap_or(results(&numbers) - 1);
            early.push((event.number, event.key, span.start, span.end, own_pane, numbers.clone()));
            pane = pane.map(|pane| pane + 1);
        }
        sessions.push(Held {
            key: event.key,
            span,
            numbers,
            due: Some(if is_open { span.end } else { watermark + 1 }),
            pane,
        });
    }
    for held in &mut sessions {
        held.finish(windows, AFTER_ALL, &mut closed);
    }
    closed.sort();
    (closed, early, late)
}

/// Windows of some kind, the shortest time between two events, and where these begin.
fn random_windows(seed: u64, random: &mut Random) -> (TimeWindows, i64, i64) {
    let every_ms = 1 + random.below(7);
    let (mut tick, mut time) = (1, 0_i64);
    let windows = if seed.is_multiple_of(4) {
        (tick, time) = (HOUR_MS * 3 / 2, PUT_FORWARD - random.below(40) * HOUR_MS);
        TimeWindows::Sliding(Sliding {
            allowed_ms: random.below(2) * random.below(60) * HOUR_MS,
            ..Sliding::of_days(1, 1 + random.below(3), Zone::named("Europe/Paris").expect("there is"))
        })
    } else if seed % 4 == 1 {
        // Of so many segments that these have aggregates.
        TimeWindows::Sliding(Sliding {
            offset_ms: random.below(every_ms),
            ..Sliding::of_ms(every_ms * (17 + random.below(80)) + random.below(2), every_ms)
        })
    } else if seed % 4 == 2 && seed % 8 < 4 {
        TimeWindows::Sliding(Sliding {
            offset_ms: random.below(every_ms),
            allowed_ms: random.below(2) * random.below(20),
            early_ms: 1 + random.below(4),
            ..Sliding::of_ms(every_ms * 3, every_ms * 3)
        })
    } else if seed % 16 == 6 {
        TimeWindows::Sliding(Sliding {
            offset_ms: random.below(every_ms),
            allowed_ms: random.below(2) * random.below(20),
            early_events: EarlyEvents::every(1 + random.below(4).cast_unsigned()),
            ..Sliding::of_ms(every_ms * 3, every_ms * 3)
        })
    } else if random.below(2) == 0 {
        let length_ms = every_ms * (1 + random.below(3)) + random.below(2) * (every_ms - 1);
        TimeWindows::Sliding(Sliding {
            offset_ms: random.below(every_ms),
            allowed_ms: random.below(2) * random.below(20),
            ..Sliding::of_ms(length_ms, every_ms)
        })
    } else {
        TimeWindows::Session(Session {
            early_events: EarlyEvents::every(random.below(5).cast_unsigned()),
            allowed_ms: random.below(2) * random.below(20),
            ..Session::of_gap(1 + random.below(7))
        })
    };
    (windows, tick, time)
}

#[test]
fn events_end_in_the_windows_that_a_search_finds_however_they_come() {
    for seed in 0..2_000_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (windows, tick, mut time) = random_windows(seed, &mut random);
        let lateness = random.below(12) * tick;
        let mut watermark = i64::MIN;
        let events: Vec<Event> = (0..u8::try_from(random.size(120)).expect("at most 120"))
            .map(|number| {
                time += (random.below(22) - 10) * tick;
                let before = watermark;
                watermark = watermark.max(time - lateness);
                Event {
                    key: u8::try_from(random.below(3)).expect("three keys"),
                    time,
                    watermark: before,
                    number,
                }
            })
            .collect();
        let (expected, expected_early, expected_late) = searched(&events, windows);
        let mut early = Vec::new();
        let mut table = Table::timed_in_epoch(1);
        let (mut closed, mut late_events, mut turn, mut reached) = (Vec::new(), 0, 0, i64::MIN);
        let mut rest = &events[..];
        while !rest.is_empty() {
            let (next, after) = rest.split_at(random.size(rest.len().min(9)));
            rest = after;
            let next_batch = batch(next);
            let late = late(&next_batch, windows);
            match windows {
                TimeWindows::Sliding(_) => {
                    late_events += late.len();
                    let kept = (0..).zip(next).filter(|(place, _)| !late.contains(place));
                    let kept: Vec<Event> = kept.map(|(_, event)| *event).collect();
                    let mut kept = &kept[..];
                    while !kept.is_empty() {
                        // All before the first event may be done with while the turn is under way.
                        let by = if random.below(3) == 0 {
                            kept[0].watermark
                        } else {
                            reached
                        };
                        // A turn may know how far event time has come behind its batch.
                        let known = if random.below(2) == 0 {
                            rest.first().map_or(watermark, |event| event.watermark)
                        } else {
                            reached
                        };
                        let meanwhile = |table: &mut Table| close_during(table, windows, by, false, &mut closed);
                        let taken = fold_with_early(&mut table, windows, &mut turn, kept, known, &mut early, meanwhile);
                        assert!(taken == kept.len() || !windows.early_events().are_none());
                        kept = &kept[taken..];
                    }
                }
                TimeWindows::Session(session) => {
                    let mut next = next;
                    while !next.is_empty() {
                        if is_late(&table, &batch(next), 0, session) {
                            late_events += 1;
                            next = &next[1..];
                            continue;
                        }
                        let by = if random.below(3) == 0 {
                            next[0].watermark
                        } else {
                            reached
                        };
                        let meanwhile = |table: &mut Table| close_during(table, windows, by, false, &mut closed);
                        let taken =
                            fold_with_early(&mut table, windows, &mut turn, next, reached, &mut early, meanwhile);
                        next = &next[taken..];
                    }
                }
            }
            // The watermark of what is done with, or of less.
            if random.below(2) == 0 {
                reached = rest.first().map_or(watermark, |event| event.watermark);
                close(&mut table, windows, reached, &mut closed);
            }
        }
        close(&mut table, windows, AFTER_ALL, &mut closed);
        assert!(table.is_empty());
        assert_eq!(late_events, expected_late, "seed {seed}: {windows:?}");
        assert!(
            closed.is_sorted_by_key(|(end, key, ..)| (*end, *key)),
            "seed {seed}: they close in order"
        );
        closed.sort();
        assert_eq!(closed, expected, "seed {seed}: {windows:?}");
        assert_eq!(early, expected_early, "seed {seed}: {windows:?}");
    }
}

/// The windows of one key that events at these times have, each with the watermark before it, where everything is closed by the watermark
/// before each event if `closes_at_once` says so, and at the end otherwise: of each when, its end, pane, and events.
fn updates(events: &[(i64, i64)], windows: Session, closes_at_once: bool) -> Vec<(i64, i64, u32, Vec<u8>)> {
    let windows = TimeWindows::Session(windows);
    let mut table = Table::timed_in_epoch(1);
    let (mut closed, mut turn) = (Vec::new(), 0);
    for (number, (time, watermark)) in (0..).zip(events) {
        if closes_at_once {
            close(&mut table, windows, *watermark, &mut closed);
        }
        let event = Event {
            key: 1,
            time: *time,
            watermark: *watermark,
            number,
        };
        assert_eq!(fold(&mut table, windows, &mut turn, &[event], i64::MIN), 1);
    }
    close(&mut table, windows, AFTER_ALL, &mut closed);
    assert!(table.is_empty());
    let of_key = closed.into_iter();
    of_key.map(|(at, _, end, pane, held)| (at, end, pane, held)).collect()
}

#[test]
fn a_late_event_brings_a_session_out_again_joins_those_that_were_finished_and_opens_them_anew() {
    let windows = Session {
        allowed_ms: 100,
        ..Session::of_gap(10)
    };
    let never = i64::MIN;
    // Two sessions, until 10 and 25, are finished. Behind 30 an event joins both; behind 31 one comes to what they are by then, which has had its result. The
    // next one opens that until 34, the others until 36 and 41.
    let events = [(0, never), (15, never), (7, 30), (8, 31), (24, 31), (26, 32), (31, 32)];
    let expected = [
        (10, 10, 0, vec![0]),
        (25, 25, 0, vec![1]),
        (31, 25, 1, vec![0, 1, 2]),
        (41, 41, 2, vec![0, 1, 2, 3, 4, 5, 6]),
    ];
    for closes_at_once in [true, false] {
        assert_eq!(updates(&events, windows, closes_at_once), expected, "{closes_at_once}");
    }
}

#[test]
fn a_result_that_is_put_out_while_a_late_event_is_folded_does_not_hold_it() {
    let windows = TimeWindows::Session(Session {
        allowed_ms: 100,
        ..Session::of_gap(10)
    });
    let mut table = Table::timed_in_epoch(1);
    let (mut closed, mut turn) = (Vec::new(), 0);
    let event = |time, watermark, number| Event {
        key: 1,
        time,
        watermark,
        number,
    };
    fold(&mut table, windows, &mut turn, &[event(0, i64::MIN, 0)], i64::MIN);
    let meanwhile = |table: &mut Table| close_during(table, windows, 30, false, &mut closed);
    let late = [event(5, 30, 1)];
    fold_with_early(&mut table, windows, &mut turn, &late, 0, &mut Vec::new(), meanwhile);
    close(&mut table, windows, AFTER_ALL, &mut closed);
    assert_eq!(closed, [(10, 1, 10, 0, vec![0]), (31, 1, 15, 1, vec![0, 1])]);
    assert!(table.is_empty());
}

#[test]
fn a_session_of_late_events_alone_has_its_first_result_when_time_goes_on() {
    let windows = Session {
        allowed_ms: 100,
        ..Session::of_gap(10)
    };
    let events = [(0, 50), (5, 50), (3, 60)];
    for closes_at_once in [true, false] {
        let expected = [(51, 15, 0, vec![0, 1]), (61, 15, 1, vec![0, 1, 2])];
        assert_eq!(updates(&events, windows, closes_at_once), expected);
    }
}

#[test]
fn a_finished_session_is_kept_for_as_long_as_late_events_are_allowed() {
    let windows = TimeWindows::Session(Session {
        allowed_ms: 20,
        ..Session::of_gap(10)
    });
    let mut table = Table::timed_in_epoch(1);
    let event = Event {
        key: 1,
        time: 0,
        watermark: i64::MIN,
        number: 0,
    };
    fold(&mut table, windows, &mut 0, &[event], i64::MIN);
    let mut closed = Vec::new();
    close(&mut table, windows, 29, &mut closed);
    assert_eq!((closed.len(), table.len(), table.next_due()), (1, 1, 30));
    let is_counted_at = |table: &Table, watermark| {
        let entry = table.get(&[1]).expect("it is kept");
        Segments::of(entry).open_session_bytes(|session| is_due(windows, session, watermark)) > 0
    };
    assert!(is_counted_at(&table, 29) && !is_counted_at(&table, 30));
    close(&mut table, windows, 30, &mut closed);
    assert_eq!((closed.len(), table.is_empty()), (1, true));
}

#[test]
fn a_key_whose_windows_left_the_table_is_noted_with_the_next_of_them() {
    let windows = TimeWindows::Session(Session::of_gap(5));
    let mut table = Table::timed_in_epoch(1);
    let event = |key, time, number| Event {
        key,
        time,
        watermark: i64::MIN,
        number,
    };
    fold(
        &mut table,
        windows,
        &mut 0,
        &[event(1, 20, 0), event(2, 10, 1), event(2, 40, 2)],
        i64::MIN,
    );
    assert_eq!(table.take_given_up(), None);
    let records = table.drain(0);
    assert_eq!(
        (records.len(), table.take_given_up(), table.take_given_up()),
        (2, Some(15), None)
    );
    for (key, entry) in records {
        table.restore(&key, entry.expect("it is open"));
    }
    let mut closed = Vec::new();
    close(&mut table, windows, 30, &mut closed);
    assert_eq!(closed, [(15, 2, 15, 0, vec![1]), (25, 1, 25, 0, vec![0])]);
    assert_eq!((table.len(), table.next_due()), (1, 45));
}

/// What merges as a guest whose result depends on each pair that it is handed.
fn merged(accumulators: &[u64]) -> u64 {
    match accumulators {
        [] => 0,
        [only] => *only,
        several => {
            let pair = |pair: &[u64]| match *pair {
                [left, right] => left.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ right,
                _ => pair[0],
            };
            merged(&several.chunks(2).map(pair).collect::<Vec<u64>>())
        }
    }
}

/// The accumulators of the groups of a round, each merged to one.
fn merged_by(accumulators: &[u64], sizes: &[u32]) -> Vec<u64> {
    let mut rest = accumulators;
    let of_group = |size: &u32| {
        let (group, behind) = rest.split_at(*size as usize);
        rest = behind;
        merged(group)
    };
    sizes.iter().map(of_group).collect()
}

fn numbers(column: &Column) -> Vec<u64> {
    let number = |bytes: &[u8]| bytes.as_array().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    column.iter().map(number).collect()
}

/// What windows come to, each with its key and end, and of how many accumulators the largest was merged. `is_reached` says whether event time has
/// come to where a turn may make aggregates.
fn results(
    events: &[Event],
    windows: TimeWindows,
    is_reached: impl Fn(usize) -> bool,
) -> (Vec<(Vec<u8>, i64, u64)>, usize) {
    let mut table = Table::timed_in_epoch(1);
    let (mut found, mut most) = (Vec::new(), 0);
    for (turn, (place, event)) in (1..).zip(events.iter().enumerate()) {
        let watermark = if is_reached(place) { event.watermark } else { i64::MIN };
        let (fold, plan) = assign(&mut table, &batch(&[*event]), windows, turn, 1, || watermark);
        let accumulators = numbers(&fold.accumulators);
        let mut accumulators = match fold.merged {
            Some(sizes) => merged_by(&accumulators, &sizes),
            None => accumulators,
        };
        let group = fold.groups[0] as usize;
        accumulators[group] = accumulators[group].wrapping_mul(31) + u64::from(event.number) + 1;
        let mut column = Column::default();
        accumulators
            .iter()
            .for_each(|accumulator| column.push(&accumulator.to_le_bytes()));
        plan.commit(&mut table, &column);
        table.check();
    }
    let keys: BTreeSet<u8> = events.iter().map(|event| event.key).collect();
    for key in keys {
        while let Some(due) = table.take_due(&[key], windows, AFTER_ALL - 1, true) {
            for window in due.windows {
                let mut closed = batch(&[events[0]]);
                let mut value = Column::default();
                value.push(&window.encode());
                closed.values = value.into();
                let finish = finish(&closed, windows, 1);
                let mut accumulators = numbers(&finish.accumulators);
                most = most.max(accumulators.len());
                for round in finish.merged.iter().flat_map(|rounds| rounds.iter()) {
                    accumulators = merged_by(&accumulators, round);
                }
                assert_eq!(accumulators.len(), 1);
                found.push((vec![key], window.span.end, accumulators[0]));
            }
        }
    }
    assert!(table.is_empty());
    (found, most)
}

#[test]
fn a_result_does_not_depend_on_which_aggregates_there_were() {
    for seed in 0..40_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let every_ms = 1 + random.below(3);
        let windows = TimeWindows::Sliding(Sliding {
            offset_ms: random.below(every_ms),
            ..Sliding::of_ms(every_ms * (17 + random.below(90)), every_ms)
        });
        let (mut watermark, mut time) = (i64::MIN, -50_i64);
        let lateness = random.below(12);
        let events: Vec<Event> = (0..=u8::MAX)
            .map(|number| {
                time += random.below(10) - 3;
                let before = watermark;
                watermark = watermark.max(time - lateness);
                Event {
                    key: u8::try_from(random.below(2)).expect("two keys"),
                    time,
                    watermark: before,
                    number,
                }
            })
            .filter(|event| late(&batch(&[*event]), windows).is_empty())
            .collect();
        let (without, of_all) = results(&events, windows, |_| false);
        let (with, of_few) = results(&events, windows, |_| true);
        let (with_some, _) = results(&events, windows, |place| place % 5 == 0);
        assert_eq!(with, without, "seed {seed}: {windows:?}");
        assert_eq!(with_some, without, "seed {seed}: {windows:?}");
        assert!(of_few < of_all, "seed {seed}: {of_few} of {of_all}");
    }
}

#[test]
fn a_window_of_many_segments_is_merged_from_few() {
    let windows = TimeWindows::Sliding(Sliding::of_ms(4_000, 1));
    let event = |time: i64| Event {
        key: 1,
        time,
        watermark: time - 1,
        number: 7,
    };
    let events: Vec<Event> = (0..4_500).map(event).collect();
    let (found, most) = results(&events, windows, |_| true);
    assert_eq!(found.len(), 8_499);
    assert!(most <= 40, "of {most} parts");
}

#[test]
fn parts_of_another_state_version_have_no_aggregate() {
    let windows = TimeWindows::Sliding(Sliding::of_ms(100, 1));
    let event = |time: i64| Event {
        key: 1,
        time,
        watermark: time - 1,
        number: 7,
    };
    for (state_version, merges) in [(1, true), (2, false)] {
        let mut table = Table::timed_in_epoch(1);
        let mut turn = 0;
        for time in [0, 1] {
            fold(&mut table, windows, &mut turn, &[event(time)], i64::MIN);
        }
        let (fold, plan) = assign(
            &mut table,
            &batch(&[event(50)]),
            windows,
            turn + 1,
            state_version,
            || 50,
        );
        assert_eq!(fold.merged.is_some(), merges, "state version {state_version}");
        plan.abandon(&mut table);
    }
}
