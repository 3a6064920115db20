//! Windows in time: what they hold and what comes too late, against an oracle that looks at every event.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::kill::kill;
use crate::support::{Dirigo, Folder, Random, guest, number_of};

/// An event: its key and its time.
#[derive(Clone, Copy, Debug)]
struct Event {
    key: u64,
    time: i64,
}

/// How events are cut into windows.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Tumbling(i64),
    Sliding(i64, i64),
    Session(i64),
}

impl Shape {
    fn written(self) -> String {
        match self {
            Self::Tumbling(length) => format!("{{ tumbling = \"{length}ms\" }}"),
            Self::Sliding(length, every) => format!("{{ sliding = \"{length}ms\", every = \"{every}ms\" }}"),
            Self::Session(gap) => format!("{{ session = \"{gap}ms\" }}"),
        }
    }
}

/// By key, the windows in the order in which they close: each is the sorted numbers of its events.
type Windows = BTreeMap<String, Vec<Vec<u64>>>;

/// The windows of events and how many of these are late, by looking at each of them.
fn oracle(events: &[Event], shape: Shape, lateness: i64) -> (Windows, u64) {
    let mut watermark = i64::MIN;
    let mut late = 0;
    // By end and key.
    let mut closed: Vec<(i64, u64, Vec<u64>)> = Vec::new();
    let mut by_end: BTreeMap<(i64, u64), Vec<u64>> = BTreeMap::new();
    let mut sessions: Vec<(u64, i64, i64, Vec<u64>)> = Vec::new();
    for (number, event) in (0..).zip(events) {
        match shape {
            Shape::Tumbling(length) | Shape::Sliding(length, _) => {
                let every = if let Shape::Sliding(_, every) = shape {
                    every
                } else {
                    length
                };
                let last_start = event.time - event.time.rem_euclid(every);
                let starts = (0..)
                    .map(|back| last_start - back * every)
                    .take_while(|start| start + length > event.time);
                let open: Vec<i64> = starts
                    .map(|start| start + length)
                    .filter(|end| *end > watermark)
                    .collect();
                late += u64::from(open.is_empty());
                for end in open {
                    by_end.entry((end, event.key)).or_default().push(number);
                }
            }
            Shape::Session(gap) => {
                let (mut start, mut end) = (event.time, event.time + gap);
                let mut numbers = vec![number];
                let before = sessions.len();
                let (own_start, own_end) = (start, end);
                sessions.retain(|(key, from, to, held)| {
                    let is_met = *key == event.key && *to > watermark && *from < own_end && own_start < *to;
                    if is_met {
                        (start, end) = (start.min(*from), end.max(*to));
                        numbers.extend(held);
                    }
                    !is_met
                });
                if sessions.len() == before && own_end <= watermark {
                    late += 1;
                } else {
                    sessions.push((event.key, start, end, numbers));
                }
            }
        }
        watermark = watermark.max(event.time - lateness);
    }
    closed.extend(by_end.into_iter().map(|((end, key), numbers)| (end, key, numbers)));
    closed.extend(sessions.into_iter().map(|(key, _, end, numbers)| (end, key, numbers)));
    closed.sort_by_key(|(end, key, _)| (*end, *key));
    let mut windows = Windows::new();
    for (_, key, mut numbers) in closed {
        numbers.sort_unstable();
        windows.entry(format!("k-{key}")).or_default().push(numbers);
    }
    (windows, late)
}

/// Events whose times go on, back and far back at random.
fn events(count: usize, keys: u64, random: &mut Random) -> Vec<Event> {
    let mut time = 1_000_000;
    let event = |_| {
        time += i64::try_from(random.below(12)).unwrap();
        let back = match random.below(50) {
            0 => 300,
            1..=10 => 40,
            _ => 0,
        };
        Event {
            key: random.next() % keys,
            time: time - i64::try_from(random.below(1 + back)).unwrap(),
        }
    };
    (0..count).map(event).collect()
}

