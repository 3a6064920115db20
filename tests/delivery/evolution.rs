//! State that outlives the component, or the pipeline, that wrote it.

use crate::support::{Dirigo, Folder, dead_letters, guest};

/// Keys of a run: each gets the number of its event.
const KEYS: [&str; 3] = ["a", "b", "c"];

/// A sum of three events per key in the guest `name`, which is given `config`.
fn pipeline(folder: &Folder, name: &str, config: &str) {
    folder.write(
        "pipeline.toml",
        format!(
            r#"
            [pipeline]
            name = "evolving"
            [[source]]
            id = "events"
            kind = "file"
            path = "events.jsonl"
            key = "/key"
            [[operator]]
            id = "sum"
            component = "{}"
            window = {{ count = 3 }}
            config = {config}
            [[sink]]
            id = "out"
            kind = "file"
            path = "out.jsonl"
            "#,
            guest(name).display()
        ),
    );
}

/// Events of these numbers, the first of the key `a`, and so on.
fn events(numbers: &[u64]) -> String {
    let keys = KEYS.iter().cycle();
    let line = |(n, key): (&u64, &&str)| format!("{{\"n\":{n},\"key\":\"{key}\"}}\n");
    numbers.iter().zip(keys).map(line).collect()
}

/// A state directory with a window of the first version of the guest open for each key: 1, 2 and 3.
fn with_old_state(config: &str) -> Folder {
    let folder = Folder::new();
    folder.write("events.jsonl", events(&[1, 2, 3]));
    pipeline(&folder, "evolving-1", config);
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    folder
}

