//! `dirigo bench isolation`: a victim next to hostile neighbours.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dirigo_command::output::{self, Format};
use dirigo_command::{Exit, Globals, report};
use dirigo_engine::Kind as OperatorKind;
use dirigo_pipeline::Diagnostics;
use dirigo_runtime::Prepared;
use dirigo_scheduler::PolicyKind;
use serde::{Serialize, Serializer};

use super::greedy::Cycle;
use super::kinds::{self, Kind};
use super::machine_load::{self, MachineLoad};
use super::openloop::{Meter, OpenLoop, Plan};
use super::options::{self, Common};
use super::progress::Cells;
use super::testbed::{self, NativeHogs, Testbed};
use super::verdict::Verdict;
use super::victim::{self, Bound, Cell, GRACE, HEAD_START, NeighbourStats, PollBound, WARM_UP};
use super::{plot, table};

/// The ends of the same pipeline without its operators: what the machine takes for it when no worker has a part in it.
const ENDS: &str = r#"
[pipeline]
name = "victim"
tenant = "victim"
[[source]]
id = "events"
kind = "generator"
[[sink]]
id = "out"
kind = "null"
"#;

/// What the neighbour and its tenant are called.
const NEIGHBOUR: &str = "neighbour";

/// Arguments of `dirigo bench isolation`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
The victim is a pipeline of map, filter and reduce of its own tenant. Its events come at a fixed rate whether or not those \
before are through, and each latency counts from when the event was due to when the sink has it. A neighbour gets all the \
events that it takes; it is stopped when the victim's last event is due, so what a policy starves arrives after that: late, \
but not lost.

The bound that is looked at: next to a neighbour the p99 is at most 1.5 times that of the victim alone and 200 us, the p99.9 \
at most twice that alone and 1 ms. It `holds`, or is `broken`; `machine` says that what is beyond it is no longer than the same \
figure of the victim next to native threads that never pause, under `fair`.

The longest poll of a neighbour is at most 2 ms. There is `no verdict` on a longer one where that may be the machine's doing, by how \
long it held a native thread that only reads a clock.

The last lines say for each policy whether the claim held: that the bound holds next to all kinds. There is `no verdict` where other \
processes took more than a twentieth of the machine while the victim was alone, or while a bound was broken; or where there \
were fewer than 1,000 events. `fifo` does not isolate tenants, and is not judged. A p99.9 is given of 10,000 events or more over all rounds: at \
the default rate, with `--duration 12s` or `--rounds 3`.

{}
Exit code: 1 if an event was lost, doubled or misplaced; latencies are not judged.", kinds::help()))]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// Who runs next: any of `fair`, `fifo` and `deadline`
    #[arg(long, value_name = "POLICY", value_delimiter = ',', default_value = "fair,fifo")]
    policy: Vec<PolicyKind>,
    /// Events per second of the victim
    #[arg(long, value_name = "N", default_value = "1000", value_parser = options::rate)]
    rate: f64,
    /// How often the whole table is measured: latencies and longest polls are then the medians of the rounds, and what else
    /// the machine does for a moment spoils one of them
    #[arg(long, value_name = "N", default_value = "1", value_parser = odd)]
    rounds: u32,
    /// Only these kinds of neighbours, such as `infinite-loop,memory-bomb`
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kinds::named)]
    kinds: Option<Vec<Kind>>,
    /// A neighbour of your own, instead of all kinds (or next to those of `--kinds`); its row is `component`
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// The configuration of that component
    #[arg(long, value_name = "JSON", requires = "component", value_parser = object)]
    config: Option<serde_json::Value>,
    /// The events that it gets over and over, one per line; by default `{"n":0,"key":"k-0","value":0.5}` and so on
    #[arg(long, value_name = "FILE", requires = "component")]
    events: Option<PathBuf>,
}

