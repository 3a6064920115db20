//! Compiled components: kept, trusted only when whole and ours, and never stale.

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "each suite uses its own part")]
mod support;

mod cache;
