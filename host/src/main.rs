//! The `dirigo` binary: reads the command line, sets up the log, runs one subcommand, maps its outcome to an exit code.

mod allocator;
mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::start();
    cli::main()
}