/// A number of rounds that has a middle.
fn odd(text: &str) -> Result<u32, String> {
    let rounds = text
        .parse()
        .ok()
        .filter(|rounds| (1..100).contains(rounds) && rounds % 2 == 1);
    rounds.ok_or_else(|| "it is an odd number from 1 to 99, so that one of them is in the middle".into())
}

fn object(text: &str) -> Result<serde_json::Value, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if value.is_object() {
        Ok(value)
    } else {
        Err("it is no JSON object".into())
    }
}

/// Someone to run next to.
struct Neighbour {
    name: String,
    /// `None` for the user's own.
    kind: Option<Kind>,
    prepared: Prepared,
    events: Cycle,
}

/// What is measured under one policy.
#[derive(Debug, Serialize)]
pub(super) struct PolicyColumn {
    pub(super) alone: Cell,
    #[serde(serialize_with = "as_map")]
    pub(super) beside: Vec<(String, Cell)>,
    /// Whether the claim held; `None` for a policy that does not isolate tenants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verdict: Option<Verdict>,
}

/// What the machine does without any guest to blame.
#[derive(Debug, Serialize)]
struct Machine {
    /// The victim's source and sink, without operators.
    ends_alone: Cell,
    /// The same next to a native thread per worker that never pauses, at the niceness of workers.
    ends_beside_native_hogs: Cell,
    /// The victim as it is, next to such threads: its workers share the cores with them.
    victim_beside_native_hogs: Cell,
    /// The longest that one of those threads, which do nothing but look at their processor time, went without a look, in µs of it:
    /// as much of a poll may be none of the guest's doing, or more where it meets new memory. Over rounds, the median.
    hog_held_us_max: u64,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    pub(super) workers: u32,
    rate: f64,
    duration_s: f64,
    rounds: u32,
    #[serde(serialize_with = "as_map")]
    pub(super) policy: Vec<(String, PolicyColumn)>,
    machine: Machine,
}

fn as_map<V: Serialize, S: Serializer>(entries: &[(String, V)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(entries.iter().map(|(name, value)| (name, value)))
}

pub(super) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let testbed = Testbed::new(globals, args.common.workers())?;
    let mut neighbours = Vec::new();
    if let Some(component) = &args.component {
        let events = match &args.events {
            Some(path) => Cycle::lines(path),
            None => Ok(Cycle::numbered(64)),
        };
        let events = match events {
            Ok(events) => events,
            Err(error) => {
                output::say(&format!("error: --events: {error:#}"));
                return Ok(Exit::Configuration);
            }
        };
        match own(&testbed, component, args.config.as_ref()) {
            Ok(prepared) => neighbours.push(Neighbour {
                name: "component".into(),
                kind: None,
                prepared,
                events,
            }),
            Err(problems) => {
                report::diagnostics(&problems, globals.format)?;
                return Ok(Exit::Configuration);
            }
        }
    }
    let all = if args.component.is_some() { &[] } else { kinds::ALL };
    for kind in args.kinds.as_deref().unwrap_or(all) {
        neighbours.push(Neighbour {
            name: kind.name.to_owned(),
            kind: Some(*kind),
            prepared: testbed.prepare_own(&kind.pipeline(NEIGHBOUR, &testbed.guests))?,
            events: Cycle::numbered(kind.keys).at(kind.times),
        });
    }
    let measured = measure(&testbed, args, &neighbours)?;
    match globals.format {
        Format::Json => output::print_json(&measured)?,
        Format::Text => output::print(&text(&measured))?,
    }
    if let Some(directory) = &args.common.plot {
        plot::write(directory, "isolation", &plot::isolation(&measured))?;
    }
    Ok(if measured.cells().all(Cell::is_complete) {
        Exit::Success
    } else {
        eprintln!("error: events of the victim were lost, doubled or misplaced (a fault of dirigo, please report it)");
        Exit::Failure
    })
}

