//! What was acknowledged is there after a kill: pipelines, and each event once.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{Folder, Random, event, number_of, numbers};
use crate::{Serving, deployment, idle, passing, pushed};

#[test]
fn each_event_that_was_acknowledged_comes_out_once_through_kills_of_the_service() {
    let kills = number_of("DIRIGO_KILLS", 8);
    let seed = number_of("DIRIGO_SEED", 1);
    println!("seed {seed}, {kills} kills");
    let mut random = Random(seed);
    let folder = Folder::with_pipeline(&pushed("push", &passing()));
    let mut service = Serving::start(&folder);
    service.deploys("pipeline.toml");
    let mut sent = 0;
    for kill in 0..=kills {
        let source = service.source();
        // The last run takes events too: the file has all lines that are awaited only once they are written to it, and
        // what the kill before had left uncommitted is cut off by then.
        for _ in 0..=random.below(20) {
            let body: String = (sent..sent + 5).map(|n| event(n, &format!("k-{}", n % 3))).collect();
            let answer = source.post(body.as_bytes(), &[("Idempotency-Key", &format!("{sent}"))]);
            assert_eq!(answer.unwrap().status, 200);
            sent += 5;
        }
        if kill < kills {
            service.kill();
            service = Serving::start(&folder);
        }
    }
    let out = "service/files/default/push/out.jsonl";
    folder.wait_for_lines(out, sent);
    service.end();
    let found = numbers(&folder.read(out));
    assert_eq!(found.len() as u64, sent, "none is lost or comes twice");
    assert_eq!(found.iter().copied().collect::<BTreeSet<_>>(), (0..sent).collect());
    for key in 0..3 {
        let of_key: Vec<u64> = found.iter().copied().filter(|n| n % 3 == key).collect();
        assert!(of_key.is_sorted(), "the order of a key: {of_key:?}");
    }
}

#[test]
fn what_was_deployed_stopped_or_deleted_before_a_kill_is_so_after_it() {
    let folder = Folder::new();
    let mut service = Serving::start(&folder);
    for name in ["runs", "stopped", "deleted"] {
        assert_eq!(
            service
                .ask("POST", "/api/v1/pipelines", Some(&deployment(&idle(name))))
                .status,
            201
        );
    }
    let path = |name: &str| format!("/api/v1/tenants/default/pipelines/{name}");
    assert_eq!(
        service
            .ask("POST", &format!("{}/stop?drain=0s", path("stopped")), None)
            .status,
        200
    );
    assert_eq!(service.ask("DELETE", &path("deleted"), None).status, 202);
    service.kill();
    service = Serving::start(&folder);
    service.wait_for("default/runs", "running");
    assert_eq!(service.details("default/stopped")["state"], "stopped");
    let listed = || {
        service
            .ask("GET", "/api/v1/pipelines", None)
            .body
            .as_array()
            .unwrap()
            .len()
    };
    while listed() > 2 {
        std::thread::yield_now();
    }
    assert_eq!(service.ask("GET", &path("deleted"), None).status, 404);
    assert!(!folder.path("service/state/default/deleted").exists());
    service.end();
}

#[test]
fn a_pipeline_that_cannot_start_is_tried_again_and_a_stop_comes_through() {
    let folder = Folder::new();
    let service = Serving::start(&folder);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let pipeline = idle("p").replace("127.0.0.1:0", &address);
    assert_eq!(
        service
            .ask("POST", "/api/v1/pipelines", Some(&deployment(&pipeline)))
            .status,
        201
    );
    let failed = service.wait_until("default/p", "failed", |details| details["retry_at_ms"].is_i64());
    assert!(
        failed["reason"].as_str().unwrap().contains("cannot listen at"),
        "{failed:#}"
    );
    // It is started again as soon as it is asked for, and once the address is free, it runs.
    drop(taken);
    assert_eq!(
        service
            .ask("POST", "/api/v1/tenants/default/pipelines/p/start", None)
            .status,
        200
    );
    service.wait_for("default/p", "running");
    let answer = service.ask("POST", "/api/v1/tenants/default/pipelines/p/stop", None);
    assert_eq!(answer.status, 200, "{answer:?}");
    service.wait_for("default/p", "stopped");
    let unready = service.ask_as(None, "GET", "/api/v1/about", Some(&json!({})));
    assert_eq!(unready.status, 401);
    service.end();
}

#[test]
fn a_pipeline_that_is_stopped_or_upgraded_before_it_started_gives_back_what_it_had() {
    let folder = Folder::new();
    let service = Serving::start(&folder);
    let path = "/api/v1/tenants/default/pipelines/p";
    for round in 0..20 {
        let deployed = service.ask("POST", "/api/v1/pipelines", Some(&deployment(&idle("p"))));
        assert_eq!(deployed.status, 201, "round {round}: {deployed:?}");
        // Whether it has started by then differs from round to round.
        let (method, place) = [("POST", format!("{path}/stop?drain=0s")), ("PUT", path.to_owned())][round % 2].clone();
        let answer = service.ask(method, &place, Some(&deployment(&idle("p"))));
        assert_eq!(answer.status, 200, "round {round}: {answer:?}");
        if method == "PUT" {
            service.wait_for("default/p", "running");
        }
        assert_eq!(service.ask("DELETE", path, None).status, 202);
        while service.ask("GET", path, None).status != 404 {
            std::thread::yield_now();
        }
    }
    service.end();
}
