//! The dead letters of a file, counted by where and why they failed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use dirigo_disk::Disk;
use serde::Serialize;

use super::letter_file::{self, LetterLines};

/// Different reasons that are told apart in one file: guests word them, and each is kept while the file is read.
const GROUPS_MAX: usize = 10_000;

/// The letters of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LetterList {
    /// The file.
    pub file: PathBuf,
    /// How many there are.
    pub letters: u64,
    /// How many of them were retried.
    pub retried: u64,
    /// Lines that are no dead letters.
    pub unreadable: u64,
    /// By where and why they failed, the most frequent first.
    pub groups: Vec<LetterGroup>,
}

/// Letters with the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LetterGroup {
    /// The pipeline.
    pub pipeline: String,
    /// The operator in which they failed, or the source that refused them.
    pub operator: String,
    /// The kind of failure.
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

impl LetterList {
    /// Reads a file: all letters, or those that failed in one operator.
    ///
    /// # Errors
    /// When it is no regular file, or cannot be read.
    pub fn read(disk: &dyn Disk, file: &Path, operator: Option<&str>) -> io::Result<Self> {
        let retried = letter_file::retried(disk, file);
        let mut list = Self {
            file: file.to_owned(),
            letters: 0,
            retried: 0,
            unreadable: 0,
            groups: Vec::new(),
        };
        let mut groups: BTreeMap<[String; 4], LetterGroup> = BTreeMap::new();
        let mut lines = LetterLines::open(disk, file, u64::MAX)?;
        while let Some((_, letter)) = lines.read()? {
            let Some(letter) = letter else {
                list.unreadable += 1;
                continue;
            };
            if operator.is_some_and(|operator| operator != letter.operator) {
                continue;
            }
            let is_retried = u64::from(retried.contains(letter.id));
            list.letters += 1;
            list.retried += is_retried;
            let mut key = [letter.pipeline, letter.operator, letter.kind, letter.reason];
            if groups.len() >= GROUPS_MAX && !groups.contains_key(&key) {
                key = ["", "", "", "other reasons"].map(str::to_owned);
            }
            let [pipeline, operator, kind, reason] = key.clone();
            let group = groups.entry(key).or_insert(LetterGroup {
                pipeline,
                operator,
                kind,
                reason,
                letters: 0,
                retried: 0,
                first_id: letter.id,
                last_id: letter.id,
            });
            group.letters += 1;
            group.retried += is_retried;
            group.first_id = group.first_id.min(letter.id);
            group.last_id = group.last_id.max(letter.id);
        }
        list.groups = groups.into_values().collect();
        list.groups.sort_by_key(|group| std::cmp::Reverse(group.letters));
        Ok(list)
    }
}