fn lines(events: &[Event]) -> String {
    let mut lines = String::new();
    for (number, Event { key, time }) in events.iter().enumerate() {
        writeln!(lines, "{{\"n\":{number},\"key\":\"k-{key}\",\"t\":{time}}}").unwrap();
    }
    lines
}

/// A pipeline with windows that list their events. `more` stands in the operator, `sink` in the sink.
fn listing(shape: Shape, lateness: i64, more: &str, sink: &str) -> Folder {
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
        id = "list"
        component = "{}"
        window = {}
        config = {{ mode = "pass", every = 1 }}
        {more}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        {sink}
        "#,
        guest("reduce").display(),
        shape.written()
    ))
}

/// What the windows in a file list, by key.
fn listed(folder: &Folder) -> Windows {
    let mut windows = Windows::new();
    for line in folder.json_lines("out.jsonl") {
        let mut numbers: Vec<u64> = serde_json::from_value(line["numbers"].clone()).unwrap();
        numbers.sort_unstable();
        assert_eq!(line["count"], numbers.len());
        let key = line["key"].as_str().unwrap().to_owned();
        windows.entry(key).or_default().push(numbers);
    }
    windows
}

const SHAPES: [Shape; 5] = [
    Shape::Tumbling(50),
    Shape::Sliding(60, 20),
    Shape::Sliding(50, 30),
    Shape::Session(30),
    Shape::Session(5),
];

#[test]
fn windows_hold_what_the_oracle_finds_at_any_number_of_workers_and_what_is_late_is_counted() {
    let seed = number_of("DIRIGO_SEED", 18);
    println!("DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    for shape in SHAPES {
        let events = events(4_000, 7, &mut random);
        for (workers, lateness, more, order) in [
            (1, 0, "", "key"),
            (2, 40, "", "source"),
            (8, 40, "shards = 5", "source"),
            (2, 500, "actors = \"per-key\"", "key"),
            (3, 15, "isolation = \"fresh\"", "key"),
        ] {
            let (expected, late) = oracle(&events, shape, lateness);
            let folder = listing(shape, lateness, more, &format!("order = \"{order}\""));
            folder.write("events.jsonl", lines(&events));
            let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(workers).finish();
            let summary = finished.succeeds();
            let what = format!("{shape:?}, {workers} workers, lateness {lateness}, {more}");
            assert_eq!(summary.operator("list", "late"), late, "{what}");
            assert_eq!(summary.operator("list", "absorbed") + late, 4_000, "{what}");
            let windows: usize = expected.values().map(Vec::len).sum();
            assert_eq!(summary.operator("list", "windows"), windows as u64, "{what}");
            assert!(
                listed(&folder) == expected,
                "{what}: {:?} is not {expected:?}",
                listed(&folder)
            );
            if lateness == 500 {
                assert_eq!(late, 0, "nothing comes so late: {what}");
            }
        }
    }
}

#[test]
fn where_the_order_of_the_source_is_kept_windows_are_in_the_order_of_their_ends_and_keys() {
    let mut random = Random(5);
    let events = events(3_000, 5, &mut random);
    for shape in [Shape::Tumbling(50), Shape::Sliding(60, 20), Shape::Session(30)] {
        let mut before: Option<String> = None;
        for (workers, more) in [(1, ""), (8, "shards = 3"), (4, "actors = \"per-key\"")] {
            let folder = listing(shape, 40, more, "order = \"source\"");
            folder.write("events.jsonl", lines(&events));
            Dirigo::run(&folder, ["pipeline.toml"])
                .workers(workers)
                .finish()
                .succeeds();
            let out = folder.read("out.jsonl");
            // Sessions are merged as events come, so the order within one is that of what was merged.
            let out = if let Shape::Session(_) = shape {
                format!("{:?}", listed(&folder))
            } else {
                out
            };
            assert_eq!(
                *before.get_or_insert_with(|| out.clone()),
                out,
                "{shape:?}, {workers} workers, {more}"
            );
        }
    }
}

