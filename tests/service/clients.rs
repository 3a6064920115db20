//! The clients: what a person types.

use serde_json::Value;

use crate::support::{Folder, event, numbered, numbers};
use crate::{Serving, command, idle, passing, pushed};

#[test]
fn a_pipeline_is_deployed_watched_stopped_started_and_deleted() {
    let folder = Folder::with_pipeline(&pushed("push", &passing()));
    let mut service = Serving::start(&folder);
    let deployed = service.deploys("pipeline.toml");
    assert_eq!(
        deployed.stdout,
        "pipeline `push` of tenant `default`, version 1: running\n"
    );
    let source = service.source();
    assert_eq!(source.post(numbered(10, 3).as_bytes(), &[]).unwrap().status, 200);
    let out = "service/files/default/push/out.jsonl";
    folder.wait_for_lines(out, 10);

    let listed = service.client("list").finish();
    let line = listed
        .stdout
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .collect::<Vec<_>>();
    assert_eq!(line, ["default", "push", "running", "1", "10", "10", "0"]);
    let status = service.client("status").args(["push"]).finish();
    for says in [
        "running, version 1",
        "10 events in, 10 out, 0 dead letters",
        "guarantee:",
        "OPERATOR",
        "map",
    ] {
        assert!(status.stdout.contains(says), "{says}: {}", status.stdout);
    }
    let json = service.client("status").args(["push", "-o", "json"]).finish();
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["operators"][0]["events_in"], 10, "{json:#}");

    let stopped = service.client("stop").args(["default/push"]).finish();
    assert_eq!(
        stopped.stdout, "pipeline `push` of tenant `default`, version 1: stopped\n",
        "{}",
        stopped.stderr
    );
    assert!(
        source
            .post(event(10, "a").as_bytes(), &[])
            .is_none_or(|answer| answer.status != 200)
    );
    let started = service.client("start").args(["push"]).finish();
    assert_eq!(started.code(), 0, "{}", started.stderr);
    let source = service.source();
    assert_eq!(source.post(event(10, "a").as_bytes(), &[]).unwrap().status, 200);
    folder.wait_for_lines(out, 11);
    let logs = service.client("logs").args(["push"]).finish();
    assert!(logs.stdout.matches("version 1 runs").count() == 2, "{}", logs.stdout);

    let deleted = service.client("delete").args(["push"]).finish();
    assert_eq!(
        deleted.stdout, "pipeline `push` of tenant `default` is deleted\n",
        "{}",
        deleted.stderr
    );
    assert!(
        !folder.path("service/state/default/push").exists()
            && !folder.path("service/pipelines/default/push.json").exists()
    );
    let mut found = numbers(&folder.read(out));
    found.sort_unstable();
    assert_eq!(found, (0..=10).collect::<Vec<_>>(), "what it wrote stays");
    service
        .client("status")
        .args(["push"])
        .finish()
        .ends_with(1, &["there is no pipeline `push`: the service has none"]);
    service.end();
}

#[test]
fn clients_find_the_service_by_the_context_that_it_notes() {
    let folder = Folder::with_pipeline(&idle("p"));
    command(&folder, "list")
        .finish()
        .ends_with(1, &["no service is known: start one with `dirigo serve`"]);
    let service = Serving::start(&folder);
    let listed = command(&folder, "list").finish();
    listed.ends_with(0, &["there are no pipelines"]);
    let deployed = command(&folder, "deploy").args(["pipeline.toml"]).finish();
    assert_eq!(deployed.code(), 0, "{}", deployed.stderr);
    assert!(
        !folder
            .read("config/dirigo/contexts.toml")
            .contains(folder.read("service/operator.token").trim())
    );
    let wrong = folder.write("wrong.token", "0123456789abcdef");
    let refused = command(&folder, "list")
        .args(["--token-file".as_ref(), wrong.as_os_str()])
        .finish();
    refused.ends_with(1, &["this token is not valid"]);
    assert!(!refused.stderr.contains("0123456789abcdef"));
    let contexts = command(&folder, "context").args(["list"]).finish();
    assert!(
        contexts.stdout.contains("local") && contexts.stdout.contains("current"),
        "{}",
        contexts.stdout
    );
    service.end();
    command(&folder, "list")
        .finish()
        .ends_with(1, &["cannot reach the service at http://127.0.0.1:"]);
}

#[test]
fn a_pipeline_that_is_refused_is_shown_as_check_shows_it() {
    let folder = Folder::with_pipeline(&idle("p").replace("builtin:map", "builtin:mapp"));
    let service = Serving::start(&folder);
    let refused = service.client("deploy").args(["pipeline.toml"]).finish();
    refused.ends_with(
        78,
        &[
            "there is no built-in component `mapp`",
            "--> pipeline.toml:",
            "did you mean `map`?",
        ],
    );
    folder.write("pipeline.toml", idle("p").replace("builtin:map", "missing.wasm"));
    let refused = service.client("deploy").args(["pipeline.toml"]).finish();
    refused.ends_with(1, &["cannot read the component missing.wasm"]);
    service.end();
}

