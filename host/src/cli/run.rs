//! `dirigo run`: pipelines side by side, to the end of their sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use dirigo::disk::{NotPrivate, make_private_directory};
use dirigo::flow::Failure;
use dirigo::pipeline::{Budget, Diagnostics, Inputs, Loaded, Names, Override, Scaling, Severity};
use dirigo::runtime::{
    self, Ended, Host, HostOptions, Job, Opened, Outcome, Patience, RefusedSummary, Summary, TenantSummary,
    instances_wanted,
};
use dirigo::scheduler::PolicyKind;

use super::admission::{Admission, Admitted, Refusal, location_in};
use super::delivery_semantics;
use super::interrupts::{Ending, FinishedRun, Interrupts};
use super::output::Format;
use super::pipeline_files::PipelineFiles;
use super::progress::{self, Progress};
use super::setup::CommandContext;
use super::slo_monitor::SloMonitor;
use super::throttling::ThrottlingMonitor;
use super::written_file::can_be_written;
use super::{Exit, Globals, Log, output, report};

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

The first Ctrl-C or SIGTERM stops the sources and lets what they have read go to its end, for as long as \
`--drain-timeout` says. The second one, or the end of that time, stops what has not drained: what is finished is \
committed, the rest is taken up by the next run with `--state`, and lost without. Either way the run ends with its \
summary.

A pipeline file that is refused keeps no other from running: it is reported at the start and in the summary.

Exit code: 0 if all pipelines came to their end or drained, 1 if one failed or could not start, 78 if a pipeline file \
cannot be used; 130 (after Ctrl-C) or 143 (after SIGTERM) if one was stopped before it had drained.")]
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
    /// Whether the number of replicas and shards follows the load; `off` has each operator have as many as it may all the time
    #[arg(long, value_name = "auto|off", default_value = "auto", value_parser = scaling)]
    scaling: Scaling,
    /// What tenants may use, whatever the pipeline files say: a file with a `[[tenant]]` for each
    #[arg(long, value_name = "FILE")]
    tenants: Option<PathBuf>,
    /// Put a value in place of the file's, such as `operator.map-1.config.scale=2`
    #[arg(short, long = "set", value_name = "KEY=VALUE")]
    set: Vec<Override>,
    /// Write the summary to this file
    #[arg(long, value_name = "FILE")]
    summary_json: Option<PathBuf>,
    /// How long the pipelines may drain after an interrupt before those that have not are stopped
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = drain_timeout)]
    drain_timeout: Duration,
    /// How it is said on standard error how the run goes
    #[arg(long, value_name = "HOW", default_value = "auto")]
    progress: progress::Mode,
    /// How often it is said: where that is no terminal, or for programs
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = progress_interval)]
    progress_interval: Duration,
}

fn progress_interval(text: &str) -> Result<Duration, String> {
    /// A reader gets no more of it, and looking costs something.
    const MIN: Duration = Duration::from_millis(100);
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration < MIN {
        return Err("it is at least 100ms".into());
    }
    Ok(duration)
}

fn scaling(text: &str) -> Result<Scaling, String> {
    match text {
        "auto" => Ok(Scaling::Auto),
        "off" => Ok(Scaling::Off),
        _ => Err("it is `auto` or `off`".into()),
    }
}

pub(crate) fn drain_timeout(text: &str) -> Result<Duration, String> {
    /// Longer than any machine is waited for.
    const MAX: Duration = Duration::from_hours(24 * 365);
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration > MAX {
        return Err("it is a year at most".into());
    }
    Ok(duration)
}

