//! From a pipeline that can run to one that does.

use super::assembly::Assembled;
use super::connectors::Connectors;
use super::host::Host;
use super::job::Job;
use super::location::{StateLocation, dead_letters_path};
use super::opening::Opened;
use super::prepare::Prepared;
use super::start_error::StartError;

impl Host {
    /// Opens all that a pipeline is connected to, where the state in `place` says it stopped. Nothing of it runs yet.
    ///
    /// # Errors
    /// When a source, a sink or the state cannot be opened.
    pub fn open(&self, mut prepared: Prepared, place: &StateLocation) -> Result<Opened, StartError> {
        // Where they go is said in the summary, also where the pipeline leaves it to the run.
        prepared.pipeline.dead_letters = Some(dead_letters_path(&prepared.pipeline, place));
        let connectors = Connectors::open(&prepared, self.clock(), place)?;
        Ok(Opened { prepared, connectors })
    }

    /// Runs a pipeline. It goes on to its end next to the caller.
    ///
    /// # Panics
    /// When the system gives no threads.
    pub fn launch(&self, opened: Opened) -> Job {
        Assembled::new(self, opened).start()
    }
}
