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
            "- expected 1 event, + got 1 event\n",
            "    -   1  {\"avg\":2.5",
            "    +   1  {\"avg\":1.5",
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
    assert_says(&ran.stdout, &["- expected 4 events, + got 1 event\n"]);
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

/// Sums of ten milliseconds, of two sources whose event time passes by watermarks alone. All that enters leaves as it is, too, by the same sink
/// as the sums.
fn sums(tests: &str) -> Folder {
    Folder::with_pipeline(&format!(
        r#"
[pipeline]
name = "p"
[[source]]
id = "left"
kind = "file"
path = "left.jsonl"
key = "/k"
time = "/ts"
lateness = "1h"
[[source]]
id = "right"
kind = "file"
path = "right.jsonl"
key = "/k"
time = "/ts"
lateness = "1h"
[[operator]]
id = "sums"
component = "builtin:reduce"
inputs = ["left", "right"]
window = {{ tumbling = "10ms" }}
config = {{ field = "n", aggregate = "sum" }}
shards = 3
[[operator]]
id = "sums-of-sums"
component = "builtin:reduce"
inputs = ["sums"]
window = {{ tumbling = "20ms" }}
config = {{ field = "sum", aggregate = "sum" }}
[[sink]]
id = "all"
kind = "stdout"
inputs = ["left", "right", "sums", "sums-of-sums"]
{tests}"#
    ))
}

/// Runs cases again and again, since what could come in another order does not always.
#[track_caller]
fn passes_each_time(folder: &Folder) {
    for _ in 0..20 {
        folder.dirigo(&["test", "pipeline.toml"]).expect(0);
    }
}

#[test]
fn what_a_watermark_closes_has_left_before_the_next_entry_enters() {
    let folder = sums(
        r#"
[[test]]
name = "closes"
input = [
    { at = "left", value = { k = "b", ts = 1, n = 1 } },
    { at = "left", value = { k = "a", ts = 11, n = 2 } },
    { at = "left", value = { k = "a", ts = 2, n = 3 } },
    { at = "left", watermark = 20 },
    { at = "right", value = { k = "a", ts = 3, n = 4 } },
    { at = "right", watermark = "1970-01-01T00:00:00.010Z" },
    { at = "right", value = { k = "c", ts = 12, n = 5 } },
    { at = "right", watermark = 20 },
    { at = "left", value = { k = "a", ts = 21, n = 6 } },
    { at = "left", value = { k = "a", ts = 19, n = 7 } },
    { at = "right", value = { k = "b", ts = 33, n = 8 } },
]
output = [
    { value = { k = "b", ts = 1, n = 1 } },
    { value = { k = "a", ts = 11, n = 2 } },
    { value = { k = "a", ts = 2, n = 3 } },
    { value = { k = "a", ts = 3, n = 4 } },
    # Of the two sources, the one that is behind counts.
    { value = { key = "a", sum = 7, count = 2, start = 0, end = 10 } },
    { value = { key = "b", sum = 1, count = 1, start = 0, end = 10 } },
    { value = { k = "c", ts = 12, n = 5 } },
    { value = { key = "a", sum = 2, count = 1, start = 10, end = 20 } },
    { value = { key = "c", sum = 5, count = 1, start = 10, end = 20 } },
    { value = { key = "a", sum = 9, count = 2, start = 0, end = 20 } },
    { value = { key = "b", sum = 1, count = 1, start = 0, end = 20 } },
    { value = { key = "c", sum = 5, count = 1, start = 0, end = 20 } },
    { value = { k = "a", ts = 21, n = 6 } },
    { value = { k = "a", ts = 19, n = 7 } },
    { value = { k = "b", ts = 33, n = 8 } },
    # The end of the input closes the rest.
    { value = { key = "a", sum = 6, count = 1, start = 20, end = 30 } },
    { value = { key = "b", sum = 8, count = 1, start = 30, end = 40 } },
    { value = { key = "a", sum = 6, count = 1, start = 20, end = 40 } },
    { value = { key = "b", sum = 8, count = 1, start = 20, end = 40 } },
]
late = 1
"#,
    );
    passes_each_time(&folder);
}

