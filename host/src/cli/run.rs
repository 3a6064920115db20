//! `dirigo run`: pipelines side by side, to the end of their sources.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use dirigo::flow::Failure;
use dirigo::pipeline::{self, Diagnostics, Override, Pipeline, Severity, Tenants};
use dirigo::runtime::compatibility;
use dirigo::runtime::{
    Control, Ended, Host, HostOptions, Job, Opened, Outcome, Prepared, StateLocation, Summary, TenantSummary,
    dead_letters_path, foresee,
};
use dirigo::scheduler::PolicyKind;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::delivery_semantics;
use super::output::Format;
use super::progress::Progress;
use super::setup::CommandContext;
use super::slo_monitor::SloMonitor;
use super::throttling::ThrottlingMonitor;
use super::{Exit, Globals, output, report};

/// Arguments of `dirigo run`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Several pipelines run side by side in one host. Without `--state` nothing is kept between runs, and sinks start their \
files from scratch. With it, a run resumes where the last one stopped; each pipeline has a folder of its name in that \
directory.

A file that is where a sink would begin is replaced only if an earlier run of the same pipeline without `--state` wrote \
it and it was not changed since. Any other is refused, unless the sink says `if_exists`.

The delivery guarantee of each sink is printed before the first event.

Events that fail go to the file under `[dead_letters]`; where there is none, to `NAME.dead.jsonl` in the working \
directory, NAME being the pipeline's, or with `--state DIR` to `DIR/NAME/dead-letters.jsonl`. The file is made when \
the first one comes.

The first Ctrl-C stops the sources and lets what they have read go to its end; the second stops at once.

Exit code: 0 if all pipelines came to their end or were told to stop, 1 if one failed, 78 if a pipeline file cannot be \
used: then none has run; 130 after the second Ctrl-C, which leaves no time for a summary.")]
pub(crate) struct Args {
    /// Pipeline files
    #[arg(required = true, value_name = "PIPELINE")]
    files: Vec<PathBuf>,
    /// Keep state in this directory, and resume from it
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// First discard the state of these pipelines in the state directory
    #[arg(long, requires = "state")]
    fresh: bool,
    /// Threads that run operators; by default as many as there are processors
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    workers: Option<u32>,
    /// Who runs next: `deadline`, `fair` or `fifo`
    #[arg(long, value_name = "POLICY", default_value_t)]
    policy: PolicyKind,
    /// The most instances of operators alive at once; by default what the machine can hold
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    instances: Option<u32>,
    /// What tenants may use, whatever the pipeline files say: a file with a `[[tenant]]` for each
    #[arg(long, value_name = "FILE")]
    tenants: Option<PathBuf>,
    /// Put a value in place of the file's, such as `operator.map-1.config.scale=2`
    #[arg(short, long = "set", value_name = "KEY=VALUE")]
    set: Vec<Override>,
    /// Write the summary to this file
    #[arg(long, value_name = "FILE")]
    summary_json: Option<PathBuf>,
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let setup = CommandContext::new(globals)?;
    let Some(prepared) = prepare_all(&setup, args, globals)? else {
        return Ok(Exit::Configuration);
    };
    let Some(prepared) = resume_all(args, globals, prepared)? else {
        return Ok(Exit::Configuration);
    };
    let conflicts = conflicts(args, &prepared);
    if !conflicts.is_empty() {
        report::all(&conflicts, globals.format)?;
        return Ok(Exit::Configuration);
    }
    let pipelines = prepared.iter().map(|prepared| &prepared.pipeline);
    let tenants = args.tenants.as_deref().map(Tenants::load).transpose();
    let budgets = match tenants.and_then(|tenants| pipeline::budgets(pipelines, tenants.as_ref())) {
        Ok(budgets) => budgets,
        Err(problems) => {
            report::diagnostics(&problems, globals.format)?;
            return Ok(Exit::Configuration);
        }
    };
    let workers = args.workers.unwrap_or_else(available_workers);
    let options = HostOptions {
        workers,
        policy: args.policy,
        instances_max: args.instances.unwrap_or(u32::MAX),
        clock: setup.clock.clone(),
    };
    let host = Host::start(setup.engine.clone(), options, setup.runtime.handle().clone());
    for (tenant, budget) in budgets {
        host.set_budget(&tenant, budget);
    }
    if prepared.len() > 1 {
        // None may have emptied its outputs when another is refused.
        for prepared in &prepared {
            let foreseen = foresee(prepared, &location(args, &prepared.pipeline));
            foreseen.with_context(|| format!("pipeline `{}`", prepared.pipeline.name))?;
        }
    }
    let open = |prepared: Prepared| {
        let (name, location) = (prepared.pipeline.name.clone(), location(args, &prepared.pipeline));
        let opened = host.open(prepared, &location);
        opened.with_context(|| format!("pipeline `{name}`"))
    };
    let opened: Vec<Opened> = prepared.into_iter().map(open).collect::<anyhow::Result<_>>()?;
    let promised: Vec<_> = opened
        .iter()
        .map(|opened| (&opened.prepared.pipeline, opened.delivery_semantics()))
        .collect();
    for line in delivery_semantics::of_run(&promised, args.state.is_some()) {
        globals.log.say(&line);
    }
    let interrupts = setup.runtime.block_on(async { Interrupts::listen() });
    let started_ns = setup.clock.now_ns();
    let jobs: Vec<Job> = opened.into_iter().map(|opened| host.launch(opened)).collect();
    let Some(ended) = setup.runtime.block_on(finish(&host, jobs, interrupts)) else {
        /// What shells use for a process that SIGINT ended.
        const INTERRUPTED: i32 = 130;
        // The second interrupt: nothing more is waited for, so nothing more is torn down either.
        globals.log.flush();
        eprintln!("stopped without draining");
        std::process::exit(INTERRUPTED);
    };
    #[allow(clippy::cast_precision_loss, reason = "runs are shorter than 2^52 ns")]
    let elapsed_s = (setup.clock.now_ns() - started_ns) as f64 / 1e9;
    globals.log.flush();
    conclude(args, globals, ended, host.tenants(), elapsed_s)
}

