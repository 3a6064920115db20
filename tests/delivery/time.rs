//! Windows in time: what they hold and what comes too late, against an oracle that looks at every event.

mod restarts;
mod results;
mod sources;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::kill::kill;
use crate::support::{Dirigo, Finished, Folder, Random, assert_says, guest, number_of};

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

/// The windows of events and which of these are late, by looking at each of them.
fn oracle(events: &[Event], shape: Shape, lateness: i64) -> (Windows, Vec<u64>) {
    let mut watermark = i64::MIN;
    let mut late = Vec::new();
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
                late.extend(open.is_empty().then_some(number));
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
                    late.push(number);
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
    let all: Vec<u64> = (0..events.len() as u64).collect();
    listed_lines(events, &all)
}

/// The lines of the events with these numbers.
fn listed_lines(events: &[Event], numbers: &[u64]) -> String {
    let mut lines = String::new();
    for number in numbers {
        let Event { key, time } = events[usize::try_from(*number).unwrap()];
        writeln!(lines, "{{\"n\":{number},\"key\":\"k-{key}\",\"t\":{time}}}").unwrap();
    }
    lines
}

/// By key, the numbers of events in their order.
fn numbers_by_key(lines: &str) -> BTreeMap<String, Vec<u64>> {
    let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let key = event["key"].as_str().unwrap().to_owned();
        numbers.entry(key).or_default().push(event["n"].as_u64().unwrap());
    }
    numbers
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
        [[sink]]
        id = "too-late"
        kind = "file"
        path = "late.jsonl"
        inputs = ["list.late"]
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
            assert_eq!(summary.operator("list", "late"), late.len() as u64, "{what}");
            assert_eq!(
                summary.operator("list", "absorbed") + late.len() as u64,
                4_000,
                "{what}"
            );
            assert_eq!(
                numbers_by_key(&folder.read("late.jsonl")),
                numbers_by_key(&listed_lines(&events, &late)),
                "{what}"
            );
            let windows: usize = expected.values().map(Vec::len).sum();
            assert_eq!(summary.operator("list", "windows"), windows as u64, "{what}");
            assert!(
                listed(&folder) == expected,
                "{what}: {:?} is not {expected:?}",
                listed(&folder)
            );
            if lateness == 500 {
                assert_eq!(late.len(), 0, "nothing comes so late: {what}");
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

#[test]
fn late_events_are_taken_into_windows_for_as_long_as_is_allowed_and_bring_them_out_again() {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "p"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        time = "/t"
        [[operator]]
        id = "sum"
        component = "builtin:reduce"
        window = { tumbling = "10ms" }
        allowed_lateness = "20ms"
        config = { field = "n", aggregate = "sum", pane = true }
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        order = "source"
        [[sink]]
        id = "too-late"
        kind = "file"
        path = "late.jsonl"
        inputs = ["sum.late"]
        "#,
    );
    // 3 is in time; 5, 14 and 4 come late for their windows, 6 and 15 too late.
    let times = [1, 3, 12, 5, 14, 21, 14, 4, 31, 6, 15, 50, 15];
    let event = |(n, t): (usize, &i64)| format!("{{\"n\":{n},\"key\":\"k\",\"t\":{t}}}\n");
    let events: Vec<String> = times.iter().enumerate().map(event).collect();
    folder.write("events.jsonl", events.concat());
    let window = |start: i64, sum: u32, count: u64, pane: u64| json!({"key": "k", "sum": f64::from(sum), "count": count, "start": start, "end": start + 10, "pane": pane});
    let expected = [
        window(0, 1, 2, 0),
        window(0, 1 + 3, 3, 1),
        window(10, 2 + 4, 2, 0),
        window(10, 2 + 4 + 6, 3, 1),
        window(0, 1 + 3 + 7, 4, 2),
        window(20, 5, 1, 0),
        window(10, 2 + 4 + 6 + 10, 4, 2),
        window(30, 8, 1, 0),
        window(50, 11, 1, 0),
    ];
    for workers in [1, 4] {
        let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(workers).finish();
        assert_eq!(finished.succeeds().operator("sum", "late"), 2);
        let mut found = folder.json_lines("out.jsonl");
        let place = |line: &Value| (line["start"].as_i64(), line["count"].as_u64());
        let mut expected = expected.to_vec();
        found.sort_by_key(place);
        expected.sort_by_key(place);
        assert_eq!(found, expected, "{workers} workers");
        assert_eq!(numbers_by_key(&folder.read("late.jsonl"))["k"], [9, 12]);
    }
}

