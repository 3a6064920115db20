//! What the tenants of a run may use: as the tenants file says, or as the pipeline files do.

use std::collections::BTreeMap;
use std::path::Path;

use dirigo::pipeline::{Budget, Diagnostics, Pipeline, Tenants};

/// Why the budgets of a run are none.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The tenants file is wrong.
    File(Box<Diagnostics>),
    /// It does not fit the pipelines, or they do not fit each other.
    Misfit(String),
}

/// The budget of each tenant of `pipelines`. A tenants file overrules what pipeline files say: those are their tenants'.
pub(crate) fn resolve<'a>(
    pipelines: impl Iterator<Item = &'a Pipeline>,
    tenants_file: Option<&Path>,
) -> Result<BTreeMap<String, Budget>, Refused> {
    let tenants = tenants_file.map(Tenants::load).transpose();
    let tenants = tenants.map_err(|found| Refused::File(Box::new(found)))?;
    match tenants {
        Some(tenants) => granted(pipelines, &tenants),
        None => stated(pipelines),
    }
}

fn granted<'a>(
    pipelines: impl Iterator<Item = &'a Pipeline>,
    tenants: &Tenants,
) -> Result<BTreeMap<String, Budget>, Refused> {
    let budget = |pipeline: &Pipeline| {
        let (name, tenant) = (&pipeline.name, &pipeline.tenant);
        let budget = tenants.budget(tenant).ok_or_else(|| {
            let file = tenants.file().display();
            Refused::Misfit(format!(
                "pipeline `{name}` is of tenant `{tenant}`, which {file} does not list; add a `[[tenant]]` with this name, \
                 or a `[default]` for all others"
            ))
        })?;
        Ok((tenant.clone(), budget))
    };
    pipelines.map(budget).collect()
}

fn stated<'a>(pipelines: impl Iterator<Item = &'a Pipeline>) -> Result<BTreeMap<String, Budget>, Refused> {
    let mut budgets: BTreeMap<String, (Budget, &str)> = BTreeMap::new();
    for pipeline in pipelines {
        let Some(budget) = pipeline.budget else { continue };
        let (tenant, name) = (&pipeline.tenant, pipeline.name.as_str());
        let (known, first) = *budgets.entry(tenant.clone()).or_insert((budget, name));
        if known != budget {
            return Err(Refused::Misfit(format!(
                "pipelines `{first}` and `{name}` state different budgets for tenant `{tenant}`; make their `[tenant]` the \
                 same, leave it out of one, or give both in a file with `--tenants`"
            )));
        }
    }
    Ok(budgets
        .into_iter()
        .map(|(tenant, (budget, _))| (tenant, budget))
        .collect())
}