/// All pipelines, prepared; `None` where one cannot be, which has been said.
fn prepare_all(setup: &CommandContext, args: &Args, globals: &Globals) -> anyhow::Result<Option<Vec<Prepared>>> {
    let mut all = Vec::new();
    let mut refused = Vec::new();
    for file in &args.files {
        match setup.load(file, &args.set) {
            Ok(prepared) => {
                if prepared.warnings.count(Severity::Warning) > 0 {
                    report::diagnostics(&prepared.warnings, Format::Text)?;
                }
                all.push(prepared);
            }
            Err(problems) => {
                if globals.format == Format::Text {
                    report::diagnostics(&problems, Format::Text)?;
                }
                refused.push(problems);
            }
        }
    }
    if refused.is_empty() {
        return Ok(Some(all));
    }
    if globals.format == Format::Json {
        // One document, however many files it is about.
        output::print_json(&report::joined(&refused))?;
    }
    Ok(None)
}

/// All pipelines, as they go on from their state; `None` where one does not fit what is there, which has been said. Nothing
/// was touched then.
fn resume_all(args: &Args, globals: &Globals, prepared: Vec<Prepared>) -> anyhow::Result<Option<Vec<Prepared>>> {
    let mut resumed = Vec::new();
    let mut refused = Vec::new();
    for prepared in prepared {
        let name = prepared.pipeline.name.clone();
        let location = location(args, &prepared.pipeline);
        match compatibility::resume(prepared, &location) {
            Ok(prepared) => resumed.push(prepared),
            Err(compatibility::Incompatible::Changed(problems)) => refused.push(*problems),
            Err(error) => return Err(error).with_context(|| format!("pipeline `{name}`")),
        }
    }
    if refused.is_empty() {
        return Ok(Some(resumed));
    }
    report::all(&refused, globals.format)?;
    Ok(None)
}

/// What keeps the pipelines from running side by side.
fn conflicts(args: &Args, prepared: &[Prepared]) -> Vec<Diagnostics> {
    let with_dead_letters =
        |prepared: &Prepared| dead_letters_path(&prepared.pipeline, &location(args, &prepared.pipeline));
    let pipelines: Vec<_> = prepared
        .iter()
        .map(|prepared| (&prepared.pipeline, with_dead_letters(prepared)))
        .collect();
    pipeline::conflicts(&pipelines)
}

