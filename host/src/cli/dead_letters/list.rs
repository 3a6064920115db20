//! `dirigo dead-letters list`: how many failed where, and why.

use std::fmt::{Display, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use dirigo::disk::Real;
use dirigo::runtime::LetterList;

use super::super::output::{Format, counted, grouped};
use super::super::remote::ServiceOptions;
use super::super::summary::shown;
use super::super::{Exit, Globals, output};
use super::of_service;

/// Reasons that a person gets to see, the most frequent ones.
const SHOWN_MAX: usize = 50;

/// Arguments of `dirigo dead-letters list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Dead-letter file, a state directory, or the pipeline of a service: `NAME` or `TENANT/NAME`
    #[arg(value_name = "PLACE")]
    place: PathBuf,
    /// Only those that failed in this operator, or were refused by this source
    #[arg(long, value_name = "ID")]
    operator: Option<String>,
    #[command(flatten)]
    service: ServiceOptions,
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    if !args.place.exists() {
        return of_service::list(&args.place, &args.service, args.operator.as_deref(), globals);
    }
    let files = super::files(&args.place)?;
    let lists: Vec<LetterList> = files
        .iter()
        .map(|file| {
            let list = LetterList::read(&Real, file, args.operator.as_deref());
            list.with_context(|| format!("cannot read {}", file.display()))
        })
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
        Format::Text if lists.is_empty() => output::print(&format!("{}: no dead letters\n", args.place.display()))?,
        Format::Text => output::print(
            &lists
                .iter()
                .map(|list| text(&list.file.display(), list))
                .collect::<String>(),
        )?,
    }
    Ok(Exit::Success)
}

/// The letters for people.
pub(super) fn text(place: &dyn Display, list: &LetterList) -> String {
    let mut text = String::new();
    let retried = match list.retried {
        0 => String::new(),
        retried => format!(", {} of them retried", grouped(retried)),
    };
    let _ = writeln!(text, "{place}: {}{retried}", counted(list.letters, "dead letter"));
    for group in list.groups.iter().take(SHOWN_MAX) {
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
    if list.groups.len() > SHOWN_MAX {
        let more = list.groups.len() - SHOWN_MAX;
        let _ = writeln!(text, "  and {more} more reasons; `-o json` lists all");
    }
    if list.unreadable > 0 {
        let _ = writeln!(text, "  {} lines are no dead letters", grouped(list.unreadable));
    }
    text
}
