//! `dirigo bench sharing`: tenants who all want everything.

use std::time::Duration;

use dirigo_command::output::{self, Format};
use dirigo_command::{Exit, Globals};
use dirigo_pipeline::Budget;
use dirigo_runtime::{Host, Job};
use dirigo_scheduler::PolicyKind;
use serde::Serialize;

use super::greedy::{Bottomless, Cycle};
use super::options::Common;
use super::progress::Cells;
use super::testbed::{self, Testbed};
use super::{plot, table};

/// The weights of the tenants.
const WEIGHTS: [u32; 3] = [1, 2, 4];
/// How long they run before shares are measured, once all actors have an instance: a tenant that still makes thousands of them
/// does other work than the others.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long that is waited for: without fair shares some may never get one.
const ACTIVATIONS_MAX: Duration = Duration::from_secs(5);

/// Arguments of `dirigo bench sharing`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Three tenants with the weights 1, 2 and 4 get all the events that they take, and do the same work on each. What each had of \
the time that workers spent is measured, and of the events that came of it, with so many actors each. Time is what is \
shared: the same event takes longer where its actor is met more rarely, and finds less of what it needs in the processor's \
caches. A tenant with fewer actors than there are workers cannot use its whole share; what it leaves is for the others.")]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// Who runs next: any of `fair`, `fifo` and `deadline`
    #[arg(long, value_name = "POLICY", value_delimiter = ',', default_value = "fair,fifo")]
    policy: Vec<PolicyKind>,
    /// Actors of each tenant, such as `1,1000`
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,10,1000",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    actors: Vec<u32>,
}

/// The shares of all tenants under one policy.
#[derive(Debug, Serialize)]
pub(super) struct Shared {
    pub(super) policy: String,
    pub(super) actors: u32,
    pub(super) tenants: Vec<Tenant>,
}

/// A tenant's share.
#[derive(Debug, Serialize)]
pub(super) struct Tenant {
    pub(super) weight: u32,
    /// What its weight entitles it to, as far as its actors can use it.
    pub(super) fair_share: f64,
    /// What it had of the time that workers spent, with what its source and its sink took.
    pub(super) share: f64,
    /// What it had of the events that were worked on.
    share_of_events: f64,
    events_per_s: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Measured {
    pub(super) workers: u32,
    duration_s: f64,
    pub(super) sharing: Vec<Shared>,
}

pub(super) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let testbed = Testbed::new(globals, args.common.workers())?;
    let cells = Cells::new(args.policy.len() * args.actors.len());
    let mut sharing = Vec::new();
    for &policy in &args.policy {
        for &actors in &args.actors {
            cells.enter(format!("{policy}: {actors} actors each"));
            sharing.push(run(&testbed, policy, actors, args.common.duration)?);
            cells.leave();
        }
    }
    drop(cells);
    let measured = Measured {
        workers: testbed.workers,
        duration_s: args.common.duration.as_secs_f64(),
        sharing,
    };
    match globals.format {
        Format::Json => output::print_json(&measured)?,
        Format::Text => output::print(&text(&measured))?,
    }
    if let Some(directory) = &args.common.plot {
        plot::write(directory, "sharing", &plot::sharing(&measured))?;
    }
    Ok(Exit::Success)
}

