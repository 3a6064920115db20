//! What has to come out, worked out without the system under test.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::StrikerKey;

/// Events of each source.
pub(crate) const EVENTS: u64 = 30;
/// Keys of each source: of one source each, so that the order of a key's events is known.
const KEYS: u64 = 4;
/// The events at which the operators `map`, `list` and `each` fail are multiples of these.
pub(crate) const MAP_FAILS: u64 = 13;
pub(crate) const LIST_FAILS: u64 = 11;
pub(crate) const EACH_FAILS: u64 = 17;
/// The same for `timers`.
pub(crate) const TIMERS_FAIL: u64 = 19;
/// The windows of `list` and `each`.
pub(crate) const LIST_WINDOW: usize = 3;
pub(crate) const EACH_WINDOW: usize = 2;
/// How long the windows of `in-time` are, in ms: the time of an event is its number.
pub(crate) const TIME_WINDOW: u64 = 8;

/// The same of `sums`, and the events at which it fails.
pub(crate) const SUMS_WINDOW: u64 = 16;
pub(crate) const SUMS_FAIL: u64 = 23;

pub(crate) const SOURCES: [&str; 2] = ["a", "b"];

/// The events of a source: number and key.
fn events(source: usize) -> impl Iterator<Item = (u64, String)> {
    let first = 1_000 * source as u64;
    (first..first + EVENTS).map(move |n| (n, format!("{}-{}", SOURCES[source], n % KEYS)))
}

/// What a source reads.
pub(crate) fn input(source: usize) -> String {
    let line = |(n, key): (u64, String)| {
        let of = format!("\"source\":\"{}\",\"value\"", SOURCES[source]);
        crate::support::event(n, &key).replace("\"value\"", &of)
    };
    events(source).map(line).collect()
}

/// Everything that is left in the end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// The lines of the sink that keeps the order of the sources.
    pub(crate) in_order: String,
    /// The lines of the other one, by key.
    pub(crate) by_key: BTreeMap<String, Vec<String>>,
    /// The lines of windows in time, in the order of their ends and keys.
    pub(crate) in_time: String,
    /// Those of the operator that sums.
    pub(crate) sums: String,
    /// What the operator with timers tells, by key.
    pub(crate) told: BTreeMap<String, Vec<Value>>,
    /// By operator, source and position.
    pub(crate) dead: BTreeSet<(String, String, u64)>,
}

impl Left {
    /// Where it differs from what is expected.
    pub(crate) fn difference(&self, expected: &Left) -> Option<String> {
        if self.in_order != expected.in_order {
            let (left, expected) = (&self.in_order, &expected.in_order);
            return Some(format!("there is left in order\n{left}and not\n{expected}"));
        }
        let keys = self.by_key.keys().chain(expected.by_key.keys());
        for key in keys {
            let (left, expected) = (self.by_key.get(key), expected.by_key.get(key));
            if left != expected {
                return Some(format!("there is left of {key}\n{left:?}\nand not\n{expected:?}"));
            }
        }
        if self.in_time != expected.in_time {
            let (left, expected) = (&self.in_time, &expected.in_time);
            return Some(format!("there is left of windows in time\n{left}and not\n{expected}"));
        }
        if self.sums != expected.sums {
            let (left, expected) = (&self.sums, &expected.sums);
            return Some(format!("there is left of sums\n{left}and not\n{expected}"));
        }
        if self.told != expected.told {
            let (left, expected) = (&self.told, &expected.told);
            return Some(format!("it is told\n{left:?}\nand not\n{expected:?}"));
        }
        let differing: Vec<_> = self.dead.symmetric_difference(&expected.dead).collect();
        (!differing.is_empty()).then(|| format!("these died or did not, and should not have or should: {differing:?}"))
    }
}

/// Windows that fill up.
#[derive(Default)]
struct Windows(BTreeMap<String, Vec<u64>>);

