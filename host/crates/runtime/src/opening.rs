//! A pipeline with all that it is connected to: what a host launches.

use super::connectors::Connectors;
use super::delivery_semantics::{DeliveryCapabilities, DeliverySemantics, delivery_semantics};
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
    pub fn delivery_semantics(&self) -> Vec<DeliverySemantics> {
        let capabilities = DeliveryCapabilities::of_open(&self.connectors.sources, &self.connectors.sinks);
        delivery_semantics(&self.prepared.pipeline, &capabilities)
    }
}
