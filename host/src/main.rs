//! The `dirigo` binary: reads the command line, sets up the log, runs one subcommand, maps its outcome to an exit code.

mod cli;

use std::process::ExitCode;

/// Batches are made by one thread and dropped by another; this allocator takes that without locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