/// What is wrong with the places of the summary and of the state, found before anything runs.
fn unusable_place(args: &Args) -> Option<String> {
    if let Some(file) = &args.summary_json
        && let Err(error) = can_be_written(file)
    {
        let file = file.display();
        return Some(format!(
            "`--summary-json {file}`: the summary cannot be written there: {error}"
        ));
    }
    let state = args.state.as_deref()?;
    if state.is_file() {
        let state = state.display();
        return Some(format!(
            "`--state {state}`: this is a file, and a state is kept in a directory"
        ));
    }
    match make_private_directory(state, "state directory") {
        // What cannot be made or read at all, the store says with the file that it needs.
        Ok(()) | Err(NotPrivate::Io { .. }) => None,
        Err(problem) => Some(problem.to_string()),
    }
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    if let Some(problem) = unusable_place(args) {
        output::say(&format!("error: {problem}"));
        return Ok(Exit::Configuration);
    }
    let Some(files) = PipelineFiles::of_tenants(globals, args.tenants.as_deref(), args.state.as_deref())? else {
        return Ok(Exit::Configuration);
    };
    let load = |file: &PathBuf| {
        let mut loaded = files.load(file, &args.set, Inputs::OfSources);
        if let (Ok(loaded), Scaling::Off) = (&mut loaded, args.scaling) {
            let operators = loaded.pipeline.operators.iter_mut();
            operators.for_each(|operator| operator.scaling = Scaling::Off);
        }
        (file.clone(), loaded)
    };
    let loaded: Vec<LoadedFile> = each_once(&args.files).map(load).collect();
    let workers = args.workers.unwrap_or_else(available_workers);
    let pipelines = loaded
        .iter()
        .filter_map(|(_, loaded)| Some(&loaded.as_ref().ok()?.pipeline));
    let instances = instances_wanted(pipelines, workers);
    let setup = CommandContext::with(globals, files, instances)?.announcing(globals);
    let (admitted, mut refused, budgets) = admit_all(&setup, loaded, args, globals)?;
    if admitted.is_empty() {
        return conclude_unstarted(args, globals, &setup, refused);
    }
    let options = HostOptions {
        workers,
        policy: args.policy,
        instances_max: args.instances.unwrap_or(u32::MAX),
        clock: setup.clock.clone(),
    };
    let host = Host::start(setup.engine.clone(), options, setup.runtime.handle().clone());
    let opened = open_all(&host, admitted, &mut refused, globals)?;
    if opened.is_empty() {
        return conclude_unstarted(args, globals, &setup, refused);
    }
    let running: BTreeSet<&str> = opened
        .iter()
        .map(|opened| opened.prepared.pipeline.account.as_str())
        .collect();
    for (tenant, budget) in budgets
        .into_iter()
        .filter(|(tenant, _)| running.contains(tenant.as_str()))
    {
        host.set_budget(&tenant, budget);
    }
    say_who_is_refused(&refused, opened.len(), globals)?;
    let promised: Vec<_> = opened
        .iter()
        .map(|opened| (&opened.prepared.pipeline, opened.delivery_semantics()))
        .collect();
    let interrupts = setup.runtime.block_on(async { Interrupts::listen() });
    for line in delivery_semantics::of_run(&promised, args.state.is_some()) {
        globals.log.say(&line);
    }
    let started_ns = setup.clock.now_ns();
    let jobs: Vec<Job> = opened.into_iter().map(|opened| host.launch(opened)).collect();
    let finished = setup
        .runtime
        .block_on(finish(&host, jobs, interrupts, args, &globals.log));
    #[allow(clippy::cast_precision_loss, reason = "runs are shorter than 2^52 ns")]
    let elapsed_s = (setup.clock.now_ns() - started_ns) as f64 / 1e9;
    globals.log.flush();
    let (has_leftovers, tenants) = (finished.has_leftovers, host.tenants());
    let exit = conclude(args, globals, &setup, finished, refused, tenants, elapsed_s);
    if has_leftovers {
        // What still runs can neither be waited for nor torn down.
        let exit = exit.unwrap_or_else(|error| {
            output::say(&format!("error: {error:#}"));
            Exit::Failure
        });
        globals.log.flush();
        std::process::exit(exit.code().into());
    }
    exit
}

/// The files, without those that were named before, by whatever path.
fn each_once(files: &[PathBuf]) -> impl Iterator<Item = &PathBuf> {
    let mut named = BTreeSet::new();
    files
        .iter()
        .filter(move |file| named.insert(file.canonicalize().unwrap_or_else(|_| (*file).clone())))
}

/// A pipeline file that is refused.
struct Refused {
    file: PathBuf,
    /// The name of the pipeline and its tenant, where it could be loaded.
    pipeline: Option<(String, String)>,
    refusal: Refusal,
}

/// The pipelines that can run side by side, those that cannot, and what tenants may use. Nothing was touched then.
type AllAdmitted = (Vec<Admitted>, Vec<Refused>, BTreeMap<String, Budget>);

/// A pipeline file, and what is in it or wrong with it.
type LoadedFile = (PathBuf, Result<Loaded, Diagnostics>);

