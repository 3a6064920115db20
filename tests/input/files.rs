//! Files that are not what they were, or not alone.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_setfl, mknodat};
use rustix::io::ioctl_fionread;

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

/// Opens a pipe to read, before there is a writer.
fn open_pipe(folder: &Folder, name: &str) -> File {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
    let mut options = File::options();
    options.read(true).custom_flags(flags).open(folder.path(name)).unwrap()
}

/// Waits for the first byte in a pipe that was opened before its writer, and leaves it there to be read in the usual way.
fn wait_for_data(pipe: &File) {
    while ioctl_fionread(pipe).unwrap() == 0 {
        std::thread::yield_now();
    }
    fcntl_setfl(pipe, OFlags::empty()).unwrap();
}

#[test]
fn a_log_that_is_cut_while_it_is_read_fails_the_run_after_whole_events() {
    let folder = pipeline("in.jsonl", "pipe");
    let line = |number: u32| format!("{{\"n\":{number},\"padding\":\"{}\"}}\n", "x".repeat(200));
    // More than the queues between source and sink hold.
    folder.write("in.jsonl", (0..400_000).map(line).collect::<String>());
    make_pipe(&folder, "pipe");
    let mut output = BufReader::new(open_pipe(&folder, "pipe"));
    let running = Dirigo::run(&folder, ["pipeline.toml"]).piped();
    wait_for_data(output.get_ref());
    let mut first = String::new();
    output.read_line(&mut first).unwrap();
    File::create(folder.path("in.jsonl")).unwrap();
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

/// A pipeline that reads `from` with a component, and writes to `to`.
fn with_component(from: &str, component: &str, to: &str) -> String {
    format!(
        r#"
        [pipeline]
        name = "special"
        [[source]]
        id = "in"
        kind = "file"
        path = "{from}"
        format = "lines"
        [[operator]]
        id = "o"
        component = "{component}"
        [[sink]]
        id = "out"
        kind = "file"
        path = "{to}"
        "#
    )
}

#[test]
fn pipes_and_devices_are_refused_where_a_file_is_wanted() {
    let folder = Folder::new();
    make_pipe(&folder, "pipe");
    folder.write("in.txt", "1\n");
    for (from, component, said) in [
        ("pipe", "builtin:map", "the source file is a pipe"),
        ("/dev/zero", "builtin:map", "source `in` may not read this path"),
        ("in.txt", "pipe", "the component is a pipe"),
        (
            "in.txt",
            "/dev/zero",
            "the component of operator `o` may not read this path",
        ),
    ] {
        folder.write("pipeline.toml", with_component(from, component, "out.txt"));
        for command in ["check", "run"] {
            let finished = Dirigo::command(&folder, command).args(["pipeline.toml"]).finish();
            finished.ends_with(78, &[said]);
        }
    }
    for path in ["pipe", "/dev/zero"] {
        for command in ["check", "run", "inspect"] {
            let finished = Dirigo::command(&folder, command).args([path]).finish();
            assert_ne!(finished.code(), 0);
            assert_says(&finished.stderr, &["not a regular file"]);
        }
    }
}

#[test]
fn a_sink_does_not_wait_for_the_reader_of_a_pipe() {
    let folder = pipeline("in.jsonl", "pipe");
    folder.write("in.jsonl", "{\"n\":1}\n");
    make_pipe(&folder, "pipe");
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    assert_ne!(finished.code(), 0);
    assert_says(&finished.stderr, &["it is a pipe that no process reads"]);
}

#[test]
fn a_pipe_that_is_asked_for_is_read_to_its_end_and_holds_up_no_neighbour() {
    let folder = pipeline("in.jsonl", "out.jsonl");
    folder.write("in.jsonl", "{\"n\":1}\n");
    make_pipe(&folder, "pipe");
    folder.write(
        "piped.toml",
        r#"
        [pipeline]
        name = "piped"
        [[source]]
        id = "in"
        kind = "file"
        path = "pipe"
        format = "lines"
        special = true
        [[sink]]
        id = "out"
        kind = "stdout"
        "#,
    );
    let mut running = Dirigo::run(&folder, ["pipeline.toml", "piped.toml"]).piped();
    // Waits for the reader.
    let mut pipe = File::options().write(true).open(folder.path("pipe")).unwrap();
    pipe.write_all(b"one\n").unwrap();
    assert_eq!(running.stdout.next().as_deref(), Some("one"));
    pipe.write_all(b"two").unwrap();
    drop(pipe);
    let finished = running.finish();
    finished.succeeds();
    assert_eq!(finished.stdout, "one\ntwo\n");
    assert_eq!(folder.read("out.jsonl"), "{\"n\":1}\n");
}