fn available_workers() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
}

/// Where the state of a pipeline is: each has a directory of its own in the one that was given.
fn location(args: &Args, pipeline: &Pipeline) -> StateLocation {
    match &args.state {
        None => StateLocation::Temporary,
        Some(directory) => StateLocation::Directory {
            path: directory.join(&pipeline.name),
            fresh: args.fresh,
        },
    }
}

/// Waits for all jobs. The first interrupt has them drain; `None` after a second one.
async fn finish(host: &Host, jobs: Vec<Job>, mut interrupts: Interrupts) -> Option<Vec<Ended>> {
    let progress = Progress::start(&jobs);
    let _slo_monitor = SloMonitor::start(host, &jobs, progress.bar(), host.clock().clone());
    let watching = ThrottlingMonitor::of(&jobs).watch(host, progress.bar());
    tokio::pin!(watching);
    let controls: Vec<Control> = jobs.iter().map(|job| job.control().clone()).collect();
    let finished = Job::all_finished(jobs);
    tokio::pin!(finished);
    let mut is_draining = false;
    let ended = loop {
        tokio::select! {
            ended = &mut finished => break ended,
            never = &mut watching => match never {},
            () = interrupts.next() => {
                if is_draining {
                    return None;
                }
                is_draining = true;
                controls.iter().for_each(Control::stop);
                eprintln!("draining; interrupt again to stop at once");
            }
        }
    };
    progress.finish();
    Some(ended)
}

/// SIGINT and SIGTERM, from the moment of listening: none is missed between two looks, and none ends the process once a
/// pipeline runs.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Needs a runtime around it.
    fn listen() -> Self {
        let listen = |kind| signal(kind).expect("these signals can be handled");
        Self {
            interrupt: listen(SignalKind::interrupt()),
            terminate: listen(SignalKind::terminate()),
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn conclude(
    args: &Args,
    globals: &Globals,
    ended: Vec<Ended>,
    tenants: Vec<TenantSummary>,
    elapsed_s: f64,
) -> anyhow::Result<Exit> {
    let mut exit = Exit::Success;
    let ended: Vec<Ended> = ended.into_iter().map(Ended::judged).collect();
    for ended in &ended {
        let name = &ended.summary.name;
        match &ended.failure {
            None if ended.had_nothing_new => eprintln!("pipeline `{name}`: nothing new"),
            None if ended.summary.outcome == Outcome::Stopped => {
                eprintln!(
                    "pipeline `{name}`: stopped before the end of its sources{}",
                    next_run(args)
                );
            }
            Some(Failure::Closed { id }) => {
                let next = next_run(args);
                eprintln!("pipeline `{name}`: stopped, since nobody reads what sink `{id}` writes any more{next}");
            }
            None => {}
            Some(failure) => {
                eprintln!("error: pipeline `{name}`: {failure}");
                exit = Exit::Failure;
            }
        }
    }
    let has_failed = ended.iter().any(|ended| ended.failure.is_some());
    let summary = Summary::new(
        elapsed_s,
        ended
            .into_iter()
            .map(|ended| (ended.summary, ended.operators))
            .collect(),
        tenants,
    );
    if let Some(file) = &args.summary_json {
        write_summary(file, &summary)?;
    }
    match globals.format {
        Format::Json => output::print_json(&summary)?,
        Format::Text => eprint!("{}", super::summary::text(&summary)),
    }
    if !has_failed {
        for imbalance in summary.imbalances() {
            eprintln!("error: events do not add up (a fault of dirigo, please report it): {imbalance}");
            exit = Exit::Failure;
        }
    }
    Ok(exit)
}

/// What becomes of a pipeline that was stopped.
fn next_run(args: &Args) -> &'static str {
    if args.state.is_some() {
        "; the next run goes on there"
    } else {
        ""
    }
}

fn write_summary(file: &Path, summary: &Summary) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(summary).expect("a summary is plain JSON");
    fs::write(file, json + "\n").with_context(|| format!("cannot write the summary to {}", file.display()))
}
