//! Operators that scale with their load: what comes out does not show it.

use std::collections::BTreeMap;

use crate::kill::kill;
use crate::support::{Dirigo, Folder, Random, guest, number_of, numbered};

const EVENTS: u64 = 60_000;
const KEYS: u64 = 37;

/// Slow operators, with state and without, whose number of replicas and shards the load decides.
fn pipeline() -> Folder {
    let folder = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "scaled"
        slo = "5ms"
        checkpoint = "20ms"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        time = "/n"
        [[operator]]
        id = "slow"
        component = "{map}"
        config = {{ mode = "dawdle" }}
        [[operator]]
        id = "list"
        component = "{reduce}"
        window = {{ count = 7 }}
        config = {{ mode = "dawdle", every = 1 }}
        [[operator]]
        id = "in-time"
        component = "{reduce}"
        inputs = ["slow"]
        window = {{ tumbling = "250ms" }}
        config = {{ mode = "dawdle", every = 1 }}
        [[operator]]
        id = "timers"
        component = "{process}"
        inputs = ["slow"]
        order = "time"
        config = {{ mode = "reject", every = 101 }}
        [[sink]]
        id = "lists"
        kind = "file"
        path = "lists.jsonl"
        inputs = ["list"]
        order = "source"
        [[sink]]
        id = "windows"
        kind = "file"
        path = "windows.jsonl"
        inputs = ["in-time"]
        [[sink]]
        id = "of-timers"
        kind = "file"
        path = "timers.jsonl"
        inputs = ["timers"]
        "#,
        map = guest("map").display(),
        reduce = guest("reduce").display(),
        process = guest("process").display(),
    ));
    folder.write("events.jsonl", numbered(EVENTS, KEYS));
    folder
}

/// What sinks have: of one the lines, of the others the lines of each key.
fn left(folder: &Folder) -> (String, [BTreeMap<String, Vec<String>>; 2]) {
    let by_key = |file: &str| {
        let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (line, text) in folder.json_lines(file).iter().zip(folder.read(file).lines()) {
            let key = line["key"].as_str().unwrap().to_owned();
            keys.entry(key).or_default().push(text.to_owned());
        }
        keys
    };
    (
        folder.read("lists.jsonl"),
        [by_key("windows.jsonl"), by_key("timers.jsonl")],
    )
}

#[test]
fn a_run_that_scales_and_is_killed_again_and_again_leaves_what_one_leaves_that_does_not_scale() {
    let (kills, seed) = (number_of("DIRIGO_KILLS", 20), number_of("DIRIGO_SEED", 1));
    println!("DIRIGO_KILLS={kills} DIRIGO_SEED={seed}");
    let fixed = pipeline();
    let run = Dirigo::run(&fixed, ["pipeline.toml"]).with_state().workers(3);
    run.args(["--scaling", "off"]).finish().succeeds();
    let expected = left(&fixed);
    let mut random = Random(seed);
    let mut killed = 0;
    while killed < kills {
        let folder = pipeline();
        killed += kill(&folder, kills - killed, &mut random);
        assert!(left(&folder) == expected, "after {killed} kills the output differs");
    }
}

#[test]
fn an_operator_with_too_much_to_do_gets_more_replicas_and_says_why() {
    let folder = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "busy"
        [[source]]
        id = "readings"
        kind = "generator"
        [[operator]]
        id = "slow"
        component = "{}"
        config = {{ mode = "dawdle" }}
        [[sink]]
        id = "out"
        kind = "null"
        "#,
        guest("map").display()
    ));
    let run = Dirigo::run(&folder, ["pipeline.toml"]).workers(2);
    let mut running = run.env("DIRIGO_LOG", "info").piped();
    let line = running.stderr.wait_for("1 -> 2 replicas");
    assert!(line.contains("events wait") && line.contains("slow"), "{line}");
    running.interrupt();
    let finished = running.finish();
    let summary = finished.succeeds().json();
    let scaling = &summary["operators"][0]["scaling"];
    assert_eq!((&scaling["min"], &scaling["max"]), (&1.into(), &2.into()), "{scaling}");
    let change = &scaling["latest"][0];
    assert_eq!((&change["from"], &change["to"]), (&1.into(), &2.into()), "{scaling}");
}

#[test]
fn a_run_without_scaling_has_as_many_as_there_may_be() {
    let folder = pipeline();
    let run = Dirigo::run(&folder, ["pipeline.toml"])
        .workers(2)
        .args(["--scaling", "off"]);
    let finished = run.finish();
    let operators = finished.succeeds().json()["operators"].as_array().unwrap().clone();
    assert!(
        operators.iter().all(|operator| operator["scaling"].is_null()),
        "{operators:?}"
    );
}
