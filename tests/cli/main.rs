//! The command line, as a shell sees it: what is printed where, what is written, and the exit code.
//!
//! Each test runs the binary in a directory of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod builds;
mod cases;
mod projects;
mod replays;
mod runs;
mod support;
