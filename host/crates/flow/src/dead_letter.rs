//! An event that failed, with all that it takes to see why and to run it again: a line of the dead-letter file.
//!
//! Or a window that was to be finished since its input had ended, and could not be: then the event is what stands for it.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use dirigo_pipeline::{EventOrder, Limits, Window};

/// Bytes of a `reason` that are kept. Guests word it, as long as they please; a person reads it.
pub(super) const REASON_BYTES_MAX: usize = 64 << 10;

/// An event that failed: a line of the dead-letter file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Counts the dead letters of a pipeline from 1.
    pub id: u64,
    /// The pipeline.
    pub pipeline: String,
    /// The operator, or the source, that it failed in.
    pub operator: String,
    /// SHA-256 of the component; null for a source.
    pub component: Option<String>,
    /// `rejected`, `trap`, `fuel`, `memory`, `malformed`, `output`, `state`, `migrate`, `key` or `source`.
    pub kind: String,
    /// What happened.
    pub reason: String,
    /// The guest's stack, where it trapped.
    pub backtrace: Option<String>,
    /// The event. Of a window that failed, the key, the greatest time of its events, and no value.
    pub event: FailedEvent,
    /// Which window failed to be finished; absent where an event failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<FailedWindow>,
    /// By which input of a process the event came, where not by the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<u32>,
    /// Which timers failed as they fired; absent where an event failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timers: Option<FailedTimers>,
    /// What was kept of the event's key before it, or of the window (base64).
    pub state: Option<String>,
    /// What of that the operator keeps, as JSON, where its component says how it is laid out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accumulator: Option<serde_json::Value>,
    /// Fuel that the failing turn burnt.
    pub fuel: u64,
    /// How often the event was tried.
    pub attempt: u32,
    /// What a replay needs besides; null for a source. All dead letters of an operator share it.
    #[serde(with = "shared")]
    pub setup: Option<Arc<OperatorSetup>>,
}

/// An `Arc` that is written as what is in it.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::OperatorSetup;

    #[allow(clippy::ref_option, reason = "serde hands a field over so")]
    pub(super) fn serialize<S: Serializer>(
        setup: &Option<Arc<OperatorSetup>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        setup.as_deref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Arc<OperatorSetup>>, D::Error> {
        Ok(Option::deserialize(deserializer)?.map(Arc::new))
    }
}

/// A window that could not be finished: one in time, or one that was incomplete when its input ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedWindow {
    /// How many events it holds.
    pub count: u64,
    /// Where it begins, or the least of their times: ms since the epoch.
    pub start: i64,
    /// Where it ends, or the greatest of their times: ms since the epoch.
    pub end: i64,
}

impl std::fmt::Display for FailedWindow {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { count, start, end } = self;
        let events = if *count == 1 { "event" } else { "events" };
        write!(formatter, "of {count} {events}, from {start} to {end} (ms since 1970)")
    }
}

/// Timers of a key of a process that were to fire together, of which one failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedTimers {
    /// Up to when timers were to fire: ms since the epoch.
    pub until: i64,
    /// Those that were set by then, a hundred at most.
    pub set: Vec<FailedTimer>,
    /// How many more there were.
    #[serde(default, skip_serializing_if = "is_none_left")]
    pub left_out: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a field over so")]
fn is_none_left(left_out: &usize) -> bool {
    *left_out == 0
}

/// A timer of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedTimer {
    /// Its name.
    pub name: String,
    /// When it was to fire: ms since the epoch.
    pub time: i64,
}

/// The event of a dead letter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FailedEvent {
    /// The source that it entered by.
    pub source: String,
    /// Its position there.
    pub position: u64,
    /// Its time, ms since the epoch; null where it has none.
    pub time: Option<i64>,
    /// Its key; a key that is not UTF-8 stands in `key_base64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its key, where it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_base64: Option<String>,
    /// Its value; one that is not UTF-8 stands in `value_base64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Its value, where it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
}

/// How the operator of a dead letter was set up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OperatorSetup {
    /// The component, as `builtin:NAME` or a path.
    pub component: String,
    /// Its configuration, as it is written: what comes from the environment stays there.
    pub config: serde_json::Value,
    /// Its limits.
    pub limits: Limits,
    /// Its window, for a reduce.
    pub window: Option<Window>,
    /// In which order it is handed events, for a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<EventOrder>,
}

impl DeadLetter {
    /// Whether a component saw the event.
    #[must_use]
    pub fn is_replayable(&self) -> bool {
        self.setup.is_some() && self.kind != "key"
    }

    /// Cuts a reason that is too long, and says so in it.
    pub(super) fn cut_reason(&mut self) {
        let reason = &mut self.reason;
        if reason.len() > REASON_BYTES_MAX {
            let kept = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
            *reason = format!("{kept} … (cut: it has {} bytes)", reason.len());
        }
    }

    /// What it takes while it waits, all that guests and inputs say in it included; the set-up is shared.
    pub(super) fn size(&self) -> usize {
        /// What an accumulator takes as JSON in memory, for each byte of its base64: small numbers take most.
        const DECODED_FACTOR: usize = 32;
        let event = &self.event;
        let texts = [
            Some(&self.reason),
            self.backtrace.as_ref(),
            self.state.as_ref(),
            event.key.as_ref(),
            event.key_base64.as_ref(),
            event.value.as_ref(),
            event.value_base64.as_ref(),
        ];
        let timers = self.timers.iter().flat_map(|timers| &timers.set);
        let timers = timers.map(|timer| timer.name.len() + size_of::<FailedTimer>());
        let decoded = self.accumulator.as_ref().and(self.state.as_ref());
        size_of::<Self>()
            + timers.sum::<usize>()
            + texts.into_iter().flatten().map(String::len).sum::<usize>()
            + decoded.map_or(0, |state| DECODED_FACTOR * state.len())
    }
}

impl FailedEvent {
    /// An event from its parts.
    #[must_use]
    pub fn new(source: &str, position: u64, time: Option<i64>, key: &[u8], value: &[u8]) -> Self {
        let (key, key_base64) = text_or_base64(key);
        let (value, value_base64) = text_or_base64(value);
        Self {
            source: source.to_owned(),
            position,
            time,
            key,
            key_base64,
            value,
            value_base64,
        }
    }

    /// The bytes of its key.
    ///
    /// # Errors
    /// When the base64 is damaged.
    pub fn key_bytes(&self) -> Result<Vec<u8>, base64::DecodeError> {
        bytes(self.key.as_deref(), self.key_base64.as_deref())
    }

    /// The bytes of its value.
    ///
    /// # Errors
    /// When the base64 is damaged.
    pub fn value_bytes(&self) -> Result<Vec<u8>, base64::DecodeError> {
        bytes(self.value.as_deref(), self.value_base64.as_deref())
    }
}

fn text_or_base64(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(BASE64_STANDARD.encode(bytes))),
    }
}

fn bytes(text: Option<&str>, base64: Option<&str>) -> Result<Vec<u8>, base64::DecodeError> {
    match base64 {
        Some(base64) => BASE64_STANDARD.decode(base64),
        None => Ok(text.unwrap_or_default().as_bytes().to_vec()),
    }
}
