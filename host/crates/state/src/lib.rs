//! The state that the host owns, so that an instance owns none.
//!
//! A [`Table`] holds what an active actor knows of its keys; [`windows`] says which events fold into what, [`process`] what a process keeps; the [`Store`]
//! keeps the tables of dormant actors and, with a state directory, everything between two runs.

mod aggregates;
mod checked_file;
mod copies;
#[cfg(test)]
mod crashes;
mod due;
mod durable;
mod entry;
mod error;
mod eviction;
mod first_keys;
mod form;
pub mod hash;
mod keyed;
mod keys;
mod layout;
mod log;
mod logged;
mod marker;
mod overlay;
#[cfg(test)]
mod partial;
mod partials;
mod parts;
pub mod process;
mod quiet;
mod search;
mod segments;
mod slots;
mod snapshot;
mod spilled;
mod step;
mod stopped;
mod store;
mod table;
mod table_items;
#[cfg(test)]
mod tests;
pub mod timed;
pub mod windows;

pub use copies::Copies;
pub use due::{due_key, split_due_key};
pub use entry::Entry;
pub use error::Error;
pub use first_keys::FirstKeys;
pub use form::EntryForm;
pub use keyed::{DueSteps, Keyed, ReachedTime, due_at, shown as shown_keyed};
pub use keys::Keys;
pub use layout::Layout;
pub use partials::Partials;
pub use segments::{ClosedWindow, Segment, Segments, SessionState, Stage, shown as shown_segments};
pub use snapshot::{InFlight, Offsets, Snapshot};
pub use step::{Step, WaitingEvent};
pub use stopped::{Finding, Stopped, Verification, pipelines, stopped, verify};
pub use store::{Apply, Store, StoreOptions};
pub use table::{Record, Table};
