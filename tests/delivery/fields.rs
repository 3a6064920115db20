//! Fields that sources take out and operators write: what comes out is what a program would that parses each value anew.

use serde_json::{Value, json};

use crate::support::{Dirigo, Folder, dead_letters, guest};

const HEAD: &str = r#"
[pipeline]
name = "p"
[dead_letters]
path = "dead.jsonl"
[[source]]
id = "in"
kind = "file"
path = "events.jsonl"
key = "/key"
"#;

fn map(id: &str, field: &str, scale: f64, into: &str) -> String {
    format!(
        "[[operator]]\nid = \"{id}\"\ncomponent = \"builtin:map\"\nconfig = {{ field = \"{field}\", scale = {scale:?}, into = \"{into}\" }}\n"
    )
}

fn sink(id: &str, more: &str) -> String {
    format!("[[sink]]\nid = \"{id}\"\nkind = \"file\"\npath = \"{id}.jsonl\"\norder = \"source\"\n{more}\n")
}

#[test]
fn what_several_operators_write_is_in_the_event_where_it_leaves_and_in_dead_letters() {
    let folder = Folder::with_pipeline(
        &[
            HEAD,
            &map("twice", "/n", 2.0, "twice"),
            &map("four", "twice", 2.0, "four"),
            &map("again", "four", 0.5, "/twice"),
            // Where it reads what some events lack, they show what was written before.
            &map("other", "other", 1.0, "other"),
            &sink("out", ""),
            &sink("between", "inputs = [\"four\"]"),
        ]
        .concat(),
    );
    let events = [
        r#"{"key":"a", "n":1, "other":0.5, "twice":null}"#,
        r#"{"n": 2.50,"key":"b","other":1e0}"#,
        r#"{"n":3,"key":"a","text":"été \u00e9"}"#,
    ];
    folder.write("events.jsonl", events.join("\n"));
    for workers in [1, 4] {
        let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(workers).finish();
        assert_eq!(finished.succeeds().count("dead_letters"), 1);
        assert_eq!(
            folder.read("out.jsonl"),
            "{\"key\":\"a\", \"n\":1, \"other\":0.5, \"twice\":2.0,\"four\":4.0}\n\
             {\"n\": 2.50,\"key\":\"b\",\"other\":1.0,\"twice\":5.0,\"four\":10.0}\n"
        );
        assert_eq!(
            folder.read("between.jsonl").lines().last().unwrap(),
            r#"{"n":3,"key":"a","text":"été \u00e9","twice":6.0,"four":12.0}"#
        );
        let dead_letter = dead_letters(&folder, "dead.jsonl").pop().unwrap();
        assert_eq!(dead_letter.reason, "field `other` is missing");
        let value = folder.json_lines("dead.jsonl")[0]["event"]["value"].clone();
        let last = r#"{"n":3,"key":"a","text":"été \u00e9","twice":6.0,"four":12.0}"#;
        assert_eq!(value, json!(last));
    }
}

#[test]
fn a_key_may_be_a_field_that_was_written() {
    let folder = Folder::with_pipeline(
        &[
            HEAD,
            &map("scale", "n", 10.0, "tens"),
            "[[operator]]\nid = \"count\"\ncomponent = \"builtin:reduce\"\nkey = \"/tens\"\nwindow = { count = 2 }\n\
             config = { aggregate = \"count\" }\n",
            &sink("out", ""),
        ]
        .concat(),
    );
    folder.write(
        "events.jsonl",
        "{\"n\":1,\"key\":\"a\"}\n{\"n\":2,\"key\":\"a\"}\n{\"n\":1.0,\"key\":\"b\"}\n",
    );
    Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
    let out = folder.json_lines("out.jsonl");
    assert_eq!(
        (out.len(), &out[0]["key"], &out[0]["count"]),
        (1, &json!("10.0"), &json!(2))
    );
}

#[test]
fn of_members_with_the_same_name_the_last_counts_for_sources_and_operators() {
    let folder = Folder::with_pipeline(
        &[
            HEAD,
            "time = \"/t\"\n",
            "[[operator]]\nid = \"sum\"\ncomponent = \"builtin:reduce\"\nwindow = { count = 1 }\n\
             config = { field = \"n\", aggregate = \"sum\" }\n",
            &sink("out", ""),
        ]
        .concat(),
    );
    folder.write(
        "events.jsonl",
        "{\"key\":\"a\",\"n\":1,\"t\":5,\"key\":\"b\",\"n\":2,\"t\":7}\n",
    );
    Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
    let expected = |key: &str| [json!({"key": key, "sum": 2.0, "count": 1, "start": 7, "end": 7})];
    assert_eq!(folder.json_lines("out.jsonl"), expected("b"));

    // So it is for the key that an operator gives.
    let text = folder.read("pipeline.toml");
    folder.write("pipeline.toml", text.replace("window =", "key = \"/n\"\nwindow ="));
    Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
    assert_eq!(folder.json_lines("out.jsonl"), expected("2"));
}

