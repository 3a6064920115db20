//! Events that are sent by HTTP: each that was committed reaches the receiver in order, and one that comes again bears the same key.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use crate::http::free_port;
use crate::support::{
    Dirigo, Folder, Random, Received, Receiver, Reply, Running, assert_says, event, number_of, numbered, numbers,
};

/// A file whose events are sent to `url`, with more keys of the sink.
fn pipeline(url: &str, more: &str) -> Folder {
    Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "sends"
        checkpoint = "20ms"
        [[source]]
        id = "events"
        kind = "file"
        path = "in.jsonl"
        [[sink]]
        id = "hook"
        kind = "http"
        url = "{url}"
        order = "source"
        {more}
        "#
    ))
}

/// One whose receiver is on this machine, which the pipeline says that it means.
fn to(receiver: &Receiver, more: &str) -> Folder {
    pipeline(
        &format!("http://{}/events", receiver.address),
        &format!("allow_private = true\n{more}"),
    )
}

fn up_to(end: u64) -> Vec<u64> {
    (0..end).collect()
}

/// The keys without what comes before their numbers, which is the same in all.
fn key_numbers(requests: &[Received]) -> Vec<u64> {
    let mut names = BTreeSet::new();
    let number = |request: &Received| {
        let (name, number) = request.key().rsplit_once('/').unwrap();
        names.insert(name.to_owned());
        number.parse().unwrap()
    };
    let numbers = requests.iter().map(number).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    numbers
}

#[test]
fn events_come_in_order_in_batches_that_bear_the_token_and_a_key_each() {
    let receiver = Receiver::new();
    let more = "batch = 100\ntoken = { env = \"HOOK_TOKEN\" }\nheaders = { x-team = \"blue-t34m\" }";
    let folder = to(&receiver, more);
    folder.write("in.jsonl", numbered(2_345, 3));
    let run = Dirigo::run(&folder, ["pipeline.toml"])
        .with_state()
        .env("HOOK_TOKEN", "s3cret")
        .env("DIRIGO_LOG", "debug")
        .finish();
    run.succeeds();
    let requests = receiver.requests();
    assert!(requests.len() >= 24, "{}", requests.len());
    let bodies: String = requests.iter().map(|request| request.body.clone()).collect();
    assert_eq!(numbers(&bodies), up_to(2_345));
    let expected: Vec<u64> = (1..=requests.len() as u64).collect();
    assert_eq!(key_numbers(&requests), expected);
    for request in &requests {
        assert!(request.key().starts_with("sends/hook/"), "{}", request.key());
        assert!(request.body.lines().count() <= 100);
        assert_eq!(request.line, "POST /events");
        assert_eq!(request.headers["authorization"], "Bearer s3cret");
        assert_eq!(request.headers["x-team"], "blue-t34m");
        assert_eq!(request.headers["content-type"], "application/x-ndjson");
        assert_eq!(request.headers["host"], receiver.address.to_string());
    }
    for secret in ["s3cret", "blue-t34m"] {
        assert!(!run.stderr.contains(secret) && !run.stdout.contains(secret));
    }
    // Nothing is left for another run.
    Dirigo::run(&folder, ["pipeline.toml"])
        .with_state()
        .env("HOOK_TOKEN", "s3cret")
        .finish()
        .succeeds();
    assert_eq!(receiver.requests().len(), requests.len());
    // A state that is discarded has other keys.
    Dirigo::run(&folder, ["pipeline.toml"])
        .with_state()
        .args(["--fresh"])
        .env("HOOK_TOKEN", "s3cret")
        .finish()
        .succeeds();
    let keys: BTreeSet<String> = receiver
        .requests()
        .iter()
        .map(|request| request.key().to_owned())
        .collect();
    assert_eq!(keys.len(), receiver.requests().len());
}

#[test]
fn a_batch_may_be_an_array_and_a_run_without_state_sends_as_well() {
    let receiver = Receiver::new();
    let folder = to(&receiver, "format = \"json\"\nmethod = \"PUT\"");
    folder.write("in.jsonl", numbered(1_234, 1));
    Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
    let mut found = Vec::new();
    for request in receiver.requests() {
        assert_eq!(request.line, "PUT /events");
        assert_eq!(request.headers["content-type"], "application/json");
        let events: Vec<serde_json::Value> = serde_json::from_str(&request.body).unwrap();
        found.extend(events.iter().map(|event| event["n"].as_u64().unwrap()));
    }
    assert_eq!(found, up_to(1_234));
}

#[test]
fn a_receiver_that_is_busy_or_breaks_gets_the_same_batch_again() {
    let receiver = Receiver::new();
    let folder = to(&receiver, "");
    folder.write("in.jsonl", numbered(10, 1));
    let retry_after = vec!["Retry-After: 1".to_owned()];
    receiver.reply(Reply::Answer(503, retry_after, "try later".to_owned()));
    for status in [429, 408, 500] {
        receiver.reply(Reply::status(status));
    }
    receiver.reply(Reply::Break);
    let run = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    run.succeeds();
    assert_says(
        &run.stderr,
        &[
            "batch 1 is sent again until it is delivered",
            "503 Service Unavailable: try later",
        ],
    );
    let requests = receiver.requests();
    assert_eq!(requests.len(), 6);
    assert!(requests.iter().all(|request| *request == requests[0]));
    assert_eq!(numbers(&receiver.deduplicated()), up_to(10));
}

