//! A pipeline with all that it is connected to: what a host launches.

use super::connectors::Connectors;
use super::guarantee::{Abilities, Guarantee, guarantees};
use super::prepare::Prepared;

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
