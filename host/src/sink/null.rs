//! A sink that goes nowhere, for when only the counts matter.

use super::{Bookmark, Error, Sink};
use crate::batch::Column;

/// Takes everything, keeps nothing.
pub(super) struct Null;

impl Sink for Null {
    fn write(&mut self, _values: &Column) -> Result<(), Error> {
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn commit(&mut self) -> Result<Option<Bookmark>, Error> {
        Ok(None)
    }
}
