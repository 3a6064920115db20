//! What checkpoints cost: throughput, latency, and the time to recover.
//!
//! `cargo bench --bench checkpoint` keeps 100,000 keys of about 100 bytes changing all the time, without and with a checkpoint
//! every second, in alternation; then it times how long a run takes to go on with a million keys. `-- throughput`,
//! `-- latency`, `-- recovery` run one of them.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dirigo::batch::Column;
use dirigo::clock::Clock;
use dirigo::disk;
use dirigo::engine::Engine;
use dirigo::flow::DeadLetterOffset;
use dirigo::runtime::{CheckpointSummary, Connectors, Ended, Opened, RecoveredBatches};
use dirigo::sink::{self, Sink};
use dirigo::source::{self, Intake, Offset, Read, ReadLimit, ReadProgress, Source};
use dirigo::state::{Keys, Offsets, Store, Table};
use dirigo::sync::Mutex;
use hdrhistogram::Histogram;

/// Keys that change all the time.
const KEYS: u64 = 100_000;
/// Bytes of a key: with its accumulator and times an entry has about 100.
const KEY_BYTES: usize = 64;
/// Keys of the state that is recovered.
const RECOVERED_KEYS: u64 = 1_000_000;
/// Events of one run that measures throughput: about six seconds.
const EVENTS: u64 = 60_000_000;
/// Events per second of a run that measures latency: each key changes once a second.
const RATE: u64 = 100_000;
/// Seconds of a run that measures latency.
const SECONDS: u64 = 8;
/// Pairs of runs.
const PAIRS: usize = 4;

/// Windows that stay open, so that every key has state; what passes the filter shows the latency.
const PIPELINE: &str = r#"
[pipeline]
name = "bench"
checkpoint = "CHECKPOINT"
[[source]]
id = "events"
kind = "generator"
[[operator]]
id = "keep"
component = "bench_reduce.wasm"
window = { count = 1_000_000_000 }
[[operator]]
id = "pass"
component = "bench_filter.wasm"
inputs = ["events"]
[[sink]]
id = "kept"
kind = "null"
inputs = ["keep"]
[[sink]]
id = "passed"
kind = "null"
inputs = ["pass"]
"#;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|part| !part.starts_with('-')).collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == part);
    let bench = Bench {
        engine: support::engine(),
        runtime: support::runtime(),
        clock: support::clock(),
    };
    if is_wanted("throughput") {
        bench.throughput();
    }
    if is_wanted("latency") {
        bench.latency();
    }
    if is_wanted("recovery") {
        bench.recovery();
    }
}

struct Bench {
    engine: Engine,
    runtime: tokio::runtime::Runtime,
    clock: Arc<dyn Clock>,
}

#[allow(clippy::cast_precision_loss, reason = "what is measured is below 2^52")]
impl Bench {
    fn throughput(&self) {
        println!("{KEYS} keys of about 100 bytes, all of them changing, 2 workers; events per second");
        println!("{:>12} {:>12} {:>8}", "off", "every 1s", "ratio");
        let batches = Arc::new(batches(KEYS, 256));
        let mut ratios = Vec::new();
        // The first pair compiles and warms up.
        for pair in 0..=PAIRS {
            let rate = |checkpoint| {
                let directory = tempfile::tempdir().expect("there is room for state");
                let store = open(directory.path());
                let source = Box::new(support::Cycle::new(batches.clone(), EVENTS));
                let started_ns = self.clock.now_ns();
                let ended = self.run(store, checkpoint, source, Latencies::default());
                assert_eq!(ended.failure, None);
                EVENTS as f64 * 1e9 / (self.clock.now_ns() - started_ns) as f64
            };
            let (off, on) = (rate("off"), rate("1s"));
            if pair == 0 {
                continue;
            }
            ratios.push(on / off);
            println!("{off:>12.0} {on:>12.0} {:>8.2}", on / off);
        }
        ratios.sort_by(f64::total_cmp);
        println!("median ratio {:.2}\n", ratios[PAIRS / 2]);
    }

