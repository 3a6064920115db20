//! Sinks that show only what is committed: folders of parts.

use std::fs;

use crate::support::{Dirigo, Folder, event, numbered};

fn pipeline(sink: &str) -> Folder {
    let folder = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "p"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        [[sink]]
        id = "out"
        kind = "file"
        order = "source"
        commit = "epoch"
        {sink}
        "#
    ));
    folder.write("events.jsonl", numbered(1_000, 7));
    folder
}

/// The names in a folder, and what is in the files behind those that readers see.
fn parts(folder: &Folder) -> (Vec<String>, String) {
    let mut names: Vec<String> = fs::read_dir(folder.path("out"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let seen = names.iter().filter(|name| !name.starts_with('.'));
    let text = seen.map(|name| folder.read(&format!("out/{name}"))).collect();
    (names, text)
}

#[test]
fn a_run_leaves_whole_parts_and_starts_anew_without_state() {
    let folder = pipeline("path = \"out/p-*.jsonl\"");
    for _ in 0..2 {
        Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
        let (names, text) = parts(&folder);
        assert!(names.iter().all(|name| name.starts_with("p-00000000")), "{names:?}");
        assert!(text == numbered(1_000, 7));
    }
}

#[test]
fn a_run_that_goes_on_adds_parts_and_leaves_the_others_alone() {
    let folder = pipeline("path = \"out/*.jsonl\"\nroll = { size = \"1GiB\" }");
    let run = || Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    run().succeeds();
    let (first, _) = parts(&folder);
    fs::write(folder.path("out").join(&first[0]), "consumed\n").unwrap();
    folder.append("events.jsonl", &event(7, "k"));
    run().succeeds();
    let (names, text) = parts(&folder);
    assert_eq!(
        (first.len(), names.len()),
        (1, 2),
        "what is open at the end of a run is closed: {names:?}"
    );
    assert!(text == format!("consumed\n{}", event(7, "k")));
    run().succeeds();
    assert_eq!(parts(&folder).0, names, "nothing new makes no part");
}

#[test]
fn a_folder_that_holds_anything_else_is_refused_and_left_alone() {
    let folder = pipeline("path = \"out/*.jsonl\"");
    fs::create_dir(folder.path("out")).unwrap();
    folder.write("out/000000001.jsonl", "x");
    folder.write("out/thesis.tex", "years of work");
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    finished.ends_with(
        1,
        &[
            "sink `out`",
            "cannot write parts into",
            "`thesis.tex`",
            "folder of their own",
        ],
    );
    assert_eq!(parts(&folder).0.len(), 2);
}
