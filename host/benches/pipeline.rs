//! Events of raw bytes, and of a typed field, through map, filter and reduce: Dirigo, next to the same operators' code compiled natively.
//!
//! `cargo bench --bench pipeline` prints ns per event and the ratio to the native direct call, for batches of 1, 16, 256
//! and 1,024 events, first of raw bytes, then of a number in a column; `-- 256` for that one only. The rows of one batch size take turns, so that a machine that changes its speed changes it for all.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bench_reduce::Sum;
use dirigo::batch::Column;
use dirigo::runtime::{OperatorSummary, Prepared};
use dirigo::source::Source;
use dirigo_operator::columns;
use dirigo_operator::filter::filter_batch;
use dirigo_operator::map::map_batch;
use dirigo_operator::{NoConfig, Reduce as _, Window};
use hashbrown::HashMap;
use support::typed::Events;

/// Events that a count window holds.
const WINDOW: u64 = 10;
/// Rounds, of which the median counts.
const ROUNDS: usize = 5;

const PIPELINE: &str = r#"
[pipeline]
name = "bench"
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

fn main() {
    let engine = support::engine();
    let runtime = support::runtime();
    let host = support::host(&engine, 1, &runtime);
    let prepared = support::prepared(&engine, &runtime, PIPELINE);
    let typed = support::prepared(&engine, &runtime, support::typed::PIPELINE);
    println!("batch  native      channels    dirigo      dirigo/native  M events/s  fuel/event");
    let only: Option<usize> = std::env::args().find_map(|argument| argument.parse().ok());
    let sizes = [(1, 200_000), (16, 2_000_000), (256, 8_000_000), (1024, 8_000_000)];
    let sizes = sizes
        .into_iter()
        .filter(|(size, _)| only.is_none_or(|only| only == *size));
    let dirigo = |prepared: &Prepared, source: Box<dyn Source>| {
        let ended = support::run(&host, &runtime, prepared.clone(), source);
        assert_eq!(ended.failure, None);
        assert_eq!(ended.summary.figures.dead_letters, 0);
        fuel_per_event(&ended.operators)
    };
    for (batch_events, events) in sizes.clone() {
        let batches = Arc::new(raw_batches(batch_events));
        let mut rounds = [Vec::new(), Vec::new(), Vec::new()];
        let mut fuel = String::new();
        for _ in 0..ROUNDS {
            rounds[0].push(per_event(events, || native(&batches, events)));
            rounds[1].push(per_event(events, || channels(&runtime, &batches, events)));
            rounds[2].push(per_event(events, || {
                fuel = dirigo(&prepared, Box::new(support::Cycle::new(batches.clone(), events)));
            }));
        }
        let [native, channels, dirigo] = rounds.map(median);
        println!(
            "{batch_events:>5}  {native:>7.1} ns  {channels:>7.1} ns  {dirigo:>7.1} ns  {:>12.2}  {:>10.1}  {fuel}",
            native / dirigo,
            1e3 / dirigo
        );
    }
    println!("typed");
    for (batch_events, events) in sizes {
        let batches = Arc::new(raw_batches(batch_events).iter().map(Events::of).collect::<Vec<_>>());
        let mut rounds = [Vec::new(), Vec::new()];
        let mut fuel = String::new();
        for _ in 0..ROUNDS {
            rounds[0].push(per_event(events, || support::typed::native(&batches, events, WINDOW)));
            rounds[1].push(per_event(events, || {
                let source = support::typed::Cycle::new(batches.clone(), events);
                fuel = dirigo(&typed, Box::new(source));
            }));
        }
        let [native, dirigo] = rounds.map(median);
        println!(
            "{batch_events:>5}  {native:>7.1} ns               {dirigo:>7.1} ns  {:>12.2}  {:>10.1}  {fuel}",
            native / dirigo,
            1e3 / dirigo
        );
    }
}

