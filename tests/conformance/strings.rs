//! The big list of naughty strings: as keys, as values and as fields of CSV files, each comes out as it went in.

use std::collections::BTreeMap;

use naughty_strings::BLNS;
use serde_json::{Value, json};

use crate::support::{Dirigo, Folder};

#[test]
fn every_naughty_string_is_a_key_and_a_value() {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "strings"
        [[source]]
        id = "in"
        kind = "file"
        path = "in.jsonl"
        key = "/text"
        [[operator]]
        id = "double"
        component = "builtin:map"
        config = { field = "value", scale = 2.0 }
        [[operator]]
        id = "sums"
        component = "builtin:reduce"
        window = { count = 2 }
        config = { field = "value", aggregate = "sum" }
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        inputs = ["double"]
        order = "source"
        [[sink]]
        id = "windows"
        kind = "file"
        path = "sums.jsonl"
        inputs = ["sums"]
        "#,
    );
    let events = |scale: usize| -> Vec<Value> {
        let event = |(number, text): (usize, &&str)| json!({ "text": text, "value": number * scale });
        BLNS.iter().enumerate().map(event).collect()
    };
    let lines: String = events(1).iter().map(|event| format!("{event}\n")).collect();
    // Each comes twice, so that each key has a window.
    folder.write("in.jsonl", lines.repeat(2));
    Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
    let expected = [events(2), events(2)].concat();
    let found = folder.json_lines("out.jsonl");
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found["text"], expected["text"]);
        assert_eq!(found["value"].as_f64(), expected["value"].as_f64());
    }
    let mut windows: BTreeMap<String, f64> = BTreeMap::new();
    for window in folder.json_lines("sums.jsonl") {
        let sum = window["sum"].as_f64().unwrap();
        *windows.entry(window["key"].as_str().unwrap().to_owned()).or_default() += sum;
    }
    let mut expected: BTreeMap<String, f64> = BTreeMap::new();
    for event in events(4) {
        *expected.entry(event["text"].as_str().unwrap().to_owned()).or_default() += event["value"].as_f64().unwrap();
    }
    assert_eq!(windows, expected);
}

#[test]
fn every_naughty_string_is_a_field_of_a_csv_file() {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "strings"
        [[source]]
        id = "in"
        kind = "file"
        path = "in.csv"
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        order = "source"
        "#,
    );
    let record = |(number, text): (usize, &&str)| format!("{number},\"{}\"\r\n", text.replace('"', "\"\""));
    let records: String = BLNS.iter().enumerate().map(record).collect();
    folder.write("in.csv", format!("number,text\r\n{records}"));
    Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
    let found = folder.json_lines("out.jsonl");
    assert_eq!(found.len(), BLNS.len());
    for (event, text) in found.iter().zip(BLNS) {
        match &event["text"] {
            Value::Null => assert_eq!(*text, ""),
            // Digits and dots that no 64-bit float holds exactly are kept as they are written, and compared so.
            Value::Number(number) => assert_eq!(serde_json::from_str::<serde_json::Number>(text).unwrap(), *number),
            other => assert_eq!(other, text),
        }
    }
}
