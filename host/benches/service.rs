//! What idle pipelines cost a service: memory, processor time, threads, deploying, a restart.
//!
//! `cargo bench --bench service` deploys 900 pipelines that wait for events by HTTP, one after the other, and measures the process. `-- 200` deploys 200. More
//! than about 950 want a higher `ulimit -n` than 20,000.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use dirigo::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

/// Pipelines that run before the first measurement, so that memory which a service needs once does not count.
const FIRST: usize = 20;
/// For how long the processor time of idle pipelines is counted.
const IDLE: Duration = Duration::from_secs(20);
/// The allocator has returned freed memory to the system after this time.
const SETTLING: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

fn main() {
    let count = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    let count: usize = count.unwrap_or(900).max(FIRST + 100);
    let folder = tempfile::tempdir().expect("a folder for the state");
    let port = || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("it has one").port()
    };
    let (api, source) = (port(), port());

    let clock = SystemClock::new();
    let since = |begun_ns| Duration::from_nanos(clock.now_ns() - begun_ns);
    let service = Service::start(folder.path(), api);
    let mut deploys = Vec::with_capacity(count);
    let mut first = None;
    for number in 0..count {
        if number == FIRST {
            service.wait_for_running(FIRST);
            sleep(SETTLING);
            first = Some(service.usage());
        }
        let begun_ns = clock.now_ns();
        let answer = service.ask(
            "POST",
            "pipelines",
            Some(&json!({ "pipeline": pipeline(number, source) })),
        );
        deploys.push(since(begun_ns));
        assert!(answer.get("error").is_none(), "{answer:#}");
    }
    service.wait_for_running(count);
    sleep(SETTLING);
    let (first, all) = (first.expect("there were more"), service.usage());
    sleep(IDLE);
    let later = service.usage();
    deploys.drain(..FIRST);
    deploys.sort_unstable();
    let more = (count - FIRST) as u64;
    let ms = |time: Duration| time.as_millis();
    println!("{count} pipelines that wait for events by HTTP, each");
    println!("  memory            {} KiB", (all.rss_kib - first.rss_kib) / more);
    println!("  threads           {}", (all.threads - first.threads) / more);
    println!(
        "  processor         {} us/s",
        later.cpu.saturating_sub(all.cpu).as_micros() / u128::from(IDLE.as_secs()) / count as u128
    );
    println!(
        "  deploying         p50 {} ms, p99 {} ms",
        ms(deploys[deploys.len() / 2]),
        ms(deploys[deploys.len() * 99 / 100])
    );

    let begun_ns = clock.now_ns();
    service.end("TERM");
    println!("all: SIGTERM to end {} ms", ms(since(begun_ns)));
    for (how, signal) in [("an end", "KILL"), ("kill -9", "TERM")] {
        let begun_ns = clock.now_ns();
        let service = Service::start(folder.path(), api);
        service.wait_for_running(count);
        println!("all: run again after {how} in {} ms", ms(since(begun_ns)));
        service.end(signal);
    }
}

fn pipeline(number: usize, port: u16) -> String {
    format!(
        r#"
        [pipeline]
        name = "p{number}"
        [[source]]
        id = "events"
        kind = "http"
        listen = "127.0.0.1:{port}"
        route = "/{number}"
        [[operator]]
        id = "scale"
        component = "builtin:map"
        config = {{ field = "value", scale = 2.0, into = "value" }}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#
    )
}

/// A service under way.
struct Service {
    process: Child,
    port: u16,
    token: String,
}

/// Memory, threads and processor time of the process of a service.
struct Usage {
    rss_kib: u64,
    threads: u64,
    cpu: Duration,
}

impl Service {
    fn start(folder: &Path, port: u16) -> Self {
        let process = Command::new(env!("CARGO_BIN_EXE_dirigo"))
            .args(["serve", "--state"])
            .arg(folder)
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let token = folder.join("operator.token");
        while TcpStream::connect(("127.0.0.1", port)).is_err() || !token.exists() {
            sleep(PAUSE);
        }
        Self {
            process,
            port,
            token: fs::read_to_string(token).expect("a token").trim().to_owned(),
        }
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (port, token) = (self.port, &self.token);
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the service listens");
        let length = body.len();
        write!(
            stream,
            "{method} /api/v1/{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .expect("the service takes a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the service answers");
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer has a body");
        serde_json::from_str(body).expect("the API answers with JSON")
    }

    fn wait_for_running(&self, count: usize) {
        loop {
            let listed = self.ask("GET", "pipelines", None);
            let pipelines = listed.as_array().expect("a list of pipelines");
            if pipelines
                .iter()
                .filter(|pipeline| pipeline["state"] == "running")
                .count()
                >= count
            {
                return;
            }
            sleep(PAUSE);
        }
    }

    fn usage(&self) -> Usage {
        /// Of the clock of processor times, which Linux shows to programs as 100 ticks a second.
        const TICK: Duration = Duration::from_millis(10);
        let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", self.process.id())).expect("it runs");
        let field = |name: &str| -> u64 {
            let status = read("status");
            let value = status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
            value.expect("Linux says so")
        };
        let stat = read("stat");
        let (_, after) = stat.rsplit_once(')').expect("the name of the process");
        let ticks: u32 = after
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse::<u32>().ok())
            .sum();
        Usage {
            rss_kib: field("VmRSS:"),
            threads: field("Threads:"),
            cpu: TICK * ticks,
        }
    }

    fn end(mut self, signal: &str) {
        let kill = Command::new("kill")
            .args([&format!("-{signal}"), &self.process.id().to_string()])
            .status();
        assert!(kill.is_ok_and(|status| status.success()), "it runs");
        self.process.wait().expect("it ends");
    }
}
