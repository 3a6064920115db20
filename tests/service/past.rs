//! What the API answers of the past of a pipeline: its history, and what has failed.

use serde_json::json;

use crate::support::{Folder, numbered};
use crate::{Serving, hostile_map, passing, pushed};

#[test]
fn the_history_of_a_pipeline_has_what_it_did_and_when() {
    let folder = Folder::with_pipeline(&pushed("push", &passing()));
    let mut service = Serving::start(&folder);
    service.deploys("pipeline.toml");
    let source = service.source();
    let path = "/api/v1/tenants/default/pipelines/push/history";
    assert_eq!(source.post(numbered(10, 3).as_bytes(), &[]).unwrap().status, 200);
    folder.wait_for_lines("service/files/default/push/out.jsonl", 10);
    // The service looks every 5 s.
    let history = service.poll(path, "a sample with all events", |history| {
        history["samples"]
            .as_array()
            .unwrap()
            .iter()
            .any(|sample| sample["events_out"] == 10)
    });
    assert_eq!(history["interval_ms"], 5_000);
    let samples = history["samples"].as_array().unwrap();
    let last = samples.last().unwrap();
    assert_eq!(
        (&last["events_in"], &last["state"], &last["version"]),
        (&10.into(), &"running".into(), &1.into())
    );
    assert!(last["worker_ns"].as_u64().unwrap() > 0, "{last}");
    let at = |sample: &serde_json::Value| sample["at_ms"].as_i64().unwrap();
    assert!(samples.iter().is_sorted_by_key(at), "{history}");
    assert!(history["until_ms"].as_i64().unwrap() >= at(last), "{history}");

    service.ask("POST", "/api/v1/tenants/default/pipelines/push/stop", None);
    service.wait_for("default/push", "stopped");
    let from = at(last) + 1;
    let later = service.poll(&format!("{path}?from_ms={from}"), "a sample of the stop", |history| {
        history["samples"]
            .as_array()
            .unwrap()
            .iter()
            .any(|sample| sample["state"] == "stopped")
    });
    let samples = later["samples"].as_array().unwrap();
    assert!(at(&samples[0]) <= from, "the first one says what held before: {later}");
    assert_eq!(samples.last().unwrap()["events_in"], 10, "what it did stays");
    service.end();
}

#[test]
fn the_latest_dead_letters_come_first_with_what_they_were() {
    let map = hostile_map("panic").replace("\" }", "\", every = 2 }");
    let folder = Folder::with_pipeline(&pushed("push", &map));
    let mut service = Serving::start(&folder);
    service.deploys("pipeline.toml");
    let source = service.source();
    assert_eq!(source.post(numbered(20, 1).as_bytes(), &[]).unwrap().status, 200);
    let path = "/api/v1/tenants/default/pipelines/push/dead-letters/latest";
    let letters = service.poll(path, "all ten", |letters| letters.as_array().unwrap().len() == 10);
    let ids: Vec<u64> = letters
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| letter["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, (1..=10).rev().collect::<Vec<_>>());
    let last = &letters[0];
    assert_eq!(
        (&last["operator"], &last["kind"], &last["key"]),
        (&json!("map"), &json!("trap"), &json!("k-0"))
    );
    assert!(
        last["reason"].as_str().unwrap().contains("is more than it can bear"),
        "{last}"
    );
    assert!(last["backtrace"].as_str().unwrap().contains("wasm backtrace"), "{last}");
    assert_eq!(last["value"], "{\"n\":18,\"key\":\"k-0\",\"value\":18.5}");
    let some = service.ask("GET", &format!("{path}?last=3"), None).body;
    assert_eq!(some.as_array().unwrap(), &letters.as_array().unwrap()[..3]);
    service.end();
}
