//! Where events enter and leave: sources and sinks.
//!
//! They know the pipeline file's description of themselves, records and media; not operators, queues or backpressure.

pub mod sink;
pub mod source;
