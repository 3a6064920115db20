//! `dirigo state ls`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dirigo::printable;
use dirigo::state::Stopped;
use serde::Serialize;
use serde_json::Value;

use super::StateSelector;
use crate::cli::output::{self, Format, grouped};
use crate::cli::{Exit, Globals};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    selector: StateSelector,
}

/// The state of a pipeline, as it is printed.
#[derive(Debug, Serialize)]
struct StateListing {
    pipeline: String,
    /// The last that was committed; 0 if none was, or by a version that did not number them.
    epoch: u64,
    operators: BTreeMap<String, Size>,
    /// What was on its way, by the operator or sink in front of which it waited.
    in_flight: BTreeMap<String, InFlightSize>,
    sources: BTreeMap<String, Value>,
    sinks: BTreeMap<String, Value>,
    dead_letters: Option<Value>,
}

#[derive(Debug, Default, Serialize)]
struct Size {
    keys: u64,
    /// Of keys and entries, without what the database needs besides.
    bytes: u64,
}

#[derive(Debug, Default, Serialize)]
struct InFlightSize {
    batches: u64,
    bytes: u64,
}

pub(super) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let pipelines = args.selector.pipelines()?.into_iter();
    let all: Vec<StateListing> = pipelines
        .map(|(name, directory)| listing(name, &super::open(&directory)?))
        .collect::<anyhow::Result<_>>()?;
    match globals.format {
        Format::Json => output::print_json(&all)?,
        Format::Text => output::print(&all.iter().map(text).collect::<Vec<_>>().join("\n"))?,
    }
    Ok(Exit::Success)
}

/// What there is of one pipeline.
fn listing(pipeline: String, state: &Stopped) -> anyhow::Result<StateListing> {
    let mut operators: BTreeMap<String, Size> = BTreeMap::new();
    state.each(|operator, key, entry| {
        let size = match operators.get_mut(operator) {
            Some(size) => size,
            None => operators.entry(operator.to_owned()).or_default(),
        };
        size.keys += 1;
        size.bytes += (key.len() + entry.encode().len()) as u64;
        Ok::<_, anyhow::Error>(())
    })?;
    let mut in_flight: BTreeMap<String, InFlightSize> = BTreeMap::new();
    for one in state.in_flight() {
        let waiting = in_flight.entry(one.item.clone()).or_default();
        waiting.batches += 1;
        waiting.bytes += one.bytes.len() as u64;
    }
    let offsets = state.offsets()?;
    Ok(StateListing {
        pipeline,
        epoch: state.epoch(),
        operators,
        in_flight,
        sources: offsets.sources,
        sinks: offsets.sinks,
        dead_letters: offsets.dead_letters,
    })
}

fn text(listing: &StateListing) -> String {
    let mut text = format!("{}  epoch {}\n", printable::line(&listing.pipeline), listing.epoch);
    let mut line = |title: &str, id: &str, rest: &str| {
        let (id, rest) = (printable::line(id), printable::line(rest));
        writeln!(text, "  {title:<9} {id:<16} {rest}").expect("a string takes what is written");
    };
    for (id, position) in &listing.sources {
        line("source", id, &position.to_string());
    }
    for (id, size) in &listing.operators {
        let keys = if size.keys == 1 { "key" } else { "keys" };
        let rest = format!("{} {keys}, {} bytes", grouped(size.keys), grouped(size.bytes));
        line("operator", id, &rest);
    }
    for (id, waiting) in &listing.in_flight {
        let batches = if waiting.batches == 1 { "batch" } else { "batches" };
        let rest = format!("{} {batches}, {} bytes", waiting.batches, grouped(waiting.bytes));
        line("in flight", id, &rest);
    }
    for (id, position) in &listing.sinks {
        line("sink", id, &position.to_string());
    }
    if let Some(position) = &listing.dead_letters {
        line("dead", "letters", &position.to_string());
    }
    text
}
