//! What a process keeps of a key, as its entry has it: state, timers, items, and events that wait until event time has come to them.
//!
//! They stand in the entry's accumulator:
//!
//! ```text
//! bytes of state u32 | bytes of timers u32 | [bytes of items u32] | state | timers | [items] | events
//! timer:  time i64 | length u32 | name
//! event:  time i64 | length u32 | step | length u32
//! ```
//!
//! All numbers are little-endian. The highest bit of the first says whether there are items, as [`Items`] encodes them. In the table of an active
//! actor these lie outside of the entry ([`super::table_items`]): then the next bit says that, and they are not among its bytes. Timers rise by time, then by name; events by time, then by input, source and position. The length of an event
//! stands on both sides, so that the newest are found from the end, where most events go. An event lies there as its [`Step`].
//!
//! The entry's own `count` is one more than its events, and its `end` is when the next timer or event of the key is due:
//! [`AFTER_ALL`] for none. Its `start` says what its table has noted of that. What has a time is due once the watermark lies behind it.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::entry::{Entry, bytes_of_first};
use super::step::{Step, WaitingEvent};
use dirigo_ground::items::{self, Items};
use dirigo_ground::lineage::{AFTER_ALL, BEFORE_ALL};

const HEAD: usize = 4 + 4;
/// In the number of bytes of the state: that there are items, and that the table has them.
const HAS_ITEMS: u32 = 1 << 31;
const HAS_ITEMS_APART: u32 = 1 << 30;
const EVENT_HEAD: usize = 8 + 4;
const EVENT_TAIL: usize = 4;

/// The parts of an entry of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keyed<'a> {
    /// The operator's state; empty for none.
    pub state: &'a [u8],
    timers: &'a [u8],
    /// Encoded; empty where there are none here.
    items: &'a [u8],
    are_items_apart: bool,
    events: &'a [u8],
}

impl<'a> Keyed<'a> {
    /// Those of an entry; of an empty one there are none.
    #[must_use]
    pub fn of(entry: &'a Entry) -> Self {
        Self::in_bytes(entry.bytes()).unwrap_or_default()
    }

    fn in_bytes(bytes: &'a [u8]) -> Option<Self> {
        let (first, rest) = bytes.split_first_chunk()?;
        let first = u32::from_le_bytes(*first);
        let (timer_bytes, rest) = split_length(rest)?;
        let (item_bytes, rest) = if first & HAS_ITEMS == 0 {
            (0, rest)
        } else {
            split_length(rest)?
        };
        let state_bytes = usize::try_from(first & !(HAS_ITEMS | HAS_ITEMS_APART)).ok()?;
        let (state, rest) = rest.split_at_checked(state_bytes)?;
        let (timers, rest) = rest.split_at_checked(timer_bytes)?;
        let (items, events) = rest.split_at_checked(item_bytes)?;
        Some(Self {
            state,
            timers,
            items,
            are_items_apart: first & HAS_ITEMS_APART != 0,
            events,
        })
    }

