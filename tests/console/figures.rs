//! What the console shows is what the API answers, and what it makes of that is right.

use serde_json::{Value, json};

use crate::serving::{Serving, hostile_map, passing, pushed};
use crate::support::{Folder, numbered};
use crate::{go, signed_in};

/// The cells of a table with this head, row by row.
fn rows(head: &str) -> String {
    format!(
        "[...document.querySelectorAll('table')].filter((table) => table.tHead.textContent.startsWith({}))
            .flatMap((table) => [...table.tBodies[0].rows].map((row) => Object.fromEntries([...row.cells].map((cell) => [cell.dataset.name, cell.textContent]))))",
        json!(head)
    )
}

#[test]
fn the_console_shows_what_the_api_answers() {
    let map = hostile_map("reject").replace("\" }", "\", every = 5 }");
    let folder = Folder::with_pipeline(&pushed("push", &map));
    let mut service = Serving::start(&folder);
    service.deploys("pipeline.toml");
    let source = service.source();
    assert_eq!(source.post(numbered(1_234, 3).as_bytes(), &[]).unwrap().status, 200);
    let details = service.wait_until("default/push", "done", |details| {
        details["figures"]["events_in"] == 1_234 && details["figures"]["in_flight"] == 0
    });
    let mut browser = signed_in(&folder, &service);

    browser.wait("document.querySelector('.pipelines tbody tr')");
    let row = browser.eval(&rows("Pipeline"))[0].take();
    assert_eq!(row["Pipeline"], "pushdefault", "{row}");
    assert_eq!(row["State"], details["state"], "{row}");
    let dead = details["figures"]["dead_letters"].as_u64().unwrap();
    assert!(dead > 200, "{details:#}");
    assert_eq!(row["Dead letters"], dead.to_string(), "{row}");
    assert_eq!(row["In flight"], "0", "{row}");

    go(&mut browser, "pipelines/default/push");
    browser.wait_for("Who holds back whom".to_uppercase().as_str());
    let operator = &details["operators"][0];
    browser.wait(&format!("({}).length === 1", rows("Operator")));
    let shown = browser.eval(&rows("Operator"))[0].take();
    let number = |value: &Value| value.as_str().unwrap().replace(',', "").parse::<u64>().unwrap();
    for (column, field) in [
        ("In", "events_in"),
        ("Out", "events_out"),
        ("Filtered", "filtered"),
        ("Dead letters", "dead_letters"),
    ] {
        assert_eq!(
            Value::from(number(&shown[column])),
            operator[field],
            "{column}: {shown} {operator}"
        );
    }
    assert_eq!(shown["Operator"], operator["id"]);
    let source = browser.eval(&rows("Source"))[0].take();
    assert_eq!(
        Value::from(number(&source["Events"])),
        details["summary"]["sources"][0]["events"]
    );
    let sink = browser.eval(&rows("Sink"))[0].take();
    assert_eq!(Value::from(number(&sink["Events"])), details["summary"]["sinks"]["out"]);
    // The graph has each part and each edge once.
    let parts = browser.eval("[...document.querySelectorAll('.graph .part .name')].map((name) => name.textContent)");
    assert_eq!(parts, json!(["events", "map", "out"]));
    assert_eq!(browser.eval("document.querySelectorAll('.graph .link').length"), 2);
    // What its sinks promise.
    browser.wait(&format!(
        "document.querySelector('.delivery').textContent.includes({})",
        details["delivery"][0]
    ));

    let path = "/api/v1/tenants/default/pipelines/push";
    let lines = service.ask("GET", &format!("{path}/logs?lines=200"), None).body;
    browser.press("Log");
    browser.wait("document.querySelector('.log .message')");
    let said =
        browser.eval("[...document.querySelectorAll('.log .message')].map((line) => line.textContent).reverse()");
    let messages: Vec<&Value> = lines.as_array().unwrap().iter().map(|line| &line["message"]).collect();
    assert_eq!(json!(messages), said);

    let versions = service.ask("GET", &format!("{path}/versions"), None).body;
    browser.press("Versions");
    browser.wait("document.querySelector('.versions pre')");
    assert_eq!(
        browser.text(".versions pre"),
        versions[0]["deployment"]["pipeline"].as_str().unwrap()
    );
    assert!(
        browser.text(".versions summary").contains("by operator"),
        "who deployed it"
    );

    browser.press("Failures");
    browser.wait(&format!(
        "({}).length === 1 && document.querySelector('.failed')",
        rows("Part")
    ));
    let failed = browser.eval(&rows("Part"))[0].take();
    assert_eq!(Value::from(number(&failed["Traps"])), operator["traps"]);

    let letters = service.ask("GET", &format!("{path}/dead-letters/latest"), None).body;
    assert_eq!(letters.as_array().unwrap().len(), 20, "{letters}");
    assert_eq!(
        (&letters[0]["operator"], &letters[0]["kind"]),
        (&json!("map"), &json!("rejected"))
    );
    let said = browser.eval("[...document.querySelectorAll('.versions summary')].map((line) => line.textContent)");
    for (letter, said) in letters.as_array().unwrap().iter().zip(said.as_array().unwrap()) {
        assert!(
            said.as_str().unwrap().ends_with(letter["reason"].as_str().unwrap()),
            "{letter} {said}"
        );
    }
    assert_eq!(browser.text(".failed"), letters[0]["value"].as_str().unwrap());

    let tenants = service.ask("GET", "/api/v1/tenants", None).body;
    go(&mut browser, "tenants");
    browser.wait(&format!(
        "({}).length === {}",
        rows("Tenant"),
        tenants.as_array().unwrap().len()
    ));
    let tenant = browser.eval(&rows("Tenant"))[0].take();
    assert_eq!(
        (&tenant["Tenant"], &tenant["Pipelines"]),
        (&json!("default"), &json!("1"))
    );
    assert_eq!(tenant["Weight"], tenants[0]["usage"]["weight"].to_string());
    assert_eq!(browser.problems(), [""; 0]);
    service.end();
}

