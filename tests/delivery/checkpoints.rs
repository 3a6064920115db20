//! What is committed while a run goes on.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use crate::support::{Dirigo, Folder, guest, numbered, numbers};

const EVENTS: u64 = 2_000;

/// One way on which an event is never done with, and one whose output is shown when it is committed.
fn stuck() -> Folder {
    let folder = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "stuck"
        checkpoint = "10ms"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        [[operator]]
        id = "stuck"
        component = "{map}"
        config = {{ mode = "loop", every = 1500 }}
        [operator.limits]
        fuel_per_event = 1_000_000_000_000_000
        [[operator]]
        id = "free"
        component = "{map}"
        inputs = ["events"]
        config = {{ mode = "pass" }}
        [[sink]]
        id = "late"
        kind = "file"
        path = "late/*.jsonl"
        commit = "epoch"
        inputs = ["stuck"]
        [[sink]]
        id = "soon"
        kind = "file"
        path = "soon/*.jsonl"
        commit = "epoch"
        inputs = ["free"]
        "#,
        map = guest("map").display()
    ));
    let events = numbered(EVENTS, 3);
    // Event 0 would be stuck, too.
    folder.write("events.jsonl", events.split_once('\n').unwrap().1);
    folder
}

/// The numbers of the events that readers see in a folder of parts.
fn shown(folder: &Path) -> Vec<u64> {
    let Ok(parts) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut parts: Vec<_> = parts.map(|part| part.unwrap().path()).collect();
    parts.sort();
    let is_shown = |part: &Path| !part.file_name().unwrap().as_encoded_bytes().starts_with(b".");
    let texts = parts.iter().filter(|part| is_shown(part));
    texts
        .flat_map(|part| numbers(&std::fs::read_to_string(part).unwrap()))
        .collect()
}

/// Looks every millisecond, for three minutes.
fn wait_until(is_so: impl Fn() -> bool) {
    let (_held, tick) = mpsc::channel::<()>();
    let mut looks = (0..180_000).map(|_| tick.recv_timeout(Duration::from_millis(1)));
    assert!(looks.any(|_| is_so()), "nothing more is committed");
}

#[test]
fn a_turn_that_does_not_end_holds_up_no_checkpoint_and_is_taken_up_again_after_a_kill() {
    let folder = stuck();
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).with_state().piped();
    running.hang_up();
    wait_until(|| shown(&folder.path("soon")).len() as u64 == EVENTS - 1);
    assert!(running.kill(), "it never ends");
    let before = shown(&folder.path("late"));
    assert!(!before.contains(&1500) && before.is_sorted());

    // The operator keeps no state, so it may change.
    let repaired = Dirigo::run(&folder, ["pipeline.toml"])
        .with_state()
        .set("operator.stuck.config.mode", "pass")
        .finish();
    let resumed = &repaired.succeeds().pipeline("stuck")["resumed"]["stuck"];
    assert!(resumed.as_u64().is_some_and(|events| events > 0), "{resumed}");
    let all: Vec<u64> = (1..EVENTS).collect();
    assert_eq!(shown(&folder.path("late")), all);
    assert_eq!(shown(&folder.path("soon")), all);
}
