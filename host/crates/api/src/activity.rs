//! What is going on: all pipelines at one moment, part by part.
//!
//! Counters begin anew with each run of a pipeline; a rate is the difference of two answers over the time between them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{State, Tenant};

/// What pipelines and tenants are doing at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Activity {
    /// The moment, in ms since the epoch.
    pub at_ms: i64,
    /// The threads that run operators.
    pub workers: u32,
    /// The pipelines that the caller may see, by tenant and name.
    pub pipelines: Vec<PipelineActivity>,
    /// The tenants that the caller may see, by name.
    pub tenants: Vec<Tenant>,
}

/// What a pipeline is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PipelineActivity {
    /// Its tenant.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub state: State,
    /// Why it failed, or what it waits for where it does not come to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when it has been in its state, in ms since the epoch.
    pub since_ms: i64,
    /// The version that runs, or would.
    pub version: u64,
    /// Events and records that failed.
    pub dead_letters: u64,
    /// Events that were read and are on their way.
    pub in_flight: u64,
    /// For how long the oldest of them have been, in ms.
    pub behind_ms: f64,
    /// The operator or sink as slow as which the pipeline is: the last one without room for more. None where its sources are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<String>,
    /// How long events took from arrival to sink; none before one has reached a sink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<LatencyFigures>,
    /// Its sources; none of its parts are listed while it does not run.
    pub sources: Vec<SourceActivity>,
    /// Its operators, in the order of the events.
    pub operators: Vec<OperatorActivity>,
    /// Its sinks.
    pub sinks: Vec<SinkActivity>,
    /// What connects them.
    pub edges: Vec<EdgeActivity>,
}

/// A distribution of latencies since the run began, in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LatencyFigures {
    /// Half are shorter.
    pub p50: f64,
    /// 99 % are shorter.
    pub p99: f64,
}

/// What a source is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SourceActivity {
    /// Its id.
    pub id: String,
    /// Events that it sent on.
    pub events: u64,
    /// Those that are on their way.
    pub in_flight: u64,
    /// Records that were no events.
    pub dead_letters: u64,
    /// Units read, such as bytes.
    pub units_read: u64,
    /// Units in all; 0 where that is not known.
    pub units_total: u64,
    /// Whether nothing more comes of it.
    pub has_ended: bool,
    /// Up to where event time has come, in ms since the epoch; none before the first event time and after the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark_ms: Option<i64>,
}

/// What an operator is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OperatorActivity {
    /// Its id.
    pub id: String,
    /// Events that arrived.
    pub events_in: u64,
    /// Events that left.
    pub events_out: u64,
    /// Events that led to output at once.
    pub passed: u64,
    /// Events that led to none, by the operator's choice.
    pub filtered: u64,
    /// Events that went into a window or into state.
    pub absorbed: u64,
    /// Events that came too late for their windows.
    pub late: u64,
    /// Events that failed.
    pub dead_letters: u64,
    /// Turns that ended in a trap.
    pub traps: u64,
    /// Worker time that turns took, in ns.
    pub worker_ns: u64,
    /// Fuel burnt on events.
    pub fuel: u64,
    /// Events that wait for it or are in a turn of it.
    pub queued: u64,
    /// Whether the parts before it wait until it has room.
    pub is_full: bool,
    /// Its actors that have an instance.
    pub instances: u64,
    /// Up to where event time has come, for one with windows or timers, in ms since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark_ms: Option<i64>,
}

/// What a sink is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SinkActivity {
    /// Its id.
    pub id: String,
    /// Events that it has written.
    pub events: u64,
    /// Events that wait to be written.
    pub queued: u64,
    /// Whether the parts before it wait until it has room.
    pub is_full: bool,
}

/// A connection: `sent = received + queued`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EdgeActivity {
    /// Where it starts.
    pub from: String,
    /// Where it leads.
    pub to: String,
    /// Events sent.
    pub sent: u64,
    /// Events that arrived.
    pub received: u64,
    /// Events on the way.
    pub queued: u64,
}
