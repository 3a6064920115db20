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
