//! Records and watermarks that are handed in, and values that are kept: the two ends of a test case. No pipeline file names them.

mod sink;
mod source;

pub use sink::{MemorySink, Taken};
pub use source::{Feed, FeedEntry, InputRecord, MemorySource};
