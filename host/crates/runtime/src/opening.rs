//! A pipeline with all that it is connected to: what a host launches.

use super::connectors::{Connectors, Place, StartError, letters_path};
use super::guarantee::{Abilities, Guarantee, guarantees};
use super::prepare::Prepared;
use super::{Assembled, Host, Job};

/// A pipeline whose sources, sinks and state are open.
pub struct Opened {
    /// The pipeline.
    pub prepared: Prepared,
    /// What it is connected to.
    pub connectors: Connectors,
}

impl Opened {
    /// What is promised of each of its sinks.
    #[must_use]
    pub fn guarantees(&self) -> Vec<Guarantee> {
        let abilities = Abilities::of_open(&self.connectors.sources, &self.connectors.sinks);
        guarantees(&self.prepared.pipeline, &abilities)
    }
}

impl Host {
    /// Opens all that a pipeline is connected to, where the state in `place` says it stopped. Nothing of it runs yet.
    ///
    /// # Errors
    /// When a source, a sink or the state cannot be opened.
    pub fn open(&self, mut prepared: Prepared, place: &Place) -> Result<Opened, StartError> {
        // Where they go is said in the summary, also where the pipeline leaves it to the run.
        prepared.pipeline.dead_letters = Some(letters_path(&prepared.pipeline, place));
        let connectors = Connectors::open(&prepared.pipeline, self.clock(), place)?;
        Ok(Opened { prepared, connectors })
    }

    /// Runs a pipeline. It goes on to its end beside the caller.
    ///
    /// # Panics
    /// When the system gives no threads.
    pub fn launch(&self, opened: Opened) -> Job {
        Assembled::new(self, opened).start()
    }
}
