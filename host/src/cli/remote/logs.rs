//! `dirigo logs`: what the operators of a pipeline said, and what the service says of it.

use std::collections::HashSet;
use std::time::Duration;

use dirigo_api::LogLine;

use super::super::output::{self, Format};
use super::super::{Exit, Globals};
use super::{Client, ServiceOptions};

/// Arguments of `dirigo logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The pipeline: `NAME`, or `TENANT/NAME`
    pipeline: String,
    /// How many lines, at most
    #[arg(short = 'n', long, value_name = "N", default_value = "100")]
    lines: usize,
    /// Go on with what is said from now on, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    service: ServiceOptions,
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    const LOOK_INTERVAL: Duration = Duration::from_millis(500);
    let client = Client::new(&args.service)?;
    let named = client.find(&args.pipeline)?;
    let mut from_ms = i64::MIN;
    // Those of the last millisecond, which come again.
    let mut printed: HashSet<(Option<String>, String)> = HashSet::new();
    let mut lines = args.lines;
    loop {
        let path = named.path(&format!("/logs?lines={lines}&from_ms={from_ms}"));
        let said: Vec<LogLine> = client.get(&path)?;
        let new = said
            .iter()
            .filter(|line| line.at_ms > from_ms || !printed.contains(&(line.operator.clone(), line.message.clone())));
        print(&new.cloned().collect::<Vec<_>>(), globals)?;
        if !args.follow {
            return Ok(Exit::Success);
        }
        if let Some(last) = said.last() {
            if last.at_ms > from_ms {
                printed.clear();
            }
            from_ms = last.at_ms;
            let latest = said.iter().filter(|line| line.at_ms == from_ms);
            printed.extend(latest.map(|line| (line.operator.clone(), line.message.clone())));
        }
        lines = 10_000;
        std::thread::sleep(LOOK_INTERVAL);
    }
}

fn print(lines: &[LogLine], globals: &Globals) -> anyhow::Result<()> {
    for line in lines {
        match globals.format {
            Format::Json => output::print_exactly(&(serde_json::to_string(line)? + "\n"))?,
            Format::Text => {
                let seconds = Duration::from_millis(u64::try_from(line.at_ms).unwrap_or_default());
                let at = humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + seconds);
                let who = line
                    .operator
                    .as_ref()
                    .map(|operator| format!(" {operator}:"))
                    .unwrap_or_default();
                let message = dirigo::printable::line(&line.message);
                output::print(&format!("{at} {:5}{who} {message}\n", line.level))?;
            }
        }
    }
    Ok(())
}
