//! What the subcommands of the `dirigo` binary share: exit codes, the options that every command has, output, the log, and
//! the engine and runtime that a command sets up.
//!
//! It knows no subcommand, and prints nothing but what one gives it.

pub mod descriptors;
pub mod log;
pub mod output;
pub mod report;
pub mod setup;

use std::path::PathBuf;
use std::process::ExitCode;

use log::Log;
use output::Format;

/// How a command ended, as the shell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All well.
    Success,
    /// It was done, and failed.
    Failure,
    /// The configuration cannot be run.
    Configuration,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        /// `EX_CONFIG` of sysexits.h.
        const CONFIGURATION: u8 = 78;
        match exit {
            Exit::Success => ExitCode::SUCCESS,
            Exit::Failure => ExitCode::FAILURE,
            Exit::Configuration => ExitCode::from(CONFIGURATION),
        }
    }
}

/// What holds for every command.
#[derive(Clone, Debug)]
pub struct Globals {
    /// How results are printed.
    pub format: Format,
    /// Where compiled components are kept, if the user says so; `off` to keep none.
    pub cache_dir: Option<String>,
    /// Where the key of the cache is kept, if the user says so.
    pub cache_key: Option<PathBuf>,
    /// The executable that compiles components for this process; `None` to compile within it.
    pub compiler: Option<PathBuf>,
    /// The log of this process.
    pub log: Log,
}
