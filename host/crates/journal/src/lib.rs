//! A stream of bytes on disk, made durable before its sender is acknowledged.
//!
//! What cannot be asked for again is kept here until an epoch is committed that has read it: so a source to which others push can be read again.
//! Owns appending in groups, recovery after a crash, the keys by which a repeated request is recognised, and what may be removed. Knows
//! nothing of what the bytes mean, or of who sends them.

mod error;
mod keys;
mod reader;
mod segments;
mod stream;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use keys::Key;
pub use reader::Reader;
pub use stream::{Appended, Journal};
