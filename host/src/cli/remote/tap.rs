//! `dirigo tap`: events as they pass an edge of a pipeline.

use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use anyhow::{Context as _, bail};
use dirigo_api::TappedEvent;

use super::super::output::{self, Format};
use super::super::{Exit, Globals};
use super::client::escaped;
use super::{Client, ServiceOptions};

/// Arguments of `dirigo tap`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
What is shown are samples: up to 16 events of a batch, and at most 256 in a tenth of a second. The pipeline does not wait for them.")]
pub(crate) struct Args {
    /// What to look at: `PIPELINE/ITEM` or `TENANT/PIPELINE/ITEM`. ITEM is a source or an operator, whose outputs are shown, a sink, whose
    /// inputs are shown, or an edge, such as `readings..map-1`
    #[arg(value_name = "PIPELINE/ITEM")]
    at: String,
    /// End after this many events
    #[arg(short = 'n', long, value_name = "N")]
    events: Option<u64>,
    #[command(flatten)]
    service: ServiceOptions,
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let Some((pipeline, item)) = args.at.rsplit_once('/') else {
        bail!(
            "{:?} names no item of a pipeline; write `PIPELINE/ITEM`, such as `sensors/map-1`",
            args.at
        );
    };
    let client = Client::new(&args.service)?;
    let named = client.find(pipeline)?;
    let events = args
        .events
        .map(|events| format!("&events={events}"))
        .unwrap_or_default();
    let lines = client.open(&named.path(&format!("/tap?at={}{events}", escaped(item))))?;
    for line in BufReader::new(lines).lines() {
        let line = line.context("the service does not answer any more")?;
        if globals.format == Format::Json {
            output::print_exactly(&(line + "\n"))?;
            continue;
        }
        let event: TappedEvent =
            serde_json::from_str(&line).context("the service did not answer as one of Dirigo does")?;
        let time = u64::try_from(event.time).unwrap_or_default();
        let time = humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + Duration::from_millis(time));
        let key = event
            .key
            .map(|key| format!(" {}", dirigo::printable::line(&key)))
            .unwrap_or_default();
        let more = if event.is_cut { "…" } else { "" };
        let value = dirigo::printable::line(&event.value);
        output::print(&format!("{time} {}{key} {value}{more}\n", event.edge))?;
    }
    Ok(Exit::Success)
}
