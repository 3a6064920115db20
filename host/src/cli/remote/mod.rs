//! The commands that talk to a service.
//!
//! Each finds the service by its options, its environment or the user's contexts, sends requests to its API, and prints what it is
//! answered: for people, or as it came with `-o json`.

mod client;
pub(super) mod context;
pub(super) mod contexts;
pub(super) mod deploy;
pub(super) mod list;
pub(super) mod logs;
pub(super) mod manage;
pub(super) mod status;
mod table;
pub(super) mod tap;
pub(super) mod top;

pub(super) use client::Refusal;
pub(super) use client::{Client, Named, ServiceOptions, escaped};
