//! What the tenants of pipelines that run side by side may use: as the tenants file says, or as the pipeline files do.

use std::collections::BTreeMap;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::loaded::texts;
use super::model::{Budget, Pipeline};
use super::tenants::Tenants;

/// The budget of each tenant of `pipelines`. A tenants file overrules what pipeline files say: those are their tenants'.
///
/// # Errors
/// When a tenant is not in the tenants file, or has more sources or sinks than it grants, or pipeline files state different budgets for one.
pub fn budgets<'a>(
    pipelines: impl Iterator<Item = &'a Pipeline>,
    tenants: Option<&Tenants>,
) -> Result<BTreeMap<String, Budget>, Diagnostics> {
    let Some(tenants) = tenants else {
        return stated(pipelines);
    };
    let pipelines: Vec<&Pipeline> = pipelines.collect();
    count_ends(&pipelines, tenants)?;
    granted(pipelines.into_iter(), tenants)
}

/// Refuses a tenant's pipelines that have more sources or sinks than it may.
fn count_ends(pipelines: &[&Pipeline], tenants: &Tenants) -> Result<(), Diagnostics> {
    let mut counts: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for pipeline in pipelines {
        let [sources, sinks] = counts.entry(&pipeline.tenant).or_default();
        *sources += pipeline.sources.len();
        *sinks += pipeline.sinks.len();
        let (tenant, file) = (&pipeline.tenant, tenants.file().display());
        let granted = tenants.ends(tenant).unwrap_or_default();
        for (what, found, most) in [("sources", *sources, granted[0]), ("sinks", *sinks, granted[1])] {
            if found > most as usize {
                let problem = Diagnostic::error(format!(
                    "the pipelines of tenant `{tenant}` have {found} {what}, and it may have {most}"
                ));
                let problem = problem.help(format!(
                    "the operator of the host raises it with `{what} = …` in {file}"
                ));
                return Err(Diagnostics::of_one(texts(&pipeline.file, "", &[]), problem));
            }
        }
    }
    Ok(())
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
