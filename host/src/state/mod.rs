//! The state that the host owns, so that an instance owns none.
//!
//! A [`Table`] holds what an active actor knows of its keys; [`windows`] says which events fold into what; the [`Store`]
//! keeps the tables of dormant actors and, with a state directory, everything between two runs.

pub mod hash;
mod snapshot;
mod store;
mod table;
pub mod windows;

pub use snapshot::{Bookmarks, InFlight, Snapshot};
pub use store::{Error, Keys, Store};
pub use table::{Entry, Epoch, Record, Table};
