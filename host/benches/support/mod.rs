//! What the benchmarks share: guests, events, a host around them.

#![allow(dead_code, reason = "each benchmark uses its part")]

pub(crate) mod typed;

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use dirigo::batch::Column;
use dirigo::clock::{Clock, SystemClock};
use dirigo::engine::{Component, Engine, Machine};
use dirigo::flow::DeadLetterOffset;
use dirigo::pipeline;
use dirigo::runtime::{Connectors, Ended, Host, HostOptions, Opened, Prepared, RecoveredBatches, prepare};
use dirigo::scheduler::PolicyKind;
use dirigo::sink::{self, Sink};
use dirigo::source::{self, Intake, Offset, Read, ReadLimit, ReadProgress, Source};
use dirigo::state::Store;

/// That of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many keys the events have.
pub(crate) const KEYS: u64 = 1_000;
/// Bytes of a value: a number, and as much again that an operator passes on.
pub(crate) const VALUE_BYTES: usize = 16;

/// The folder of the guests, compiled to components from `benches/guests` and `tests/hostile`.
pub(crate) fn guests() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("host/ lies in the workspace")
            .to_owned();
        let target = root.join("target/guests");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(&root).args([
            "build",
            "--quiet",
            "--profile",
            "component",
            "--target",
            "wasm32-wasip2",
        ]);
        cargo
            .args([
                "-p",
                "bench-map",
                "-p",
                "bench-filter",
                "-p",
                "bench-reduce",
                "-p",
                "bench-typed-map",
                "-p",
                "bench-typed-filter",
                "-p",
                "bench-typed-reduce",
                "-p",
                "bench-interpreter",
                "-p",
                "dirigo-hostile-map",
                "--target-dir",
            ])
            .arg(&target);
        assert!(cargo.status().expect("cargo runs").success(), "the guests compile");
        target.join("wasm32-wasip2/component")
    })
}

/// A guest by its kind.
pub(crate) fn guest(engine: &Engine, kind: &str) -> Component {
    engine
        .load_file(&guests().join(format!("bench_{kind}.wasm")))
        .expect("the guests fit the contract")
}

/// An engine without a cache on disk.
pub(crate) fn engine() -> Engine {
    Engine::new(&Machine::read(), None).expect("this machine runs wasmtime")
}

/// The time.
pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

/// Event `index` of the benchmarks: its key and its value. Keys come in a fixed random order, values from 0 to 40.
pub(crate) fn event(index: u64) -> ([u8; 8], [u8; VALUE_BYTES]) {
    // The finaliser of SplitMix64 (Steele, Lea and Flood 2014, figure 17).
    let mut mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let mut value = [0; VALUE_BYTES];
    #[allow(clippy::cast_precision_loss, reason = "the number is below 2^10")]
    let number = (mixed >> 32 & 0x3ff) as f64 / 25.6;
    value[..8].copy_from_slice(&number.to_le_bytes());
    value[8..].copy_from_slice(&index.to_le_bytes());
    ((mixed % KEYS).to_le_bytes(), value)
}

/// Batches of `events` events, made beforehand so that making them is not measured.
pub(crate) fn batches(count: usize, events: usize) -> Vec<(Column, Column)> {
    let mut index = 0;
    let mut batch = || {
        let mut columns = (
            Column::with_capacity(events, 8 * events),
            Column::with_capacity(events, 16 * events),
        );
        for _ in 0..events {
            let (key, value) = event(index);
            columns.0.push(&key);
            columns.1.push(&value);
            index += 1;
        }
        columns
    };
    (0..count).map(|_| batch()).collect()
}

/// Gives the same batches again and again.
pub(crate) struct Cycle {
    batches: Arc<Vec<(Column, Column)>>,
    next: usize,
    position: u64,
    left: u64,
}

impl Cycle {
    /// `events` events in all.
    pub(crate) fn new(batches: Arc<Vec<(Column, Column)>>, events: u64) -> Self {
        Self {
            batches,
            next: 0,
            position: 1,
            left: events,
        }
    }
}

impl Source for Cycle {
    fn read(&mut self, intake: &mut Intake, _: ReadLimit) -> Result<Read, source::Error> {
        if self.left == 0 {
            return Ok(Read::End);
        }
        let (keys, values) = &self.batches[self.next];
        self.next = (self.next + 1) % self.batches.len();
        let events = keys.len() as u64;
        intake.keys.extend(keys);
        intake.values.extend(values);
        intake.times.resize(keys.len(), 0);
        intake.positions.extend(self.position..self.position + events);
        self.position += events;
        self.left = self.left.saturating_sub(events);
        Ok(Read::More)
    }

    fn offset(&self) -> Option<Offset> {
        Some(Offset::Null)
    }

    fn progress(&self) -> Option<ReadProgress> {
        None
    }
}

/// Takes everything.
pub(crate) struct Null;

impl Sink for Null {
    fn write(&mut self, _: sink::Events<'_>) -> Result<(), sink::Error> {
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

/// A tokio runtime for sources, sinks and timers.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts")
}

/// A host with so many workers.
pub(crate) fn host(engine: &Engine, workers: u32, runtime: &tokio::runtime::Runtime) -> Host {
    let options = HostOptions {
        workers,
        policy: PolicyKind::Fair,
        instances_max: u32::MAX,
        clock: clock(),
    };
    Host::start(engine.clone(), options, runtime.handle().clone())
}

/// A pipeline file's text, with its components compiled.
pub(crate) fn prepared(engine: &Engine, runtime: &tokio::runtime::Runtime, text: &str) -> Prepared {
    let file = guests().join("bench.toml");
    let loaded = pipeline::parse(text, &file, &[], &dirigo::connectors::builtin())
        .unwrap_or_else(|problems| panic!("{problems}"));
    let prepared = runtime.block_on(prepare(engine, loaded, &clock()));
    prepared.unwrap_or_else(|problems| panic!("{problems}"))
}

/// Runs a pipeline in `host`, with `source` in place of its source and nothing written.
pub(crate) fn run(
    host: &Host,
    runtime: &tokio::runtime::Runtime,
    prepared: Prepared,
    source: Box<dyn Source>,
) -> Ended {
    let connectors = Connectors {
        sources: vec![source],
        sinks: vec![Box::new(Null)],
        dead_letters: Box::new(|| Ok(Box::new(Null) as Box<dyn Sink>)),
        dead_letter_offset: DeadLetterOffset::fresh(),
        store: Store::temporary(),
        recovered_batches: RecoveredBatches::default(),
        is_resumed: false,
        batch_events: 256,
    };
    runtime.block_on(host.launch(Opened { prepared, connectors }).finished())
}
