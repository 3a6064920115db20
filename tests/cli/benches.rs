//! `dirigo bench`: the shape of what it prints, and that no event is lost. What it measures is not judged here.

use dirigo::engine::builtin;
use serde_json::Value;

use crate::support::{Folder, assert_says};

/// A cell lasts as briefly as possible.
const BRIEF: [&str; 4] = ["--duration", "0.3s", "--workers", "1"];

fn bench(folder: &Folder, which: &str, arguments: &[&str]) -> Value {
    let arguments = [&["bench", which, "-o", "json"], &BRIEF[..], arguments].concat();
    folder.dirigo(&arguments).expect(0).json()
}

#[track_caller]
fn assert_complete(cell: &Value, events: u64) {
    for figure in ["p50_us", "p99_us", "max_us"] {
        assert!(cell[figure].as_f64().unwrap() > 0.0, "{figure} of {cell}");
    }
    assert!(cell["p999_us"].is_null(), "there is none of so few events: {cell}");
    assert_eq!(cell["events"], events, "{cell}");
    for fault in ["lost", "doubled", "misplaced"] {
        assert_eq!(cell[fault], 0, "{fault} of {cell}");
    }
}

#[test]
fn isolation_measures_a_victim_alone_and_beside_a_neighbour_under_each_policy() {
    let folder = Folder::new();
    let arguments = ["--rate", "200", "--kinds", "infinite-loop", "--plot", "plots"];
    let measured = bench(&folder, "isolation", &arguments);
    assert_eq!(measured["workers"], 1);
    for policy in ["fair", "fifo"] {
        let column = &measured["policy"][policy];
        // 60 events are measured, of which the filter drops each tenth.
        assert_complete(&column["alone"], 54);
        assert_complete(&column["beside"]["infinite-loop"], 54);
        assert!(column["beside"]["infinite-loop"]["bound"].is_string());
        assert!(column["beside"]["infinite-loop"]["neighbour"]["poll_bound"].is_string());
    }
    assert_eq!(
        measured["policy"]["fair"]["verdict"]["claim"], "no-verdict",
        "of 54 events"
    );
    assert!(
        measured["policy"]["fifo"]["verdict"].is_null(),
        "it does not isolate tenants"
    );
    assert_complete(&measured["machine"]["ends_beside_native_hogs"], 60);
    assert!(folder.read("plots/isolation.svg").contains("infinite-loop</text>"));
}

#[test]
fn no_kind_of_neighbour_makes_the_victim_lose_an_event() {
    let measured = bench(&Folder::new(), "isolation", &["--rate", "100", "--policy", "fair"]);
    let beside = measured["policy"]["fair"]["beside"].as_object().unwrap();
    assert!(beside.len() > 10, "{beside:?}");
    for (kind, cell) in beside {
        assert_complete(cell, 27);
        // One that never returns takes no event in, and events that wait take no slice of a guest.
        let did = |what: &str| cell["neighbour"][what].as_u64().unwrap();
        assert!(did("slices") + did("events") > 0, "{kind} did nothing");
    }
}

#[test]
fn a_neighbour_that_never_returns_starves_others_under_fifo_until_it_is_stopped() {
    let folder = Folder::new();
    let arguments = ["--rate", "100", "--kinds", "infinite-loop", "--policy", "fifo"];
    let measured = bench(&folder, "isolation", &arguments);
    assert_eq!(measured["policy"]["fifo"]["beside"]["infinite-loop"]["starved"], 27);
}

#[test]
fn a_component_of_ones_own_can_be_the_neighbour() {
    let folder = Folder::new();
    folder.write("op.wasm", builtin::get("reduce").unwrap());
    let config = r#"{"field":"value","aggregate":"max"}"#;
    let own = ["--component", "op.wasm", "--config", config];
    let measured = bench(
        &folder,
        "isolation",
        &[&own[..], &["--policy", "fair", "--rate", "200"]].concat(),
    );
    let cell = &measured["policy"]["fair"]["beside"]["component"];
    assert_complete(cell, 54);
    assert!(
        cell["neighbour"]["events"].as_u64().unwrap() > 0 && cell["neighbour"]["dead_letters"] == 0,
        "{cell}"
    );
}

#[test]
fn a_component_that_cannot_be_used_is_a_configuration_error() {
    let folder = Folder::new();
    let missing = folder
        .dirigo(&["bench", "isolation", "--component", "no.wasm"])
        .expect(78);
    assert_says(&missing.stderr, &["cannot find the component", "no.wasm"]);
    folder.write("op.wasm", builtin::get("map").unwrap());
    let refused = folder
        .dirigo(&["bench", "isolation", "--component", "op.wasm"])
        .expect(78);
    assert_says(&refused.stderr, &["refuses its configuration", "the benchmark makes"]);
    let without_events = folder
        .dirigo(&["bench", "isolation", "--component", "op.wasm", "--events", "none.jsonl"])
        .expect(78);
    assert_says(&without_events.stderr, &["--events", "none.jsonl"]);
}

#[test]
fn a_time_in_which_nothing_can_be_measured_is_a_usage_error() {
    let ran = Folder::new()
        .dirigo(&["bench", "sharing", "--duration", "1ms"])
        .expect(2);
    assert_says(&ran.stderr, &["1ms", "at least 100ms"]);
}

#[test]
fn tables_are_narrower_than_a_terminal() {
    let folder = Folder::new();
    let arguments = ["bench", "isolation", "--kinds", "greedy", "--rate", "100"];
    let printed = folder.dirigo(&[&arguments, &BRIEF[..]].concat()).expect(0).stdout;
    assert_says(
        &printed,
        &[
            "fair, next to",
            "alone",
            "greedy",
            "fifo, next to",
            "native hogs",
            "fair: no verdict: a p99 needs 1000 events and there were 27",
            "fifo: not judged",
        ],
    );
    assert!(printed.lines().all(|line| line.chars().count() <= 100), "{printed}");
}

#[test]
fn an_unknown_kind_is_a_usage_error_that_names_those_that_there_are() {
    let ran = Folder::new()
        .dirigo(&["bench", "isolation", "--kinds", "politeness"])
        .expect(2);
    assert_says(
        &ran.stderr,
        &[
            "politeness",
            "there is no such kind",
            "`infinite-loop`",
            "`memory-bomb`",
        ],
    );
}

#[test]
fn sharing_measures_the_share_of_each_weight() {
    let measured = bench(&Folder::new(), "sharing", &["--actors", "2", "--policy", "fair"]);
    let tenants = measured["sharing"][0]["tenants"].as_array().unwrap();
    let sum = |field: &str| {
        tenants
            .iter()
            .map(|tenant| tenant[field].as_f64().unwrap())
            .sum::<f64>()
    };
    assert_eq!(tenants.len(), 3);
    assert!((sum("share") - 1.0).abs() < 1e-9 && (sum("fair_share") - 1.0).abs() < 1e-9);
}

#[test]
fn deadlines_measures_the_share_that_is_met_under_each_policy() {
    let measured = bench(&Folder::new(), "deadlines", &["--loads", "0.1"]);
    let met = measured["deadlines"].as_array().unwrap();
    let policies: Vec<&str> = met.iter().map(|met| met["policy"].as_str().unwrap()).collect();
    assert_eq!(policies, ["fifo", "fair", "deadline"]);
    assert!(
        met.iter()
            .all(|met| (0.0..=1.0).contains(&met["all"].as_f64().unwrap()))
    );
}
