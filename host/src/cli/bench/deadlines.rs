//! `dirigo bench deadlines`: pipelines with tight and with loose latency targets, as the load rises.

use std::sync::Arc;
use std::time::Duration;

use dirigo::runtime::Prepared;
use dirigo::scheduler::Choice;
use parking_lot::Mutex;
use serde::Serialize;

use super::greedy::{Bottomless, Cycle};
use super::openloop::{Meter, OpenLoop, Plan, Tally};
use super::options::Common;
use super::progress::Cells;
use super::stage::{self, Stage};
use super::{plot, table};
use crate::cli::{Exit, Format, Globals, output};

/// Pipelines of each class.
const PIPELINES: u32 = 3;
/// How long the machine is driven flat out, to see what a full load is.
const CALIBRATION: Duration = Duration::from_secs(1);
/// What is in flight gets this many times the loosest target to arrive; what is still missing then has missed it anyway.
const PATIENCE: u32 = 2;

/// A class of pipelines with the same target.
struct Class {
    name: &'static str,
    slo: Duration,
    /// Its part of the load.
    part: f64,
    /// Events that come at once.
    burst: u32,
}

const CLASSES: [Class; 2] = [
    Class {
        name: "tight",
        slo: Duration::from_millis(5),
        part: 0.3,
        burst: 1,
    },
    Class {
        name: "loose",
        slo: Duration::from_millis(200),
        part: 0.7,
        burst: 100,
    },
];

/// Arguments of `dirigo bench deadlines`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
One tenant runs three pipelines with a target of 5 ms, whose events come one by one and make 30 % of the load, and three \
with a target of 200 ms, whose events come a hundred at a time. All spend the same time on an event, and events come at \
random. A load of 1 is what the workers can do at the most, as measured just before.")]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// Who runs next: any of `fair`, `fifo` and `deadline`
    #[arg(
        long,
        value_name = "POLICY",
        value_delimiter = ',',
        default_value = "fifo,fair,deadline"
    )]
    policy: Vec<Choice>,
    /// Loads, as parts of what the workers can do
    #[arg(long, value_name = "PART", value_delimiter = ',', default_value = "0.3,0.5,0.7,0.8,0.9,1.0,1.1",
          value_parser = load)]
    loads: Vec<f64>,
}

fn load(text: &str) -> Result<f64, String> {
    let load: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if load > 0.0 && load <= 10.0 {
        Ok(load)
    } else {
        Err("it is above 0 and at most 10".into())
    }
}

/// One cell.
#[derive(Debug, Serialize)]
pub(super) struct Met {
    pub(super) policy: String,
    pub(super) load: f64,
    /// Share of the events of the class `tight` that were in time.
    pub(super) tight: f64,
    /// Of the class `loose`.
    pub(super) loose: f64,
    /// Of all.
    pub(super) all: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Measured {
    pub(super) workers: u32,
    duration_s: f64,
    /// What a load of 1 is.
    events_per_s: f64,
    pub(super) deadlines: Vec<Met>,
}

pub(super) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let stage = Stage::new(globals, args.common.workers())?;
    let cells = Cells::new(args.policy.len() * args.loads.len() + 1);
    cells.enter("what a full load is");
    let events_per_s = full_load(&stage)?;
    cells.leave();
    let mut deadlines = Vec::new();
    for &load in &args.loads {
        for &policy in &args.policy {
            cells.enter(format!("load {load}: {policy}"));
            deadlines.push(run(&stage, policy, load, events_per_s, args.common.duration)?);
            cells.leave();
        }
    }
    drop(cells);
    let measured = Measured {
        workers: stage.workers,
        duration_s: args.common.duration.as_secs_f64(),
        events_per_s,
        deadlines,
    };
    match globals.format {
        Format::Json => output::print_json(&measured)?,
        Format::Text => output::print(&text(&measured))?,
    }
    if let Some(directory) = &args.common.plot {
        plot::write(directory, "deadlines", &plot::deadlines(&measured))?;
    }
    Ok(Exit::Success)
}

/// A pipeline of one map that spends about ten microseconds on every event.
fn prepare(stage: &Stage, name: &str, slo: Duration) -> anyhow::Result<Prepared> {
    let component = toml::Value::String(stage.guests.path("map").display().to_string());
    stage.prepare_own(&format!(
        r#"
        [pipeline]
        name = "{name}"
        tenant = "everybody"
        slo = "{}us"
        [[source]]
        id = "events"
        kind = "generator"
        [[operator]]
        id = "map"
        component = {component}
        config = {{ mode = "dawdle" }}
        [[sink]]
        id = "out"
        kind = "null"
        "#,
        slo.as_micros()
    ))
}

/// Events per second that the workers can do at the most.
fn full_load(stage: &Stage) -> anyhow::Result<f64> {
    let host = stage.host(Choice::Fair);
    let prepared = prepare(stage, "flat-out", CLASSES[0].slo)?;
    let job = stage::start(&host, prepared, Cycle::numbered(1), Bottomless);
    let passed = || -> u64 {
        let operators = job.operators().iter();
        operators.map(|operator| operator.counters().read().passed).sum()
    };
    std::thread::sleep(CALIBRATION / 2);
    let (before, started_ns) = (passed(), stage.setup.clock.now_ns());
    std::thread::sleep(CALIBRATION);
    #[allow(
        clippy::cast_precision_loss,
        reason = "a second has far fewer than 2^52 events or ns"
    )]
    let rate = (passed() - before) as f64 * 1e9 / (stage.setup.clock.now_ns() - started_ns) as f64;
    job.killer()();
    stage.setup.runtime.block_on(job.finish());
    anyhow::ensure!(rate > 0.0, "this machine does no event within a second");
    Ok(rate)
}

