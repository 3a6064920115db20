//! An event that failed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An event that failed, as far as a person looks at it; `dirigo dead-letters show` has the rest, and what a replay needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    /// Its number, by which `dirigo dead-letters` and `dirigo replay` find it.
    pub id: u64,
    /// The operator or the source in which it failed.
    pub operator: String,
    /// In what way: `trap`, `rejected`, `fuel`, `memory`, `malformed`, `output`, `state`, `migrate`, `key` or `source`.
    pub kind: String,
    /// What happened, or the first 4 KiB of it.
    pub reason: String,
    /// The guest's stack where it trapped, or the first 16 KiB of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backtrace: Option<String>,
    /// The source by which the event entered.
    pub source: String,
    /// The time of the event, ms since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<i64>,
    /// Its key; none where it has none, or one that is no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its value, or the first 4 KiB of it; none where it has none, or one that is no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Fuel that the failing turn burnt.
    pub fuel: u64,
    /// How often the event was tried.
    pub attempt: u32,
}
