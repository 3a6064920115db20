//! Protocols without locks, in many interleavings.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod alarm;
mod barrier;
mod gate;
mod places;
mod signal;
