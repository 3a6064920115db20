//! Pipelines running side by side in one host.
//!
//! A [`Host`] owns what all of them share: the workers with their queue, the places for instances, the engine. [`prepare`]
//! turns a pipeline file into something that can run, [`Host::open`] opens what it is connected to, [`Host::launch`] runs it
//! as a [`Job`], and [`Summary`] is what is left of it.
//! [`case`] runs one as a test, [`replay`] a single event of one that failed.

mod admission;
mod assembly;
pub mod case;
mod checkpoint;
mod connectors;
pub mod continuity;
mod epoch;
mod graph;
mod guarantee;
pub mod handover;
mod host;
mod in_flight;
mod job;
mod launch;
mod local;
mod opening;
mod prepare;
mod recovery;
pub mod replay;
mod summary;
mod wiring;

pub use admission::{Load, Meter, Shortfall, judge};
pub use assembly::Assembled;
pub use checkpoint::{Checkpoints, Cut, Moment, Phase};
pub use connectors::{Connectors, Place, StartError, letters_path};
pub use graph::Ended;
pub use guarantee::{Abilities, Guarantee, Promise, guarantees};
pub use host::{Host, Options};
pub use job::{Control, Job};
pub use opening::Opened;
pub use prepare::{Prepared, prepare};
pub use recovery::InTransit;
pub use summary::{
    CheckpointSummary, EdgeSummary, Figures, Latency, OperatorSummary, Outcome, PipelineSummary, SliceSummary,
    SloSummary, SourceSummary, Summary, TenantSummary,
};

/// Fuel between two yields of an instance that runs beside the actors: nobody else waits for the thread.
const SLICE_FUEL: u64 = 10_000_000;
