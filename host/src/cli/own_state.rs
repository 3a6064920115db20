//! Whose state a command works on.

use anyhow::Context as _;
use dirigo::pipeline::Pipeline;
use dirigo::runtime::{Prepared, StateLocation, compatibility};

use super::setup::CommandContext;
use super::{Globals, report};

/// Whether the state of a pipeline belongs to the pipeline's tenant, where there are tenants: the file of one tenant must not
/// resume or discard what a pipeline of the same name has left that is another tenant's. If it does not, that has been reported.
///
/// # Errors
/// If the state cannot be read, unless it is to be discarded.
pub(super) fn is_of_tenant(
    setup: &CommandContext,
    prepared: &Prepared,
    location: &StateLocation,
    globals: &Globals,
) -> anyhow::Result<bool> {
    if setup.tenants.is_none() {
        return Ok(true);
    }
    let Pipeline { name, tenant, .. } = &prepared.pipeline;
    let owner = match compatibility::tenant(location) {
        // To discard what cannot be read is what `--fresh` is for.
        Err(_) if matches!(location, StateLocation::Directory { fresh: true, .. }) => None,
        owner => owner.with_context(|| format!("pipeline `{name}`"))?,
    };
    let Some(owner) = owner.filter(|owner| owner != tenant) else {
        return Ok(true);
    };
    let message = format!("the state of pipeline `{name}` is of tenant `{owner}`, and this one of `{tenant}`");
    let help = Some("give the pipeline another name");
    report::diagnostics(
        &prepared.span_index.error_at("", "", &message, "", help),
        globals.format,
    )?;
    Ok(false)
}