    fn latency(&self) {
        println!("{RATE} events/s over {KEYS} keys, 1 worker; from the moment an event was due to the sink, in ms");
        println!(
            "{:>10} {:>8} {:>8} {:>8} {:>8}",
            "checkpoint", "p50", "p99", "p99.9", "max"
        );
        for _ in 0..PAIRS {
            for checkpoint in ["off", "1s"] {
                let directory = tempfile::tempdir().expect("there is room for state");
                let latencies = Latencies::default();
                let source = Box::new(Paced::new(self.clock.clone()));
                let ended = self.run(open(directory.path()), checkpoint, source, latencies.clone());
                assert_eq!(ended.failure, None);
                let found = latencies.0.lock();
                let ms = |quantile| found.value_at_quantile(quantile) as f64 / 1e6;
                println!(
                    "{checkpoint:>10} {:>8.2} {:>8.2} {:>8.2} {:>8.2}  {}",
                    ms(0.5),
                    ms(0.99),
                    ms(0.999),
                    ms(1.0),
                    ended.summary.checkpoints.map(said).unwrap_or_default()
                );
            }
        }
        println!();
    }

    fn recovery(&self) {
        let directory = tempfile::tempdir().expect("there is room for state");
        let fill = support::Cycle::new(Arc::new(batches(RECOVERED_KEYS, 256)), RECOVERED_KEYS);
        let filled = self.run(open(directory.path()), "1s", Box::new(fill), Latencies::default());
        assert_eq!(filled.failure, None);
        println!("{RECOVERED_KEYS} keys of about 100 bytes; until a run has taken 1,000 more events to its end, in s");
        for _ in 0..PAIRS {
            let started_ns = self.clock.now_ns();
            let store = open(directory.path());
            let opened_ns = self.clock.now_ns();
            let source = support::Cycle::new(Arc::new(batches(1_000, 256)), 1_000);
            let ended = self.run(store, "1s", Box::new(source), Latencies::default());
            assert_eq!(ended.failure, None);
            let ended_ns = self.clock.now_ns();
            let s = |from: u64, to: u64| (to - from) as f64 / 1e9;
            println!(
                "opening {:.2}, all {:.2}",
                s(started_ns, opened_ns),
                s(started_ns, ended_ns)
            );
        }
        let store = open(directory.path());
        let mut table = Table::default();
        let all = Keys::ALL;
        store.load("keep", &all, &mut table).expect("the state can be read");
        assert_eq!(table.len() as u64, RECOVERED_KEYS, "every key is there");
    }

    fn run(&self, store: Store, checkpoint: &str, source: Box<dyn Source>, latencies: Latencies) -> Ended {
        let host = support::host(&self.engine, 2, &self.runtime);
        let text = PIPELINE.replace("CHECKPOINT", checkpoint);
        let sink = Timed {
            latencies,
            clock: self.clock.clone(),
        };
        let connectors = Connectors {
            sources: vec![source],
            sinks: vec![Box::new(support::Null), Box::new(sink)],
            dead_letters: Box::new(|| Ok(Box::new(support::Null) as Box<dyn Sink>)),
            dead_letter_offset: DeadLetterOffset::fresh(),
            is_resumed: store.offsets().is_ok_and(|known: Option<Offsets>| known.is_some()),
            store,
            recovered_batches: RecoveredBatches::default(),
            batch_events: 256,
        };
        let prepared = support::prepared(&self.engine, &self.runtime, &text);
        self.runtime
            .block_on(host.launch(Opened { prepared, connectors }).finished())
    }
}

fn said(checkpoints: CheckpointSummary) -> String {
    let CheckpointSummary {
        taken,
        pause_ms_max,
        duration_ms_max,
    } = checkpoints;
    format!("{taken} taken, standing still {pause_ms_max:.1} ms, durable after {duration_ms_max:.0} ms at most")
}

