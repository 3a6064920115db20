//! `dirigo state`: what a stopped pipeline has left is looked at, and stays as it is.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::{Dirigo, Finished, Folder, Running, event};

/// A state directory with three keys, of 1 to 3 events each.
fn stopped() -> Folder {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "p"
        checkpoint = "off"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        [[operator]]
        id = "sum"
        component = "builtin:reduce"
        window = { count = 5 }
        config = { field = "n", aggregate = "sum" }
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#,
    );
    let events = [(1, "a"), (1, "b"), (2, "b"), (1, "c"), (2, "c"), (3, "c")];
    folder.write("events.jsonl", events.map(|(n, key)| event(n, key)).concat());
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    folder
}

/// Starts the pipeline anew, over standard input.
fn talking(folder: &Folder) -> Running {
    let talk = folder
        .read("pipeline.toml")
        .replace("kind = \"file\"\n        path = \"events.jsonl\"", "kind = \"stdin\"")
        .replace("kind = \"file\"\n        path = \"out.jsonl\"", "kind = \"stdout\"");
    folder.write("talk.toml", talk);
    Dirigo::run(folder, ["talk.toml"])
        .with_state()
        .args(["--fresh"])
        .piped()
}

fn state<const N: usize>(folder: &Folder, args: [&str; N]) -> Finished {
    Dirigo::command(folder, "state").args(args).finish()
}

fn json<const N: usize>(folder: &Folder, args: [&str; N]) -> Value {
    let finished = Dirigo::command(folder, "state")
        .args(args)
        .args(["-o", "json"])
        .finish();
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    serde_json::from_str(&finished.stdout).unwrap()
}

