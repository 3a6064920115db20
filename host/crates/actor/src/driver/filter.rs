//! `filter`: which events go on.

use super::{Call, Driver, Emission, Settled, Tally, mismatched, unread};
use dirigo_engine::Trap;
use dirigo_ground::batch::Batch;
use dirigo_ground::call::{Answer, Filtered, Request};
use dirigo_state::Table;

/// Drives operators that keep nothing; so does each call.
pub(super) struct Filter;

impl Driver for Filter {
    fn begin(&self, _table: &mut Table, _turn: u32, batch: &Batch) -> (Request, Box<dyn Call>) {
        (Request::Batch(batch.clone()), Box::new(Filter))
    }
}

impl Call for Filter {
    fn settle(&mut self, answer: Answer, batch: &Batch) -> Result<Settled, Trap> {
        let Filtered { kept, failures } = match answer {
            Answer::Filtered(filtered) => filtered,
            Answer::Unread(failures) => return Ok(unread(failures)),
            _ => return Err(mismatched()),
        };
        let outputs = Emission::Kept(kept);
        Ok(Settled::Done {
            tally: Tally::of_passed(&outputs, batch, &failures),
            outputs,
            rejected: failures,
        })
    }
}
