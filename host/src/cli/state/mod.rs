//! `dirigo state`: what a state directory holds.

mod export;
mod get;
mod ls;
mod migrate;
mod printed;
mod verify;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Subcommand;
use dirigo::disk::{Disk, PathKind, Real};
use dirigo::pipeline::suggestion;
use dirigo::runtime::compatibility::Description;
use dirigo::state::{self, Stopped};

use super::{Exit, Globals};

/// Arguments of `dirigo state`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List pipelines, their operators with how much they keep, and where sources and sinks stand
    Ls(ls::Args),
    /// Print what is kept of one key
    Get(get::Args),
    /// Print every entry as a line of JSON
    Export(export::Args),
    /// Migrate the state to a pipeline that was changed
    Migrate(migrate::Args),
    /// Check every record, page and entry
    Verify(verify::Args),
}

/// Which state is looked at.
#[derive(Debug, clap::Args)]
struct StateSelector {
    /// State directory, as given to `run --state`; no process may be running on it
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Only the state of this pipeline
    #[arg(short, long, value_name = "NAME")]
    pipeline: Option<String>,
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Ls(args) => ls::execute(args, globals),
        Command::Get(args) => get::execute(args, globals),
        Command::Export(args) => export::execute(args),
        Command::Migrate(args) => migrate::execute(args, globals),
        Command::Verify(args) => verify::execute(args, globals),
    }
}

impl StateSelector {
    /// The pipelines that are meant, by name: at least one.
    fn pipelines(&self) -> anyhow::Result<Vec<(String, PathBuf)>> {
        let directory = self.directory.display();
        match Real.look(&self.directory)? {
            PathKind::Folder => {}
            PathKind::Missing => bail!("there is no directory {directory}"),
            PathKind::File(_) | PathKind::Other => bail!("{directory} is not a directory"),
        }
        let mut found = state::pipelines(&Real, &self.directory)?;
        if found.is_empty() {
            bail!("{directory} holds no state: neither it nor a folder in it has been given to `dirigo run --state`");
        }
        if let Some(wanted) = &self.pipeline {
            let names: Vec<String> = found.iter().map(|(name, _)| name.clone()).collect();
            found.retain(|(name, _)| name == wanted);
            if found.is_empty() {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let help = suggestion(wanted, &names, "the pipelines with state are");
                bail!("{directory} holds no state of a pipeline `{wanted}`: {help}");
            }
        }
        Ok(found)
    }
}

fn open(directory: &Path) -> anyhow::Result<Stopped> {
    Ok(Stopped::open(&Real, directory)?)
}

/// What a state belongs to, as far as it says so.
fn description(state: &Stopped) -> anyhow::Result<Option<Description>> {
    Ok(state.offsets()?.pipeline.as_ref().and_then(Description::from_json))
}

/// Checks that this operator keeps something in one of the states.
fn check_operator(operator: &str, states: &[Stopped]) -> anyhow::Result<()> {
    let mut known = BTreeSet::new();
    for state in states {
        state.each(|operator, _, _| {
            if !known.contains(operator) {
                known.insert(operator.to_owned());
            }
            Ok::<_, state::Error>(())
        })?;
    }
    if known.is_empty() {
        bail!("no operator keeps anything here, `{operator}` neither");
    }
    if !known.contains(operator) {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let help = suggestion(operator, &known, "the operators that keep something are");
        bail!("no operator `{operator}` keeps anything: {help}");
    }
    Ok(())
}
