//! Files that are not what they were, or not alone.

use std::io::{BufRead as _, BufReader, Read as _};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::{Dirigo, Folder, assert_says};

/// A pipeline from one path to another, without operators.
fn pipeline(from: &str, to: &str) -> Folder {
    Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "files"
        [dead_letters]
        path = "dead.jsonl"
        [[source]]
        id = "in"
        kind = "file"
        path = "{from}"
        [[sink]]
        id = "out"
        kind = "file"
        path = "{to}"
        order = "source"
        "#
    ))
}

pub(crate) fn make_pipe(folder: &Folder, name: &str) {
    mknodat(CWD, folder.path(name), FileType::Fifo, Mode::RWXU, 0).unwrap();
}

#[test]
fn a_log_that_is_cut_while_it_is_read_fails_the_run_after_whole_events() {
    let folder = pipeline("in.jsonl", "pipe");
    let line = |number: u32| format!("{{\"n\":{number},\"padding\":\"{}\"}}\n", "x".repeat(200));
    // More than the queues between source and sink hold.
    folder.write("in.jsonl", (0..400_000).map(line).collect::<String>());
    make_pipe(&folder, "pipe");
    let running = Dirigo::run(&folder, ["pipeline.toml"]).piped();
    let mut output = BufReader::new(std::fs::File::open(folder.path("pipe")).unwrap());
    let mut first = String::new();
    output.read_line(&mut first).unwrap();
    std::fs::File::create(folder.path("in.jsonl")).unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    let finished = running.finish();
    finished.ends_with(1, &["in.jsonl", "it was cut to 0 bytes while it was read"]);
    let lines: Vec<String> = (first + &rest).lines().map(|line| format!("{line}\n")).collect();
    assert!(lines.len() < 400_000, "{}", lines.len());
    for (number, text) in (0..).zip(lines) {
        assert_eq!(text, line(number));
    }
}

#[test]
fn a_line_that_is_still_being_written_waits_for_the_next_run_with_state() {
    let folder = pipeline("in.jsonl", "out.jsonl");
    folder.write("in.jsonl", "{\"n\":1}\n{\"n\":");
    let run = || Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    let first = run();
    assert_eq!(first.succeeds().count("events_in"), 1);
    assert_says(
        &first.stderr,
        &["in.jsonl`, 5 bytes from line 2 on, waits for its end: it has no line end yet"],
    );
    folder.append("in.jsonl", "2}\n");
    run().succeeds();
    assert_eq!(folder.read("out.jsonl"), "{\"n\":1}\n{\"n\":2}\n");
    assert!(!folder.path("dead.jsonl").exists());
}

#[test]
fn what_lies_next_to_the_files_of_a_folder_does_not_end_the_run() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = pipeline("parts/*.csv", "out.jsonl");
    std::fs::create_dir(folder.path("parts")).unwrap();
    folder.write("parts/a.csv", "id,v\n1,10\n");
    folder.write("parts/b.csv", "");
    folder.write("parts/c.csv", "id,v\n3,30\n");
    let odd = std::ffi::OsStr::from_bytes(b"caf\xe9.txt");
    std::fs::write(folder.path("parts").join(odd), "no part").unwrap();
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    assert_eq!(finished.succeeds().count("events_in"), 2);
    assert_eq!(folder.read("out.jsonl"), "{\"id\":1,\"v\":10}\n{\"id\":3,\"v\":30}\n");
}
