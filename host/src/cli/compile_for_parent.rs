//! `dirigo compile-for-parent`: the process in which a component is compiled. People do not call it.

use std::time::Duration;

use dirigo::engine::compile_for_parent;
use dirigo::limits::CompileLimits;

use super::Exit;

/// What compiling may take.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Milliseconds
    time: u64,
    /// Bytes
    memory: u64,
    /// Run after everything else
    #[arg(long)]
    gives_way: bool,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<Exit> {
    let limits = CompileLimits {
        time: Duration::from_millis(args.time),
        memory: args.memory,
    };
    compile_for_parent(limits, args.gives_way)?;
    Ok(Exit::Success)
}