fn run(testbed: &Testbed, policy: PolicyKind, actors: u32, duration: Duration) -> anyhow::Result<Shared> {
    let host = testbed.host(policy);
    let mut jobs = Vec::new();
    for weight in WEIGHTS {
        jobs.push(start(testbed, &host, weight, actors)?);
    }
    let clock = &testbed.setup.clock;
    let started_ns = clock.now_ns();
    while jobs.iter().any(|job| activations(job) < actors.into())
        && Duration::from_nanos(clock.now_ns() - started_ns) < ACTIVATIONS_MAX
    {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(WARM_UP);
    let events_before: Vec<u64> = jobs.iter().map(done).collect();
    let spent_before = spent_s(&host);
    let started_ns = clock.now_ns();
    std::thread::sleep(duration);
    let spent_s = spent_s(&host);
    let counts = jobs.iter().zip(events_before).map(|(job, before)| done(job) - before);
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let events: Vec<f64> = counts.map(|count| count as f64).collect();
    let spent: Vec<f64> = spent_s.zip(spent_before).map(|(now, before)| now - before).collect();
    #[allow(clippy::cast_precision_loss, reason = "cells last less than 2^52 ns")]
    let elapsed_s = (clock.now_ns() - started_ns) as f64 / 1e9;
    for job in jobs {
        job.kill();
        testbed.setup.runtime.block_on(job.finished());
    }
    let fair_shares = fair_shares(f64::from(actors) / f64::from(testbed.workers));
    let tenants = WEIGHTS
        .into_iter()
        .zip(fair_shares)
        .zip(parts(&spent).into_iter().zip(parts(&events)))
        .zip(&events);
    Ok(Shared {
        policy: policy.to_string(),
        actors,
        tenants: tenants
            .map(|(((weight, fair_share), (share, share_of_events)), events)| Tenant {
                weight,
                fair_share,
                share,
                share_of_events,
                events_per_s: events / elapsed_s,
            })
            .collect(),
    })
}

/// Starts the pipeline of a tenant: a reduce that spends about ten microseconds on every event, with an actor per key.
fn start(testbed: &Testbed, host: &Host, weight: u32, actors: u32) -> anyhow::Result<Job> {
    let component = toml::Value::String(testbed.guests.path("reduce").display().to_string());
    let text = format!(
        r#"
        [pipeline]
        name = "weight-{weight}"
        tenant = "weight-{weight}"
        [[source]]
        id = "events"
        kind = "generator"
        [[operator]]
        id = "reduce"
        component = {component}
        actors = "per-key"
        window = {{ count = 5 }}
        config = {{ mode = "dawdle", every = 1 }}
        [[sink]]
        id = "nowhere"
        kind = "null"
        "#
    );
    let prepared = testbed.prepare_own(&text)?;
    let budget = Budget {
        weight,
        ..Budget::default()
    };
    host.set_budget(&prepared.pipeline.tenant, budget);
    Ok(testbed::start(
        host,
        prepared,
        Cycle::numbered(actors.into()),
        Bottomless,
    ))
}

/// What each tenant has used of the workers so far, in s, in the order in which they came.
fn spent_s(host: &Host) -> impl Iterator<Item = f64> + use<> {
    host.tenants().into_iter().map(|tenant| tenant.worker_s)
}

/// What each is of the sum.
fn parts(amounts: &[f64]) -> Vec<f64> {
    let sum: f64 = amounts.iter().sum();
    // Where nothing was done there is nothing to share.
    amounts
        .iter()
        .map(|amount| amount / sum.max(f64::MIN_POSITIVE))
        .collect()
}

/// The events that a pipeline is done with so far.
fn done(job: &Job) -> u64 {
    job.operators()
        .iter()
        .map(|operator| operator.counters().read().absorbed)
        .sum()
}

/// The instances that a pipeline has made so far.
fn activations(job: &Job) -> u64 {
    job.operators()
        .iter()
        .map(|operator| operator.counters().read().activations)
        .sum()
}

/// What the weights entitle to, where no tenant can use more than `most` of everything: what one cannot use is for the
/// others, by weight.
fn fair_shares(most: f64) -> [f64; WEIGHTS.len()] {
    let mut shares = [0.0; WEIGHTS.len()];
    let mut left = 1.0;
    // From the heaviest down: if it can use its part, so can the lighter ones.
    let mut weights: u32 = WEIGHTS.iter().sum();
    for index in (0..WEIGHTS.len()).rev() {
        shares[index] = f64::min(most, left * f64::from(WEIGHTS[index]) / f64::from(weights));
        left -= shares[index];
        weights -= WEIGHTS[index];
    }
    // All are capped: the workers idle in part, and shares are those of what is done.
    shares.map(|share| share / (1.0 - left))
}

fn text(measured: &Measured) -> String {
    let mut text = format!(
        "three tenants who take all they get; workers: {}, {} s per cell\n\
         share of the workers' time (and the fair one), share of events\n\n",
        measured.workers, measured.duration_s
    );
    let rows: Vec<Vec<String>> = measured
        .sharing
        .iter()
        .map(|shared| {
            let name = format!("{}, actors: {}", shared.policy, shared.actors);
            let share = |tenant: &Tenant| {
                let [share, fair, events] =
                    [tenant.share, tenant.fair_share, tenant.share_of_events].map(|part| 100.0 * part);
                format!("{share:.1} % ({fair:.1} %) {events:.1} %")
            };
            [name].into_iter().chain(shared.tenants.iter().map(share)).collect()
        })
        .collect();
    let header = ["", "weight 1", "weight 2", "weight 4"];
    text.push_str(&table::text(&header, &rows));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_tenant_cannot_use_is_for_the_others() {
        let close = |shares: [f64; 3], wanted: [f64; 3]| {
            shares
                .iter()
                .zip(wanted)
                .all(|(share, wanted)| (share - wanted).abs() < 1e-9)
        };
        assert!(close(fair_shares(10.0), [1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0]));
        assert!(close(fair_shares(0.5), [1.0 / 6.0, 2.0 / 6.0, 0.5]));
        assert!(close(fair_shares(0.2), [1.0 / 3.0; 3]));
    }
}