fn admit_all(
    setup: &CommandContext,
    files: Vec<LoadedFile>,
    args: &Args,
    globals: &Globals,
) -> anyhow::Result<AllAdmitted> {
    let patience = Patience::of_run();
    let mut admission = Admission::new(setup.files.tenants.as_ref(), Names::OfProcess);
    let (mut admitted, mut refused) = (Vec::new(), Vec::new());
    for (file, loaded) in files {
        let prepared = match loaded.and_then(|loaded| setup.prepare_to_run(loaded, &patience)) {
            Ok(prepared) => prepared,
            Err(problems) => {
                let refusal = Refusal::from(problems);
                report_refusal(&refusal, globals)?;
                refused.push(Refused {
                    file,
                    pipeline: None,
                    refusal,
                });
                continue;
            }
        };
        let mut warnings = prepared.warnings.clone();
        warnings.append(runtime::preview(&prepared, &setup.clock, Severity::Warning));
        if warnings.count(Severity::Warning) > 0 {
            report::diagnostics(&warnings, Format::Text)?;
        }
        let pipeline = (prepared.pipeline.name.clone(), prepared.pipeline.tenant.clone());
        let location = location_in(args.state.as_deref(), args.fresh, &prepared.pipeline);
        match admission.admit(prepared, location, true) {
            Ok(found) => admitted.push(found),
            Err(refusal) => {
                report_refusal(&refusal, globals)?;
                refused.push(Refused {
                    file,
                    pipeline: Some(pipeline),
                    refusal,
                });
            }
        }
    }
    let budgets = admission.neighbours().budgets();
    Ok((admitted, refused, budgets))
}

/// Opens what pipelines are connected to. One that cannot be opened is refused.
fn open_all(
    host: &Host,
    admitted: Vec<Admitted>,
    refused: &mut Vec<Refused>,
    globals: &Globals,
) -> anyhow::Result<Vec<Opened>> {
    let mut opened = Vec::new();
    for Admitted { prepared, location, .. } in admitted {
        match host.open(prepared.clone(), &location) {
            Ok(one) => opened.push(one),
            Err(error) => {
                let refusal = Refusal::of_start(&prepared, &error);
                report_refusal(&refusal, globals)?;
                refused.push(Refused {
                    file: prepared.pipeline.file,
                    pipeline: Some((prepared.pipeline.name, prepared.pipeline.tenant)),
                    refusal,
                });
            }
        }
    }
    Ok(opened)
}

/// Says to people at once why a pipeline is refused. Programs get one document, when it is known what becomes of the others.
fn report_refusal(refusal: &Refusal, globals: &Globals) -> std::io::Result<()> {
    match globals.format {
        Format::Text => report::diagnostics(&refusal.problems, Format::Text),
        Format::Json => Ok(()),
    }
}

/// Says which files are refused, where others run without them.
fn say_who_is_refused(refused: &[Refused], running: usize, globals: &Globals) -> std::io::Result<()> {
    if refused.is_empty() {
        return Ok(());
    }
    if globals.format == Format::Json {
        // What is printed for programs comes with the end of the run.
        let mut problems = refused.iter().map(|refused| &refused.refusal.problems);
        problems.try_for_each(|problems| report::diagnostics(problems, Format::Text))?;
    }
    let files: Vec<String> = refused
        .iter()
        .map(|refused| refused.file.display().to_string())
        .collect();
    let are = if files.len() == 1 { "is" } else { "are" };
    let others = if running == 1 {
        "the other pipeline runs".to_owned()
    } else {
        format!("the other {running} pipelines run")
    };
    output::say(&format!("{} {are} refused; {others}", files.join(", ")));
    Ok(())
}

/// The end of a run of which no pipeline could start.
fn conclude_unstarted(
    args: &Args,
    globals: &Globals,
    setup: &CommandContext,
    refused: Vec<Refused>,
) -> anyhow::Result<Exit> {
    if globals.format == Format::Json {
        // One document, however many files it is about.
        let problems: Vec<_> = refused.iter().map(|refused| refused.refusal.problems.clone()).collect();
        output::print_json(&report::joined(&problems))?;
    }
    let exit = exit_of(&refused);
    if let Some(file) = &args.summary_json {
        let summary = Summary::new(0.0, Vec::new(), Vec::new()).with_refused(summaries(refused, setup));
        write_summary(file, &summary)?;
    }
    Ok(exit)
}

