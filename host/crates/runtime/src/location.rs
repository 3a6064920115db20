//! Where a run keeps what outlasts it.

use std::path::{Path, PathBuf};

use dirigo_pipeline::Pipeline;

/// The dead letters within the state directory, unless the pipeline says where they go.
pub(super) const DEAD_LETTERS_FILE: &str = "dead-letters.jsonl";

/// Where a pipeline's state is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateLocation {
    /// Nowhere: it ends with the run.
    Temporary,
    /// In a directory of the pipeline's own.
    Directory {
        /// Which.
        path: PathBuf,
        /// Whether what is there is discarded first.
        fresh: bool,
    },
}

impl StateLocation {
    /// The directory, where there is one.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Temporary => None,
            Self::Directory { path, .. } => Some(path),
        }
    }
}

/// Where the dead letters of `pipeline` go.
#[must_use]
pub fn dead_letters_path(pipeline: &Pipeline, location: &StateLocation) -> PathBuf {
    match (&pipeline.dead_letters, location) {
        (Some(path), _) => path.clone(),
        (None, StateLocation::Directory { path, .. }) => path.join(DEAD_LETTERS_FILE),
        (None, StateLocation::Temporary) => {
            let name = format!("{}.dead.jsonl", pipeline.name);
            pipeline.access.default_folder().join(name)
        }
    }
}
