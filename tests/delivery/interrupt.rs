//! Ctrl-C: the first drains, the second stops.

use serde_json::Value;

use crate::support::{Dirigo, Folder, Running, guest, numbered, numbers};

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

/// A pipeline whose first event never ends, and one without end that means well.
fn next_to_a_loop() -> Folder {
    let folder = endless();
    folder.write(
        "stuck.toml",
        format!(
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
            config = {{ mode = "loop", every = 3 }}
            [operator.limits]
            fuel_per_event = {}
            [[sink]]
            id = "out"
            kind = "file"
            path = "stuck.out.jsonl"
            "#,
            guest("map").display(),
            i64::MAX
        ),
    );
    folder.write("events.jsonl", numbered(3, 1));
    folder
}

/// Starts both, and waits until one flows and the other loops.
fn start(dirigo: Dirigo) -> Running {
    let mut running = dirigo.piped();
    running.stderr.wait_for("event 0 makes it loop");
    running.stdout.wait_for("\"avg\"");
    running
}

const WAITS: &str = "waiting for pipeline `stuck`: operator `loop` (3 events queued)";
const DRAINED: &str = "pipeline `endless` has drained";

#[test]
fn a_second_interrupt_stops_what_does_not_drain_and_leaves_a_summary_of_all() {
    let folder = next_to_a_loop();
    let mut running = start(Dirigo::run(&folder, ["pipeline.toml", "stuck.toml"]));
    running.interrupt();
    running.stderr.wait_for("draining");
    running.stderr.wait_for(DRAINED);
    running.stderr.wait_for(WAITS);
    running.interrupt();
    let finished = running.finish();
    let lost = "pipeline `stuck`: stopped before it had drained; the 3 events that were read and not finished are lost";
    finished.ends_with(130, &["stopping without draining", lost]);
    let (good, stuck) = (
        finished.summary().pipeline("endless"),
        finished.summary().pipeline("stuck"),
    );
    assert_eq!(
        (&good["outcome"], &stuck["outcome"]),
        (&"stopped".into(), &"stopped".into())
    );
    assert_eq!((&good["unfinished"], &stuck["unfinished"]), (&Value::Null, &3.into()));
    let taken: u64 = good["sinks"]["kept"].as_u64().unwrap();
    assert_eq!(
        folder.read("kept.jsonl").lines().count() as u64,
        taken,
        "the other one has lost nothing"
    );
}

#[test]
fn what_does_not_drain_after_sigterm_is_stopped_in_time_and_the_next_run_takes_it_up() {
    let folder = next_to_a_loop();
    let dirigo = Dirigo::run(&folder, ["pipeline.toml", "stuck.toml"]).with_state();
    let running = start(dirigo.args(["--drain-timeout", "3s"]));
    running.terminate();
    let finished = running.finish();
    let kept = "stopped before it had drained; the next run takes up the 3 events that were read and not finished";
    finished.ends_with(143, &["the drain has taken 3s (`--drain-timeout`)", kept]);
    assert_eq!(finished.summary().pipeline("stuck")["unfinished"], 3);

    let next = Dirigo::run(&folder, ["stuck.toml"]).with_state();
    let next = next.set("operator.loop.limits.fuel_per_event", 1_000_000).finish();
    assert_eq!(
        next.succeeds().operator("loop", "dead_letters"),
        1,
        "the one that loops"
    );
    assert_eq!(numbers(&folder.read("stuck.out.jsonl")), [1, 2]);
}

#[test]
fn a_sink_that_blocks_holds_up_neither_the_end_of_a_run_nor_its_summary() {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "unread"
        [[source]]
        id = "readings"
        kind = "generator"
        [[sink]]
        id = "shown"
        kind = "stdout"
        "#,
    );
    let brief = ["--drain-timeout", "100ms", "--progress-interval", "100ms"];
    let (mut running, _nobody_reads) = Dirigo::run(&folder, ["pipeline.toml"]).args(brief).with_full_stdout();
    running.stderr.wait_for("slowed by `shown`");
    running.terminate();
    running
        .stderr
        .wait_for("not drained: pipeline `unread`: sink `shown` (");
    let finished = running.finish();
    finished.ends_with(143, &["pipeline `unread`: stopped before it had drained"]);
    let pipeline = finished.summary().pipeline("unread");
    assert_eq!(pipeline["outcome"], "stopped");
    assert!(pipeline["unfinished"].as_u64() > Some(0));
}

