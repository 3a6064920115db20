//! `dirigo status`: a pipeline of a service with its parts.

use dirigo_api::{PipelineDetails, State};
use serde_json::Value;

use super::super::output::{self, Format, counted, grouped};
use super::super::{Exit, Globals};
use super::{Client, ServiceOptions, table};

/// Arguments of `dirigo status`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Exit code: 0 if the pipeline runs, was stopped or has finished; 1 if it has failed.")]
pub(crate) struct Args {
    /// The pipeline: `NAME`, or `TENANT/NAME`
    pipeline: String,
    #[command(flatten)]
    service: ServiceOptions,
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let client = Client::new(&args.service)?;
    let named = client.find(&args.pipeline)?;
    let details = client.details(&named)?;
    match globals.format {
        Format::Json => output::print_json(&details)?,
        Format::Text => print(&details)?,
    }
    Ok(if details.pipeline.state == State::Failed {
        Exit::Failure
    } else {
        Exit::Success
    })
}

/// What there is to say of a pipeline as a whole.
fn lines(details: &PipelineDetails) -> Vec<String> {
    let pipeline = &details.pipeline;
    let mut lines = vec![format!(
        "pipeline `{}` of tenant `{}`: {}, version {}",
        pipeline.name,
        pipeline.tenant,
        pipeline.state.word(),
        pipeline.version
    )];
    lines.extend(pipeline.reason.iter().map(|reason| format!("  {reason}")));
    for finding in &details.findings {
        let place = match (&finding.file, finding.line) {
            (Some(file), Some(line)) => format!(" ({file}:{line})"),
            _ => String::new(),
        };
        lines.push(format!("  {}: {}{place}", finding.severity, finding.message));
        lines.extend(finding.help.iter().map(|help| format!("    help: {help}")));
    }
    let figures = &pipeline.figures;
    lines.push(format!(
        "  {} in, {} out, {}, {} on their way",
        counted(figures.events_in, "event"),
        grouped(figures.events_out),
        counted(figures.dead_letters, "dead letter"),
        grouped(figures.in_flight)
    ));
    if let Some(latency) = details.summary.as_ref().map(|summary| &summary["latency_ms"])
        && latency.is_object()
    {
        let ms = |name: &str| latency[name].as_f64().unwrap_or_default();
        let [p50, p99, max] = ["p50", "p99", "max"].map(ms);
        lines.push(format!(
            "  latency: p50 {p50:.1} ms, p99 {p99:.1} ms, longest {max:.1} ms"
        ));
    }
    lines.extend(details.delivery.iter().map(|line| format!("  guarantee: {line}")));
    lines
}

fn print(details: &PipelineDetails) -> anyhow::Result<()> {
    output::print(&(lines(details).join("\n") + "\n"))?;
    if details.operators.is_empty() {
        return Ok(());
    }
    let row = |operator: &Value| {
        let count = |name: &str| grouped(operator[name].as_u64().unwrap_or_default());
        vec![
            operator["id"].as_str().unwrap_or_default().to_owned(),
            count("events_in"),
            count("events_out"),
            count("filtered"),
            count("absorbed"),
            count("late"),
            count("dead_letters"),
            count("queued"),
            operator["scaling"]["now"].as_u64().map_or_else(String::new, grouped),
        ]
    };
    let rows: Vec<Vec<String>> = details.operators.iter().map(row).collect();
    let heads = [
        "OPERATOR",
        "IN",
        "OUT",
        "FILTERED",
        "ABSORBED",
        "LATE",
        "DEAD LETTERS",
        "QUEUED",
        "REPLICAS",
    ];
    table::print(&heads, &rows, &[1, 2, 3, 4, 5, 6, 7, 8])?;
    Ok(())
}
