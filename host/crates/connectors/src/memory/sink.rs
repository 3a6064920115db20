//! A sink that keeps what it is given: where the events of a test case leave.

use std::sync::Arc;

use dirigo_connect::sink::{DeliveryCapability, Error, Events, Prepared, Sink};
use dirigo_ground::batch::Column;
use dirigo_ground::sync::Mutex;

/// Keeps every value.
#[derive(Debug)]
pub struct MemorySink {
    taken: Taken,
}

/// What a [`MemorySink`] took so far, in order.
pub type Taken = Arc<Mutex<Column>>;

impl MemorySink {
    /// A sink, and where its values are found.
    #[must_use]
    pub fn new() -> (Self, Taken) {
        let taken = Taken::default();
        (Self { taken: taken.clone() }, taken)
    }
}

impl Sink for MemorySink {
    fn write(&mut self, events: Events<'_>) -> Result<(), Error> {
        self.taken.lock().extend(events.values);
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
        DeliveryCapability::AtLeastOnce {
            why: "what is in memory stays as it is",
        }
    }
}