#[test]
fn what_pipelines_keep_is_listed() {
    let folder = stopped();
    let listed = json(&folder, ["ls", "state"]);
    assert_eq!(listed[0]["pipeline"], "p");
    assert_eq!(listed[0]["epoch"], 2, "one begins the outputs, one ends the run");
    assert_eq!(listed[0]["operators"]["sum"]["keys"], 3);
    assert!(listed[0]["sources"]["events"].is_object() || listed[0]["sources"]["events"].is_number());
    let text = state(&folder, ["ls", "state"]).stdout;
    for part in ["p  epoch 2", "sum", "3 keys", "source", "sink"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn one_entry_is_printed_with_what_it_covers() {
    let folder = stopped();
    let entry = json(&folder, ["get", "state", "sum", "c"]);
    assert_eq!((&entry["count"], &entry["operator"]), (&json!(3), &json!("sum")));
    assert_eq!(entry["accumulator"]["count"], 3, "as its layout has it");
    assert_eq!(json(&folder, ["get", "state/p", "sum", "Yw==", "--base64"]), entry);
    let text = state(&folder, ["get", "state", "sum", "b"]).stdout;
    assert!(text.contains("count       2"), "{text}");
}

#[test]
fn every_entry_is_exported() {
    let folder = stopped();
    let exported = state(&folder, ["export", "state", "--operator", "sum"]).stdout;
    let mut counts: Vec<(String, u64)> = exported
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|entry| {
            (
                entry["key"].as_str().unwrap().to_owned(),
                entry["count"].as_u64().unwrap(),
            )
        })
        .collect();
    counts.sort();
    assert_eq!(
        counts,
        [("a", 1), ("b", 2), ("c", 3)].map(|(key, count)| (key.to_owned(), count))
    );
}

#[test]
fn damage_is_found_with_its_place_and_the_epoch_before_it() {
    let folder = stopped();
    folder.append("events.jsonl", &event(9, "a"));
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    let whole = state(&folder, ["verify", "state"]);
    assert_eq!(whole.code(), 0, "{}{}", whole.stdout, whole.stderr);
    assert!(
        whole.stdout.contains("p  whole, epoch 3, 3 entries"),
        "{}",
        whole.stdout
    );
    let path = folder.path("state/p/epochs-0001.log");
    let mut log = std::fs::read(&path).unwrap();
    log[20] ^= 1;
    std::fs::write(&path, &log).unwrap();
    let damaged = state(&folder, ["verify", "state"]);
    assert_eq!(damaged.code(), 1);
    for part in ["DAMAGED", "epochs-0001.log", "byte 20", "epoch 0"] {
        assert!(damaged.stdout.contains(part), "{}", damaged.stdout);
    }
    let refused = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    assert_ne!(refused.code(), 0);
    assert!(refused.stderr.contains("damaged at byte 20"), "{}", refused.stderr);
    assert!(std::fs::read(&path).unwrap() == log, "it stays as it is");
}

#[test]
fn what_is_not_there_is_said() {
    let folder = stopped();
    state(&folder, ["get", "state", "sun", "a"]).ends_with(1, &["sun", "did you mean `sum`"]);
    state(&folder, ["get", "state", "sum", "z"]).ends_with(1, &["nothing of the key `z`"]);
    state(&folder, ["get", "state", "sum", "??", "--base64"]).ends_with(1, &["no base64"]);
    state(&folder, ["export", "state", "--operator", "su"]).ends_with(1, &["sum"]);
    state(&folder, ["ls", "nowhere"]).ends_with(1, &["no directory nowhere"]);
    state(&folder, ["ls", "pipeline.toml"]).ends_with(1, &["not a directory"]);
    state(&folder, ["ls", "."]).ends_with(1, &["holds no state"]);
    state(&folder, ["ls", "state", "--pipeline", "q"]).ends_with(1, &["`q`", "`p`"]);
    state(&folder, ["look"]).ends_with(2, &["look"]);
}

#[test]
fn a_directory_in_use_is_left_alone() {
    let folder = stopped();
    let mut running = talking(&folder);
    running.say(&event(1, "a").repeat(6));
    running.stdout.wait_for("\"sum\":5");
    state(&folder, ["ls", "state"]).ends_with(1, &["in use by another process"]);
    running.finish().succeeds();
    assert_eq!(json(&folder, ["ls", "state"])[0]["operators"]["sum"]["keys"], 1);
}

#[test]
fn what_a_killed_process_left_is_read_and_stays_as_it_is() {
    let folder = stopped();
    let mut running = talking(&folder);
    running.say(&event(1, "a").repeat(6));
    running.stdout.wait_for("\"sum\":5");
    // It is killed.
    drop(running);
    let contents = || {
        let entries = std::fs::read_dir(folder.path("state/p")).unwrap();
        let paths: BTreeSet<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths
            .into_iter()
            .map(|path| (std::fs::read(&path).unwrap(), path))
            .collect::<Vec<_>>()
    };
    let before = contents();
    let verified = state(&folder, ["verify", "state"]);
    assert_eq!(verified.code(), 0, "{}{}", verified.stdout, verified.stderr);
    assert!(verified.stdout.starts_with("p  whole, epoch"), "{}", verified.stdout);
    json(&folder, ["ls", "state"]);
    assert!(contents() == before);
}

#[test]
fn a_log_that_is_gone_or_cut_after_a_finished_run_is_missed_before_an_output_is_touched() {
    for cut in [None, Some(0), Some(100)] {
        let folder = stopped();
        folder.append("events.jsonl", &event(9, "c").repeat(2));
        Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
        let out = folder.read("out.jsonl");
        assert_eq!(out.lines().count(), 1);
        let path = folder.path("state/p/epochs-0001.log");
        match cut {
            None => std::fs::remove_file(&path).unwrap(),
            Some(bytes) => std::fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(bytes)
                .unwrap(),
        }
        assert_eq!(state(&folder, ["verify", "state"]).code(), 1);
        let refused = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
        refused.ends_with(1, &["epochs-0001.log", "`--fresh`"]);
        assert_eq!(folder.read("out.jsonl"), out);
    }
}

#[test]
fn a_database_that_is_gone_is_missed_by_all_alike() {
    let folder = stopped();
    std::fs::remove_file(folder.path("state/p/state.redb")).unwrap();
    for finished in [
        Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish(),
        state(&folder, ["ls", "state"]),
    ] {
        finished.ends_with(1, &["state.redb is missing"]);
    }
    let verified = state(&folder, ["verify", "state"]);
    assert!(
        verified.code() == 1 && verified.stdout.contains("DAMAGED"),
        "{}",
        verified.stdout
    );
    Dirigo::run(&folder, ["pipeline.toml"])
        .with_state()
        .args(["--fresh"])
        .finish()
        .succeeds();
}

#[test]
fn a_state_directory_that_others_can_write_to_is_refused_with_what_mends_it() {
    let folder = stopped();
    let state = folder.path("state");
    assert_eq!(std::fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    for mode in [0o777, 0o770] {
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(mode)).unwrap();
        let refused = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
        refused.ends_with(
            78,
            &[
                "the state directory state can be written by others",
                "`chmod go-w state`",
            ],
        );
    }
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o750)).unwrap();
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
}
