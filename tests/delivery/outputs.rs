//! Files that are there when a run begins: what the pipeline did not write stays as it is.

use std::fs;

use crate::support::{Dirigo, Folder, dead_letters, numbered};

const FOREIGN: &str = "{\"kept\":\"since last year\"}\n";

/// Events that are passed on into `out.jsonl`, where `sink` says more of it.
fn pipeline(sink: &str) -> Folder {
    let folder = Folder::with_pipeline(&text("p", sink));
    folder.write("events.jsonl", numbered(3, 1));
    folder
}

fn text(name: &str, sink: &str) -> String {
    format!(
        "[pipeline]\nname = \"{name}\"\n[dead_letters]\npath = \"{name}-dead.jsonl\"\n\
         [[source]]\nid = \"in\"\nkind = \"file\"\npath = \"events.jsonl\"\n\
         [[operator]]\nid = \"map\"\ncomponent = \"builtin:map\"\nconfig = {{ field = \"n\" }}\n\
         [[sink]]\nid = \"out\"\nkind = \"file\"\npath = \"out.jsonl\"\norder = \"source\"\n{sink}"
    )
}

fn run(folder: &Folder) -> Dirigo {
    Dirigo::run(folder, ["pipeline.toml"])
}

fn check(folder: &Folder) -> Dirigo {
    Dirigo::command(folder, "check").args(["pipeline.toml"])
}

#[test]
fn a_file_of_another_origin_is_refused_and_left_whole() {
    let folder = pipeline("");
    folder.write("out.jsonl", FOREIGN);
    let words = ["sink `out`", "`out.jsonl` is there, with 27 bytes"];
    let ways_out = ["move or remove it", "\"append\"", "\"overwrite\""];
    check(&folder)
        .finish()
        .ends_with(0, &["warning: a run without `--state` would be refused"]);
    check(&folder).args(["--state", "state"]).finish().ends_with(78, &words);
    for run in [
        run(&folder),
        run(&folder).with_state(),
        run(&folder).with_state().args(["--fresh"]),
    ] {
        let finished = run.finish();
        finished.ends_with(1, &words);
        finished.ends_with(1, &ways_out);
        assert_eq!(folder.read("out.jsonl"), FOREIGN);
    }
    folder.write("out.jsonl", "");
    check(&folder)
        .finish()
        .ends_with(0, &["sink `out`: begins `out.jsonl`"]);
    run(&folder).finish().succeeds();
}

#[test]
fn a_run_without_state_replaces_what_one_before_it_wrote() {
    let folder = pipeline("");
    run(&folder).finish().succeeds();
    let first = folder.read("out.jsonl");
    check(&folder).finish().ends_with(
        0,
        &["replaces `out.jsonl`", "which an earlier run of this pipeline wrote"],
    );
    run(&folder).finish().succeeds();
    assert_eq!(folder.read("out.jsonl"), first);

    folder.append("out.jsonl", "a note\n");
    run(&folder)
        .finish()
        .ends_with(1, &["it was changed after this pipeline had written it"]);
    assert_eq!(folder.read("out.jsonl"), first + "a note\n");
}

#[test]
fn a_run_that_fails_before_it_writes_anything_leaves_the_output_of_the_run_before() {
    for sink in ["", "if_exists = \"overwrite\"\n"] {
        let folder = pipeline(sink);
        run(&folder).finish().succeeds();
        let before = folder.read("out.jsonl");
        assert_eq!(before.lines().count(), 3);
        let refused = "all 3 events failed";
        folder.write("events.jsonl", "[]\n[]\n[]\n");
        run(&folder).finish().ends_with(1, &[refused]);
        assert_eq!(folder.read("out.jsonl"), before, "events that all failed");
        fs::remove_file(folder.path("p-dead.jsonl")).unwrap();
        folder.write("events.jsonl", "");
        run(&folder).finish().succeeds();
        assert_eq!(
            folder.read("out.jsonl"),
            "",
            "a run that had nothing to read, and came to its end"
        );
    }
}

#[test]
fn what_was_edited_without_growing_is_not_replaced() {
    let folder = pipeline("");
    folder.write("events.jsonl", numbered(20_000, 1));
    run(&folder).finish().succeeds();
    let text = folder.read("out.jsonl");
    assert!(text.len() > 500_000, "the change is far from either end");
    let edited = text.replacen("\"n\":10000.0,", "\"n\":99999.0,", 1);
    assert!(edited != text && edited.len() == text.len());
    folder.write("out.jsonl", &edited);
    run(&folder).finish().ends_with(1, &["it was changed"]);
    assert!(folder.read("out.jsonl") == edited);
}

