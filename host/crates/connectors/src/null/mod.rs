//! A sink that goes nowhere, for when only the counts matter.

use std::path::Path;
use std::sync::Arc;

use dirigo_connect::Facets;
use dirigo_connect::sink::{DeliveryCapability, Error, Events, Opening, Prepared, Sink, SinkSpec};
use dirigo_disk::Disk;
use dirigo_pipeline::SinkConnector;
use dirigo_pipeline::keys::{NoKeys, Validation};

/// `kind = "null"`.
#[derive(Clone, Copy, Debug)]
pub struct NullSink;

impl SinkConnector for NullSink {
    type Keys = NoKeys;

    fn kind(&self) -> &'static str {
        "null"
    }

    fn validate(&self, _: &NoKeys, _: &str, _: &mut Validation<'_>) -> Option<Arc<dyn SinkSpec>> {
        Some(Arc::new(NullSpec))
    }
}

/// Nowhere: events are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NullSpec;

impl SinkSpec for NullSpec {
    fn open(&self, _: Opening<'_>) -> Result<Box<dyn Sink>, Error> {
        Ok(Box::new(Null))
    }

    fn delivery_capability(&self, _: &dyn Disk) -> DeliveryCapability {
        DeliveryCapability::WritesNothing
    }

    fn facets(&self, _: &Path) -> Option<Facets> {
        None
    }
}

/// Takes everything, keeps nothing.
struct Null;

impl Sink for Null {
    fn write(&mut self, _: Events<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn prepare(&mut self) -> Result<Prepared, Error> {
        Ok(Prepared::default())
    }

    fn publish(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn delivery_capability(&self) -> DeliveryCapability {
        DeliveryCapability::WritesNothing
    }
}
