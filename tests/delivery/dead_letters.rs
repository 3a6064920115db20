//! How many events may fail, and how those that did get back into their pipeline.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Dirigo, Folder, Random, assert_says, dead_letters, number_of};

/// Events with a `value` become ones with `twice`; those without one fail. `more` follows the operator.
fn pipeline(more: &str) -> Folder {
    let folder = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "p"
        checkpoint = "20ms"
        [[source]]
        id = "in"
        kind = "file"
        path = "events.jsonl"
        key = "/k"
        [[operator]]
        id = "map"
        component = "builtin:map"
        config = {{ field = "value", scale = 2.0, into = "twice" }}
        {more}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#
    ));
    folder.write("events.jsonl", "");
    folder
}

/// Events of which every `every`th has its value under another name.
fn events(count: u64, every: u64) -> String {
    let field = |n: u64| if n % every == every - 1 { "other" } else { "value" };
    (0..count)
        .map(|n| format!("{{\"n\":{n},\"k\":\"k-{}\",\"{}\":{n}}}\n", n % 7, field(n)))
        .collect()
}

fn run(folder: &Folder) -> Dirigo {
    Dirigo::run(folder, ["pipeline.toml"])
}

fn retry(folder: &Folder) -> Dirigo {
    Dirigo::command(folder, "dead-letters").args(["retry", "pipeline.toml"])
}

/// A retry with a pipeline that finds the value.
fn mended(folder: &Folder) -> Dirigo {
    retry(folder).set("operator.map.config.field", "other")
}

/// By key the numbers in the output, in its order.
fn by_key(folder: &Folder) -> BTreeMap<String, Vec<u64>> {
    let mut by_key: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for event in folder.json_lines("out.jsonl") {
        let numbers = by_key.entry(event["k"].as_str().unwrap().to_owned()).or_default();
        numbers.push(event["n"].as_u64().unwrap());
    }
    by_key
}

/// The numbers in the output, sorted.
fn numbers(folder: &Folder) -> Vec<u64> {
    let mut numbers: Vec<u64> = by_key(folder).into_values().flatten().collect();
    numbers.sort_unstable();
    numbers
}

fn list(folder: &Folder, place: &str) -> Value {
    let listed = Dirigo::command(folder, "dead-letters")
        .args(["list", place, "-o", "json"])
        .finish();
    serde_json::from_str(&listed.stdout).unwrap()
}

#[test]
fn a_run_in_which_every_event_fails_fails() {
    for state in [false, true] {
        let folder = pipeline("");
        folder.write("events.jsonl", events(5, 1));
        let run = if state { run(&folder).with_state() } else { run(&folder) };
        let finished = run.finish();
        finished.ends_with(
            1,
            &[
                "error: pipeline `p`: dead letters: all 5 events failed",
                "5 dead letters",
            ],
        );
        let summary = finished.summary().pipeline("p");
        assert_eq!(summary["outcome"], "failed");
    }
    let folder = pipeline("");
    folder.write("events.jsonl", events(5, 5));
    run(&folder).finish().succeeds();
}

#[test]
fn a_run_in_which_an_operator_fails_with_all_its_events_fails() {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "p"
        [dead_letters]
        path = "dead.jsonl"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        [[operator]]
        id = "some"
        component = "builtin:filter"
        config = { field = "n", min = 50 }
        [[operator]]
        id = "mapped"
        component = "builtin:map"
        config = { field = "m" }
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#,
    );
    let some = |count: u64| (0..count).map(|n| format!("{{\"n\":{n}}}\n")).collect::<String>();
    folder.write("events.jsonl", some(150));
    let words = ["error: pipeline `p`: dead letters: operator `mapped`: all 100 events failed"];
    run(&folder).finish().ends_with(1, &words);
    // Of fewer it may be the events that are to blame.
    folder.write("events.jsonl", some(149));
    run(&folder).finish().ends_with(0, &["99 dead letters"]);
}

