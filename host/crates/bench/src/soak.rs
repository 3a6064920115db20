//! `dirigo bench soak`: victims next to all hostile kinds at once, for long.

use std::sync::Arc;
use std::time::Duration;

use dirigo_command::output::{self, Format};
use dirigo_command::{Exit, Globals};
use dirigo_flow::Failure;
use dirigo_runtime::{Control, Ended, Job};
use dirigo_scheduler::PolicyKind;
use serde::Serialize;

use super::greedy::Cycle;
use super::kinds::{self, Kind};
use super::memory::Resident;
use super::openloop::{Meter, OpenLoop, Plan, Watched};
use super::options::{self, Workers};
use super::table;
use super::testbed::{self, Testbed};
use super::victim::{self, Cell, GRACE, HEAD_START, NeighbourStats, WARM_UP};

/// Victims: two may have the same bad luck, and each is somebody's neighbour as well.
const VICTIMS: usize = 3;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Arguments of `dirigo bench soak`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Three victims, pipelines of map, filter and reduce, run beside one neighbour of each kind, all at once and each of a tenant \
of its own. The victims' events come at a fixed rate whether or not those before are through. Neighbours get all the events \
that they take; they are stopped when the victims' last event is due.

{}
Exit code: 1 if an event of a victim was lost, doubled or misplaced; latencies and memory are not judged.", kinds::help()))]
pub(super) struct Args {
    #[command(flatten)]
    workers: Workers,
    /// How long it takes
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = options::duration)]
    duration: Duration,
    /// Who runs next: `fair`, `fifo` or `deadline`
    #[arg(long, value_name = "POLICY", default_value = "fair")]
    policy: PolicyKind,
    /// Events per second of each victim
    #[arg(long, value_name = "N", default_value = "300", value_parser = options::rate)]
    rate: f64,
    /// Only these kinds of neighbours, such as `infinite-loop,memory-bomb`
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kinds::named)]
    kinds: Option<Vec<Kind>>,
}

