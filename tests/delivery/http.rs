//! Events that are sent by HTTP: each that was acknowledged comes out once, whatever happens in between.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;

use crate::support::{
    Answer, Client, Dirigo, Folder, Random, Running, event, map_to_file, number_of, numbered, numbers,
};

/// A source at `listen` with `more`, and a map over it.
fn pipeline(listen: &str, more: &str, mode: &str) -> Folder {
    Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "pushed"
        checkpoint = "20ms"
        [[source]]
        id = "events"
        kind = "http"
        listen = "{listen}"
        key = "/key"
        {more}
        {}
        "#,
        map_to_file(mode)
    ))
}

/// A run that listens, and a client of it.
fn listening(folder: &Folder) -> (Running, Client) {
    let run = Dirigo::run(folder, ["pipeline.toml"]).with_state().workers(2);
    let mut running = run.env("DIRIGO_LOG", "info").piped();
    let client = Client::of(&running.stderr.wait_for("listens at http://"));
    (running, client)
}

fn sent(client: &Client, body: &str, headers: &[(&str, &str)]) -> Answer {
    client.post(body.as_bytes(), headers).expect("it is answered")
}

#[test]
fn what_is_sent_in_any_form_comes_out_as_events() {
    let folder = pipeline("127.0.0.1:0", "", "pass");
    let (running, client) = listening(&folder);
    let ndjson = [("Content-Type", "application/x-ndjson")];
    let json = [("Content-Type", "application/json; charset=utf-8")];
    let csv = [("Content-Type", "text/csv")];
    for (body, headers, records) in [
        (numbered(3, 2), &ndjson[..], 3),
        // The last line needs no end, and nothing has to be said of what is lines of JSON.
        (event(3, "k-0").trim_end().to_owned(), &[][..], 1),
        (format!("[{},\n{}]", event(4, "k-1"), event(5, "k-1")), &json[..], 2),
        (event(6, "k-0").replace(',', ",\n"), &json[..], 1),
        ("n,key,value\n7,k-1,1.5\n8,k-0,2.5\n".to_owned(), &csv[..], 2),
        (String::new(), &ndjson[..], 0),
    ] {
        let answer = sent(&client, &body, headers);
        assert_eq!(
            (answer.status, &answer.body),
            (200, &json!({"records": records, "repeated": false})),
            "{body}"
        );
    }
    folder.wait_for_lines("out.jsonl", 9);
    running.terminate();
    let finished = running.finish();
    finished.succeeds();
    let mut found = numbers(&folder.read("out.jsonl"));
    found.sort_unstable();
    assert_eq!(found, (0..9).collect::<Vec<_>>());
}

