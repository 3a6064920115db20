//! What clients and the service say to each other: the bodies of requests and answers under `/api/v1`.
//!
//! Knows neither the server nor any client.

mod activity;
mod dead_letter;
mod history;
mod letters;

use std::collections::BTreeMap;

pub use activity::{
    Activity, EdgeActivity, LatencyFigures, OperatorActivity, PipelineActivity, SinkActivity, SourceActivity,
};
pub use dead_letter::DeadLetter;
pub use history::{History, HistorySample};
pub use letters::{DeadLetterGroup, DeadLetters, Retried, Retry};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A pipeline that is to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// The text of the pipeline file.
    pub pipeline: String,
    /// What its author calls the file; findings name it so.
    #[serde(default = "default_file")]
    pub file: String,
    /// Values that replace those of the file, each `KEY=VALUE`, such as `operator.map-1.config.scale=2`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
    /// The components that the file names and that are not built in: by what the file calls them, the SHA-256 of each in
    /// hexadecimal. Each was uploaded before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, String>,
    /// The folder of the host from which relative paths start. Only an operator of the host may name one; otherwise they start from
    /// a folder that the service keeps for the pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
}

fn default_file() -> String {
    "pipeline.toml".to_owned()
}

/// What a pipeline is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its components are loaded, and its sources and sinks opened.
    Starting,
    /// It processes events.
    Running,
    /// Its sources have stopped, and what they have read goes to its end; or a last checkpoint is taken.
    Stopping,
    /// It was told to stop. Its state is kept.
    Stopped,
    /// Its sources came to their end.
    Finished,
    /// It cannot go on. Unless its configuration is at fault, it is started again after a while.
    Failed,
    /// It is being deleted.
    Deleting,
}

impl State {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
        }
    }

    /// Whether it changes by itself soon.
    #[must_use]
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Starting | Self::Stopping | Self::Deleting)
    }
}

/// A pipeline, in a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Pipeline {
    /// Its tenant.
    pub tenant: String,
    /// Its name, which no other pipeline of its tenant has.
    pub name: String,
    /// What it is doing.
    pub state: State,
    /// Since when, in ms since the epoch.
    pub since_ms: i64,
    /// Why it failed, or what it waits for where it does not come to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it is started again, in ms since the epoch, where it failed and is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at_ms: Option<i64>,
    /// The version that runs, or would.
    pub version: u64,
    /// What it has done since it was started.
    pub figures: Figures,
}

/// What a pipeline has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Figures {
    /// Records that its sources read.
    pub events_in: u64,
    /// Events that its sinks wrote.
    pub events_out: u64,
    /// Events and records that failed.
    pub dead_letters: u64,
    /// Events that were read and are on their way.
    pub in_flight: u64,
    /// For how long the oldest of them have been, in ms.
    pub behind_ms: f64,
}

/// A pipeline with its parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PipelineDetails {
    /// What stands in a list.
    #[serde(flatten)]
    pub pipeline: Pipeline,
    /// As in `pipelines` of the summary of a run (`dirigo run --summary-json`): of the present run, or of the last one. None before
    /// the first one since the service started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub summary: Option<Value>,
    /// As in `operators` of the summary of a run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub operators: Vec<Value>,
    /// What is wrong with its configuration, where it failed for that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What each sink promises.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delivery: Vec<String>,
}

/// A version of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Its number, from 1.
    pub version: u64,
    /// When it was deployed, in ms since the epoch.
    pub deployed_ms: i64,
    /// The name of the token with which it was.
    pub by: String,
    /// What was deployed.
    pub deployment: Deployment,
    /// Whether it is the one that runs, or would.
    pub is_current: bool,
}

/// Something that is wrong with a pipeline file, or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// `error`, `warning` or `note`.
    pub severity: String,
    /// What is wrong.
    pub message: String,
    /// The file, as its author calls it.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<u64>,
    /// The column, from 1.
    pub column: Option<u64>,
    /// What would be right.
    pub help: Option<String>,
}

/// What came of a deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Deployed {
    /// The pipeline. It is starting; its state tells what comes of that.
    pub pipeline: Pipeline,
    /// Warnings and notes about its file.
    pub findings: Vec<Finding>,
    /// The same for people, as `dirigo check` shows them.
    pub rendered: String,
}

/// A component that was uploaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Component {
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Caller {
    /// The name of the token.
    pub name: String,
    /// The tenant whose pipelines it is for; none for an operator of the host, who has those of all.
    pub tenant: Option<String>,
    /// Whether it may change something.
    pub may_change: bool,
}

/// A line of a pipeline's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// When, in ms since the epoch.
    pub at_ms: i64,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The operator that said it; none for what the service says of the pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// What was said.
    pub message: String,
}

/// An event that passed an edge of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TappedEvent {
    /// The edge, such as `readings..map-1`.
    pub edge: String,
    /// The event time, ms since the epoch.
    pub time: i64,
    /// The key; none where the event has none. Bytes that are no UTF-8 are replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The value, or the first 4 KiB of it. Bytes that are no UTF-8 are replaced.
    pub value: String,
    /// Whether the value was longer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cut: bool,
}

/// What a tenant has used since the service started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// Its pipelines, in whatever state.
    pub pipelines: u64,
    /// As in `tenants` of the summary of a run; none for one of which nothing has run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub usage: Option<Value>,
}

/// Why a request was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What is wrong.
    pub error: String,
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// What is wrong with the pipeline file, where that is the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// The findings for people, as `dirigo check` shows them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rendered: String,
}

/// The service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct About {
    /// The version of Dirigo.
    pub version: String,
    /// The threads that run operators.
    pub workers: u32,
}

/// Bytes as hexadecimal digits: how components are named by their SHA-256.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
