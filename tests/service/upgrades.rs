//! Another version in place of one that runs.

use crate::support::{Folder, event, numbers};
use crate::{Serving, hostile_map, passing, pushed};

#[test]
fn an_upgrade_goes_on_where_the_version_before_is_and_can_be_rolled_back() {
    let folder = Folder::with_pipeline(&pushed("push", &passing()));
    let mut service = Serving::start(&folder);
    service.deploys("pipeline.toml");
    let out = "service/files/default/push/out.jsonl";
    let mut sent = 0;
    let mut send = |service: &mut Serving| {
        let source = service.source();
        let body: String = (sent..sent + 50).map(|n| event(n, "a")).collect();
        assert_eq!(source.post(body.as_bytes(), &[]).unwrap().status, 200);
        sent += 50;
        folder.wait_for_lines(out, sent);
    };
    send(&mut service);
    folder.write("pipeline.toml", pushed("push", &passing()).replace("20ms", "30ms"));
    let upgraded = service.client("upgrade").args(["pipeline.toml"]).finish();
    assert_eq!(upgraded.code(), 0, "{}", upgraded.stderr);
    assert_eq!(
        upgraded.stdout,
        "pipeline `push` of tenant `default`, version 2: running\n"
    );
    send(&mut service);
    let back = service.client("rollback").args(["push"]).finish();
    assert_eq!(
        back.stdout, "pipeline `push` of tenant `default`, version 1: running\n",
        "{}",
        back.stderr
    );
    send(&mut service);
    let versions = service.client("versions").args(["push"]).finish();
    let current: Vec<&str> = versions
        .stdout
        .lines()
        .filter(|line| line.ends_with("current"))
        .collect();
    assert!(
        current.len() == 1 && current[0].trim_start().starts_with('1'),
        "{}",
        versions.stdout
    );
    service
        .client("rollback")
        .args(["push"])
        .finish()
        .ends_with(1, &["has no earlier version"]);
    service.end();
    assert_eq!(
        numbers(&folder.read(out)),
        (0..150).collect::<Vec<_>>(),
        "none is lost or repeated"
    );
}

#[test]
fn an_upgrade_that_traps_is_taken_back() {
    let folder = Folder::with_pipeline(&pushed("push", &passing()));
    let mut service = Serving::start(&folder);
    service.deploys("pipeline.toml");
    drop(service.source());
    folder.write("pipeline.toml", pushed("push", &hostile_map("panic")));
    let upgraded = service.client("upgrade").args(["pipeline.toml"]).finish();
    assert_eq!(upgraded.code(), 0, "{}", upgraded.stderr);
    let source = service.source();
    assert_eq!(source.post(event(0, "a").as_bytes(), &[]).unwrap().status, 200);
    service.wait_until("default/push", "back at version 1", |details| {
        details["version"] == 1 && details["state"] == "running"
    });
    let logs = service.client("logs").args(["push"]).finish();
    assert!(
        logs.stdout
            .contains("version 2 was rolled back to version 1: 1 of 1 events are dead letters"),
        "{}",
        logs.stdout
    );
    service.end();
}

#[test]
fn an_upgrade_that_cannot_start_is_taken_back() {
    let folder = Folder::with_pipeline(&pushed("push", &passing()));
    let mut service = Serving::start(&folder);
    service.deploys("pipeline.toml");
    drop(service.source());
    // A file that is another's is found when the sink is opened.
    folder.write("service/files/default/push/others.jsonl", "{}\n");
    folder.write(
        "pipeline.toml",
        pushed("push", &passing()).replace("out.jsonl", "others.jsonl"),
    );
    let upgraded = service.client("upgrade").args(["pipeline.toml"]).finish();
    upgraded.ends_with(
        1,
        &["version 2 of pipeline `push` of tenant `default` was taken back, and version 1 is running"],
    );
    drop(service.source());
    // An address that is taken is found when the source begins.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    folder.write(
        "pipeline.toml",
        pushed("push", &passing()).replace("127.0.0.1:0", &address),
    );
    service.client("upgrade").args(["pipeline.toml"]).finish();
    service.wait_until("default/push", "back at version 1", |details| {
        details["version"] == 1 && details["state"] == "running"
    });
    let logs = service.client("logs").args(["push"]).finish();
    assert!(
        logs.stdout
            .contains("version 3 was rolled back to version 1: source `events`: cannot listen at"),
        "{}",
        logs.stdout
    );
    assert_eq!(folder.read("service/files/default/push/others.jsonl"), "{}\n");
    service.end();
}