/// A neighbour at its end.
#[derive(Debug, Serialize)]
struct Neighbour {
    kind: &'static str,
    #[serde(flatten)]
    deeds: NeighbourStats,
    /// Why it ended before it was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

/// A victim at its end.
#[derive(Debug, Serialize)]
struct Victim {
    #[serde(flatten)]
    cell: Cell,
    poll_us_max: u64,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Measured {
    workers: u32,
    policy: String,
    rate: f64,
    duration_s: f64,
    victims: Vec<Victim>,
    neighbours: Vec<Neighbour>,
    resident_bytes: Resident,
}

pub(super) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let testbed = Testbed::new(globals, args.workers.count())?;
    let measured = measure(&testbed, args)?;
    match globals.format {
        Format::Json => output::print_json(&measured)?,
        Format::Text => output::print(&text(&measured))?,
    }
    Ok(if measured.victims.iter().all(|victim| victim.cell.is_complete()) {
        Exit::Success
    } else {
        eprintln!("error: events of a victim were lost, doubled or misplaced (a fault of dirigo, please report it)");
        Exit::Failure
    })
}

fn measure(testbed: &Testbed, args: &Args) -> anyhow::Result<Measured> {
    let mut memory = Resident::before();
    let host = testbed.host(args.policy);
    let kinds = args.kinds.as_deref().unwrap_or(kinds::ALL);
    let neighbours = kinds
        .iter()
        .map(|kind| {
            let prepared = testbed.prepare_own(&kind.pipeline(kind.name, &testbed.guests))?;
            Ok(testbed::start_neighbour(
                &host,
                prepared,
                &Cycle::numbered(kind.keys).at(kind.times),
                Some(kind),
            ))
        })
        .collect::<anyhow::Result<Vec<Job>>>()?;
    std::thread::sleep(HEAD_START);
    let plan = || Plan::even(args.rate, WARM_UP, args.duration).with_filter();
    let (mut victims, mut watched) = (Vec::new(), Vec::new());
    for number in 1..=VICTIMS {
        let prepared = testbed.prepare_own(&victim::pipeline(&format!("victim-{number}")))?;
        let plan = Arc::new(plan());
        let (meter, tally) = Meter::new(plan.clone(), testbed.setup.clock.clone());
        let source = OpenLoop::new(plan.clone(), testbed.setup.clock.clone());
        victims.push(testbed::start(&host, prepared, source, meter));
        watched.push((plan, tally));
    }
    let length = plan().length() + GRACE;
    let run = run_out(testbed, victims, neighbours, &watched, length, &mut memory);
    let (victims, starved, neighbours) = testbed.setup.runtime.block_on(run);
    drop(host);
    memory.end();
    let victim = |((ended, starved), (plan, tally)): ((Ended, u64), &Watched)| {
        let poll_us_max = NeighbourStats::of(&ended).poll_us_max;
        victim::check(ended)?;
        let cell = Cell::new(&tally.lock(), plan, starved);
        anyhow::Ok(Victim { cell, poll_us_max })
    };
    let neighbour = |(kind, ended): (&Kind, Ended)| Neighbour {
        kind: kind.name,
        deeds: NeighbourStats::of(&ended),
        failure: ended
            .failure
            .filter(|failure| *failure != Failure::Killed)
            .map(|failure| failure.to_string()),
    };
    Ok(Measured {
        workers: testbed.workers,
        policy: args.policy.to_string(),
        rate: args.rate,
        duration_s: args.duration.as_secs_f64(),
        victims: victims
            .into_iter()
            .zip(starved)
            .zip(&watched)
            .map(victim)
            .collect::<anyhow::Result<_>>()?,
        neighbours: kinds.iter().zip(neighbours).map(neighbour).collect(),
        resident_bytes: memory,
    })
}

/// Lets all run until the victims are through or their time is up; then stops the neighbours. Gives how the victims ended,
/// what they lacked before that, and how the neighbours ended.
async fn run_out(
    testbed: &Testbed,
    victims: Vec<Job>,
    neighbours: Vec<Job>,
    watched: &[Watched],
    length: Duration,
    memory: &mut Resident,
) -> (Vec<Ended>, Vec<u64>, Vec<Ended>) {
    let started_ns = testbed.setup.clock.now_ns();
    let passed = || Duration::from_nanos(testbed.setup.clock.now_ns() - started_ns);
    let kills: Vec<_> = neighbours.iter().map(|job| job.control().clone()).collect();
    let mut through = None;
    let finishing = Job::all_finished(victims);
    tokio::pin!(finishing);
    while through.is_none() && passed() < length {
        memory.look(passed().div_duration_f64(length));
        tokio::select! {
            ended = &mut finishing => through = Some(ended),
            () = tokio::time::sleep(LOOK.min(length.saturating_sub(passed()))) => {}
        }
    }
    let missing = |(plan, tally): &Watched| plan.measured().saturating_sub(tally.lock().latencies_ns.len());
    let starved = watched.iter().map(missing).collect();
    kills.iter().for_each(Control::kill);
    let victims = match through {
        Some(ended) => ended,
        None => finishing.await,
    };
    (victims, starved, Job::all_finished(neighbours).await)
}

fn text(measured: &Measured) -> String {
    let mut text = format!(
        "three victims of {} events/s each beside all of these; {}, workers: {}, {} s\n\n",
        measured.rate, measured.policy, measured.workers, measured.duration_s
    );
    let victims: Vec<Vec<String>> = (1..)
        .zip(&measured.victims)
        .map(|(number, victim)| {
            [format!("victim {number}")]
                .into_iter()
                .chain(victim.cell.figures())
                .chain([table::latency_of_us(victim.poll_us_max)])
                .collect()
        })
        .collect();
    let header = ["", "p50", "p99", "p99.9", "max", "lost", "starved", "longest poll"];
    text.push_str(&table::text(&header, &victims));
    let neighbours: Vec<Vec<String>> = measured
        .neighbours
        .iter()
        .map(|neighbour| {
            let NeighbourStats {
                events,
                turns,
                slices,
                traps,
                dead_letters,
                poll_us_max,
                ..
            } = neighbour.deeds;
            [neighbour.kind.to_owned()]
                .into_iter()
                .chain([events, turns, slices, traps, dead_letters].map(output::grouped))
                .chain([table::latency_of_us(poll_us_max)])
                .collect()
        })
        .collect();
    let header = [
        "beside",
        "events",
        "turns",
        "slices",
        "traps",
        "dead letters",
        "longest poll",
    ];
    text.push('\n');
    text.push_str(&table::text(&header, &neighbours));
    let early = measured.neighbours.iter().filter_map(|neighbour| {
        let failure = neighbour.failure.as_ref()?;
        Some(format!("{} ended: {failure}\n", neighbour.kind))
    });
    text.extend(early);
    let mib = |bytes: Option<u64>| bytes.map_or("?".into(), |bytes| (bytes >> 20).to_string());
    let Resident { before, tenths, after } = measured.resident_bytes;
    text + &format!(
        "\nMiB resident: {} before, at most {} in each tenth of the time, {} after\n",
        mib(before),
        tenths.map(mib).join(", "),
        mib(after)
    )
}
