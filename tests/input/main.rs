//! Hostile input on every surface: a clear error, or a dead letter and exact counts; never a panic of the host.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::format_collect,
    clippy::cast_possible_truncation,
    clippy::similar_names,
    clippy::needless_pass_by_value,
    reason = "a test that cannot go on fails; seeds are printed; plain words matter more than speed here"
)]

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "each suite uses its own part")]
mod support;

mod components;
mod files;
mod generated;
mod pipelines;
mod preview;
mod records;
mod sinks;
