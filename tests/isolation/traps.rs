//! Events that make a guest fail: those and no others become dead letters.

use crate::pipeline;
use crate::support::{DeadLetter, Dirigo, Folder, assert_says, dead_letters, numbered, numbers};

const EVENTS: u64 = 5_000;
const EVERY: u64 = 700;

/// Runs numbered events through a guest that strikes at every 700th, and checks that those and no others are dead.
fn run(guest: &str, config: &str, limits: &str, workers: u32) -> (Folder, Vec<DeadLetter>) {
    let folder = pipeline(guest, config, limits);
    folder.write("events.jsonl", numbered(EVENTS, 10));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(workers).finish();
    let mut dead_letters = dead_letters(&folder, "dead.jsonl");
    assert_eq!(
        finished.succeeds().operator("guest", "dead_letters"),
        dead_letters.len() as u64
    );
    // Replicas write dead letters side by side.
    dead_letters.sort_by_key(|dead_letter| dead_letter.event.position);
    let dead: Vec<u64> = dead_letters.iter().map(DeadLetter::number).collect();
    assert!(dead.iter().copied().eq((0..EVENTS).step_by(EVERY as usize)), "{dead:?}");
    (folder, dead_letters)
}

fn survivors() -> impl Iterator<Item = u64> {
    (0..EVENTS).filter(|n| !n.is_multiple_of(EVERY))
}

#[test]
fn a_panic_costs_its_event_and_tells_what_happened_and_where() {
    for workers in [1, 2, 8] {
        let (folder, dead_letters) = run("map", "{ mode = \"panic\", every = 700 }", "", workers);
        assert!(
            numbers(&folder.read("out.jsonl")).into_iter().eq(survivors()),
            "the others pass, in order"
        );
        for dead_letter in dead_letters {
            let n = dead_letter.number();
            assert_eq!(
                (dead_letter.pipeline.as_str(), dead_letter.operator.as_str()),
                ("hostile", "guest")
            );
            assert_eq!(dead_letter.kind, "trap");
            assert_says(
                &dead_letter.reason,
                &[&format!("event {n} is more than it can bear"), "attack.rs:"],
            );
            assert_says(
                dead_letter.backtrace.as_deref().unwrap(),
                &["dirigo_hostile_map::attack::strike"],
            );
            assert_eq!(dead_letter.component.unwrap().len(), 64, "a SHA-256");
            assert_eq!(
                (dead_letter.event.source.as_str(), dead_letter.event.position),
                ("events", n + 1)
            );
            assert_eq!(dead_letter.event.key, Some(format!("k-{}", n % 10)));
            assert!(dead_letter.event.time.is_some());
            assert_eq!(dead_letter.state, None, "a map keeps none");
            assert!(dead_letter.fuel > 0);
            assert!(dead_letter.attempt > 0);
        }
    }
}

#[test]
fn a_guest_that_dies_without_a_word_still_loses_only_the_events_that_killed_it() {
    let (folder, dead_letters) = run("map", "{ mode = \"abort\", every = 700 }", "", 2);
    assert!(numbers(&folder.read("out.jsonl")).into_iter().eq(survivors()));
    for dead_letter in dead_letters {
        assert_eq!(dead_letter.kind, "trap");
        assert_says(&dead_letter.reason, &["unreachable"]);
        assert_says(dead_letter.backtrace.as_deref().unwrap(), &["abort"]);
        assert!(dead_letter.attempt > 1, "it was found by halving the batch");
    }
}

#[test]
fn an_event_that_a_guest_blames_falsely_is_spared() {
    let (folder, _) = run("map", "{ mode = \"blame-another\", every = 700 }", "", 2);
    assert!(numbers(&folder.read("out.jsonl")).into_iter().eq(survivors()));
}

#[test]
fn an_exit_is_a_trap() {
    let (folder, dead_letters) = run("map", "{ mode = \"exit\", every = 700 }", "", 2);
    assert!(numbers(&folder.read("out.jsonl")).into_iter().eq(survivors()));
    assert!(dead_letters.iter().all(|dead_letter| dead_letter.kind == "trap"));
    assert_says(&dead_letters[0].reason, &["exit"]);
}

#[test]
fn a_sleep_is_a_trap_and_takes_no_time() {
    let (folder, dead_letters) = run("map", "{ mode = \"sleep\", every = 700 }", "", 2);
    assert!(numbers(&folder.read("out.jsonl")).into_iter().eq(survivors()));
    for dead_letter in dead_letters {
        assert_eq!(
            (dead_letter.kind.as_str(), dead_letter.reason.as_str()),
            ("trap", "operators cannot wait: their clock is the time of the event")
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
    for dead_letter in dead_letters(&folder, "dead.jsonl") {
        assert_eq!(dead_letter.kind, "rejected");
        assert_eq!(
            dead_letter.reason,
            format!("event {} is not to its taste", dead_letter.number())
        );
        assert_eq!((dead_letter.backtrace, dead_letter.attempt), (None, 1));
    }
}

#[test]
fn a_filter_loses_the_events_that_it_fails_at_and_no_others() {
    for (mode, kind) in [("panic", "trap"), ("reject", "rejected")] {
        let (folder, dead_letters) = run("filter", &format!("{{ mode = \"{mode}\", every = 700 }}"), "", 2);
        let even = survivors().filter(|n| n.is_multiple_of(2));
        assert!(numbers(&folder.read("out.jsonl")).into_iter().eq(even), "{mode}");
        assert!(
            dead_letters.iter().all(|dead_letter| dead_letter.kind == kind),
            "{mode}"
        );
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
    let dead: Vec<u64> = dead_letters(&folder, "dead.jsonl")
        .iter()
        .map(DeadLetter::number)
        .collect();
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
        assert_eq!(dead_letters(&folder, "dead.jsonl").len(), 1);
    }
}