#[test]
fn a_watermark_that_closes_nothing_holds_nothing_up() {
    let folder = sums(
        r#"
[[test]]
name = "nothing there"
input = [{ at = "left", watermark = 10 }, { at = "right", watermark = 10 }, { at = "left", watermark = 5 }]
output = []
[[test]]
name = "nobody waits for it"
input = [{ at = "left", watermark = 10 }, { at = "left", value = { k = "a", ts = 10, n = 1 } }]
output = [
    { value = { k = "a", ts = 10, n = 1 } },
    { value = { key = "a", sum = 1, count = 1, start = 10, end = 20 } },
    { value = { key = "a", sum = 1, count = 1, start = 0, end = 20 } },
]
"#,
    );
    folder.dirigo(&["test", "pipeline.toml"]).expect(0);
    let unheard = straight(
        "lines",
        "input = [{ watermark = 1 }, { value = \"x\" }]\noutput = [{ value = \"x\" }]",
    );
    unheard.dirigo(&["test", "pipeline.toml"]).expect(0);
}

#[test]
fn a_pipeline_that_fails_behind_a_watermark_ends_the_case() {
    let folder = sums(
        r#"
[[test]]
name = "fails"
input = [
    { at = "left", value = { k = "a", ts = 1, n = "x" } },
    { at = "left", watermark = 10 },
    { at = "right", watermark = 10 },
    { at = "left", value = { k = "a", ts = 11, n = 1 } },
]
output = []
"#,
    );
    let ran = folder
        .dirigo(&["test", "pipeline.toml", "-s", "operator.sums.limits.errors=stop"])
        .expect(1);
    assert_says(&ran.stdout, &["FAILED", "the pipeline stopped: operator `sums`"]);
}

#[test]
fn a_watermark_is_in_place_of_a_value_of_the_input() {
    let told = |case: &str| {
        let ran = sums(&format!("[[test]]\nname = \"t\"\n{case}")).dirigo(&["test", "pipeline.toml"]);
        ran.expect(78).stderr
    };
    assert_says(
        &told("input = [{ at = \"left\", watermark = 1, value = 1 }]\noutput = []"),
        &[
            "both a `value` and a `watermark`",
            "pipeline.toml:37:37",
            "make two entries of it",
        ],
    );
    assert_says(
        &told("input = [{ at = \"left\" }]\noutput = []"),
        &[
            "neither a `value` nor a `watermark`",
            "pipeline.toml:37:10",
            "`value = { … }` for an event",
        ],
    );
    assert_says(
        &told("input = []\noutput = [{ watermark = 1 }]"),
        &[
            "an event of the output has a `watermark`",
            "pipeline.toml:38:13",
            "into `input`",
        ],
    );
}

#[test]
fn how_many_events_are_late_is_compared_where_a_case_says_it() {
    let case = |late: &str| {
        sums(&format!(
            r#"
[[test]]
name = "late"
input = [
    {{ at = "left", watermark = 20 }},
    {{ at = "right", value = {{ k = "a", ts = 1, n = 1 }} }},
    {{ at = "left", value = {{ k = "a", ts = 5, n = 1 }} }},
    {{ at = "left", value = {{ k = "a", ts = 6, n = 1 }} }},
]
output = [
    {{ value = {{ k = "a", ts = 1, n = 1 }} }},
    {{ value = {{ k = "a", ts = 5, n = 1 }} }},
    {{ value = {{ k = "a", ts = 6, n = 1 }} }},
    {{ value = {{ key = "a", sum = 1, count = 1, start = 0, end = 10 }} }},
    {{ value = {{ key = "a", sum = 1, count = 1, start = 0, end = 20 }} }},
]
{late}"#
        ))
    };
    case("late = 2").dirigo(&["test", "pipeline.toml"]).expect(0);
    case("").dirigo(&["test", "pipeline.toml"]).expect(0);
    let ran = case("late = 0").dirigo(&["test", "pipeline.toml"]).expect(1);
    assert_eq!(
        ran.stdout,
        "FAILED  late (pipeline.toml:36)\n  late events: expected 0, got 2\n0 passed, 1 failed\n"
    );
    let ran = case("late = 3")
        .dirigo(&["test", "pipeline.toml", "-o", "json"])
        .expect(1);
    assert_eq!(
        ran.json()["cases"][0]["late_difference"],
        json!({"expected": 3, "actual": 2})
    );
}

