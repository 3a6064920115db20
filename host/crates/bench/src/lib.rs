//! `dirigo bench`: what neighbours cost each other, on this machine.
//!
//! Everything runs in this process, through the same hosts and jobs as `dirigo run`; only the ends of the pipelines are
//! made for measuring.

mod deadlines;
mod elastic;
mod greedy;
mod guests;
mod isolation;
mod kinds;
mod machine_load;
mod memory;
mod openloop;
mod options;
mod plot;
mod progress;
mod sharing;
mod soak;
mod table;
mod testbed;
mod verdict;
mod victim;

use clap::Subcommand;
use dirigo_command::{Exit, Globals};

/// Arguments of `dirigo bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    which: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// The latency of a pipeline alone, and next to each of the hostile ones
    Isolation(isolation::Args),
    /// The shares of tenants that all want as much as they can get
    Sharing(sharing::Args),
    /// The share of latency targets that are met as the load rises
    Deadlines(deadlines::Args),
    /// Operators whose load rises and falls, or lies on few keys
    Elastic(elastic::Args),
    /// Three pipelines next to all the hostile ones at once
    Soak(soak::Args),
}

/// Measures what `args` say, and prints it.
///
/// # Errors
/// In a debug build, which has no hostile guests; if the machine cannot do what is asked for, or the output not be written.
pub fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    match &args.which {
        Which::Isolation(args) => isolation::execute(args, globals),
        Which::Sharing(args) => sharing::execute(args, globals),
        Which::Deadlines(args) => deadlines::execute(args, globals),
        Which::Elastic(args) => elastic::execute(args, globals),
        Which::Soak(args) => soak::execute(args, globals),
    }
}