#[test]
fn a_summary_that_cannot_be_written_is_found_before_anything_runs() {
    let folder = endless();
    let run = || Dirigo::command(&folder, "run").args(["pipeline.toml", "--summary-json"]);
    let nowhere = run().args(["not/there.json"]).finish();
    nowhere.ends_with(78, &["--summary-json not/there.json", "No such file or directory"]);
    run()
        .args(["."])
        .finish()
        .ends_with(78, &["--summary-json .", "directory"]);
    assert!(!folder.path("kept.jsonl").exists());
    // One that is fine is not made before its time.
    let broken = run().args(["summary.json", "--tenants", "nowhere.toml"]);
    broken.finish().ends_with(78, &["nowhere.toml"]);
    assert!(!folder.path("summary.json").exists());
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

#[test]
fn programs_are_told_how_a_run_goes_in_lines_of_json() {
    let folder = endless();
    let dirigo = Dirigo::run(&folder, ["pipeline.toml"]).args(["--progress", "json", "--progress-interval", "100ms"]);
    let mut running = dirigo.piped();
    running.stdout.wait_for("\"avg\"");
    let line = loop {
        let line = running.stderr.wait_for("{\"progress\":");
        let progress: Value = serde_json::from_str(&line).unwrap();
        // A busy machine may look before anything was written.
        if progress["progress"]["pipelines"][0]["events_out"].as_u64() > Some(0) {
            break progress["progress"].clone();
        }
    };
    running.interrupt();
    running.finish().succeeds();
    let pipeline = &line["pipelines"][0];
    assert_eq!(
        (&pipeline["name"], &pipeline["state"]),
        (&"endless".into(), &"running".into())
    );
    assert!(
        line["elapsed_s"].as_f64() > Some(0.0) && pipeline["events_in"].as_u64() > Some(0),
        "{line}"
    );
    assert_eq!(
        (&pipeline["done"], &pipeline["dead_letters"]),
        (&Value::Null, &0.into()),
        "it has no end"
    );
    assert_eq!(pipeline["operators"][1]["id"], "averages");
    assert_eq!(pipeline["sinks"][0]["id"], "shown");
}

#[test]
fn people_are_told_how_a_run_goes_unless_they_want_to_hear_nothing() {
    let folder = endless();
    let interval = ["--progress-interval", "100ms"];
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).args(interval).piped();
    let line = running.stderr.wait_for("endless: ");
    assert!(line.contains(" events in, ") && line.contains(" events/s"), "{line}");
    running.interrupt();
    running.finish().succeeds();

    let silent = Dirigo::run(&folder, ["pipeline.toml"])
        .args(interval)
        .args(["--progress", "off"]);
    let mut running = silent.piped();
    running.stdout.wait_for("\"avg\"");
    running.interrupt();
    let finished = running.finish();
    finished.succeeds();
    let has_progress = finished.stderr.lines().any(|line| line.starts_with("endless: "));
    assert!(!has_progress, "{}", finished.stderr);
}

#[test]
fn a_summary_adds_up_and_says_where_everything_is() {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "sums"
        [[source]]
        id = "in"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        [[operator]]
        id = "double"
        component = "builtin:map"
        config = { field = "value", scale = 2.0 }
        [[operator]]
        id = "large"
        component = "builtin:filter"
        config = { field = "value", threshold = 10.0 }
        [[operator]]
        id = "averages"
        component = "builtin:reduce"
        inputs = ["double"]
        window = { count = 4 }
        config = { field = "value", aggregate = "avg" }
        [[sink]]
        id = "all"
        kind = "file"
        path = "all.jsonl"
        inputs = ["large", "averages"]
        "#,
    );
    folder.write(
        "events.jsonl",
        numbered(19, 2) + "no JSON\n{\"key\":\"k-0\",\"value\":\"text\"}\n",
    );
    let hint = "sums: what lies in open windows ends with this run: `--state DIR` keeps it";
    let without_state = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    without_state.succeeds();
    assert!(without_state.stderr.contains(hint), "{}", without_state.stderr);
    std::fs::remove_file(folder.path("all.jsonl")).unwrap();
    for _ in 0..2 {
        let finished = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
        assert!(!finished.stderr.contains(hint), "{}", finished.stderr);
        let open = &finished.succeeds().json()["operators"][2]["open_windows"];
        // Ten events have one key, nine the other; what a run left open is still open in the next.
        assert_eq!((&open["windows"], &open["events"]), (&2.into(), &3.into()));
        if finished.stderr.contains("nothing new") {
            continue;
        }
        let place = folder.path("all.jsonl");
        let written = format!(
            "sums/all: 18 written to {}",
            place.file_name().unwrap().to_string_lossy()
        );
        let lines = [
            "sums/in: 21 read = 20 events + 1 dead letter",
            "sums/double: 20 in = 19 passed + 1 dead letter; 19 out, each to `large` and `averages`",
            "sums/large: 19 in = 14 passed + 5 filtered; 14 out",
            "sums/averages: 19 in = 19 taken into windows; 4 out; 3 events lie in 2 windows that are still open",
            &written,
        ];
        for line in lines {
            assert!(
                finished.stderr.contains(line),
                "{line:?} is not said in\n{}",
                finished.stderr
            );
        }
    }
}
