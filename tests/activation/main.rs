//! Virtual actors: there whenever an event comes, however few instances are alive.

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "each suite uses its own part")]
mod support;

mod idle;
mod instances;
mod isolation;