fn raw_batches(batch_events: usize) -> Vec<(Column, Column)> {
    support::batches(4096 / batch_events.min(64), batch_events)
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn per_event(events: u64, run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_nanos() as f64 / events as f64
}

/// What each operator burnt for an event that it got: the same at any load of the machine.
fn fuel_per_event(operators: &[OperatorSummary]) -> String {
    let per_event =
        |operator: &OperatorSummary| operator.counts.fuel.checked_div(operator.counts.events_in).unwrap_or(0);
    let each: Vec<String> = operators
        .iter()
        .map(|operator| format!("{} {}", operator.id, per_event(operator)))
        .collect();
    each.join(", ")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Why there are values.
const RAW: &str = "these operators read and write bytes";

/// The operators, with state where a program that has only them would keep it.
struct Native {
    map: bench_map::Scale,
    filter: bench_filter::Warm,
    reduce: Fold,
}

struct Fold {
    reduce: bench_reduce::Average,
    sums: HashMap<[u8; 8], (Sum, u64)>,
    out: Column,
}

impl Native {
    fn new() -> Self {
        use dirigo_operator::{Filter as _, Map as _};
        Self {
            map: bench_map::Scale::open(NoConfig {}).expect("it takes no configuration"),
            filter: bench_filter::Warm::open(NoConfig {}).expect("it takes no configuration"),
            reduce: Fold {
                reduce: bench_reduce::Average::open(NoConfig {}).expect("it takes no configuration"),
                sums: HashMap::default(),
                out: Column::default(),
            },
        }
    }

    fn run(&mut self, batch: columns::Batch) {
        let mapped = self.map(batch);
        let filtered = self.filter(&mapped);
        self.reduce.run(&filtered);
    }

    fn map(&mut self, batch: columns::Batch) -> columns::Batch {
        let mapped = map_batch(&mut self.map, &batch);
        columns::Batch {
            values: mapped.values,
            ..batch
        }
    }

    fn filter(&mut self, batch: &columns::Batch) -> columns::Batch {
        let filtered = filter_batch(&mut self.filter, batch);
        let mut kept = columns::Batch {
            times: Vec::with_capacity(filtered.kept.len()),
            keys: columns::Column::with_capacity(filtered.kept.len(), batch.keys.bytes.len()),
            values: Some(columns::Column::default()),
            ..columns::Batch::default()
        };
        for index in filtered.kept {
            kept.times.push(batch.times[index as usize]);
            kept.keys.push(batch.keys.get(index as usize));
            let values = batch.values.as_ref().expect(RAW);
            kept.values.as_mut().expect(RAW).push(values.get(index as usize));
        }
        kept
    }
}

impl Fold {
    fn run(&mut self, batch: &columns::Batch) {
        for (key, value) in batch.keys.iter().zip(batch.values.as_ref().expect(RAW).iter()) {
            let key = <[u8; 8]>::try_from(key).expect("keys have eight bytes");
            let (sum, count) = self.sums.entry(key).or_insert_with(|| (self.reduce.zero(), 0));
            self.reduce.add(sum, value).expect("values have a number");
            *count += 1;
            if *count == WINDOW {
                let window = Window {
                    key: &key,
                    start: 0,
                    end: 0,
                    count: *count,
                    pane: 0,
                };
                let average = self.reduce.finish(&window, *sum).expect("a window has events");
                self.out.push(&average.0);
                (*sum, *count) = (self.reduce.zero(), 0);
            }
        }
        black_box(&self.out);
        self.out = Column::default();
    }
}

fn columns_of((keys, values): &(Column, Column)) -> columns::Batch {
    let column = |column: &Column| columns::Column {
        bytes: column.bytes().to_vec(),
        ends: column.ends().to_vec(),
    };
    columns::Batch {
        times: vec![0; keys.len()],
        keys: column(keys),
        values: Some(column(values)),
        ..columns::Batch::default()
    }
}

fn native(batches: &[(Column, Column)], events: u64) {
    let mut native = Native::new();
    let mut left = events;
    for batch in batches.iter().cycle() {
        native.run(columns_of(batch));
        left = left.saturating_sub(batch.0.len() as u64);
        if left == 0 {
            return;
        }
    }
}

/// The same code, each operator in a task of its own behind a bounded channel.
fn channels(runtime: &tokio::runtime::Runtime, batches: &Arc<Vec<(Column, Column)>>, events: u64) {
    const CAPACITY: usize = 64;
    let (to_map, mut at_map) = tokio::sync::mpsc::channel(CAPACITY);
    let (to_filter, mut at_filter) = tokio::sync::mpsc::channel(CAPACITY);
    let (to_reduce, mut at_reduce) = tokio::sync::mpsc::channel(CAPACITY);
    let (mut mapper, mut filterer, Native { mut reduce, .. }) = (Native::new(), Native::new(), Native::new());
    runtime.spawn(async move {
        while let Some(batch) = at_map.recv().await {
            to_filter.send(mapper.map(batch)).await.expect("the next one listens");
        }
    });
    runtime.spawn(async move {
        while let Some(batch) = at_filter.recv().await {
            to_reduce
                .send(filterer.filter(&batch))
                .await
                .expect("the next one listens");
        }
    });
    let last = runtime.spawn(async move {
        while let Some(batch) = at_reduce.recv().await {
            reduce.run(&batch);
        }
    });
    let batches = batches.clone();
    let source = std::thread::spawn(move || {
        let mut left = events;
        for batch in batches.iter().cycle() {
            to_map.blocking_send(columns_of(batch)).expect("the first one listens");
            left = left.saturating_sub(batch.0.len() as u64);
            if left == 0 {
                return;
            }
        }
    });
    runtime.block_on(last).expect("the tasks run to their end");
    source.join().expect("the source runs to its end");
}
