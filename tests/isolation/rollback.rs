//! A turn that fails takes nothing with it: windows hold exactly the events that did not.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::pipeline;
use crate::support::{DeadLetter, Dirigo, Folder, assert_says, dead_letters, numbered};

const EVENTS: u64 = 6_000;
const KEYS: u64 = 23;
const SIZE: usize = 5;

/// What windows of five hold if an event counts only when it neither fails itself nor completes a window that traps. The
/// dead events come second.
fn oracle(event_fails: impl Fn(u64) -> bool, window_traps: impl Fn(u64) -> bool) -> (Vec<Vec<u64>>, Vec<u64>) {
    let mut open: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let (mut closed, mut dead) = (Vec::new(), Vec::new());
    for n in 0..EVENTS {
        let window = open.entry(n % KEYS).or_default();
        let sum = window.iter().sum::<u64>() + n;
        if event_fails(n) || (window.len() + 1 == SIZE && window_traps(sum)) {
            dead.push(n);
            continue;
        }
        window.push(n);
        if window.len() == SIZE {
            closed.push(std::mem::take(window));
        }
    }
    closed.sort_unstable();
    (closed, dead)
}

/// What windows hold, and the dead events, of a run.
fn run(mode: &str, every: u64, workers: u32, more: &str) -> (Vec<Vec<u64>>, Vec<DeadLetter>) {
    let (_, windows, dead_letters) = run_in_folder(mode, every, workers, more);
    (windows, dead_letters)
}

fn run_in_folder(mode: &str, every: u64, workers: u32, more: &str) -> (Folder, Vec<Vec<u64>>, Vec<DeadLetter>) {
    let config = format!("{{ mode = \"{mode}\", every = {every} }}");
    let folder = pipeline("reduce", &config, &format!("window = {{ count = {SIZE} }}\n{more}"));
    folder.write("events.jsonl", numbered(EVENTS, KEYS));
    Dirigo::run(&folder, ["pipeline.toml"])
        .workers(workers)
        .finish()
        .succeeds();
    let windows = folder.json_lines("out.jsonl");
    let mut windows: Vec<Vec<u64>> = windows
        .into_iter()
        .map(|mut window| serde_json::from_value(window["numbers"].take()).unwrap())
        .collect();
    windows.sort_unstable();
    let mut dead_letters = dead_letters(&folder, "dead.jsonl");
    dead_letters.sort_by_key(|dead_letter| dead_letter.event.position);
    (folder, windows, dead_letters)
}

fn dead(dead_letters: &[DeadLetter]) -> Vec<u64> {
    dead_letters.iter().map(DeadLetter::number).collect()
}

#[test]
fn an_event_that_traps_or_is_rejected_is_in_no_window() {
    let (windows, expected) = oracle(|n| n.is_multiple_of(250), |_| false);
    for mode in ["panic", "reject"] {
        for (workers, more) in [
            (1, ""),
            (2, ""),
            (8, "shards = 3"),
            (2, "actors = \"per-key\""),
            (2, "isolation = \"fresh\""),
        ] {
            let (found, dead_letters) = run(mode, 250, workers, more);
            assert!(found == windows, "{mode}, {workers} workers, {more}");
            assert_eq!(dead(&dead_letters), expected, "{mode}, {workers} workers, {more}");
        }
    }
}

#[test]
fn an_event_that_completes_a_window_which_traps_is_dead_and_the_window_stays_open() {
    let traps = |sum: u64| sum.is_multiple_of(47);
    let (windows, expected) = oracle(|_| false, traps);
    assert!(!expected.is_empty());
    for workers in [1, 2, 8] {
        let (found, dead_letters) = run("panic-window", 47, workers, "");
        assert!(found == windows, "{workers} workers");
        assert_eq!(dead(&dead_letters), expected, "{workers} workers");
        assert!(
            dead_letters
                .iter()
                .all(|dead_letter| dead_letter.reason.contains("is more than it can bear"))
        );
    }
}

#[test]
fn a_window_that_is_rejected_is_gone_with_the_event_that_completed_it() {
    let rejected = |sum: u64| sum.is_multiple_of(47);
    let (windows, _) = oracle(|_| false, |_| false);
    let expected: Vec<Vec<u64>> = windows
        .iter()
        .filter(|window| !rejected(window.iter().sum()))
        .cloned()
        .collect();
    let gone = windows.iter().filter(|window| rejected(window.iter().sum()));
    let mut completing: Vec<u64> = gone.map(|window| *window.last().unwrap()).collect();
    completing.sort_unstable();
    let (found, dead_letters) = run("reject-window", 47, 2, "");
    assert!(found == expected);
    assert_eq!(dead(&dead_letters), completing);
    assert!(dead_letters.iter().all(|dead_letter| dead_letter.kind == "rejected"));
}