/// What refused pipelines are worth: a configuration that cannot be run, unless one could not start for another reason.
fn exit_of(refused: &[Refused]) -> Exit {
    let is_failure = |refused: &Refused| refused.refusal.exit == Exit::Failure;
    match refused {
        [] => Exit::Success,
        _ if refused.iter().any(is_failure) => Exit::Failure,
        _ => Exit::Configuration,
    }
}

fn summaries(refused: Vec<Refused>, setup: &CommandContext) -> Vec<RefusedSummary> {
    let summary = |Refused {
                       file,
                       pipeline,
                       refusal,
                   }: Refused| {
        let owner = || Some(setup.files.tenants.as_ref()?.owner(&file)?.to_owned());
        let (name, tenant) = pipeline.map_or_else(|| (None, owner()), |(name, tenant)| (Some(name), Some(tenant)));
        RefusedSummary {
            file,
            name,
            tenant,
            findings: refusal.problems,
        }
    };
    refused.into_iter().map(summary).collect()
}

pub(crate) fn available_workers() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
}

/// Waits for all jobs, and does what interrupts ask for.
async fn finish(host: &Host, jobs: Vec<Job>, interrupts: Interrupts, args: &Args, log: &Log) -> FinishedRun {
    let progress = Progress::of(&jobs, args.progress, args.progress_interval, log);
    let _slo_monitor = SloMonitor::start(host, &jobs, log.clone(), host.clock().clone());
    let watching = ThrottlingMonitor::of(&jobs).watch(host, log);
    let ending = Ending::of(&jobs, args.drain_timeout, log.clone()).wait(jobs, interrupts);
    tokio::select! {
        finished = ending => finished,
        never = watching => match never {},
        never = progress.follow(host) => match never {},
    }
}

fn conclude(
    args: &Args,
    globals: &Globals,
    setup: &CommandContext,
    finished: FinishedRun,
    refused: Vec<Refused>,
    tenants: Vec<TenantSummary>,
    elapsed_s: f64,
) -> anyhow::Result<Exit> {
    let FinishedRun { ended, stopped_by, .. } = finished;
    // What went wrong outweighs who stopped the rest.
    let mut exit = match exit_of(&refused) {
        Exit::Success => stopped_by.map_or(Exit::Success, Exit::Signalled),
        exit => exit,
    };
    let ended: Vec<Ended> = ended.into_iter().map(Ended::judged).collect();
    for ended in &ended {
        let name = &ended.summary.name;
        match &ended.failure {
            None if ended.had_nothing_new => output::say(&format!("pipeline `{name}`: nothing new")),
            None if ended.summary.outcome == Outcome::Stopped => {
                output::say(&format!(
                    "pipeline `{name}`: stopped before the end of its sources{}",
                    next_run(args)
                ));
            }
            Some(Failure::Closed { id }) => {
                let next = next_run(args);
                output::say(&format!(
                    "pipeline `{name}`: stopped, since the reader of sink `{id}` has gone{next}"
                ));
            }
            None => {}
            Some(Failure::Killed) => {
                let unfinished = ended.summary.unfinished;
                let fate = fate_of_unfinished(args, unfinished);
                output::say(&format!("pipeline `{name}`: stopped before it had drained; {fate}"));
            }
            Some(failure) => {
                output::say(&format!("error: pipeline `{name}`: {failure}"));
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
    )
    .with_refused(summaries(refused, setup));
    if let Some(file) = &args.summary_json {
        write_summary(file, &summary)?;
    }
    match globals.format {
        Format::Json => output::print_json(&summary)?,
        Format::Text => output::say_exactly(&super::summary::text(&summary)),
    }
    if !has_failed {
        for imbalance in summary.imbalances() {
            output::say(&format!(
                "error: events do not add up (a fault of dirigo, please report it): {imbalance}"
            ));
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

/// What becomes of events that were on their way when a pipeline was stopped.
fn fate_of_unfinished(args: &Args, unfinished: u64) -> String {
    let events = match unfinished {
        1 => "1 event that was read and not finished".to_owned(),
        _ => format!("{} events that were read and not finished", output::grouped(unfinished)),
    };
    match (unfinished, args.state.is_some()) {
        (0, _) => "nothing was on its way".to_owned(),
        (_, true) => format!("the next run takes up the {events}"),
        (1, false) => format!("the {events} is lost"),
        (_, false) => format!("the {events} are lost"),
    }
}

fn write_summary(file: &Path, summary: &Summary) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(summary).expect("a summary is plain JSON");
    fs::write(file, json + "\n").with_context(|| format!("cannot write the summary to {}", file.display()))
}
