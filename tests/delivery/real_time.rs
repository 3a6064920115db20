//! Windows in time over real readings, against what DuckDB computes (`expected_time.py`).

use std::path::Path;

use serde_json::Value;

use crate::support::{Dirigo, Finished, Folder, Random};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The readings, one line each: hourly, two stations by turns.
fn readings() -> Vec<String> {
    let lines = std::fs::read_to_string(root().join("examples/city-temperatures.jsonl")).unwrap();
    lines.lines().map(|line| format!("{line}\n")).collect()
}

/// Daily and monthly maxima, the greatest of 24 hours every six, and spells of cold, of readings that come up to two days late.
fn pipeline(readings: &[String]) -> Folder {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "temperatures"
        [[source]]
        id = "readings"
        kind = "file"
        path = "readings.jsonl"
        key = "/station"
        time = "/time"
        lateness = "2d"
        [[operator]]
        id = "daily"
        component = "builtin:reduce"
        window = { tumbling = "1d" }
        config = { field = "temp_f", aggregate = "max" }
        [[operator]]
        id = "monthly"
        component = "builtin:reduce"
        inputs = ["readings"]
        window = { tumbling = "1month" }
        config = { field = "temp_f", aggregate = "max" }
        [[operator]]
        id = "sliding"
        component = "builtin:reduce"
        inputs = ["readings"]
        window = { sliding = "24h", every = "6h" }
        config = { field = "temp_f", aggregate = "max" }
        [[operator]]
        id = "cold"
        component = "builtin:filter"
        inputs = ["readings"]
        config = { field = "temp_f", max = 40 }
        [[operator]]
        id = "cold-spells"
        component = "builtin:reduce"
        window = { session = "12h" }
        config = { field = "temp_f", aggregate = "min" }
        [[sink]]
        id = "daily-out"
        kind = "file"
        path = "daily.jsonl"
        inputs = ["daily"]
        order = "source"
        [[sink]]
        id = "monthly-out"
        kind = "file"
        path = "monthly.jsonl"
        inputs = ["monthly"]
        order = "source"
        [[sink]]
        id = "sliding-out"
        kind = "file"
        path = "sliding.jsonl"
        inputs = ["sliding"]
        order = "source"
        [[sink]]
        id = "cold-out"
        kind = "file"
        path = "cold-spells.jsonl"
        inputs = ["cold-spells"]
        order = "source"
        "#,
    );
    folder.write("readings.jsonl", readings.concat());
    folder
}

fn run(folder: &Folder) -> Finished {
    Dirigo::run(folder, ["pipeline.toml"]).finish()
}

const NAMES: [&str; 4] = ["daily.jsonl", "monthly.jsonl", "sliding.jsonl", "cold-spells.jsonl"];

/// That the outputs are what SQL gives, in the order of ends and keys.
#[track_caller]
fn assert_expected(folder: &Folder) {
    for name in NAMES {
        let expected = std::fs::read_to_string(root().join("tests/delivery/expected-time").join(name)).unwrap();
        let mut expected: Vec<Value> = expected
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        expected.sort_by_key(|line| (line["end"].as_i64(), line["key"].as_str().map(str::to_owned)));
        let found = folder.json_lines(name);
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{name}");
        }
    }
}

#[test]
fn windows_over_real_readings_are_what_sql_gives() {
    let folder = pipeline(&readings());
    run(&folder).succeeds();
    assert_expected(&folder);
}

#[test]
fn readings_that_come_in_disorder_within_the_lateness_make_the_same_windows() {
    let mut readings = readings();
    let mut random = Random(11);
    // Within two days of each other, 48 of each station.
    for some in readings.chunks_mut(96) {
        for place in (1..some.len()).rev() {
            some.swap(place, random.below(place + 1));
        }
    }
    let folder = pipeline(&readings);
    let finished = run(&folder);
    for operator in ["daily", "sliding", "cold-spells"] {
        assert_eq!(finished.succeeds().operator(operator, "late"), 0);
    }
    assert_expected(&folder);
}

#[test]
fn readings_that_come_too_late_are_counted_and_all_else_is_as_without_them() {
    let readings = readings();
    let mut random = Random(12);
    let (mut kept, mut displaced): (Vec<String>, Vec<(usize, String)>) = (Vec::new(), Vec::new());
    for (place, reading) in readings.into_iter().enumerate() {
        // The end of the data is left alone: nothing comes after it to be late behind.
        if place < 16_000 && random.one_in(100) {
            displaced.push((place, reading));
        } else {
            kept.push(reading);
        }
    }
    let without = pipeline(&kept);
    run(&without).succeeds();

    let ten_days = 10 * 48;
    let mut mixed = kept;
    for (behind, (place, reading)) in displaced.iter().enumerate().rev() {
        mixed.insert(place + ten_days - behind, reading.clone());
    }
    let with = pipeline(&mixed);
    let finished = run(&with);
    let late = displaced.len() as u64;
    let cold = displaced.iter().filter(|(_, reading)| {
        let reading: Value = serde_json::from_str(reading).unwrap();
        reading["temp_f"].as_f64().unwrap() <= 40.0
    });
    let cold = cold.count() as u64;
    assert!(late > 100 && cold > 0);
    let summary = finished.succeeds();
    for (operator, expected) in [("daily", late), ("sliding", late), ("cold-spells", cold)] {
        assert_eq!(summary.operator(operator, "late"), expected, "{operator}");
    }
    // A month is open for long enough.
    assert!(summary.operator("monthly", "late") < late);
    for name in NAMES.into_iter().filter(|name| *name != "monthly.jsonl") {
        assert_eq!(with.read(name), without.read(name), "{name}");
    }
}
