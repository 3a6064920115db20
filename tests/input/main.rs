//! Hostile input on every surface: a clear error, or a dead letter and exact counts; never a panic of the host.

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "each suite uses its own part")]
mod support;

mod components;
mod pipelines;
mod records;
mod sinks;
