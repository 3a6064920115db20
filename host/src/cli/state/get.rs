//! `dirigo state get`.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dirigo::printable;
use dirigo::runtime::compatibility::Description;
use dirigo::state::{self, Stopped};
use serde_json::Value;

use super::{StateSelector, printed};
use crate::cli::output::{self, Format};
use crate::cli::{Exit, Globals};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    selector: StateSelector,
    /// Id of the operator
    operator: String,
    /// The key, as its events bear it
    key: String,
    /// The key is given in base64, for one that is no text
    #[arg(long)]
    base64: bool,
}

pub(super) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let key = if args.base64 {
        let decoded = BASE64_STANDARD.decode(&args.key);
        decoded.with_context(|| format!("`{}` is no base64", args.key))?
    } else {
        args.key.as_bytes().to_vec()
    };
    let Found {
        pipeline,
        entry,
        description,
    } = find(args, &key)?;
    let entry_view = printed::PrintedEntry::new(&pipeline, &args.operator, &key, &entry, description.as_ref());
    match globals.format {
        Format::Json => output::print_json(&entry_view)?,
        Format::Text => output::print(&text(&entry_view))?,
    }
    Ok(Exit::Success)
}

/// An entry, and the pipeline that it is of.
struct Found {
    pipeline: String,
    entry: state::Entry,
    description: Option<Description>,
}

fn find(args: &Args, key: &[u8]) -> anyhow::Result<Found> {
    let operator = args.operator.as_str();
    let mut found = Vec::new();
    let mut states = Vec::new();
    for (name, directory) in args.selector.pipelines()? {
        let state = super::open(&directory)?;
        if let Some(entry) = state.get(operator, key)? {
            found.push(Found {
                pipeline: name,
                entry,
                description: super::description(&state)?,
            });
        } else {
            states.push(state);
        }
    }
    if found.len() > 1 {
        let names: Vec<&str> = found.iter().map(|found| found.pipeline.as_str()).collect();
        let names = names.join("`, `");
        bail!("the pipelines `{names}` have an operator `{operator}` with that key: say which with `--pipeline`");
    }
    match found.pop() {
        Some(found) => Ok(found),
        None => bail!(missing(args, &states)?),
    }
}

/// Why there is no entry.
fn missing(args: &Args, states: &[Stopped]) -> anyhow::Result<String> {
    let (operator, key) = (&args.operator, &args.key);
    super::check_operator(operator, states)?;
    Ok(format!("operator `{operator}` keeps nothing of the key `{key}`"))
}

fn text(entry_view: &printed::PrintedEntry<'_>) -> String {
    let mut text = String::new();
    let mut line = |title: &str, rest: &str| {
        writeln!(text, "{title:<11} {}", printable::line(rest)).expect("a string takes what is written");
    };
    line("count", &entry_view.count.to_string());
    line("start", &entry_view.start.to_string());
    line("end", &entry_view.end.to_string());
    let accumulator = match &entry_view.accumulator {
        Value::String(text) => text.clone(),
        json => json.to_string(),
    };
    line("accumulator", &accumulator);
    if let Some(value) = &entry_view.value {
        line("value", &value.to_string());
    }
    text
}