#[test]
fn a_receiver_that_refuses_fails_the_pipeline_and_the_batch_stays() {
    let receiver = Receiver::new();
    let folder = to(&receiver, "token = \"s3cret\"");
    folder.write("in.jsonl", numbered(10, 1));
    let body = format!("no member `n`\n\u{1b}[31m s3cret {}", "x".repeat(1_000));
    receiver.reply(Reply::Answer(400, Vec::new(), body));
    let run = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    let says = [
        "sink `hook`",
        "batch 1 cannot be delivered",
        "answers 400 Bad Request: no member `n` \\u{1b}[31m [secret] xxx",
        "it stays in the outbox",
    ];
    run.ends_with(1, &says);
    assert!(!run.stderr.contains("s3cret") && !run.stderr.contains(&"x".repeat(200)));
    receiver.reply(Reply::Answer(
        302,
        vec!["Location: /elsewhere".to_owned()],
        String::new(),
    ));
    let run = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    run.ends_with(1, &["302 Found (redirects are not followed)"]);
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    assert_eq!(key_numbers(&receiver.requests()), [1, 1, 1]);
    assert_eq!(numbers(&receiver.deduplicated()), up_to(10));
}

#[test]
fn a_batch_is_tried_again_for_as_long_as_the_pipeline_file_says() {
    let receiver = Receiver::new();
    let folder = to(&receiver, "retry_for = \"1ms\"");
    folder.write("in.jsonl", numbered(10, 1));
    (0..100).for_each(|_| receiver.reply(Reply::status(503)));
    let run = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    run.ends_with(1, &["batch 1 was not delivered within 1ms", "503 Service Unavailable"]);
}

#[test]
fn a_receiver_that_is_away_at_first_gets_everything_later() {
    let port = free_port(30_000..31_000);
    let address = format!("127.0.0.1:{port}");
    let folder = pipeline(&format!("http://{address}/"), "allow_private = true\nbatch = 7");
    folder.write("in.jsonl", numbered(100, 1));
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).with_state().piped();
    running.stderr.wait_for("is sent again until it is delivered");
    let receiver = Receiver::at(&address);
    running.finish().succeeds();
    assert_eq!(numbers(&receiver.deduplicated()), up_to(100));
}

/// A run whose receiver does not answer, halted once a batch was tried.
fn halted(folder: &Folder, with_state: bool) -> String {
    folder.write("in.jsonl", numbered(100, 1));
    let run = Dirigo::run(folder, ["pipeline.toml"]);
    let run = if with_state { run.with_state() } else { run };
    let mut running = run.piped();
    running.stderr.wait_for("is sent again until it is delivered");
    running.interrupt();
    running.stderr.wait_for("draining");
    running.interrupt();
    running.finish().stderr
}

#[test]
fn a_run_that_is_halted_leaves_what_was_not_delivered_to_the_next_one_or_says_that_it_is_lost() {
    let port = free_port(31_000..32_000);
    let address = format!("127.0.0.1:{port}");
    let url = format!("http://{address}/");
    let folder = pipeline(&url, "allow_private = true");
    let said = halted(&folder, false);
    assert_says(
        &said,
        &["events were not delivered, and are lost: the run keeps no state"],
    );
    let folder = pipeline(&url, "allow_private = true");
    let said = halted(&folder, true);
    assert_says(
        &said,
        &["events wait in the outbox: the next run with this state delivers them"],
    );
    let receiver = Receiver::at(&address);
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    assert_eq!(numbers(&receiver.deduplicated()), up_to(100));
}

#[test]
fn a_receiver_that_is_slow_holds_the_pipeline_back() {
    let port = free_port(32_000..33_000);
    let address = format!("127.0.0.1:{port}");
    let folder = pipeline(
        &format!("http://{address}/"),
        "allow_private = true\nbacklog_max = \"1KiB\"\nbatch = 20",
    );
    folder.write("in.jsonl", numbered(20_000, 1));
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).with_state().piped();
    running.stderr.wait_for("is sent again until it is delivered");
    let receiver = Receiver::at(&address);
    running.finish().succeeds();
    assert_eq!(numbers(&receiver.deduplicated()), up_to(20_000));
}

