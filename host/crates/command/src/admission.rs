//! Which pipelines of one process can run next to one another.
//!
//! Owns the rule that one that is refused keeps no other from running. Each is looked at next to those that were admitted before it
//! and have not left; of two that exclude each other the later one is refused. Touches nothing.

use std::path::Path;
use std::sync::Arc;

use dirigo_pipeline::{Names, Pipeline, SideBySide, Tenants};
use dirigo_runtime::{Prepared, StartError, StateLocation, compatibility, dead_letters_path, foresee};

use super::descriptors::Ends;
use super::own_state;
pub use super::refusal::Refusal;

/// The pipelines that were admitted so far.
pub struct Admission {
    /// What tenants may do, where the operator of the host says it.
    tenants: Option<Arc<Tenants>>,
    neighbours: SideBySide,
    ends: Ends,
}

/// A pipeline that can run.
pub struct Admitted {
    /// The pipeline.
    pub prepared: Prepared,
    /// Where its state is.
    pub location: StateLocation,
    /// What a run does to the files that it writes, or why it cannot begin them.
    pub outputs: Result<Vec<String>, StartError>,
}

impl Admission {
    /// To a process in which pipelines have these names, and tenants may do this.
    #[must_use]
    pub fn new(tenants: Option<&Arc<Tenants>>, names: Names) -> Self {
        Self {
            tenants: tenants.cloned(),
            neighbours: SideBySide::new(tenants.cloned(), names),
            ends: Ends::default(),
        }
    }

    /// Admits a pipeline next to the others. That it cannot begin its outputs is for the caller to judge by `must_begin`.
    ///
    /// # Errors
    /// If it cannot run next to them, or not from its state.
    pub fn admit(
        &mut self,
        prepared: Prepared,
        location: StateLocation,
        must_begin: bool,
    ) -> Result<Admitted, Refusal> {
        own_state::expect_of_tenant(self.tenants.is_some(), &prepared, &location)?;
        let prepared = resumed(prepared, &location)?;
        let dead_letters = dead_letters_path(&prepared.pipeline, &location);
        let span_index = &prepared.span_index;
        let place = self.neighbours.place(&prepared.pipeline, &dead_letters, span_index);
        let place = place.map_err(|problems| *problems)?;
        let ends = self.ends.with(&prepared.pipeline);
        let ends =
            ends.map_err(|shortage| span_index.error_at("", "pipeline.name", &shortage, "one too many", None))?;
        let outputs = foresee(&prepared, &location);
        if must_begin && let Err(error) = &outputs {
            return Err(Refusal::of_start(&prepared, error));
        }
        self.neighbours.admit(place);
        self.ends = ends;
        Ok(Admitted {
            prepared,
            location,
            outputs,
        })
    }

    /// Takes a pipeline out that was admitted: its name, its files and its share of its tenant's budget are free again.
    pub fn leave(&mut self, pipeline: &Pipeline) {
        self.neighbours.leave(pipeline);
        self.ends = self.ends.without(pipeline);
    }

    /// What the tenants of those that were admitted may use.
    #[must_use]
    pub fn neighbours(&self) -> &SideBySide {
        &self.neighbours
    }
}

/// Where the state of a pipeline is that is run with this state directory: each has a directory of its own in it.
#[must_use]
pub fn location_in(state: Option<&Path>, fresh: bool, pipeline: &Pipeline) -> StateLocation {
    match state {
        None => StateLocation::Temporary,
        Some(directory) => StateLocation::Directory {
            path: directory.join(&pipeline.name),
            fresh,
        },
    }
}

/// A pipeline as it goes on from its state.
///
/// # Errors
/// If it does not fit its state.
pub fn resumed(prepared: Prepared, location: &StateLocation) -> Result<Prepared, Refusal> {
    let (name, span_index) = (prepared.pipeline.name.clone(), prepared.span_index.clone());
    compatibility::resume(prepared, location).map_err(|error| match error {
        compatibility::Incompatible::Changed(problems) => Refusal::from(*problems),
        error => Refusal::of(&name, &span_index, &error.into()),
    })
}
