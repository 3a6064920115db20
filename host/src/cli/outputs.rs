//! What a run would do to the files that it writes, as `dirigo check` reports it.

use std::path::PathBuf;

use dirigo::pipeline::Severity;
use dirigo::runtime::{Prepared, StateLocation, foresee};
use serde_json::{Value, json};

/// What becomes of one output, or why a run is refused.
pub(crate) struct OutputFinding {
    severity: Severity,
    message: String,
    file: PathBuf,
}

/// What a run of a pipeline would do to its outputs. That one without state would be refused is no more than a warning: the
/// pipeline may be meant for `--state`.
pub(crate) fn find(prepared: &Prepared, location: &StateLocation) -> Vec<OutputFinding> {
    let finding = |severity, message| OutputFinding {
        severity,
        message,
        file: prepared.pipeline.file.clone(),
    };
    match (foresee(prepared, location), location) {
        (Ok(outputs), _) => outputs
            .into_iter()
            .map(|output| finding(Severity::Note, output))
            .collect(),
        (Err(error), StateLocation::Directory { .. }) => vec![finding(Severity::Error, error.to_string())],
        (Err(error), StateLocation::Temporary) => {
            let message = format!("a run without `--state` would be refused: {error}");
            vec![finding(Severity::Warning, message)]
        }
    }
}

impl OutputFinding {
    pub(crate) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// For people.
    pub(crate) fn line(&self) -> String {
        match self.severity {
            Severity::Error => format!("error: {}", self.message),
            Severity::Warning => format!("warning: {}", self.message),
            _ => self.message.clone(),
        }
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "severity": self.severity,
            "message": self.message,
            "file": self.file,
            "line": null,
            "column": null,
            "help": null,
        })
    }
}
