//! Pictures of the console for the documentation, of a service with pipelines of three tenants.
//!
//! `tests/console/pictures.sh` keeps them. Each run takes them, so that this way to them stays open, but waits for less to be seen on them.

use std::time::{Duration, Instant};

use base64::Engine as _;

use crate::serving::{Serving, deployment};
use crate::support::{Client, Folder};
use crate::{go, signed_in};

/// Where the pictures are kept; without it they are not.
const KEEP: &str = "DIRIGO_PICTURES";
/// The largest that one may be.
const BYTES_MAX: usize = 150 << 10;

const TENANTS: &str = r#"
    [[tenant]]
    name = "acme"
    weight = 2
    listen = ["127.0.0.1:0"]
    [[tenant]]
    name = "globex"
    [[tenant]]
    name = "careless"
    listen = ["127.0.0.1:0"]
"#;

/// Readings of sensors: the hot ones, and the extremes of each hundred.
const TEMPERATURES: &str = r#"
    [pipeline]
    name = "temperatures"
    slo  = "250ms"
    [[source]]
    id = "readings"
    kind = "generator"
    count = 1_000_000_000
    rate = 2_000
    sensors = 50
    key = "/sensor"
    time = "/ts"
    [[operator]]
    id = "fahrenheit"
    component = "builtin:map"
    config = { field = "value", scale = 1.8, offset = 32.0, into = "fahrenheit" }
    [[operator]]
    id = "hot"
    component = "builtin:filter"
    config = { field = "fahrenheit", min = 86.0 }
    [[operator]]
    id = "extremes"
    component = "builtin:window"
    inputs = ["fahrenheit"]
    window = { count = 100 }
    config = { field = "fahrenheit" }
    [[sink]]
    id = "alerts"
    kind = "null"
    inputs = ["hot"]
    [[sink]]
    id = "out"
    kind = "null"
    inputs = ["extremes"]
"#;

/// Bids of an auction, counted by windows in event time.
const AUCTIONS: &str = r#"
    [pipeline]
    name = "auctions"
    [[source]]
    id = "events"
    kind = "nexmark"
    rate = 1_000
    time = "/date_time"
    [[operator]]
    id = "bids"
    component = "builtin:filter"
    config = { field = "kind", equals = "bid" }
    [[operator]]
    id = "counts"
    component = "builtin:reduce"
    key = "/auction"
    window = { sliding = "10s", every = "2s" }
    config = { aggregate = "count" }
    [[sink]]
    id = "out"
    kind = "null"
"#;

/// An operator that never returns from every second event.
const LOOPS: &str = r#"
    [pipeline]
    name = "loops"
    [[source]]
    id = "orders"
    kind = "http"
    listen = "127.0.0.1:0"
    key = "/key"
    [[operator]]
    id = "score"
    component = "builtin:endless-loop"
    config = { every = 2 }
    [operator.limits]
    fuel_per_event = 100_000_000
    [[sink]]
    id = "out"
    kind = "null"
"#;

#[test]
fn the_documentation_has_pictures_of_the_console() {
    let keep = std::env::var_os(KEEP);
    let folder = Folder::new();
    folder.write("tenants.toml", TENANTS);
    let mut service = Serving::start_with(&folder, &["--tenants", "tenants.toml"]);
    for (tenant, name, file) in [
        ("acme", "temperatures", TEMPERATURES.to_owned()),
        ("globex", "auctions", AUCTIONS.to_owned()),
        ("careless", "loops", LOOPS.to_owned()),
    ] {
        let answer = service.ask(
            "POST",
            &format!("/api/v1/pipelines?tenant={tenant}"),
            Some(&deployment(&file)),
        );
        assert_eq!(answer.status, 201, "{answer:?}");
        service.wait_for(&format!("{tenant}/{name}"), "running");
    }
    // One that was stopped, and one that runs and gets nothing.
    let humidity = TEMPERATURES
        .replace("\"temperatures\"", "\"humidity\"")
        .replace("2_000", "500");
    let refunds = LOOPS.replace("\"loops\"", "\"refunds\"");
    for (tenant, file) in [("acme", humidity), ("acme", refunds)] {
        let answer = service.ask(
            "POST",
            &format!("/api/v1/pipelines?tenant={tenant}"),
            Some(&deployment(&file)),
        );
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    service.wait_for("acme/humidity", "running");
    service.ask("POST", "/api/v1/tenants/acme/pipelines/humidity/stop", None);
    let source = service.source();
    let mut browser = signed_in(&folder, &service);
    browser.wait("document.querySelectorAll('.pipelines tbody tr').length === 5");
    let mut events = 0..;
    if keep.is_some() {
        // For the time slider to have something to show.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(100) {
            feed(&source, &mut events);
        }
    }
    for (name, page, width, height, scheme) in [
        ("tenants", "tenants", 1280, 640, "dark"),
        ("pipelines", "", 1280, 640, "light"),
        ("pipeline", "pipelines/acme/temperatures", 1280, 1000, "dark"),
        ("phone", "pipelines/acme/temperatures", 390, 844, "light"),
    ] {
        browser.look(width, height, scheme);
        go(&mut browser, page);
        // Rates are those of the last seconds.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(if keep.is_some() { 6 } else { 0 }) {
            feed(&source, &mut events);
        }
        browser.wait("document.querySelector('.tiles b')");
        let picture = base64::engine::general_purpose::STANDARD
            .decode(browser.picture())
            .unwrap();
        assert!(
            picture.starts_with(b"\x89PNG") && picture.len() <= BYTES_MAX,
            "{name}: {} bytes",
            picture.len()
        );
        if let Some(keep) = &keep {
            std::fs::write(std::path::Path::new(keep).join(format!("{name}.png")), picture).unwrap();
        }
    }
    assert_eq!(browser.problems(), [""; 0]);
    service.end();
}

/// Sends a few events more, and lets some time pass.
fn feed(source: &Client, events: &mut impl Iterator<Item = u64>) {
    let lines: String = events
        .take(12)
        .map(|n| format!("{{\"n\":{n},\"key\":\"k-{}\"}}\n", n % 7))
        .collect();
    source.post(lines.as_bytes(), &[]);
    std::thread::sleep(Duration::from_millis(300));
}
