//! Sources that read the files of a folder.

use std::fs;

use crate::support::{Dirigo, Folder, dead_letters, event, numbered};

fn pipeline() -> Folder {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "p"
        [[source]]
        id = "in"
        kind = "file"
        path = "logs/*.jsonl"
        key = "/key"
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        order = "source"
        "#,
    );
    fs::create_dir(folder.path("logs")).unwrap();
    folder
}

fn events(range: std::ops::Range<u64>) -> String {
    range.map(|n| event(n, "k")).collect()
}

#[test]
fn files_are_read_by_their_names_and_new_ones_by_the_next_run() {
    let folder = pipeline();
    folder.write("logs/2.jsonl", events(100..200));
    folder.write("logs/1.jsonl", events(0..100));
    let run = || Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    assert_eq!(run().succeeds().count("events_in"), 200);
    folder.append("logs/2.jsonl", &events(200..201));
    folder.write("logs/3.jsonl", events(201..300));
    assert_eq!(run().succeeds().count("events_in"), 100);
    assert!(folder.read("out.jsonl") == events(0..300));
    assert_eq!(run().succeeds().count("events_in"), 0);
}

#[test]
fn a_file_that_would_be_skipped_fails_the_run_and_leaves_the_sink_alone() {
    let folder = pipeline();
    folder.write("logs/2.jsonl", events(0..10));
    let run = || Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    run().succeeds();
    folder.write("logs/1.jsonl", events(10..20));
    run().ends_with(
        1,
        &[
            "source `in`",
            "`1.jsonl` is new there or has grown, and would be skipped",
        ],
    );
    assert!(folder.read("out.jsonl") == events(0..10));
}

#[test]
fn a_dead_letter_says_which_line_of_which_file_it_was() {
    let folder = pipeline();
    folder.write("logs/1.jsonl", events(0..10));
    folder.write("logs/2.jsonl", events(0..1) + "{}\n");
    Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
    let dead_letters = dead_letters(&folder, "p.dead.jsonl");
    assert_eq!((dead_letters.len(), dead_letters[0].event.position), (1, 12));
    assert!(
        dead_letters[0].reason.starts_with("line 2 of `2.jsonl`: "),
        "{}",
        dead_letters[0].reason
    );
}

#[test]
fn the_parts_of_a_sink_are_a_source_by_the_same_path() {
    let sink = r#"kind = "file"
        path = "parts/*.jsonl.zst"
        commit = "epoch""#;
    let pipeline = |name, source: &str, sink: &str| {
        format!(
            "[pipeline]\nname = \"{name}\"\n[[source]]\nid = \"in\"\nkind = \"file\"\npath = \"{source}\"\n\
             [[sink]]\nid = \"out\"\norder = \"source\"\n{sink}\n"
        )
    };
    let folder = Folder::with_pipeline(&pipeline("first", "events.jsonl", sink));
    folder.write("events.jsonl", numbered(1_000, 3));
    let second = "kind = \"file\"\npath = \"out.jsonl\"";
    folder.write("second.toml", pipeline("second", "parts/*.jsonl.zst", second));
    for file in ["pipeline.toml", "second.toml"] {
        Dirigo::run(&folder, [file]).with_state().finish().succeeds();
    }
    assert!(folder.read("out.jsonl") == numbered(1_000, 3));
}
