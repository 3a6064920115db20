//! Runs that go on where the last one stopped.

use crate::support::{Dirigo, Folder, dead_letters, event, guest, numbered};

const EVENTS: u64 = 20_000;
const KEYS: u64 = 37;

/// Windows that list their events, behind a map that refuses every hundredth one.
fn pipeline() -> Folder {
    let folder = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "resumed"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        [[operator]]
        id = "map"
        component = "{}"
        config = {{ mode = "reject", every = 100 }}
        [[operator]]
        id = "list"
        component = "{}"
        window = {{ count = 7 }}
        config = {{ mode = "pass", every = 1 }}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        order = "source"
        "#,
        guest("map").display(),
        guest("reduce").display()
    ));
    folder.write("events.jsonl", "");
    folder
}

/// What one run over everything puts out, and the positions of its dead letters.
fn in_one_go() -> (String, Vec<u64>) {
    let folder = pipeline();
    folder.write("events.jsonl", numbered(EVENTS, KEYS));
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    (folder.read("out.jsonl"), dead(&folder))
}

fn dead(folder: &Folder) -> Vec<u64> {
    let dead_letters = dead_letters(folder, "state/resumed/dead-letters.jsonl");
    let mut positions: Vec<u64> = dead_letters
        .iter()
        .map(|dead_letter| dead_letter.event.position)
        .collect();
    // Replicas write dead letters side by side.
    positions.sort_unstable();
    positions
}

#[test]
fn a_run_goes_on_with_what_its_file_has_grown_by() {
    let (out, dead_letters) = in_one_go();
    let folder = pipeline();
    let mut next = 0;
    // Each part ends in the middle of windows; the workers and with them the shards differ from run to run.
    for (part, workers) in [(10_001, 2), (1, 8), (7_999, 1), (1_999, 3)] {
        let lines: String = (next..next + part)
            .map(|n| event(n, &format!("k-{}", n % KEYS)))
            .collect();
        folder.append("events.jsonl", &lines);
        next += part;
        let finished = Dirigo::run(&folder, ["pipeline.toml"])
            .with_state()
            .workers(workers)
            .finish();
        assert_eq!(finished.succeeds().count("events_in"), part);
    }
    assert_eq!(next, EVENTS);
    assert!(
        folder.read("out.jsonl") == out,
        "in parts there comes out what comes out in one go"
    );
    assert_eq!(dead(&folder), dead_letters);
}

#[test]
fn a_run_that_finds_nothing_new_says_so_and_leaves_everything_as_it_was() {
    let folder = pipeline();
    folder.write("events.jsonl", numbered(1_000, KEYS));
    let run = || Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    run().succeeds();
    let out = folder.read("out.jsonl");
    for _ in 0..2 {
        let finished = run();
        assert_eq!(finished.succeeds().count("events_in"), 0);
        assert!(finished.stderr.contains("nothing new"), "{}", finished.stderr);
        assert_eq!(folder.read("out.jsonl"), out);
        assert_eq!(dead(&folder).len(), 10);
    }
}

#[test]
fn fresh_discards_what_earlier_runs_left() {
    let folder = pipeline();
    folder.write("events.jsonl", numbered(1_000, KEYS));
    let run = || Dirigo::run(&folder, ["pipeline.toml"]).with_state();
    run().finish().succeeds();
    let out = folder.read("out.jsonl");
    let finished = run().args(["--fresh"]).finish();
    assert_eq!(finished.succeeds().count("events_in"), 1_000);
    assert_eq!(folder.read("out.jsonl"), out);
    assert_eq!(dead(&folder).len(), 10);
}

#[test]
fn fresh_discards_nothing_where_a_sink_cannot_begin() {
    let folder = pipeline();
    folder.write("events.jsonl", numbered(1_000, KEYS));
    let run = || Dirigo::run(&folder, ["pipeline.toml"]).with_state();
    run().finish().succeeds();
    folder.write("file", "");
    run()
        .set("sink.out.path", "file/out.jsonl")
        .args(["--fresh"])
        .finish()
        .ends_with(1, &["sink `out`", "cannot open"]);
    let again = run().finish();
    assert!(again.stderr.contains("nothing new"), "{}", again.stderr);
}

#[test]
fn fresh_discards_nothing_that_is_no_state() {
    let folder = pipeline();
    folder.write("events.jsonl", numbered(10, KEYS));
    std::fs::create_dir_all(folder.path("state/resumed")).unwrap();
    folder.write("state/resumed/thesis.tex", "years of work");
    let run = || Dirigo::run(&folder, ["pipeline.toml"]).with_state();
    run()
        .args(["--fresh"])
        .finish()
        .ends_with(1, &["nothing is discarded", "state/resumed", "no state"]);
    assert!(!folder.path("out.jsonl").exists(), "nothing ran");
    run().finish().succeeds();
    run().args(["--fresh"]).finish().succeeds();
    assert_eq!(folder.read("state/resumed/thesis.tex"), "years of work");
}