#[test]
fn in_any_order_the_outputs_are_the_same_as_often() {
    let case = |output: &str| averages(&PASSES.replace(&PASSES[PASSES.find("output").unwrap()..], output));
    let two = "{ value = { key = \"a\", avg = 1.5, count = 2, start = 1, end = 4 } },\n\
               { value = { key = \"b\", avg = 15.0, count = 2, start = 2, end = 3 } },";
    let run = |output: &str| case(output).dirigo(&["test", "pipeline.toml"]);
    run(&format!("order = \"any\"\noutput = [{two}]")).expect(0);
    run(&format!("order = \"listed\"\noutput = [{two}]")).expect(1);
    let ran = run(&format!(
        "order = \"any\"\noutput = [{two}{{ value = {{ key = \"b\", avg = 15.0, count = 2, start = 2, end = 3 }} }}]"
    ))
    .expect(1);
    assert_says(
        &ran.stdout,
        &[
            "sink `averages`, in any order: - 1 missing, + 0 too many\n",
            "    - {\"avg\":15.0",
            "\n0 passed",
        ],
    );
    let ran = run("order = \"any\"\noutput = [{ value = { key = \"c\" } }]").expect(1);
    assert_says(
        &ran.stdout,
        &[
            "- 1 missing, + 2 too many\n",
            "    - {\"key\":\"c\"}\n",
            "    + {\"avg\":15.0",
            "    + {\"avg\":1.5",
        ],
    );
}

/// Averages of which the third reading and a record without a key fail, with these expectations.
fn failing(expected: &str) -> Folder {
    let events = "{ value = { sensor = \"a\", ts = 5, value = \"warm\" } },";
    let without_output = &FAILS[..FAILS.find("output").unwrap()];
    let input = without_output.replace(events, &format!("{events}\n{{ value = {{ ts = 6 }} }},"));
    averages(&format!(
        "{input}output = [{{ value = {{ key = \"a\", avg = 1.5, count = 2, start = 1, end = 4 }} }}]\n{expected}"
    ))
}

#[test]
fn dead_letters_that_a_case_expects_must_come_and_no_others() {
    let run = |expected: &str| failing(expected).dirigo(&["test", "pipeline.toml"]);
    let mean =
        "{ operator = \"mean\", reason = \"is the string\", value = { ts = 5, value = \"warm\", sensor = \"a\" } }";
    let readings = "{ operator = \"readings\", reason = \"finds nothing\" }";
    let ran = run("").expect(0);
    assert_says(&ran.stdout, &["ok ", "note: event 3", "note: event 4"]);
    let ran = run(&format!("dead_letters = [{readings}, {mean}]")).expect(0);
    assert_eq!(ran.stdout, "ok      a wrong average\n1 passed, 0 failed\n");
    let ran = run(&format!("dead_letters = [{mean}]")).expect(1);
    assert_says(
        &ran.stdout,
        &[
            "  dead letters: - 0 missing, + 1 too many\n",
            "    + `readings` of {\"ts\":6}: source: `/sensor` finds nothing\n",
        ],
    );
    let ran = run(&format!("dead_letters = [{readings}, {mean}, {mean}]")).expect(1);
    assert_says(
        &ran.stdout,
        &[
            "  dead letters: - 1 missing, + 0 too many\n",
            "    - `mean` of {\"sensor\":\"a\",\"ts\":5,\"value\":\"warm\"}: … is the string …\n",
        ],
    );
    let ran = run("dead_letters = [{ operator = \"mean\", reason = \"cold\" }]").expect(1);
    assert_says(&ran.stdout, &["- 1 missing, + 2 too many", "- `mean`: … cold …", "+ `"]);
    run("dead_letters = []").expect(1);
    let ran = run("dead_letters = [{ operator = \"averages\" }]").expect(78);
    assert_says(&ran.stderr, &["there is no operator or source `averages`"]);
}

