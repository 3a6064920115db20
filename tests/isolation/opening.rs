//! Guests that fail while they are opened: the configuration is at fault, and nothing runs.

use crate::pipeline;
use crate::support::{Dirigo, numbered};

#[test]
fn a_guest_that_cannot_be_opened_is_a_configuration_error_at_its_place_in_the_file() {
    let cases = [
        (
            "reject-in-open",
            ["refuses its configuration", "this guest opens for nobody"],
        ),
        ("panic-in-open", ["cannot be opened", "panicked while it was opened"]),
        ("loop-in-open", ["cannot be opened", "all fuel consumed"]),
        ("memory-in-open", ["cannot be opened", "memory"]),
        ("sleep-in-open", ["cannot be opened", "operators cannot wait"]),
        (
            "no-such-mode",
            ["refuses its configuration", "unknown variant `no-such-mode`"],
        ),
    ];
    for (mode, words) in cases {
        let folder = pipeline(
            "map",
            &format!("{{ mode = \"{mode}\" }}"),
            "[operator.limits]\nfuel_per_event = 100_000\nmemory = \"8MiB\"",
        );
        folder.write("events.jsonl", numbered(10, 1));
        for subcommand in ["run", "check"] {
            let finished = Dirigo::command(&folder, subcommand).args(["pipeline.toml"]).finish();
            finished.ends_with(78, &words);
            finished.ends_with(78, &["operator `guest`", "pipeline.toml:"]);
        }
        assert!(!folder.path("out.jsonl").exists(), "{mode}: nothing ran");
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let folder = pipeline("map", "{ mode = \"reject-in-open\" }", "");
    folder.write("events.jsonl", "");
    let text = folder.read("pipeline.toml");
    let twice = text.replace(
        "[[sink]]",
        "[[operator]]\nid = \"other\"\ncomponent = \"builtin:map\"\nconfig = { feild = \"n\" }\n[[sink]]",
    );
    folder.write("pipeline.toml", twice);
    let finished = Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish();
    finished.ends_with(78, &["this guest opens for nobody", "unknown field `feild`"]);
}

#[test]
fn an_open_that_never_ends_ends_its_own_pipeline_at_its_time_limit() {
    let folder = pipeline(
        "map",
        "{ mode = \"loop-in-open\" }",
        "[operator.limits]\nfuel_per_event = 9_000_000_000_000_000_000\nopen = \"700ms\"",
    );
    folder.write("events.jsonl", numbered(10, 1));
    let limit = [
        "cannot be opened",
        "takes longer than 0.7 s",
        "`open` under `[operator.limits]`",
    ];
    let finished = Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish();
    finished.ends_with(78, &limit);
    finished.ends_with(78, &["pipeline.toml:"]);

    let honest = folder.read("pipeline.toml").replace("loop-in-open", "pass");
    let honest = honest.replace("name = \"hostile\"", "name = \"honest\"");
    folder.write(
        "honest.toml",
        honest
            .replace("out.jsonl", "honest.jsonl")
            .replace("dead.jsonl", "dead-2.jsonl"),
    );
    let finished = Dirigo::run(&folder, ["pipeline.toml", "honest.toml"])
        .workers(1)
        .finish();
    finished.ends_with(1, &limit);
    finished.ends_with(1, &["pipeline `hostile`: operator `guest`"]);
    assert_eq!(
        crate::support::numbers(&folder.read("honest.jsonl")),
        (0..10).collect::<Vec<_>>()
    );
}

#[test]
fn a_time_to_open_out_of_range_is_refused() {
    for open in ["0s", "11m"] {
        let folder = pipeline(
            "map",
            "{ mode = \"pass\" }",
            &format!("[operator.limits]\nopen = \"{open}\""),
        );
        folder.write("events.jsonl", "");
        let finished = Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish();
        finished.ends_with(78, &["`open` is out of range", "\"1ms\" and \"10m\""]);
    }
}