#[test]
fn fields_of_csv_are_those_of_its_columns() {
    let head = HEAD
        .replace("events.jsonl", "events.csv")
        .replace("key = \"/key\"", "key = \"key\"");
    let folder = Folder::with_pipeline(
        &[
            &*head,
            &map("twice", "n", 2.0, "twice"),
            &sink("out", "format = \"jsonl\""),
        ]
        .concat(),
    );
    folder.write("events.csv", "key,n,text\na,1.5,x\nb,,y\nc,3,\n");
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    assert_eq!(finished.succeeds().count("dead_letters"), 1);
    let out: Vec<Value> = folder
        .json_lines("out.jsonl")
        .into_iter()
        .map(|line| line["twice"].clone())
        .collect();
    assert_eq!(out, [json!(3.0), json!(6.0)]);
}

#[test]
fn an_operator_that_reads_what_the_one_before_it_does_not_write_is_refused_at_its_place() {
    let check = |operator: &str, words: &[&str]| {
        let folder = Folder::with_pipeline(
            &[
                HEAD,
                &map("scale", "n", 10.0, "tens"),
                &format!(
                    "[[operator]]\nid = \"object\"\ncomponent = \"{}\"\nconfig = {{ lie = \"fields: none wrong\" }}\n",
                    guest("malformed-map").display()
                ),
                operator,
                &sink("out", ""),
            ]
            .concat(),
        );
        folder.write("events.jsonl", "{\"n\":1,\"key\":\"a\"}\n");
        let finished = Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish();
        finished.ends_with(78, words);
    };
    check(
        "[[operator]]\nid = \"keep\"\ncomponent = \"builtin:filter\"\nconfig = { field = \"ff\", min = 0 }\n",
        &[
            "operator `keep` reads what no event has",
            "config = { field = \"ff\", min = 0 }",
            "`object` writes no field `ff`, and its outputs have no others",
            "did you mean `f`?",
        ],
    );
    check(
        "[[operator]]\nid = \"keep\"\ncomponent = \"builtin:filter\"\ninputs = [\"scale\"]\nconfig = { field = \"tens\", equals = \"x\" }\n",
        &["`scale` writes `tens` as f64, and `keep` reads text"],
    );
}

#[test]
fn integers_that_a_float_does_not_hold_are_kept_or_reported_and_never_changed() {
    let folder = Folder::with_pipeline(
        &[
            HEAD,
            "[[operator]]\nid = \"large\"\ncomponent = \"builtin:filter\"\n\
             config = { field = \"n\", threshold = 9007199254740992 }\n",
            "[[operator]]\nid = \"sum\"\ncomponent = \"builtin:reduce\"\nwindow = { count = 2 }\n\
             config = { field = \"n\", aggregate = \"sum\" }\n",
            &sink("out", ""),
            "[[operator]]\nid = \"copy\"\ninputs = [\"large\"]\ncomponent = \"builtin:map\"\n\
             config = { field = \"n\" }\n",
            &sink("copied", ""),
        ]
        .concat(),
    );
    let numbers = [
        "9007199254740992",
        "9007199254740993",
        "18446744073709551615",
        "9007199254740994",
        "1e16",
        "9007199254740995.0",
        "9007199254740996",
        "4611686018427387904",
    ];
    let keys = ["a", "a", "a", "a", "b", "b", "c", "c"];
    let event = |(key, number): (&&str, &&str)| format!("{{\"key\":\"{key}\",\"n\":{number}}}\n");
    folder.write("events.jsonl", keys.iter().zip(&numbers).map(event).collect::<String>());
    for workers in [1, 4] {
        Dirigo::run(&folder, ["pipeline.toml"])
            .workers(workers)
            .finish()
            .succeeds();
        let sums = folder.read("out.jsonl");
        let sum = |output: &str| output.split(',').nth(1).unwrap().to_owned();
        assert_eq!(
            sums.lines().map(sum).collect::<Vec<_>>(),
            [
                "\"sum\":18014398509481987",
                "\"sum\":19007199254740995",
                "\"sum\":4620693217682128900"
            ]
        );
        assert_eq!(
            folder.read("copied.jsonl").lines().collect::<Vec<_>>(),
            [
                r#"{"key":"a","n":9007199254740994.0}"#,
                r#"{"key":"b","n":1e+16}"#,
                r#"{"key":"c","n":9007199254740996.0}"#,
                r#"{"key":"c","n":4.611686018427388e+18}"#,
            ]
        );
        let letters = dead_letters(&folder, "dead.jsonl");
        let mut reasons: Vec<&str> = letters.iter().map(|letter| &*letter.reason).collect();
        reasons.sort_unstable();
        assert_eq!(
            reasons,
            [
                "field `n` is the integer 18446744073709551615, which neither f64 nor s64 holds",
                "field `n` is the integer 9007199254740993, which a 64-bit float cannot hold",
                "field `n` is the integer 9007199254740995, which a 64-bit float cannot hold",
            ]
        );
    }
}
