//! `dirigo completions SHELL`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Exit, output};

/// Arguments of `dirigo completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which shell
    shell: Shell,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "dirigo", &mut script);
    output::print_exactly(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}