/// The user's own neighbour.
fn own(testbed: &Testbed, component: &Path, config: Option<&serde_json::Value>) -> Result<Prepared, Diagnostics> {
    // A file that cannot be loaded is reported where the pipeline names it.
    let loaded = testbed.setup.engine.load_file(component);
    let rest = match loaded.map(|component| component.kind()) {
        Ok(OperatorKind::Reduce) => "window = { count = 5 }",
        Ok(OperatorKind::Process) => "order = \"arrival\"",
        Ok(OperatorKind::Map | OperatorKind::Filter) | Err(_) => "",
    };
    let text = kinds::pipeline(NEIGHBOUR, &component.display().to_string(), rest);
    testbed.prepare(&text, config)
}

fn measure(testbed: &Testbed, args: &Args, neighbours: &[Neighbour]) -> anyhow::Result<Measured> {
    let victim = testbed.prepare_own(&victim::pipeline("victim"))?;
    let ends = testbed.prepare_own(ENDS)?;
    let rounds = args.rounds as usize;
    let cells = Cells::new(rounds * (args.policy.len() * (1 + neighbours.len()) + Machine::ROWS));
    let plan = || Plan::even(args.rate, WARM_UP, args.common.duration);
    let run = |policy, prepared: &Prepared, plan, neighbour: Option<&Neighbour>| {
        let cell = run(testbed, policy, prepared.clone(), plan, neighbour);
        cells.leave();
        cell
    };
    // Before anything of its own adds to it.
    let load = machine_load::load_average();
    let mut measured = Vec::new();
    for _ in 0..rounds {
        let mut policies = Vec::new();
        for &policy in &args.policy {
            cells.enter(format!("{policy}: alone"));
            let alone = run(policy, &victim, plan().with_filter(), None)?;
            let mut beside = Vec::new();
            for neighbour in neighbours {
                cells.enter(format!("{policy}: next to {}", neighbour.name));
                let cell = run(policy, &victim, plan().with_filter(), Some(neighbour))?;
                beside.push((neighbour.name.clone(), cell));
            }
            let column = PolicyColumn {
                alone,
                beside,
                verdict: None,
            };
            policies.push((policy, column));
        }
        cells.enter("the machine alone");
        let ends_alone = run(PolicyKind::Fair, &ends, plan(), None)?;
        let hogs = NativeHogs::start(testbed.workers);
        let ends_beside_native_hogs = run(PolicyKind::Fair, &ends, plan(), None)?;
        let victim_beside_native_hogs = run(PolicyKind::Fair, &victim, plan().with_filter(), None)?;
        let hog_held_us_max = hogs.stop();
        let machine = Machine {
            ends_alone,
            ends_beside_native_hogs,
            victim_beside_native_hogs,
            hog_held_us_max,
        };
        measured.push((policies, machine));
    }
    let (policies, machines): (Vec<_>, Vec<_>) = measured.into_iter().unzip();
    let machine = Machine::over_rounds(&machines);
    Ok(Measured {
        workers: testbed.workers,
        rate: args.rate,
        duration_s: args.common.duration.as_secs_f64(),
        rounds: args.rounds,
        policy: over_rounds(
            policies,
            |(policy, _)| policy.to_string(),
            |columns| PolicyColumn::over_rounds(columns, &machine, load),
        ),
        machine,
    })
}

/// What each row comes to over all rounds, which have the same rows.
fn over_rounds<R, T>(
    rounds: Vec<Vec<R>>,
    name: impl Fn(&R) -> String,
    sum_up: impl Fn(Vec<R>) -> T,
) -> Vec<(String, T)> {
    let mut rounds: Vec<_> = rounds.into_iter().map(Vec::into_iter).collect();
    std::iter::from_fn(|| {
        let rows: Vec<R> = rounds.iter_mut().filter_map(Iterator::next).collect();
        let name = name(rows.first()?);
        Some((name, sum_up(rows)))
    })
    .collect()
}

