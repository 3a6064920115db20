//! Dead letters of pipelines that a service runs.

use serde_json::Value;

use crate::support::{Folder, event, numbers};
use crate::{Serving, hostile_map, passing, pushed};

const OUT: &str = "service/files/default/push/out.jsonl";

#[test]
fn letters_are_listed_shown_and_retried_once_while_the_service_runs() {
    let folder = Folder::with_pipeline(&pushed("push", &hostile_map("reject")));
    let mut service = Serving::start(&folder);
    service.deploys("pipeline.toml");
    let none = service.client("dead-letters").args(["list", "push"]).finish();
    assert_eq!(none.stdout, "pipeline `push`: 0 dead letters\n", "{}", none.stderr);
    let source = service.source();
    let body: String = (0..20).map(|n| event(n, "a")).collect();
    assert_eq!(source.post(body.as_bytes(), &[]).unwrap().status, 200);
    let letters = "/api/v1/tenants/default/pipelines/push/dead-letters";
    service.poll(letters, "all events among the dead letters", |listed| {
        listed["letters"] == 20
    });
    let listed = service.client("dead-letters").args(["list", "default/push"]).finish();
    for says in ["pipeline `push`: 20 dead letters", "push/map  rejected: ", "(id 20)"] {
        assert!(
            listed.stdout.contains(says),
            "{says}: {} {}",
            listed.stdout,
            listed.stderr
        );
    }
    let shown = service.client("dead-letters").args(["show", "push", "7"]).finish();
    assert!(
        shown.stdout.contains("retried    no") && shown.stdout.contains("{\"n\":6,"),
        "{}",
        shown.stdout
    );
    let missing = service.client("dead-letters").args(["show", "push", "21"]).finish();
    missing.ends_with(1, &["pipeline `push` has no dead letter 21"]);

    // As long as the operator rejects them, they become new letters.
    let again = service
        .client("dead-letters")
        .args(["retry", "push", "--id", "3"])
        .finish();
    assert_eq!(again.code(), 1, "{}", again.stderr);
    assert!(
        again.stdout.contains("1 dead letter retried, 1 failed again"),
        "{}",
        again.stdout
    );

    folder.write("pipeline.toml", pushed("push", &passing()));
    assert_eq!(service.client("upgrade").args(["pipeline.toml"]).finish().code(), 0);
    let retried = service
        .client("dead-letters")
        .args(["retry", "push", "-o", "json"])
        .finish();
    assert_eq!(retried.code(), 0, "{}", retried.stderr);
    let json: Value = serde_json::from_str(&retried.stdout).unwrap();
    assert_eq!(
        (&json["retried"], &json["failed_again"]),
        (&20.into(), &0.into()),
        "{json:#}"
    );
    folder.wait_for_lines(OUT, 20);
    let nothing = service.client("dead-letters").args(["retry", "push"]).finish();
    assert_eq!(
        nothing.stdout, "pipeline `push`: no dead letters to retry\n",
        "{}",
        nothing.stderr
    );

    // It runs again, and takes events.
    service.wait_for("default/push", "running");
    let mut source = service.source();
    while source
        .post(event(20, "a").as_bytes(), &[])
        .is_none_or(|answer| answer.status != 200)
    {
        source = service.source();
    }
    folder.wait_for_lines(OUT, 21);
    service.end();
    let mut found = numbers(&folder.read(OUT));
    found.sort_unstable();
    assert_eq!(found, (0..=20).collect::<Vec<_>>(), "each letter came through once");
}

#[test]
fn letters_of_a_pipeline_that_is_stopped_are_retried_and_it_stays_stopped() {
    let folder = Folder::with_pipeline(&pushed("push", &hostile_map("reject")));
    let mut service = Serving::start(&folder);
    service.deploys("pipeline.toml");
    assert_eq!(
        service.source().post(event(0, "a").as_bytes(), &[]).unwrap().status,
        200
    );
    service.wait_until("default/push", "done with the event", |details| {
        details["figures"]["dead_letters"] == 1
    });
    assert_eq!(service.client("stop").args(["push"]).finish().code(), 0);
    let again = service.client("dead-letters").args(["retry", "push"]).finish();
    assert!(
        again.stdout.contains("1 dead letter retried, 1 failed again"),
        "{} {}",
        again.stdout,
        again.stderr
    );
    assert_eq!(service.details("default/push")["state"], "stopped");
    let local = service
        .client("dead-letters")
        .args(["retry", "push", "--state", "x"])
        .finish();
    local.ends_with(1, &["there is no pipeline file push, and `--state` is for one"]);
    service.end();
}

#[test]
fn a_stop_ends_a_retry_of_a_stopped_pipeline_that_would_never_end_and_the_end_of_the_service_does_too() {
    let endless = || {
        let limits = "limits = { fuel_per_event = 1_000_000_000_000_000 }";
        pushed("push", &format!("{}\n{limits}", hostile_map("loop")))
    };
    let folder = Folder::with_pipeline(&pushed("push", &hostile_map("reject")));
    let mut service = Serving::start_with(&folder, &["--drain-timeout", "0s"]);
    service.deploys("pipeline.toml");
    let post = service.source().post(event(0, "a").as_bytes(), &[]);
    assert_eq!(post.unwrap().status, 200);
    service.wait_until("default/push", "done with the event", |details| {
        details["figures"]["dead_letters"] == 1
    });
    folder.write("pipeline.toml", endless());
    assert_eq!(service.client("upgrade").args(["pipeline.toml"]).finish().code(), 0);
    let stop = "/api/v1/tenants/default/pipelines/push/stop?drain=0s";
    assert_eq!(service.ask("POST", stop, None).status, 200);
    service.wait_for("default/push", "stopped");

    let retrying = service.client("dead-letters").args(["retry", "push"]).piped();
    service.wait_for("default/push", "starting");
    assert_eq!(service.ask("POST", stop, None).status, 200);
    let told = "the retry of dead letters of pipeline `push` was interrupted";
    retrying.finish().ends_with(1, &[told]);
    service.wait_for("default/push", "stopped");

    let retrying = service.client("dead-letters").args(["retry", "push"]).piped();
    service.wait_for("default/push", "starting");
    service.end();
    retrying.finish().ends_with(1, &[told]);
}
