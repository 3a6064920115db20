//! `dirigo state verify`.

use std::fmt::Write as _;

use dirigo::disk::Real;
use dirigo::printable;
use dirigo::state;
use serde::Serialize;

use super::StateSelector;
use crate::cli::output::{self, Format, grouped};
use crate::cli::{Exit, Globals};

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Exit code: 0 if everything is whole, 1 if something is damaged. What a crash left of an epoch that was not committed is no \
damage: the next run cuts it off.")]
pub(super) struct Args {
    #[command(flatten)]
    selector: StateSelector,
}

#[derive(Debug, Serialize)]
struct VerifyReport {
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
    for (pipeline, directory) in args.selector.pipelines()? {
        let case_report = state::verify(&Real, &directory)?;
        let damage = case_report.findings.into_iter().map(|finding| Damage {
            path: finding.path.display().to_string(),
            what: finding.what,
        });
        all.push(VerifyReport {
            pipeline,
            epoch: case_report.epoch,
            entries: case_report.entries,
            torn_bytes: case_report.torn_bytes,
            damage: damage.collect(),
        });
    }
    match globals.format {
        Format::Json => output::print_json(&all)?,
        Format::Text => output::print(&all.iter().map(text).collect::<String>())?,
    }
    let is_whole = all.iter().all(|report| report.damage.is_empty());
    Ok(if is_whole { Exit::Success } else { Exit::Failure })
}

fn text(report: &VerifyReport) -> String {
    let pipeline = &report.pipeline;
    let epoch = report
        .epoch
        .map_or("no epoch can be read".to_owned(), |epoch| format!("epoch {epoch}"));
    let is = if report.damage.is_empty() { "whole" } else { "DAMAGED" };
    let mut text = String::new();
    let mut line = |line: &str| {
        writeln!(text, "{}", printable::line(line)).expect("a string takes what is written");
    };
    line(&format!(
        "{pipeline}  {is}, {epoch}, {} entries",
        grouped(report.entries)
    ));
    for damage in &report.damage {
        line(&format!("  {}: {}", damage.path, damage.what));
    }
    if report.torn_bytes > 0 {
        let bytes = grouped(report.torn_bytes);
        line(&format!(
            "  a crash left {bytes} bytes of an epoch that was not committed; the next run cuts them off"
        ));
    }
    text
}
