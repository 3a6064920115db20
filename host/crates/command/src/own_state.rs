//! Whose state a command works on.

use dirigo_pipeline::Pipeline;
use dirigo_runtime::{Prepared, StateLocation, compatibility};

use super::refusal::Refusal;

/// Refuses a pipeline whose state is another tenant's, where there are tenants: the file of one tenant must not resume or discard what
/// a pipeline of the same name has left that is another's.
///
/// # Errors
/// If it is, or if the state cannot be read, unless it is to be discarded.
pub fn expect_of_tenant(has_tenants: bool, prepared: &Prepared, location: &StateLocation) -> Result<(), Refusal> {
    if !has_tenants {
        return Ok(());
    }
    let Pipeline { name, tenant, .. } = &prepared.pipeline;
    let owner = match compatibility::tenant(location) {
        // To discard what cannot be read is what `--fresh` is for.
        Err(_) if matches!(location, StateLocation::Directory { fresh: true, .. }) => None,
        owner => owner.map_err(|error| Refusal::of(name, &prepared.span_index, &error.into()))?,
    };
    let Some(owner) = owner.filter(|owner| owner != tenant) else {
        return Ok(());
    };
    let message = format!("the state of pipeline `{name}` is of tenant `{owner}`, and this one of `{tenant}`");
    let help = Some("give the pipeline another name");
    let label = "state of that name is there";
    Err(prepared
        .span_index
        .error_at("", "pipeline.name", &message, label, help)
        .into())
}
