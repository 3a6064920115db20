//! Graphs that are no straight line, and several of them in one host.

use crate::support::{Dirigo, Folder, numbered, numbers};

const EVENTS: u64 = 10_000;

fn source(id: &str, path: &str) -> String {
    format!("[[source]]\nid = \"{id}\"\nkind = \"file\"\npath = \"{path}\"\nkey = \"/key\"\n")
}

/// A map that writes `n × scale` into the field `into`.
fn map(id: &str, inputs: &str, scale: f64, into: &str) -> String {
    format!(
        "[[operator]]\nid = \"{id}\"\ncomponent = \"builtin:map\"\ninputs = [{inputs}]\n\
         config = {{ field = \"n\", scale = {scale:?}, into = \"{into}\" }}\n"
    )
}

fn sink(id: &str, inputs: &str) -> String {
    format!(
        "[[sink]]\nid = \"{id}\"\nkind = \"file\"\npath = \"{id}.jsonl\"\norder = \"source\"\ninputs = [{inputs}]\n"
    )
}

fn pipeline<const N: usize>(name: &str, parts: [String; N]) -> String {
    format!("[pipeline]\nname = \"{name}\"\n{}", parts.concat())
}

#[test]
fn each_branch_of_a_fan_out_gets_every_event() {
    let folder = Folder::with_pipeline(&pipeline(
        "fan-out",
        [
            source("events", "events.jsonl"),
            map("left", "\"events\"", 1.0, "left"),
            map("right", "\"events\"", -1.0, "right"),
            sink("plain", "\"events\""),
            sink("lefts", "\"left\""),
            sink("rights", "\"right\""),
        ],
    ));
    folder.write("events.jsonl", numbered(EVENTS, 10));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    assert_eq!(finished.succeeds().count("events_out"), 3 * EVENTS);
    for (name, field) in [("plain.jsonl", "n"), ("lefts.jsonl", "left"), ("rights.jsonl", "right")] {
        let lines = folder.read(name);
        assert!(numbers(&lines).into_iter().eq(0..EVENTS), "{name}");
        assert!(
            lines.lines().all(|line| line.contains(&format!("\"{field}\":"))),
            "{name}"
        );
    }
    assert_eq!(folder.read("plain.jsonl"), folder.read("events.jsonl"));
}

#[test]
fn a_fan_in_gets_the_events_of_all_its_inputs() {
    let folder = Folder::with_pipeline(&pipeline(
        "fan-in",
        [
            source("first", "first.jsonl"),
            source("second", "second.jsonl"),
            map("both", "\"first\", \"second\"", 1.0, "m"),
            sink("out", "\"both\", \"second\""),
        ],
    ));
    folder.write("first.jsonl", numbered(EVENTS, 10));
    folder.write("second.jsonl", numbered(2 * EVENTS, 7));
    let run = |workers| {
        let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(workers).finish();
        assert_eq!(finished.succeeds().operator("both", "events_in"), 3 * EVENTS);
        folder.read("out.jsonl")
    };
    let one = run(1);
    // Twice from the second source, by either way, and once from the first.
    let mut found = numbers(&one);
    found.sort_unstable();
    let expected = (0..2 * EVENTS).flat_map(|n| std::iter::repeat_n(n, if n < EVENTS { 3 } else { 2 }));
    assert!(found.into_iter().eq(expected));
    for workers in [2, 8] {
        assert!(
            run(workers) == one,
            "the output at {workers} workers differs from that at one"
        );
    }
}

#[test]
fn an_event_passes_a_diamond_by_both_ways() {
    let folder = Folder::with_pipeline(&pipeline(
        "diamond",
        [
            source("events", "events.jsonl"),
            map("top", "\"events\"", 1.0, "top"),
            map("upper", "\"top\"", 2.0, "upper"),
            map("lower", "\"top\"", 3.0, "lower"),
            map("bottom", "\"lower\", \"upper\", \"top\"", 4.0, "bottom"),
            sink("out", "\"bottom\""),
        ],
    ));
    folder.write("events.jsonl", numbered(EVENTS, 10));
    let run = |workers| {
        let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(workers).finish();
        assert_eq!(finished.succeeds().count("events_out"), 3 * EVENTS);
        folder.read("out.jsonl")
    };
    let one = run(1);
    assert!(
        numbers(&one).into_iter().eq((0..EVENTS).flat_map(|n| [n; 3])),
        "the order of the source"
    );
    for way in ["\"upper\"", "\"lower\""] {
        assert_eq!(
            one.lines().filter(|line| line.contains(way)).count() as u64,
            EVENTS,
            "{way}"
        );
    }
    for workers in [2, 8] {
        assert!(
            run(workers) == one,
            "the output at {workers} workers differs from that at one"
        );
    }
}

