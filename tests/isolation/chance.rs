//! Random numbers and clocks: what a guest gets follows from the event that it is at, and from nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::{Dirigo, Folder, dead_letters, guest, numbered};

/// The pipeline of a guest over events whose time is their number.
fn pipeline(guest: &str, config: &str, more: &str) -> Folder {
    let folder = crate::pipeline(guest, config, more);
    let text = folder.read("pipeline.toml");
    folder.write(
        "pipeline.toml",
        text.replace("key = \"/key\"", "key = \"/key\"\ntime = \"/n\""),
    );
    folder
}

/// What the onlooker wrote of each event, sorted.
fn seen(folder: &Folder, workers: u32) -> Vec<String> {
    Dirigo::run(folder, ["pipeline.toml"])
        .workers(workers)
        .finish()
        .succeeds();
    let mut lines: Vec<String> = folder.read("out.jsonl").lines().map(str::to_owned).collect();
    lines.sort();
    std::fs::remove_file(folder.path("out.jsonl")).unwrap();
    lines
}

/// All random numbers in these lines.
fn numbers(lines: &[String]) -> Vec<u64> {
    let of_line = |line: &String| {
        let seen: Value = serde_json::from_str(line).unwrap();
        let numbers = seen["numbers"].as_array().unwrap();
        numbers
            .iter()
            .map(|number| number.as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    lines.iter().flat_map(of_line).collect()
}

#[test]
fn every_event_draws_numbers_of_its_own_and_the_same_ones_in_every_run() {
    // Two of the 40 events become 10,000 events each that nothing tells apart, on their way to the onlooker by one of two paths.
    let folder = pipeline("map", "{ mode = \"amplify\", every = 20 }", "");
    let text = folder.read("pipeline.toml").replace(
        "[[sink]]",
        &format!(
            "[[operator]]\nid = \"onlooker\"\ncomponent = \"{}\"\ninputs = [\"guest\", \"events\"]\n[[sink]]",
            guest("onlooker").display()
        ),
    );
    folder.write("pipeline.toml", text);
    folder.write("events.jsonl", numbered(40, 7));
    let alone = seen(&folder, 1);
    assert_eq!(alone.len(), 2 * 10_000 + 2 * 40);
    let drawn = numbers(&alone);
    assert_eq!(
        drawn.iter().collect::<BTreeSet<_>>().len(),
        drawn.len(),
        "no two are the same"
    );
    assert!(seen(&folder, 4) == alone, "the same with four workers");
}

#[test]
fn an_event_that_traps_changes_no_number_of_another() {
    let lines = |config: &str| {
        let folder = pipeline("onlooker", config, "");
        folder.write("events.jsonl", numbered(500, 3));
        let has_failed = || folder.path("dead.jsonl").exists();
        let lines = seen(&folder, 2);
        let dead = if has_failed() {
            dead_letters(&folder, "dead.jsonl").len()
        } else {
            0
        };
        (lines, dead)
    };
    let (whole, none) = lines("{}");
    let (others, dead) = lines("{ panic_every = 50 }");
    assert_eq!((none, dead, others.len()), (0, 10, 490));
    let whole: BTreeSet<String> = whole.into_iter().collect();
    assert!(others.iter().all(|line| whole.contains(line)));
}

#[test]
fn the_numbers_of_two_operators_and_of_two_pipelines_differ() {
    let drawn = |pipeline_name: &str, operator: &str| {
        let folder = pipeline("onlooker", "{}", "");
        let text = folder.read("pipeline.toml");
        let text = text.replace("name = \"hostile\"", &format!("name = \"{pipeline_name}\""));
        folder.write(
            "pipeline.toml",
            text.replace("id = \"guest\"", &format!("id = \"{operator}\"")),
        );
        folder.write("events.jsonl", numbered(20, 3));
        numbers(&seen(&folder, 1))
    };
    let all: Vec<u64> = [("p", "a"), ("p", "b"), ("q", "a")]
        .into_iter()
        .flat_map(|(pipeline, operator)| drawn(pipeline, operator))
        .collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 3 * 20 * 2);
}

#[test]
fn clocks_read_the_time_of_the_event_and_go_on_as_they_are_read() {
    let folder = pipeline("onlooker", "{}", "");
    let text = folder.read("pipeline.toml");
    folder.write("pipeline.toml", text.replace("time = \"/n\"", "time = \"/time\""));
    let times: BTreeMap<u64, i64> = [(0, -5), (1, 0), (2, 1_700_000_000_123), (3, 253_402_300_799_999)].into();
    let event = |(n, time): (&u64, &i64)| format!("{{\"n\":{n},\"key\":\"k\",\"time\":{time}}}\n");
    folder.write("events.jsonl", times.iter().map(event).collect::<String>());
    for line in seen(&folder, 1) {
        let seen: Value = serde_json::from_str(&line).unwrap();
        let time = times[&seen["n"].as_u64().unwrap()];
        assert_eq!(
            seen["wall_ms"],
            time.max(1),
            "there is no time before 1970, and none is 0"
        );
        // The clocks are read in turn: instant, time, time, instant.
        assert_eq!((&seen["wall_ns"], &seen["elapsed_ns"]), (&1_000.into(), &3_000.into()));
    }
}
