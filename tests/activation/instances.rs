//! Many actors, few instances.

use std::collections::BTreeMap;

use crate::support::{Dirigo, Folder, numbered};

/// Sums per key and window of three.
fn sums(actors: &str) -> Folder {
    Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "sums"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        time = "/n"
        [[operator]]
        id = "map"
        component = "builtin:map"
        config = {{ field = "n", scale = 1.0, into = "m" }}
        [[operator]]
        id = "sums"
        component = "builtin:reduce"
        {actors}
        window = {{ count = 3 }}
        config = {{ field = "m", aggregate = "sum" }}
        [[operator]]
        id = "filter"
        component = "builtin:filter"
        config = {{ field = "sum", min = 0.0 }}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        order = "source"
        "#
    ))
}

#[test]
fn a_hundred_thousand_actors_share_a_few_hundred_instances_and_lose_nothing() {
    const KEYS: u64 = 100_000;
    let folder = sums("actors = \"per-key\"");
    // Each key comes once in each round, so hardly any actor is still active when its next event comes.
    folder.write("events.jsonl", numbered(3 * KEYS, KEYS));
    let finished = Dirigo::run(&folder, ["pipeline.toml"])
        .args(["--instances", "500"])
        .finish();
    let summary = finished.succeeds();
    assert_eq!(summary.count("events_in"), 3 * KEYS);
    assert_eq!(summary.operator("sums", "absorbed"), 3 * KEYS);
    assert_eq!(summary.count("events_out"), KEYS);
    assert!(summary.operator("sums", "activations") >= KEYS);
    assert_eq!(
        summary.operator("sums", "activations"),
        summary.operator("sums", "deactivations")
    );

    let windows = folder.json_lines("out.jsonl");
    let mut found: BTreeMap<&str, f64> = BTreeMap::new();
    for window in &windows {
        assert_eq!(window["count"], 3);
        let again = found.insert(window["key"].as_str().unwrap(), window["sum"].as_f64().unwrap());
        assert_eq!(again, None, "{window}");
    }
    for key in 0..KEYS {
        #[allow(clippy::cast_precision_loss, reason = "sums are far below 2^52")]
        let sum = (key + key + KEYS + key + 2 * KEYS) as f64;
        assert_eq!(found.get(format!("k-{key}").as_str()), Some(&sum), "key {key}");
    }
    // 500 instances of 64 KiB, 64 MiB of cache and 8 MiB of records on their way, what is in flight, and room to spare.
    assert!(finished.peak_bytes < 700 << 20, "{} bytes", finished.peak_bytes);
}

#[test]
fn an_actor_for_each_key_puts_out_what_shards_do() {
    let (per_key, shards) = (sums("actors = \"per-key\""), sums("shards = 5"));
    for folder in [&per_key, &shards] {
        folder.write("events.jsonl", numbered(50_000, 999));
    }
    Dirigo::run(&shards, ["pipeline.toml"]).finish().succeeds();
    for (instances, workers) in [("4", "1"), ("50", "2"), ("5000", "8")] {
        let run = Dirigo::run(&per_key, ["pipeline.toml"]);
        run.args(["--instances", instances, "--workers", workers])
            .finish()
            .succeeds();
        assert!(
            per_key.read("out.jsonl") == shards.read("out.jsonl"),
            "{instances} instances and {workers} workers differ from shards"
        );
    }
}

#[test]
fn one_place_for_an_instance_is_enough_for_any_pipeline() {
    let folder = sums("shards = 3");
    // More events than a mailbox takes, so that the first operator waits for those behind it.
    folder.write("events.jsonl", numbered(300_000, 1000));
    let run = |instances: &str| {
        Dirigo::run(&folder, ["pipeline.toml"])
            .args(["--instances", instances])
            .finish()
            .succeeds();
        folder.read("out.jsonl")
    };
    assert!(run("1") == run("1000"));
}

#[test]
fn state_in_a_directory_outlives_actors_and_runs() {
    let (whole, parts) = (sums("actors = \"per-key\""), sums("actors = \"per-key\""));
    whole.write("events.jsonl", numbered(30_000, 5_000));
    Dirigo::run(&whole, ["pipeline.toml"]).finish().succeeds();
    let lines = numbered(30_000, 5_000);
    let half = lines.lines().take(12_345).map(str::len).sum::<usize>() + 12_345;
    parts.write("events.jsonl", &lines[..half]);
    let run = || {
        Dirigo::run(&parts, ["pipeline.toml"])
            .with_state()
            .args(["--instances", "100"])
            .finish()
    };
    run().succeeds();
    parts.append("events.jsonl", &lines[half..]);
    run().succeeds();
    assert!(parts.read("out.jsonl") == whole.read("out.jsonl"));
}
