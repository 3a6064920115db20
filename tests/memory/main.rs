//! Memory is bounded by what a pipeline is, not by how much passes it.
//!
//! A suite of its own: each test looks at the peak of a whole process.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::format_collect,
    clippy::cast_possible_truncation,
    clippy::similar_names,
    clippy::needless_pass_by_value,
    reason = "a test that cannot go on fails; seeds are printed; plain words matter more than speed here"
)]

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "each suite uses its own part")]
mod support;

use support::{Dirigo, Folder, guest};

/// What no pipeline of this suite may take: 256 Ki events in flight from one source at about 300 bytes each through all its
/// stages, 64 MiB for compiled code and the pool's tables, and as much again to spare.
const PEAK_BYTES_MAX: u64 = 320 << 20;

/// Readings through map, filter and reduce, with another operator between them.
fn pipeline(between: &str) -> Folder {
    Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "long"
        [[source]]
        id = "readings"
        kind = "generator"
        key = "/sensor"
        time = "/ts"
        sensors = 1000
        [[operator]]
        id = "map"
        component = "builtin:map"
        config = {{ field = "value", scale = 1.8, offset = 32.0, into = "fahrenheit" }}
        {between}
        [[operator]]
        id = "filter"
        component = "builtin:filter"
        config = {{ field = "fahrenheit", min = 50.0 }}
        [[operator]]
        id = "reduce"
        component = "builtin:reduce"
        window = {{ count = 5 }}
        config = {{ field = "fahrenheit", aggregate = "avg" }}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#
    ))
}

/// The peak of a run over so many readings.
fn peak(folder: &Folder, count: u64, order: &str) -> u64 {
    let run = Dirigo::run(folder, ["pipeline.toml"]).set("source.readings.count", count);
    let finished = run.set("sink.out.order", order).finish();
    assert_eq!(finished.succeeds().count("events_in"), count);
    assert!(
        finished.peak_bytes < PEAK_BYTES_MAX,
        "{count} readings took {} bytes",
        finished.peak_bytes
    );
    finished.peak_bytes
}

#[test]
fn ten_times_the_input_takes_no_more_memory() {
    let folder = pipeline("");
    for order in ["key", "source"] {
        let (short, long) = (peak(&folder, 200_000, order), peak(&folder, 2_000_000, order));
        // Queues are not as full in a short run as they can be, and allocators keep what they were given once.
        assert!(
            long < short + (64 << 20),
            "{short} bytes grew to {long} with order = {order:?}"
        );
    }
}

#[test]
fn a_slow_operator_holds_its_source_back() {
    let folder = pipeline(&format!(
        "[[operator]]\nid = \"slow\"\ncomponent = \"{}\"\nconfig = {{ mode = \"dawdle\", every = 5000, field = \"ts\" }}",
        guest("map").display()
    ));
    peak(&folder, 1_000_000, "key");
}