fn open(directory: &Path) -> Store {
    Store::open(Arc::new(disk::Real), directory).expect("the state can be opened")
}

/// All keys, a few at a time, in an order that jumps.
fn batches(keys: u64, events: usize) -> Vec<(Column, Column)> {
    // Without a common factor with the number of keys, so that it visits them all.
    const STRIDE: u64 = 7_919;
    let order: Vec<u64> = (0..keys).map(|index| index * STRIDE % keys).collect();
    let batch = |keys: &[u64]| {
        let mut columns = (Column::default(), Column::default());
        for key in keys {
            columns.0.push(&long_key(*key));
            columns.1.push(&support::event(*key).1);
        }
        columns
    };
    order.chunks(events).map(batch).collect()
}

fn long_key(key: u64) -> [u8; KEY_BYTES] {
    let mut bytes = [0; KEY_BYTES];
    bytes[..8].copy_from_slice(&key.to_le_bytes());
    bytes
}

/// Gives events when they are due, with that moment behind a number that passes the filter.
struct Paced {
    clock: Arc<dyn Clock>,
    /// When it was read first.
    started_ns: Option<u64>,
    given: u64,
}

impl Paced {
    fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            started_ns: None,
            given: 0,
        }
    }
}

impl Source for Paced {
    fn read(&mut self, intake: &mut Intake, limit: ReadLimit) -> Result<Read, source::Error> {
        /// Events come in groups, as from a network.
        const GROUP: u64 = 50;
        if self.given == RATE * SECONDS {
            return Ok(Read::End);
        }
        let started_ns = *self.started_ns.get_or_insert_with(|| self.clock.now_ns());
        let due_ns = |event: u64| started_ns + event * 1_000_000_000 / RATE;
        let next_ns = due_ns(self.given + GROUP);
        let now_ns = self.clock.now_ns();
        if now_ns < next_ns {
            return Ok(Read::Wait(Duration::from_nanos(next_ns - now_ns)));
        }
        let due = (now_ns - started_ns) * RATE / 1_000_000_000 - self.given;
        let events = due.min(limit.events as u64).min(RATE * SECONDS - self.given);
        for event in self.given..self.given + events {
            intake.keys.push(&long_key(event % KEYS));
            let mut value = [0; support::VALUE_BYTES];
            value[..8].copy_from_slice(&100_f64.to_le_bytes());
            value[8..].copy_from_slice(&due_ns(event).to_le_bytes());
            intake.values.push(&value);
            intake.times.push(0);
            intake.positions.push(event + 1);
        }
        self.given += events;
        Ok(Read::More)
    }

    fn offset(&self) -> Option<Offset> {
        Some(self.given.into())
    }

    fn progress(&self) -> Option<ReadProgress> {
        None
    }
}

/// From when events were due to when they are written, in ns.
#[derive(Clone)]
struct Latencies(Arc<Mutex<Histogram<u64>>>);

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new(3).expect("three digits are within what a histogram offers");
        Self(Arc::new(Mutex::new(histogram)))
    }
}

/// Notes when events come.
struct Timed {
    latencies: Latencies,
    clock: Arc<dyn Clock>,
}

impl Sink for Timed {
    fn write(&mut self, events: sink::Events<'_>) -> Result<(), sink::Error> {
        let now_ns = self.clock.now_ns();
        let mut latencies = self.latencies.0.lock();
        for value in events.values.iter() {
            let due_ns = value.last_chunk().map_or(now_ns, |due| u64::from_le_bytes(*due));
            let recorded = latencies.record(now_ns.saturating_sub(due_ns));
            recorded.expect("the histogram resizes itself");
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), sink::Error> {
        Ok(())
    }

    fn prepare(&mut self) -> Result<sink::Prepared, sink::Error> {
        Ok(sink::Prepared::default())
    }

    fn publish(&mut self) -> Result<(), sink::Error> {
        Ok(())
    }

    fn delivery_capability(&self) -> sink::DeliveryCapability {
        sink::DeliveryCapability::WritesNothing
    }
}
