//! `dirigo test`.

use serde_json::json;

use crate::support::{Folder, assert_says};

/// Averages of two readings per sensor, with `tests` behind them. The source's file is not there.
fn averages(tests: &str) -> Folder {
    Folder::with_pipeline(&format!(
        r#"
[pipeline]
name = "p"
[[source]]
id = "readings"
kind = "file"
path = "not-there.jsonl"
key = "/sensor"
time = "/ts"
[[operator]]
id = "mean"
component = "builtin:reduce"
window = {{ count = 2 }}
config = {{ field = "value", aggregate = "avg" }}
shards = 3
[[sink]]
id = "averages"
kind = "file"
path = "out/averages.jsonl"
{tests}"#
    ))
}

const PASSES: &str = r#"
[[test]]
name = "two readings make an average"
input = [
    { value = { sensor = "a", ts = 1, value = 1 } },
    { value = { sensor = "b", ts = 2, value = 10 } },
    { value = { sensor = "b", ts = 3, value = 20 } },
    { value = { sensor = "a", ts = 4, value = 2 } },
]
output = [
    { value = { key = "b", avg = 15, count = 2, start = 2, end = 3 } },
    { value = { key = "a", avg = 1.5, count = 2, start = 1, end = 4 } },
]
"#;

const FAILS: &str = r#"
[[test]]
name = "a wrong average"
input = [
    { value = { sensor = "a", ts = 1, value = 1 } },
    { value = { sensor = "a", ts = 4, value = 2 } },
    { value = { sensor = "a", ts = 5, value = "warm" } },
]
output = [{ value = { key = "a", avg = 2.5, count = 2, start = 1, end = 4 } }]
"#;

#[test]
fn a_case_passes_without_any_file() {
    let folder = averages(PASSES);
    let ran = folder.dirigo(&["test", "pipeline.toml"]).expect(0);
    assert_eq!(ran.stdout, "ok      two readings make an average\n1 passed, 0 failed\n");
    assert_eq!(folder.names(), ["pipeline.toml"], "nothing is written");
}

#[test]
fn a_case_that_fails_shows_what_was_expected_and_what_came() {
    let folder = averages(&format!("{PASSES}{FAILS}"));
    let ran = folder.dirigo(&["test", "pipeline.toml"]).expect(1);
    assert_says(
        &ran.stdout,
        &[
            "ok      two readings",
            "FAILED  a wrong average (pipeline.toml:34)\n",
            "sink `averages`, event 1 at `/avg`: expected 2.5, got 1.5\n",
            "expected 1 event:\n",
            "\"avg\":2.5",
            "got 1 event:\n",
            "\"avg\":1.5",
            "note: event 3 of the input is a dead letter of `mean`, rejected: field `value` is the string \"warm\"",
            "\n1 passed, 1 failed\n",
        ],
    );
}

#[test]
fn a_case_is_the_whole_input_of_windows_that_are_emitted_incomplete() {
    let case = r#"
[[test]]
name = "what is left is emitted by key"
input = [
    { value = { sensor = "b", ts = 1, value = 4 } },
    { value = { sensor = "a", ts = 2, value = 1 } },
    { value = { sensor = "c", ts = 3, value = 1e308 } },
    { value = { sensor = "b", ts = 4, value = 6 } },
    { value = { sensor = "b", ts = 5, value = 7 } },
]
output = [
    { value = { key = "b", avg = 5, count = 2, start = 1, end = 4 } },
    { value = { key = "a", avg = 1, count = 1, start = 2, end = 2 } },
    { value = { key = "b", avg = 7, count = 1, start = 5, end = 5 } },
    { value = { key = "c", avg = 1e308, count = 1, start = 3, end = 3 } },
]
"#;
    let folder = averages(case);
    let emitting = ["test", "pipeline.toml", "-s", "operator.mean.partial=emit"];
    folder.dirigo(&emitting).expect(0);
    let ran = folder.dirigo(&["test", "pipeline.toml"]).expect(1);
    assert_says(&ran.stdout, &["expected 4 events", "got 1 event:"]);
}

#[test]
fn a_filter_chooses_cases_by_name() {
    let folder = averages(&format!("{PASSES}{FAILS}"));
    let ran = folder.dirigo(&["test", "pipeline.toml", "two"]).expect(0);
    assert!(ran.stdout.ends_with("1 passed, 0 failed\n"));
    let ran = folder.dirigo(&["test", "pipeline.toml", "three"]).expect(1);
    assert_says(&ran.stderr, &["none of the 2 tests", "`three`"]);
}

#[test]
fn a_program_gets_the_outcome_as_json() {
    let folder = averages(&format!("{PASSES}{FAILS}"));
    let told = folder.dirigo(&["test", "pipeline.toml", "-o", "json"]).expect(1).json();
    assert_eq!((&told["passed"], &told["failed"]), (&json!(1), &json!(1)));
    let case = &told["cases"][1];
    assert_eq!((&case["name"], &case["line"]), (&json!("a wrong average"), &json!(34)));
    assert_eq!(case["passed"], false);
    let difference = &case["sinks"][0]["difference"];
    assert_eq!(
        difference,
        &json!({"index": 0, "pointer": "/avg", "expected": 2.5, "actual": 1.5})
    );
    assert_eq!(case["dead_letters"][0]["kind"], "rejected");
}

