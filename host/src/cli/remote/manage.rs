//! `dirigo start`, `stop`, `rollback`, `versions` and `delete`: what is done with a pipeline of a service.

use std::time::Duration;

use dirigo_api::{Pipeline, State, Version};

use super::super::output::{self, Format};
use super::super::{Exit, Globals};
use super::client::Refusal;
use super::{Client, Named, ServiceOptions, table};

/// Arguments of a command about one pipeline.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The pipeline: `NAME`, or `TENANT/NAME`
    pipeline: String,
    /// How long to wait until it is done
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    wait: Duration,
    #[command(flatten)]
    service: ServiceOptions,
}

/// Arguments of `dirigo stop`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The pipeline keeps its state, and resumes there once it is started again, also after a restart of the service. What its sources have read goes to \
its end within `--drain`; what has not by then is in its last checkpoint.")]
pub(crate) struct StopArgs {
    /// How long it may drain before it is stopped
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = humantime::parse_duration)]
    drain: Duration,
    #[command(flatten)]
    of: Args,
}

/// Arguments of `dirigo rollback`.
#[derive(Debug, clap::Args)]
pub(crate) struct RollbackArgs {
    /// The version that is to run again; by default the one before the present one
    #[arg(long, value_name = "VERSION")]
    to: Option<u64>,
    #[command(flatten)]
    of: Args,
}

pub(crate) fn start(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let (client, named) = found(args)?;
    client.ask::<Pipeline>(&named.path("/start"))?;
    conclude(&client, &named, args, globals)
}

pub(crate) fn stop(args: &StopArgs, globals: &Globals) -> anyhow::Result<Exit> {
    let (client, named) = found(&args.of)?;
    client.ask::<Pipeline>(&named.path(&format!("/stop?drain={}ms", args.drain.as_millis())))?;
    conclude(&client, &named, &args.of, globals)
}

pub(crate) fn rollback(args: &RollbackArgs, globals: &Globals) -> anyhow::Result<Exit> {
    let (client, named) = found(&args.of)?;
    let to = args.to.map(|version| format!("?to={version}")).unwrap_or_default();
    client.ask::<Pipeline>(&named.path(&format!("/rollback{to}")))?;
    conclude(&client, &named, &args.of, globals)
}

pub(crate) fn delete(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let (client, named) = found(args)?;
    client.delete(&named.path(""))?;
    let gone = match client.settled(&named, args.wait) {
        Ok(details) => Err(details),
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => return Err(error),
    };
    let Named { tenant, name } = &named;
    match (gone, globals.format) {
        (Ok(()), Format::Text) => output::print(&format!("pipeline `{name}` of tenant `{tenant}` is deleted\n"))?,
        (Ok(()), Format::Json) => {}
        (Err(details), _) => {
            let reason = details
                .pipeline
                .reason
                .unwrap_or_else(|| details.pipeline.state.word().to_owned());
            output::say(&format!(
                "error: pipeline `{name}` of tenant `{tenant}` is not gone yet: {reason}"
            ));
            return Ok(Exit::Failure);
        }
    }
    Ok(Exit::Success)
}

fn is_gone(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<Refusal>()
        .is_some_and(|refusal| refusal.status.as_u16() == 404)
}

pub(crate) fn versions(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let (client, named) = found(args)?;
    let versions: Vec<Version> = client.get(&named.path("/versions"))?;
    if globals.format == Format::Json {
        output::print_json(&versions)?;
        return Ok(Exit::Success);
    }
    let row = |version: &Version| {
        let at = Duration::from_millis(u64::try_from(version.deployed_ms).unwrap_or_default());
        vec![
            version.version.to_string(),
            humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + at).to_string(),
            version.by.clone(),
            if version.is_current { "current" } else { "" }.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = versions.iter().map(row).collect();
    table::print(&["VERSION", "DEPLOYED", "BY", ""], &rows, &[0])?;
    Ok(Exit::Success)
}

fn found(args: &Args) -> anyhow::Result<(Client, Named)> {
    let client = Client::new(&args.service)?;
    let named = client.find(&args.pipeline)?;
    Ok((client, named))
}

/// Waits until a pipeline has done what it was asked to, and says what it does now.
fn conclude(client: &Client, named: &Named, args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let details = client.settled(named, args.wait)?;
    let pipeline = &details.pipeline;
    if globals.format == Format::Json {
        output::print_json(&details)?;
    } else {
        let reason = pipeline
            .reason
            .as_ref()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        output::print(&format!(
            "pipeline `{}` of tenant `{}`, version {}: {}{reason}\n",
            pipeline.name,
            pipeline.tenant,
            pipeline.version,
            pipeline.state.word()
        ))?;
    }
    let is_done = pipeline.state != State::Failed && !pipeline.state.is_passing();
    Ok(if is_done { Exit::Success } else { Exit::Failure })
}
