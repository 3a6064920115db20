//! `dirigo schema`.

use super::{Exit, output};

pub(crate) fn execute() -> anyhow::Result<Exit> {
    output::print_json(&dirigo::pipeline::schema(&dirigo::connectors::builtin()))?;
    Ok(Exit::Success)
}
