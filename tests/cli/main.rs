//! The command line, as a shell sees it: what is printed where, what is written, and the exit code.
//!
//! Each test runs the binary in a directory of its own.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::format_collect,
    clippy::cast_possible_truncation,
    clippy::similar_names,
    clippy::needless_pass_by_value,
    reason = "a test that cannot go on fails; seeds are printed; plain words matter more than speed here"
)]

// They need the guests that only release builds carry.
#[cfg(all(feature = "bench", not(debug_assertions)))]
mod benches;
mod builds;
mod cases;
mod examples;
mod projects;
mod replays;
mod runs;
mod support;
mod transcripts;
