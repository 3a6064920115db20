//! `dirigo dead-letters retry`: letters go back into the pipeline.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use dirigo::pipeline::{Budget, Inputs, Names, Override, Pipeline, SideBySide};
use dirigo::runtime::retry::{self, Selection};
use dirigo::runtime::{Host, HostOptions, Prepared, StateLocation, dead_letters_path};
use dirigo::scheduler::PolicyKind;
use serde::Serialize;

use super::super::admission::{self, Refusal};
use super::super::output::{Format, counted, grouped};
use super::super::remote::ServiceOptions;
use super::super::setup::CommandContext;
use super::super::{Exit, Globals, output, own_state, report};
use super::of_service;

/// Arguments of `dirigo dead-letters retry`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Each letter goes back to the operator where it failed, and on from there to the sinks: once, even if the retry is \
killed. The sources are not read. A letter that fails again becomes a new dead letter, with `attempt` counted on; one \
that was retried stays in the file, is known to have been, and is not retried again.

With `--state DIR` the retry is part of the pipeline's state, as a run would be; no other process may be running on it. \
Without it, the output files of the last run are added to; letters that would come to an operator with windows stay, \
since those windows are gone.

Where PIPELINE is no file but the pipeline of a service, the service does all this: it takes a checkpoint, retries, and has the pipeline run \
again. There is no `--component` then: upgrade the pipeline first.

Exit code: 0 if all letters got through, or there were none, 1 if one failed again, 78 if the pipeline file cannot be \
used.")]
pub(crate) struct Args {
    /// Pipeline file, or the pipeline of a service: `NAME` or `TENANT/NAME`
    #[arg(value_name = "PIPELINE")]
    pub(super) file: PathBuf,
    /// The state directory of the pipeline's runs
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
    /// Only those that failed in this operator
    #[arg(long, value_name = "ID")]
    pub(super) operator: Option<String>,
    /// Only the dead letter with this id; may be given several times
    #[arg(long, value_name = "N")]
    pub(super) id: Vec<u64>,
    /// Run the operator where they failed with this component: a file, or `builtin:NAME`
    #[arg(long, value_name = "FILE")]
    pub(super) component: Option<String>,
    /// What tenants may do, as `dirigo run` is given it: a file with a `[[tenant]]` for each
    #[arg(long, value_name = "FILE")]
    pub(super) tenants: Option<PathBuf>,
    /// Put a value in place of the file's, such as `operator.map-1.config.scale=2`
    #[arg(short, long = "set", value_name = "KEY=VALUE")]
    pub(super) set: Vec<Override>,
    #[command(flatten)]
    pub(super) service: ServiceOptions,
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    if !args.file.exists() {
        return of_service::retry(args, globals);
    }
    if args.file.extension().is_some_and(|ending| ending == "jsonl") {
        let file = args.file.display();
        bail!(
            "{file} holds dead letters; give the file of their pipeline, such as `dirigo dead-letters retry pipeline.toml`"
        );
    }
    let Some(setup) = CommandContext::for_pipelines(globals, args.tenants.as_deref(), args.state.as_deref())? else {
        return Ok(Exit::Configuration);
    };
    let mut overrides = args.set.clone();
    if let Some(component) = &args.component {
        let operator = match &args.operator {
            Some(operator) => operator.clone(),
            // Its settings may be such as only the other component takes.
            None => match setup.files.load(&args.file, &args.set, Inputs::HandedIn) {
                Ok(loaded) => the_operator(args, &loaded.pipeline)?,
                Err(problems) => {
                    report::diagnostics(&problems, globals.format)?;
                    return Ok(Exit::Configuration);
                }
            },
        };
        overrides.push(replacement(&operator, component)?);
    }
    let prepared = match setup.load_for_tests(&args.file, &overrides) {
        Ok(prepared) => prepared,
        Err(problems) => {
            report::diagnostics(&problems, globals.format)?;
            return Ok(Exit::Configuration);
        }
    };
    let location = location(args, &prepared.pipeline);
    if let Err(refusal) = own_state::expect_of_tenant(setup.files.tenants.is_some(), &prepared, &location) {
        return refusal.reported(globals);
    }
    let prepared = match admission::resumed(prepared, &location) {
        Ok(prepared) => prepared,
        Err(refusal) => return refusal.reported(globals),
    };
    let mut alone = SideBySide::new(setup.files.tenants.clone(), Names::OfProcess);
    let dead_letters = dead_letters_path(&prepared.pipeline, &location);
    match alone.place(&prepared.pipeline, &dead_letters, &prepared.span_index) {
        Ok(place) => alone.admit(place),
        Err(problems) => return Refusal::from(*problems).reported(globals),
    }
    let retried = retry_all(args, &setup, &prepared, &location, &alone.budgets())?;
    let is_asked_for = args.operator.is_some() || !args.id.is_empty();
    if is_asked_for && retried.letters == 0 && retried.left.is_empty() && !retried.has_resumed {
        bail!(
            "{} has no letter to retry with this `--id` or `--operator`; `dirigo dead-letters list` shows which there are",
            dead_letters.display()
        );
    }
    retried.reported(globals)
}

