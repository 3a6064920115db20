//! `dirigo state verify`.

use std::fmt::Write as _;
use std::panic;

use dirigo::disk::Real;
use dirigo::state;
use serde::Serialize;

use super::Place;
use crate::cli::output::{self, Format, grouped};
use crate::cli::{Exit, Globals};

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Exit code: 0 if everything is whole, 1 if something is damaged. What a crash left of an epoch that was not committed is no \
damage: the next run cuts it off.")]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Serialize)]
struct Told {
    pipeline: String,
    /// The last epoch that is whole; null if none can be read.
    epoch: Option<u64>,
    entries: u64,
    torn_bytes: u64,
    damage: Vec<Damage>,
}

#[derive(Debug, Serialize)]
struct Damage {
    path: String,
    what: String,
}

pub(super) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let mut all = Vec::new();
    for (pipeline, directory) in args.place.pipelines()? {
        let verdict = quietly(|| state::verify(&Real, &directory))?;
        let damage = verdict.findings.into_iter().map(|finding| Damage {
            path: finding.path.display().to_string(),
            what: finding.what,
        });
        all.push(Told {
            pipeline,
            epoch: verdict.epoch,
            entries: verdict.entries,
            torn_bytes: verdict.torn_bytes,
            damage: damage.collect(),
        });
    }
    match globals.format {
        Format::Json => output::print_json(&all)?,
        Format::Text => output::print(&all.iter().map(text).collect::<String>())?,
    }
    let is_whole = all.iter().all(|told| told.damage.is_empty());
    Ok(if is_whole { Exit::Success } else { Exit::Failure })
}

/// Without what a panic prints: the database panics over some damaged pages, and the verdict says what that means.
fn quietly<T>(act: impl FnOnce() -> T) -> T {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let done = act();
    panic::set_hook(hook);
    done
}

fn text(told: &Told) -> String {
    let pipeline = &told.pipeline;
    let epoch = told
        .epoch
        .map_or("no epoch can be read".to_owned(), |epoch| format!("epoch {epoch}"));
    let is = if told.damage.is_empty() { "whole" } else { "DAMAGED" };
    let mut text = String::new();
    let mut line = |line: &str| {
        writeln!(text, "{line}").expect("a string takes what is written");
    };
    line(&format!("{pipeline}  {is}, {epoch}, {} entries", grouped(told.entries)));
    for damage in &told.damage {
        line(&format!("  {}: {}", damage.path, damage.what));
    }
    if told.torn_bytes > 0 {
        let bytes = grouped(told.torn_bytes);
        line(&format!(
            "  a crash left {bytes} bytes of an epoch that was not committed; the next run cuts them off"
        ));
    }
    text
}
