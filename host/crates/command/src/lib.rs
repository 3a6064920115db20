//! What the subcommands of the `dirigo` binary share: exit codes, the options that every command has, output, the log, and
//! the engine and runtime that a command sets up.
//!
//! It knows no subcommand, and prints nothing but what one gives it.

pub mod admission;
pub mod descriptors;
pub mod log;
pub mod output;
pub mod own_state;
pub mod pipeline_files;
mod refusal;
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
    /// A signal with this number had it stop before it was done.
    Signalled(i32),
}

impl Exit {
    /// The code that the process ends with.
    #[must_use]
    pub fn code(self) -> u8 {
        /// `EX_CONFIG` of sysexits.h.
        const CONFIGURATION: u8 = 78;
        /// What shells add to the number of a signal.
        const SIGNALLED: i32 = 128;
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Configuration => CONFIGURATION,
            Self::Signalled(signal) => u8::try_from(SIGNALLED + signal).unwrap_or(u8::MAX),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
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
