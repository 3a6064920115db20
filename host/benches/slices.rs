//! How long slices are against what is configured: for an operator with turns of many events, for loops that never
//! return, and for a guest that is an interpreter.
//!
//! `cargo bench --bench slices` runs each by itself on one worker, with `slice` at 50, 100 and 200 µs, and prints quantiles of
//! the time after which its worker was taken from it, and how much of it is within half of what is configured. `-- loop` for
//! the guests with that word in their name only.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod support;

use std::sync::Arc;

use dirigo::batch::Column;
use dirigo::engine::Engine;
use dirigo::runtime::{Ended, Host, SliceSummary};

/// Slices to configure, in µs.
const SLICES_US: [u64; 3] = [50, 100, 200];
/// Events in a batch of the source.
const BATCH_EVENTS: usize = 256;

/// A guest, and enough events for thousands of slices.
struct Guest {
    name: &'static str,
    component: &'static str,
    /// The operator's `config`, as TOML.
    config: &'static str,
    fuel_per_event: u64,
    events: usize,
}

const GUESTS: [Guest; 5] = [
    Guest {
        name: "builtin map, JSON",
        component: "builtin:map",
        config: r#"{ field = "value", scale = 1.8, offset = 32.0, into = "scaled" }"#,
        fuel_per_event: 10_000_000,
        events: 2_000_000,
    },
    Guest {
        name: "loop, in turns of 0.1 s",
        component: "dirigo_hostile_map.wasm",
        config: r#"{ mode = "loop" }"#,
        fuel_per_event: 150_000_000,
        events: 10,
    },
    Guest {
        name: "loop, in one turn",
        component: "dirigo_hostile_map.wasm",
        config: r#"{ mode = "loop" }"#,
        fuel_per_event: 3_000_000_000,
        events: 1,
    },
    Guest {
        name: "loop of divisions",
        component: "dirigo_hostile_map.wasm",
        config: r#"{ mode = "divide" }"#,
        fuel_per_event: 200_000_000,
        events: 10,
    },
    Guest {
        name: "interpreter",
        component: "bench_interpreter.wasm",
        config: "{ rounds = 50_000 }",
        fuel_per_event: 1_000_000_000,
        events: 300,
    },
];

fn main() {
    let engine = support::engine();
    let runtime = support::runtime();
    let host = support::host(&engine, 1, &runtime);
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    println!("guest                     slice     slices     p10     p50     p90  within 50 %       looks");
    let is_wanted = |guest: &&Guest| only.as_ref().is_none_or(|only| guest.name.contains(only));
    for guest in GUESTS.iter().filter(is_wanted) {
        for slice_us in SLICES_US {
            println!(
                "{}",
                guest.row(slice_us, &guest.run(&engine, &host, &runtime, slice_us))
            );
        }
    }
}

impl Guest {
    fn run(&self, engine: &Engine, host: &Host, runtime: &tokio::runtime::Runtime, slice_us: u64) -> Ended {
        let text = format!(
            r#"
            [pipeline]
            name = "bench"
            [[source]]
            id = "events"
            kind = "generator"
            [[operator]]
            id = "guest"
            component = "{}"
            config = {}
            slice = "{slice_us}us"
            limits = {{ fuel_per_event = {} }}
            [[sink]]
            id = "out"
            kind = "null"
            "#,
            self.component, self.config, self.fuel_per_event
        );
        let prepared = support::prepared(engine, runtime, &text);
        let source = support::Cycle::new(
            Arc::new(vec![readings(self.events.min(BATCH_EVENTS))]),
            self.events as u64,
        );
        let ended = support::run(host, runtime, prepared, Box::new(source));
        assert_eq!(ended.failure, None);
        ended
    }

    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    fn row(&self, slice_us: u64, ended: &Ended) -> String {
        let operator = &ended.operators[0];
        let SliceSummary {
            count,
            near,
            p10,
            p50,
            p90,
            ..
        } = operator.slice_us.expect("no guest gets by with one slice");
        let near = 100.0 * near as f64 / count as f64;
        format!(
            "{:<24}{slice_us:>4} µs  {count:>9}  {p10:>6.0}  {p50:>6.0}  {p90:>6.0}  {near:>9.1} %  {:>10}",
            self.name, operator.counts.slices
        )
    }
}

/// A batch of readings, as a sensor sends them.
fn readings(events: usize) -> (Column, Column) {
    let (mut keys, mut values) = (Column::default(), Column::default());
    for n in 0..events {
        keys.push(format!("sensor-{n:04}").as_bytes());
        let reading = format!(
            r#"{{"n":{n},"sensor":"sensor-{n:04}","ts":1704067200000,"unit":"C","place":"roof, north side","value":{}.25}}"#,
            n % 40
        );
        values.push(reading.as_bytes());
    }
    (keys, values)
}
