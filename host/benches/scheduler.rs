//! What the scheduler costs, and what it is good for.
//!
//! `cargo bench --bench scheduler` prints ns per turn (one `next`, one `settle` that gives the item back) by policy, number of
//! ready actors and tenants; `-- whole` what part that is of pipelines that run; `-- deadlines` how many deadlines are missed,
//! and `-- shares` how far from their weights tenants are, both simulated on virtual time: the same on every machine.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

mod support;

use std::sync::Arc;
use std::time::Instant;

use dirigo::scheduler::{PolicyKind, Ready, Scheduler, Share};
use dirigo_scheduler_simulation::{Actor, Input, Seeded, Workload, run, tight_and_loose};

const POLICIES: [PolicyKind; 3] = [PolicyKind::Fifo, PolicyKind::Fair, PolicyKind::Deadline];
/// Turns that are timed at once: few enough for a busy machine to let a round pass uninterrupted now and then.
const TURNS: u32 = 10_000;
/// Rounds, of which the quickest counts. Every actor has run several times before.
const ROUNDS: usize = 100;
const SECOND_NS: u64 = 1_000_000_000;

/// As large as what hosts schedule.
type Item = (usize, u16);

fn main() {
    let modes: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    match modes.first().map(String::as_str) {
        None => costs(),
        Some("whole") => whole(),
        Some("deadlines") => deadlines(),
        Some("shares") => shares(),
        Some(other) => panic!("`{other}` is none of `whole`, `deadlines` and `shares`"),
    }
}

fn costs() {
    println!("ns per turn           fifo    fair  deadline");
    for ready in [10, 1_000, 100_000] {
        let mut tenants = vec![1, 10, 1_000, 100_000];
        tenants.retain(|tenants| *tenants <= ready);
        for tenants in tenants {
            let [fifo, fair, deadline] = POLICIES.map(|policy| per_turn(policy, ready, tenants));
            let label = format!("{ready} ready, {tenants} tenants");
            println!("{label:<27}{fifo:>6.0}  {fair:>6.0}  {deadline:>8.0}");
        }
    }
}

/// ns per turn while so many actors of so many tenants are always ready.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn per_turn(policy: PolicyKind, ready: usize, tenants: usize) -> f64 {
    let scheduler = Scheduler::<Item>::new(policy, support::clock());
    let mut seeded = Seeded::new(1);
    for index in 0..ready {
        scheduler.push(Ready {
            tenant: u32::try_from(index % tenants).expect("there are fewer than 2^32"),
            start_by_ns: Some(seeded.between(0, SECOND_NS)),
            item: (index, 0),
        });
    }
    // Made beforehand: what slices take, and how much later the next deadline is.
    let slices: Vec<(u64, u64)> = (0..4096)
        .map(|_| (seeded.between(5_000, 150_000), seeded.between(0, SECOND_NS)))
        .collect();
    let warm = 3 * ready / TURNS as usize;
    let rounds = (0..warm + ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for turn in 0..TURNS {
                let (used_ns, later_ns) = slices[turn as usize % slices.len()];
                let mut ready = scheduler.next().expect("it is not closed");
                let used = ready.used(used_ns, 0);
                ready.start_by_ns = ready.start_by_ns.map(|start_by_ns| start_by_ns + later_ns);
                scheduler.settle(used, Some(ready));
            }
            start.elapsed().as_nanos() as f64 / f64::from(TURNS)
        })
        .skip(warm);
    rounds.fold(f64::MAX, f64::min)
}

const PIPELINE: &str = r#"
[pipeline]
name = "bench"
slo = "50ms"
[[source]]
id = "events"
kind = "generator"
[[operator]]
id = "map"
component = "bench_map.wasm"
[[operator]]
id = "filter"
component = "bench_filter.wasm"
[[operator]]
id = "reduce"
component = "bench_reduce.wasm"
window = { count = 10 }
[[sink]]
id = "out"
kind = "null"
"#;

/// What part of a pipeline's time the scheduler takes, if every turn is scheduled by itself.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn whole() {
    let engine = support::engine();
    let runtime = support::runtime();
    let host = support::host(&engine, 1, &runtime);
    let prepared = support::prepared(&engine, &runtime, PIPELINE);
    let cost = per_turn(PolicyKind::Deadline, 10, 1);
    println!("batch  turns/event  ns/turn  of which the scheduler");
    for (batch_events, events) in [(1, 200_000), (256, 8_000_000)] {
        let batches = Arc::new(support::batches(4096 / batch_events.min(64), batch_events));
        let source = Box::new(support::Cycle::new(batches, events));
        let start = Instant::now();
        let ended = support::run(&host, &runtime, prepared.clone(), source);
        let took_ns = start.elapsed().as_nanos() as f64;
        assert_eq!(ended.failure, None);
        let turns: u64 = ended.operators.iter().map(|operator| operator.counts.turns).sum();
        let per_turn = took_ns / turns as f64;
        let per_event = turns as f64 / events as f64;
        println!(
            "{batch_events:>5}  {per_event:>11.4}  {per_turn:>7.0}  at most {:.1} %",
            100.0 * cost / per_turn
        );
    }
}

fn deadlines() {
    println!("deadlines missed, % of all   fifo     fair  deadline");
    for tenants in [1, 4] {
        for percent in [50, 70, 80, 90, 95] {
            let missed = POLICIES.map(|policy| {
                let rates = (1..=3).map(|seed| {
                    let load = f64::from(percent) / 100.0;
                    run(policy, &tight_and_loose(2, tenants, load, seed, 20 * SECOND_NS)).miss_rate()
                });
                100.0 * rates.sum::<f64>() / 3.0
            });
            let [fifo, fair, deadline] = missed;
            println!("{tenants} tenants, {percent} % load      {fifo:>8.3} {fair:>8.3}  {deadline:>8.3}");
        }
    }
}

fn shares() {
    println!("weights 1:2:4, greedy, % of the workers in a second farthest from what they are entitled to");
    for workers in [1, 2] {
        for actors in [1, 10, 1_000] {
            let endless = |tenant| Actor {
                tenant,
                input: Input::Endless(300_000),
                ..Actor::default()
            };
            let actors_of = |tenant| std::iter::repeat_with(move || endless(tenant)).take(actors);
            let weights = [1, 2, 4];
            let work = Workload {
                workers,
                slice_ns: 100_000,
                shares: weights
                    .map(|weight| Share {
                        weight,
                        ..Share::default()
                    })
                    .to_vec(),
                actors: (0..3).flat_map(actors_of).collect(),
                until_ns: 5 * SECOND_NS,
            };
            for policy in POLICIES {
                let report = run(policy, &work);
                let got = [0, 1, 2].map(|tenant| {
                    let parts = (100..report.used_ns.len()).map(|to| {
                        let used_ns = report.used_between(tenant, to - 100, to);
                        100.0 * used_ns as f64 / (SECOND_NS * workers as u64) as f64
                    });
                    let (least, most) = parts.fold((f64::MAX, 0.0_f64), |(least, most), part| {
                        (least.min(part), most.max(part))
                    });
                    format!("{least:.2}-{most:.2}")
                });
                println!(
                    "{workers} workers, {actors:>4} actors each, {policy:<8}: {}",
                    got.join("  ")
                );
            }
        }
    }
}
