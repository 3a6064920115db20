//! `dirigo dead-letters`: what failed, and its way back into the pipeline.
//!
//! A place is a file or a directory that exists; anything else is the name of a pipeline of a service.

pub(super) mod list;
mod of_service;
pub(super) mod retry;
pub(super) mod show;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use dirigo::disk::Real;
use dirigo::state;

use super::{Exit, Globals};

/// The dead letters in a state directory.
const FILE: &str = "dead-letters.jsonl";

/// Arguments of `dirigo dead-letters`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Count dead letters by operator, kind and reason
    List(list::Args),
    /// Print one dead letter in full
    Show(show::Args),
    /// Put dead letters back into the pipeline, at the operators where they failed
    Retry(retry::Args),
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    match &args.command {
        Command::List(args) => list::execute(args, globals),
        Command::Show(args) => show::execute(args, globals),
        Command::Retry(args) => retry::execute(args, globals),
    }
}

/// The files of dead letters that a user means with a file, with a state directory, or with a pipeline's folder in one. A state
/// directory may have none.
fn files(place: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !place.is_dir() {
        return Ok(vec![place.to_owned()]);
    }
    let own = place.join(FILE);
    if own.is_file() {
        return Ok(vec![own]);
    }
    let reading = || format!("cannot read {}", place.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(place).with_context(reading)? {
        let file = entry.with_context(reading)?.path().join(FILE);
        if file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() && state::pipelines(&Real, place)?.is_empty() {
        bail!(
            "there are no dead letters in {}; where a pipeline names a file under `[dead_letters]`, give that file",
            place.display()
        );
    }
    files.sort();
    Ok(files)
}