    /// All but the events, encoded.
    fn encode_kept(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + 4 + self.state.len() + self.timers.len() + self.items.len());
        let mut first = u32::from_le_bytes(length(self.state.len()));
        first |= if self.items.is_empty() { 0 } else { HAS_ITEMS };
        first |= if self.are_items_apart { HAS_ITEMS_APART } else { 0 };
        bytes.extend_from_slice(&first.to_le_bytes());
        bytes.extend_from_slice(&length(self.timers.len()));
        if !self.items.is_empty() {
            bytes.extend_from_slice(&length(self.items.len()));
        }
        for part in [self.state, self.timers, self.items] {
            bytes.extend_from_slice(part);
        }
        bytes
    }

    /// The items, where they are among the bytes of the entry. `None` where there are none, or they are damaged.
    #[must_use]
    pub fn items(self) -> Option<Items> {
        Some(Items::decode(self.items)?).filter(|items| !items.is_empty())
    }

    /// Whether the table has its items.
    pub(super) fn are_items_apart(self) -> bool {
        self.are_items_apart
    }

    /// The bytes that a turn is handed of it.
    pub(super) fn handed_bytes(self) -> usize {
        self.state.len() + self.timers.len()
    }

    /// The timers, by time and name.
    #[must_use]
    pub fn timers(self) -> KeyTimers<'a> {
        KeyTimers(self.timers)
    }

    /// The events that wait, by time.
    #[must_use]
    pub fn events(self) -> WaitingEvents<'a> {
        WaitingEvents(self.events)
    }

    /// Whether all of it is sound, as much as one can tell.
    #[must_use]
    pub fn is_sound(entry: &'a Entry) -> bool {
        let Some(keyed) = Self::in_bytes(entry.bytes()) else {
            return false;
        };
        let (mut timers, mut events) = (keyed.timers(), keyed.events());
        let are_timers_sorted = timers.by_ref().is_sorted();
        let are_events_sound = events.by_ref().all(|(_, step)| Step::decode(step).is_some());
        let count = 1 + keyed.events().count() as u64;
        let ends = timers.0.is_empty() && events.0.is_empty();
        let are_items_sound = !keyed.are_items_apart && Items::decode(keyed.items).is_some();
        are_timers_sorted && are_events_sound && are_items_sound && ends && count == entry.count
    }

    /// When the first timer or event is due that is due after `after`.
    fn next_due(self, after: i64) -> i64 {
        let mut timers = self.timers().map(|(time, _)| due_at(time));
        let event = self.events().next().map(|(time, _)| due_at(time));
        let timer = timers.find(|due| *due > after);
        timer.into_iter().chain(event).min().unwrap_or(AFTER_ALL)
    }
}

/// By which watermark event time has passed a time.
#[must_use]
pub fn due_at(time: i64) -> i64 {
    time.saturating_add(1).min(AFTER_ALL - 1)
}

fn split_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u32::from_le_bytes(*length)).ok()?, rest))
}

/// A time, and what has it.
type Item<'a> = (i64, &'a [u8]);

/// A time and bytes in front of `bytes`, and what follows them.
fn split_item(bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (time, rest) = bytes.split_first_chunk()?;
    let (length, rest) = split_length(rest)?;
    let (item, rest) = rest.split_at_checked(length)?;
    Some(((i64::from_le_bytes(*time), item), rest))
}

fn push_item(time: i64, item: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&time.to_le_bytes());
    bytes.extend_from_slice(&length(item.len()));
    bytes.extend_from_slice(item);
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes)
        .expect("limits keep what is known of a key under 4 GiB")
        .to_le_bytes()
}

/// The timers of a key: of each when it fires, in ms since the epoch, and its name. What is damaged ends them.
#[derive(Clone, Debug)]
pub struct KeyTimers<'a>(&'a [u8]);

impl<'a> Iterator for KeyTimers<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (timer, rest) = split_item(self.0)?;
        self.0 = rest;
        Some(timer)
    }
}

/// The events of a key that wait: of each the time, and the step. What is damaged ends them.
#[derive(Clone, Debug)]
pub struct WaitingEvents<'a>(&'a [u8]);

impl<'a> Iterator for WaitingEvents<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (event, rest) = split_item(self.0)?;
        let (_, rest) = rest.split_first_chunk::<EVENT_TAIL>()?;
        self.0 = rest;
        Some(event)
    }
}

impl<'a> WaitingEvents<'a> {
    /// The bytes of those that are due by a watermark.
    #[must_use]
    pub fn due_bytes(self, watermark: i64) -> usize {
        let (mut front, mut back) = (self.clone(), self);
        let is_due = |(time, _): &Item<'_>| due_at(*time) <= watermark;
        let bytes = |(_, step): Item<'_>| EVENT_HEAD + step.len() + EVENT_TAIL;
        bytes_of_first(
            front.0.len(),
            || front.next().filter(is_due).map(bytes),
            || {
                let (last, before) = back.split_last().filter(|(last, _)| !is_due(last))?;
                back = before;
                Some(bytes(last))
            },
        )
    }

