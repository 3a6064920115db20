//! The pipelines in `examples/`, as the README has readers run them.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Folder, assert_says};

/// A folder with all examples, so that what they write is a test's own.
fn examples() -> Folder {
    let folder = Folder::new();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for entry in fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            folder.write(path.file_name().unwrap().to_str().unwrap(), fs::read(&path).unwrap());
        }
    }
    folder
}

/// Runs pipelines to their end, and gives the summary.
fn run(folder: &Folder, pipelines: &[&str]) -> Value {
    let ran = folder.dirigo(&[&["run", "-o", "json"], pipelines].concat()).expect(0);
    ran.json()
}

#[test]
fn a_good_pipeline_is_exact_next_to_one_that_never_returns() {
    let (alone, together) = (examples(), examples());
    run(&alone, &["city-temperatures.toml"]);
    let summary = run(&together, &["city-temperatures.toml", "endless-loop.toml"]);
    let averages = together.read("out/averages.jsonl");
    assert!(!averages.is_empty() && averages == alone.read("out/averages.jsonl"));

    assert_eq!(summary["pipelines"][0]["dead_letters"], 0);
    let passed: Vec<String> = (1..=20)
        .filter(|n| n % 5 != 0)
        .map(|n| format!("{{\"n\":{n}}}\n"))
        .collect();
    assert_eq!(together.read("out/numbers.jsonl"), passed.concat());
    let dead = together.read("out/endless-loop.dead.jsonl");
    let dead: Vec<Value> = dead.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let looped = |dead: &Value| (dead["event"]["value"].clone(), dead["kind"].clone());
    let expected = [5, 10, 15, 20].map(|n| (format!("{{\"n\":{n}}}").into(), "fuel".into()));
    assert_eq!(dead.iter().map(looped).collect::<Vec<(Value, Value)>>(), expected);
}

#[test]
fn the_summary_says_of_the_one_that_loops_what_became_of_it() {
    let ran = examples().dirigo(&["run", "endless-loop.toml"]).expect(0);
    assert_says(
        &ran.stderr,
        &[
            "endless-loop: 4 dead letters (operator loops: 4)",
            "all fuel consumed",
            "endless-loop/loops: 20 in = 16 passed + 4 dead letters; 16 out",
        ],
    );
}

#[test]
fn no_built_in_traps_where_only_an_estimate_was_too_low() {
    let folder = examples();
    // At the rate that it has, 20,000 events come in less than half a second.
    for arguments in [
        &["city-temperatures.toml"][..],
        &["generated.toml", "-s", "source.readings.count=20000"],
    ] {
        let summary = run(&folder, arguments);
        for operator in summary["operators"].as_array().unwrap() {
            assert_eq!(operator["traps"], 0, "{operator}");
        }
    }
}

#[test]
fn the_cases_in_examples_pass() {
    let folder = examples();
    let is_pipeline = |name: &&String| Path::new(name).extension().is_some_and(|extension| extension == "toml");
    for name in folder.names().iter().filter(is_pipeline) {
        folder.dirigo(&["check", name]).expect(0);
        if folder.read(name).contains("[[test]]") {
            folder.dirigo(&["test", name]).expect(0);
        }
    }
}
