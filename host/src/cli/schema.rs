//! `dirigo schema`.

use std::io::Write as _;

use super::{Exit, output};

/// Arguments of `dirigo schema`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the reference of the pipeline file, a page of Markdown for people, in place of the schema
    #[arg(long)]
    reference: bool,
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<Exit> {
    let connectors = dirigo_command::pipeline_files::connectors();
    if args.reference {
        std::io::stdout().write_all(dirigo::pipeline::reference(&connectors).as_bytes())?;
    } else {
        output::print_json(&dirigo::pipeline::schema(&connectors))?;
    }
    Ok(Exit::Success)
}
