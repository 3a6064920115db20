//! What is committed together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::table::Record;

/// One moment of a pipeline, besides what its actors spilled before it.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// By operator, the entries of active tables that changed: newer than whatever was spilled.
    pub state: Vec<(String, Vec<Record>)>,
    /// What was on its way, in an order that the store keeps.
    pub in_flight: Vec<InFlight>,
    /// Where sources and sinks stood.
    pub offsets: Offsets,
}

/// Something on its way from one item of the pipeline to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Where it waits: the id of an operator or of a sink.
    pub item: String,
    /// What it is; the store knows nothing of it.
    pub bytes: Vec<u8>,
}

/// Where sources and sinks go on after a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Offsets {
    /// By source: where to read on.
    pub sources: BTreeMap<String, serde_json::Value>,
    /// By source: the lowest position that may come next. By timed operator: that of the next of what event time has it do.
    #[serde(default)]
    pub next_positions: BTreeMap<String, u64>,
    /// By source: how far event time has come in what was read, ms since the epoch.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub watermarks: BTreeMap<String, i64>,
    /// By operator: how many windows it has open, and how many events are in them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub open_windows: BTreeMap<String, (u64, u64)>,
    /// How many windows were closed because their input had ended.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub closed_windows: u64,
    /// By sink: where to write on.
    pub sinks: BTreeMap<String, serde_json::Value>,
    /// Where to write on in the dead letters.
    pub dead_letters: Option<serde_json::Value>,
    /// The pipeline that wrote it, as far as a later one must be like it.
    #[serde(default)]
    pub pipeline: Option<serde_json::Value>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
