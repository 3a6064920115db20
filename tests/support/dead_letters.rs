//! Dead letters, as a test reads them.

use serde::Deserialize;

use super::Folder;

/// A line of a dead-letter file, every key of the contract included.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct DeadLetter {
    pub(crate) id: u64,
    pub(crate) pipeline: String,
    pub(crate) operator: String,
    pub(crate) component: Option<String>,
    pub(crate) kind: String,
    pub(crate) reason: String,
    pub(crate) backtrace: Option<String>,
    pub(crate) event: DeadLetterEvent,
    pub(crate) window: Option<serde_json::Value>,
    pub(crate) state: Option<String>,
    pub(crate) fuel: u64,
    pub(crate) attempt: u32,
}

/// The event of a dead letter.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct DeadLetterEvent {
    pub(crate) source: String,
    pub(crate) position: u64,
    pub(crate) time: Option<i64>,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) value_base64: Option<String>,
}

impl DeadLetter {
    /// The number of the event, which is one of [`super::numbered`].
    pub(crate) fn number(&self) -> u64 {
        super::numbers(self.event.value.as_deref().unwrap())[0]
    }
}

/// The dead letters in a file: numbered from 1, without a gap.
#[track_caller]
pub(crate) fn dead_letters(folder: &Folder, name: &str) -> Vec<DeadLetter> {
    let dead_letters: Vec<DeadLetter> = folder
        .read(name)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")))
        .collect();
    assert!(
        dead_letters
            .iter()
            .map(|dead_letter| dead_letter.id)
            .eq(1..=dead_letters.len() as u64),
        "dead letters are counted from 1"
    );
    dead_letters
}
