//! Dead letters of a pipeline, and their way back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The dead letters of a pipeline, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetters {
    /// How many there are.
    pub letters: u64,
    /// How many of them were retried.
    pub retried: u64,
    /// Lines of the file that are no dead letters.
    pub unreadable: u64,
    /// By where and why they failed, the most frequent first.
    pub groups: Vec<DeadLetterGroup>,
}

/// Dead letters with the same reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterGroup {
    /// The operator in which they failed, or the source that refused them.
    pub operator: String,
    /// `rejected`, `trap`, `fuel`, `memory` and the like.
    pub kind: String,
    /// Why they failed.
    pub reason: String,
    /// How many.
    pub letters: u64,
    /// How many of them were retried.
    pub retried: u64,
    /// The least id.
    pub first_id: u64,
    /// The greatest id.
    pub last_id: u64,
}

/// Which dead letters are to go back into the pipeline: all that were not retried yet, unless it says which.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Those that failed in this operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// Those with these ids.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ids: BTreeSet<u64>,
}

/// What came of a retry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Retried {
    /// Letters that went back.
    pub retried: u64,
    /// Whether events resumed that an interrupted retry or run had left on their way.
    pub resumed: bool,
    /// Dead letters that they became again.
    pub failed_again: u64,
    /// Events that came too late for their windows, which no operator and no sink takes.
    #[serde(default)]
    pub late: u64,
    /// Letters that stay, by reason.
    pub left: BTreeMap<String, u64>,
}