#[test]
fn windows_have_early_results_of_what_has_come_by_then() {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "p"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        time = "/t"
        lateness = "5ms"
        [[operator]]
        id = "sum"
        component = "builtin:reduce"
        window = { tumbling = "100ms" }
        early = "20ms"
        config = { field = "n", aggregate = "sum", pane = true }
        [[operator]]
        id = "results"
        component = "builtin:reduce"
        key = "/key"
        window = { tumbling = "1s" }
        config = { field = "sum", aggregate = "max" }
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        order = "source"
        inputs = ["sum"]
        [[sink]]
        id = "results-out"
        kind = "file"
        path = "results.jsonl"
        inputs = ["results"]
        "#,
    );
    // 1 and 2 come by 20 ms, 3 by 40; 4 lies before 20, and comes when event time is at 50: it is seen at 60. Nothing new comes by 80.
    let times = [1, 15, 33, 55, 12, 97, 104, 250];
    let event = |(n, t): (usize, &i64)| format!("{{\"n\":{n},\"key\":\"k\",\"t\":{t}}}\n");
    let events: Vec<String> = times.iter().enumerate().map(event).collect();
    folder.write("events.jsonl", events.concat());
    let result = |start: i64, sum: u32, count: u64, pane: u64| json!({"key": "k", "sum": f64::from(sum), "count": count, "start": start, "end": start + 100, "pane": pane});
    let expected = [
        result(0, 1, 2, 0),
        result(0, 1 + 2, 3, 1),
        result(0, 1 + 2 + 3 + 4, 5, 2),
        result(0, 1 + 2 + 3 + 4 + 5, 6, 3),
        result(100, 6, 1, 0),
        result(100, 6, 1, 1),
        result(200, 7, 1, 0),
        result(200, 7, 1, 1),
    ];
    for workers in [1, 4] {
        let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(workers).finish();
        let summary = finished.succeeds();
        assert_eq!(
            (summary.operator("sum", "late"), summary.operator("results", "late")),
            (0, 0)
        );
        assert_eq!(summary.operator("sum", "windows"), 3, "early results end no window");
        assert_eq!(folder.json_lines("out.jsonl"), expected, "{workers} workers");
        let results = folder.json_lines("results.jsonl");
        assert_eq!(
            (results.len(), &results[0]["max"], &results[0]["count"]),
            (1, &json!(15.0), &json!(8))
        );
    }
}

#[test]
fn windows_that_are_due_do_not_count_against_the_limit_of_a_key() {
    for window in ["{ tumbling = \"1s\" }", "{ sliding = \"10s\", every = \"1s\" }"] {
        let folder = Folder::with_pipeline(&format!(
            r#"
            [pipeline]
            name = "p"
            [[source]]
            id = "seconds"
            kind = "file"
            path = "seconds.jsonl"
            key = "/key"
            time = "/t"
            [[operator]]
            id = "count"
            component = "builtin:reduce"
            window = {window}
            config = {{ field = "n", aggregate = "count" }}
            limits = {{ state = "1KiB" }}
            [[sink]]
            id = "out"
            kind = "file"
            path = "out.jsonl"
            "#
        ));
        let event = |second: i64| format!("{{\"n\":1,\"key\":\"k\",\"t\":{}}}\n", second * 1_000);
        folder.write("seconds.jsonl", (0..30_000).map(event).collect::<String>());
        let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
        assert_eq!(finished.succeeds().count("dead_letters"), 0, "with {window}");
        let counts = folder.json_lines("out.jsonl");
        let counted: u64 = counts.iter().map(|line| line["count"].as_u64().unwrap()).sum();
        let overlapping = if window.contains("sliding") { 10 } else { 1 };
        assert_eq!(counted, 30_000 * overlapping, "with {window}");
    }
}

#[test]
fn which_events_are_late_is_kept_behind_a_map_that_puts_out_more_or_less_than_it_takes() {
    let mut random = Random(21);
    let events = events(2_000, 5, &mut random);
    let (expected, late) = oracle(&events, Shape::Tumbling(50), 40);
    assert!(!late.is_empty());
    let folder = listing(Shape::Tumbling(50), 40, "", "order = \"key\"");
    let text = folder.read("pipeline.toml").replace(
        "[[operator]]",
        &format!(
            "[[operator]]\nid = \"map\"\ncomponent = \"{}\"\nconfig = {{ mode = \"reject\", every = 7 }}\n[[operator]]",
            guest("map").display()
        ),
    );
    folder.write("pipeline.toml", text + "\n[dead_letters]\npath = \"dead.jsonl\"\n");
    folder.write("events.jsonl", lines(&events));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    let lives = |number: &u64| !number.is_multiple_of(7);
    let late: Vec<u64> = late.into_iter().filter(lives).collect();
    assert_eq!(finished.succeeds().operator("list", "late"), late.len() as u64);
    assert_eq!(
        numbers_by_key(&folder.read("late.jsonl")),
        numbers_by_key(&listed_lines(&events, &late))
    );
    let left = |windows: Windows| -> Windows {
        let left = |window: Vec<u64>| window.into_iter().filter(lives).collect::<Vec<_>>();
        let of_key = |windows: Vec<Vec<u64>>| windows.into_iter().map(left).filter(|window| !window.is_empty());
        windows
            .into_iter()
            .map(|(key, windows)| (key, of_key(windows).collect()))
            .collect()
    };
    assert_eq!(listed(&folder), left(expected));
}
