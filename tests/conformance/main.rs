//! The test suites that others keep: what Dirigo reads is what they say is right. docs/conformance.md has a row for each.
//!
//! The cases come from packages of the registries, and are not copied.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::format_collect,
    reason = "a test that cannot go on fails; seeds are printed; plain words matter more than speed here"
)]

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "each suite uses its own part")]
mod support;

mod csv;
mod documents;
mod json;
mod strings;
mod toml;
