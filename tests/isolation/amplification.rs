//! What one event may become many thousands of.

use crate::support::{Dirigo, Folder, numbered, pipeline};

const EVENTS: u64 = 60;
/// The event itself, and each with a number from 1 on.
const OF_EACH: u64 = 10_001;

/// A map that makes 10,001 outputs of every event, and what follows it as TOML.
fn amplified(then: &str) -> Folder {
    let folder = pipeline(
        "map",
        "{ mode = \"enumerate\" }",
        "replicas = 4\nslice = \"20us\"\nlimits = { fuel_per_event = 100_000_000 }",
    );
    let text = folder
        .read("pipeline.toml")
        .replacen("[[sink]]", &format!("{then}\n[[sink]]"), 1);
    folder.write("pipeline.toml", text);
    folder.write("events.jsonl", numbered(EVENTS, 10));
    folder
}

#[test]
fn outputs_leave_in_the_order_of_their_events_at_any_number_of_workers() {
    for workers in [1, 3] {
        let folder = amplified("");
        Dirigo::run(&folder, ["pipeline.toml"])
            .workers(workers)
            .finish()
            .succeeds();
        // One operator, whose outputs leave in the order of its chunks: that of the source.
        let text = folder.read("out.jsonl");
        let mut lines = text.lines().filter(|line| line.contains("index"));
        for number in 0..EVENTS {
            for index in 1..OF_EACH {
                let expected = format!("{{\"n\":{number},\"index\":{index}}}");
                assert_eq!(lines.next(), Some(expected.as_str()), "{workers} workers");
            }
        }
        assert_eq!(text.lines().count() as u64, EVENTS * OF_EACH);
    }
}

#[test]
fn each_of_ten_thousand_outputs_finds_the_window_of_its_key() {
    let averages = r#"
        [[operator]]
        id = "averages"
        component = "builtin:reduce"
        key = "/n"
        window = { count = 10001 }
        config = { field = "n", aggregate = "avg" }"#;
    let folder = amplified(averages);
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(2).finish();
    assert_eq!(finished.succeeds().operator("averages", "events_in"), EVENTS * OF_EACH);
    let mut found: Vec<u64> = folder
        .json_lines("out.jsonl")
        .iter()
        .map(|line| {
            assert_eq!(line["count"], OF_EACH);
            line["avg"].as_f64().unwrap() as u64
        })
        .collect();
    found.sort_unstable();
    assert!(found.into_iter().eq(0..EVENTS));
}
