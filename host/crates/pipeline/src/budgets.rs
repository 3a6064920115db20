//! What the tenants of pipelines that run side by side may use: as the tenants file says, or as the pipeline files do.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Problems};
use super::loaded::SpanIndex;
use super::model::{Budget, Pipeline};
use super::tenants::Tenants;

/// What the tenants of the pipelines so far may use, and have.
#[derive(Debug)]
pub(super) struct Budgets {
    tenants: Option<Arc<Tenants>>,
    by_account: BTreeMap<String, Used>,
}

/// A tenant.
#[derive(Clone, Debug, Default)]
struct Used {
    sources: usize,
    sinks: usize,
    /// What it may use, and the first pipeline that says so; `None` where nothing does.
    budget: Option<(Budget, String)>,
}

/// What a pipeline has of its tenant's.
#[derive(Debug)]
pub(super) struct Share {
    account: String,
    sources: usize,
    sinks: usize,
    /// What its tenant may use, where that is said, and the pipeline that says so.
    budget: Option<(Budget, String)>,
}

impl Budgets {
    pub(super) fn new(tenants: Option<Arc<Tenants>>) -> Self {
        Self {
            tenants,
            by_account: BTreeMap::new(),
        }
    }

    /// What the tenant of a pipeline has with it; reports what of that it may not have.
    pub(super) fn share(&self, pipeline: &Pipeline, span_index: &SpanIndex, problems: &mut Problems) -> Share {
        let account = &pipeline.account;
        let mut used = self.by_account.get(account).cloned().unwrap_or_default();
        used.sources += pipeline.sources.len();
        used.sinks += pipeline.sinks.len();
        match &self.tenants {
            Some(tenants) => granted(&mut used, pipeline, tenants, problems),
            None => stated(&mut used, pipeline, span_index, problems),
        }
        Share {
            account: account.clone(),
            sources: pipeline.sources.len(),
            sinks: pipeline.sinks.len(),
            budget: used.budget,
        }
    }

    pub(super) fn take(&mut self, share: &Share) {
        let used = self.by_account.entry(share.account.clone()).or_default();
        used.sources += share.sources;
        used.sinks += share.sinks;
        if used.budget.is_none() {
            used.budget.clone_from(&share.budget);
        }
    }

    /// Gives back what a pipeline had. What its tenant may use stays as it was said while another pipeline of the tenant is there.
    pub(super) fn give_back(&mut self, share: &Share, is_last_of_account: bool) {
        if is_last_of_account {
            self.by_account.remove(&share.account);
        } else if let Some(used) = self.by_account.get_mut(&share.account) {
            used.sources -= share.sources;
            used.sinks -= share.sinks;
        }
    }

    pub(super) fn by_tenant(&self) -> BTreeMap<String, Budget> {
        let stated = self.by_account.iter();
        let budget = |(tenant, used): (&String, &Used)| Some((tenant.clone(), used.budget.as_ref()?.0));
        stated.filter_map(budget).collect()
    }
}

impl Share {
    /// Whose it is.
    pub(super) fn account(&self) -> &str {
        &self.account
    }
}

/// The tenants file says it.
fn granted(used: &mut Used, pipeline: &Pipeline, tenants: &Tenants, problems: &mut Problems) {
    let Pipeline {
        name, tenant, account, ..
    } = pipeline;
    let file = tenants.file().display();
    let Some(budget) = tenants.budget(account) else {
        let problem = format!("pipeline `{name}` is of tenant `{tenant}`, which {file} does not list");
        let help = "add a `[[tenant]]` with this name, or a `[default]` for all others";
        problems.push(Diagnostic::error(problem).help(help));
        return;
    };
    used.budget.get_or_insert_with(|| (budget, name.clone()));
    let granted = tenants.ends(account).unwrap_or_default();
    for (what, found, most) in [("sources", used.sources, granted[0]), ("sinks", used.sinks, granted[1])] {
        if found > most as usize {
            let problem = format!("the pipelines of tenant `{tenant}` have {found} {what}, and it may have {most}");
            let shared = if account == tenant {
                ""
            } else {
                "all files that no tenant lists have the budget of `[default]` together; "
            };
            let help = format!("{shared}the operator of the host raises it with `{what} = …` in {file}");
            problems.push(Diagnostic::error(problem).help(help));
        }
    }
}

/// The pipeline files say it, and do not contradict each other.
fn stated(used: &mut Used, pipeline: &Pipeline, span_index: &SpanIndex, problems: &mut Problems) {
    let Some(budget) = pipeline.budget else { return };
    let (tenant, name) = (&pipeline.tenant, &pipeline.name);
    let (known, first) = used.budget.get_or_insert_with(|| (budget, name.clone()));
    if *known != budget {
        let problem = format!("pipelines `{first}` and `{name}` state different budgets for tenant `{tenant}`");
        let problem = Diagnostic::error(problem).help(
            "make their `[tenant]` the same, leave it out of one, or give both in a tenants file with `--tenants`",
        );
        problems.push(problem.at_if(span_index.place("", "tenant"), "another budget"));
    }
}
