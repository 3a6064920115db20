//! `dirigo bench elastic`: operators whose load rises and falls, or lies on few keys.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dirigo_actor::Operator;
use dirigo_command::output::{self, Format};
use dirigo_command::{Exit, Globals};
use dirigo_runtime::{Host, Job, Prepared};
use dirigo_scheduler::PolicyKind;
use serde::Serialize;

use super::openloop::{DeliveryCheck, KeyMix, Meter, OpenLoop, Plan, Tally, Watched};
use super::progress::Cells;
use super::testbed::{self, Testbed};
use super::{options, plot, table};

/// Parts of what all workers can do, one after the other.
const LOADS: [f64; 3] = [0.1, 0.9, 0.1];
/// How long the operator gets all that it takes before it is measured: scaling comes to rest.
const SETTLES: Duration = Duration::from_millis(700);
/// And how long while it is measured what it can do.
const FLAT_OUT: Duration = Duration::from_millis(1_500);
/// Latencies are summed up for so long each.
pub(super) const BUCKET: Duration = Duration::from_millis(100);
/// How often the replicas are counted.
const LOOK: Duration = Duration::from_millis(10);
/// What is still missing so long after the last event was due never comes.
const GRACE: Duration = Duration::from_mins(1);
/// A step is over when the p99 is below so many times that of the end of the phase.
const STEADY: f64 = 2.0;

/// An operator, and the keys of its events.
struct Shape {
    name: &'static str,
    guest: &'static str,
    /// The rest of the operator, as TOML.
    operator: &'static str,
    keys: KeyMix,
    /// What an event's number stands behind in its output; `None` where no output is of one event, which so cannot be followed to the sink.
    mark: Option<&'static [u8]>,
}

impl Shape {
    /// How many times it is run.
    fn runs(&self) -> usize {
        if self.mark.is_some() { 6 } else { 3 }
    }
}

/// Events of each take about ten microseconds.
const SHAPES: [Shape; 4] = [
    Shape {
        name: "stateless",
        guest: "map",
        operator: r#"config = { mode = "plod" }"#,
        keys: KeyMix::Even(256),
        mark: Some(b"\"start\":"),
    },
    Shape {
        name: "keyed",
        guest: "reduce",
        operator: KEYED,
        keys: KeyMix::Even(256),
        mark: Some(b"\"numbers\":["),
    },
    Shape {
        name: "zipf 1.2",
        guest: "reduce",
        operator: KEYED,
        keys: KeyMix::Zipf(1_000),
        mark: Some(b"\"numbers\":["),
    },
    Shape {
        name: "one hot key",
        guest: "sum",
        operator: "window = { tumbling = \"1s\" }\nconfig = { mode = \"pass\", steps = 40000 }",
        keys: KeyMix::OneHot(63),
        mark: None,
    },
];

/// A window of one makes an output of every event, so that each can be followed to the sink.
const KEYED: &str = "window = { count = 1 }\nconfig = { mode = \"plod\", every = 1 }";

/// How the number of replicas and shards is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scaling {
    /// By the load.
    Auto,
    /// It is one.
    One,
    /// There are as many as workers.
    Off,
    /// There is one, and when the load rises the pipeline is stopped, and starts again with as many as there are workers.
    Restart,
}

impl Scaling {
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::One => "one",
            Self::Off => "off",
            Self::Restart => "restart",
        }
    }
}

/// Arguments of `dirigo bench elastic`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A pipeline of a map and an operator that takes about ten microseconds for an event: one without state; a reduce whose keys come \
equally often, as Zipf's law with the exponent 1.2 has it, or of which one has 80 % of the events. First it gets all that it takes, \
with one replica or shard, with as many as there are workers, and with as many as the load asks for: what it does in a second is the \
throughput. Then events come at a tenth of what all workers can do, at nine tenths, and at a tenth again, whether or not those \
before are through; each latency counts from when the event was due. The reduce with the hot key sums over windows, so that helpers can share its \
events. No output is of one event there, so only its throughput is measured.

`peak` is the highest p99 of a tenth of a second after the rise, `steady` that of the end of the phase, and `over` how long after the rise the p99 was \
last above twice the steady one. `restart` stops the pipeline at the rise, lets it drain, and starts it again with all replicas or \
shards.

Exit code: 1 if an event was lost, doubled or misplaced; times are not judged.")]
pub(super) struct Args {
    /// Numbers of threads that run operators; by default 1 and as many as there are processors
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1024))]
    workers: Option<Vec<u32>>,
    /// How long each of the three loads lasts
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = options::duration)]
    duration: Duration,
    /// Only these shapes: `stateless`, `keyed`, `zipf 1.2`, `one hot key`
    #[arg(long, value_name = "SHAPE", value_delimiter = ',', value_parser = shape)]
    shapes: Option<Vec<usize>>,
    /// Write the steps as plots (SVG) into this directory
    #[arg(long, value_name = "DIR")]
    plot: Option<std::path::PathBuf>,
}

