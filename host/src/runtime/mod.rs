//! Pipelines running side by side in one host.
//!
//! A [`Host`] owns what all of them share: the workers with their queue, the places for instances, the engine. [`prepare`]
//! turns a pipeline file into something that can run, [`Job`] is one that does, and [`Summary`] is what is left of it.
//! [`case`] runs one as a test.

pub mod case;
mod host;
mod job;
mod prepare;
mod summary;
mod wiring;

pub use host::{Host, Options};
pub use job::{Connectors, Ended, Job, Place, StartError};
pub use prepare::{Prepared, prepare};
pub use summary::{EdgeSummary, Figures, Latency, OperatorSummary, PipelineSummary, SourceSummary, Summary};