    /// The last one, and what is before it.
    fn split_last(&self) -> Option<(Item<'a>, Self)> {
        let (rest, length) = self.0.split_last_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let from = rest.len().checked_sub(length)?.checked_sub(EVENT_HEAD)?;
        let (event, _) = split_item(&self.0[from..])?;
        Some((event, Self(&self.0[..from])))
    }
}

/// How far event time has come for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReachedTime {
    /// Its watermark: [`AFTER_ALL`] at the end of the input.
    pub watermark: i64,
    /// How far the input has brought event time, its end left out: [`BEFORE_ALL`] where it brought none.
    pub before_end: i64,
}

impl ReachedTime {
    /// A watermark that is not the end of the input.
    #[must_use]
    pub fn at(watermark: i64) -> Self {
        Self {
            watermark,
            before_end: watermark,
        }
    }
}

impl Default for ReachedTime {
    fn default() -> Self {
        Self::at(BEFORE_ALL)
    }
}

/// What of a key is due: steps, each with its time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueSteps {
    /// In the order in which they are made.
    pub steps: Vec<(i64, Vec<u8>)>,
    /// How many of them are events.
    pub events: u64,
    /// When the next timer or event of the key is due, if there is one.
    pub next: Option<i64>,
}

impl Entry {
    /// One that has this state and these timers, in place of the entry's own. Items, and events that wait, stay.
    pub(super) fn put_keyed<'a>(
        &mut self,
        state: &[u8],
        timers: impl Iterator<Item = (i64, &'a [u8])>,
        state_version: u32,
    ) {
        let mut encoded = Vec::new();
        timers.for_each(|(time, name)| push_item(time, name, &mut encoded));
        let kept = Keyed {
            state,
            timers: &encoded,
            ..Keyed::of(self)
        };
        let end = kept.next_due(BEFORE_ALL);
        let (encoded, is_empty) = (kept.encode_kept(), kept == Keyed::default());
        self.write_kept(&encoded, is_empty);
        self.state_version = state_version;
        if self.count > 0 {
            self.end = end;
        }
    }

    /// Has its items among its bytes: these.
    pub(super) fn put_items(&mut self, items: &Items) {
        let mut encoded = Vec::with_capacity(items.bytes());
        items.encode_into(&mut encoded);
        let kept = Keyed {
            items: &encoded,
            are_items_apart: false,
            ..Keyed::of(self)
        };
        let (encoded, is_empty) = (kept.encode_kept(), kept == Keyed::default());
        self.write_kept(&encoded, is_empty);
    }

    /// Has no items among its bytes, and says whether its table has some.
    pub(super) fn put_items_apart(&mut self, are_items_apart: bool) {
        let kept = Keyed {
            items: &[],
            are_items_apart,
            ..Keyed::of(self)
        };
        let (encoded, is_empty) = (kept.encode_kept(), kept == Keyed::default());
        self.write_kept(&encoded, is_empty);
    }

    /// Has these bytes in place of its own, but for those of events.
    fn write_kept(&mut self, kept: &[u8], is_empty: bool) {
        if is_empty {
            (self.count, self.end) = (0, 0);
            self.clear_bytes();
            return;
        }
        if self.count == 0 {
            (self.count, self.end) = (1, AFTER_ALL);
        }
        let events = self.events_from();
        self.replace(0..events, kept);
    }

