//! Pipelines running side by side in one host.
//!
//! A [`Host`] owns what all of them share: the workers with their queue, the instance slots, the engine. [`prepare`]
//! turns a pipeline file into something that can run, [`Host::open`] opens what it is connected to, [`Host::launch`] runs it
//! as a [`Job`], and [`Summary`] is what is left of it.
//! [`case`] runs one as a test, [`replay`] a single event of one that failed, and [`retry`] puts such events back.

mod assembly;
pub mod case;
mod checkpoint;
mod closing;
pub mod compatibility;
mod connectors;
mod delivery_semantics;
mod disks;
mod epoch;
mod event_time;
mod graph;
mod host;
mod in_flight;
mod job;
mod keys;
mod launch;
mod letter_file;
mod letter_list;
mod local;
mod location;
mod named_outputs;
mod opening;
mod outputs;
mod prepare;
mod preview;
mod projection;
mod recovery;
pub mod replay;
pub mod retry;
mod scaling;
mod schemas;
mod settings;
mod slo_monitor;
mod start_error;
pub mod state_migration;
mod status;
mod summary;
mod wiring;

pub use assembly::Assembled;
pub use checkpoint::{Checkpoints, Cut, Phase, PreparedCheckpoint};
pub use connectors::Connectors;
pub use delivery_semantics::{DeliveryCapabilities, DeliveryGuarantee, DeliverySemantics, delivery_semantics};
pub use graph::Ended;
pub use host::{Host, HostOptions, instances_wanted};
pub use job::{Control, Job};
pub use letter_file::LetterLines;
pub use letter_list::{LetterGroup, LetterList};
pub use location::{StateLocation, dead_letters_path};
pub use opening::Opened;
pub use outputs::{foresee, try_sources};
pub use prepare::{Patience, Prepared, prepare, prepare_with};
pub use preview::preview;
pub use recovery::RecoveredBatches;
pub use settings::listed_settings;
pub use slo_monitor::{Demand, DemandMeter, Shortfall, shortfalls};
pub use start_error::StartError;
pub use status::{Monitor, OperatorStatus, SinkStatus, SourceStatus, Status, Waiting};
pub use summary::{
    CheckpointSummary, EdgeSummary, Figures, KeyedSummary, Latency, LeapSummary, OpenWindowsSummary, OperatorSummary,
    Outcome, PipelineSummary, RefusedSummary, ScaleChange, ScalingSummary, SliceSummary, SloSummary, SourceSummary,
    Summary, TenantSummary,
};

/// Fuel between two yields of an instance that runs next to the actors: nobody else waits for the thread.
const SLICE_FUEL: u64 = 10_000_000;
