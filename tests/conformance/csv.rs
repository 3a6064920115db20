//! csv-spectrum: CSV files, each with the records that a reader must find.

use csv_spectrum::Sample;
use serde_json::{Map, Value};

use crate::support::{Dirigo, Folder};

/// Its JSON masks a field that the CSV has, and is one record instead of a list.
const NOT_A_RESULT: &str = "location_coordinates";

#[test]
fn every_csv_file_is_read_as_its_records() {
    let samples: Vec<&Sample> = csv_spectrum::spectrum()
        .iter()
        .filter(|sample| sample.name != NOT_A_RESULT)
        .collect();
    assert!(samples.len() >= 11, "{}", samples.len());
    for sample in samples {
        let folder = Folder::with_pipeline(
            r#"
            [pipeline]
            name = "csv"
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
        folder.write("in.csv", sample.csv);
        Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
        let expected: Vec<Map<String, Value>> = serde_json::from_slice(sample.json).unwrap();
        let expected: Vec<Value> = expected.into_iter().map(typed).collect();
        assert_eq!(folder.json_lines("out.jsonl"), expected, "{}", sample.name);
    }
}

/// The suite has texts only. Dirigo makes a number of what is a JSON number, and null of an empty field.
fn typed(record: Map<String, Value>) -> Value {
    let typed = record.into_iter().map(|(name, value)| {
        let text = value.as_str().unwrap();
        let value = match serde_json::from_str(text) {
            _ if text.is_empty() => Value::Null,
            Ok(number @ Value::Number(_)) => number,
            _ => value,
        };
        (name, value)
    });
    typed.collect()
}