#[test]
fn the_output_of_another_pipeline_is_refused() {
    let folder = pipeline("");
    run(&folder).finish().succeeds();
    let text_of_p = folder.read("out.jsonl");
    folder.write("pipeline.toml", text("q", ""));
    run(&folder).finish().ends_with(1, &["pipeline `p` wrote it"]);
    assert_eq!(folder.read("out.jsonl"), text_of_p);
}

#[test]
fn what_was_committed_outlives_a_run_that_forgets_the_state() {
    let folder = pipeline("");
    run(&folder).with_state().finish().succeeds();
    let committed = folder.read("out.jsonl");
    run(&folder)
        .finish()
        .ends_with(1, &["a run with `--state` wrote it", "give that option again"]);
    assert_eq!(folder.read("out.jsonl"), committed);
    check(&folder)
        .args(["--state", "state"])
        .finish()
        .ends_with(0, &["goes on where the last run"]);
    folder.append("events.jsonl", &numbered(1, 1));
    run(&folder).with_state().finish().succeeds();
    assert_eq!(folder.read("out.jsonl").lines().count(), 4);
}

#[test]
fn check_refuses_what_a_run_with_this_state_would_refuse() {
    let folder = pipeline("");
    run(&folder).with_state().finish().succeeds();
    let sound = || {
        let checked = check(&folder).args(["--state", "state"]).finish();
        checked.ends_with(0, &["the pipeline is valid"]);
    };
    let refused = |words: &[&str]| {
        let state = |folder: &Folder| {
            let files = fs::read_dir(folder.path("state/p")).unwrap();
            let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
            files.sort();
            files
                .into_iter()
                .map(|file| (fs::read(&file).unwrap(), file))
                .collect::<Vec<_>>()
        };
        let before = state(&folder);
        let checked = check(&folder).args(["--state", "state"]).finish();
        checked.ends_with(78, words);
        assert!(!checked.stderr.contains("is valid"), "{}", checked.stderr);
        assert!(state(&folder) == before, "nothing is touched");
        let code = run(&folder).with_state().finish().code();
        assert!([1, 78].contains(&code), "{code}");
    };
    sound();
    let (events, written) = (folder.read("events.jsonl"), folder.read("out.jsonl"));

    fs::remove_file(folder.path("out.jsonl")).unwrap();
    refused(&["sink `out`", "`out.jsonl`", "pipeline.toml:16:8"]);
    assert!(!folder.path("out.jsonl").exists());
    folder.write("out.jsonl", "short");
    refused(&[
        "cannot resume writing `out.jsonl`: it has 5 bytes",
        "pipeline.toml:16:8",
    ]);
    assert_eq!(folder.read("out.jsonl"), "short");
    folder.write("out.jsonl", &written);
    sound();

    folder.write("events.jsonl", &events[..events.len() / 2]);
    refused(&["source `in`", "`events.jsonl`", "pipeline.toml:8:8"]);
    folder.write("events.jsonl", events.replace('0', "9"));
    refused(&["source `in`", "`events.jsonl`", "pipeline.toml:8:8"]);
    folder.write("events.jsonl", &events);

    folder.write("other.jsonl", &events);
    let file = folder.read("pipeline.toml");
    folder.write("pipeline.toml", file.replace("events.jsonl", "other.jsonl"));
    refused(&["`path` of source `in` has changed", "it was \"events.jsonl\""]);
    folder.write("pipeline.toml", &file);
    sound();
    run(&folder).with_state().finish().succeeds();
}

#[test]
fn the_state_knows_nothing_of_what_a_run_without_it_wrote() {
    let folder = pipeline("");
    run(&folder).finish().succeeds();
    run(&folder)
        .with_state()
        .finish()
        .ends_with(1, &["a run without `--state` wrote it"]);
    fs::remove_file(folder.path("out.jsonl")).unwrap();
    run(&folder).with_state().finish().succeeds();
    // What the discarded state knew may go.
    run(&folder).with_state().args(["--fresh"]).finish().succeeds();
    assert_eq!(folder.read("out.jsonl").lines().count(), 3);
}

