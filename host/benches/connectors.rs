//! What connectors carry: HTTP in, how late its events are, and NATS in and out next to a bare client.
//!
//! `cargo bench --bench connectors` runs all; `-- http`, `-- latency` or `-- nats` one of them. Client, server and Dirigo share the machine.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::format_collect,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints what it measured, in rounded figures, and one that cannot continue fails"
)]

#[path = "../../tests/delivery/nats/server.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod nats_server;
#[path = "../../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "tests use the rest")]
mod support;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::message::PublishMessage;
use dirigo::clock::{Clock, SystemClock};
use futures_util::StreamExt as _;
use hdrhistogram::Histogram;

use crate::nats_server::NatsServer;
use crate::support::{Folder, event};

/// Connections of an HTTP client, each with one request under way.
const CONNECTIONS: u64 = 4;
const HTTP_EVENTS: u64 = 2_000_000;
/// The open loop: batches of this many events, one every `BATCH_EVERY`, for `OPEN_LOOP`.
const BATCH: u64 = 100;
const BATCH_EVERY: Duration = Duration::from_millis(10);
const OPEN_LOOP: Duration = Duration::from_secs(20);
/// So many that the start of a process, which counts, is a small part of the time.
const MESSAGES: u64 = 1_000_000;
/// Messages that a bare publisher has sent and that are not acknowledged.
const IN_FLIGHT: usize = 4_096;
/// Rounds of which the median counts.
const ROUNDS: usize = 3;
const PAUSE: Duration = Duration::from_millis(5);

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name);
    let clock = SystemClock::new();
    if is_chosen("http") {
        for batch in [100, 1_000, 5_000] {
            http(&clock, batch);
        }
    }
    if is_chosen("latency") {
        latency(&clock);
    }
    if is_chosen("nats") {
        nats(&clock);
    }
}

const HTTP: &str = r#"kind = "http"
listen = "127.0.0.1:0""#;
const TO_FILE: &str = r#"kind = "file"
path = "out.jsonl""#;

/// A pipeline from a source through a map to a sink.
fn pipeline(source: &str, sink: &str) -> String {
    format!(
        r#"
[pipeline]
name = "bench"
[[source]]
id = "in"
{source}
[[operator]]
id = "scale"
component = "builtin:map"
config = {{ field = "value", scale = 2.0, into = "value" }}
[[sink]]
id = "out"
{sink}
"#
    )
}

/// A run of the pipeline of a folder, with its state and its log there.
struct Run<'a> {
    folder: &'a Folder,
    process: Child,
}

impl<'a> Run<'a> {
    fn start(folder: &'a Folder) -> Self {
        let log = File::create(folder.path("log")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_dirigo"))
            .args(["run", "pipeline.toml", "--state", "state"])
            .current_dir(folder.path(""))
            .env("DIRIGO_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { folder, process }
    }

    /// Pauses; fails if the run has ended meanwhile.
    fn pause(&mut self) {
        let ended = self.process.try_wait().unwrap();
        assert!(ended.is_none(), "the run has ended: {}", self.folder.read("log"));
        sleep(PAUSE);
    }

    /// The address at which its source listens.
    fn address(&mut self) -> String {
        loop {
            let log = self.folder.read("log");
            let address = log.split("listens at http://").nth(1);
            if let Some((address, _)) = address.and_then(|rest| rest.split_once('/')) {
                return address.to_owned();
            }
            self.pause();
        }
    }

    /// Waits until the file of its sink has this many lines.
    fn wait_for_lines(&mut self, count: u64) {
        let mut file = None;
        let (mut lines, mut buffer) = (0, vec![0; 1 << 20]);
        while lines < count {
            let Some(file) = &mut file else {
                file = File::open(self.folder.path("out.jsonl")).ok();
                self.pause();
                continue;
            };
            let bytes = file.read(&mut buffer).unwrap();
            lines += memchr::memchr_iter(b'\n', &buffer[..bytes]).count() as u64;
            if bytes == 0 {
                self.pause();
            }
        }
    }

    /// Stops the run as a user does.
    fn stop(self) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.finish();
    }

    /// Waits for its end.
    fn finish(mut self) {
        let ended = self.process.wait().unwrap();
        assert!(ended.success(), "{}", self.folder.read("log"));
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if self.process.kill().is_ok() {
            let _ended = self.process.wait();
        }
    }
}

/// A connection with requests one after the other.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn to(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends a request until it is acknowledged.
    fn send(&mut self, request: &[u8]) {
        loop {
            self.0.get_mut().write_all(request).unwrap();
            let (mut status, mut length) = (String::new(), 0);
            self.0.read_line(&mut status).unwrap();
            loop {
                let mut header = String::new();
                self.0.read_line(&mut header).unwrap();
                if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if header.trim().is_empty() {
                    break;
                }
            }
            self.0.read_exact(&mut vec![0; length]).unwrap();
            if status.contains(" 200 ") {
                return;
            }
            assert!(status.contains(" 429 "), "{status:?}");
            sleep(PAUSE);
        }
    }
}

