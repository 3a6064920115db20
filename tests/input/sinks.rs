//! Places that cannot be written to.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;

use rustix::fs::{CWD, FileType, Mode};

use crate::support::{Dirigo, Folder, assert_says, numbered};

/// Events through a map that refuses every tenth, into `sink`; the dead letters go to `dead`.
fn pipeline(sink: &str, dead: &str) -> Folder {
    let folder = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "p"
        [dead_letters]
        path = "{dead}"
        [[source]]
        id = "in"
        kind = "file"
        path = "events.jsonl"
        [[operator]]
        id = "map"
        component = "builtin:map"
        config = {{ field = "value" }}
        [[sink]]
        id = "out"
        kind = "file"
        path = "{sink}"
        "#
    ));
    folder.write("events.jsonl", numbered(1_000, 1) + "{}\n");
    fs::create_dir(folder.path("directory")).unwrap();
    folder
}

fn run(folder: &Folder) -> crate::support::Finished {
    Dirigo::run(folder, ["pipeline.toml"]).finish()
}

#[test]
fn a_directory_cannot_be_a_sink() {
    let folder = pipeline("directory", "dead.jsonl");
    run(&folder).ends_with(78, &["the sink file is a directory", "pipeline.toml:"]);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = pipeline("events.jsonl/out.jsonl", "dead.jsonl");
    run(&folder).ends_with(1, &["sink `out`", "events.jsonl/out.jsonl"]);
}

#[test]
fn a_full_disk_fails_the_run_and_names_the_sink() {
    let folder = pipeline("/dev/full", "dead.jsonl");
    let finished = run(&folder);
    finished.ends_with(
        1,
        &["pipeline `p`", "sink `out`", "/dev/full", "No space left on device"],
    );
    let summary = finished.summary().pipeline("p");
    assert_eq!(summary["outcome"], "failed");
    assert_says(
        summary["error"].as_str().unwrap(),
        &["sink `out`", "No space left on device"],
    );
}

#[test]
fn dead_letters_that_cannot_be_written_fail_the_run() {
    let folder = pipeline("out.jsonl", "directory");
    run(&folder).ends_with(78, &["the dead letters file is a directory", "pipeline.toml:"]);
    let folder = pipeline("out.jsonl", "events.jsonl/dead.jsonl");
    run(&folder).ends_with(1, &["events.jsonl/dead.jsonl"]);
}

#[test]
fn dead_letters_whose_folder_goes_away_meanwhile_fail_the_run() {
    let folder = pipeline("out.jsonl", "gone/dead.jsonl");
    std::os::unix::fs::symlink("nowhere", folder.path("gone")).unwrap();
    run(&folder).ends_with(1, &["dead letters", "gone/dead.jsonl"]);
}

#[test]
fn a_pipe_for_the_dead_letters_is_left_where_it_is() {
    let folder = pipeline("out.jsonl", "dead.fifo");
    let context = folder.path("dead.fifo");
    rustix::fs::mknodat(CWD, &context, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let reader = std::thread::spawn({
        let context = context.clone();
        move || fs::read_to_string(context).unwrap()
    });
    let finished = run(&folder);
    assert!(
        fs::metadata(&context).unwrap().file_type().is_fifo(),
        "it is still there"
    );
    let dead_letters = reader.join().unwrap();
    assert_eq!(
        dead_letters.lines().count() as u64,
        finished.succeeds().count("dead_letters")
    );
}

#[test]
fn dead_letters_that_would_go_to_a_file_of_the_pipeline_are_refused_and_leave_it_whole() {
    for (source, sink, user) in [
        ("./p.dead.jsonl", "out.jsonl", "source `in`"),
        ("events.jsonl", "./p.dead.jsonl", "sink `out`"),
    ] {
        let folder = Folder::with_pipeline(&format!(
            "[pipeline]\nname = \"p\"\n[[source]]\nid = \"in\"\nkind = \"file\"\npath = \"{source}\"\n\
             [[sink]]\nid = \"out\"\nkind = \"file\"\npath = \"{sink}\"\n"
        ));
        folder.write("events.jsonl", "{}\n");
        folder.write("p.dead.jsonl", "{\"n\":1}\n");
        for subcommand in ["check", "run"] {
            Dirigo::command(&folder, subcommand)
                .args(["pipeline.toml"])
                .finish()
                .ends_with(78, &["dead letters", "p.dead.jsonl", user, "[dead_letters]"]);
        }
        assert_eq!(folder.read("p.dead.jsonl"), "{\"n\":1}\n");
    }
}

#[test]
fn a_source_that_is_its_own_sink_is_refused_or_left_whole() {
    let folder = pipeline("events.jsonl", "dead.jsonl");
    let before = folder.read("events.jsonl");
    let finished = run(&folder);
    assert_ne!(finished.code(), 0, "{}", finished.stderr);
    assert_eq!(folder.read("events.jsonl"), before);
}

#[test]
fn a_hard_link_to_the_source_is_no_sink() {
    let folder = pipeline("linked.jsonl", "dead.jsonl");
    let before = folder.read("events.jsonl");
    fs::hard_link(folder.path("events.jsonl"), folder.path("linked.jsonl")).unwrap();
    for subcommand in ["check", "run"] {
        Dirigo::command(&folder, subcommand)
            .args(["pipeline.toml"])
            .finish()
            .ends_with(78, &["source `in` and sink `out` use the same file"]);
        assert_eq!(folder.read("events.jsonl"), before);
    }
}

#[test]
fn a_source_that_cannot_be_opened_leaves_the_sinks_as_they_were() {
    let folder = pipeline("out.jsonl", "dead.jsonl");
    run(&folder).succeeds();
    let out = folder.read("out.jsonl");
    fs::remove_file(folder.path("events.jsonl")).unwrap();
    fs::create_dir(folder.path("events.jsonl")).unwrap();
    assert_ne!(run(&folder).code(), 0);
    assert_eq!(folder.read("out.jsonl"), out);
}

#[test]
fn a_summary_that_cannot_be_written_is_found_before_the_work() {
    let folder = pipeline("out.jsonl", "dead.jsonl");
    let finished = Dirigo::command(&folder, "run")
        .args(["pipeline.toml", "--summary-json", "events.jsonl/summary.json"])
        .finish();
    finished.ends_with(78, &["the summary cannot be written there"]);
    assert!(!folder.path("out.jsonl").exists());
}