    /// Has an event wait.
    pub(super) fn put_event(&mut self, time: i64, event: WaitingEvent<'_>, state_version: u32) {
        if self.count == 0 {
            self.set_bytes(&[0; HEAD]);
            (self.count, self.end, self.state_version) = (1, AFTER_ALL, state_version);
        }
        let step = Step::Event(event);
        let mut written = Vec::with_capacity(EVENT_HEAD + event.value.len() + 64);
        let encoded = step.encode();
        push_item(time, &encoded, &mut written);
        written.extend_from_slice(&length(encoded.len()));
        let mut before = Keyed::of(self).events();
        let is_behind = |(other, bytes): Item<'_>| match other.cmp(&time) {
            Ordering::Equal => Step::decode(bytes).and_then(Step::order) > step.order(),
            order => order == Ordering::Greater,
        };
        while let Some((other, rest)) = before.split_last()
            && is_behind(other)
        {
            before = rest;
        }
        let at = self.events_from() + before.0.len();
        self.replace(at..at, &written);
        self.count += 1;
        self.end = self.end.min(due_at(time));
    }

    /// Where its events begin.
    fn events_from(&self) -> usize {
        self.bytes().len() - Keyed::of(self).events.len()
    }

    /// Takes out what of a key is due, in steps: its events, of about so many bytes at most, and advances between and behind them. Timers
    /// stay, for an advance has them fire; the entry is due when something else is. `None` where nothing is due.
    pub fn take_due_steps(&mut self, by: ReachedTime, bytes_max: usize) -> Option<DueSteps> {
        let ReachedTime { watermark, before_end } = by;
        if self.count == 0 || self.end > watermark || self.end == AFTER_ALL {
            return None;
        }
        let mut due = DueSteps::default();
        let (mut bytes, mut last) = (0, None);
        let keyed = Keyed::of(self);
        let mut waiting = keyed.events();
        while let Some((time, step)) = waiting.clone().next().filter(|(time, _)| due_at(*time) <= watermark) {
            if bytes > bytes_max {
                break;
            }
            waiting.next();
            // The timers before it fire before it.
            if last != Some(time) {
                due.push_advance(time, time.saturating_sub(1));
            }
            due.steps.push((time, step.to_vec()));
            due.events += 1;
            bytes += step.len();
            last = Some(time);
        }
        let are_more = waiting
            .clone()
            .next()
            .is_some_and(|(time, _)| due_at(time) <= watermark);
        if !are_more {
            let timers = keyed.timers().map(|(time, _)| time);
            let time = timers.take_while(|time| due_at(*time) <= watermark).last().or(last);
            let mut push = |until| due.push_advance(time.unwrap_or(until), until);
            if watermark < AFTER_ALL {
                push(watermark - 1);
            } else {
                // Whether event time came to its last stop by itself, or with the end, makes no difference.
                if before_end > BEFORE_ALL {
                    push(before_end - 1);
                }
                push(AFTER_ALL);
            }
        }
        let taken = keyed.events.len() - waiting.0.len();
        let from = self.events_from();
        self.remove(from..from + taken);
        self.count -= due.events;
        let keyed = Keyed::of(self);
        let end = keyed.next_due(if are_more { BEFORE_ALL } else { watermark });
        if keyed == Keyed::default() {
            (self.count, self.end) = (0, 0);
            self.clear_bytes();
        } else {
            self.end = end;
        }
        due.next = (end != AFTER_ALL).then_some(end);
        Some(due)
    }

    /// Drops the timers that fire up to a time.
    pub(super) fn drop_timers(&mut self, until: i64) {
        let keyed = Keyed::of(self);
        let (state, version) = (keyed.state.to_vec(), self.state_version);
        let timers: Vec<(i64, Vec<u8>)> = keyed
            .timers()
            .filter(|(time, _)| *time > until)
            .map(|(time, name)| (time, name.to_vec()))
            .collect();
        let timers = timers.iter().map(|(time, name)| (*time, name.as_slice()));
        self.put_keyed(&state, timers, version);
    }
}

impl DueSteps {
    fn push_advance(&mut self, time: i64, until: i64) {
        self.steps.push((time, Step::Advance { until }.encode()));
    }
}

