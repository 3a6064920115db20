//! Actors that nobody talks to give their instances up, and nothing else.

use crate::support::{Dirigo, Folder};

/// Twenty readings of one sensor, averaged by fours.
fn averages(source: &str, operator: &str) -> Folder {
    Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "averages"
        [[source]]
        id = "readings"
        kind = "generator"
        sensors = 1
        count = 20
        key = "/sensor"
        time = "/ts"
        {source}
        [[operator]]
        id = "averages"
        component = "builtin:reduce"
        window = {{ count = 4 }}
        config = {{ field = "value", aggregate = "avg" }}
        {operator}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#
    ))
}

#[test]
fn an_idle_actor_gives_its_instance_up_and_finds_its_state_again() {
    let busy = averages("", "shards = 1");
    let finished = Dirigo::run(&busy, ["pipeline.toml"]).finish();
    assert_eq!(finished.succeeds().operator("averages", "activations"), 1);
    assert_eq!(busy.read("out.jsonl").lines().count(), 5);
    for actors in ["shards = 1", "actors = \"per-key\""] {
        // Ten readings per second, and who is idle for a hundredth of one gives up: the host looks every 50 ms.
        let slow = averages("rate = 10", &format!("{actors}\nidle_timeout = \"10ms\""));
        let finished = Dirigo::run(&slow, ["pipeline.toml"]).finish();
        let summary = finished.succeeds();
        assert!(summary.operator("averages", "activations") > 1, "{actors}");
        assert_eq!(
            summary.operator("averages", "activations"),
            summary.operator("averages", "deactivations"),
            "{actors}"
        );
        assert_eq!(slow.read("out.jsonl"), busy.read("out.jsonl"), "{actors}");
    }
}

#[test]
fn an_actor_that_is_not_idle_for_long_stays() {
    let slow = averages("rate = 20", "shards = 1\nidle_timeout = \"1h\"");
    let finished = Dirigo::run(&slow, ["pipeline.toml"]).finish();
    assert_eq!(finished.succeeds().operator("averages", "activations"), 1);
}
