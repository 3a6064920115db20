//! Fuel, memory and stack: who takes more than its limits loses the event at which it did.

use crate::pipeline;
use crate::support::{DeadLetter, Dirigo, Finished, Folder, assert_says, dead_letters, numbered, numbers};

const EVENTS: u64 = 600;

/// Runs events of which number 300 sets the guest off, and number 0 too.
fn run(mode: &str, limits: &str) -> (Folder, Finished, Vec<DeadLetter>) {
    let folder = pipeline("map", &format!("{{ mode = \"{mode}\", every = 300 }}"), limits);
    folder.write("events.jsonl", numbered(EVENTS, 10));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(2).finish();
    finished.succeeds();
    let mut dead_letters = dead_letters(&folder, "dead.jsonl");
    dead_letters.sort_by_key(|dead_letter| dead_letter.event.position);
    assert!(
        dead_letters.iter().map(DeadLetter::number).eq([0, 300]),
        "{dead_letters:?}"
    );
    let survivors = (0..EVENTS).filter(|n| !n.is_multiple_of(300));
    assert!(
        numbers(&folder.read("out.jsonl")).into_iter().eq(survivors),
        "the others pass, in order"
    );
    (folder, finished, dead_letters)
}

#[test]
fn an_endless_loop_ends_when_the_fuel_of_its_event_is_burnt() {
    let (_, _, dead_letters) = run("loop", "[operator.limits]\nfuel_per_event = 3_000_000");
    for dead_letter in dead_letters {
        assert_eq!(
            (dead_letter.kind.as_str(), dead_letter.reason.as_str()),
            ("fuel", "all fuel consumed")
        );
        assert_says(dead_letter.backtrace.as_deref().unwrap(), &["dirigo_hostile_map"]);
        assert!(
            (2_900_000..=3_000_000).contains(&dead_letter.fuel),
            "{}",
            dead_letter.fuel
        );
    }
}

#[test]
fn a_memory_bomb_goes_off_within_its_limit() {
    let (_, finished, dead_letters) = run("memory", "[operator.limits]\nmemory = \"8MiB\"");
    assert!(
        dead_letters.iter().all(|dead_letter| dead_letter.kind == "memory"),
        "{dead_letters:?}"
    );
    assert_says(&dead_letters[0].reason, &["memory"]);
    assert!(finished.peak_bytes < 300 << 20, "{} bytes", finished.peak_bytes);
}

#[test]
fn a_recursion_without_end_finds_the_end_of_the_stack() {
    let (_, _, dead_letters) = run("recursion", "");
    assert!(
        dead_letters.iter().all(|dead_letter| dead_letter.kind == "trap"),
        "{dead_letters:?}"
    );
    assert_says(dead_letters[0].backtrace.as_deref().unwrap(), &["descend"]);
}

#[test]
fn an_output_too_large_to_hand_over_is_not_taken() {
    let (folder, finished, dead_letters) = run(
        "output",
        "[operator.limits]\nmemory = \"1GiB\"\nfuel_per_event = 1_000_000_000",
    );
    assert!(
        dead_letters.iter().all(|dead_letter| dead_letter.kind != "rejected"),
        "{dead_letters:?}"
    );
    assert!(folder.read("out.jsonl").len() < 100_000, "nothing of it leaves");
    assert!(finished.peak_bytes < 1 << 30, "{} bytes", finished.peak_bytes);
}

#[test]
fn a_guest_that_leaks_loses_its_instance_and_no_event() {
    let folder = pipeline("map", "{ mode = \"leak\" }", "[operator.limits]\nmemory = \"4MiB\"");
    folder.write("events.jsonl", numbered(EVENTS, 10));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(2).finish();
    let summary = finished.succeeds();
    assert!(summary.operator("guest", "traps") > 0, "its memory ran out");
    assert_eq!(summary.count("dead_letters"), 0);
    assert!(numbers(&folder.read("out.jsonl")).into_iter().eq(0..EVENTS));
}

#[test]
fn a_component_that_starts_beyond_its_memory_limit_is_refused() {
    let folder = pipeline("map", "{ mode = \"pass\" }", "[operator.limits]\nmemory = \"64KiB\"");
    folder.write("events.jsonl", numbered(1, 1));
    let finished = Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish();
    finished.ends_with(78, &["the component starts with", "raise `memory`"]);
}

#[test]
fn a_flood_of_log_lines_is_dammed_and_said_to_be() {
    let folder = pipeline("map", "{ mode = \"log\" }", "");
    folder.write("events.jsonl", numbered(EVENTS, 10));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    assert_eq!(finished.succeeds().count("events_out"), EVENTS);
    let lines = finished.stderr.lines().count();
    // 120,000 lines come; 100 pass per second, so 2,000 would be a run of 20 s.
    assert!((100..2_000).contains(&lines), "{lines} lines");
    assert_says(&finished.stderr, &["hostile/guest", "left_out"]);
}

#[test]
fn counters_without_end_are_bounded() {
    let folder = pipeline("map", "{ mode = \"metrics\" }", "");
    folder.write("events.jsonl", numbered(EVENTS, 10));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    assert_eq!(finished.succeeds().count("events_out"), EVENTS);
    assert_says(&finished.stderr, &["an operator keeps 64 at most"]);
}
