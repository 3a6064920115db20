//! One call into one guest: ns per event of each stage, at several batch sizes, next to the same code compiled
//! natively.
//!
//! `cargo bench --bench stages`. Throughput is in events; the rows named `native` are the limit.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod support;

use dirigo::batch::Batch;
use dirigo::call::Request;
use dirigo::engine::{Budget, Engine, GuestLog, Instance, Seed, Setup};
use dirigo::fields::Fields;
use dirigo::lineage::Ticket;
use dirigo::pipeline::Limits;
use dirigo::state::Table;
use dirigo::state::windows::{self, CountWindows};
use dirigo_operator::filter::filter_batch;
use dirigo_operator::map::map_batch;
use dirigo_operator::{Filter as _, Map as _, NoConfig, columns};
use divan::Bencher;
use divan::counter::ItemsCount;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

const SIZES: [usize; 4] = [1, 16, 256, 1024];
/// Turns per sample: one alone would mostly measure how cold caches and branch predictors are between two samples.
const WARM: u32 = 100;
/// No turn of these benchmarks burns as much.
const BUDGET: Budget = Budget {
    total: 1 << 40,
    slice: 1 << 40,
};

static ENGINE: LazyLock<Engine> = LazyLock::new(support::engine);

fn main() {
    divan::main();
}

/// Polls a future that never waits for anything but its own next slice.
fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
}

fn setup() -> Setup {
    let log = Arc::new(GuestLog::new("bench", "guest", support::clock(), Arc::default()));
    Setup {
        schema: None,
        limits: Limits::default(),
        config: "{}".into(),
        log,
        quota: Arc::default(),
        seed: Seed::new("bench", "guest"),
        clock: support::clock(),
    }
}

fn open(kind: &str) -> Instance {
    finish(Instance::activate(
        &support::guest(&ENGINE, kind),
        &setup(),
        BUDGET.slice,
    ))
    .expect("the guest opens")
}

fn batch(events: usize) -> Batch {
    let (keys, values) = support::batches(1, events).remove(0);
    Batch {
        times: Arc::new(vec![0; events]),
        keys: Arc::new(keys),
        values: values.into(),
        fields: Fields::default(),
        positions: Arc::new((1..=events as u64).collect()),
        origin: Ticket::detached().into(),
    }
}

fn native_batch(events: usize) -> columns::Batch {
    let batch = batch(events);
    let column = |column: &dirigo::batch::Column| columns::Column {
        bytes: column.bytes().to_vec(),
        ends: column.ends().to_vec(),
    };
    columns::Batch {
        times: batch.times.to_vec(),
        keys: column(&batch.keys),
        values: Some(column(&batch.values.to_column())),
        ..columns::Batch::default()
    }
}

fn call(bencher: Bencher<'_, '_>, kind: &str, events: usize) {
    let mut instance = open(kind);
    let request = Request::Batch(batch(events));
    bencher
        .counter(ItemsCount::new(events))
        .bench_local(|| finish(instance.run(&request, BUDGET)).0.expect("no traps"));
}

#[divan::bench(args = SIZES, sample_size = WARM)]
fn map(bencher: Bencher<'_, '_>, events: usize) {
    call(bencher, "map", events);
}

#[divan::bench(args = SIZES, sample_size = WARM)]
fn map_native(bencher: Bencher<'_, '_>, events: usize) {
    let mut operator = bench_map::Scale::open(NoConfig {}).expect("it takes no configuration");
    let batch = native_batch(events);
    bencher
        .counter(ItemsCount::new(events))
        .bench_local(|| map_batch(&mut operator, &batch));
}

#[divan::bench(args = SIZES, sample_size = WARM)]
fn filter(bencher: Bencher<'_, '_>, events: usize) {
    call(bencher, "filter", events);
}

#[divan::bench(args = SIZES, sample_size = WARM)]
fn filter_native(bencher: Bencher<'_, '_>, events: usize) {
    let mut operator = bench_filter::Warm::open(NoConfig {}).expect("it takes no configuration");
    let batch = native_batch(events);
    bencher
        .counter(ItemsCount::new(events))
        .bench_local(|| filter_batch(&mut operator, &batch));
}

/// A fold with the host's part of it: windows assigned, accumulators in and out.
#[divan::bench(args = SIZES, sample_size = WARM)]
fn reduce(bencher: Bencher<'_, '_>, events: usize) {
    let mut instance = open("reduce");
    let (batch, mut table, mut turn) = (batch(events), Table::default(), 0);
    bencher.counter(ItemsCount::new(events)).bench_local(|| {
        turn += 1;
        let (fold, plan) = windows::assign(&mut table, &batch, CountWindows::of(10), turn, 1);
        let answer = finish(instance.run(&Request::Fold(fold), BUDGET)).0.expect("no traps");
        let dirigo::call::Answer::Folded(dirigo::call::Folded::Done { accumulators, .. }) = answer else {
            panic!("a fold folds");
        };
        plan.commit(&mut table, &accumulators);
    });
}

/// Store, instance, `open`, one event, drop: what `isolation = "fresh"` costs a turn.
#[divan::bench]
fn fresh_instance_per_turn(bencher: Bencher<'_, '_>) {
    let (component, setup, request) = (support::guest(&ENGINE, "map"), setup(), Request::Batch(batch(1)));
    bencher.bench_local(|| {
        let mut instance = finish(Instance::activate(&component, &setup, BUDGET.slice)).expect("the guest opens");
        finish(instance.run(&request, BUDGET)).0.expect("no traps")
    });
}

/// The same for the built-in map, whose `open` parses a configuration.
#[divan::bench]
fn activation_of_a_builtin(bencher: Bencher<'_, '_>) {
    let component = ENGINE.load_builtin("map").expect("it is built in");
    let setup = Setup {
        config: r#"{"field":"value","scale":2}"#.into(),
        ..setup()
    };
    bencher.bench_local(|| finish(Instance::activate(&component, &setup, BUDGET.slice)).expect("the guest opens"));
}

/// 65,536 events in slices of 20,000 fuel, and uninterrupted: the difference over the slices is what a switch costs.
#[divan::bench(args = [20_000, 1 << 40])]
fn slices(bencher: Bencher<'_, '_>, slice: u64) {
    let mut instance = open("map");
    let request = Request::Batch(batch(65_536));
    let budget = Budget { slice, ..BUDGET };
    bencher
        .counter(ItemsCount::new(slices_of(&mut instance, &request, slice)))
        .bench_local(|| finish(instance.run(&request, budget)).0.expect("no traps"));
}

fn slices_of(instance: &mut Instance, request: &Request, slice: u64) -> u64 {
    let (answer, fuel) = finish(instance.run(request, BUDGET));
    answer.expect("no traps");
    fuel / slice + 1
}