#[test]
fn pipelines_of_several_tenants_run_side_by_side_and_keep_their_books_apart() {
    let folder = Folder::new();
    for (name, tenant, events) in [("a", "acme", EVENTS), ("b", "acme", 10), ("c", "globex", 2 * EVENTS)] {
        folder.write(&format!("{name}.jsonl"), numbered(events, 10));
        let text = pipeline(
            name,
            [
                format!("tenant = \"{tenant}\"\n"),
                source("events", &format!("{name}.jsonl")),
                map(&format!("map-{name}"), "\"events\"", 1.0, "m"),
                sink(&format!("out-{name}"), &format!("\"map-{name}\"")),
            ],
        );
        folder.write(&format!("{name}.toml"), text);
    }
    let finished = Dirigo::run(&folder, ["a.toml", "b.toml", "c.toml"]).finish();
    let summary = finished.succeeds();
    assert_eq!(summary.count("events_in"), 3 * EVENTS + 10);
    for (name, tenant, events) in [("a", "acme", EVENTS), ("b", "acme", 10), ("c", "globex", 2 * EVENTS)] {
        assert_eq!(summary.pipeline(name)["tenant"], tenant);
        assert_eq!(summary.pipeline(name)["events_out"], events);
        assert!(
            numbers(&folder.read(&format!("out-{name}.jsonl")))
                .into_iter()
                .eq(0..events),
            "{name}"
        );
    }
}

#[test]
fn two_pipelines_of_one_name_are_refused() {
    let folder = Folder::new();
    folder.write("events.jsonl", numbered(1, 1));
    let text = pipeline("twin", [source("events", "events.jsonl"), sink("out", "\"events\"")]);
    folder.write("a.toml", &text);
    folder.write("b.toml", &text);
    for subcommand in ["check", "run"] {
        Dirigo::command(&folder, subcommand)
            .args(["a.toml", "b.toml"])
            .finish()
            .ends_with(78, &["two pipelines are named `twin`", "b.toml"]);
    }
}

/// Asserts that the second of two pipelines is refused next to the first one, in these words, that each alone is not, and that
/// the first one runs.
fn are_refused_together(first: &str, second: &str, words: &[&str]) {
    let folder = Folder::new();
    folder.write("events.jsonl", numbered(10, 1));
    folder.write("read.jsonl", numbered(10, 1));
    folder.write("a.toml", first);
    folder.write("b.toml", second);
    for file in ["a.toml", "b.toml"] {
        Dirigo::command(&folder, "check")
            .args([file])
            .finish()
            .ends_with(0, &["valid"]);
    }
    let both = ["a.toml", "b.toml"];
    Dirigo::command(&folder, "check")
        .args(both)
        .finish()
        .ends_with(78, words);
    let finished = Dirigo::run(&folder, both).finish();
    finished.ends_with(78, words);
    let summary = finished.summary();
    assert_eq!(summary.json()["refused"][0]["name"], "second");
    assert_eq!(summary.json()["pipelines"].as_array().map(Vec::len), Some(1));
    assert_eq!(summary.pipeline("first")["outcome"], "completed");
}

fn reading_and_writing(name: &str, from: &str, to: &str) -> String {
    format!(
        "[pipeline]\nname = \"{name}\"\n{}[[sink]]\nid = \"kept\"\nkind = \"file\"\npath = \"{to}\"\n",
        source("events", from)
    )
}

#[test]
fn two_pipelines_may_not_write_one_file() {
    are_refused_together(
        &reading_and_writing("first", "events.jsonl", "shared.jsonl"),
        &reading_and_writing("second", "events.jsonl", "./shared.jsonl"),
        &[
            "sink `kept` of pipeline `first` and sink `kept` of pipeline `second` use the same file",
            "shared.jsonl",
            "b.toml",
        ],
    );
}

#[test]
fn a_pipeline_may_not_write_what_another_one_reads() {
    are_refused_together(
        &reading_and_writing("first", "read.jsonl", "out.jsonl"),
        &reading_and_writing("second", "events.jsonl", "read.jsonl"),
        &["source `events` of pipeline `first` and sink `kept` of pipeline `second` use the same file"],
    );
}

#[test]
fn a_pipeline_may_not_write_where_another_ones_dead_letters_go_by_default() {
    are_refused_together(
        &reading_and_writing("first", "events.jsonl", "out.jsonl"),
        &reading_and_writing("second", "events.jsonl", "first.dead.jsonl"),
        &[
            "the dead letters of pipeline `first` and sink `kept` of pipeline `second` use the same file",
            "[dead_letters]",
        ],
    );
}

#[test]
fn several_pipelines_may_write_to_one_device() {
    let folder = Folder::new();
    folder.write("events.jsonl", numbered(10, 1));
    for (file, name) in [("a.toml", "first"), ("b.toml", "second")] {
        folder.write(file, reading_and_writing(name, "events.jsonl", "/dev/null"));
    }
    let finished = Dirigo::run(&folder, ["a.toml", "b.toml"]).finish();
    assert_eq!(finished.succeeds().count("events_out"), 20);
}