fn shape(name: &str) -> Result<usize, String> {
    let place = SHAPES.iter().position(|shape| shape.name == name);
    place.ok_or_else(|| "it is one of `stateless`, `keyed`, `zipf 1.2`, `one hot key`".into())
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Measured {
    duration_s: f64,
    throughput: Vec<Throughput>,
    steps: Vec<Step>,
}

/// What an operator does where it gets all that it takes.
#[derive(Debug, Serialize)]
struct Throughput {
    shape: &'static str,
    workers: u32,
    scaling: &'static str,
    events_per_s: f64,
    /// In relation to one replica or shard.
    ratio: f64,
    executors: u32,
    /// The part of the events that helpers folded.
    helped: f64,
}

/// A rise of the load, and its fall.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) shape: &'static str,
    pub(super) workers: u32,
    pub(super) scaling: &'static str,
    /// Events per second in each phase.
    pub(super) rates: Vec<f64>,
    /// The p99 of the end of the phase with the high load, in µs.
    steady_p99_us: f64,
    /// The highest p99 of a [`BUCKET`] after the rise.
    peak_p99_us: f64,
    /// How long after the rise the p99 was last above twice the steady one, in s.
    over_after_s: f64,
    /// The most replicas or shards.
    executors_max: u32,
    /// How many there were at the end.
    executors_end: u32,
    /// By [`BUCKET`].
    pub(super) timeline: Vec<Moment>,
    #[serde(skip)]
    check: DeliveryCheck,
}

/// A part of a step.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Moment {
    pub(super) at_s: f64,
    pub(super) offered_per_s: f64,
    pub(super) p99_us: f64,
    pub(super) executors: u32,
}

pub(super) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    let mut workers = args.workers.clone().unwrap_or_else(|| vec![1, cores]);
    workers.dedup();
    let shapes: Vec<&Shape> = match &args.shapes {
        Some(places) => places.iter().map(|place| &SHAPES[*place]).collect(),
        None => SHAPES.iter().collect(),
    };
    let cells = Cells::new(workers.len() * shapes.iter().map(|shape| shape.runs()).sum::<usize>());
    let (mut throughput, mut steps) = (Vec::new(), Vec::new());
    for &workers in &workers {
        let testbed = Testbed::new(globals, workers)?;
        for shape in &shapes {
            let (mut full, mut of_one) = (0.0, 0.0);
            for scaling in [Scaling::One, Scaling::Off, Scaling::Auto] {
                cells.enter(format!(
                    "{}, {workers} workers, {}: all it takes",
                    shape.name,
                    scaling.name()
                ));
                let done = flat_out(&testbed, shape, scaling)?;
                let events_per_s = done.events_per_s;
                cells.leave();
                if scaling == Scaling::One {
                    of_one = events_per_s;
                }
                if scaling == Scaling::Off {
                    full = events_per_s;
                }
                throughput.push(Throughput {
                    shape: shape.name,
                    workers,
                    scaling: scaling.name(),
                    events_per_s,
                    ratio: events_per_s / of_one,
                    executors: done.executors,
                    helped: done.helped,
                });
            }
            let Some(mark) = shape.mark else { continue };
            for scaling in [Scaling::Off, Scaling::Auto, Scaling::Restart] {
                cells.enter(format!("{}, {workers} workers, {}: a step", shape.name, scaling.name()));
                steps.push(step(&testbed, shape, (scaling, mark), full, args.duration)?);
                cells.leave();
            }
        }
    }
    drop(cells);
    let measured = Measured {
        duration_s: args.duration.as_secs_f64(),
        throughput,
        steps,
    };
    match globals.format {
        Format::Json => output::print_json(&measured)?,
        Format::Text => output::print(&text(&measured))?,
    }
    if let Some(directory) = &args.plot {
        for step in &measured.steps {
            let name = format!("elastic {} {} {}", step.shape, step.workers, step.scaling).replace(' ', "-");
            plot::write(directory, &name, &plot::elastic(step))?;
        }
    }
    let is_complete = |step: &Step| step.check == DeliveryCheck::default();
    Ok(if measured.steps.iter().all(is_complete) {
        Exit::Success
    } else {
        eprintln!("error: events were lost, doubled or misplaced (a fault of dirigo, please report it)");
        Exit::Failure
    })
}

