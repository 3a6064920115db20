//! What one guest does costs the event that made it do so, and nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::format_collect,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::similar_names,
    clippy::needless_pass_by_value,
    reason = "a test that cannot go on fails; seeds are printed; plain words matter more than speed here"
)]

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "each suite uses its own part")]
mod support;

mod amplification;
mod budgets;
mod chance;
mod deployers;
mod limits;
mod malformed;
mod neighbours;
mod opening;
mod refused;
mod rollback;
// It needs the guests that only release builds carry.
#[cfg(all(feature = "bench", not(debug_assertions)))]
mod soak;
mod terminal;
mod traps;

use support::pipeline;