fn request(body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST /in HTTP/1.1\r\nhost: bench\r\ncontent-type: application/x-ndjson\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// How many events a source takes by HTTP, in batches of a size, until all of them are in the file of the sink.
fn http(clock: &SystemClock, batch: u64) {
    let per_connection = (HTTP_EVENTS / batch / CONNECTIONS).min(5_000);
    let events = per_connection * CONNECTIONS * batch;
    let mut rates = rounds(|| {
        let folder = Folder::with_pipeline(&pipeline(HTTP, TO_FILE));
        let mut running = Run::start(&folder);
        let address = running.address();
        let begun_ns = clock.now_ns();
        std::thread::scope(|scope| {
            for connection in 0..CONNECTIONS {
                let address = &address;
                scope.spawn(move || {
                    let first = connection * batch;
                    let body: String = (first..first + batch)
                        .map(|n| event(n, &format!("k-{}", n % 100)))
                        .collect();
                    let request = request(&body);
                    let mut connection = Connection::to(address);
                    for _ in 0..per_connection {
                        connection.send(&request);
                    }
                });
            }
        });
        running.wait_for_lines(events);
        let rate = rate(clock, begun_ns, events);
        running.stop();
        rate
    });
    println!(
        "HTTP, requests of {batch} events over {CONNECTIONS} connections, through a map to a file: {:.0} k events/s",
        median(&mut rates) / 1e3
    );
}

/// How late events are at the end of a pipeline, from the moment at which each was to be sent.
fn latency(clock: &SystemClock) {
    let folder = Folder::with_pipeline(&pipeline(HTTP, "kind = \"stdout\""));
    let mut running = Run::start(&folder);
    let address = running.address();
    let out = BufReader::new(running.process.stdout.take().unwrap());
    let batches = u64::try_from(OPEN_LOOP.as_nanos() / BATCH_EVERY.as_nanos()).unwrap();
    let every_ns = u64::try_from(BATCH_EVERY.as_nanos()).unwrap();
    let begun_ns = clock.now_ns() + every_ns;
    let due_ns = |batch: u64| begun_ns + batch * every_ns;
    let mut late = Histogram::<u64>::new(3).unwrap();
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let address = &address;
            scope.spawn(move || {
                let mut sender = Connection::to(address);
                for batch in (connection..batches).step_by(CONNECTIONS as usize) {
                    let due_ns = due_ns(batch);
                    let body: String = (0..BATCH)
                        .map(|n| format!("{{\"due\":{due_ns},\"key\":\"k-{n}\",\"value\":{n}.5}}\n"))
                        .collect();
                    let request = request(&body);
                    sleep(Duration::from_nanos(due_ns.saturating_sub(clock.now_ns())));
                    sender.send(&request);
                }
            });
        }
        for line in out.lines().take(usize::try_from(batches * BATCH).unwrap()) {
            let line = line.unwrap();
            let due = line.split("\"due\":").nth(1).unwrap().split([',', '}']).next().unwrap();
            late.record(clock.now_ns() - due.parse::<u64>().unwrap()).unwrap();
        }
    });
    running.stop();
    let ms = |quantile| late.value_at_quantile(quantile) as f64 / 1e6;
    println!(
        "HTTP to standard output, {:.0} events/s in an open loop: late by p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms",
        BATCH as f64 / BATCH_EVERY.as_secs_f64(),
        ms(0.5),
        ms(0.99),
        ms(0.999)
    );
}

