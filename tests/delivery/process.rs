//! Operators with state and timers by key, against an oracle that processes the events of each key one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::kill::kill;
use crate::support::{Dirigo, Folder, Random, guest, number_of};

/// An event: its number, its key and its time.
#[derive(Clone, Copy, Debug)]
struct Event {
    n: u64,
    key: u64,
    time: i64,
}

/// What is told of a key, in order.
type Told = BTreeMap<String, Vec<Value>>;

/// What `tests/hostile/process` keeps of a key and does with it.
#[derive(Default)]
struct Key {
    known: bool,
    mixed: u64,
    timers: BTreeSet<(i64, &'static str)>,
    told: Vec<Value>,
}

impl Key {
    fn mix(&mut self, factor: u64, number: u64) {
        self.mixed = if self.known { self.mixed } else { 0 };
        self.known = true;
        self.mixed = self.mixed.wrapping_mul(factor).wrapping_add(number) % 1_000_003;
    }

    fn set(&mut self, name: &'static str, time: i64) {
        self.cancel(name);
        self.timers.insert((time, name));
    }

    fn cancel(&mut self, name: &str) {
        self.timers.retain(|(_, other)| *other != name);
    }

    fn event(&mut self, event: Event) {
        self.mix(31, event.n);
        self.set("silent", event.time + 60);
        if event.n.is_multiple_of(3) {
            self.set("third", event.time + 7);
        }
        if event.n.is_multiple_of(7) {
            self.cancel("third");
        }
        if self.mixed.is_multiple_of(2) {
            self.told
                .push(json!({"n": event.n, "timer": null, "at": event.time, "mixed": self.mixed}));
        }
    }

    /// Fires the timers up to a time. At the end of the input those that firing ones set are dropped.
    fn advance(&mut self, until: i64) {
        while let Some(&(time, name)) = self.timers.first()
            && time <= until
        {
            self.timers.pop_first();
            self.mix(37, 1);
            self.told
                .push(json!({"n": null, "timer": name, "at": time, "mixed": self.mixed}));
            match name {
                "silent" => self.known = false,
                "third" if self.mixed.is_multiple_of(5) && until < i64::MAX => self.set("third", time + 3),
                _ => {}
            }
        }
    }
}

/// What is told of events that are processed by their times, and which of them are too late.
fn oracle(events: &[Event], lateness: i64) -> (Told, Vec<u64>) {
    let mut watermark = i64::MIN;
    let mut late = Vec::new();
    let mut sorted = Vec::new();
    for event in events {
        if event.time < watermark {
            late.push(event.n);
        } else {
            sorted.push(*event);
        }
        watermark = watermark.max(event.time - lateness);
    }
    sorted.sort_by_key(|event| (event.time, event.n));
    let mut keys: BTreeMap<u64, Key> = BTreeMap::new();
    for event in sorted {
        let key = keys.entry(event.key).or_default();
        key.advance(event.time - 1);
        key.event(event);
    }
    // Before the end of the input, event time comes as far as the newest event less the lateness.
    let told = keys.into_iter().map(|(key, mut kept)| {
        kept.advance(watermark - 1);
        kept.advance(i64::MAX);
        (format!("k-{key}"), kept.told)
    });
    (told.collect(), late)
}

/// Events whose times go on, back and far back at random, with silences between.
fn events(count: u64, keys: u64, random: &mut Random) -> Vec<Event> {
    let mut time = 1_000_000;
    let event = |n| {
        let step = if random.below(40) == 0 { 200 } else { 6 };
        time += i64::try_from(random.below(step)).unwrap();
        let back = match random.below(50) {
            0 => 300,
            1..=10 => 40,
            _ => 0,
        };
        Event {
            n,
            key: random.next() % keys,
            time: time - i64::try_from(random.below(1 + back)).unwrap(),
        }
    };
    (0..count).map(event).collect()
}

fn lines<'a>(events: impl IntoIterator<Item = &'a Event>) -> String {
    let mut lines = String::new();
    for Event { n, key, time } in events {
        writeln!(lines, "{{\"n\":{n},\"key\":\"k-{key}\",\"t\":{time}}}").unwrap();
    }
    lines
}

/// A pipeline with the guest; `more` stands in the operator, `sink` in the sink.
fn striker(order: &str, mode: &str, every: u64, lateness: i64, more: &str, sink: &str) -> Folder {
    let late = if order == "time" {
        "[[sink]]\nid = \"too-late\"\nkind = \"file\"\npath = \"late.jsonl\"\ninputs = [\"striker.late\"]"
    } else {
        ""
    };
    Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "killed"
        checkpoint = "10ms"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        time = "/t"
        lateness = "{lateness}ms"
        [[operator]]
        id = "striker"
        component = "{}"
        order = "{order}"
        config = {{ mode = "{mode}", every = {every} }}
        {more}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        {sink}
        {late}
        [dead_letters]
        path = "dead.jsonl"
        max = "100%"
        "#,
        guest("process").display(),
    ))
}