impl PolicyColumn {
    /// The figures over all rounds, and whether they are within the bound.
    fn over_rounds(columns: Vec<(PolicyKind, Self)>, machine: &Machine, load: Option<f64>) -> Self {
        let isolates = columns.iter().all(|(policy, _)| isolates(*policy));
        let columns = columns.into_iter().map(|(_, column)| (column.alone, column.beside));
        let (alone, beside): (Vec<_>, Vec<_>) = columns.unzip();
        let alone = Cell::over_rounds(&alone);
        let beside = over_rounds(
            beside,
            |(name, _)| name.clone(),
            |cells| {
                let mut cell = Cell::over_rounds(&cells.into_iter().map(|(_, cell)| cell).collect::<Vec<_>>());
                cell.judge(&alone, &machine.victim_beside_native_hogs);
                if let Some(neighbour) = &mut cell.neighbour {
                    neighbour.judge_poll(machine.hog_held_us_max);
                }
                cell
            },
        );
        let mut column = Self {
            alone,
            beside,
            verdict: None,
        };
        if isolates && !column.beside.is_empty() {
            column.verdict = Some(Verdict::of(&column, machine_load::processors(), load));
        }
        column
    }
}

/// Whether a policy is to keep neighbours apart; `fifo` is there to show what happens without.
fn isolates(policy: PolicyKind) -> bool {
    policy != PolicyKind::Fifo
}

impl Machine {
    const ROWS: usize = 3;

    fn over_rounds(machines: &[Self]) -> Self {
        let row = |cell: fn(&Self) -> &Cell| Cell::over_rounds(&machines.iter().map(cell).cloned().collect::<Vec<_>>());
        Self {
            ends_alone: row(|machine| &machine.ends_alone),
            ends_beside_native_hogs: row(|machine| &machine.ends_beside_native_hogs),
            victim_beside_native_hogs: row(|machine| &machine.victim_beside_native_hogs),
            hog_held_us_max: victim::median(machines.iter().map(|machine| machine.hog_held_us_max), Ord::cmp),
        }
    }
}

/// One cell: a host of its own, the neighbour, the victim.
fn run(
    testbed: &Testbed,
    policy: PolicyKind,
    victim: Prepared,
    plan: Plan,
    neighbour: Option<&Neighbour>,
) -> anyhow::Result<Cell> {
    let host = testbed.host(policy);
    let runtime = &testbed.setup.runtime;
    let neighbour = neighbour.map(|neighbour| {
        let Neighbour {
            prepared, events, kind, ..
        } = neighbour;
        let job = testbed::start_neighbour(&host, prepared.clone(), events, kind.as_ref());
        std::thread::sleep(HEAD_START);
        job
    });
    let plan = Arc::new(plan);
    let (meter, tally) = Meter::new(plan.clone(), testbed.setup.clock.clone());
    let source = OpenLoop::new(plan.clone(), testbed.setup.clock.clone());
    let job = testbed::start(&host, victim, source, meter);
    let kill = neighbour.as_ref().map(|job| job.control().clone());
    let mut starved = 0;
    let (load, begun_ns) = (MachineLoad::read(), testbed.setup.clock.now_ns());
    let ended = runtime.block_on(async {
        let finishing = job.finished();
        tokio::pin!(finishing);
        tokio::select! {
            ended = &mut finishing => return ended,
            () = tokio::time::sleep(plan.length() + GRACE) => {}
        }
        starved = plan.measured().saturating_sub(tally.lock().latencies_ns.len());
        if let Some(kill) = &kill {
            kill.kill();
        }
        finishing.await
    });
    let time = Duration::from_nanos(testbed.setup.clock.now_ns() - begun_ns);
    let others = MachineLoad::read()
        .zip(load)
        .map(|(now, before)| now.others_since(before, time));
    let neighbour = neighbour.map(|job| {
        let kill = kill.expect("a neighbour comes with its end");
        kill.kill();
        NeighbourStats::of(&runtime.block_on(job.finished()))
    });
    victim::check(ended)?;
    let mut cell = Cell::new(&tally.lock(), &plan, starved);
    cell.neighbour = neighbour;
    cell.others = others.unwrap_or(0.0);
    Ok(cell)
}

