//! Outputs of a process with names: what a pipeline file may read, and what is behind them. `process` compares what comes out of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Dirigo, Folder, assert_says, guest};

/// The operator of docs/operators.md.
mod classify {
    use dirigo_operator::prelude::*;
    use dirigo_operator::testing::{Event, ProcessTester};
    use serde_json::json;

    include!("classify.rs");

    #[test]
    fn what_is_too_hot_leaves_under_its_name_in_addition() {
        let docs = include_str!("../../docs/operators.md");
        assert!(
            docs.contains(include_str!("classify.rs")),
            "docs/operators.md shows another operator"
        );
        let mut classify = ProcessTester::<Classify>::open(&json!({})).unwrap();
        let readings = [20.5, 90.5].map(|celsius| Event::from(json!({"celsius": celsius})).key("kitchen"));
        let readings = classify.events(readings);
        assert_eq!(readings.json(), [json!({"celsius": 20.5}), json!({"celsius": 90.5})]);
        let alerts = classify.take(TOO_HOT);
        assert_eq!(alerts.json(), [json!({"sensor": "kitchen", "celsius": 90.5})]);
    }
}

/// A pipeline with the guest, and behind it what `more` has.
fn striker(order: &str, more: &str) -> Folder {
    let folder = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "p"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        time = "/t"
        lateness = "20ms"
        [[operator]]
        id = "striker"
        component = "{}"
        order = "{order}"
        config = {{ mode = "pass", every = 1 }}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        {more}
        "#,
        guest("process").display(),
    ));
    folder.write("events.jsonl", "");
    folder
}

fn sink(inputs: &str) -> String {
    format!("[[sink]]\nid = \"more\"\nkind = \"file\"\npath = \"more.jsonl\"\ninputs = [{inputs}]\n")
}

/// Events of five keys, one each 3 ms.
fn events(count: u64) -> String {
    let event = |n: u64| format!("{{\"n\":{n},\"key\":\"k-{}\",\"t\":{}}}\n", n % 5, 1_000 + 3 * n);
    (0..count).map(event).collect()
}

#[test]
fn a_name_that_no_output_has_is_refused_where_it_stands() {
    let operator = |id: &str, component: &str, more: &str| {
        format!("[[operator]]\nid = \"{id}\"\ncomponent = \"{component}\"\ninputs = [\"events\"]\n{more}\n")
    };
    let once = operator("once", "builtin:dedup", "order = \"arrival\"");
    let all = operator("all", "builtin:filter", "config = { field = \"n\", min = 0 }");
    for (more, words) in [
        (
            sink("\"striker\", \"striker.od\""),
            &[
                "operator `striker` has no output `od`",
                "\"striker.od\"]",
                "unknown output",
                "did you mean `odd`? it has `odd` and `fired`",
            ][..],
        ),
        (
            once + &sink("\"once\", \"once.again\""),
            &[
                "operator `once` has no output `again`",
                "its component, `builtin:dedup`, has no outputs with names",
            ],
        ),
        (
            all + &sink("\"all\", \"all.others\""),
            &[
                "`all` is a `filter` operator",
                "outputs with names are for `process` operators",
            ],
        ),
    ] {
        let folder = striker("time", &more);
        let checked = Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish();
        checked.ends_with(78, words);
        let caret = checked.stderr.lines().find(|line| line.contains("^^"));
        assert!(caret.is_some(), "{}", checked.stderr);
    }
}

#[test]
fn an_operator_behind_a_name_is_held_to_the_fields_that_are_written_to_it() {
    let filter = |field: &str| {
        format!(
            "[[operator]]\nid = \"some\"\ncomponent = \"builtin:filter\"\ninputs = [\"striker.fired\"]\n\
             config = {{ field = \"{field}\", min = 1 }}\n{}",
            sink("\"some\"")
        )
    };
    let checked = |field: &str| {
        let folder = striker("time", &filter(field));
        Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish()
    };
    checked("coppy").ends_with(
        78,
        &[
            "operator `some` reads what no event has",
            "`striker.fired` writes no field `coppy`, and its outputs have no others",
            "did you mean `copy`?",
        ],
    );
    assert_eq!(checked("copy").code(), 0);
}

#[test]
fn what_nothing_reads_is_noted_and_what_an_operator_has_is_listed() {
    let folder = striker("time", &sink("\"striker.odd\""));
    let checked = Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish();
    assert_eq!(checked.code(), 0);
    let said = format!("{}{}", checked.stdout, checked.stderr);
    assert_says(&said, &["note: nothing reads the output `fired` of operator `striker`"]);
    assert!(!said.contains("output `odd`"), "{said}");
    let inspected = Dirigo::command(&folder, "inspect")
        .args([guest("process")])
        .args(["--config", "{\"mode\":\"pass\",\"every\":1}"])
        .finish();
    assert_says(
        &inspected.stdout,
        &[
            "as `odd`  values of its own",
            "as `fired`  an object of key (text), timer (text), at (s64), mixed (s64), copy (s64)",
        ],
    );
    let inspected = Dirigo::command(&folder, "inspect")
        .args([guest("process")])
        .args(["--config", "{\"mode\":\"pass\",\"every\":1}", "-o", "json"])
        .finish();
    let inspected: Value = serde_json::from_str(&inspected.stdout).unwrap();
    let named = &inspected["fields"]["named_outputs"];
    assert_eq!(
        (&named[0]["name"], &named[1]["outputs"]),
        (&json!("odd"), &json!("replace"))
    );
}

