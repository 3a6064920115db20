//! `map`: any number of values from each event.

use super::{Call, Driver, Emission, Settled, Tally, mismatched, unread};
use dirigo_engine::Trap;
use dirigo_ground::batch::Batch;
use dirigo_ground::call::{Answer, Request};
use dirigo_state::Table;

/// Drives operators that keep nothing; so does each call.
pub(super) struct Map;

impl Driver for Map {
    fn begin(&self, _table: &mut Table, _turn: u32, batch: &Batch) -> (Request, Box<dyn Call>) {
        (Request::Batch(batch.clone()), Box::new(Map))
    }
}

impl Call for Map {
    fn settle(&mut self, answer: Answer, batch: &Batch) -> Result<Settled, Trap> {
        let mut outputs = match answer {
            Answer::Mapped(outputs) => outputs,
            Answer::Unread(failures) => return Ok(unread(failures)),
            _ => return Err(mismatched()),
        };
        let rejected = std::mem::take(&mut outputs.failures);
        let outputs = Emission::derived(outputs);
        Ok(Settled::Done {
            tally: Tally::of_passed(&outputs, batch, &rejected),
            outputs,
            rejected,
        })
    }
}