#[test]
fn a_file_is_appended_to_or_overwritten_where_that_is_asked_for() {
    let folder = pipeline("if_exists = \"append\"\n");
    folder.write("out.jsonl", "no line end");
    check(&folder)
        .finish()
        .ends_with(0, &["appends to `out.jsonl` (11 bytes)"]);
    for runs in 1..=2 {
        run(&folder).finish().succeeds();
        let text = folder.read("out.jsonl");
        assert!(text.starts_with("no line end\n{\"n\":0.0,"), "{text}");
        assert_eq!(text.lines().count(), 1 + 3 * runs);
    }
    folder.write("pipeline.toml", text("p", ""));
    run(&folder).finish().ends_with(1, &["`out.jsonl` is there"]);

    folder.write("pipeline.toml", text("p", "if_exists = \"overwrite\"\n"));
    check(&folder)
        .finish()
        .ends_with(0, &["replaces `out.jsonl`", "as `if_exists` says"]);
    run(&folder).finish().succeeds();
    assert_eq!(folder.read("out.jsonl").lines().count(), 3);
    // Now all of it is the pipeline's.
    folder.write("pipeline.toml", text("p", ""));
    run(&folder).finish().succeeds();
}

#[test]
fn parts_that_another_wrote_are_refused_and_left() {
    let sink = "commit = \"epoch\"\n";
    let parts = |text: &str| text.replace("out.jsonl", "out/*.jsonl");
    let folder = Folder::with_pipeline(&parts(&text("p", sink)));
    folder.write("events.jsonl", numbered(3, 1));
    fs::create_dir(folder.path("out")).unwrap();
    folder.write("out/000000001.jsonl", FOREIGN);
    for run in [run(&folder), run(&folder).with_state()] {
        run.finish().ends_with(1, &["out/000000001.jsonl", "\"append\""]);
    }
    assert_eq!(folder.read("out/000000001.jsonl"), FOREIGN);

    folder.write(
        "pipeline.toml",
        parts(&text("p", &format!("{sink}if_exists = \"append\"\n"))),
    );
    run(&folder).finish().succeeds();
    assert_eq!(folder.read("out/000000001.jsonl"), FOREIGN);
    assert_eq!(folder.read("out/000000002.jsonl").lines().count(), 3);

    fs::remove_file(folder.path("out/000000001.jsonl")).unwrap();
    folder.write("pipeline.toml", parts(&text("p", sink)));
    for _ in 0..2 {
        run(&folder).finish().succeeds();
        assert_eq!(folder.read("out/000000001.jsonl").lines().count(), 3);
        assert!(!folder.path("out/000000002.jsonl").exists());
    }
    folder.append("out/000000001.jsonl", "a note\n");
    run(&folder).finish().ends_with(1, &["it was changed"]);
}

/// A run that keeps state knows how much it committed, and would cut off what comes after that. What another run has put
/// there since is not its own to cut.
#[test]
fn a_run_with_state_does_not_resume_in_what_another_run_wrote_since() {
    let parts = ("out/*.jsonl", "out/000000001.jsonl", "commit = \"epoch\"\n");
    let lines = ("out.jsonl", "out.jsonl", "");
    let without_state = "a run without `--state` wrote it";
    for ((path, written, sink), if_exists, other, keeps_state, says) in [
        (lines, "overwrite", "p", false, without_state),
        (lines, "append", "p", false, without_state),
        (lines, "overwrite", "q", false, "pipeline `q` wrote it"),
        (lines, "append", "q", true, "pipeline `q` wrote it"),
        (parts, "overwrite", "p", false, without_state),
        (parts, "overwrite", "q", true, "pipeline `q` wrote it"),
    ] {
        let pipeline = |name, if_exists: &str| {
            let if_exists = format!("{sink}if_exists = \"{if_exists}\"\n");
            text(name, &if_exists).replace("out.jsonl", path)
        };
        let folder = Folder::with_pipeline(&pipeline("p", "overwrite"));
        folder.write("events.jsonl", numbered(3, 1));
        run(&folder).with_state().finish().succeeds();

        folder.write("events.jsonl", numbered(9, 1));
        folder.write("other.toml", pipeline(other, if_exists));
        let another = Dirigo::run(&folder, ["other.toml"]);
        let another = if keeps_state { another.with_state() } else { another };
        another.finish().succeeds();
        let of_another = folder.read(written);

        let words = ["sink `out`", "cannot resume writing", written, says, "`--fresh`"];
        check(&folder).args(["--state", "state"]).finish().ends_with(78, &words);
        run(&folder).with_state().finish().ends_with(1, &words);
        folder.write(
            "pipeline.toml",
            pipeline("p", "overwrite").replace("if_exists", "# if_exists"),
        );
        let fresh = run(&folder).with_state().args(["--fresh"]).finish();
        fresh.ends_with(1, &[written, "is there"]);
        assert_eq!(folder.read(written), of_another, "{path} {if_exists} {other}");
    }
}