#[test]
fn the_slider_goes_back_to_what_was() {
    let folder = Folder::with_pipeline(&pushed("push", &passing()));
    let mut service = Serving::start(&folder);
    service.deploys("pipeline.toml");
    let source = service.source();
    let path = "/api/v1/tenants/default/pipelines/push/history";
    let has = |count: u64| {
        move |history: &Value| {
            history["samples"]
                .as_array()
                .unwrap()
                .iter()
                .any(|sample| sample["events_out"] == count)
        }
    };
    for events in [100, 200] {
        assert_eq!(source.post(numbered(100, 3).as_bytes(), &[]).unwrap().status, 200);
        service.poll(path, "a sample of these", has(events));
    }
    let history = service.ask("GET", path, None).body;
    let samples = history["samples"].as_array().unwrap();
    let first = samples.iter().find(|sample| sample["events_out"] == 100).unwrap();
    let back = history["until_ms"].as_i64().unwrap() - first["at_ms"].as_i64().unwrap();

    let mut browser = signed_in(&folder, &service);
    go(&mut browser, "pipelines/default/push");
    browser.wait("document.querySelector('.timeline .was')");
    // A slider goes in steps of 5 s; what it comes to lies within the sample.
    browser.eval(&format!(
        "{{ const slider = document.querySelector('.timeline input'); slider.value = slider.max - {back}; slider.dispatchEvent(new Event('input')); }}"
    ));
    browser.wait("document.querySelector('.tiles').hasAttribute('data-then')");
    browser.wait("document.querySelector('.tiles').textContent.includes('running')");
    browser.press("Back to now");
    browser.wait("!document.querySelector('.tiles').hasAttribute('data-then')");
    assert_eq!(browser.problems(), [""; 0]);
    service.end();
}