#[test]
fn what_is_no_event_is_a_dead_letter_and_what_is_no_request_is_refused() {
    let more = "token = \"s3cret\"\nbody_max = \"1KiB\"";
    let folder = pipeline("127.0.0.1:0", more, "pass");
    let (running, client) = listening(&folder);
    let bearer = ("Authorization", "Bearer s3cret");
    for headers in [
        &[][..],
        &[("Authorization", "Bearer s3cre")],
        &[("Authorization", "Basic s3cret")],
    ] {
        let answer = sent(&client, &event(0, "a"), headers);
        assert_eq!(answer.status, 401, "{answer:?}");
        assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
        assert!(!answer.body.to_string().contains("s3cret"));
    }
    for (body, headers, status, says) in [
        (
            "[1,",
            &[bearer, ("Content-Type", "application/json")][..],
            400,
            "EOF while parsing",
        ),
        (
            "a,b\n1\n",
            &[bearer, ("Content-Type", "text/csv")],
            400,
            "line 2 of the body",
        ),
        (
            "x",
            &[bearer, ("Content-Type", "image/png")],
            415,
            "`image/png` is not a content type of events",
        ),
        ("x", &[bearer, ("Content-Encoding", "br")], 415, "`gzip` and `zstd` are"),
        (
            "x",
            &[bearer, ("Content-Encoding", "gzip")],
            400,
            "the body is not gzip",
        ),
        (
            "x",
            &[bearer, ("Idempotency-Key", "")],
            400,
            "`Idempotency-Key` has 1 to 256 bytes",
        ),
        (&"x".repeat(1_025), &[bearer], 413, "more than 1024 bytes"),
    ] {
        let answer = sent(&client, body, headers);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        let error = answer.body["error"].as_str().unwrap();
        assert!(error.contains(says), "{body}: {error}");
    }
    let bearer_line = "Authorization: Bearer s3cret\r\nConnection: close\r\n";
    let chunked = format!(
        "POST /events HTTP/1.1\r\nHost: x\r\n{bearer_line}Transfer-Encoding: chunked\r\n\r\n401\r\n{}\r\n0\r\n\r\n",
        "x".repeat(1_025)
    );
    assert_eq!(client.send(chunked.as_bytes()).unwrap().status, 413);
    let get = client
        .send(format!("GET /events HTTP/1.1\r\nHost: x\r\n{bearer_line}\r\n").as_bytes())
        .unwrap();
    assert_eq!((get.status, get.head.contains("allow: post")), (405, true));
    let other = client
        .send(format!("POST /other HTTP/1.1\r\nHost: x\r\n{bearer_line}\r\n").as_bytes())
        .unwrap();
    assert_eq!(other.status, 404);
    // A body that does not come whole brings nothing.
    let cut = format!(
        "POST /events HTTP/1.1\r\nHost: x\r\n{bearer_line}Content-Length: 500\r\n\r\n{}",
        event(7, "a")
    );
    let mut stream = std::net::TcpStream::connect(&client.address).unwrap();
    std::io::Write::write_all(&mut stream, cut.as_bytes()).unwrap();
    drop(stream);
    let lines = format!("{}{{\"n\":1}}\nnone\n{}", event(0, "a"), event(2, "a"));
    assert_eq!(sent(&client, &lines, &[bearer]).body["records"], 4);
    folder.wait_for_lines("out.jsonl", 2);
    running.terminate();
    let finished = running.finish();
    finished.succeeds();
    assert_eq!(numbers(&folder.read("out.jsonl")), [0, 2]);
    let letters = folder.read("state/pushed/dead-letters.jsonl");
    assert_eq!(letters.lines().count(), 2, "{letters}");
    assert!(
        letters.contains("`/key` finds nothing") && letters.contains("\"position\":2"),
        "{letters}"
    );
    assert!(!finished.stderr.contains("s3cret"));
}

#[test]
fn a_request_that_is_made_twice_counts_once() {
    let folder = pipeline("127.0.0.1:0", "", "pass");
    let (running, client) = listening(&folder);
    let key = [("Idempotency-Key", "a-1")];
    assert_eq!(sent(&client, &numbered(2, 1), &key).body["repeated"], false);
    assert_eq!(sent(&client, &numbered(2, 1), &key).body["repeated"], true);
    let other = sent(&client, &numbered(3, 1), &key);
    assert_eq!(other.status, 422, "{other:?}");
    finish_when(running, &folder, 2);
    // Also in the next run, which has read what the key stands for.
    let (running, client) = listening(&folder);
    assert_eq!(sent(&client, &numbered(2, 1), &key).body["repeated"], true);
    running.terminate();
    running.finish().succeeds();
    assert_eq!(numbers(&folder.read("out.jsonl")), [0, 1]);
    // Not where the state is discarded.
    let run = Dirigo::run(&folder, ["pipeline.toml"]).with_state().args(["--fresh"]);
    let mut running = run.env("DIRIGO_LOG", "info").piped();
    let client = Client::of(&running.stderr.wait_for("listens at http://"));
    assert_eq!(sent(&client, &numbered(2, 1), &key).body["repeated"], false);
    finish_when(running, &folder, 2);
    assert_eq!(numbers(&folder.read("out.jsonl")), [0, 1]);
}

#[test]
fn a_pipeline_that_does_not_keep_up_holds_its_senders_back() {
    let folder = pipeline("127.0.0.1:0", "backlog_max = \"64KiB\"", "dawdle");
    let (running, client) = listening(&folder);
    let mut all = 0;
    let refused = loop {
        let body: String = (all..all + 1_000).map(|n| event(n, "a")).collect();
        let answer = sent(&client, &body, &[]);
        if answer.status != 200 {
            break answer;
        }
        all += 1_000;
        assert!(all < 10_000_000, "nothing holds it back");
    };
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    assert!(refused.body["error"].as_str().unwrap().contains("`backlog_max`"));
    // What was acknowledged is read before the end, in this run or in the next.
    running.terminate();
    running.finish().succeeds();
    let (running, client) = listening(&folder);
    let mut last = client.post(event(all, "a").as_bytes(), &[]).unwrap();
    while last.status == 429 {
        std::thread::yield_now();
        last = client.post(event(all, "a").as_bytes(), &[]).unwrap();
    }
    finish_when(running, &folder, all + 1);
    assert_eq!(numbers(&folder.read("out.jsonl")), (0..=all).collect::<Vec<_>>());
}

