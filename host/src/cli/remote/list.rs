//! `dirigo list`: the pipelines of a service.

use dirigo_api::Pipeline;

use super::super::output::{self, Format, grouped};
use super::super::{Exit, Globals};
use super::client::escaped;
use super::{Client, ServiceOptions, table};

/// Arguments of `dirigo list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    service: ServiceOptions,
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let client = Client::new(&args.service)?;
    let query = client
        .tenant
        .as_ref()
        .map(|tenant| format!("?tenant={}", escaped(tenant)));
    let pipelines: Vec<Pipeline> = client.get(&format!("pipelines{}", query.unwrap_or_default()))?;
    if globals.format == Format::Json {
        output::print_json(&pipelines)?;
        return Ok(Exit::Success);
    }
    if pipelines.is_empty() {
        output::say("there are no pipelines; `dirigo deploy FILE` deploys one");
        return Ok(Exit::Success);
    }
    let row = |pipeline: &Pipeline| {
        let figures = &pipeline.figures;
        vec![
            pipeline.tenant.clone(),
            pipeline.name.clone(),
            pipeline.state.word().to_owned(),
            pipeline.version.to_string(),
            grouped(figures.events_in),
            grouped(figures.events_out),
            grouped(figures.dead_letters),
            pipeline.reason.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = pipelines.iter().map(row).collect();
    let heads = [
        "TENANT",
        "PIPELINE",
        "STATE",
        "VERSION",
        "IN",
        "OUT",
        "DEAD LETTERS",
        "",
    ];
    table::print(&heads, &rows, &[3, 4, 5, 6])?;
    Ok(Exit::Success)
}
