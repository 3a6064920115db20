//! `dirigo dead-letters list`: how many failed where, and why.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use dirigo::disk::Real;
use dirigo::runtime::{LetterLines, retry};
use serde::Serialize;

use super::super::output::{Format, grouped};
use super::super::summary::shown;
use super::super::{Exit, Globals, output};

/// Different reasons that are told apart in one file: guests word them, and each is kept while the file is read.
const GROUPS_MAX: usize = 10_000;
/// Reasons that a person gets to see, the most frequent ones.
const SHOWN_MAX: usize = 50;

/// Arguments of `dirigo dead-letters list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Dead-letter file, or a state directory
    #[arg(value_name = "PLACE")]
    place: PathBuf,
    /// Only those that failed in this operator, or were refused by this source
    #[arg(long, value_name = "ID")]
    operator: Option<String>,
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let files = super::files(&args.place)?;
    let lists: Vec<LetterList> = files
        .iter()
        .map(|file| LetterList::read(file, args.operator.as_deref()))
        .collect::<anyhow::Result<_>>()?;
    if let Some(list) = lists.iter().find(|list| list.letters == 0 && list.unreadable > 0) {
        bail!(
            "none of the {} lines of {} is a dead letter; give the file of the letters, which a run names at its end, or a \
             state directory",
            grouped(list.unreadable),
            list.file.display()
        );
    }
    match globals.format {
        Format::Json => output::print_json(&lists)?,
        Format::Text => output::print(&lists.iter().map(LetterList::text).collect::<String>())?,
    }
    Ok(Exit::Success)
}

/// The letters of a file.
#[derive(Debug, Serialize)]
struct LetterList {
    file: PathBuf,
    letters: u64,
    retried: u64,
    /// Lines that are no dead letters.
    unreadable: u64,
    /// Most frequent first.
    groups: Vec<LetterGroup>,
}

/// Letters with the same reason.
#[derive(Debug, Serialize)]
struct LetterGroup {
    pipeline: String,
    operator: String,
    kind: String,
    reason: String,
    letters: u64,
    retried: u64,
    first_id: u64,
    last_id: u64,
}

impl LetterList {
    fn read(file: &Path, operator: Option<&str>) -> anyhow::Result<Self> {
        let reading = || format!("cannot read {}", file.display());
        let retried = retry::retried(file);
        let mut list = Self {
            file: file.to_owned(),
            letters: 0,
            retried: 0,
            unreadable: 0,
            groups: Vec::new(),
        };
        let mut groups: BTreeMap<[String; 4], LetterGroup> = BTreeMap::new();
        let mut lines = LetterLines::open(&Real, file, u64::MAX).with_context(reading)?;
        while let Some((_, letter)) = lines.read().with_context(reading)? {
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

    fn text(&self) -> String {
        let mut text = String::new();
        let retried = match self.retried {
            0 => String::new(),
            retried => format!(", {} of them retried", grouped(retried)),
        };
        let _ = writeln!(
            text,
            "{}: {} dead letters{retried}",
            self.file.display(),
            grouped(self.letters)
        );
        for group in self.groups.iter().take(SHOWN_MAX) {
            let ids = if group.first_id == group.last_id {
                format!("id {}", group.first_id)
            } else {
                format!("ids {} to {}", group.first_id, group.last_id)
            };
            let retried = match group.retried {
                0 => String::new(),
                retried => format!(", {} retried", grouped(retried)),
            };
            let _ = writeln!(
                text,
                "  {:>9}  {}/{}  {}: {} ({ids}{retried})",
                grouped(group.letters),
                shown(&group.pipeline),
                shown(&group.operator),
                shown(&group.kind),
                shown(&group.reason),
            );
        }
        if self.groups.len() > SHOWN_MAX {
            let more = self.groups.len() - SHOWN_MAX;
            let _ = writeln!(text, "  and {more} more reasons; `-o json` lists all");
        }
        if self.unreadable > 0 {
            let _ = writeln!(text, "  {} lines are no dead letters", grouped(self.unreadable));
        }
        text
    }
}
