//! `dirigo replay`: one dead letter, run again.

use std::fmt::Write as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dirigo::disk::Real;
use dirigo::engine::Component;
use dirigo::flow::DeadLetter;
use dirigo::printable;
use dirigo::runtime::replay::{self, ReplayFailure, ReplayResult, Replayed};
use serde::Serialize;

use super::output::Format;
use super::setup::CommandContext;
use super::{Exit, Globals, output, report};

/// Arguments of `dirigo replay`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The event runs alone, in the component that it failed in, with the same configuration, limits and fuel, from the state \
that was kept of its key: the same outcome. A window that could not be finished is finished again. With `--component` it runs in another one, to try a fix. Nothing of the \
pipeline changes: what comes out is printed and goes nowhere else.

A dead letter says which component, files and environment variables it is to be run with. With `--tenants` those are \
held to what its tenant was granted.

Exit code: 0 if the event now succeeds, 1 if it fails again or cannot be run, 78 if the tenants file does not admit it.")]
pub(crate) struct Args {
    /// Dead-letter file
    #[arg(value_name = "DEAD_LETTERS")]
    file: PathBuf,
    /// Which dead letter
    #[arg(long, value_name = "N")]
    id: u64,
    /// Run it in this component instead of the one that it failed in: a file, or `builtin:NAME`
    #[arg(long, value_name = "FILE")]
    component: Option<String>,
    /// What tenants may do, as `dirigo run` is given it: the letter may read and ask for no more than its tenant
    #[arg(long, value_name = "FILE")]
    tenants: Option<PathBuf>,
    /// The tenant of the dead letters; by default the one in whose folders the file is
    #[arg(long, value_name = "NAME", requires = "tenants")]
    tenant: Option<String>,
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let dead_letter = replay::find(&Real, &args.file, args.id)?;
    let Some(setup) = CommandContext::for_pipelines(globals, args.tenants.as_deref(), None)? else {
        return Ok(Exit::Configuration);
    };
    let admission = match setup.files.admit_letters(&args.file, args.tenant.as_deref()) {
        Ok(admission) => admission,
        Err(problems) => {
            report::diagnostics(&problems, globals.format)?;
            return Ok(Exit::Configuration);
        }
    };
    let component = replay::load(&setup.engine, &dead_letter, args.component.as_deref(), &admission)?;
    let running = replay::run(&dead_letter, &component, &admission, setup.clock.clone());
    let replayed = setup.runtime.block_on(running)?;
    match globals.format {
        Format::Json => output::print_json(&ReplayReport::new(&dead_letter, &component, &replayed))?,
        Format::Text => output::print(&text(&dead_letter, args.component.as_deref(), &replayed))?,
    }
    Ok(match replayed.result {
        Ok(_) => Exit::Success,
        Err(_) => Exit::Failure,
    })
}

/// What is printed for programs.
#[derive(Debug, Serialize)]
struct ReplayReport<'a> {
    id: u64,
    operator: &'a str,
    component: &'a str,
    succeeded: bool,
    /// How it failed, as in a dead letter; null if it did not.
    kind: Option<&'a str>,
    reason: Option<&'a str>,
    backtrace: Option<&'a str>,
    fuel: u64,
    outputs: Vec<ReportedOutput>,
    /// What is then kept of the key (base64); null for nothing, or where the event failed.
    state: Option<String>,
    /// How it failed in the run.
    recorded: Recorded<'a>,
}

#[derive(Debug, Serialize)]
struct ReportedOutput {
    /// The name of the output; null for the operator's own.
    name: Option<String>,
    key: String,
    value: String,
}

#[derive(Debug, Serialize)]
struct Recorded<'a> {
    component: Option<&'a str>,
    kind: &'a str,
    reason: &'a str,
    backtrace: Option<&'a str>,
    fuel: u64,
    attempt: u32,
}