/// What a stream gives and takes, next to a client that does nothing else.
fn nats(clock: &SystemClock) {
    let folder = Folder::new();
    let server = NatsServer::start(&folder);
    let streams = server.client();
    let lines: String = (0..MESSAGES).map(|n| event(n, &format!("k-{}", n % 100))).collect();
    folder.write("in.jsonl", &lines);
    let url = server.url();
    let source = format!("kind = \"nats\"\nservers = [\"{url}\"]\nstream = \"IN\"\nkey = \"/key\"");
    let sink = format!("kind = \"nats\"\nservers = [\"{url}\"]\nstream = \"OUT\"\nsubject = \"OUT.events\"");
    let (mut bare_out, mut chained_out, mut bare_in, mut ours_in, mut ours_out) =
        (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        streams.create("IN");
        chained_out.push(timed(clock, || bare_publisher(&url, &lines, Headers::Chained)));
        streams.delete("IN");
        streams.create("IN");
        bare_out.push(timed(clock, || bare_publisher(&url, &lines, Headers::None)));
        bare_in.push(timed(clock, || bare_consumer(&url)));
        let reading = Folder::with_pipeline(&pipeline(&source, TO_FILE));
        let mut reader = None;
        ours_in.push(timed(clock, || {
            reader.insert(Run::start(&reading)).wait_for_lines(MESSAGES);
        }));
        drop(reader);
        streams.delete("IN");
        streams.create("OUT");
        let file = format!("kind = \"file\"\npath = \"{}\"", folder.path("in.jsonl").display());
        let writing = Folder::with_pipeline(&pipeline(&file, &sink));
        ours_out.push(timed(clock, || {
            Run::start(&writing).finish();
            assert_eq!(streams.count("OUT").0, MESSAGES);
        }));
        streams.delete("OUT");
    }
    let ours_out = median(&mut ours_out);
    for (what, ours, client, bare) in [
        ("in", median(&mut ours_in), "a bare client", &mut bare_in),
        ("out", ours_out, "a bare client", &mut bare_out),
        (
            "out",
            ours_out,
            "a bare client that has the server check the same order",
            &mut chained_out,
        ),
    ] {
        let bare = median(bare);
        println!(
            "NATS {what}: {:.0} k messages/s, {client} {:.0} k: {:.2} of it",
            ours / 1e3,
            bare / 1e3,
            ours / bare
        );
    }
}

/// What a bare publisher gives a message besides its text.
#[derive(Clone, Copy, PartialEq)]
enum Headers {
    None,
    /// An id, and that of the message that the stream must end with: what Dirigo gives, so that the server takes each message once and in order.
    Chained,
}

fn bare_publisher(url: &str, lines: &str, headers: Headers) {
    with_context(url, async |context| {
        let mut waiting = std::collections::VecDeque::new();
        // As long as those of a sink.
        let id = |number: usize| format!("bench/out/0123456789abcdef0123456789abcdef/{number}");
        for (number, line) in lines.lines().enumerate() {
            let mut message = PublishMessage::build().payload(line.to_owned().into());
            if headers == Headers::Chained {
                message = message.message_id(id(number));
                if number > 0 {
                    message = message.expected_last_message_id(id(number - 1));
                }
            }
            let subject = format!("IN.k-{}", number % 100);
            waiting.push_back(context.send_publish(subject, message).await.unwrap());
            if waiting.len() == IN_FLIGHT {
                waiting.pop_front().unwrap().await.unwrap();
            }
        }
        for acknowledgement in waiting {
            acknowledgement.await.unwrap();
        }
    });
}

fn bare_consumer(url: &str) {
    with_context(url, async |context| {
        let stream = context.get_stream("IN").await.unwrap();
        let config = pull::Config {
            ack_policy: AckPolicy::None,
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await.unwrap();
        let mut messages = consumer
            .stream()
            .max_messages_per_batch(IN_FLIGHT)
            .messages()
            .await
            .unwrap();
        for _ in 0..MESSAGES {
            messages.next().await.unwrap().unwrap();
        }
    });
}

fn with_context(url: &str, work: impl AsyncFnOnce(jetstream::Context)) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = async_nats::connect(url).await.unwrap();
        work(jetstream::new(client)).await;
    });
}

/// Messages a second.
fn timed(clock: &SystemClock, work: impl FnOnce()) -> f64 {
    let begun_ns = clock.now_ns();
    work();
    rate(clock, begun_ns, MESSAGES)
}

fn rate(clock: &SystemClock, begun_ns: u64, events: u64) -> f64 {
    events as f64 * 1e9 / (clock.now_ns() - begun_ns) as f64
}

fn rounds(run: impl FnMut() -> f64) -> Vec<f64> {
    std::iter::repeat_with(run).take(ROUNDS).collect()
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