#[test]
fn a_file_pipeline_of_the_operator_reads_from_the_folder_that_it_names_and_finishes() {
    let folder = Folder::with_pipeline(
        "[pipeline]\nname = \"copy\"\n[[source]]\nid = \"in\"\nkind = \"file\"\npath = \"events.jsonl\"\n[[sink]]\nid = \"out\"\nkind = \
         \"file\"\npath = \"out.jsonl\"\n",
    );
    folder.write("events.jsonl", numbered(100, 1));
    let service = Serving::start(&folder);
    let refused = service.client("deploy").args(["pipeline.toml"]).finish();
    refused.ends_with(78, &["cannot find the source file"]);
    let deployed = service
        .client("deploy")
        .args(["pipeline.toml", "--folder", "."])
        .finish();
    assert_eq!(deployed.code(), 0, "{}", deployed.stderr);
    let details = service.wait_for("default/copy", "finished");
    assert_eq!(details["figures"]["events_out"], 100, "{details:#}");
    assert_eq!(numbers(&folder.read("out.jsonl")).len(), 100);
    service.end();
    // One that has finished stays so.
    let service = Serving::start(&folder);
    assert_eq!(service.details("default/copy")["state"], "finished");
    service.end();
}

#[test]
fn events_are_looked_at_as_they_pass_and_metrics_move() {
    let folder = Folder::with_pipeline(&pushed("push", &passing()));
    let mut service = Serving::start(&folder);
    service.deploys("pipeline.toml");
    let source = service.source();
    let metric = |service: &Serving, name: &str| {
        let answer = service.ask("GET", "/metrics", None);
        let text = answer.body.as_str().unwrap_or_default().to_owned();
        let line = text.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .to_owned()
    };
    let sent = "dirigo_source_events_total{tenant=\"default\",pipeline=\"push\",source=\"events\"}";
    assert_eq!(metric(&service, sent), "0");
    let mut tap = service.client("tap").args(["push/map", "-n", "3"]).piped();
    // Until the first look is there nothing is seen: events are sent until some were.
    let mut count = 0;
    while !tap.stdout.have("map..out") {
        assert_eq!(source.post(event(count, "k").as_bytes(), &[]).unwrap().status, 200);
        count += 1;
    }
    (0..3).for_each(|n| assert_eq!(source.post(event(count + n, "k").as_bytes(), &[]).unwrap().status, 200));
    let seen = tap.finish();
    assert_eq!(
        (seen.code(), seen.stdout.lines().count()),
        (0, 3),
        "{} {}",
        seen.stdout,
        seen.stderr
    );
    assert!(seen.stdout.contains(" map..out k {\"n\":"), "{}", seen.stdout);
    folder.wait_for_lines("service/files/default/push/out.jsonl", count + 3);
    assert_eq!(metric(&service, sent), (count + 3).to_string());
    let passed =
        "dirigo_operator_events_total{tenant=\"default\",pipeline=\"push\",operator=\"map\",outcome=\"passed\"}";
    assert_eq!(metric(&service, passed), (count + 3).to_string());
    assert_eq!(
        metric(
            &service,
            "dirigo_pipeline_state{tenant=\"default\",pipeline=\"push\",state=\"running\"}"
        ),
        "1"
    );
    let activity = service.ask("GET", "/api/v1/activity", None).body;
    let push = &activity["pipelines"][0];
    assert_eq!(push["operators"][0]["passed"], count + 3, "{activity:#}");
    let edge =
        serde_json::json!({"from": "events", "to": "map", "sent": count + 3, "received": count + 3, "queued": 0});
    assert_eq!(push["edges"][0], edge, "{activity:#}");
    assert!(
        push["latency_ms"]["p99"].as_f64().unwrap() > 0.0 && activity["tenants"][0]["name"] == "default",
        "{activity:#}"
    );
    let mut top = service
        .client("top")
        .args(["-o", "json", "--interval", "200ms", "-n", "100"])
        .piped();
    // Looks go by until one has seen events that came in it.
    loop {
        assert_eq!(source.post(event(count, "k").as_bytes(), &[]).unwrap().status, 200);
        let look: Value = serde_json::from_str(&top.stdout.next().unwrap()).unwrap();
        let row = &look["operators"][0];
        assert_eq!(
            (&row["pipeline"], &row["operator"], &row["state"]),
            (&"push".into(), &"map".into(), &"running".into())
        );
        if row["events_in_per_s"].as_f64().unwrap() > 0.0 && look["events_out_per_s"].as_f64().unwrap() > 0.0 {
            break;
        }
    }
    assert!(top.kill(), "it was looking");
    let table = service.client("top").args(["--interval", "100ms"]).finish();
    for says in ["TENANT", "WORKERS", "push      map       running"] {
        assert!(table.stdout.contains(says), "{says}: {}", table.stdout);
    }
    let nowhere = service.client("tap").args(["push/mop"]).finish();
    nowhere.ends_with(1, &["no events to look at, at `mop`", "events..map, map..out"]);
    service.end();
}
