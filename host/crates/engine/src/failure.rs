//! Why a call of a guest came to nothing.

use crate::validation::InvalidResult;

/// Why a call came to nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The guest trapped, or returned what cannot be lifted.
    Guest(wasmtime::Error),
    /// What it returned breaks the contract.
    Invalid(InvalidResult),
    /// What it would keep of a key is more than it may.
    TooMuchState {
        bytes: usize,
        bytes_max: u64,
        /// The event that made it so, if that is known.
        event: Option<u32>,
    },
    /// Its outputs, with what they inherit, are more than any may be.
    TooMuchOutput { bytes_max: usize },
    /// It failed while it brought state from one version to another: the event itself is not to blame.
    Migration { from: u32, to: u32, failure: Box<Failure> },
}

impl From<wasmtime::Error> for Failure {
    fn from(error: wasmtime::Error) -> Self {
        Self::Guest(error)
    }
}

impl From<InvalidResult> for Failure {
    fn from(invalid: InvalidResult) -> Self {
        Self::Invalid(invalid)
    }
}

/// Why an event met state that its operator cannot read.
pub(crate) fn unmigrated(from: u32, to: u32, reason: &str) -> String {
    format!("the state of its key cannot be migrated from version {from} to {to}: {reason}")
}