/// What came of a retry.
#[derive(Debug, Default, Serialize)]
pub(super) struct Retried {
    pub(super) pipeline: String,
    /// Letters that went back.
    #[serde(rename = "retried")]
    pub(super) letters: u64,
    /// Whether events went on that an interrupted retry or run had left on their way.
    #[serde(rename = "resumed")]
    pub(super) has_resumed: bool,
    /// Dead letters that they became again.
    pub(super) failed_again: u64,
    /// Events that came too late for their windows, which no operator and no sink takes.
    pub(super) late: u64,
    /// Letters that stay, by reason.
    pub(super) left: BTreeMap<String, u64>,
    /// The file of the letters, where it is on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dead_letters_path: Option<PathBuf>,
}

fn retry_all(
    args: &Args,
    setup: &CommandContext,
    prepared: &Prepared,
    location: &StateLocation,
    budgets: &BTreeMap<String, Budget>,
) -> anyhow::Result<Retried> {
    let pipeline = &prepared.pipeline;
    let state = match location {
        StateLocation::Directory { path, .. } => Some(path.as_path()),
        StateLocation::Temporary => None,
    };
    let mut selection = Selection {
        operator: args.operator.clone(),
        ids: args.id.iter().copied().collect(),
        below: None,
    };
    let mut retried = Retried {
        pipeline: pipeline.name.clone(),
        dead_letters_path: Some(dead_letters_path(pipeline, location)),
        ..Retried::default()
    };
    loop {
        // One for each commit: with it everything goes that has the state open.
        let host = host(setup, budgets);
        let (opened, round) = retry::open(&host, prepared.clone(), state, &selection)?;
        // Those that fail again are for another day.
        selection.below.get_or_insert(round.next_id);
        retried.left = round.left;
        let Some(opened) = opened else { break };
        retried.letters += round.letters;
        retried.has_resumed |= round.is_resumed;
        let job = host.launch(opened);
        let ended = setup.runtime.block_on(job.finished());
        drop(host);
        if let Some(failure) = ended.failure {
            let next = what_follows(state, &retried);
            bail!("pipeline `{}`: {failure}; {next}", pipeline.name);
        }
        retried.failed_again += ended.summary.figures.dead_letters;
        retried.late += retry::lost_as_late(pipeline, &ended.operators);
        retry::conclude(pipeline, state)?;
        if !round.has_more {
            break;
        }
    }
    Ok(retried)
}

/// What becomes of events that a retry which failed has left on their way.
fn what_follows(state: Option<&Path>, retried: &Retried) -> String {
    match state {
        Some(_) => "what was on its way goes on with the next retry or run".to_owned(),
        None => format!(
            "what was on its way goes on with the next retry; to give it up, remove {}",
            retry::private_state(
                retried
                    .dead_letters_path
                    .as_deref()
                    .expect("a retry here knows its file")
            )
            .display()
        ),
    }
}

fn host(setup: &CommandContext, budgets: &BTreeMap<String, Budget>) -> Host {
    let options = HostOptions {
        workers: std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        policy: PolicyKind::default(),
        instances_max: u32::MAX,
        clock: setup.clock.clone(),
    };
    let host = Host::start(setup.engine.clone(), options, setup.runtime.handle().clone());
    for (tenant, budget) in budgets {
        host.set_budget(tenant, *budget);
    }
    host
}

