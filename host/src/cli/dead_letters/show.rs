//! `dirigo dead-letters show`: one letter, in full.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::bail;
use dirigo::disk::Real;
use dirigo::flow::DeadLetter;
use dirigo::printable;
use dirigo::runtime::{replay, retry};

use super::super::output::Format;
use super::super::remote::ServiceOptions;
use super::super::{Exit, Globals, output};
use super::of_service;

/// Arguments of `dirigo dead-letters show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Dead-letter file, the folder of a pipeline in a state directory, or the pipeline of a service: `NAME` or `TENANT/NAME`
    #[arg(value_name = "PLACE")]
    place: PathBuf,
    /// Which dead letter
    #[arg(value_name = "ID")]
    id: u64,
    #[command(flatten)]
    service: ServiceOptions,
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    if !args.place.exists() {
        return of_service::show(&args.place, &args.service, args.id, globals);
    }
    let files = super::files(&args.place)?;
    let [file] = files.as_slice() else {
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        bail!(
            "several pipelines have dead letters there; name one of {}",
            names.join(", ")
        );
    };
    let letter = replay::find(&Real, file, args.id)?;
    match globals.format {
        Format::Json => output::print_json(&letter)?,
        Format::Text => output::print(&text(&letter, retry::retried(&Real, file).contains(args.id)))?,
    }
    Ok(Exit::Success)
}

pub(super) fn text(letter: &DeadLetter, is_retried: bool) -> String {
    let mut text = String::new();
    let mut line = |title: &str, rest: &str| {
        for (index, part) in rest.split('\n').enumerate() {
            let title = if index == 0 { title } else { "" };
            let part = printable::line(part);
            let _ = writeln!(text, "{title:<10} {part}");
        }
    };
    let event = &letter.event;
    line("id", &letter.id.to_string());
    line("pipeline", &letter.pipeline);
    line("operator", &letter.operator);
    if let Some(setup) = &letter.setup {
        line("component", &setup.component);
    }
    if let Some(sha256) = &letter.component {
        line("sha256", sha256);
    }
    line("kind", &letter.kind);
    line("reason", &letter.reason);
    if let Some(backtrace) = &letter.backtrace {
        line("backtrace", backtrace.trim_end());
    }
    match letter.window {
        None => line("event", &format!("{} of source `{}`", event.position, event.source)),
        Some(window) => line("window", &window.to_string()),
    }
    if let Some(time) = event.time {
        line("time", &format!("{time} ms since the epoch"));
    }
    let lossy = |bytes: Result<Vec<u8>, _>| match bytes {
        Ok::<_, base64::DecodeError>(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("damaged: {error}"),
    };
    line("key", &lossy(event.key_bytes()));
    if letter.window.is_none() {
        line("value", &lossy(event.value_bytes()));
    }
    if let Some(state) = &letter.state {
        line("state", &format!("{state} (base64)"));
    }
    line("fuel", &letter.fuel.to_string());
    line("attempt", &letter.attempt.to_string());
    line("retried", if is_retried { "yes" } else { "no" });
    text
}