#[test]
fn more_dead_letters_than_the_pipeline_allows_fail_the_run() {
    let max = |max: &str| pipeline(&format!("[dead_letters]\npath = \"dead.jsonl\"\nmax = {max}"));
    for (allowed, share, ends) in [
        ("10", 10, 0),
        ("9", 10, 1),
        ("\"10%\"", 10, 0),
        ("\"9.9%\"", 10, 1),
        ("0", 100, 1),
    ] {
        let folder = max(allowed);
        folder.write("events.jsonl", events(100, share));
        let finished = run(&folder).finish();
        finished.ends_with(ends, &[]);
        if ends == 1 {
            let words = format!("of 100 events failed, more than `max = {allowed}` allows");
            assert!(finished.stderr.contains(&words), "{}", finished.stderr);
        }
    }
    run(&max("\"110%\""))
        .finish()
        .ends_with(78, &["`110%` is no share of the events"]);
    run(&max("-1")).finish().ends_with(78, &["-1 is out of range"]);
}

#[test]
fn a_run_without_end_fails_once_enough_events_are_in() {
    let folder = Folder::with_pipeline(
        "[pipeline]\nname = \"p\"\n[dead_letters]\npath = \"dead.jsonl\"\nmax = \"50%\"\n\
         [[source]]\nid = \"in\"\nkind = \"generator\"\nrate = 20000\n\
         [[operator]]\nid = \"map\"\ncomponent = \"builtin:map\"\nconfig = { field = \"none\" }\n\
         [[sink]]\nid = \"out\"\nkind = \"null\"\n",
    );
    let finished = run(&folder).finish();
    finished.ends_with(1, &["events failed, more than `max = \"50%\"` allows"]);
    assert!(finished.summary().count("events_in") >= 1_000);
}

#[test]
fn dead_letters_are_kept_up_to_what_the_tenant_may_and_then_the_pipeline_stops() {
    let folder = pipeline("[dead_letters]\npath = \"dead.jsonl\"\n[tenant]\ndead_letter_bytes = \"16KiB\"");
    folder.write("events.jsonl", events(200, 2));
    let finished = run(&folder).finish();
    finished.ends_with(1, &["more than the 16384 bytes", "`dead_letter_bytes`"]);
    let kept = fs::metadata(folder.path("dead.jsonl")).unwrap().len();
    assert!((1..=16_384).contains(&kept), "{kept}");
    assert_eq!(finished.summary().json()["tenants"][0]["dead_letter_bytes"], kept);
}

#[test]
fn letters_beyond_the_rate_of_the_tenant_are_counted_and_not_written() {
    let folder = pipeline("[dead_letters]\npath = \"dead.jsonl\"\n[tenant]\ndead_letters_per_second = 5");
    folder.write("events.jsonl", events(2_000, 2));
    let finished = run(&folder).finish();
    let summary = finished.succeeds();
    assert_eq!(summary.count("dead_letters"), 1_000);
    let written = folder.read("dead.jsonl").lines().count() as u64;
    let left_out = 1_000 - written;
    assert!(written >= 5 && left_out > 0, "{written} were written");
    let json = summary.json();
    assert_eq!(json["tenants"][0]["dead_letters_left_out"], left_out);
    assert_eq!(json["pipelines"][0]["dead_letters_left_out"], left_out);
    assert_says(
        &finished.stderr,
        &["more dead letters than the 5 a second", "`dead_letters_per_second`"],
    );
}