/// What is told in a file, by key.
fn told(folder: &Folder) -> Told {
    let mut told = Told::new();
    for line in folder.json_lines("out.jsonl") {
        let key = line["key"].as_str().unwrap().to_owned();
        let line = json!({"n": line["n"], "timer": line["timer"], "at": line["at"], "mixed": line["mixed"]});
        told.entry(key).or_default().push(line);
    }
    told
}

fn count(told: &Told) -> usize {
    told.values().map(Vec::len).sum()
}

#[track_caller]
fn assert_told(found: &Told, expected: &Told, what: &str) {
    for (key, expected) in expected {
        let found = found.get(key).map_or(&[][..], Vec::as_slice);
        let at = (0..expected.len().max(found.len())).find(|at| found.get(*at) != expected.get(*at));
        if let Some(at) = at {
            let shown = |told: &[Value]| {
                format!(
                    "{:?}",
                    &told[at.saturating_sub(2).min(told.len())..(at + 3).min(told.len())]
                )
            };
            panic!("{what}, {key} at {at}:\n{}\nis not\n{}", shown(found), shown(expected));
        }
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

#[test]
fn events_are_processed_by_their_times_with_timers_between_them_at_any_number_of_workers() {
    let seed = number_of("DIRIGO_SEED", 18);
    println!("DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    for (workers, lateness, more, order) in [
        (1, 0, "", "key"),
        (2, 40, "", "source"),
        (8, 40, "shards = 5", "source"),
        (2, 500, "actors = \"per-key\"", "key"),
        (3, 15, "isolation = \"fresh\"", "key"),
    ] {
        let events = events(4_000, 7, &mut random);
        let (expected, late) = oracle(&events, lateness);
        let folder = striker("time", "pass", 1, lateness, more, &format!("order = \"{order}\""));
        folder.write("events.jsonl", lines(&events));
        let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(workers).finish();
        let summary = finished.succeeds();
        let what = format!("{workers} workers, lateness {lateness}, {more}");
        assert_eq!(summary.operator("striker", "late"), late.len() as u64, "{what}");
        assert_eq!(
            summary.operator("striker", "absorbed") + late.len() as u64,
            4_000,
            "{what}"
        );
        let late_lines = lines(events.iter().filter(|event| late.contains(&event.n)));
        assert_eq!(sorted(&folder.read("late.jsonl")), sorted(&late_lines), "{what}");
        assert!(expected.values().flatten().any(|told| told["timer"] == "third"));
        assert_told(&told(&folder), &expected, &what);
    }
}

fn sorted(lines: &str) -> Vec<String> {
    let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_run_that_is_killed_again_and_again_fires_each_timer_once() {
    let (kills, seed) = (number_of("DIRIGO_KILLS", 12), number_of("DIRIGO_SEED", 4));
    println!("DIRIGO_KILLS={kills} DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    let events = events(30_000, 23, &mut random);
    let (expected, late) = oracle(&events, 40);
    assert!(!late.is_empty());
    let folder = striker("time", "pass", 1, 40, "", "order = \"key\"");
    folder.write("events.jsonl", lines(&events));
    let killed = kill(&folder, kills, &mut random);
    println!("{killed} kills, {} told", count(&expected));
    assert_told(&told(&folder), &expected, &format!("after {killed} kills"));
}

#[test]
fn events_are_processed_as_they_arrive_and_timers_fire_behind_them() {
    let mut random = Random(9);
    let events = events(2_000, 5, &mut random);
    let folder = striker("arrival", "pass", 1, 0, "", "");
    folder.write("events.jsonl", lines(&events));
    let summary = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    let summary = summary.succeeds();
    assert_eq!(
        summary.operator("striker", "passed") + summary.operator("striker", "absorbed"),
        2_000
    );
    let told = folder.json_lines("out.jsonl");
    let of_events = |key: &str| -> Vec<u64> {
        let of_key = told.iter().filter(|line| line["key"] == key);
        of_key.filter_map(|line| line["n"].as_u64()).collect()
    };
    for key in 0..5 {
        assert!(
            of_events(&format!("k-{key}")).is_sorted(),
            "events come in the order of their source"
        );
    }
    let fired = told.iter().filter(|line| line["timer"] == "silent").count();
    assert!(fired >= 5, "each key is silent at the end: {fired}");
}