/// The pipeline of a shape.
fn prepare(testbed: &Testbed, shape: &Shape, scaling: Scaling) -> anyhow::Result<Prepared> {
    let count = match (shape.guest, scaling) {
        ("map", Scaling::One) => "replicas = 1",
        (_, Scaling::One) => "shards = 1",
        (_, Scaling::Off) => "scaling = \"off\"",
        (_, Scaling::Auto | Scaling::Restart) => "scaling = \"auto\"",
    };
    testbed.prepare_own(&format!(
        r#"
        [pipeline]
        name = "elastic"
        [[source]]
        id = "events"
        kind = "generator"
        [[operator]]
        id = "map"
        component = "builtin:map"
        config = {{ field = "value", scale = 1.8, offset = 32.0, into = "scaled" }}
        [[operator]]
        id = "work"
        component = "{}"
        {}
        {count}
        [[sink]]
        id = "out"
        kind = "null"
        "#,
        testbed.guests.path(shape.guest).display(),
        shape.operator,
    ))
}

/// The operator that has the work.
fn work(job: &Job) -> Arc<Operator> {
    let mut operators = job.operators().iter();
    let found = operators.find(|operator| operator.id() == "work");
    found.expect("the pipeline of the benchmark has it").clone()
}

/// What an operator does where it gets all that it takes.
struct FlatOut {
    events_per_s: f64,
    executors: u32,
    helped: f64,
}

fn flat_out(testbed: &Testbed, shape: &Shape, scaling: Scaling) -> anyhow::Result<FlatOut> {
    /// More than any machine does meanwhile.
    const EVENTS: usize = 4_000_000;
    let host = testbed.host(PolicyKind::Fair);
    // All are due at once. They come from where those of a step come from, and go where those go, which takes its part of the machine.
    let plan = Arc::new(Plan::new(vec![0; EVENTS], 0).mixed(shape.keys, shape.mark.unwrap_or_default()));
    let source = OpenLoop::new(plan.clone(), testbed.setup.clock.clone());
    let (meter, _) = Meter::new(plan, testbed.setup.clock.clone());
    let job = testbed::start(&host, prepare(testbed, shape, scaling)?, source, meter);
    let operator = work(&job);
    let clock = &testbed.setup.clock;
    std::thread::sleep(SETTLES);
    let done = || {
        let counts = operator.counters().read();
        counts.passed + counts.absorbed
    };
    let (before, helped_before, started_ns) = (done(), operator.helped(), clock.now_ns());
    std::thread::sleep(FLAT_OUT);
    let (events, elapsed_ns) = (done() - before, clock.now_ns() - started_ns);
    let helped = operator.helped() - helped_before;
    let executors = operator.executors().unwrap_or(0);
    job.kill();
    testbed.setup.runtime.block_on(job.finished());
    #[allow(clippy::cast_precision_loss, reason = "counts of seconds are far below 2^52")]
    Ok(FlatOut {
        events_per_s: events as f64 / elapsed_ns as f64 * 1e9,
        executors,
        helped: helped as f64 / events.max(1) as f64,
    })
}

