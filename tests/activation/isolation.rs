//! How long an instance lives: as long as its actor is active, or for one turn.

use crate::support::{Dirigo, Folder, guest, numbered, numbers};

const EVENTS: u64 = 20_000;

#[test]
fn a_fresh_instance_for_every_turn_keeps_nothing_of_the_one_before() {
    let folder = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "leaking"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        [[operator]]
        id = "leak"
        component = "{}"
        config = {{ mode = "leak", every = 100 }}
        [operator.limits]
        memory = "4MiB"
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#,
        guest("map").display()
    ));
    folder.write("events.jsonl", numbered(EVENTS, 10));
    let traps = |isolation: &str| {
        let run = Dirigo::run(&folder, ["pipeline.toml"]).workers(1);
        let finished = run.set("operator.leak.isolation", isolation).finish();
        assert!(
            numbers(&folder.read("out.jsonl")).into_iter().eq(0..EVENTS),
            "{isolation}"
        );
        finished.succeeds().operator("leak", "traps")
    };
    // It leaks 12 MiB in all, but no more than 1 MiB in a turn.
    assert!(traps("actor") > 0, "an instance that lives on fills its memory");
    assert_eq!(traps("fresh"), 0);
}

#[test]
fn folds_come_out_the_same_in_fresh_instances() {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "folds"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        time = "/n"
        [[operator]]
        id = "fold"
        component = "builtin:window"
        window = { count = 9 }
        config = { field = "n" }
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        order = "source"
        "#,
    );
    folder.write("events.jsonl", numbered(EVENTS, 101));
    let run = |isolation: &str| {
        let run = Dirigo::run(&folder, ["pipeline.toml"]);
        run.set("operator.fold.isolation", isolation).finish().succeeds();
        folder.read("out.jsonl")
    };
    let kept = run("actor");
    assert!(!kept.is_empty());
    assert!(run("fresh") == kept);
}