#[test]
fn an_operator_burns_no_more_than_a_case_allows() {
    let run = |allowed: &str| averages(&format!("{PASSES}{allowed}")).dirigo(&["test", "pipeline.toml", "-o", "json"]);
    let passed = run("max_fuel_per_event = 1_000_000").expect(0).json();
    assert_eq!(passed["cases"][0].get("fuel_excesses"), None);
    let failed = run("max_fuel_per_event = 1").expect(1).json();
    let excess = &failed["cases"][0]["fuel_excesses"][0];
    assert_eq!(
        (&excess["operator"], &excess["fuel_per_event_max"]),
        (&json!("mean"), &json!(1))
    );
    let burnt = excess["fuel_per_event"].as_u64().unwrap();
    assert!(burnt > 1, "{excess}");
    run(&format!("max_fuel_per_event = {burnt}")).expect(0);

    let ran = averages(&format!("{PASSES}max_fuel_per_event = 1")).dirigo(&["test", "pipeline.toml"]);
    assert_says(
        &ran.expect(1).stdout,
        &[
            "  operator `mean` burnt ",
            " fuel per event, on the average of 4 events; the case allows 1\n",
        ],
    );
}

#[test]
fn a_report_for_other_programs_is_written_as_junit_xml() {
    let odd = "\n[[test]]\nname = \"<odd> & \\\"quoted\\\" \\u0007\"\ninput = [{ value = { ts = 1 } }]\noutput = []\n";
    let folder = averages(&format!("{PASSES}{FAILS}{odd}"));
    folder
        .dirigo(&["test", "pipeline.toml", "--junit", "report.xml"])
        .expect(1);
    let report = folder.read("report.xml");
    assert_says(
        &report,
        &[
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
            "<testsuite name=\"pipeline.toml\" tests=\"3\" failures=\"1\"",
            "<testcase name=\"two readings make an average\" classname=\"pipeline.toml\" file=\"pipeline.toml\" line=\"21\"",
            "/>\n",
            "<testcase name=\"a wrong average\"",
            "<failure message=\"sink `averages`, event 1 at `/avg`: expected 2.5, got 1.5\" type=\"case\">",
            "\n    -   1  {\"avg\":2.5",
            "\n    +   1  {\"avg\":1.5",
            "</failure>",
            "<testcase name=\"&lt;odd&gt; &amp; &quot;quoted&quot; \\u{7}\"",
            "<system-out>  note: event 1 of the input is a dead letter of `readings`",
            "</testsuites>\n",
        ],
    );
    folder
        .dirigo(&["test", "pipeline.toml", "two", "--junit", "report.xml", "-o", "json"])
        .expect(0);
    assert_says(&folder.read("report.xml"), &["tests=\"1\" failures=\"0\""]);
}

#[test]
fn a_report_that_cannot_be_written_is_found_before_a_case_runs() {
    let folder = averages(PASSES);
    let ran = folder
        .dirigo(&["test", "pipeline.toml", "--junit", "not-there/report.xml"])
        .expect(78);
    assert_says(
        &ran.stderr,
        &["`--junit not-there/report.xml`", "cannot be written there"],
    );
    assert_eq!(ran.stdout, "");
}

#[test]
fn the_example_of_the_docs_passes() {
    let docs = include_str!("../../docs/running.md");
    let (_, section) = docs.split_once("## Test cases").unwrap();
    let (_, example) = section.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let folder = Folder::with_pipeline(&format!(
        r#"
[pipeline]
name = "p"
[[source]]
id = "readings"
kind = "file"
path = "readings.jsonl"
key = "/sensor"
time = "/ts"
[[operator]]
id = "fahrenheit"
component = "builtin:map"
config = {{ field = "celsius", scale = 1.8, offset = 32.0, into = "fahrenheit" }}
[[operator]]
id = "averages"
component = "builtin:reduce"
window = {{ tumbling = "1m" }}
config = {{ field = "fahrenheit", aggregate = "avg" }}
[[sink]]
id = "minutes"
kind = "file"
path = "minutes.jsonl"
{example}"#
    ));
    let ran = folder.dirigo(&["test", "pipeline.toml"]).expect(0);
    assert_eq!(ran.stdout, "ok      minutes per sensor\n1 passed, 0 failed\n");
}
