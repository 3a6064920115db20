//! A sink that keeps what it is given: where the events of a test case leave.

use std::sync::Arc;

use dirigo_ground::sync::Mutex;

use super::{Ability, Error, Prepared, Sink};
use dirigo_ground::batch::Column;

/// Keeps every value.
#[derive(Debug)]
pub struct Memory {
    taken: Taken,
}

/// What a [`Memory`] took so far, in order.
pub type Taken = Arc<Mutex<Column>>;

impl Memory {
    /// A sink, and where its values are found.
    #[must_use]
    pub fn new() -> (Self, Taken) {
        let taken = Taken::default();
        (Self { taken: taken.clone() }, taken)
    }
}

impl Sink for Memory {
    fn write(&mut self, values: &Column) -> Result<(), Error> {
        self.taken.lock().extend(values);
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

    fn ability(&self) -> Ability {
        Ability::AtLeastOnce {
            why: "what is in memory stays as it is",
        }
    }
}
