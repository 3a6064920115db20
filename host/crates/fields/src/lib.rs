//! Fields of events: out of JSON into typed columns.
//!
//! An [`Extraction`] reads each value once for all fields that are wanted of it, or takes the [`Cell`]s of a table; [`failures`] says which
//! events lack what an operator reads, and why. How written fields become part of values, `dirigo_ground::json` knows. Knows nothing of operators, turns or
//! files.

mod cells;
mod check;
mod extract;

pub use cells::Cell;
pub use check::{failures, lacking};
pub use extract::{Extraction, Pass, Wanted};
