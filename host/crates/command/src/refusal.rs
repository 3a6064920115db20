//! Why a pipeline cannot run.

use dirigo_pipeline::{Diagnostics, SpanIndex};
use dirigo_runtime::{Prepared, StartError};

use super::{Exit, Globals, report};

/// Why a pipeline cannot run, and the exit code that this is worth.
pub struct Refusal {
    /// What is wrong.
    pub problems: Diagnostics,
    /// How a command ends that has no other pipeline.
    pub exit: Exit,
}

impl From<Diagnostics> for Refusal {
    fn from(problems: Diagnostics) -> Self {
        let exit = Exit::Configuration;
        Self { problems, exit }
    }
}

impl Refusal {
    /// Something that is no fault of the pipeline file.
    #[must_use]
    pub fn of(pipeline: &str, span_index: &SpanIndex, error: &anyhow::Error) -> Self {
        let message = format!("pipeline `{pipeline}`: {error:#}");
        Self {
            problems: span_index.error_at("", "pipeline.name", &message, "", None),
            exit: Exit::Failure,
        }
    }

    /// Something that keeps a pipeline from starting.
    #[must_use]
    pub fn of_start(prepared: &Prepared, error: &StartError) -> Self {
        Self {
            problems: error.located(prepared),
            exit: Exit::Failure,
        }
    }

    /// Reports it, and ends the command that has no other pipeline.
    ///
    /// # Errors
    /// If the report cannot be written.
    pub fn reported(&self, globals: &Globals) -> anyhow::Result<Exit> {
        report::diagnostics(&self.problems, globals.format)?;
        Ok(self.exit)
    }
}