#[test]
fn addresses_that_are_not_public_are_sent_to_only_where_that_is_said_and_granted() {
    let receiver = Receiver::new();
    let url = format!("http://{}/", receiver.address);
    let folder = pipeline(&url, "");
    folder.write("in.jsonl", numbered(1, 1));
    let check = |folder: &Folder, more: &[&str]| {
        let check = Dirigo::command(folder, "check").args(["pipeline.toml"]).args(more);
        check.finish()
    };
    let says = ["sink `hook` would send to a loopback address", "allow_private = true"];
    check(&folder, &[]).ends_with(78, &says);
    // Of a name it is known once it is looked up.
    let by_name = pipeline(&format!("http://localhost:{}/", receiver.address.port()), "");
    by_name.write("in.jsonl", numbered(1, 1));
    let run = Dirigo::run(&by_name, ["pipeline.toml"]).finish();
    run.ends_with(1, &["`localhost` is at ", "a loopback address"]);
    // A tenant cannot say it for itself.
    let folder = to(&receiver, "");
    folder.write("in.jsonl", numbered(1, 1));
    let tenant = "[[tenant]]\nname = \"acme\"\npipelines = [\"pipeline.toml\"]\n";
    folder.write("tenants.toml", tenant);
    let says = [
        "may not send to addresses that are not public",
        "private_receivers = true",
    ];
    check(&folder, &["--tenants", "tenants.toml"]).ends_with(78, &says);
    assert_eq!(receiver.requests().len(), 0);
    folder.write("tenants.toml", format!("{tenant}private_receivers = true\n"));
    let run = Dirigo::run(&folder, ["pipeline.toml"]).args(["--tenants", "tenants.toml"]);
    run.finish().succeeds();
    assert_eq!(receiver.requests().len(), 1);
}

/// A file that grows.
struct Growing<'a> {
    folder: &'a Folder,
    lines: u64,
}

impl Growing<'_> {
    fn add(&mut self, lines: u64) {
        let path = self.folder.path("in.jsonl");
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        let text: String = (self.lines..self.lines + lines).map(|n| event(n, "k")).collect();
        file.write_all(text.as_bytes()).unwrap();
        self.lines += lines;
    }
}

#[test]
fn what_was_sent_is_complete_and_in_order_through_kills() {
    let (kills, seed) = (number_of("DIRIGO_KILLS", 20), number_of("DIRIGO_SEED", 1));
    println!("DIRIGO_KILLS={kills} DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    let receiver = Receiver::new();
    let folder = to(&receiver, "batch = 50");
    let mut growing = Growing {
        folder: &folder,
        lines: 0,
    };
    let mut killed = 0;
    for _ in 0..kills {
        growing.add(2_000);
        for _ in 0..random.next() % 8 {
            let reply = match random.next() % 3 {
                0 => Reply::Break,
                1 => Reply::status(503),
                _ => Reply::status(200),
            };
            receiver.reply(reply);
        }
        let running = Dirigo::run(&folder, ["pipeline.toml"]).with_state().workers(2).piped();
        std::thread::sleep(Duration::from_micros(random.next() % 300_000));
        killed += u64::from(running.kill());
    }
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    let (requests, found) = (receiver.requests().len(), numbers(&receiver.deduplicated()));
    println!(
        "{killed} runs were killed; {} events in {requests} requests",
        found.len()
    );
    assert_eq!(found, up_to(growing.lines));
}

#[test]
fn from_one_process_to_another_each_event_comes_once_through_kills_of_both() {
    let (kills, seed) = (number_of("DIRIGO_KILLS", 20), number_of("DIRIGO_SEED", 1));
    println!("DIRIGO_KILLS={kills} DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    let port = free_port(33_000..34_000);
    let sender = pipeline(
        &format!("http://127.0.0.1:{port}/events"),
        "allow_private = true\nbatch = 50\ntoken = \"s3cret\"",
    );
    let taker = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "takes"
        checkpoint = "20ms"
        [[source]]
        id = "events"
        kind = "http"
        listen = "127.0.0.1:{port}"
        token = "s3cret"
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        order = "source"
        "#
    ));
    let start = |folder: &Folder| {
        let mut running = Dirigo::run(folder, ["pipeline.toml"]).with_state().workers(2).piped();
        running.hang_up();
        running
    };
    let mut growing = Growing {
        folder: &sender,
        lines: 0,
    };
    let (mut sends, mut takes): (Option<Running>, Option<Running>) = (None, None);
    for _ in 0..kills {
        if sends.is_none() {
            growing.add(1_000);
            sends = Some(start(&sender));
        }
        takes.get_or_insert_with(|| start(&taker));
        std::thread::sleep(Duration::from_micros(random.next() % 300_000));
        let killed = if random.next().is_multiple_of(2) {
            &mut sends
        } else {
            &mut takes
        };
        killed.take().map(Running::kill);
    }
    drop((sends, takes));
    // Only the last run can write the last line: what the last kill left uncommitted is not all that is awaited.
    growing.add(1);
    let takes = start(&taker);
    start(&sender).finish().succeeds();
    taker.wait_for_lines("out.jsonl", growing.lines);
    takes.terminate();
    takes.finish().succeeds();
    println!("{} events", growing.lines);
    assert_eq!(numbers(&taker.read("out.jsonl")), up_to(growing.lines));
}