fn run(stage: &Stage, policy: Choice, load: f64, full: f64, duration: Duration) -> anyhow::Result<Met> {
    let host = stage.host(policy);
    let mut running = Vec::new();
    for (class_index, class) in CLASSES.iter().enumerate() {
        for number in 0..PIPELINES {
            let name = format!("{}-{number}", class.name);
            let prepared = prepare(stage, &name, class.slo)?;
            let rate = load * full * class.part / f64::from(PIPELINES);
            let seed = u64::from(number) + 100 * class_index as u64;
            let offsets = arrivals(rate, class.burst, duration, seed);
            // What comes in the first tenth warms up.
            let warm_up = offsets.partition_point(|&offset_ns| u128::from(offset_ns) < duration.as_nanos() / 10);
            running.push((class_index, prepared, Arc::new(Plan::new(offsets, warm_up))));
        }
    }
    let mut jobs = Vec::new();
    let mut tallies: Vec<(usize, Arc<Plan>, Arc<Mutex<Tally>>)> = Vec::new();
    for (class, prepared, plan) in running {
        let (meter, tally) = Meter::new(plan.clone(), stage.setup.clock.clone());
        let source = OpenLoop::new(plan.clone(), stage.setup.clock.clone());
        jobs.push(stage::start(&host, prepared, source, meter));
        tallies.push((class, plan, tally));
    }
    let loosest = CLASSES.iter().map(|class| class.slo).max().unwrap_or_default();
    stage.setup.runtime.block_on(async {
        let kills: Vec<_> = jobs.iter().map(dirigo::runtime::Job::killer).collect();
        let mut finishing: tokio::task::JoinSet<_> = jobs.into_iter().map(dirigo::runtime::Job::finish).collect();
        let all = async { while finishing.join_next().await.is_some() {} };
        tokio::pin!(all);
        tokio::select! {
            () = &mut all => return,
            () = tokio::time::sleep(duration + PATIENCE * loosest) => {}
        }
        kills.iter().for_each(|kill| kill());
        all.await;
    });
    let mut met = [(0_u64, 0_u64); CLASSES.len()];
    for (class, plan, tally) in tallies {
        let slo_ns = u64::try_from(CLASSES[class].slo.as_nanos()).expect("targets are short");
        met[class].0 += tally.lock().latencies_ns.count_between(0, slo_ns);
        met[class].1 += plan.measured();
    }
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let share = |(met, of): (u64, u64)| met as f64 / of.max(1) as f64;
    Ok(Met {
        policy: policy.to_string(),
        load,
        tight: share(met[0]),
        loose: share(met[1]),
        all: share((met[0].0 + met[1].0, met[0].1 + met[1].1)),
    })
}

/// When events come: bursts at random, on average `rate` events per second.
fn arrivals(rate: f64, burst: u32, duration: Duration, seed: u64) -> Vec<u64> {
    let mut random = SplitMix64(seed);
    let mut offsets = Vec::new();
    let mut at_ns = 0.0;
    #[allow(clippy::cast_precision_loss, reason = "cells last less than 2^52 ns")]
    let end_ns = duration.as_nanos() as f64;
    loop {
        // The time to the next of independent arrivals is exponentially distributed.
        at_ns -= random.unit().ln() * 1e9 * f64::from(burst) / rate;
        if at_ns >= end_ns {
            return offsets;
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it lies between 0 and the end"
        )]
        offsets.extend(std::iter::repeat_n(at_ns as u64, burst as usize));
    }
}

/// Steele, Lea and Flood 2014, figure 17.
struct SplitMix64(u64);

impl SplitMix64 {
    /// Above 0 and at most 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        #[allow(clippy::cast_precision_loss, reason = "53 bits are what a double holds")]
        let unit = ((mixed >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        unit
    }
}

fn text(measured: &Measured) -> String {
    let mut text = format!(
        "share of events within their target, of 5 ms (tight) and 200 ms (loose); workers: {}, {} s per cell;\n\
         a load of 1 is {:.0} events/s\n\n",
        measured.workers, measured.duration_s, measured.events_per_s
    );
    let rows: Vec<Vec<String>> = measured
        .deadlines
        .iter()
        .map(|met| {
            let shares = [met.tight, met.loose, met.all].map(|share| format!("{:.2} %", 100.0 * share));
            [format!("load {:.2}, {}", met.load, met.policy)]
                .into_iter()
                .chain(shares)
                .collect()
        })
        .collect();
    text.push_str(&table::text(&["", "tight", "loose", "all"], &rows));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_as_many_as_the_rate_says_and_the_same_each_time() {
        let offsets = arrivals(10_000.0, 1, Duration::from_secs(10), 7);
        assert!((98_000..102_000).contains(&offsets.len()), "{}", offsets.len());
        assert!(offsets.is_sorted());
        assert_eq!(offsets, arrivals(10_000.0, 1, Duration::from_secs(10), 7));
    }
}