fn location(args: &Args, pipeline: &Pipeline) -> StateLocation {
    match &args.state {
        None => StateLocation::Temporary,
        Some(directory) => StateLocation::Directory {
            path: directory.join(&pipeline.name),
            fresh: false,
        },
    }
}

/// The one operator in which the letters failed that are meant.
fn the_operator(args: &Args, pipeline: &Pipeline) -> anyhow::Result<String> {
    let path = dead_letters_path(pipeline, &location(args, pipeline));
    let ids: BTreeSet<u64> = args.id.iter().copied().collect();
    let selection = Selection {
        ids,
        ..Selection::default()
    };
    let state = args.state.as_ref().map(|state| state.join(&pipeline.name));
    let operators = retry::operators(pipeline, state.as_deref(), &selection)?;
    let mut operators = operators.into_iter();
    match (operators.next(), operators.next()) {
        (None, _) => bail!("there are no dead letters of an operator in {}", path.display()),
        (Some(operator), None) => Ok(operator),
        (Some(first), Some(second)) => bail!(
            "the dead letters failed in several operators, such as `{first}` and `{second}`; say with `--operator` \
             which of them `--component` is for"
        ),
    }
}

/// The override that gives an operator another component. Its path starts from the working directory.
fn replacement(operator: &str, component: &str) -> anyhow::Result<Override> {
    let component = if component.starts_with("builtin:") {
        component.to_owned()
    } else {
        let path = std::path::absolute(Path::new(component));
        path.with_context(|| format!("cannot find {component}"))?
            .display()
            .to_string()
    };
    let quoted = serde_json::to_string(&component).expect("a path is plain text");
    Ok(Override::parse(&format!("operator.{operator}.component={quoted}"))?)
}

impl Retried {
    /// Prints it. The exit code tells whether all letters got through, and none of their events was too late.
    pub(super) fn reported(&self, globals: &Globals) -> anyhow::Result<Exit> {
        match globals.format {
            Format::Json => output::print_json(self)?,
            Format::Text => output::print(&self.text())?,
        }
        Ok(if self.failed_again == 0 && self.late == 0 {
            Exit::Success
        } else {
            Exit::Failure
        })
    }

    fn text(&self) -> String {
        use std::fmt::Write as _;

        let mut text = String::new();
        let path = self.dead_letters_path.as_ref();
        let file = path.map(|path| format!(" in {}", path.display())).unwrap_or_default();
        let _ = match (self.letters, self.failed_again) {
            (0, 0) if self.has_resumed => writeln!(
                text,
                "pipeline `{}`: what an interrupted retry or run had left on its way got through",
                self.pipeline
            ),
            (0, 0) => writeln!(text, "pipeline `{}`: no dead letters to retry{file}", self.pipeline),
            (retried, 0) if self.late > 0 => writeln!(
                text,
                "pipeline `{}`: {} retried",
                self.pipeline,
                counted(retried, "dead letter"),
            ),
            (retried, 0) => writeln!(
                text,
                "pipeline `{}`: {} retried, {}",
                self.pipeline,
                counted(retried, "dead letter"),
                if retried == 1 {
                    "which got through"
                } else {
                    "all got through"
                }
            ),
            (retried, again) => writeln!(
                text,
                "pipeline `{}`: {} retried, {} failed again: {}{file}",
                self.pipeline,
                counted(retried, "dead letter"),
                grouped(again),
                if again == 1 {
                    "it is a new dead letter"
                } else {
                    "they are new dead letters"
                }
            ),
        };
        if self.late > 0 {
            let _ = writeln!(
                text,
                "  {} came too late for {} and took no effect: what keeps them is `allowed_lateness` of the window, or an input \
                 `OPERATOR.late`",
                counted(self.late, "event"),
                if self.late == 1 { "its window" } else { "their windows" }
            );
        }
        for (reason, letters) in &self.left {
            let _ = writeln!(
                text,
                "  {} {}: {}",
                grouped(*letters),
                if *letters == 1 { "stays" } else { "stay" },
                super::super::summary::shown(reason)
            );
        }
        text
    }
}