fn step(
    testbed: &Testbed,
    shape: &Shape,
    (scaling, mark): (Scaling, &'static [u8]),
    full: f64,
    duration: Duration,
) -> anyhow::Result<Step> {
    let rates: Vec<f64> = LOADS.iter().map(|load| load * full).collect();
    let phases: Vec<(f64, Duration)> = rates.iter().map(|rate| (*rate, duration)).collect();
    let plan = Arc::new(Plan::stepped(&phases).mixed(shape.keys, mark));
    let clock = testbed.setup.clock.clone();
    let (meter, tally) = Meter::new(plan.clone(), clock.clone());
    let watched: Watched = (plan.clone(), tally.clone());
    let host = testbed.host(PolicyKind::Fair);
    let first = if scaling == Scaling::Restart {
        Scaling::One
    } else {
        scaling
    };
    let source = OpenLoop::new(plan.clone(), clock.clone());
    let mut job = testbed::start(&host, prepare(testbed, shape, first)?, source, meter);
    let all = prepare(testbed, shape, Scaling::Off)?;
    let mut looks: Vec<(Duration, u32)> = Vec::new();
    let end = plan.length() + GRACE;
    let mut has_restarted = false;
    loop {
        std::thread::sleep(LOOK);
        let passed = plan.passed(&*clock);
        looks.push((passed, work(&job).executors().unwrap_or(0)));
        if scaling == Scaling::Restart && !has_restarted && passed >= duration {
            has_restarted = true;
            job = restart(testbed, &host, job, all.clone(), &watched);
        }
        let has_ended = passed > plan.length() && tally.lock().books(&plan) == DeliveryCheck::default();
        if has_ended || passed > end {
            break;
        }
    }
    job.kill();
    testbed.setup.runtime.block_on(job.finished());
    let tally = tally.lock();
    let timeline = timeline(&plan, &tally, &looks, &rates, duration);
    let rise_s = duration.as_secs_f64();
    let of_high: Vec<Moment> = timeline
        .iter()
        .copied()
        .filter(|moment| (rise_s..2.0 * rise_s).contains(&moment.at_s))
        .collect();
    let steady_p99_us = median(
        of_high[of_high.len() / 2..]
            .iter()
            .map(|moment| moment.p99_us)
            .collect(),
    );
    let over = of_high.iter().rfind(|moment| moment.p99_us > STEADY * steady_p99_us);
    Ok(Step {
        shape: shape.name,
        workers: testbed.workers,
        scaling: scaling.name(),
        rates,
        steady_p99_us,
        peak_p99_us: of_high.iter().map(|moment| moment.p99_us).fold(0.0, f64::max),
        over_after_s: over.map_or(0.0, |moment| moment.at_s + BUCKET.as_secs_f64() - rise_s),
        executors_max: looks.iter().map(|(_, executors)| *executors).max().unwrap_or(0),
        // A pipeline that has ended has none.
        executors_end: looks
            .iter()
            .rfind(|(_, executors)| *executors > 0)
            .map_or(0, |(_, executors)| *executors),
        timeline,
        check: tally.books(&plan),
    })
}

/// Stops a pipeline, lets it drain, and starts it again.
fn restart(testbed: &Testbed, host: &Host, job: Job, all: Prepared, (plan, tally): &Watched) -> Job {
    let handle = job.source_handles()[0].clone();
    job.stop();
    testbed.setup.runtime.block_on(job.finished());
    let emitted = handle.events_in.load(Ordering::SeqCst);
    let clock = &testbed.setup.clock;
    let source = OpenLoop::after(plan.clone(), clock.clone(), emitted);
    let meter = Meter::again(plan.clone(), clock.clone(), tally.clone());
    testbed::start(host, all, source, meter)
}

/// What there was by [`BUCKET`] of when events were due.
fn timeline(plan: &Plan, tally: &Tally, looks: &[(Duration, u32)], rates: &[f64], duration: Duration) -> Vec<Moment> {
    let bucket_ns = u64::try_from(BUCKET.as_nanos()).expect("a bucket is short");
    let mut moments = Vec::new();
    let mut first = 0;
    let offsets_ns = plan.offsets_ns();
    for bucket in 0_u32.. {
        let end_ns = bucket_ns * u64::from(bucket + 1);
        let end = offsets_ns.partition_point(|offset_ns| *offset_ns < end_ns);
        let mut took_ns: Vec<u64> = tally.each_ns[first..end].iter().flatten().copied().collect();
        took_ns.sort_unstable();
        let at = BUCKET * bucket;
        let of_bucket = looks.iter().filter(|(passed, _)| (at..at + BUCKET).contains(passed));
        #[allow(clippy::cast_precision_loss, reason = "latencies are far below 2^52 ns")]
        let p99_us = took_ns
            .get(took_ns.len().saturating_sub(1) * 99 / 100)
            .map_or(0.0, |ns| *ns as f64 / 1e3);
        let phase = (at.as_nanos() / duration.as_nanos().max(1)) as usize;
        moments.push(Moment {
            at_s: at.as_secs_f64(),
            offered_per_s: rates[phase.min(rates.len() - 1)],
            p99_us,
            executors: of_bucket.map(|(_, executors)| *executors).max().unwrap_or(0),
        });
        first = end;
        if first == offsets_ns.len() {
            break;
        }
    }
    moments
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}

fn text(measured: &Measured) -> String {
    let header = [
        "all it takes",
        "workers",
        "scaling",
        "events/s",
        "against one",
        "replicas",
        "by helpers",
    ];
    let row = |row: &Throughput| {
        vec![
            row.shape.to_owned(),
            row.workers.to_string(),
            row.scaling.to_owned(),
            format!("{:.0}", row.events_per_s),
            format!("{:.2} ×", row.ratio),
            row.executors.to_string(),
            format!("{:.0} %", row.helped * 100.0),
        ]
    };
    let rows: Vec<Vec<String>> = measured.throughput.iter().map(row).collect();
    let mut text = table::text(&header, &rows);
    let header = [
        "10 → 90 → 10 %",
        "workers",
        "scaling",
        "events/s",
        "steady p99",
        "peak p99",
        "over after",
        "replicas",
        "at the end",
    ];
    let row = |step: &Step| {
        vec![
            step.shape.to_owned(),
            step.workers.to_string(),
            step.scaling.to_owned(),
            format!("{:.0}", step.rates[1]),
            table::latency(step.steady_p99_us),
            table::latency(step.peak_p99_us),
            format!("{:.1} s", step.over_after_s),
            step.executors_max.to_string(),
            step.executors_end.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = measured.steps.iter().map(row).collect();
    if !rows.is_empty() {
        write!(text, "\n{}", table::text(&header, &rows)).expect("a string takes what is written");
    }
    text
}