#[test]
fn what_traps_in_a_merge_takes_windows_with_it_and_no_event() {
    // In several turns: a turn makes aggregates of the segments that earlier ones opened.
    const LAST: i64 = 1_100;
    const LENGTH: i64 = 40;
    const EVERY: i64 = 701;
    let mut dead_before = None;
    for workers in [1, 4] {
        let config = format!("{{ mode = \"panic-merge\", every = {EVERY} }}");
        let window = format!("window = {{ sliding = \"{LENGTH}ms\", every = \"1ms\" }}");
        let folder = pipeline("reduce", &config, &window);
        folder.write("events.jsonl", numbered(LAST.unsigned_abs(), 1));
        let finished = Dirigo::run(&folder, ["pipeline.toml"])
            .set("source.events.time", "/n")
            .workers(workers)
            .finish();
        let absorbed = finished.succeeds().operator("guest", "absorbed");
        let lines = folder.json_lines("out.jsonl");
        let windows: Vec<Vec<i64>> = lines
            .into_iter()
            .map(|mut window| serde_json::from_value(window["numbers"].take()).unwrap())
            .collect();
        let dead_letters = dead_letters(&folder, "dead.jsonl");
        let mut dead: Vec<i64> = dead_letters
            .iter()
            .map(|letter| {
                letter.window.as_ref().expect("it is a window")["start"]
                    .as_i64()
                    .unwrap()
            })
            .collect();
        dead.sort_unstable();
        // Each of these counts for one of its events.
        assert_eq!(absorbed + dead.len() as u64, LAST.unsigned_abs(), "{workers} workers");
        let expected = (1 - LENGTH..LAST).filter(|start| dead.binary_search(start).is_err());
        let numbers = |start: i64| (start.max(0)..(start + LENGTH).min(LAST)).collect::<Vec<i64>>();
        assert_eq!(windows, expected.map(numbers).collect::<Vec<_>>(), "{workers} workers");
        // Numbers that it strikes at lie in these, behind others.
        let may_trap = |start: &i64| numbers(*start).iter().skip(1).any(|number| number % EVERY == 0);
        assert!(!dead.is_empty() && dead.iter().all(may_trap), "{dead:?}");
        let before = dead_before.get_or_insert_with(|| dead.clone());
        assert_eq!(*before, dead, "with one worker, and with {workers}");
    }
}

/// How many events the open window of a letter's key held when the event came: the first eight bytes of its state.
fn window_before(dead_letter: &DeadLetter) -> u64 {
    let Some(state) = &dead_letter.state else { return 0 };
    let bytes = BASE64_STANDARD.decode(state).expect("state is base64");
    u64::from_le_bytes(*bytes.first_chunk().expect("it begins with a count"))
}

#[test]
fn a_dead_letter_carries_the_state_that_its_event_met() {
    let fails = |n: u64| n.is_multiple_of(250);
    for mode in ["panic", "reject"] {
        let (_, dead_letters) = run(mode, 250, 1, "");
        assert!(!dead_letters.is_empty());
        for dead_letter in dead_letters {
            let n = dead_letter.number();
            let counted = (0..n)
                .filter(|other| other % KEYS == n % KEYS && !fails(*other))
                .count() as u64;
            assert_eq!(
                window_before(&dead_letter),
                counted % SIZE as u64,
                "{mode}: {dead_letter:?}"
            );
        }
    }
}

#[test]
fn a_rejected_window_is_replayed_from_its_dead_letter() {
    let (folder, _, dead_letters) = run_in_folder("reject-window", 47, 1, "");
    let dead_letter = &dead_letters[dead_letters.len() / 2];
    assert_eq!(window_before(dead_letter), SIZE as u64 - 1, "{dead_letter:?}");
    let id = dead_letter.id.to_string();
    let replayed = Dirigo::command(&folder, "replay")
        .args(["dead.jsonl", "--id", &id])
        .finish();
    assert_eq!(replayed.code(), 1);
    assert_says(&replayed.stdout, &[&dead_letter.reason]);
}
