//! What is promised is said: by `check`, and by `run` before the first event.

use crate::support::{Dirigo, Folder, assert_says, numbered};

fn pipeline(source: &str, header: &str) -> Folder {
    let folder = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "p"
        {header}
        [[source]]
        id = "in"
        {source}
        [[sink]]
        id = "shown"
        kind = "file"
        path = "shown/*.jsonl"
        commit = "epoch"
        [[sink]]
        id = "appended"
        inputs = ["in"]
        kind = "file"
        path = "appended.jsonl"
        [[sink]]
        id = "printed"
        inputs = ["in"]
        kind = "stdout"
        [[sink]]
        id = "dropped"
        inputs = ["in"]
        kind = "null"
        "#
    ));
    folder.write("events.jsonl", numbered(10, 1));
    folder
}

const FILE: &str = "kind = \"file\"\npath = \"events.jsonl\"";
const PROMISED: [&str; 3] = [
    "`shown`: exactly-once\n",
    "`appended`: exactly-once: after a crash, lines that were not committed are removed from the file",
    "`printed`: at-least-once: standard output cannot be truncated",
];

#[test]
fn check_and_run_say_what_is_promised_of_each_sink() {
    let folder = pipeline(FILE, "");
    let checked = Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish();
    assert_says(
        &checked.stderr,
        &PROMISED
            .map(|said| format!("guarantee with `--state`: {said}"))
            .each_ref()
            .map(String::as_str),
    );
    let ran = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    assert_says(
        &ran.stderr,
        &PROMISED
            .map(|said| format!("guarantee: {said}"))
            .each_ref()
            .map(String::as_str),
    );
    assert_eq!(
        ran.stderr.matches("guarantee").count(),
        3,
        "nothing is promised of null: {}",
        ran.stderr
    );
}

#[test]
fn programs_are_told_too() {
    let folder = pipeline(FILE, "");
    let checked = Dirigo::command(&folder, "check")
        .args(["pipeline.toml", "-o", "json"])
        .finish();
    let found: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    let promised: Vec<_> = found
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|found| found.get("guarantee"))
        .collect();
    let expected = serde_json::json!({ "sink": "shown", "promise": "exactly-once", "why": null });
    assert_eq!((promised.len(), promised[0]), (3, &expected), "{found}");
}

#[test]
fn a_run_without_state_says_once_that_it_promises_nothing() {
    let folder = pipeline(FILE, "");
    let ran = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    assert_says(&ran.stderr, &["guarantee: none beyond this run: without `--state`"]);
    assert_eq!(ran.stderr.matches("guarantee").count(), 1, "{}", ran.stderr);
}

#[test]
fn what_a_source_cannot_give_again_is_said_to_be_lost() {
    let folder = pipeline("kind = \"stdin\"", "checkpoint = \"off\"");
    let ran = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    let lost = "source `in` cannot be replayed, so a crash loses what it produced since the run began";
    assert_says(
        &ran.stderr,
        &["`shown`: at-most-once: ", lost, "`printed`: at-most-once: "],
    );
}