#[test]
fn a_run_with_another_state_directory_is_told_so() {
    let folder = pipeline("");
    run(&folder).with_state().finish().succeeds();
    let other = run(&folder).args(["--state", "stat"]).finish();
    other.ends_with(1, &["pipeline `p` wrote it with a state that is not in this directory"]);
}

#[test]
fn dead_letters_replace_those_of_an_earlier_run_and_nothing_else() {
    let folder = pipeline("");
    folder.write("events.jsonl", numbered(3, 1) + "{}\n");
    folder.write("p-dead.jsonl", FOREIGN);
    for run in [run(&folder), run(&folder).with_state()] {
        run.finish().ends_with(1, &["dead letters", "`p-dead.jsonl` is there"]);
        assert_eq!(folder.read("p-dead.jsonl"), FOREIGN);
        assert!(!folder.path("out.jsonl").exists(), "nothing was begun");
    }
    fs::remove_file(folder.path("p-dead.jsonl")).unwrap();
    for _ in 0..2 {
        run(&folder).finish().succeeds();
        assert_eq!(dead_letters(&folder, "p-dead.jsonl").len(), 1);
    }
    folder.write("events.jsonl", numbered(3, 1));
    run(&folder).finish().succeeds();
    assert!(
        !folder.path("p-dead.jsonl").exists(),
        "those of an earlier run would pass for this one's"
    );
}

#[test]
fn where_one_pipeline_is_refused_it_alone_does_not_begin() {
    let folder = pipeline("");
    run(&folder).finish().succeeds();
    folder.write("events.jsonl", numbered(1, 1));
    folder.write("q.toml", text("q", "").replace("out.jsonl", "other.jsonl"));
    folder.write("other.jsonl", FOREIGN);
    Dirigo::run(&folder, ["pipeline.toml", "q.toml"])
        .finish()
        .ends_with(1, &["pipeline `q`", "`other.jsonl` is there", "q.toml is refused"]);
    assert_eq!(folder.read("out.jsonl").lines().count(), 1);
    assert_eq!(folder.read("other.jsonl"), FOREIGN);
}

/// Readings without end, into `out.jsonl` and to standard output.
fn endless(sink: &str) -> Folder {
    Folder::with_pipeline(&format!(
        "[pipeline]\nname = \"endless\"\ncheckpoint = \"off\"\n\
         [[source]]\nid = \"in\"\nkind = \"generator\"\n\
         [[sink]]\nid = \"shown\"\nkind = \"stdout\"\ninputs = [\"in\"]\n\
         [[sink]]\nid = \"out\"\nkind = \"file\"\npath = \"out.jsonl\"\ninputs = [\"in\"]\n{sink}"
    ))
}

/// Runs until there is output, and kills it then.
fn killed(run: Dirigo) {
    let mut running = run.piped();
    for _ in 0..5_000 {
        running.stdout.next().unwrap();
    }
    assert!(running.kill());
}

#[test]
fn what_a_killed_run_left_is_the_pipelines() {
    let folder = endless("");
    for _ in 0..3 {
        killed(run(&folder));
    }
    folder.append("out.jsonl", &"x".repeat(1 << 20));
    run(&folder).finish().ends_with(1, &["it was changed"]);
}

#[test]
fn a_run_that_was_killed_before_its_first_checkpoint_is_gone_on_from() {
    let folder = endless("");
    for _ in 0..3 {
        killed(run(&folder).with_state());
    }
    run(&folder).with_state().set("source.in.count", 3).finish().succeeds();
    assert_eq!(folder.read("out.jsonl").lines().count(), 3);
}

#[test]
fn what_a_killed_run_appended_is_taken_back_and_nothing_before_it() {
    let folder = endless("if_exists = \"append\"\n");
    folder.write("out.jsonl", FOREIGN);
    for _ in 0..3 {
        killed(run(&folder).with_state());
        assert!(folder.read("out.jsonl").starts_with(FOREIGN));
    }
    let mut running = run(&folder).with_state().piped();
    running.stdout.next().unwrap();
    running.interrupt();
    running.finish().succeeds();
    let text = folder.read("out.jsonl");
    let positions: Vec<&str> = text.lines().skip(1).collect();
    let first = positions.iter().filter(|line| **line == positions[0]).count();
    assert!(text.starts_with(FOREIGN));
    assert_eq!(first, 1, "the first reading is there once");
}