/// Ends a run once its sink has so many lines.
fn finish_when(running: Running, folder: &Folder, lines: u64) {
    folder.wait_for_lines("out.jsonl", lines);
    running.terminate();
    running.finish().succeeds();
}

#[test]
fn events_that_were_acknowledged_come_out_once_through_kills() {
    let (kills, seed) = (number_of("DIRIGO_KILLS", 20), number_of("DIRIGO_SEED", 1));
    println!("DIRIGO_KILLS={kills} DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    // A port that stays the same from run to run.
    let port = free_port(20_000..25_000);
    let folder = pipeline(&format!("127.0.0.1:{port}"), "route = \"/killed\"", "pass");
    let client = Client {
        address: format!("127.0.0.1:{port}"),
        route: "/killed".to_owned(),
    };
    let batch = |next: u64| {
        let body: String = (next..next + 50).map(|n| event(n, &format!("k-{}", n % 7))).collect();
        (body, format!("batch-{next}"))
    };
    let mut next = 0;
    for _ in 0..kills {
        let mut running = Dirigo::run(&folder, ["pipeline.toml"]).with_state().workers(2).piped();
        running.hang_up();
        let life = Duration::from_micros(random.next() % 300_000);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(life);
            assert!(running.kill(), "it does not end by itself");
        });
        // The client sends each batch until it is acknowledged, in the next life, too.
        while !killer.is_finished() {
            let (body, key) = batch(next);
            match client.post(body.as_bytes(), &[("Idempotency-Key", &key)]) {
                Some(answer) => {
                    assert_eq!(answer.status, 200, "{answer:?}");
                    next += 50;
                }
                // It is not there yet, or not any more.
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        killer.join().unwrap();
    }
    println!("{next} events were acknowledged");
    assert!(next > 0);
    let (running, _) = listening(&folder);
    // The batch that was under way at the last kill, which is there once, and one that only this run can write: what the
    // last kill left uncommitted is not all that is awaited.
    for _ in 0..2 {
        let (body, key) = batch(next);
        assert_eq!(sent(&client, &body, &[("Idempotency-Key", &key)]).status, 200);
        next += 50;
    }
    finish_when(running, &folder, next);
    let lines = folder.read("out.jsonl");
    let found = numbers(&lines);
    let distinct: BTreeSet<u64> = found.iter().copied().collect();
    assert_eq!(found.len(), distinct.len(), "none comes twice");
    assert!(distinct.iter().copied().eq(0..next), "none is missing");
    for key in 0..7 {
        assert!(
            found.iter().filter(|n| **n % 7 == key).is_sorted(),
            "order per key is kept"
        );
    }
}

/// A port that stays free: none of those that the system gives to listeners without one. Each test has a range of its own.
pub(crate) fn free_port(range: std::ops::Range<u32>) -> u16 {
    let first = range.start + std::process::id() % (range.end - range.start);
    let mut ports = (first..range.end).chain(range.start..first);
    let port = ports.find(|port| TcpListener::bind(("127.0.0.1", *port as u16)).is_ok());
    port.expect("one of thousands of ports is free") as u16
}

#[test]
fn sources_share_an_address_each_with_its_route() {
    let port = free_port(25_000..30_000);
    let folder = Folder::new();
    let source = |name: &str, route: &str| {
        let text = format!(
            "[pipeline]\nname = \"{name}\"\n[[source]]\nid = \"events\"\nkind = \"http\"\nlisten = \"127.0.0.1:{port}\"\n\
             {route}\n[[sink]]\nid = \"out\"\nkind = \"file\"\npath = \"{name}.jsonl\"\n"
        );
        folder.write(&format!("{name}.toml"), text);
    };
    source("a", "");
    source("b", "route = \"/b/events\"");
    // Without a state directory, too.
    let run = Dirigo::run(&folder, ["a.toml", "b.toml"]).env("DIRIGO_LOG", "info");
    let mut running = run.piped();
    let clients = [(); 2].map(|()| Client::of(&running.stderr.wait_for("listens at http://")));
    for client in &clients {
        let line = if client.route == "/events" {
            event(1, "a")
        } else {
            event(2, "b")
        };
        assert_eq!(sent(client, &line, &[]).status, 200);
    }
    ["a.jsonl", "b.jsonl"]
        .iter()
        .for_each(|name| folder.wait_for_lines(name, 1));
    running.terminate();
    running.finish().succeeds();
    assert_eq!(
        ["a.jsonl", "b.jsonl"].map(|name| numbers(&folder.read(name))),
        [[1], [2]]
    );

    source("b", "");
    let mut running = Dirigo::run(&folder, ["a.toml", "b.toml"]).piped();
    // The other pipeline goes on.
    running.stderr.wait_for("has ended: 0 events in");
    running.terminate();
    running
        .finish()
        .ends_with(1, &["another source has the route `/events`"]);
}

#[test]
fn a_body_may_be_compressed_and_lines_may_hold_anything() {
    let folder = pipeline("127.0.0.1:0", "", "pass");
    let (running, client) = listening(&folder);
    let zstd = zstd::encode_all(numbered(3, 1).as_bytes(), 1).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, event(3, "k-0").as_bytes()).unwrap();
    for (body, encoding) in [(zstd, "zstd"), (gzip.finish().unwrap(), "gzip")] {
        let answer = client.post(&body, &[("Content-Encoding", encoding)]).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let utf_16 = client.post(b"\xff\xfe{\0}\0\n\0", &[]).unwrap();
    assert_eq!(utf_16.status, 400, "{utf_16:?}");
    finish_when(running, &folder, 4);
    assert_eq!(numbers(&folder.read("out.jsonl")), [0, 1, 2, 3]);

    folder.write(
        "lines.toml",
        "[pipeline]\nname = \"lines\"\n[[source]]\nid = \"in\"\nkind = \"http\"\nlisten = \"127.0.0.1:0\"\n\
         format = \"lines\"\n[[sink]]\nid = \"out\"\nkind = \"file\"\npath = \"lines.jsonl\"\n",
    );
    let run = Dirigo::run(&folder, ["lines.toml"])
        .with_state()
        .env("DIRIGO_LOG", "info");
    let mut running = run.piped();
    let client = Client::of(&running.stderr.wait_for("listens at http://"));
    let answer = client
        .post(b"\xff\xfe any\nbytes", &[("Content-Type", "text/plain")])
        .unwrap();
    assert_eq!(answer.body["records"], 2, "{answer:?}");
    folder.wait_for_lines("lines.jsonl", 2);
    running.terminate();
    running.finish().succeeds();
    assert_eq!(
        std::fs::read(folder.path("lines.jsonl")).unwrap(),
        b"\xff\xfe any\nbytes\n"
    );
}

#[test]
fn a_journal_that_was_damaged_or_cut_is_refused() {
    let folder = pipeline("127.0.0.1:0", "", "pass");
    let (running, client) = listening(&folder);
    for batch in 0..20 {
        let body: String = (batch * 50..batch * 50 + 50).map(|n| event(n, "a")).collect();
        assert_eq!(sent(&client, &body, &[]).status, 200);
    }
    finish_when(running, &folder, 1_000);
    let name = "state/pushed/sources/events/stream-0000000000000000.log";
    let whole = std::fs::read(folder.path(name)).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    for (bytes, says) in [
        (flipped, "is damaged at byte "),
        (whole[..whole.len() / 2].to_vec(), "ends at "),
    ] {
        folder.write(name, bytes);
        let refused = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
        refused.ends_with(1, &["the journal of what was sent", says]);
    }
    folder.write(name, whole);
    let (running, client) = listening(&folder);
    assert_eq!(sent(&client, &event(1_000, "a"), &[]).status, 200);
    finish_when(running, &folder, 1_001);
    assert_eq!(numbers(&folder.read("out.jsonl")), (0..=1_000).collect::<Vec<_>>());
}
