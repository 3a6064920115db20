//! What the tenants of pipelines that run side by side may use: as the tenants file says, or as the pipeline files do.

use std::collections::BTreeMap;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::loaded::texts;
use super::model::{Budget, Pipeline};
use super::tenants::Tenants;

/// The budget of each tenant of `pipelines`. A tenants file overrules what pipeline files say: those are their tenants'.
///
/// # Errors
/// When a tenant is not in the tenants file, or pipeline files state different budgets for one.
pub fn budgets<'a>(
    pipelines: impl Iterator<Item = &'a Pipeline>,
    tenants: Option<&Tenants>,
) -> Result<BTreeMap<String, Budget>, Diagnostics> {
    match tenants {
        Some(tenants) => granted(pipelines, tenants),
        None => stated(pipelines),
    }
}

fn granted<'a>(
    pipelines: impl Iterator<Item = &'a Pipeline>,
    tenants: &Tenants,
) -> Result<BTreeMap<String, Budget>, Diagnostics> {
    let budget = |pipeline: &Pipeline| {
        let (name, tenant) = (&pipeline.name, &pipeline.tenant);
        let budget = tenants.budget(tenant).ok_or_else(|| {
            let file = tenants.file().display();
            let problem = Diagnostic::error(format!(
                "pipeline `{name}` is of tenant `{tenant}`, which {file} does not list"
            ));
            let problem = problem.help("add a `[[tenant]]` with this name, or a `[default]` for all others");
            Diagnostics::of_one(texts(&pipeline.file, "", &[]), problem)
        })?;
        Ok((tenant.clone(), budget))
    };
    pipelines.map(budget).collect()
}

fn stated<'a>(pipelines: impl Iterator<Item = &'a Pipeline>) -> Result<BTreeMap<String, Budget>, Diagnostics> {
    let mut budgets: BTreeMap<String, (Budget, &str)> = BTreeMap::new();
    for pipeline in pipelines {
        let Some(budget) = pipeline.budget else { continue };
        let (tenant, name) = (&pipeline.tenant, pipeline.name.as_str());
        let (known, first) = *budgets.entry(tenant.clone()).or_insert((budget, name));
        if known != budget {
            let problem = Diagnostic::error(format!(
                "pipelines `{first}` and `{name}` state different budgets for tenant `{tenant}`"
            ));
            let problem = problem.help(
                "make their `[tenant]` the same, leave it out of one, or give both in a tenants file with `--tenants`",
            );
            return Err(Diagnostics::of_one(texts(&pipeline.file, "", &[]), problem));
        }
    }
    Ok(budgets
        .into_iter()
        .map(|(tenant, (budget, _))| (tenant, budget))
        .collect())
}