#[test]
fn an_override_holds_for_the_cases_too() {
    let folder = averages(FAILS);
    let set = "operator.mean.config.aggregate=max";
    let ran = folder.dirigo(&["test", "pipeline.toml", "-s", set]).expect(1);
    assert_says(&ran.stdout, &["event 1 at `/avg`: expected 2.5, got nothing"]);
}

#[test]
fn a_file_without_cases_is_no_success() {
    let ran = averages("").dirigo(&["test", "pipeline.toml"]).expect(1);
    assert_says(&ran.stderr, &["no tests in pipeline.toml", "[[test]]"]);
}

#[test]
fn a_broken_file_is_a_configuration_error() {
    let folder = averages("[[test]]\nname = \"x\"\ninput = []\noutput = [{ at = \"avrages\", value = 1 }]\n");
    let ran = folder.dirigo(&["test", "pipeline.toml"]).expect(78);
    assert_says(&ran.stderr, &["there is no sink `avrages`", "did you mean `averages`?"]);
}

#[test]
fn a_pipeline_that_stops_at_an_error_fails_the_case() {
    let folder = averages(FAILS);
    let ran = folder
        .dirigo(&["test", "pipeline.toml", "-s", "operator.mean.limits.errors=stop"])
        .expect(1);
    assert_says(
        &ran.stdout,
        &["FAILED", "the pipeline stopped: operator `mean`", "event 3"],
    );
}

#[test]
fn a_record_that_is_no_event_is_a_note() {
    let folder = averages("[[test]]\nname = \"no key\"\ninput = [{ value = { ts = 1 } }]\noutput = []\n");
    let ran = folder.dirigo(&["test", "pipeline.toml"]).expect(0);
    assert_says(
        &ran.stdout,
        &[
            "ok      no key",
            "event 1",
            "`readings`, source: `/sensor` finds nothing",
        ],
    );
}

#[test]
fn events_of_several_sources_enter_in_the_order_of_the_case() {
    let folder = Folder::with_pipeline(
        r#"
[pipeline]
name = "p"
[[source]]
id = "left"
kind = "file"
path = "left.jsonl"
[[source]]
id = "right"
kind = "file"
path = "right.jsonl"
[[operator]]
id = "sum"
component = "builtin:reduce"
inputs = ["left", "right"]
window = { count = 2 }
config = { field = "n", aggregate = "sum" }
[[sink]]
id = "out"
kind = "stdout"
[[test]]
name = "pairs"
input = [
    { at = "left", value = { n = 1 } },
    { at = "right", value = { n = 10 } },
    { at = "right", value = { n = 20 } },
    { at = "left", value = { n = 2 } },
    { at = "left", value = { n = 3 } },
    { at = "right", value = { n = 30 } },
]
# Without `time` an event's time is that of the clock, which stands still.
output = [
    { value = { key = "", sum = 11, count = 2, start = 0, end = 0 } },
    { value = { key = "", sum = 22, count = 2, start = 0, end = 0 } },
    { value = { key = "", sum = 33, count = 2, start = 0, end = 0 } },
]
"#,
    );
    for _ in 0..5 {
        let ran = folder.dirigo(&["test", "pipeline.toml"]).expect(0);
        assert_eq!(ran.stdout, "ok      pairs\n1 passed, 0 failed\n");
    }
}

/// A source of this format that goes straight to a sink.
fn straight(format: &str, case: &str) -> Folder {
    Folder::with_pipeline(&format!(
        "[pipeline]\nname = \"p\"\n[[source]]\nid = \"in\"\nkind = \"stdin\"\nformat = \"{format}\"\n\
         [[sink]]\nid = \"out\"\nkind = \"stdout\"\n[[test]]\nname = \"straight\"\n{case}\n"
    ))
}

#[test]
fn a_string_is_a_line_as_it_stands() {
    let case = "input = [{ value = \"not JSON\" }, { value = { n = 1 } }]\n\
                output = [{ value = \"not JSON\" }, { value = { n = 1.0 } }]";
    straight("lines", case).dirigo(&["test", "pipeline.toml"]).expect(0);
}

#[test]
fn a_csv_record_is_an_object() {
    let case = "input = [{ value = { a = 1, b = \"x\" } }]\noutput = [{ value = { b = \"x\", a = 1 } }]";
    straight("csv", case).dirigo(&["test", "pipeline.toml"]).expect(0);
    let ran = straight("csv", "input = [{ value = 1 }]\noutput = []")
        .dirigo(&["test", "pipeline.toml"])
        .expect(1);
    assert_says(
        &ran.stdout,
        &["FAILED", "event 1 cannot enter at `in`", "csv record is an object"],
    );
}

#[test]
fn standard_output_and_input_are_left_alone() {
    let ran = straight(
        "jsonl",
        "input = [{ value = \"datum\" }]\noutput = [{ value = \"datum\" }]",
    )
    .dirigo(&["test", "pipeline.toml"])
    .expect(0);
    assert!(!ran.stdout.contains("datum"), "{}", ran.stdout);
}
