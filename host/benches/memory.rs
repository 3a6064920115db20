//! What actors take: resident memory for each active one and for each dormant one.
//!
//! `cargo bench --bench memory` runs the same events through actors per key, in a process of its own each time: for none, for
//! as many as there may be instances (all active), and for many more (nearly all dormant).

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod support;

use std::process::Command;
use std::sync::Arc;

use dirigo::batch::Column;
use dirigo::runtime::{Host, HostOptions};
use dirigo::scheduler::PolicyKind;

/// Instances that may be alive in the runs.
const INSTANCES: u32 = 4_000;
/// Keys in the run of mostly dormant actors.
const MANY_KEYS: u64 = 104_000;
/// Set, to a number of keys, where this program is to run a pipeline and print its resident memory.
const KEYS: &str = "DIRIGO_BENCH_KEYS";

const PIPELINE: &str = r#"
[pipeline]
name = "bench"
[[source]]
id = "events"
kind = "generator"
[[operator]]
id = "reduce"
component = "bench_reduce.wasm"
window = { count = 1_000_000 }
actors = "per-key"
[[sink]]
id = "out"
kind = "null"
"#;

fn main() {
    if let Some(keys) = std::env::var(KEYS).ok().and_then(|keys| keys.parse().ok()) {
        return run(keys);
    }
    let none = resident(1);
    let active = resident(u64::from(INSTANCES));
    let dormant = resident(MANY_KEYS);
    let more_active = u64::from(INSTANCES) - 1;
    let more_dormant = MANY_KEYS - u64::from(INSTANCES);
    println!("one actor                 {} KiB in all", none / 1024);
    println!("each further active one   {:.1} KiB", per(active - none, more_active));
    println!(
        "each dormant one          {:.3} KiB",
        per(dormant.saturating_sub(active), more_dormant)
    );
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn per(bytes: u64, actors: u64) -> f64 {
    bytes as f64 / actors as f64 / 1024.0
}

fn resident(keys: u64) -> u64 {
    let program = std::env::current_exe().expect("the program has a path");
    let output = Command::new(program)
        .env(KEYS, keys.to_string())
        .output()
        .expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

fn run(keys: u64) {
    let engine = support::engine();
    let runtime = support::runtime();
    let options = HostOptions {
        workers: 1,
        policy: PolicyKind::Fair,
        instances_max: INSTANCES,
        clock: support::clock(),
    };
    let host = Host::start(engine.clone(), options, runtime.handle().clone());
    let batches = (0..keys)
        .step_by(256)
        .map(|first| batch(first..(first + 256).min(keys)))
        .collect();
    let source = support::Cycle::new(Arc::new(batches), keys);
    let ended = support::run(
        &host,
        &runtime,
        support::prepared(&engine, &runtime, PIPELINE),
        Box::new(source),
    );
    assert_eq!(ended.failure, None);
    assert_eq!(ended.operators[0].counts.absorbed, keys);
    println!("{}", peak_bytes());
}

/// The most that was resident at once; actors keep their instances until the end.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("the kernel tells");
    let kib: u64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .expect("it is a number");
    kib * 1024
}

fn batch(keys: std::ops::Range<u64>) -> (Column, Column) {
    let mut columns = (Column::default(), Column::default());
    for key in keys {
        columns.0.push(&key.to_le_bytes());
        columns.1.push(&support::event(key).1);
    }
    columns
}
