//! How a pipeline was doing, over time.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::State;

/// How a pipeline was doing over the last hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// The time between two looks at the pipeline, in ms.
    pub interval_ms: i64,
    /// When it was last looked at, in ms since the epoch; until then the last sample holds.
    pub until_ms: i64,
    /// What was seen, the oldest first: a sample where something changed, and one where a time without a change ended.
    pub samples: Vec<HistorySample>,
}

/// A pipeline at one moment of its history. Its counts begin anew with each run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistorySample {
    /// When, in ms since the epoch.
    pub at_ms: i64,
    /// What it was doing.
    pub state: State,
    /// The version that ran, or would have.
    pub version: u64,
    /// Records that its sources had read.
    pub events_in: u64,
    /// Events that its sinks had written.
    pub events_out: u64,
    /// Events and records that had failed.
    pub dead_letters: u64,
    /// Events that were on their way.
    pub in_flight: u64,
    /// For how long the oldest of them had been, in ms.
    pub behind_ms: u64,
    /// Worker time that the turns of its operators had taken, in ns.
    pub worker_ns: u64,
}