#[test]
fn a_run_that_is_killed_again_and_again_closes_each_window_once_and_drops_what_is_late_once() {
    let (kills, seed) = (number_of("DIRIGO_KILLS", 12), number_of("DIRIGO_SEED", 3));
    println!("DIRIGO_KILLS={kills} DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    for shape in [Shape::Tumbling(50), Shape::Sliding(60, 20), Shape::Session(30)] {
        let events = events(30_000, 23, &mut random);
        let (expected, _) = oracle(&events, shape, 40);
        let folder = listing(shape, 40, "", "order = \"key\"");
        folder.write("events.jsonl", lines(&events));
        let killed = kill(&folder, kills, &mut random);
        println!("{shape:?}: {killed} kills");
        assert!(listed(&folder) == expected, "{shape:?} after {killed} kills");
    }
}

/// A pipeline with the sum of each key by 10 ms, of these the greatest by 100 ms, and how many of these there are in 1,000.
fn three_in_a_row() -> Folder {
    Folder::with_pipeline(
        r#"
        [pipeline]
        name = "p"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        time = "/t"
        lateness = "300ms"
        [[operator]]
        id = "sums"
        component = "builtin:reduce"
        window = { tumbling = "10ms" }
        config = { field = "n", aggregate = "sum" }
        [[operator]]
        id = "greatest"
        component = "builtin:reduce"
        window = { tumbling = "100ms" }
        config = { field = "sum", aggregate = "max" }
        [[operator]]
        id = "count"
        component = "builtin:reduce"
        key = "/count"
        window = { tumbling = "1s" }
        config = { field = "max", aggregate = "count" }
        [[sink]]
        id = "greatest-sums"
        kind = "file"
        path = "greatest.jsonl"
        inputs = ["greatest"]
        order = "source"
        [[sink]]
        id = "counts"
        kind = "file"
        path = "counts.jsonl"
        inputs = ["count"]
        order = "source"
        "#,
    )
}

#[test]
fn windows_of_windows_close_once_all_that_belongs_to_them_is_there() {
    let events = events(5_000, 5, &mut Random(9));
    let mut sums: BTreeMap<(i64, u64), f64> = BTreeMap::new();
    for (number, event) in (0_u32..).zip(&events) {
        *sums.entry((event.time.div_euclid(10), event.key)).or_default() += f64::from(number);
    }
    let mut greatest: BTreeMap<(i64, u64), (f64, u64)> = BTreeMap::new();
    for ((ten, key), sum) in sums {
        let (most, count) = greatest.entry((ten.div_euclid(10), key)).or_default();
        (*most, *count) = (most.max(sum), *count + 1);
    }
    let expected: Vec<Value> = greatest
        .iter()
        .map(|((hundred, key), (most, count))| {
            let (start, end) = (hundred * 100, hundred * 100 + 100);
            json!({"key": format!("k-{key}"), "max": most, "count": count, "start": start, "end": end})
        })
        .collect();
    let mut counts: BTreeMap<(i64, String), u64> = BTreeMap::new();
    for ((hundred, _), (_, count)) in &greatest {
        *counts.entry((hundred.div_euclid(10), count.to_string())).or_default() += 1;
    }
    for workers in [1, 2, 8] {
        let folder = three_in_a_row();
        folder.write("events.jsonl", lines(&events));
        let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(workers).finish();
        let summary = finished.succeeds();
        assert_eq!(
            (summary.operator("greatest", "late"), summary.operator("count", "late")),
            (0, 0)
        );
        assert_eq!(folder.json_lines("greatest.jsonl"), expected, "{workers} workers");
        let counted: Vec<_> = folder.json_lines("counts.jsonl");
        let counted: Vec<_> = counted
            .iter()
            .map(|line| {
                (
                    (
                        line["start"].as_i64().unwrap() / 1_000,
                        line["key"].as_str().unwrap().to_owned(),
                    ),
                    line["count"].as_u64().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            counted,
            counts.clone().into_iter().collect::<Vec<_>>(),
            "{workers} workers"
        );
    }
}
