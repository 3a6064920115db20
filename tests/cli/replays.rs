//! `dirigo replay`.

use std::fs;

use dirigo::engine::builtin;
use serde_json::{Value, json};

use crate::support::{Folder, assert_says};

/// A pipeline over `data.jsonl` with this operator, run once. Its dead letters are in `dead.jsonl`.
fn ran(operator: &str, events: &str) -> Folder {
    let folder = Folder::with_pipeline(&format!(
        "[pipeline]\nname = \"p\"\n[[source]]\nid = \"in\"\nkind = \"file\"\npath = \"data.jsonl\"\nkey = \"/k\"\n\
         time = \"/t\"\n[[operator]]\nid = \"op\"\n{operator}\n[[sink]]\nid = \"out\"\nkind = \"null\"\n\
         [dead_letters]\npath = \"dead.jsonl\"\n"
    ));
    folder.write("data.jsonl", events);
    // Where all events fail the run fails.
    let ran = folder.dirigo(&["run", "pipeline.toml"]);
    assert!(matches!(ran.code, Some(0 | 1)), "{}", ran.stderr);
    folder
}

const MAP: &str = "component = \"builtin:map\"\nconfig = { field = \"v\" }";

/// The dead letters of a folder, rewritten by `change`.
fn rewrite(folder: &Folder, change: impl Fn(&mut Value)) {
    let dead_letters = folder.read("dead.jsonl");
    let rewritten = dead_letters.lines().map(|line| {
        let mut dead_letter: Value = serde_json::from_str(line).unwrap();
        change(&mut dead_letter);
        format!("{dead_letter}\n")
    });
    folder.write("dead.jsonl", rewritten.collect::<String>());
}

fn replay(folder: &Folder, more: &[&str]) -> crate::support::Ran {
    folder.dirigo(&[&["replay", "dead.jsonl", "--id", "1"], more].concat())
}

#[test]
fn a_rejected_event_is_rejected_again() {
    let folder = ran(
        MAP,
        "{\"k\":\"a\",\"t\":5,\"v\":1}\n{\"k\":\"a\",\"t\":6,\"v\":\"x\"}\n",
    );
    let told = replay(&folder, &[]).expect(1);
    assert_says(
        &told.stdout,
        &[
            "operator  `op` of pipeline `p`",
            "component builtin:map",
            "event     2 of source `in`",
            "time      6",
            "key       a",
            "then      rejected",
            "field `v` is the string",
            "now       rejected",
            "field `v` is the string",
        ],
    );
}

#[test]
fn an_event_that_burnt_its_fuel_burns_it_again_to_the_unit() {
    let operator = format!("{MAP}\n[operator.limits]\nfuel_per_event = 500");
    let folder = ran(&operator, "{\"k\":\"a\",\"t\":6,\"v\":1}\n");
    let told = replay(&folder, &["-o", "json"]).expect(1).json();
    assert_eq!(told["kind"], "fuel");
    assert_eq!(told["reason"], told["recorded"]["reason"]);
    assert_eq!(told["fuel"], told["recorded"]["fuel"]);
    assert_eq!(told["backtrace"], told["recorded"]["backtrace"]);
    assert!(told["backtrace"].as_str().unwrap().contains("wasm"), "{told}");
}

#[test]
fn a_reduce_goes_on_from_the_state_that_was_kept() {
    let operator =
        "component = \"builtin:reduce\"\nwindow = { count = 3 }\nconfig = { field = \"v\", aggregate = \"sum\" }";
    let folder = ran(
        operator,
        "{\"k\":\"a\",\"t\":5,\"v\":1}\n{\"k\":\"a\",\"t\":6,\"v\":2}\n",
    );
    assert_eq!(
        folder.names(),
        ["data.jsonl", "pipeline.toml"],
        "no dead letter, no file"
    );

    // The bad event comes in a run of its own, so that what was kept before it is known.
    let state = ["--state", "state"];
    folder
        .dirigo(&[&["run", "pipeline.toml"], &state[..]].concat())
        .expect(0);
    let grown = folder.read("data.jsonl") + "{\"k\":\"a\",\"t\":7,\"v\":\"x\"}\n";
    folder.write("data.jsonl", grown);
    // It is the only one, so the run fails.
    folder
        .dirigo(&[&["run", "pipeline.toml"], &state[..]].concat())
        .expect(1);

    let told = replay(&folder, &["-o", "json"]).expect(1).json();
    assert_eq!((&told["kind"], &told["state"]), (&json!("rejected"), &json!(null)));
    rewrite(&folder, |dead_letter| {
        dead_letter["event"]["value"] = json!("{\"k\":\"a\",\"t\":7,\"v\":4}");
    });
    let told = replay(&folder, &["-o", "json"]).expect(0).json();
    assert_eq!(told["outputs"][0]["key"], "a");
    let output: Value = serde_json::from_str(told["outputs"][0]["value"].as_str().unwrap()).unwrap();
    assert_eq!(output["sum"], 7.0);
    assert_eq!(told["state"], Value::Null, "the window is complete");

    rewrite(&folder, |dead_letter| {
        dead_letter["setup"]["window"] = json!({"count": 4});
    });
    let told = replay(&folder, &[]).expect(0);
    assert_says(&told.stdout, &["now       succeeds", "state     a window of 3 events"]);
}