#[test]
fn of_edges_that_are_held_back_the_cause_comes_first() {
    let folder = Folder::new();
    let service = Serving::start(&folder);
    let mut browser = crate::opened(&folder, &service);
    // A sink that is full holds back all before it; an operator that is full is the cause where nothing after it is.
    let pipeline = |full: &str| {
        json!({
            "tenant": "acme", "state": "running", "behind_ms": 2_000,
            "sources": [{ "id": "in", "has_ended": false }],
            "operators": [
                { "id": "a", "is_full": full != "none", "queued": 6 },
                { "id": "b", "is_full": full == "b" || full == "out", "queued": 900 },
                { "id": "c", "is_full": false, "queued": 3 },
            ],
            "sinks": [{ "id": "out", "is_full": full == "out", "queued": 7 }],
            "edges": [
                { "from": "in", "to": "a", "queued": 5 }, { "from": "a", "to": "b", "queued": 900 }, { "from": "a.odd", "to": "c", "queued": 3 },
                { "from": "b", "to": "out", "queued": 7 },
            ],
        })
    };
    for (full, rates, first, cause, says) in [
        (
            "out",
            "busy: () => 1",
            "b..out",
            "sink",
            "out takes no more than it writes now",
        ),
        ("b", "busy: () => 0.95", "a..b", "cpu", "b keeps 0.95 of 2 workers busy"),
        (
            "b",
            "busy: () => 0.1, used: 2",
            "a..b",
            "cpu",
            "the share of acme is used up",
        ),
        (
            "b",
            "busy: () => 0.1, tenantHeld: 0.5",
            "a..b",
            "budget",
            "fuel_per_second",
        ),
        ("b", "busy: () => 0.1, tenantDenied: 2", "a..b", "budget", "its memory"),
        ("a", "busy: () => 0.1", "in..a", "cpu", "one after the other"),
        // None is full, and events are late.
        (
            "none",
            "busy: () => 0.95",
            "a..b",
            "cpu",
            "b keeps 0.95 of 2 workers busy",
        ),
    ] {
        let ranked = browser.eval(&format!(
            "import('/console/rank.js').then(({{ ranked }}) => ranked({}, {{ edge: () => 1, {rates} }}, 2))",
            pipeline(full)
        ));
        let name = |edge: &Value| format!("{}..{}", edge["from"].as_str().unwrap(), edge["to"].as_str().unwrap());
        assert_eq!(
            (name(&ranked[0]).as_str(), &ranked[0]["cause"]),
            (first, &json!(cause)),
            "{full}, {rates}: {ranked:#}"
        );
        assert!(ranked[0]["says"].as_str().unwrap().contains(says), "{ranked:#}");
        let odd = ranked
            .as_array()
            .unwrap()
            .iter()
            .find(|edge| edge["from"] == "a.odd")
            .unwrap();
        assert_eq!(
            (&odd["origin"], &odd["cause"]),
            (&json!("a"), &json!("none")),
            "an edge with room is not held back"
        );
        if full == "out" {
            assert_eq!(ranked[1]["cause"], "downstream", "what waits for the sink: {ranked:#}");
        }
    }
    service.end();
}

#[test]
fn no_parts_of_a_graph_lie_upon_one_another_and_edges_lead_on() {
    let folder = Folder::new();
    let service = Serving::start(&folder);
    let mut browser = crate::opened(&folder, &service);
    let broken = browser.eval(
        "import('/console/layout.js').then(({ layout }) => {
            const broken = [];
            let seed = 7;
            const random = (below) => (seed = (seed * 1103515245 + 12345) % 2147483648) % below;
            for (let round = 0; round < 300; round += 1) {
                const nodes = Array.from({ length: 2 + random(14) }, (_, index) => `n${index}`);
                const edges = [];
                for (let to = 1; to < nodes.length; to += 1) {
                    for (let count = 1 + random(2); count > 0; count -= 1) edges.push({ from: nodes[random(to)], to: nodes[to] });
                }
                const isTall = round % 2 === 1;
                const box = { width: 100, height: 50, gap: 20, layerGap: 40, isTall };
                const placed = layout(nodes, edges, box);
                const places = [...placed.nodes.values()];
                for (const [index, a] of places.entries()) {
                    if (a.x < 0 || a.y < 0 || a.x + 100 > placed.width + 1 || a.y + 50 > placed.height + 1) broken.push([round, 'outside', a]);
                    for (const b of places.slice(index + 1)) {
                        if (Math.abs(a.x - b.x) < 100 && Math.abs(a.y - b.y) < 50) broken.push([round, 'overlap', a, b]);
                    }
                }
                for (const way of placed.edges) {
                    for (let at = 1; at < way.length; at += 1) {
                        const [from, to] = [way[at - 1], way[at]];
                        if (isTall ? to.y <= from.y : to.x <= from.x) broken.push([round, 'back', from, to]);
                    }
                }
            }
            return broken.slice(0, 3);
        })",
    );
    assert_eq!(broken, json!([]));
    service.end();
}
