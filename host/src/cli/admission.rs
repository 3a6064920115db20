//! Which of the pipelines that a command names can run next to one another.
//!
//! Owns the rule that one that is refused keeps no other from running. They are looked at in the order of the command line,
//! each next to those that were admitted before it; of two that exclude each other the later one is refused. Touches nothing.

use std::path::Path;

use dirigo::pipeline::{Diagnostics, Pipeline, SideBySide, SpanIndex};
use dirigo::runtime::{Prepared, StartError, StateLocation, compatibility, dead_letters_path, foresee};

use super::descriptors::Ends;
use super::setup::CommandContext;
use super::{Exit, Globals, own_state, report};

/// The pipelines that were admitted so far.
pub(crate) struct Admission<'a> {
    setup: &'a CommandContext,
    /// The state directory of the run.
    state: Option<&'a Path>,
    /// Whether it discards what is there of its pipelines.
    fresh: bool,
    neighbours: SideBySide<'a>,
    ends: Ends,
}

/// A pipeline that can run.
pub(crate) struct Admitted {
    pub(crate) prepared: Prepared,
    pub(crate) location: StateLocation,
    /// What a run does to the files that it writes, or why it cannot begin them.
    pub(crate) outputs: Result<Vec<String>, StartError>,
}

/// Why a pipeline cannot run, and the exit code that this is worth.
pub(crate) struct Refusal {
    pub(crate) problems: Diagnostics,
    pub(crate) exit: Exit,
}

impl From<Diagnostics> for Refusal {
    fn from(problems: Diagnostics) -> Self {
        let exit = Exit::Configuration;
        Self { problems, exit }
    }
}

impl Refusal {
    /// Something that is no fault of the pipeline file.
    pub(crate) fn of(pipeline: &str, span_index: &SpanIndex, error: &anyhow::Error) -> Self {
        let message = format!("pipeline `{pipeline}`: {error:#}");
        Self {
            problems: span_index.error_at("", "pipeline.name", &message, "", None),
            exit: Exit::Failure,
        }
    }

    /// Something that keeps a pipeline from starting.
    pub(crate) fn of_start(prepared: &Prepared, error: &StartError) -> Self {
        Self {
            problems: error.located(prepared),
            exit: Exit::Failure,
        }
    }

    /// Reports it, and ends the command that has no other pipeline.
    pub(crate) fn reported(&self, globals: &Globals) -> anyhow::Result<Exit> {
        report::diagnostics(&self.problems, globals.format)?;
        Ok(self.exit)
    }
}

impl<'a> Admission<'a> {
    /// To a run with this state directory.
    pub(crate) fn new(setup: &'a CommandContext, state: Option<&'a Path>, fresh: bool) -> Self {
        Self {
            setup,
            state,
            fresh,
            neighbours: SideBySide::new(setup.files.tenants.as_ref()),
            ends: Ends::default(),
        }
    }

    /// Admits a pipeline next to the others. That it cannot begin its outputs is for the caller to judge by `must_begin`.
    pub(crate) fn admit(&mut self, prepared: Prepared, must_begin: bool) -> Result<Admitted, Refusal> {
        let location = self.location(&prepared.pipeline);
        own_state::expect_of_tenant(self.setup, &prepared, &location)?;
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

    /// What the tenants of those that were admitted may use.
    pub(crate) fn neighbours(&self) -> &SideBySide<'a> {
        &self.neighbours
    }

    /// Where the state of a pipeline is: each has a directory of its own in the one that was given.
    fn location(&self, pipeline: &Pipeline) -> StateLocation {
        match self.state {
            None => StateLocation::Temporary,
            Some(directory) => StateLocation::Directory {
                path: directory.join(&pipeline.name),
                fresh: self.fresh,
            },
        }
    }
}

/// A pipeline as it goes on from its state.
pub(crate) fn resumed(prepared: Prepared, location: &StateLocation) -> Result<Prepared, Refusal> {
    let (name, span_index) = (prepared.pipeline.name.clone(), prepared.span_index.clone());
    compatibility::resume(prepared, location).map_err(|error| match error {
        compatibility::Incompatible::Changed(problems) => Refusal::from(*problems),
        error => Refusal::of(&name, &span_index, &error.into()),
    })
}