impl<'a> ReplayReport<'a> {
    fn new(dead_letter: &'a DeadLetter, component: &'a Component, replayed: &'a Replayed) -> Self {
        let (made, failed) = match &replayed.result {
            Ok(made) => (Some(made), None),
            Err(failed) => (None, Some(failed)),
        };
        let outputs = made.into_iter().flat_map(|made| &made.outputs);
        let state = made.and_then(|made| made.state.as_ref());
        Self {
            id: dead_letter.id,
            operator: &dead_letter.operator,
            component: component.sha256(),
            succeeded: failed.is_none(),
            kind: failed.map(|failed| failed.kind),
            reason: failed.map(|failed| failed.reason.as_str()),
            backtrace: failed.and_then(|failed| failed.backtrace.as_deref()),
            fuel: replayed.fuel,
            outputs: outputs
                .map(|output| ReportedOutput {
                    name: output.name.clone(),
                    key: lossy(&output.key),
                    value: lossy(&output.value),
                })
                .collect(),
            state: state.map(|entry| BASE64_STANDARD.encode(entry.encode())),
            recorded: Recorded {
                component: dead_letter.component.as_deref(),
                kind: &dead_letter.kind,
                reason: &dead_letter.reason,
                backtrace: dead_letter.backtrace.as_deref(),
                fuel: dead_letter.fuel,
                attempt: dead_letter.attempt,
            },
        }
    }
}

/// What is printed for people.
fn text(dead_letter: &DeadLetter, instead: Option<&str>, replayed: &Replayed) -> String {
    let mut text = String::new();
    let mut line = |title: &str, rest: &str| {
        writeln!(text, "{title:<9} {}", printable::line(rest)).expect("a string takes what is written");
    };
    let event = &dead_letter.event;
    let component = dead_letter.setup.as_ref().map_or("", |setup| setup.component.as_str());
    let (operator, source) = (&dead_letter.operator, &event.source);
    line(
        "operator",
        &format!("`{operator}` of pipeline `{}`", dead_letter.pipeline),
    );
    match instead {
        None => line("component", component),
        Some(instead) => line("component", &format!("{instead}, in place of {component}")),
    }
    match dead_letter.window {
        None => line("event", &format!("{} of source `{source}`", event.position)),
        Some(window) => line("window", &window.to_string()),
    }
    line("time", &event.time.unwrap_or_default().to_string());
    line(
        "key",
        &event.key_bytes().map_or_else(|_| String::new(), |key| lossy(&key)),
    );
    if dead_letter.window.is_none() {
        line(
            "value",
            &event
                .value_bytes()
                .map_or_else(|_| String::new(), |value| lossy(&value)),
        );
    }
    let (kind, reason, attempt, fuel) = (
        &dead_letter.kind,
        &dead_letter.reason,
        dead_letter.attempt,
        dead_letter.fuel,
    );
    line("then", &format!("{kind} (attempt {attempt}, {fuel} fuel): {reason}"));
    match &replayed.result {
        Ok(made) => {
            line("now", &format!("succeeds ({} fuel)", replayed.fuel));
            describe(made, &mut line);
        }
        Err(ReplayFailure {
            kind,
            reason,
            backtrace,
        }) => {
            line("now", &format!("{kind} ({} fuel): {reason}", replayed.fuel));
            for frame in backtrace.iter().flat_map(|backtrace| backtrace.lines()) {
                line("", frame);
            }
        }
    }
    text
}

fn describe(made: &ReplayResult, line: &mut impl FnMut(&str, &str)) {
    for output in &made.outputs {
        let value = lossy(&output.value);
        match &output.name {
            None => line("output", &value),
            Some(name) => line("output", &format!("`{name}`: {value}")),
        }
    }
    match &made.state {
        Some(entry) => {
            let events = if entry.count == 1 { "event" } else { "events" };
            let bytes = entry.bytes().len();
            line("state", &format!("a window of {} {events}, {bytes} bytes", entry.count));
        }
        None if made.outputs.is_empty() => line("output", "none"),
        None => {}
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