/// What is kept of a key as JSON: its `state` as `show` has it, its `timers`, how many events wait, and its `items` by map, as `show_item` has them:
/// the map, the key and the value.
#[must_use]
pub fn shown<'a>(
    entry: &'a Entry,
    show: impl FnOnce(&[u8]) -> Value,
    show_item: impl Fn(items::Item<'_>) -> (String, Value, Value),
) -> Value {
    let keyed = Keyed::of(entry);
    let timer = |(time, name): Item<'a>| json!({ "name": String::from_utf8_lossy(name), "time": time });
    let mut shown = json!({
        "state": if keyed.state.is_empty() { Value::Null } else { show(keyed.state) },
        "timers": keyed.timers().map(timer).collect::<Vec<_>>(),
        "waiting": keyed.events().count(),
    });
    if let Some(items) = keyed.items() {
        let mut maps: Map<String, Value> = Map::new();
        for item in items.iter() {
            let (map, key, value) = show_item(item);
            let entries = maps.entry(map).or_insert_with(|| Value::Array(Vec::new()));
            entries.as_array_mut().expect("it is a list").push(json!([key, value]));
        }
        shown["items"] = maps.into();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: ReachedTime = ReachedTime {
        watermark: AFTER_ALL,
        before_end: 35,
    };

    fn event(position: u64, value: &[u8]) -> WaitingEvent<'_> {
        WaitingEvent {
            input: 0,
            source: "in",
            position,
            path: 3,
            twin: 0,
            value,
        }
    }

    /// Steps as text: events by their values, advances by their times.
    fn shown(due: &DueSteps) -> Vec<String> {
        let step = |(time, step): &(i64, Vec<u8>)| match Step::decode(step).expect("it is a step") {
            Step::Event(event) => format!("{time}:{}", String::from_utf8_lossy(event.value)),
            Step::Advance { until: AFTER_ALL } => "end".to_owned(),
            Step::Advance { until } => format!("<={until}"),
        };
        due.steps.iter().map(step).collect()
    }

    #[test]
    fn what_is_kept_is_shown_with_its_items_by_map() {
        let mut entry = Entry::default();
        entry.put_keyed(b"state", [(5, &b"t"[..])].into_iter(), 7);
        entry.put_event(9, event(1, b"x"), 7);
        let mut items = Items::default();
        for name in [b"a1", b"a2", b"b1"] {
            items.set(items::Item {
                name,
                version: 7,
                value: b"v",
            });
        }
        entry.put_items(&items);
        assert!(Keyed::is_sound(&entry));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let show_item = |item: items::Item<'_>| {
            let (map, key) = item.name.split_at(1);
            (text(map), text(key).into(), text(item.value).into())
        };
        assert_eq!(
            super::shown(&entry, |state| text(state).into(), show_item),
            json!({
                "state": "state",
                "timers": [{"name": "t", "time": 5}],
                "waiting": 1,
                "items": {"a": [["1", "v"], ["2", "v"]], "b": [["1", "v"]]},
            })
        );
        let due = entry.take_due_steps(ReachedTime::at(100), 1_000).expect("all is due");
        assert_eq!(due.events, 1);
        entry.put_keyed(b"", std::iter::empty(), 7);
        assert_eq!(
            (entry.count, Keyed::of(&entry).items()),
            (1, Some(items)),
            "items keep a key"
        );
        entry.put_items(&Items::default());
        assert_eq!((entry.count, entry.bytes().len()), (0, 0));
    }

    #[test]
    fn events_wait_in_order_and_leave_with_the_watermark() {
        let mut entry = Entry::default();
        for (time, position, value) in [(20, 1, b"c"), (10, 3, b"b"), (10, 2, b"a"), (30, 4, b"d")] {
            entry.put_event(time, event(position, value), 1);
            assert!(Keyed::is_sound(&entry));
        }
        assert_eq!((entry.count, entry.end), (5, 11));
        assert_eq!(
            entry.take_due_steps(ReachedTime::at(10), 1_000),
            None,
            "an event of 10 may still come"
        );
        let due = entry.take_due_steps(ReachedTime::at(21), 1_000).expect("three are due");
        assert_eq!(shown(&due), ["<=9", "10:a", "10:b", "<=19", "20:c", "<=20"]);
        assert_eq!((due.events, due.next, entry.count), (3, Some(31), 2));
        let due = entry.take_due_steps(END, 1_000).expect("it is the end");
        assert_eq!(shown(&due), ["<=29", "30:d", "<=34", "end"]);
        assert_eq!((due.next, entry.count, entry.bytes().len()), (None, 0, 0));
    }

    #[test]
    fn the_bytes_of_events_that_are_due_are_counted_from_either_end() {
        let mut entry = Entry::default();
        let mut bytes = vec![0];
        for place in 0..6_u8 {
            let before = Keyed::of(&entry).events().0.len();
            entry.put_event(place.into(), event(0, &vec![b'x'; usize::from(place)]), 1);
            bytes.push(bytes[usize::from(place)] + Keyed::of(&entry).events().0.len() - before);
        }
        for (watermark, expected) in (0..).zip(bytes) {
            assert_eq!(
                Keyed::of(&entry).events().due_bytes(watermark),
                expected,
                "by {watermark}"
            );
        }
    }

    #[test]
    fn what_is_too_much_for_one_go_is_due_again() {
        let mut entry = Entry::default();
        (0..4_u8).for_each(|place| entry.put_event(place.into(), event(place.into(), &[b'x'; 100]), 1));
        let due = entry.take_due_steps(ReachedTime::at(50), 150).expect("all are due");
        assert_eq!((due.events, due.next, shown(&due).len()), (2, Some(3), 4));
        let due = entry.take_due_steps(ReachedTime::at(50), 150).expect("the others are");
        assert_eq!((due.events, due.next, shown(&due).len()), (2, None, 5));
    }

    #[test]
    fn timers_stay_until_they_have_fired() {
        let mut entry = Entry::default();
        entry.put_event(40, event(1, b"late"), 1);
        entry.put_keyed(b"state", [(5, &b"t"[..]), (60, b"u")].into_iter(), 7);
        assert!(Keyed::is_sound(&entry));
        assert_eq!((entry.count, entry.end, entry.state_version), (2, 6, 7));
        let due = entry
            .take_due_steps(ReachedTime::at(10), 1_000)
            .expect("a timer is due");
        assert_eq!((shown(&due), due.next), (vec!["<=9".to_owned()], Some(41)));
        assert_eq!(due.steps[0].0, 5, "the time of the timer");
        assert_eq!(Keyed::of(&entry).timers().count(), 2);
        entry.put_keyed(b"", [(60, &b"u"[..])].into_iter(), 7);
        assert_eq!(entry.end, 41);
        let due = entry.take_due_steps(ReachedTime::at(100), 1_000).expect("both are due");
        assert_eq!(shown(&due), ["<=39", "40:late", "<=99"]);
        entry.drop_timers(99);
        assert_eq!((entry.count, entry.bytes().len()), (0, 0));
    }

    #[test]
    fn a_key_of_which_nothing_is_kept_has_no_entry() {
        let mut entry = Entry::default();
        entry.put_keyed(b"", std::iter::empty(), 3);
        assert_eq!(entry.count, 0);
        entry.put_keyed(b"s", std::iter::empty(), 3);
        assert_eq!((entry.count, entry.end), (1, AFTER_ALL));
        assert_eq!(entry.take_due_steps(END, 10), None);
        entry.put_keyed(b"", std::iter::empty(), 3);
        assert_eq!((entry.count, entry.bytes().len()), (0, 0));
    }

    #[test]
    fn what_was_cut_off_is_not_sound() {
        let mut entry = Entry::default();
        entry.put_event(1, event(1, b"a"), 1);
        entry.put_keyed(b"state", [(5, &b"t"[..])].into_iter(), 1);
        let whole = entry.clone();
        for length in 0..whole.bytes().len() {
            entry.set_bytes(&whole.bytes()[..length]);
            assert!(!Keyed::is_sound(&entry), "{length} bytes");
        }
    }
}
