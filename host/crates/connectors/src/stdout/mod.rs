//! Standard output as a sink.

mod writer;

use std::path::Path;
use std::sync::Arc;

use dirigo_connect::Facets;
use dirigo_connect::sink::{DeliveryCapability, Error, Opening, Sink, SinkSpec};
use dirigo_disk::Disk;
use dirigo_pipeline::SinkConnector;
use dirigo_pipeline::keys::{NoKeys, Validation};

/// `kind = "stdout"`.
#[derive(Clone, Copy, Debug)]
pub struct StdoutSink;

impl SinkConnector for StdoutSink {
    type Keys = NoKeys;

    fn kind(&self) -> &'static str {
        "stdout"
    }

    fn validate(&self, _: &NoKeys, _: &str, _: &mut Validation<'_>) -> Option<Arc<dyn SinkSpec>> {
        Some(Arc::new(StdoutSpec))
    }
}

/// Standard output, one event per line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StdoutSpec;

impl SinkSpec for StdoutSpec {
    fn open(&self, _: Opening<'_>) -> Result<Box<dyn Sink>, Error> {
        Ok(Box::new(writer::Stdout::open()?))
    }

    fn delivery_capability(&self, _: &dyn Disk) -> DeliveryCapability {
        writer::DELIVERY_CAPABILITY
    }

    fn facets(&self, _: &Path) -> Option<Facets> {
        None
    }
}
