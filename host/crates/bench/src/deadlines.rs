//! `dirigo bench deadlines`: pipelines with tight and with loose latency targets, as the load rises.

use std::sync::Arc;
use std::time::Duration;

use dirigo_command::output::{self, Format};
use dirigo_command::{Exit, Globals};
use dirigo_runtime::Prepared;
use dirigo_scheduler::PolicyKind;
use serde::Serialize;

use super::greedy::{Bottomless, Cycle};
use super::openloop::{Meter, OpenLoop, Plan, Watched};
use super::options::Common;
use super::progress::Cells;
use super::testbed::{self, Testbed};
use super::{plot, table};

/// Pipelines of each class.
const PIPELINES: u32 = 3;
/// How long the machine is driven flat out, to see what it can do at the very most.
const FLAT_OUT: Duration = Duration::from_secs(1);
/// How long a load is tried at most, to see whether it lasts: what is a 20th too much has then gathered a backlog of
/// 150 ms.
const TRIAL_MAX: Duration = Duration::from_secs(3);
/// How often the span in which the full load lies is halved: to a 64th of what it was.
const HALVINGS: u32 = 6;
/// A load lasts if so much of it is through within a quarter of the loosest target.
const LASTS: f64 = 0.99;
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
    /// What spends about ten microseconds on every event.
    guest: &'static str,
    /// The rest of the operator, as TOML.
    operator: &'static str,
    keys: u64,
    /// What an event's number stands behind in its output.
    mark: &'static [u8],
}

/// The tight ones have an actor or two. A burst of a loose one makes each of its 128 actors ready, for about 100 us each: who
/// takes turns with them waits for 7 ms on two workers.
static CLASSES: [Class; 2] = [
    Class {
        name: "tight",
        slo: Duration::from_millis(5),
        part: 0.3,
        burst: 1,
        guest: "map",
        operator: r#"config = { mode = "dawdle" }"#,
        keys: 16,
        mark: b"\"start\":",
    },
    Class {
        name: "loose",
        slo: Duration::from_millis(200),
        part: 0.7,
        burst: 1280,
        guest: "reduce",
        operator: r#"config = { mode = "dawdle", every = 1 }
        window = { count = 1 }
        actors = "per-key""#,
        keys: 128,
        mark: b"\"numbers\":[",
    },
];

/// Arguments of `dirigo bench deadlines`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
One tenant runs three pipelines with a target of 5 ms, whose events come one by one and make 30 % of the load, and three \
with a target of 200 ms, whose events come 1,280 at a time, over 128 keys with an actor each. All spend the same time on an \
event, and events come at random. A load of 1 is the highest that lasts under each of the policies: the same pipelines are \
driven with rising and falling rates just before, and must have 99 % of their events through within 50 ms. Where tight events \
are run at once and not joined to batches, that is less than where they wait.")]
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
    policy: Vec<PolicyKind>,
    /// Loads, as parts of the highest that lasts
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
pub(super) struct TargetsMet {
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
    pub(super) deadlines: Vec<TargetsMet>,
}

pub(super) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let testbed = Testbed::new(globals, args.common.workers())?;
    let cells = Cells::new(args.policy.len() * args.loads.len() + 1);
    cells.enter("what a full load is");
    let events_per_s = full_load(&testbed, &args.policy, args.common.duration)?;
    cells.leave();
    let mut deadlines = Vec::new();
    for &load in &args.loads {
        for &policy in &args.policy {
            cells.enter(format!("load {load}: {policy}"));
            let driven = drive(&testbed, policy, load * events_per_s, args.common.duration)?;
            deadlines.push(TargetsMet::new(policy, load, &driven));
            cells.leave();
        }
    }
    drop(cells);
    let measured = Measured {
        workers: testbed.workers,
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

/// A pipeline of a class.
fn prepare(testbed: &Testbed, name: &str, class: &Class) -> anyhow::Result<Prepared> {
    let component = toml::Value::String(testbed.guests.path(class.guest).display().to_string());
    testbed.prepare_own(&format!(
        r#"
        [pipeline]
        name = "{name}"
        tenant = "everybody"
        slo = "{}us"
        [[source]]
        id = "events"
        kind = "generator"
        [[operator]]
        id = "guest"
        component = {component}
        {}
        [[sink]]
        id = "out"
        kind = "null"
        "#,
        class.slo.as_micros(),
        class.operator
    ))
}

/// The most events per second that last, whichever of these policies says who runs next.
fn full_load(testbed: &Testbed, policies: &[PolicyKind], duration: Duration) -> anyhow::Result<f64> {
    let in_time = loosest() / 4;
    let lasts = |rate| {
        for &policy in policies {
            let lasts_under = || {
                let driven = drive(testbed, policy, rate, duration.min(TRIAL_MAX))?;
                anyhow::Ok(driven.within(|_| in_time) >= LASTS)
            };
            // What else the machine does can make one trial fail, and hardly two.
            if !lasts_under()? && !lasts_under()? {
                return Ok(false);
            }
        }
        anyhow::Ok(true)
    };
    let (mut low, mut high) = (0.0, flat_out(testbed)?);
    for _ in 0..HALVINGS {
        let rate = f64::midpoint(low, high);
        if lasts(rate)? {
            low = rate;
        } else {
            high = rate;
        }
    }
    anyhow::ensure!(low > 0.0, "no load lasts on this machine");
    Ok(low)
}

/// Events per second of a pipeline that gets as many as it takes: more than any whose events come one by one.
fn flat_out(testbed: &Testbed) -> anyhow::Result<f64> {
    let host = testbed.host(PolicyKind::Fair);
    let prepared = prepare(testbed, "flat-out", &CLASSES[0])?;
    let job = testbed::start(&host, prepared, Cycle::numbered(1), Bottomless);
    let passed = || -> u64 {
        let operators = job.operators().iter();
        operators.map(|operator| operator.counters().read().passed).sum()
    };
    std::thread::sleep(FLAT_OUT / 2);
    let (before, started_ns) = (passed(), testbed.setup.clock.now_ns());
    std::thread::sleep(FLAT_OUT);
    #[allow(
        clippy::cast_precision_loss,
        reason = "a second has far fewer than 2^52 events or ns"
    )]
    let rate = (passed() - before) as f64 * 1e9 / (testbed.setup.clock.now_ns() - started_ns) as f64;
    job.kill();
    testbed.setup.runtime.block_on(job.finished());
    anyhow::ensure!(rate > 0.0, "this machine does no event within a second");
    Ok(rate)
}

