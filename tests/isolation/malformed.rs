//! Results that break the contract: the event is dead, the host unmoved.

use crate::pipeline;
use crate::support::{Dirigo, assert_says, dead_letters, numbered};

const EVENTS: u64 = 8;

/// Runs a few events through a guest that tells this lie about each batch, down to the batches of one event.
fn lie(guest: &str, lie: &str, more: &str, kind: &str, words: &str) {
    let folder = pipeline(guest, &format!("{{ lie = \"{lie}\" }}"), more);
    folder.write("events.jsonl", numbered(EVENTS, 1));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(1).finish();
    assert_eq!(finished.succeeds().count("dead_letters"), EVENTS, "{guest}: {lie}");
    assert_eq!(folder.read("out.jsonl"), "", "{guest}: {lie}");
    for dead_letter in dead_letters(&folder, "dead.jsonl") {
        assert_eq!(dead_letter.kind, kind, "{guest}: {lie}: {}", dead_letter.reason);
        assert_says(&dead_letter.reason, &[words]);
    }
}

#[test]
fn an_honest_guest_without_the_sdk_passes() {
    let folder = pipeline("malformed-map", "{ lie = \"none\" }", "");
    folder.write("events.jsonl", numbered(EVENTS, 1));
    Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
    assert_eq!(folder.read("out.jsonl"), folder.read("events.jsonl"));
}

#[test]
fn outputs_that_are_no_outputs_are_never_taken() {
    for (told, words) in [
        ("ends descend", "`values`"),
        ("ends stop short", "`values`"),
        ("ends overrun", "`values`"),
        ("a value too few", "`values`"),
        ("a value too many", "`values`"),
        ("an origin out of range", "`origins` names item"),
        ("origins descend", "`origins`"),
        ("a key too few", "`keys`"),
        ("a failure out of range", "`failures` names item"),
        ("a failure twice", "`failures` is not in rising order"),
        ("an event passed and failed", "`failures`"),
    ] {
        lie("malformed-map", told, "", "malformed", words);
    }
}

#[test]
fn what_is_not_even_a_list_is_never_read() {
    lie("malformed-map", "a list outside memory", "", "malformed", "");
    lie("malformed-map", "a message that is no text", "", "malformed", "utf-8");
}

#[test]
fn choices_that_are_no_choice_are_never_taken() {
    for (told, words) in [
        ("an event twice", "`kept` is not in rising order"),
        ("an event out of range", "`kept` names item"),
        ("a failure out of range", "`failures` names item"),
        ("an event kept and failed", "`failures`"),
    ] {
        lie("malformed-filter", told, "", "malformed", words);
    }
}

#[test]
fn windows_that_are_no_windows_are_never_taken() {
    for (told, words) in [
        ("an accumulator too many", "`accumulators`"),
        ("an empty accumulator", "accumulator 0 is empty"),
        ("a window out of range", "`origins` names item"),
        ("a rejection out of range", "`failures` names item"),
    ] {
        lie(
            "malformed-reduce",
            told,
            "window = { count = 1000 }",
            "malformed",
            words,
        );
    }
}