#[test]
fn windows_behind_a_name_close_by_the_watermark_of_the_process() {
    let windows = format!(
        "[[operator]]\nid = \"per\"\ncomponent = \"builtin:reduce\"\ninputs = [\"striker.fired\"]\n\
         window = {{ tumbling = \"100ms\" }}\nconfig = {{ field = \"copy\", aggregate = \"sum\" }}\n{}\
         [[sink]]\nid = \"fired\"\nkind = \"file\"\npath = \"fired.jsonl\"\ninputs = [\"striker.fired\"]\n",
        sink("\"per\"")
    );
    for workers in [1, 4] {
        let folder = striker("time", &windows);
        folder.write("events.jsonl", events(3_000));
        let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(workers).finish();
        let summary = finished.succeeds();
        assert_eq!(summary.operator("per", "late"), 0, "{workers} workers");
        let mut expected: BTreeMap<(String, i64), u64> = BTreeMap::new();
        for fired in folder.json_lines("fired.jsonl") {
            // The copy bears another key.
            let key = if fired["copy"] == 0 {
                fired["key"].as_str().unwrap()
            } else {
                "copies"
            };
            let start = fired["at"].as_i64().unwrap().div_euclid(100) * 100;
            *expected.entry((key.to_owned(), start)).or_default() += 1;
        }
        assert!(expected.len() > 100, "{}", expected.len());
        let found = folder.json_lines("more.jsonl").into_iter().map(|window| {
            let key = window["key"].as_str().unwrap().to_owned();
            (
                (key, window["start"].as_i64().unwrap()),
                window["count"].as_u64().unwrap(),
            )
        });
        assert_eq!(found.collect::<BTreeMap<_, _>>(), expected, "{workers} workers");
    }
}

#[test]
fn the_budget_of_a_tenant_holds_for_all_outputs_of_an_event_whether_they_are_read_or_not() {
    for more in ["", &sink("\"striker.odd\", \"striker.fired\"")] {
        let folder = striker("arrival", more);
        let budget =
            "[tenant]\noutputs_per_event = 2\n[dead_letters]\npath = \"dead.jsonl\"\nmax = \"100%\"\n[[source]]";
        let text = folder.read("pipeline.toml").replacen("[[source]]", budget, 1);
        folder.write("pipeline.toml", text);
        folder.write("events.jsonl", events(100));
        let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
        // Each timer puts out one value of its own and two under a name.
        let failed = finished.succeeds().operator("striker", "failed_timers");
        assert!(failed >= 5, "{failed}");
        let letters = folder.json_lines("dead.jsonl");
        assert!(letters.iter().all(|letter| letter["kind"] == "output"), "{letters:?}");
        assert_says(
            letters[0]["reason"].as_str().unwrap(),
            &["its tenant's budget allows 2"],
        );
        let id = letters[0]["id"].to_string();
        let replay = |more: &[&str]| {
            Dirigo::command(&folder, "replay")
                .args(["dead.jsonl", "--id", &id])
                .args(more)
                .finish()
        };
        assert_says(
            &replay(&[]).stdout,
            &["now       succeeds", "output    `fired`: {\"key\":\"k-"],
        );
        let replayed: Value = serde_json::from_str(&replay(&["-o", "json"]).stdout).unwrap();
        let names = replayed["outputs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|output| output["name"].clone());
        let mut names: Vec<Value> = names.collect();
        names.dedup();
        assert_eq!(names, [Value::Null, json!("fired")], "its own come first");
    }
}

#[test]
fn a_test_case_looks_at_what_leaves_under_a_name_and_the_own_output_need_not_be_read() {
    let test = "[[test]]\nname = \"a silent key\"\n\
                input = [{ at = \"events\", value = { n = 1, key = \"a\", t = 0 } }]\n\
                output = [\n\
                { at = \"out\", value = { key = \"a\", timer = \"silent\", at = 60, mixed = 38, copy = 0 } },\n\
                { at = \"out\", value = { key = \"a\", timer = \"silent\", at = 60, mixed = 38, copy = 1 } },\n]\n";
    let folder = striker("time", test);
    let reads = "path = \"out.jsonl\"\ninputs = [\"striker.fired\"]";
    let text = folder.read("pipeline.toml").replacen("path = \"out.jsonl\"", reads, 1);
    folder.write("pipeline.toml", text);
    let tested = Dirigo::command(&folder, "test").args(["pipeline.toml"]).finish();
    let said = format!("{}{}", tested.stdout, tested.stderr);
    assert_says(&said, &["1 passed, 0 failed"]);
    let checked = Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish();
    let said = format!("{}{}", checked.stdout, checked.stderr);
    assert_says(&said, &["note: nothing reads the own output of operator `striker`"]);
}
