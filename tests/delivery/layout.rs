//! State of the same version that another component would read as something else.

use serde_json::{Value, json};

use crate::support::{Dirigo, Finished, Folder, dead_letters, guest};

const FIRST: &str = "postcard:{first: u64, last: u64}";
const SECOND: &str = "postcard:{last: u64, first: u64}";

fn pipeline(folder: &Folder, name: &str) {
    folder.write(
        "pipeline.toml",
        format!(
            r#"
            [pipeline]
            name = "p"
            [[source]]
            id = "events"
            kind = "file"
            path = "events.jsonl"
            key = "/key"
            [[operator]]
            id = "ends"
            component = "{}"
            window = {{ count = 3 }}
            [[sink]]
            id = "out"
            kind = "file"
            path = "out.jsonl"
            "#,
            guest(name).display()
        ),
    );
}

/// A state in which the first of the two guests has a window of the numbers 1 and 2 open.
fn with_open_window() -> Folder {
    let folder = Folder::new();
    folder.write("events.jsonl", "{\"n\":1,\"key\":\"a\"}\n{\"n\":2,\"key\":\"a\"}\n");
    pipeline(&folder, "reordered-1");
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    folder
}

fn state(folder: &Folder, args: &[&str]) -> Finished {
    let finished = Dirigo::command(folder, "state").args(args).finish();
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    finished
}

#[test]
fn two_fields_that_changed_places_are_refused_with_both_layouts() {
    let folder = with_open_window();
    pipeline(&folder, "reordered-2");
    folder.append("events.jsonl", "{\"n\":3,\"key\":\"a\"}\n");
    let refused = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    refused.ends_with(
        78,
        &[
            "operator `ends`",
            "still calls it version 1",
            FIRST,
            SECOND,
            "pipeline.toml:",
            "--accept ends",
        ],
    );
    // Nothing has run: the component of before goes on as if nothing had been tried.
    pipeline(&folder, "reordered-1");
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    assert_eq!(folder.read("out.jsonl"), "{\"first\":1,\"last\":3}\n");
}

#[test]
fn another_type_is_refused() {
    let folder = with_open_window();
    pipeline(&folder, "evolving-1");
    let text = folder.read("pipeline.toml");
    folder.write("pipeline.toml", text.replace("[[sink]]", "config = {}\n[[sink]]"));
    let refused = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    refused.ends_with(78, &[FIRST, "is `postcard:u64`"]);
}

#[test]
fn a_layout_that_is_accepted_goes_on() {
    let folder = with_open_window();
    pipeline(&folder, "reordered-2");
    folder.append("events.jsonl", "{\"n\":3,\"key\":\"a\"}\n");
    let migrated = state(
        &folder,
        &["migrate", "pipeline.toml", "--state", "state", "--accept", "ends"],
    );
    drop(migrated);
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    // It reads what was the last number as the first: that is what was accepted.
    assert_eq!(folder.read("out.jsonl"), "{\"last\":3,\"first\":2}\n");
}

#[test]
fn accumulators_are_shown_as_json() {
    let folder = with_open_window();
    let json = |args: &[&str]| -> Value { serde_json::from_str(&state(&folder, args).stdout).unwrap() };
    let ends = json!({"first": 1, "last": 2});
    assert_eq!(json(&["get", "state", "ends", "a", "-o", "json"])["accumulator"], ends);
    assert_eq!(json(&["export", "state"])["accumulator"], ends);
    let text = state(&folder, &["get", "state", "ends", "a"]).stdout;
    assert!(text.contains("accumulator {\"first\":1,\"last\":2}"), "{text}");

    folder.append("events.jsonl", "{\"n\":13,\"key\":\"a\"}\n");
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    let dead: Value = serde_json::from_str(&folder.read("state/p/dead-letters.jsonl")).unwrap();
    assert_eq!((&dead["reason"], &dead["accumulator"]), (&json!("unlucky"), &ends));
    let dead_letters = dead_letters(&folder, "state/p/dead-letters.jsonl");
    assert!(dead_letters[0].state.is_some(), "for a replay");
}