fn sorted_lines(folder: &Folder) -> Vec<String> {
    let mut lines: Vec<String> = folder.read("out.jsonl").lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

const HONEST: &str = "{ migration = \"honest\" }";

#[test]
fn a_new_version_goes_on_with_the_windows_of_the_old_one() {
    let folder = with_old_state(HONEST);
    pipeline(&folder, "evolving-2", HONEST);
    // The first event of each window migrates its state, the second finds it migrated, in another run.
    for numbers in [[10, 20, 30], [100, 200, 300]] {
        folder.append("events.jsonl", &events(&numbers));
        Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    }
    assert_eq!(
        sorted_lines(&folder),
        [
            r#"{"key":"a","sum":111,"greatest":100,"migrated":true}"#,
            r#"{"key":"b","sum":222,"greatest":200,"migrated":true}"#,
            r#"{"key":"c","sum":333,"greatest":300,"migrated":true}"#,
        ]
    );
}

#[test]
fn state_that_cannot_be_migrated_stays_and_its_events_are_dead_letters() {
    for (mode, reason) in [("refuse-odd", "1 is odd"), ("panic-odd", "1 is more than odd")] {
        let config = format!("{{ migration = \"{mode}\" }}");
        let folder = with_old_state(&config);
        pipeline(&folder, "evolving-2", &config);
        folder.append("events.jsonl", &events(&[10, 20, 30, 100, 200, 300]));
        Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
        assert_eq!(
            sorted_lines(&folder),
            [r#"{"key":"b","sum":222,"greatest":200,"migrated":true}"#]
        );
        let dead_letters = dead_letters(&folder, "state/evolving/dead-letters.jsonl");
        assert_eq!(dead_letters.len(), 4, "two events of each odd sum");
        assert!(
            dead_letters.iter().all(|dead_letter| dead_letter.kind == "migrate"),
            "{dead_letters:?}"
        );
        let of_a = dead_letters
            .iter()
            .find(|dead_letter| dead_letter.event.key.as_deref() == Some("a"))
            .unwrap();
        let told = "the state of its key cannot be migrated from version 1 to 2: ";
        assert!(
            of_a.reason.starts_with(told) && of_a.reason.contains(reason),
            "{}",
            of_a.reason
        );
        assert!(of_a.state.is_some());

        let id = of_a.id.to_string();
        let replayed = Dirigo::command(&folder, "replay")
            .args(["state/evolving/dead-letters.jsonl", "--id", &id])
            .finish();
        assert_eq!(replayed.code(), 1);
        assert!(replayed.stdout.contains(reason), "{}", replayed.stdout);
    }
}

#[test]
fn a_migration_burns_the_fuel_of_its_turn() {
    let config = "{ migration = \"spin\" }";
    let folder = with_old_state(config);
    pipeline(&folder, "evolving-2", config);
    folder.append("events.jsonl", &events(&[10]));
    Dirigo::run(&folder, ["pipeline.toml"])
        .with_state()
        .set("operator.sum.limits.fuel_per_event", 1_000_000)
        .finish()
        .succeeds();
    let dead_letters = dead_letters(&folder, "state/evolving/dead-letters.jsonl");
    assert_eq!(dead_letters[0].kind, "migrate");
    assert!(
        dead_letters[0].reason.ends_with("all fuel consumed"),
        "{}",
        dead_letters[0].reason
    );
}

#[test]
fn a_migration_that_breaks_the_contract_costs_the_events_of_its_key() {
    for (lie, told) in [
        ("a migrated accumulator too many", "2 items, 1 belong there"),
        (
            "a migrated accumulator that is empty",
            "`accumulators`: item 0 is empty",
        ),
        ("a failed migration out of range", "names item 1 of 1"),
    ] {
        let config = format!("{{ lie = \"{lie}\" }}");
        let folder = with_old_state(&config);
        pipeline(&folder, "malformed-reduce", &config);
        folder.append("events.jsonl", &events(&[10]));
        Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
        let dead_letters = dead_letters(&folder, "state/evolving/dead-letters.jsonl");
        assert_eq!(
            (dead_letters.len(), dead_letters[0].kind.as_str()),
            (1, "migrate"),
            "{lie}"
        );
        assert!(
            dead_letters[0].reason.contains(told),
            "{lie}: {}",
            dead_letters[0].reason
        );
    }
}

#[test]
fn inspect_says_which_state_a_component_reads() {
    let folder = Folder::new();
    let inspected = Dirigo::command(&folder, "inspect").args([guest("evolving-2")]).finish();
    assert!(
        inspected.stdout.contains("state version   2, migrates 1"),
        "{}",
        inspected.stdout
    );
}

#[test]
fn state_that_a_component_does_not_read_is_refused_before_anything_runs() {
    for (old, new, told) in [
        (
            "evolving-1",
            "evolving-3",
            "operator `sum` has state of version 1, which its component cannot migrate",
        ),
        (
            "evolving-2",
            "evolving-1",
            "operator `sum` has state of version 2, which is newer than its component",
        ),
    ] {
        let folder = Folder::new();
        folder.write("events.jsonl", events(&[1, 2, 3]));
        pipeline(&folder, old, HONEST);
        Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
        pipeline(&folder, new, HONEST);
        folder.append("events.jsonl", &events(&[10, 20, 30, 100, 200, 300]));
        let refused = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
        refused.ends_with(78, &[told, "component = ", "--fresh"]);
        assert_eq!(folder.read("out.jsonl"), "", "nothing ran");

        pipeline(&folder, old, HONEST);
        Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
        assert_eq!(folder.json_lines("out.jsonl").len(), 3, "the state is as it was");
    }
}

/// Sums of three numbers, of which the first was 1.
const SUMS: &str = r#"
[pipeline]
name = "sums"
[[source]]
id = "events"
kind = "file"
path = "events.jsonl"
key = "/key"
[[operator]]
id = "sum"
component = "builtin:reduce"
window = { count = 3 }
config = { field = "n", aggregate = "sum" }
[[sink]]
id = "out"
kind = "file"
path = "out.jsonl"
"#;

/// What becomes of the open windows of [`SUMS`] in the pipeline `text`.
fn resumed_as(text: &str) -> (Folder, crate::support::Finished) {
    let folder = Folder::with_pipeline(SUMS);
    folder.write("events.jsonl", events(&[1, 2, 3]));
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    folder.write("pipeline.toml", text);
    folder.append("events.jsonl", &events(&[10, 20, 30, 100, 200, 300]));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    (folder, finished)
}

#[test]
fn a_change_that_results_do_not_depend_on_resumes() {
    let added = "[[operator]]\nid = \"all\"\ncomponent = \"builtin:filter\"\nconfig = { field = \"n\", min = 0 }\n\
                 [[operator]]\nid = \"sum\"";
    for (from, to) in [
        ("window = ", "limits = { memory = \"32MiB\" }\nshards = 3\nwindow = "),
        ("[[operator]]\nid = \"sum\"", added),
        ("name = \"sums\"", "name = \"sums\"\nslo = \"1s\""),
    ] {
        let (folder, finished) = resumed_as(&SUMS.replace(from, to));
        finished.succeeds();
        let mut sums: Vec<_> = folder
            .json_lines("out.jsonl")
            .iter()
            .map(|sum| sum["sum"].as_f64())
            .collect();
        sums.sort_by(|one, other| one.partial_cmp(other).unwrap());
        assert_eq!(sums, [Some(111.0), Some(222.0), Some(333.0)], "{to}");
    }
}

#[test]
fn a_change_that_would_make_results_wrong_is_refused_at_its_place() {
    for (from, to, told) in [
        (
            "aggregate = \"sum\"",
            "aggregate = \"max\"",
            &[
                "`config` of operator `sum` has changed",
                "pipeline.toml:13",
                "it was {\"aggregate\":\"sum\"",
            ][..],
        ),
        (
            "window = { count = 3 }",
            "window = { tumbling = \"1m\" }",
            &["`window` of operator `sum` has changed", "it was { count = 3 }"],
        ),
        (
            "id = \"sum\"",
            "id = \"total\"",
            &["operator `sum` is gone", "would be lost"],
        ),
        (
            "path = \"out.jsonl\"",
            "path = \"new.jsonl\"",
            &["`path` of sink `out`", "it was \"out.jsonl\""],
        ),
    ] {
        let (folder, refused) = resumed_as(&SUMS.replace(from, to));
        refused.ends_with(78, told);
        refused.ends_with(78, &["nothing was changed", "--fresh"]);
        assert_eq!(folder.read("out.jsonl"), "", "nothing ran");
        assert!(!folder.path("new.jsonl").exists(), "nothing was touched");
        Dirigo::run(&folder, ["pipeline.toml"])
            .with_state()
            .args(["--fresh"])
            .finish()
            .succeeds();
    }
}

#[test]
fn dead_letters_may_go_elsewhere_and_are_counted_on() {
    let folder = Folder::with_pipeline(SUMS);
    folder.write("events.jsonl", "{\"n\":\"x\",\"key\":\"a\"}\n");
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    assert_eq!(dead_letters(&folder, "state/sums/dead-letters.jsonl").len(), 1);
    folder.write(
        "pipeline.toml",
        format!("{SUMS}\n[dead_letters]\npath = \"dead.jsonl\"\n"),
    );
    folder.append("events.jsonl", "{\"n\":\"y\",\"key\":\"a\"}\n");
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    assert_eq!(dead_letters(&folder, "state/sums/dead-letters.jsonl").len(), 1);
    assert_eq!(folder.json_lines("dead.jsonl")[0]["id"], 2);
}

fn migrate(folder: &Folder, more: &[&str]) -> crate::support::Finished {
    Dirigo::command(folder, "state")
        .args(["migrate", "pipeline.toml", "--state", "state"])
        .args(more)
        .finish()
}

#[test]
fn what_is_accepted_renamed_and_dropped_goes_on() {
    for (from, to, options, said) in [
        (
            "aggregate = \"sum\"",
            "aggregate = \"max\"",
            ["--accept", "sum"],
            "belongs to the pipeline",
        ),
        (
            "id = \"sum\"",
            "id = \"total\"",
            ["--rename", "sum=total"],
            "renamed   `sum` to `total`, with 3 entries",
        ),
        (
            "id = \"sum\"",
            "id = \"total\"",
            ["--drop", "sum"],
            "dropped   3 entries of `sum`",
        ),
    ] {
        let (folder, refused) = resumed_as(&SUMS.replace(from, to));
        refused.ends_with(78, &["`dirigo state migrate PIPELINE --state state`"]);
        migrate(&folder, &[]).ends_with(78, &["`"]);
        let dry = migrate(&folder, &[options[0], options[1], "--dry-run"]);
        assert!(dry.stdout.contains("dry run"), "{}", dry.stdout);
        Dirigo::run(&folder, ["pipeline.toml"])
            .with_state()
            .finish()
            .ends_with(78, &["nothing was changed"]);
        let done = migrate(&folder, &options);
        assert_eq!(done.code(), 0, "{}", done.stderr);
        assert!(done.stdout.contains(said), "{}", done.stdout);
        Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
        let windows = folder.json_lines("out.jsonl");
        assert_eq!(windows.len(), if options[0] == "--drop" { 0 } else { 3 }, "{options:?}");
        if options[0] == "--accept" {
            // As it was told to: the sums so far count as maxima.
            assert!(windows.iter().any(|window| window["max"] == 100.0), "{windows:?}");
        }
    }
}

/// What is kept of windows in time fits no other windows. Only to drop it helps, also where none is open, and that is what is said.
#[test]
fn an_operator_whose_windows_in_time_have_changed_begins_with_none() {
    let hourly = SUMS
        .replace("key = \"/key\"", "key = \"/key\"\ntime = \"/n\"")
        .replace("{ count = 3 }", "{ tumbling = \"1h\" }");
    let folder = Folder::with_pipeline(&hourly);
    folder.write("events.jsonl", events(&[1, 2, 3]));
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    folder.write("pipeline.toml", hourly.replace("1h", "2h"));
    Dirigo::run(&folder, ["pipeline.toml"])
        .with_state()
        .finish()
        .ends_with(78, &["`dirigo state migrate PIPELINE --state state` and `--drop sum`"]);
    assert_eq!(migrate(&folder, &["--drop", "sum"]).code(), 0);
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
}

#[test]
fn migrating_eagerly_shows_at_once_what_cannot_be_migrated() {
    let folder = with_old_state(HONEST);
    pipeline(&folder, "evolving-2", HONEST);
    let done = migrate(&folder, &[]);
    assert!(done.stdout.contains("migrated  3 entries of `sum`"), "{}", done.stdout);
    folder.append("events.jsonl", &events(&[10, 20, 30, 100, 200, 300]));
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    assert_eq!(folder.json_lines("out.jsonl").len(), 3);

    let config = "{ migration = \"refuse-odd\" }";
    let folder = with_old_state(config);
    pipeline(&folder, "evolving-2", config);
    migrate(&folder, &[]).ends_with(1, &["operator `sum`", "from version 1 to 2", "is odd"]);
    pipeline(&folder, "evolving-1", config);
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
}

#[test]
fn options_about_what_there_is_not_are_refused() {
    let folder = Folder::with_pipeline(SUMS);
    folder.write("events.jsonl", events(&[1, 2, 3]));
    migrate(&folder, &[]).ends_with(1, &["holds no state of pipeline `sums`"]);
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    for (options, told) in [
        (["--drop", "none"], "no operator, source or sink of that name"),
        (["--drop", "out"], "the pipeline still has it"),
        (["--rename", "sum"], "`--rename OLD=NEW`"),
        (["--rename", "none=sum"], "the state has an operator `sum` already"),
        (["--accept", "none"], "`none` is not in both"),
    ] {
        migrate(&folder, &options).ends_with(1, &[told]);
    }
}

#[test]
fn a_sink_that_is_accepted_goes_on_where_it_is_and_begins_only_where_nothing_is() {
    let folder = Folder::with_pipeline(SUMS);
    folder.write("events.jsonl", events(&[1, 2, 3, 10, 20, 30, 100, 200, 300]));
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    let before = folder.read("out.jsonl");
    assert_eq!(before.lines().count(), 3);
    assert_eq!(migrate(&folder, &["--accept", "out"]).code(), 0);
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    assert_eq!(folder.read("out.jsonl"), before, "nothing had changed");

    folder.write("pipeline.toml", SUMS.replace("out.jsonl", "new.jsonl"));
    folder.write("new.jsonl", "years of work\n");
    migrate(&folder, &["--accept", "out"]).ends_with(1, &["new.jsonl`, which has 14 bytes", "move it away"]);
    assert_eq!(folder.read("new.jsonl"), "years of work\n");
    std::fs::remove_file(folder.path("new.jsonl")).unwrap();
    let dry = migrate(&folder, &["--accept", "out", "--dry-run"]);
    assert!(dry.stdout.contains("sink `out` would begin"), "{}", dry.stdout);
    assert_eq!(migrate(&folder, &["--accept", "out"]).code(), 0);
    folder.append("events.jsonl", &events(&[1, 2, 3, 1, 2, 3, 1, 2, 3]));
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    assert_eq!(folder.json_lines("new.jsonl").len(), 3);
}

#[test]
fn sources_and_sinks_keep_their_positions_under_new_names() {
    let folder = Folder::with_pipeline(SUMS);
    folder.write("events.jsonl", events(&[1, 2, 3, 10, 20, 30, 100, 200, 300, 7]));
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    let renamed = SUMS
        .replace("id = \"events\"", "id = \"numbers\"")
        .replace("id = \"out\"", "id = \"sums\"");
    folder.write("pipeline.toml", renamed);
    let refused = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    refused.ends_with(78, &["`--rename events=NEW` or `--drop events`"]);
    let done = migrate(&folder, &["--rename", "events=numbers", "--rename", "out=sums"]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    folder.append("events.jsonl", &events(&[8, 9, 9]));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    assert_eq!(finished.succeeds().count("events_in"), 3);
    assert_eq!(folder.json_lines("out.jsonl").len(), 3, "those of the first run");
}

#[test]
fn a_source_that_is_restarted_is_read_from_its_start_and_windows_stay() {
    let folder = Folder::with_pipeline(SUMS);
    folder.write("events.jsonl", events(&[1, 2, 3]));
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    folder.write("events.jsonl", events(&[10, 20, 30, 100, 200, 300]));
    let rotated = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    rotated.ends_with(1, &["source `events`"]);
    migrate(&folder, &["--restart", "none"]).ends_with(1, &["no source `none`"]);
    let done = migrate(&folder, &["--restart", "events"]);
    assert!(
        done.stdout.contains("source `events` is read from its start"),
        "{}{}",
        done.stdout,
        done.stderr
    );
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    let windows = folder.json_lines("out.jsonl");
    assert_eq!(windows.len(), 3);
    assert!(windows.iter().any(|window| window["sum"] == 111.0), "{windows:?}");
}

/// A run of [`in_flight`] that is killed while events of its sources wait for `slow`.
fn killed_in_flight() -> Folder {
    let folder = Folder::with_pipeline(&in_flight());
    for source in ["a", "b"] {
        folder.write(&format!("{source}.jsonl"), crate::support::numbered(200_000, 7));
    }
    for _ in 0..100 {
        let _ = std::fs::remove_file(folder.path("out.jsonl"));
        let mut running = Dirigo::run(&folder, ["pipeline.toml"])
            .with_state()
            .args(["--fresh"])
            .piped();
        running.hang_up();
        // Of 400,000: checkpoints have been taken by then, and most events still wait.
        folder.wait_for_lines("out.jsonl", 100_000);
        running.kill();
        let listed = Dirigo::command(&folder, "state").args(["ls", "state"]).finish();
        if listed.stdout.contains("in flight slow") {
            return folder;
        }
    }
    panic!("no checkpoint had anything in flight");
}

/// Two sources in front of an operator that takes its time.
fn in_flight() -> String {
    format!(
        r#"
        [pipeline]
        name = "waiting"
        checkpoint = "20ms"
        [[source]]
        id = "a"
        kind = "file"
        path = "a.jsonl"
        [[source]]
        id = "b"
        kind = "file"
        path = "b.jsonl"
        [[operator]]
        id = "slow"
        component = "{}"
        inputs = ["a", "b"]
        config = {{ mode = "dawdle" }}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#,
        guest("map").display()
    )
}

#[test]
fn events_on_their_way_go_with_a_source_that_is_dropped_and_with_an_operator_that_is_renamed() {
    let folder = killed_in_flight();
    let without_a = in_flight()
        .replace(
            "[[source]]\n        id = \"a\"\n        kind = \"file\"\n        path = \"a.jsonl\"\n",
            "",
        )
        .replace("inputs = [\"a\", \"b\"]", "inputs = [\"b\"]")
        .replace("id = \"slow\"", "id = \"slower\"");
    folder.write("pipeline.toml", without_a);
    migrate(&folder, &["--drop", "a"]).ends_with(78, &["events were on their way to it", "`--rename slow=NEW`"]);
    let done = migrate(&folder, &["--drop", "a", "--rename", "slow=slower"]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert!(done.stdout.contains("renamed   `slow` to `slower`"), "{}", done.stdout);
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
}

#[test]
fn dead_letters_go_on_in_another_file_after_a_migration() {
    let folder = Folder::with_pipeline(SUMS);
    folder.write("events.jsonl", "{\"n\":\"x\",\"key\":\"a\"}\n");
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    let moved = format!("{SUMS}\n[dead_letters]\npath = \"dead.jsonl\"\n");
    folder.write("pipeline.toml", moved);
    assert_eq!(migrate(&folder, &[]).code(), 0);
    folder.append("events.jsonl", "{\"n\":\"y\",\"key\":\"a\"}\n");
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    assert_eq!(folder.json_lines("dead.jsonl")[0]["id"], 2);
}

#[test]
fn dead_letters_that_were_cleared_begin_anew_and_are_counted_on() {
    for is_removed in [true, false] {
        let folder = Folder::with_pipeline(SUMS);
        let path = "state/sums/dead-letters.jsonl";
        folder.write("events.jsonl", "{\"n\":\"x\",\"key\":\"a\"}\n");
        Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
        if is_removed {
            std::fs::remove_file(folder.path(path)).unwrap();
        } else {
            folder.write(path, "");
        }
        folder.append("events.jsonl", "{\"n\":\"y\",\"key\":\"a\"}\n");
        let again = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
        assert!(again.stderr.contains("were taken away"), "{}", again.stderr);
        again.succeeds();
        assert_eq!(folder.json_lines(path)[0]["id"], 2);
        folder.write(path, "{\n");
        Dirigo::run(&folder, ["pipeline.toml"])
            .with_state()
            .finish()
            .ends_with(1, &["dead letters", "it has 2 bytes", "restore it"]);
    }
}

#[test]
fn a_change_on_the_command_line_is_blamed_on_it() {
    let folder = Folder::with_pipeline(SUMS);
    folder.write("events.jsonl", events(&[1, 2, 3]));
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    Dirigo::run(&folder, ["pipeline.toml"])
        .with_state()
        .set("operator.sum.config.aggregate", "max")
        .finish()
        .ends_with(78, &["in `-s operator.sum.config.aggregate=max`", "`--accept sum`"]);
}
