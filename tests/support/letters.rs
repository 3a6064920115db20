//! Dead letters, as a test reads them.

use serde::Deserialize;

use super::Folder;

/// A line of a dead-letter file, every key of the contract included.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Letter {
    pub(crate) id: u64,
    pub(crate) pipeline: String,
    pub(crate) operator: String,
    pub(crate) component: Option<String>,
    pub(crate) kind: String,
    pub(crate) reason: String,
    pub(crate) backtrace: Option<String>,
    pub(crate) event: LetterEvent,
    pub(crate) state: Option<String>,
    pub(crate) fuel: u64,
    pub(crate) attempt: u32,
}

/// The event of a dead letter.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LetterEvent {
    pub(crate) source: String,
    pub(crate) position: u64,
    pub(crate) time: Option<i64>,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) value_base64: Option<String>,
}

impl Letter {
    /// The number of the event, which is one of [`super::numbered`].
    pub(crate) fn number(&self) -> u64 {
        super::numbers(self.event.value.as_deref().unwrap())[0]
    }
}

/// The dead letters in a file: numbered from 1, without a gap.
#[track_caller]
pub(crate) fn letters(folder: &Folder, name: &str) -> Vec<Letter> {
    let letters: Vec<Letter> = folder
        .read(name)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")))
        .collect();
    assert!(
        letters.iter().map(|letter| letter.id).eq(1..=letters.len() as u64),
        "dead letters are counted from 1"
    );
    letters
}