#[test]
fn without_a_state_directory_a_run_leaves_nothing_to_go_on_from() {
    let folder = pipeline();
    folder.write("events.jsonl", numbered(1_000, KEYS));
    let run = || Dirigo::run(&folder, ["pipeline.toml"]).finish();
    run().succeeds();
    let out = folder.read("out.jsonl");
    assert_eq!(run().succeeds().count("events_in"), 1_000);
    assert_eq!(folder.read("out.jsonl"), out);
    assert_eq!(dead_letters(&folder, "resumed.dead.jsonl").len(), 10);
}

#[test]
fn a_file_that_lost_or_changed_what_was_read_is_refused() {
    let folder = pipeline();
    folder.write("events.jsonl", numbered(1_000, KEYS));
    let run = || Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    run().succeeds();
    folder.write("events.jsonl", numbered(500, KEYS));
    run().ends_with(1, &["source `events`", "truncated"]);
    folder.write("events.jsonl", numbered(2_000, KEYS + 1));
    run().ends_with(1, &["source `events`", "replaced or rewritten"]);
}

#[test]
fn one_state_directory_serves_one_process_at_a_time() {
    let folder = pipeline();
    folder.write(
        "talk.toml",
        folder
            .read("pipeline.toml")
            .replace("kind = \"file\"\n        path = \"events.jsonl\"", "kind = \"stdin\"")
            .replace("kind = \"file\"\n        path = \"out.jsonl\"", "kind = \"stdout\""),
    );
    let mut first = Dirigo::run(&folder, ["talk.toml"]).with_state().piped();
    (1..=7).for_each(|n| first.say(&event(n, "k")));
    first.stdout.wait_for("\"numbers\":[1,2,3,4,5,6,7]");
    for arguments in [&[][..], &["--fresh"]] {
        let second = Dirigo::run(&folder, ["pipeline.toml"]).with_state().args(arguments);
        second.finish().ends_with(1, &["in use by another process"]);
    }
    assert_eq!(first.finish().succeeds().count("events_in"), 7);
    let again = Dirigo::run(&folder, ["talk.toml"]).with_state().finish();
    assert!(again.stderr.contains("nothing new"), "{}", again.stderr);
}

#[test]
fn positions_of_what_cannot_be_read_again_go_on_from_run_to_run() {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "talk"
        [[source]]
        id = "events"
        kind = "stdin"
        format = "jsonl"
        key = "/key"
        [[sink]]
        id = "out"
        kind = "stdout"
        "#,
    );
    let run = |lines: &str| {
        let mut running = Dirigo::run(&folder, ["pipeline.toml"]).with_state().piped();
        running.say(lines);
        running.finish().succeeds();
        let dead_letters = dead_letters(&folder, "state/talk/dead-letters.jsonl");
        dead_letters
            .iter()
            .map(|dead_letter| dead_letter.event.position)
            .collect::<Vec<_>>()
    };
    let (sound, broken) = (event(0, "k"), "broken\n");
    for n in 1..=4 {
        assert_eq!(run(broken), (1..=n).collect::<Vec<_>>());
    }
    run(&format!("{sound}{sound}{broken}"));
    run(&format!("{broken}{sound}"));
    run(&sound);
    assert_eq!(run(broken), [1, 2, 3, 4, 7, 8, 11]);
}

#[test]
fn a_process_knows_keys_that_the_store_has_and_its_actor_does_not() {
    const KEYS: u64 = 5_000;
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "once"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        time = "/n"
        [[operator]]
        id = "once"
        component = "builtin:dedup"
        order = "time"
        shards = 1
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#,
    );
    folder.write("events.jsonl", numbered(KEYS, KEYS));
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    // Each key once more: they are too many to be loaded at the start, and far more in a batch than are looked up before a turn.
    folder.write("events.jsonl", numbered(2 * KEYS, KEYS));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    assert_eq!(finished.succeeds().count("events_in"), KEYS);
    assert_eq!(folder.read("out.jsonl").lines().count() as u64, KEYS);
}

#[test]
fn a_file_that_was_cut_after_a_run_without_checkpoint_had_read_it_is_refused() {
    let folder = pipeline();
    folder.write("events.jsonl", numbered(EVENTS, KEYS));
    // The first event that fails ends the run before it commits anything.
    let run = || Dirigo::run(&folder, ["pipeline.toml"]).with_state();
    let stopped = run()
        .set("pipeline.checkpoint", "1h")
        .set("operator.map.limits.errors", "stop")
        .finish();
    stopped.ends_with(1, &["event 0 is not to its taste"]);
    let written = folder.read("out.jsonl");
    let bytes = folder.read("events.jsonl").len();
    folder.write("events.jsonl", numbered(10, KEYS));
    let words = format!(", but an earlier run found {bytes}");
    let refused = run().finish();
    refused.ends_with(
        1,
        &["cannot resume reading `events.jsonl`: it was truncated to ", &words],
    );
    assert_eq!(folder.read("out.jsonl"), written);
    folder.write("events.jsonl", numbered(EVENTS, KEYS));
    run().finish().succeeds();
    assert_eq!((folder.read("out.jsonl"), dead(&folder)), in_one_go());
}
