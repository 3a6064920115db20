//! State that is larger than the memory of its tenant.

use std::fmt::Write as _;

use crate::support::{Dirigo, Folder};

/// Their entries take 40 MB and more.
const KEYS: u64 = 300_000;
const MEMORY_BYTES: u64 = 16 << 20;

/// Two readings of each key, the second ones in another order than the first.
fn readings() -> String {
    // Without a common factor with the number of keys, so that it visits them all.
    const STRIDE: u64 = 7_919;
    let mut lines = String::new();
    let keys = (0..KEYS).chain((0..KEYS).map(|place| place * STRIDE % KEYS));
    for (n, key) in keys.enumerate() {
        writeln!(lines, r#"{{"key":"{key}","value":{n}}}"#).unwrap();
    }
    lines
}

/// By key, the sum of its readings.
fn expected() -> Vec<u64> {
    let readings = readings();
    let mut sums = vec![0; KEYS as usize];
    for line in readings.lines() {
        let (key, value) = key_and(line, "value");
        sums[key as usize] += value;
    }
    sums
}

fn key_and(line: &str, name: &str) -> (u64, u64) {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let key = line["key"].as_str().unwrap().parse().unwrap();
    // Sums are whole numbers, and may be written as if they were not.
    let number = line[name].to_string();
    (key, number.trim_end_matches(".0").parse().unwrap())
}

#[test]
fn more_keys_than_memory_has_room_for_are_all_counted() {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "many"
        [tenant]
        memory = "16MiB"
        [[source]]
        id = "readings"
        kind = "file"
        path = "readings.jsonl"
        key = "/key"
        [[operator]]
        id = "sums"
        component = "builtin:reduce"
        window = { count = 2 }
        config = { field = "value", aggregate = "sum" }
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#,
    );
    folder.write("readings.jsonl", readings());
    let expected = expected();
    for is_durable in [false, true] {
        let run = Dirigo::run(&folder, ["pipeline.toml"]).workers(2);
        let finished = if is_durable { run.with_state() } else { run }.finish();
        let summary = finished.succeeds();
        let mut sums = vec![None; KEYS as usize];
        for line in folder.read("out.jsonl").lines() {
            let (key, sum) = key_and(line, "sum");
            assert_eq!(
                sums[key as usize].replace(sum),
                None,
                "{line} is not the first of its key"
            );
        }
        assert!(
            sums.iter()
                .zip(&expected)
                .all(|(sum, expected)| *sum == Some(*expected)),
            "is_durable: {is_durable}"
        );
        // A turn under way is finished, and a batch is read, whatever they take.
        let peak = summary.json()["tenants"][0]["memory_peak"].as_u64().unwrap();
        assert!(peak < 2 * MEMORY_BYTES, "{peak} bytes");
        folder.write("out.jsonl", "");
    }
}