fn loosest() -> Duration {
    CLASSES.iter().map(|class| class.slo).max().unwrap_or_default()
}

/// What came of the events of all pipelines, with the class of each.
struct DrivenLoad(Vec<(&'static Class, Watched)>);

impl DrivenLoad {
    /// The share of events that were through in the time that their class has.
    fn within(&self, time: impl Fn(&Class) -> Duration) -> f64 {
        self.share(|_| true, time)
    }

    /// The share of those of some classes.
    fn share(&self, counts: impl Fn(&Class) -> bool, time: impl Fn(&Class) -> Duration) -> f64 {
        let (mut met, mut of) = (0, 0);
        for (class, (plan, tally)) in self.0.iter().filter(|(class, _)| counts(class)) {
            let time_ns = dirigo_ground::clock::nanoseconds(time(class));
            met += tally.lock().latencies_ns.count_between(0, time_ns);
            of += plan.measured();
        }
        #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let share = met as f64 / of.max(1) as f64;
        share
    }
}

impl TargetsMet {
    fn new(policy: PolicyKind, load: f64, driven: &DrivenLoad) -> Self {
        let of_class = |name| driven.share(|class| class.name == name, |class| class.slo);
        Self {
            policy: policy.to_string(),
            load,
            tight: of_class(CLASSES[0].name),
            loose: of_class(CLASSES[1].name),
            all: driven.within(|class| class.slo),
        }
    }
}

/// Runs all pipelines with so many events per second together.
fn drive(testbed: &Testbed, policy: PolicyKind, events_per_s: f64, duration: Duration) -> anyhow::Result<DrivenLoad> {
    let host = testbed.host(policy);
    let mut running = Vec::new();
    for (class, first_seed) in CLASSES.iter().zip((0..).step_by(100)) {
        for number in 0..PIPELINES {
            let prepared = prepare(testbed, &format!("{}-{number}", class.name), class)?;
            let rate = events_per_s * class.part / f64::from(PIPELINES);
            let offsets = arrivals(rate, class.burst, duration, first_seed + u64::from(number));
            // What comes in the first tenth warms up.
            let warm_up = offsets.partition_point(|&offset_ns| u128::from(offset_ns) < duration.as_nanos() / 10);
            let plan = Plan::new(offsets, warm_up).keyed(class.keys, class.mark);
            running.push((class, prepared, Arc::new(plan)));
        }
    }
    let mut jobs = Vec::new();
    let mut driven = Vec::new();
    for (class, prepared, plan) in running {
        let (meter, tally) = Meter::new(plan.clone(), testbed.setup.clock.clone());
        let source = OpenLoop::new(plan.clone(), testbed.setup.clock.clone());
        jobs.push(testbed::start(&host, prepared, source, meter));
        driven.push((class, (plan, tally)));
    }
    testbed.setup.runtime.block_on(async {
        let kills: Vec<_> = jobs.iter().map(|job| job.control().clone()).collect();
        let mut finishing: tokio::task::JoinSet<_> = jobs.into_iter().map(dirigo_runtime::Job::finished).collect();
        let all = async { while finishing.join_next().await.is_some() {} };
        tokio::pin!(all);
        tokio::select! {
            () = &mut all => return,
            () = tokio::time::sleep(duration + PATIENCE * loosest()) => {}
        }
        kills.iter().for_each(dirigo_runtime::Control::kill);
        all.await;
    });
    Ok(DrivenLoad(driven))
}

/// When events come: as many bursts as the rate has of them, each at any time. By chance alone a cell of a few seconds
/// would have a tenth more or less of them, which is more than what loads differ by.
fn arrivals(rate: f64, burst: u32, duration: Duration, seed: u64) -> Vec<u64> {
    let mut random = SplitMix64(seed);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cell has far fewer than 2^52 events, and no negative number of them"
    )]
    let bursts = (rate * duration.as_secs_f64() / f64::from(burst)).round() as usize;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "cells last less than 2^52 ns"
    )]
    let mut starts: Vec<u64> = (0..bursts)
        .map(|_| (random.unit() * duration.as_nanos() as f64) as u64)
        .collect();
    starts.sort_unstable();
    let each = |start| std::iter::repeat_n(start, burst as usize);
    starts.into_iter().flat_map(each).collect()
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
        assert_eq!(offsets.len(), 100_000);
        assert!(offsets.is_sorted());
        assert_eq!(offsets, arrivals(10_000.0, 1, Duration::from_secs(10), 7));
    }
}