impl Measured {
    fn cells(&self) -> impl Iterator<Item = &Cell> {
        let Machine {
            ends_alone,
            ends_beside_native_hogs,
            victim_beside_native_hogs,
            hog_held_us_max: _,
        } = &self.machine;
        let columns = self.policy.iter().flat_map(|(_, column)| {
            let beside = column.beside.iter().map(|(_, cell)| cell);
            [&column.alone].into_iter().chain(beside)
        });
        columns.chain([ends_alone, ends_beside_native_hogs, victim_beside_native_hogs])
    }
}

fn text(measured: &Measured) -> String {
    let mut text = format!(
        "a victim of {} events/s through map, filter and reduce; workers: {}, {} s per cell{}\n",
        measured.rate,
        measured.workers,
        measured.duration_s,
        match measured.rounds {
            1 => String::new(),
            rounds => format!(", medians of {rounds} rounds"),
        }
    );
    let mut part = |title: &str, is_judged: bool, rows: &[(String, &Cell)]| {
        let bound = if is_judged { "bound" } else { "" };
        let header = [
            title,
            "p50",
            "p99",
            "p99.9",
            "max",
            "lost",
            "starved",
            bound,
            "longest poll",
        ];
        let rows: Vec<_> = rows.iter().map(|(name, cell)| row(name, is_judged, cell)).collect();
        text.push('\n');
        text.push_str(&table::text(&header, &rows));
    };
    for (policy, column) in &measured.policy {
        let beside = column.beside.iter().map(|(name, cell)| (name.clone(), cell));
        let rows: Vec<_> = [("alone".to_owned(), &column.alone)]
            .into_iter()
            .chain(beside)
            .collect();
        part(&format!("{policy}, next to"), column.verdict.is_some(), &rows);
    }
    let machine = &measured.machine;
    let rows = [
        ("source to sink alone".to_owned(), &machine.ends_alone),
        ("  next to native hogs".to_owned(), &machine.ends_beside_native_hogs),
        (
            "victim next to native hogs".to_owned(),
            &machine.victim_beside_native_hogs,
        ),
    ];
    part("the machine's own", false, &rows);
    writeln!(
        text,
        "longest that a hog, which only reads a clock, was held: {}",
        table::latency_of_us(machine.hog_held_us_max)
    )
    .expect("a string takes what is written");
    text.push('\n');
    for (policy, column) in &measured.policy {
        match &column.verdict {
            Some(verdict) => text.push_str(&verdict.line(policy)),
            None => write!(
                text,
                "{policy}: not judged: this policy does not isolate tenants; it shows what the others prevent"
            )
            .expect("a string takes what is written"),
        }
        text.push('\n');
    }
    text
}

fn row(name: &str, is_judged: bool, cell: &Cell) -> Vec<String> {
    let bound = match cell.bound.filter(|_| is_judged) {
        None => "",
        Some(Bound::Holds) => "holds",
        Some(Bound::Machine) => "machine",
        Some(Bound::Broken) => "broken",
    };
    let neighbour = cell.neighbour.as_ref();
    let longest_poll = neighbour.map_or_else(String::new, |deeds| {
        let longest = table::latency_of_us(deeds.poll_us_max);
        match deeds.poll_bound {
            Some(PollBound::Broken) => format!("{longest} broken"),
            Some(PollBound::NoVerdict) => format!("{longest} no verdict"),
            Some(PollBound::Holds) | None => longest,
        }
    });
    let figures = cell.figures();
    [name.to_owned()]
        .into_iter()
        .chain(figures)
        .chain([bound.to_owned(), longest_poll])
        .collect()
}
