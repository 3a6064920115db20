//! What a guest words is shown to people, and acts on no terminal; programs get it as it is.

use serde_json::Value;

use crate::support::{Dirigo, assert_says, dead_letters, numbered, pipeline};

/// What the guest logs, prints, and gives as its reason.
const SAID: &str = "\u{1b}]0;gone\u{7}\u{9b}2J\r\nerror: forged\u{202e}";
/// The same, as it is shown.
const SHOWN: &str = r"\u{1b}]0;gone\u{7}\u{9b}2J\r\nerror: forged\u{202e}";

/// Asserts that lines for people hold nothing that acts on a terminal, and that none was forged.
#[track_caller]
fn assert_harmless(text: &str) {
    let acts = |character: &char| (character.is_control() && *character != '\n') || *character == '\u{202e}';
    assert_eq!(text.chars().find(acts), None, "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("error: forged")), "{text}");
}

#[test]
fn what_a_guest_says_acts_on_no_terminal() {
    let folder = pipeline("map", r#"{ mode = "escapes" }"#, "");
    folder.write("events.jsonl", numbered(1, 1));
    let ran = Dirigo::run(&folder, ["pipeline.toml"])
        .args(["--log", "guest=info"])
        .finish();
    assert_harmless(&ran.stderr);
    // The log line, its reason in the summary, and what it printed: where that ends a line, it ends.
    assert!(ran.stderr.matches(SHOWN).count() >= 2, "{}", ran.stderr);
    assert_says(&ran.stderr, &[r"2J\r operator="]);
    assert_eq!(
        dead_letters(&folder, "dead.jsonl")[0].reason,
        SAID,
        "programs get it as it is"
    );

    let replay = || Dirigo::command(&folder, "replay").args(["dead.jsonl", "--id", "1"]);
    let replayed = replay().finish();
    assert_harmless(&replayed.stdout);
    assert_eq!(replayed.stdout.matches(SHOWN).count(), 2, "{}", replayed.stdout);
    let for_programs: Value = serde_json::from_str(&replay().args(["-o", "json"]).finish().stdout).unwrap();
    assert_eq!(for_programs["reason"], SAID);
}

#[test]
fn why_a_pipeline_stops_acts_on_no_terminal() {
    let folder = pipeline("map", r#"{ mode = "escapes" }"#, "limits = { errors = \"stop\" }");
    folder.write("events.jsonl", numbered(1, 1));
    let ran = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    ran.ends_with(1, &["error: pipeline `hostile`", SHOWN]);
    assert_harmless(&ran.stderr);
    let error = ran.summary().pipeline("hostile")["error"].as_str().unwrap();
    assert!(error.contains(SAID), "{error:?}");
}
