//! Events that make a guest fail: those and no others become dead letters.

use crate::pipeline;
use crate::support::{Dirigo, Folder, Letter, assert_says, letters, numbered, numbers};

const EVENTS: u64 = 5_000;
const EVERY: u64 = 700;

/// Runs numbered events through a guest that strikes at every 700th, and checks that those and no others are dead.
fn run(guest: &str, config: &str, limits: &str, workers: u32) -> (Folder, Vec<Letter>) {
    let folder = pipeline(guest, config, limits);
    folder.write("events.jsonl", numbered(EVENTS, 10));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(workers).finish();
    let mut letters = letters(&folder, "dead.jsonl");
    assert_eq!(
        finished.succeeds().operator("guest", "dead_letters"),
        letters.len() as u64
    );
    // Replicas bury side by side.
    letters.sort_by_key(|letter| letter.event.position);
    let dead: Vec<u64> = letters.iter().map(Letter::number).collect();
    assert!(dead.iter().copied().eq((0..EVENTS).step_by(EVERY as usize)), "{dead:?}");
    (folder, letters)
}

fn survivors() -> impl Iterator<Item = u64> {
    (0..EVENTS).filter(|n| !n.is_multiple_of(EVERY))
}

#[test]
fn a_panic_costs_its_event_and_tells_what_happened_and_where() {
    for workers in [1, 2, 8] {
        let (folder, letters) = run("map", "{ mode = \"panic\", every = 700 }", "", workers);
        assert!(
            numbers(&folder.read("out.jsonl")).into_iter().eq(survivors()),
            "the others pass, in order"
        );
        for letter in letters {
            let n = letter.number();
            assert_eq!(
                (letter.pipeline.as_str(), letter.operator.as_str()),
                ("hostile", "guest")
            );
            assert_eq!(letter.kind, "trap");
            assert_says(
                &letter.reason,
                &[&format!("event {n} is more than it can bear"), "attack.rs:"],
            );
            assert_says(
                letter.backtrace.as_deref().unwrap(),
                &["dirigo_hostile_map::attack::strike"],
            );
            assert_eq!(letter.component.unwrap().len(), 64, "a SHA-256");
            assert_eq!((letter.event.source.as_str(), letter.event.position), ("events", n + 1));
            assert_eq!(letter.event.key, Some(format!("k-{}", n % 10)));
            assert!(letter.event.time.is_some());
            assert_eq!(letter.state, None, "a map keeps none");
            assert!(letter.fuel > 0);
            assert!(letter.attempt > 0);
        }
    }
}

#[test]
fn a_guest_that_dies_without_a_word_still_loses_only_the_events_that_killed_it() {
    let (folder, letters) = run("map", "{ mode = \"abort\", every = 700 }", "", 2);
    assert!(numbers(&folder.read("out.jsonl")).into_iter().eq(survivors()));
    for letter in letters {
        assert_eq!(letter.kind, "trap");
        assert_says(&letter.reason, &["unreachable"]);
        assert_says(letter.backtrace.as_deref().unwrap(), &["abort"]);
        assert!(letter.attempt > 1, "it was found by halving the batch");
    }
}

#[test]
fn an_event_that_a_guest_blames_falsely_is_spared() {
    let (folder, _) = run("map", "{ mode = \"blame-another\", every = 700 }", "", 2);
    assert!(numbers(&folder.read("out.jsonl")).into_iter().eq(survivors()));
}

#[test]
fn an_exit_is_a_trap() {
    let (folder, letters) = run("map", "{ mode = \"exit\", every = 700 }", "", 2);
    assert!(numbers(&folder.read("out.jsonl")).into_iter().eq(survivors()));
    assert!(letters.iter().all(|letter| letter.kind == "trap"));
    assert_says(&letters[0].reason, &["exit"]);
}

#[test]
fn a_sleep_is_a_trap_and_takes_no_time() {
    let (folder, letters) = run("map", "{ mode = \"sleep\", every = 700 }", "", 2);
    assert!(numbers(&folder.read("out.jsonl")).into_iter().eq(survivors()));
    for letter in letters {
        assert_eq!(
            (letter.kind.as_str(), letter.reason.as_str()),
            ("trap", "operators cannot wait: they have no clock")
        );
    }
}

#[test]
fn a_rejected_event_leaves_nothing_behind_and_traps_nothing() {
    let folder = pipeline("map", "{ mode = \"reject\", every = 700 }", "");
    folder.write("events.jsonl", numbered(EVENTS, 10));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    assert_eq!(finished.succeeds().operator("guest", "traps"), 0);
    assert!(numbers(&folder.read("out.jsonl")).into_iter().eq(survivors()));
    for letter in letters(&folder, "dead.jsonl") {
        assert_eq!(letter.kind, "rejected");
        assert_eq!(letter.reason, format!("event {} is not to its taste", letter.number()));
        assert_eq!((letter.backtrace, letter.attempt), (None, 1));
    }
}

#[test]
fn a_filter_loses_the_events_that_it_fails_at_and_no_others() {
    for (mode, kind) in [("panic", "trap"), ("reject", "rejected")] {
        let (folder, letters) = run("filter", &format!("{{ mode = \"{mode}\", every = 700 }}"), "", 2);
        let even = survivors().filter(|n| n.is_multiple_of(2));
        assert!(numbers(&folder.read("out.jsonl")).into_iter().eq(even), "{mode}");
        assert!(letters.iter().all(|letter| letter.kind == kind), "{mode}");
    }
}

#[test]
fn an_input_of_which_every_event_traps_ends_with_all_of_them_dead() {
    let folder = pipeline("map", "{ mode = \"panic\" }", "");
    folder.write("events.jsonl", numbered(30, 3));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(1).finish();
    let summary = finished.succeeds();
    assert_eq!(summary.count("dead_letters"), 30);
    assert_eq!(summary.count("events_out"), 0);
    assert!(
        summary.operator("guest", "quarantines") > 0,
        "who only traps is kept waiting"
    );
    let dead: Vec<u64> = letters(&folder, "dead.jsonl").iter().map(Letter::number).collect();
    assert!(dead.into_iter().eq(0..30));
    assert_eq!(folder.read("out.jsonl"), "");
}

#[test]
fn a_pipeline_that_stops_at_errors_fails_at_the_first() {
    for mode in ["panic", "reject"] {
        let folder = pipeline(
            "map",
            &format!("{{ mode = \"{mode}\", every = 4999 }}"),
            "[operator.limits]\nerrors = \"stop\"",
        );
        folder.write(
            "events.jsonl",
            numbered(EVENTS, 10)
                .lines()
                .skip(1)
                .map(|line| format!("{line}\n"))
                .collect::<String>(),
        );
        let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
        finished.ends_with(
            1,
            &[
                "pipeline `hostile`",
                "operator `guest`",
                "event 4999 of source `events`",
                "event 4999 is",
            ],
        );
        assert_eq!(letters(&folder, "dead.jsonl").len(), 1);
    }
}
