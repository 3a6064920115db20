//! What a run would do to the files that it writes, as `dirigo check` reports it.

use std::path::PathBuf;

use dirigo::pipeline::Severity;
use serde_json::{Value, json};

use super::admission::Admitted;

/// What becomes of one output.
pub(crate) struct OutputNote {
    message: String,
    file: PathBuf,
}

/// What a run of a pipeline would do to its outputs.
pub(crate) fn of(admitted: &Admitted) -> impl Iterator<Item = OutputNote> {
    let outputs = admitted.outputs.iter().flatten().cloned();
    outputs.map(|message| OutputNote {
        message,
        file: admitted.prepared.pipeline.file.clone(),
    })
}

impl OutputNote {
    /// For people.
    pub(crate) fn line(&self) -> &str {
        &self.message
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "severity": Severity::Note,
            "message": self.message,
            "file": self.file,
            "line": null,
            "column": null,
            "help": null,
        })
    }
}
