//! The order of events: within a key always, between keys where a sink asks for it.

use std::collections::BTreeMap;

use crate::support::{Dirigo, Folder, event, guest, numbered, numbers};

const EVENTS: u64 = 40_000;
const KEYS: u64 = 61;

/// Map, filter and reduce over numbered events. The map of the middle is slow at every thirteenth event, so that its
/// replicas overtake each other.
fn pipeline(order: &str) -> Folder {
    let folder = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "order"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        time = "/n"
        [[operator]]
        id = "map"
        component = "builtin:map"
        config = {{ field = "value", scale = 2.0, into = "twice" }}
        [[operator]]
        id = "uneven"
        component = "{}"
        replicas = 4
        config = {{ mode = "dawdle", every = 13 }}
        [[operator]]
        id = "filter"
        component = "builtin:filter"
        config = {{ field = "value", min = 100.0 }}
        [[operator]]
        id = "reduce"
        component = "builtin:reduce"
        shards = 7
        window = {{ count = 1 }}
        config = {{ field = "n", aggregate = "max" }}
        [[sink]]
        id = "events-out"
        kind = "file"
        inputs = ["filter"]
        path = "events-out.jsonl"
        order = "{order}"
        [[sink]]
        id = "windows-out"
        kind = "file"
        inputs = ["reduce"]
        path = "windows-out.jsonl"
        order = "{order}"
        "#,
        guest("map").display()
    ));
    folder.write("events.jsonl", numbered(EVENTS, KEYS));
    folder
}

fn run(folder: &Folder, workers: u32) -> (String, String) {
    let finished = Dirigo::run(folder, ["pipeline.toml"]).workers(workers).finish();
    finished.succeeds();
    (folder.read("events-out.jsonl"), folder.read("windows-out.jsonl"))
}

/// The numbers behind `field` in lines, by key.
fn by_key(lines: &str, field: &str) -> BTreeMap<String, Vec<u64>> {
    let mut keys: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in lines.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the numbers are small and whole"
        )]
        let number = event[field].as_f64().unwrap() as u64;
        keys.entry(event["key"].as_str().unwrap().to_owned())
            .or_default()
            .push(number);
    }
    keys
}

/// What must come out: the events from number 100 on, in order within each key.
fn expected() -> BTreeMap<String, Vec<u64>> {
    let mut keys: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for n in 100..EVENTS {
        keys.entry(format!("k-{}", n % KEYS)).or_default().push(n);
    }
    keys
}

#[test]
fn a_sink_that_keeps_the_order_of_the_source_gets_the_same_bytes_at_any_worker_count() {
    let folder = pipeline("source");
    let one = run(&folder, 1);
    assert!(numbers(&one.0).into_iter().eq(100..EVENTS), "the order of the source");
    assert_eq!(by_key(&one.1, "max"), expected());
    for workers in [2, 8] {
        assert!(
            run(&folder, workers) == one,
            "the output at {workers} workers differs from that at one"
        );
    }
}

#[test]
fn the_order_of_the_source_is_restored_behind_shards_that_feed_an_operator_without_state() {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "behind-shards"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        time = "/n"
        [[operator]]
        id = "reduce"
        component = "builtin:reduce"
        shards = 5
        window = { count = 3 }
        config = { field = "n", aggregate = "sum" }
        [[operator]]
        id = "filter"
        component = "builtin:filter"
        config = { field = "sum", min = 0.0 }
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        order = "source"
        "#,
    );
    folder.write("events.jsonl", numbered(EVENTS, KEYS));
    for workers in [1, 2, 8] {
        Dirigo::run(&folder, ["pipeline.toml"])
            .workers(workers)
            .finish()
            .succeeds();
        let windows = folder.json_lines("out.jsonl");
        let ends: Vec<u64> = windows.iter().map(|window| window["end"].as_u64().unwrap()).collect();
        assert!(!ends.is_empty() && ends.is_sorted(), "{workers} workers");
    }
}

#[test]
fn the_order_within_a_key_is_kept_at_any_worker_count() {
    let folder = pipeline("key");
    for workers in [1, 2, 8] {
        let (events, windows) = run(&folder, workers);
        assert_eq!(by_key(&events, "n"), expected(), "behind the filter, {workers} workers");
        assert_eq!(
            by_key(&windows, "max"),
            expected(),
            "behind the reduce, {workers} workers"
        );
    }
}

#[test]
fn windows_hold_the_same_events_however_many_shards_and_workers_there_are() {
    let folder = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "windows"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        [[operator]]
        id = "list"
        component = "{}"
        shards = 1
        window = {{ count = 7 }}
        config = {{ mode = "pass", every = 1 }}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        order = "source"
        "#,
        guest("reduce").display()
    ));
    folder.write("events.jsonl", numbered(EVENTS, KEYS));
    let run = |shards: u32, workers: u32| {
        let run = Dirigo::run(&folder, ["pipeline.toml"]).workers(workers);
        run.set("operator.list.shards", shards).finish().succeeds();
        folder.read("out.jsonl")
    };
    let one = run(1, 1);
    assert_eq!(
        one.lines().count() as u64,
        (0..KEYS).map(|key| (EVENTS - key).div_ceil(KEYS) / 7).sum::<u64>()
    );
    for (shards, workers) in [(1, 8), (3, 2), (64, 8)] {
        assert!(
            run(shards, workers) == one,
            "{shards} shards and {workers} workers differ from one of each"
        );
    }
}

/// Numbered events of a file and those that the test says, each through a map of its own. The sink `out` takes the inputs
/// that are given, in order; what the test says also goes to `heard`.
fn beside_standard_input(inputs: &str) -> Folder {
    Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "beside"
        [[source]]
        id = "said"
        kind = "stdin"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        [[operator]]
        id = "map-said"
        component = "{guest}"
        inputs = ["said"]
        config = {{ mode = "pass" }}
        [[operator]]
        id = "map-events"
        component = "{guest}"
        inputs = ["events"]
        config = {{ mode = "pass" }}
        [[sink]]
        id = "heard"
        kind = "null"
        inputs = ["map-said"]
        [[sink]]
        id = "out"
        kind = "stdout"
        inputs = {inputs}
        order = "source"
        "#,
        guest = guest("map").display()
    ))
}

#[test]
fn a_source_that_does_not_lead_to_a_sink_does_not_hold_it_back() {
    let folder = beside_standard_input("[\"map-events\"]");
    folder.write("events.jsonl", numbered(1_000, KEYS));
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).piped();
    running.stdout.wait_for("\"n\":999");
    assert_eq!(running.finish().succeeds().count("events_out"), 1_000);
}

#[test]
fn a_source_far_ahead_of_a_silent_one_waits_and_nothing_hangs() {
    let events = 600_000;
    let folder = beside_standard_input("[\"map-said\", \"map-events\"]");
    folder.write("events.jsonl", numbered(events, KEYS));
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).piped();
    // The first that is said lets the first of the file leave, and nothing more.
    running.say(&event(1_000_000, "k"));
    running.stdout.wait_for("\"n\":1000000");
    running.stdout.wait_for("\"n\":0");
    let finished = running.finish();
    // What is said goes to both sinks.
    assert_eq!(finished.succeeds().count("events_out"), events + 2);
    let out = numbers(&finished.stdout);
    assert!(out.into_iter().eq([1_000_000].into_iter().chain(0..events)));
}
