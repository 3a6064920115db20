//! Ctrl-C: the first drains, the second stops.

use crate::support::{Dirigo, Folder, guest, numbered};

/// Readings without end, averaged; standard output shows that they flow.
fn endless() -> Folder {
    Folder::with_pipeline(
        r#"
        [pipeline]
        name = "endless"
        [[source]]
        id = "readings"
        kind = "generator"
        key = "/sensor"
        time = "/ts"
        [[operator]]
        id = "warm"
        component = "builtin:filter"
        config = { field = "value", threshold = 20.0 }
        [[operator]]
        id = "averages"
        component = "builtin:reduce"
        window = { count = 1000 }
        config = { field = "value", aggregate = "avg" }
        [[sink]]
        id = "shown"
        kind = "stdout"
        [[sink]]
        id = "kept"
        kind = "file"
        path = "kept.jsonl"
        order = "source"
        "#,
    )
}

#[test]
fn an_interrupted_run_drains_and_the_next_one_goes_on_exactly_there() {
    let folder = endless();
    let mut read = 0;
    for _ in 0..2 {
        let mut running = Dirigo::run(&folder, ["pipeline.toml"]).with_state().piped();
        running.stdout.wait_for("\"avg\"");
        running.interrupt();
        let finished = running.finish();
        read += finished.succeeds().count("events_in");
        assert_eq!(finished.succeeds().pipeline("endless")["outcome"], "stopped");
        assert!(finished.stderr.contains("draining"), "{}", finished.stderr);
        let told = "stopped before the end of its sources; the next run goes on there";
        assert!(finished.stderr.contains(told), "{}", finished.stderr);
    }
    let total = read + 50_000;
    let rest = Dirigo::run(&folder, ["pipeline.toml"]).with_state();
    let rest = rest.set("source.readings.count", total).finish();
    assert_eq!(rest.succeeds().count("events_in"), 50_000);
    assert_eq!(rest.succeeds().pipeline("endless")["outcome"], "completed");

    let whole = Folder::with_pipeline(&folder.read("pipeline.toml"));
    let finished = Dirigo::run(&whole, ["pipeline.toml"])
        .set("source.readings.count", total)
        .finish();
    assert_eq!(finished.succeeds().count("events_in"), total);
    assert!(
        whole.read("kept.jsonl") == folder.read("kept.jsonl"),
        "with and without interrupts the output is the same"
    );
}

#[test]
fn a_second_interrupt_stops_what_does_not_drain() {
    let folder = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "stuck"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        [[operator]]
        id = "loop"
        component = "{}"
        config = {{ mode = "loop" }}
        [operator.limits]
        fuel_per_event = {}
        [[sink]]
        id = "out"
        kind = "null"
        "#,
        guest("map").display(),
        i64::MAX
    ));
    folder.write("events.jsonl", numbered(1, 1));
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).piped();
    running.stderr.wait_for("event 0 makes it loop");
    running.interrupt();
    running.stderr.wait_for("draining");
    running.interrupt();
    running.finish().ends_with(130, &["stopped without draining"]);
}

#[test]
fn standard_input_that_never_ends_does_not_hold_an_interrupt_up() {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "listening"
        [[source]]
        id = "events"
        kind = "stdin"
        [[sink]]
        id = "out"
        kind = "stdout"
        "#,
    );
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).piped();
    running.say("{\"n\":1}\n");
    running.stdout.wait_for("{\"n\":1}");
    running.interrupt();
    running.stderr.wait_for("draining");
    let finished = running.finish();
    assert_eq!(finished.succeeds().count("events_out"), 1);
}

#[test]
fn a_reader_who_leaves_ends_the_run_in_peace() {
    let folder = endless();
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).piped();
    running.stdout.wait_for("\"avg\"");
    running.stop_reading();
    let finished = running.finish();
    finished.ends_with(0, &[]);
    assert!(!finished.stderr.contains("error"), "{}", finished.stderr);
}
