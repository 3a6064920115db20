//! Processes that are killed at random moments, and what comes out in the end.
//!
//! `DIRIGO_KILLS` and `DIRIGO_SEED` say how many there are and where they fall; both are printed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::{Dirigo, Folder, Random, dead_letters, guest, number_of, numbered};

const EVENTS: u64 = 60_000;
const KEYS: u64 = 37;
/// Enough to fall into every stage of a run: it starts within 50 ms, and takes half a second to its end.
const LIFE_MAX: Duration = Duration::from_millis(200);

/// Windows that list their events, behind a map that panics over some; a second list of what comes out of that, by key.
fn pipeline() -> Folder {
    let folder = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "killed"
        checkpoint = "20ms"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        [[operator]]
        id = "map"
        component = "{map}"
        config = {{ mode = "panic", every = 397 }}
        [[operator]]
        id = "slow"
        component = "{map}"
        config = {{ mode = "dawdle" }}
        [[operator]]
        id = "list"
        component = "{reduce}"
        window = {{ count = 7 }}
        config = {{ mode = "reject", every = 101 }}
        [[operator]]
        id = "each"
        component = "{reduce}"
        inputs = ["slow"]
        actors = "per-key"
        window = {{ count = 3 }}
        config = {{ mode = "panic", every = 1001 }}
        [[sink]]
        id = "in-order"
        kind = "file"
        path = "in-order.jsonl"
        inputs = ["list"]
        order = "source"
        [[sink]]
        id = "by-key"
        kind = "file"
        path = "by-key.jsonl"
        inputs = ["each"]
        "#,
        map = guest("map").display(),
        reduce = guest("reduce").display()
    ));
    folder.write("events.jsonl", numbered(EVENTS, KEYS));
    folder
}

/// Everything that a run leaves, as far as it is the same however the run went.
#[derive(Debug, PartialEq)]
struct Left {
    in_order: String,
    by_key: BTreeMap<String, Vec<String>>,
    /// By operator and position: what was said, and the value.
    dead: BTreeMap<(String, u64), (String, String)>,
}

fn left(folder: &Folder) -> Left {
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (line, text) in folder
        .json_lines("by-key.jsonl")
        .iter()
        .zip(folder.read("by-key.jsonl").lines())
    {
        let key = line["key"].as_str().unwrap().to_owned();
        by_key.entry(key).or_default().push(text.to_owned());
    }
    let all = dead_letters(folder, "state/killed/dead-letters.jsonl");
    let count = all.len();
    let dead: BTreeMap<_, _> = all
        .into_iter()
        .map(|dead_letter| {
            let place = (dead_letter.operator, dead_letter.event.position);
            (place, (dead_letter.reason, dead_letter.event.value.unwrap_or_default()))
        })
        .collect();
    assert_eq!(dead.len(), count, "no event dies twice in one place");
    Left {
        in_order: folder.read("in-order.jsonl"),
        by_key,
        dead,
    }
}

/// Kills runs of a pipeline at random moments until one reaches its end, or there have been so many kills; then lets one end.
/// Gives the kills.
pub(crate) fn kill(folder: &Folder, kills: u64, random: &mut Random) -> u64 {
    let mut killed = 0;
    while killed < kills {
        let workers = 1 + random.next() % 3;
        let mut running = Dirigo::run(folder, ["pipeline.toml"])
            .with_state()
            .workers(u32::try_from(workers).unwrap())
            .piped();
        running.hang_up();
        let life = random.next() % u64::try_from(LIFE_MAX.as_micros()).unwrap();
        std::thread::sleep(Duration::from_micros(life));
        if !running.kill() {
            break;
        }
        killed += 1;
    }
    Dirigo::run(folder, ["pipeline.toml"]).with_state().finish().succeeds();
    killed
}

#[test]
fn a_run_that_is_killed_again_and_again_leaves_what_one_leaves_that_is_not() {
    let (kills, seed) = (number_of("DIRIGO_KILLS", 20), number_of("DIRIGO_SEED", 1));
    let mut random = Random(seed);
    println!("DIRIGO_KILLS={kills} DIRIGO_SEED={seed}");
    let whole = pipeline();
    Dirigo::run(&whole, ["pipeline.toml"]).with_state().finish().succeeds();
    let expected = left(&whole);
    let mut killed = 0;
    while killed < kills {
        let folder = pipeline();
        // Lives of one run are bounded together, so that it ends also where checkpoints come seldom.
        let of_this = kill(&folder, (kills - killed).min(50), &mut random);
        killed += of_this;
        let found = left(&folder);
        for (key, lines) in &expected.by_key {
            assert_eq!(found.by_key.get(key), Some(lines), "after {killed} kills, key {key}");
        }
        assert_eq!(found.dead, expected.dead, "after {killed} kills");
        assert!(found == expected, "after {killed} kills the ordered output differs");
        println!("{of_this} kills of one run");
    }
}

/// A map that makes 10,001 outputs of every event, in slices that end before all of them have left.
fn amplified() -> Folder {
    let folder = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "killed"
        checkpoint = "10ms"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        [[operator]]
        id = "map"
        component = "{}"
        config = {{ mode = "enumerate" }}
        slice = "10us"
        replicas = 3
        limits = {{ fuel_per_event = 100_000_000 }}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#,
        guest("map").display()
    ));
    folder.write("events.jsonl", numbered(100, 1));
    folder
}

#[test]
fn outputs_that_are_on_their_way_when_a_run_is_killed_leave_once() {
    let seed = number_of("DIRIGO_SEED", 1);
    println!("DIRIGO_SEED={seed}");
    let whole = amplified();
    Dirigo::run(&whole, ["pipeline.toml"]).with_state().finish().succeeds();
    let folder = amplified();
    let kills = kill(&folder, 10, &mut Random(seed));
    assert!(
        folder.read("out.jsonl") == whole.read("out.jsonl"),
        "after {kills} kills"
    );
}
