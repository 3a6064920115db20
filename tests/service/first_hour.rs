//! The first hour of a platform team with the service: two tenants deploy, feed, watch and upgrade their pipelines, and the host dies once.

use serde_json::Value;

use crate::nats_server::NatsServer;
use crate::support::{Client, Dirigo, Folder, event, numbers};
use crate::{Serving, hostile_map, passing, pushed};

const ACME: &str = "acme-0123456789abcdef";
const GLOBEX: &str = "globex-0123456789abcdef";
const ORDERS: &str = "service/files/acme/orders/out.jsonl";
const CLICKS: &str = "service/files/acme/clicks/out.jsonl";
const METRICS: &str = "service/files/globex/metrics/out.jsonl";

/// A client command with the token of a tenant.
fn of_tenant(service: &Serving, token: &str, subcommand: &str) -> Dirigo {
    service.client(subcommand).env("DIRIGO_TOKEN", token)
}

/// The sources `orders` and `clicks`, of which the log says next where they listen.
fn sources(service: &mut Serving) -> [Client; 2] {
    let mut found = [service.source(), service.source()];
    found.sort_by(|a, b| b.route.cmp(&a.route));
    assert_eq!(found.each_ref().map(|source| &*source.route), ["/orders", "/clicks"]);
    found
}

/// Sends numbered events, all of which are acknowledged.
fn send(source: &Client, range: std::ops::Range<u64>) {
    let body: String = range.map(|n| event(n, "a")).collect();
    assert_eq!(source.post(body.as_bytes(), &[]).unwrap().status, 200);
}

/// A pipeline that takes events by HTTP, at the path of its name.
fn by_http(name: &str, map: &str) -> String {
    pushed(name, map).replace("id = \"events\"", &format!("id = \"{name}\""))
}

/// A pipeline that reads a stream of a NATS server.
fn by_nats(name: &str, url: &str, map: &str) -> String {
    let source = format!("kind = \"nats\"\nservers = [\"{url}\"]\nstream = \"IN\"");
    pushed(name, map).replace("kind = \"http\"\n        listen = \"127.0.0.1:0\"", &source)
}

/// What two tenants may do, one of which reads a NATS server.
fn tenants(server: &str) -> String {
    format!(
        r#"
            [[tenant]]
            name = "acme"
            listen = ["127.0.0.1:0"]
            [[tenant]]
            name = "globex"
            connect = ["{server}"]
            [[token]]
            name = "acme-ci"
            tenant = "acme"
            token = "{ACME}"
            [[token]]
            name = "globex-ci"
            tenant = "globex"
            token = "{GLOBEX}"
            "#
    )
}

#[test]
fn pipelines_of_two_tenants_lose_and_repeat_nothing_through_upgrades_and_a_kill() {
    let folder = Folder::new();
    let nats = NatsServer::start(&folder);
    let streams = nats.client();
    streams.create("IN");
    let server = nats.url().replace("nats://", "");
    folder.write("tenants.toml", tenants(&server));
    let mut service = Serving::start_with(&folder, &["--tenants", "tenants.toml"]);
    let publish = |range: std::ops::Range<u64>| {
        streams.publish(range.map(|n| ("IN.a".to_owned(), event(n, "a").trim_end().to_owned())));
    };
    let run = |service: &Serving, token: &str, subcommand: &str, args: &[&str]| {
        let finished = of_tenant(service, token, subcommand).args(args).finish();
        assert_eq!(
            finished.code(),
            0,
            "{subcommand} {args:?}: {}{}",
            finished.stdout,
            finished.stderr
        );
        finished.stdout
    };

    // Three pipelines are deployed, and get events.
    folder.write("orders.toml", by_http("orders", &passing()));
    folder.write("clicks.toml", by_http("clicks", &passing()));
    folder.write("metrics.toml", by_nats("metrics", &nats.url(), &passing()));
    run(&service, ACME, "deploy", &["orders.toml"]);
    run(&service, ACME, "deploy", &["clicks.toml"]);
    run(&service, GLOBEX, "deploy", &["metrics.toml"]);
    let [orders, clicks] = sources(&mut service);
    send(&orders, 0..100);
    send(&clicks, 0..100);
    publish(0..100);
    for out in [ORDERS, CLICKS, METRICS] {
        folder.wait_for_lines(out, 100);
    }

    // Each tenant sees its own; the console is a page without data.
    let top: Value = serde_json::from_str(&run(&service, ACME, "top", &["-o", "json", "--interval", "100ms"])).unwrap();
    let mut seen: Vec<&str> = top["operators"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["pipeline"].as_str().unwrap())
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, ["clicks", "orders"]);
    let page = service.ask_as(None, "GET", "/", None);
    assert!(page.status == 200 && page.head.contains("text/html"), "{page:?}");
    let mut tap = of_tenant(&service, GLOBEX, "tap")
        .args(["metrics/map", "-n", "1"])
        .piped();
    let mut published = 100;
    while !tap.stdout.have("map..out") {
        publish(published..published + 1);
        published += 1;
    }
    assert_eq!(tap.finish().code(), 0);

    // A better operator resumes where the one before was.
    let better = "component = \"builtin:map\"\nconfig = { field = \"value\", scale = 2.0, into = \"double\" }";
    folder.write("orders.toml", by_http("orders", better));
    run(&service, ACME, "upgrade", &["orders.toml"]);
    let orders = service.source();
    send(&orders, 100..200);
    folder.wait_for_lines(ORDERS, 200);

    // One that traps is taken back, and what it failed with is put back.
    folder.write("metrics.toml", by_nats("metrics", &nats.url(), &hostile_map("panic")));
    run(&service, GLOBEX, "upgrade", &["metrics.toml"]);
    publish(published..published + 1);
    published += 1;
    service.wait_until("globex/metrics", "back at version 1", |details| {
        details["version"] == 1 && details["state"] == "running"
    });
    let retried = run(&service, GLOBEX, "dead-letters", &["retry", "metrics"]);
    assert!(
        retried.contains("1 dead letter retried, which got through"),
        "{retried}"
    );

    // The host dies, and what was acknowledged before and after comes out once.
    send(&orders, 200..250);
    send(&clicks, 100..150);
    publish(published..published + 50);
    published += 50;
    service.kill();
    publish(published..published + 50);
    published += 50;
    let mut service = Serving::start_with(&folder, &["--tenants", "tenants.toml"]);
    let [orders, clicks] = sources(&mut service);
    send(&orders, 250..300);
    send(&clicks, 150..200);
    for (out, count) in [(ORDERS, 300), (CLICKS, 200), (METRICS, published)] {
        folder.wait_for_lines(out, count);
        let mut found = numbers(&folder.read(out));
        found.sort_unstable();
        assert_eq!(found, (0..count).collect::<Vec<_>>(), "{out}");
    }
    let doubled = folder
        .read(ORDERS)
        .lines()
        .filter(|line| line.contains("\"double\""))
        .count();
    assert_eq!(doubled, 200, "the better operator had all that came after it");
    service.end();
}
