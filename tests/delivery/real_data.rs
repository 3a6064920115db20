//! The pipeline that the README begins with, over real readings.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Dirigo, Folder, Summary};

const READINGS: u64 = 17_518;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Runs the example as it is, but for where its output goes.
fn run(folder: &Folder, workers: u32) -> (Summary, String) {
    let example = root().join("examples/city-temperatures.toml");
    let finished = Dirigo::run(folder, [example.to_str().unwrap()])
        .workers(workers)
        .set("sink.out.path", folder.path("averages.jsonl").display())
        .finish();
    (finished.succeeds().clone(), folder.read("averages.jsonl"))
}

fn of_station<'a>(averages: &'a [Value], station: &str) -> Vec<&'a Value> {
    averages.iter().filter(|average| average["key"] == station).collect()
}

#[test]
fn the_example_puts_out_the_averages_that_python_computes() {
    let expected = std::fs::read_to_string(root().join("tests/delivery/expected-averages.jsonl")).unwrap();
    let expected: Vec<Value> = expected
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let folder = Folder::new();
    for workers in [1, 2, 8] {
        let (summary, _) = run(&folder, workers);
        let found = folder.json_lines("averages.jsonl");
        assert_eq!(summary.count("events_in"), READINGS);
        assert_eq!(summary.count("events_out"), expected.len() as u64);
        assert_eq!(found.len(), expected.len());
        for station in ["san-francisco", "seattle"] {
            let (found, expected) = (of_station(&found, station), of_station(&expected, station));
            assert_eq!(found.len(), expected.len(), "averages of {station}");
            found
                .into_iter()
                .zip(expected)
                .for_each(|(found, expected)| assert_eq!(found, expected));
        }
    }
}

#[test]
fn the_example_puts_out_the_same_bytes_at_any_worker_count() {
    let folder = Folder::new();
    let (_, one) = run(&folder, 1);
    for workers in [2, 8] {
        assert!(
            run(&folder, workers).1 == one,
            "the output at {workers} workers differs from that at one"
        );
    }
}
