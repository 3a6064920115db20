//! A sink that goes nowhere, for when only the counts matter.

use super::{Ability, Error, Prepared, Sink};
use dirigo_ground::batch::Column;

/// Takes everything, keeps nothing.
pub(super) struct Null;

impl Sink for Null {
    fn write(&mut self, _values: &Column) -> Result<(), Error> {
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
        Ability::WritesNothing
    }
}