#[test]
fn letters_are_counted_by_reason_and_shown_in_full() {
    let folder = pipeline("");
    folder.write("events.jsonl", events(6, 2) + "no JSON\n");
    run(&folder).with_state().finish().succeeds();
    for place in ["state", "state/p", "state/p/dead-letters.jsonl"] {
        let listed = list(&folder, place);
        assert_eq!((&listed[0]["letters"], &listed[0]["retried"]), (&json!(4), &json!(0)));
        let groups = listed[0]["groups"].as_array().unwrap();
        assert_eq!(groups.len(), 2);
        assert_eq!(
            (&groups[0]["operator"], &groups[0]["letters"]),
            (&json!("map"), &json!(3))
        );
        assert_eq!(
            (&groups[1]["operator"], &groups[1]["kind"]),
            (&json!("in"), &json!("source"))
        );
    }
    let letters = |args: &[&str]| {
        let command = Dirigo::command(&folder, "dead-letters").env("XDG_CONFIG_HOME", folder.path("config"));
        command.args(args).finish()
    };
    letters(&["list", "events.jsonl"]).ends_with(1, &["none of the 7 lines of events.jsonl is a dead letter"]);
    let nothing = "nothing is no file or directory, and no pipeline of a service: no service is known";
    letters(&["list", "nothing"]).ends_with(1, &[nothing]);
    let none = "there is no file nothing.jsonl; a run in which nothing fails leaves no file of dead letters";
    letters(&["list", "nothing.jsonl"]).ends_with(1, &[none]);
    let all = dead_letters(&folder, "state/p/dead-letters.jsonl");
    let first = all.into_iter().find(|letter| letter.operator == "map").unwrap();
    let id = first.id.to_string();
    let shown = letters(&["show", "state/p", &id]).stdout;
    for part in [
        "operator   map",
        "kind       rejected",
        first.reason.as_str(),
        "attempt    1",
        "retried    no",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    let shown: Value = serde_json::from_str(&letters(&["show", "state/p", &id, "-o", "json"]).stdout).unwrap();
    assert_eq!(shown["event"]["value"], first.event.value.unwrap());
    letters(&["show", "state/p", "9"]).ends_with(1, &["there is no dead letter 9"]);
}

/// Events that come back after their window has closed take no effect where no input takes them, and the command says so.
#[test]
fn letters_that_come_back_too_late_are_not_said_to_have_got_through() {
    let text = |field: &str, late: &str| {
        format!(
            "[pipeline]\nname = \"p\"\n[[source]]\nid = \"in\"\nkind = \"file\"\npath = \"events.jsonl\"\nkey = \"/k\"\n\
             time = \"/n\"\n[[operator]]\nid = \"f\"\ncomponent = \"builtin:filter\"\nconfig = {{ field = \"{field}\", min = 0 }}\n\
             [[operator]]\nid = \"sum\"\ncomponent = \"builtin:reduce\"\nwindow = {{ tumbling = \"5ms\" }}\n\
             config = {{ field = \"value\", aggregate = \"sum\" }}\n\
             [[sink]]\nid = \"out\"\nkind = \"file\"\npath = \"out.jsonl\"\ninputs = [\"sum\"{late}]\n"
        )
    };
    for (late, code) in [("", 1), (", \"sum.late\"", 0)] {
        // The events without `other` fail, and one with it closes the windows of all.
        let folder = Folder::with_pipeline(&text("other", late));
        folder.write(
            "events.jsonl",
            events(20, 100) + "{\"n\":1000,\"k\":\"k-1\",\"other\":1,\"value\":1}\n",
        );
        run(&folder).with_state().finish().succeeds();
        folder.write("pipeline.toml", text("value", late));
        let retried = retry(&folder).args(["--state", "state"]).finish();
        assert_eq!(retried.code(), code, "{}{}", retried.stdout, retried.stderr);
        let says = retried
            .stdout
            .contains("20 events came too late for their windows and took no effect");
        assert_eq!(says, code == 1, "{}", retried.stdout);
    }
}

#[test]
fn a_state_in_which_nothing_failed_has_no_letters_to_list() {
    let folder = pipeline("");
    folder.write("events.jsonl", events(20, 100));
    run(&folder).with_state().finish().succeeds();
    let listed = Dirigo::command(&folder, "dead-letters")
        .args(["list", "state"])
        .finish();
    listed.ends_with(0, &[]);
    assert_eq!(listed.stdout, "state: no dead letters\n");
}

#[test]
fn a_letter_that_gets_through_is_added_to_the_output_once() {
    for state in [false, true] {
        let folder = pipeline("[dead_letters]\npath = \"dead.jsonl\"");
        folder.write("events.jsonl", events(20, 4));
        let with = |dirigo: Dirigo| if state { dirigo.with_state() } else { dirigo };
        with(run(&folder)).finish().succeeds();
        assert_eq!(numbers(&folder).len(), 15);

        let again = with(retry(&folder)).finish();
        again.ends_with(1, &[]);
        assert!(
            again.stdout.contains("5 dead letters retried, 5 failed again"),
            "{}",
            again.stdout
        );
        let letters = dead_letters(&folder, "dead.jsonl");
        let tried: Vec<u32> = letters.iter().map(|letter| letter.attempt).collect();
        assert_eq!(tried, [1, 1, 1, 1, 1, 2, 2, 2, 2, 2]);

        let one = with(mended(&folder)).args(["--id", "7"]).finish();
        one.ends_with(0, &[]);
        assert_eq!(numbers(&folder).len(), 16);
        let rest = with(mended(&folder)).finish();
        rest.ends_with(0, &[]);
        assert!(
            rest.stdout.contains("4 dead letters retried, all got through"),
            "{}",
            rest.stdout
        );
        assert_eq!(numbers(&folder), (0..20).collect::<Vec<u64>>());
        let none = with(mended(&folder)).finish();
        none.ends_with(0, &[]);
        assert!(none.stdout.contains("no dead letters to retry"), "{}", none.stdout);
        with(mended(&folder))
            .args(["--id", "77"])
            .finish()
            .ends_with(1, &["has no letter to retry"]);
        Dirigo::command(&folder, "dead-letters")
            .args(["list", "pipeline.toml"])
            .finish()
            .ends_with(1, &["lines of pipeline.toml is a dead letter"]);
        let listed = list(&folder, "dead.jsonl");
        assert_eq!((&listed[0]["letters"], &listed[0]["retried"]), (&json!(10), &json!(10)));

        // What the retry wrote is the pipeline's as well.
        folder.append("events.jsonl", "{\"n\":20,\"k\":\"a\",\"value\":1}\n");
        let next = with(run(&folder)).finish();
        assert_eq!(next.succeeds().count("events_in"), if state { 1 } else { 21 });
        assert_eq!(numbers(&folder).len(), if state { 21 } else { 16 });
        if !state {
            assert_eq!(
                list(&folder, "dead.jsonl")[0]["retried"],
                0,
                "a new run has new letters"
            );
        }
    }
}

#[test]
fn a_letter_can_be_retried_with_another_component() {
    let folder = pipeline("");
    folder.write("events.jsonl", events(4, 4));
    run(&folder).finish().succeeds();
    let retried = retry(&folder)
        .args(["--component", "builtin:filter"])
        .set("operator.map.config", "{ field = \"other\", min = 0 }")
        .finish();
    retried.ends_with(0, &[]);
    assert_eq!(numbers(&folder), [0, 1, 2, 3]);
}

/// Sums of three, behind the map.
const SUMS: &str = "[[operator]]\nid = \"sums\"\ncomponent = \"builtin:reduce\"\nwindow = { count = 3 }\n\
                    config = { field = \"n\", aggregate = \"sum\" }\n";

#[test]
fn a_letter_completes_the_window_that_waits_for_it() {
    let folder = pipeline(SUMS);
    let event = |n: u64, field: &str| format!("{{\"n\":{n},\"k\":\"a\",\"{field}\":1}}\n");
    folder.write(
        "events.jsonl",
        event(1, "value") + &event(2, "other") + &event(4, "value"),
    );
    run(&folder).with_state().finish().succeeds();
    assert_eq!(folder.read("out.jsonl"), "");
    mended(&folder).with_state().finish().ends_with(0, &[]);
    let out = folder.json_lines("out.jsonl");
    assert_eq!((out.len(), &out[0]["sum"]), (1, &json!(7.0)));
    run(&folder).with_state().finish().succeeds();
    assert_eq!(folder.json_lines("out.jsonl").len(), 1);
}

#[test]
fn letters_of_windows_that_are_gone_stay() {
    let folder = pipeline(SUMS);
    folder.write("events.jsonl", events(4, 4));
    run(&folder).finish().succeeds();
    let left = mended(&folder).finish();
    left.ends_with(0, &[]);
    assert!(
        left.stdout
            .contains("1 stays: operator `sums` keeps state, and that of a run without"),
        "{}",
        left.stdout
    );
    assert_eq!(list(&folder, "p.dead.jsonl")[0]["retried"], 0);
}

#[test]
fn a_retry_that_a_sink_cannot_take_changes_nothing_and_can_be_given_up() {
    let folder = pipeline("");
    let text = folder.read("pipeline.toml").replace("out.jsonl", "out.csv");
    folder.write("pipeline.toml", text);
    folder.write("events.jsonl", events(4, 4));
    run(&folder).finish().succeeds();
    let table = folder.read("out.csv");
    for _ in 0..2 {
        let words = [
            "sink `out`",
            "an event has `other`",
            "to give it up, remove .p.dead.jsonl.retry",
        ];
        mended(&folder).finish().ends_with(1, &words);
        assert_eq!(folder.read("out.csv"), table);
    }
    let columns = "[\"n\", \"k\", \"other\", \"twice\"]";
    let with_columns = mended(&folder).set("sink.out.columns", columns).finish();
    with_columns.ends_with(1, &["its columns are n, k, value, twice"]);
    assert_eq!(folder.read("out.csv"), table);
    assert_eq!(list(&folder, "p.dead.jsonl")[0]["retried"], 0);
    fs::remove_dir_all(folder.path(".p.dead.jsonl.retry")).unwrap();
    let again = retry(&folder).finish();
    assert!(
        again.stdout.contains("1 dead letter retried, 1 failed again"),
        "{}",
        again.stdout
    );
}

#[test]
fn a_retry_needs_the_state_that_it_names() {
    let folder = pipeline("");
    retry(&folder)
        .with_state()
        .finish()
        .ends_with(1, &["there is no state of the pipeline in state/p"]);
}

#[test]
fn a_retry_that_is_killed_again_and_again_retries_each_letter_once() {
    const EVENTS: u64 = 30_000;
    let (kills, seed) = (number_of("DIRIGO_KILLS", 20) / 4, number_of("DIRIGO_SEED", 1));
    let mut random = Random(seed);
    println!("DIRIGO_KILLS={kills} DIRIGO_SEED={seed}");
    for state in [false, true] {
        let folder = pipeline("");
        folder.write("events.jsonl", events(EVENTS, 2));
        let with = |dirigo: Dirigo| if state { dirigo.with_state() } else { dirigo };
        with(run(&folder)).finish().succeeds();
        let mut killed = 0;
        while killed < kills {
            let mut running = with(mended(&folder)).piped();
            running.hang_up();
            std::thread::sleep(Duration::from_micros(random.next() % 300_000));
            if !running.kill() {
                break;
            }
            killed += 1;
        }
        with(mended(&folder)).finish().ends_with(0, &[]);
        let by_key = by_key(&folder);
        let mut all: Vec<u64> = by_key.values().flatten().copied().collect();
        all.sort_unstable();
        assert!(
            all.into_iter().eq(0..EVENTS),
            "each event is there once after {killed} kills"
        );
        for (key, numbers) in by_key {
            let retried: Vec<u64> = numbers.into_iter().filter(|n| n % 2 == 1).collect();
            assert!(retried.is_sorted(), "the letters of {key} kept their order");
        }
        println!("{killed} kills of a retry");
    }
}