#[test]
fn a_fix_is_tried_with_another_component() {
    let folder = ran(MAP, "{\"k\":\"a\",\"t\":6,\"v\":\"x\"}\n");
    let told = replay(&folder, &["--component", "builtin:filter"]).expect(1);
    assert_says(
        &told.stdout,
        &[
            "component builtin:filter, in place of builtin:map",
            "now       config",
            "refuses",
        ],
    );
    rewrite(&folder, |dead_letter| {
        dead_letter["setup"]["config"] = json!({"field": "v", "equals": "x"});
    });
    let told = replay(&folder, &["--component", "builtin:filter"]).expect(0);
    assert_says(
        &told.stdout,
        &["now       succeeds", "output    {\"k\":\"a\",\"t\":6,\"v\":\"x\"}"],
    );
    let other = replay(&folder, &["--component", "builtin:reduce"]).expect(1);
    assert_says(
        &other.stderr,
        &[
            "is a `reduce` operator",
            "the operator of the dead letter has neither a window nor an order of events",
        ],
    );
}

#[test]
fn a_component_that_changed_is_not_taken_for_the_one_that_failed() {
    let folder = Folder::new();
    folder.write("op.wasm", builtin::get("map").unwrap());
    let path = folder.path("op.wasm");
    let operator = format!("component = {:?}\nconfig = {{ field = \"v\" }}", path.to_str().unwrap());
    let run = ran(&operator, "{\"k\":\"a\",\"t\":6,\"v\":\"x\"}\n");
    replay(&run, &[]).expect(1);

    folder.write("op.wasm", builtin::get("filter").unwrap());
    let told = replay(&run, &[]).expect(1);
    assert_says(
        &told.stderr,
        &["is not the component that the event failed in", "--component"],
    );
    fs::remove_file(&path).unwrap();
    let told = replay(&run, &[]).expect(1);
    assert_says(
        &told.stderr,
        &[
            "cannot load the component",
            "op.wasm",
            "`--component FILE` says where it is",
        ],
    );
    let told = replay(&run, &["--component", "builtin:map"]).expect(1);
    assert_says(&told.stdout, &["now       rejected"]);
}

#[test]
fn what_no_component_saw_cannot_be_run_again() {
    let folder = ran(MAP, "{\"k\":\"a\"}\n");
    let told = replay(&folder, &[]).expect(1);
    assert_says(
        &told.stderr,
        &["never reached an operator", "source `in`", "`/t` finds nothing"],
    );

    let folder = ran(&format!("{MAP}\nkey = \"/id\""), "{\"k\":\"a\",\"t\":1,\"v\":1}\n");
    let told = replay(&folder, &[]).expect(1);
    assert_says(
        &told.stderr,
        &["never reached the component of `op`", "`/id` finds nothing"],
    );
}

#[test]
fn an_id_that_is_not_there_is_told_with_those_that_are() {
    let folder = ran(MAP, &"{\"k\":\"a\",\"t\":6,\"v\":\"x\"}\n".repeat(4));
    let told = folder.dirigo(&["replay", "dead.jsonl", "--id", "9"]).expect(1);
    assert_says(
        &told.stderr,
        &["there is no dead letter 9 in dead.jsonl; there are 1 to 4"],
    );
    folder.write("other.jsonl", "{\"id\":1}\n");
    let told = folder.dirigo(&["replay", "other.jsonl", "--id", "1"]).expect(1);
    assert_says(&told.stderr, &["its lines are no dead letters"]);
    let told = folder.dirigo(&["replay", "nowhere.jsonl", "--id", "1"]).expect(1);
    assert_says(&told.stderr, &["cannot read nowhere.jsonl"]);
}