impl Windows {
    fn add(&mut self, n: u64, key: &str, size: usize) -> Option<String> {
        let numbers = self.0.entry(key.to_owned()).or_default();
        numbers.push(n);
        (numbers.len() == size).then(|| line(key, &std::mem::take(numbers)))
    }

    /// Those that are not full, in the order of their keys.
    fn partial(self) -> impl Iterator<Item = (String, String)> {
        let left = self.0.into_iter().filter(|(_, numbers)| !numbers.is_empty());
        left.map(|(key, numbers)| (line(&key, &numbers), key))
    }
}

fn line(key: &str, numbers: &[u64]) -> String {
    let count = numbers.len();
    format!(
        r#"{{"key":"{key}","numbers":{},"count":{count}}}"#,
        serde_json::json!(numbers)
    )
}

/// What is compared of what an operator with timers tells.
pub(crate) fn told(line: &Value) -> Value {
    json!({"n": line["n"], "timer": line["timer"], "at": line["at"], "mixed": line["mixed"]})
}

/// What must be left.
pub(crate) fn expected() -> Left {
    let mut left = Left::default();
    let (mut list, mut each) = (Windows::default(), Windows::default());
    let mut in_time: BTreeMap<(u64, String), Vec<u64>> = BTreeMap::new();
    let mut sums: BTreeMap<(u64, String), Vec<u64>> = BTreeMap::new();
    let mut timers: BTreeMap<String, StrikerKey> = BTreeMap::new();
    let sources = [events(0).collect::<Vec<_>>(), events(1).collect()];
    for index in 0..EVENTS {
        for (source, events) in SOURCES.iter().zip(&sources) {
            let (n, key) = &events[usize::try_from(index).unwrap()];
            let mut die = |operator: &str| {
                let place = (operator.to_owned(), (*source).to_owned(), index + 1);
                left.dead.insert(place);
            };
            if n.is_multiple_of(SUMS_FAIL) {
                die("sums");
            } else {
                sums.entry((n / SUMS_WINDOW, (*source).to_owned()))
                    .or_default()
                    .push(*n);
            }
            if n.is_multiple_of(MAP_FAILS) {
                die("map");
                continue;
            }
            in_time.entry((n / TIME_WINDOW, key.clone())).or_default().push(*n);
            if n.is_multiple_of(TIMERS_FAIL) {
                die("timers");
            } else {
                // A key is of one source, whose events come in the order of their times.
                let (timers, time) = (timers.entry(key.clone()).or_default(), n.cast_signed());
                timers.advance(time - 1);
                timers.event(*n, time);
            }
            if n.is_multiple_of(LIST_FAILS) {
                die("list");
            } else if let Some(line) = list.add(*n, key, LIST_WINDOW) {
                left.in_order.push_str(&line);
                left.in_order.push('\n');
            }
            if n.is_multiple_of(EACH_FAILS) {
                die("each");
            } else if let Some(line) = each.add(*n, key, EACH_WINDOW) {
                left.by_key.entry(key.clone()).or_default().push(line);
            }
        }
    }
    for (key, mut timers) in timers {
        timers.advance(i64::MAX);
        for (name, of_name) in [("", &timers.told), ("odd ", &timers.odd)] {
            if !of_name.is_empty() {
                left.told
                    .insert(format!("{name}{key}"), of_name.iter().map(told).collect());
            }
        }
    }
    for (line, _) in list.partial() {
        left.in_order.push_str(&line);
        left.in_order.push('\n');
    }
    for ((_, key), numbers) in in_time {
        left.in_time.push_str(&line(&key, &numbers));
        left.in_time.push('\n');
    }
    for ((window, key), numbers) in sums {
        left.sums
            .push_str(&crate::support::summed(&key, window * SUMS_WINDOW, &numbers));
    }
    for (line, key) in each.partial() {
        left.by_key.entry(key).or_default().push(line);
    }
    left
}
