//! Pipelines that run side by side: each has a name and files of its own, and its tenant's budget has room for it.
//!
//! Owns what one pipeline file alone cannot show. That the items of one file do not get in each other's way is found when
//! it is loaded. Of two that exclude each other the one that comes later is refused, so who runs follows from the order in
//! which they are named.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::budgets::{Budgets, Share};
use super::diagnostic::{Diagnostic, Diagnostics, Problems};
use super::loaded::SpanIndex;
use super::model::{Budget, ComponentRef, Pipeline};
use super::paths::{Access, Claim, Claims, Noted};
use super::tenants::Tenants;
use dirigo_connect::Files;

/// The pipelines that have been admitted to one process.
#[derive(Debug)]
pub struct SideBySide {
    /// By name, what each has.
    admitted: BTreeMap<String, Holding>,
    claims: Claims,
    budgets: Budgets,
    names: Names,
}

/// Which pipelines of one process need names of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// All.
    OfProcess,
    /// Those of one tenant.
    OfTenant,
}

/// What a pipeline has while it is there.
#[derive(Debug)]
struct Holding {
    uses: Vec<Noted>,
    share: Share,
}

/// A pipeline that has its place next to those that were admitted before it.
#[derive(Debug)]
pub struct Place {
    name: String,
    uses: Vec<Claim>,
    share: Share,
}

impl Names {
    /// What tells a pipeline from the others.
    fn name_of(self, pipeline: &Pipeline) -> String {
        match self {
            Self::OfProcess => pipeline.name.clone(),
            Self::OfTenant => format!("{}/{}", pipeline.tenant, pipeline.name),
        }
    }
}

impl SideBySide {
    /// Without any pipeline yet. A tenants file overrules what pipeline files say of budgets: those are their tenants'.
    #[must_use]
    pub fn new(tenants: Option<Arc<Tenants>>, names: Names) -> Self {
        Self {
            admitted: BTreeMap::new(),
            claims: Claims::default(),
            budgets: Budgets::new(tenants),
            names,
        }
    }

    /// The place of a pipeline whose dead letters go to this file. It is not taken before [`admit`](Self::admit).
    ///
    /// # Errors
    /// With what of the pipelines that were admitted is in its way: their names, their files, or what their tenant may have.
    pub fn place(
        &self,
        pipeline: &Pipeline,
        dead_letters: &Path,
        span_index: &SpanIndex,
    ) -> Result<Place, Box<Diagnostics>> {
        let mut problems = Problems::default();
        let uses = uses(pipeline, dead_letters, span_index);
        let name = self.names.name_of(pipeline);
        if self.admitted.contains_key(&name) {
            // Where they go by one name their dead letters go to one file too: that is said by now.
            let problem = Diagnostic::error(format!("two pipelines are named `{}`", pipeline.name));
            let problem = problem.help("give each pipeline of a run a name of its own");
            problems.push(problem.at_if(span_index.place("", "pipeline.name"), "the name of an earlier one"));
        } else {
            let mut own = Claims::default();
            for claim in &uses {
                own.add(claim, &mut problems);
                self.claims.report(claim, &mut problems);
            }
        }
        let share = self.budgets.share(pipeline, span_index, &mut problems);
        if problems.has_errors() {
            return Err(Box::new(problems.into_diagnostics(span_index.texts().clone())));
        }
        Ok(Place { name, uses, share })
    }

    /// Gives a pipeline the place that it was found to have.
    pub fn admit(&mut self, place: Place) {
        let Place { name, uses, share } = place;
        // What stands in its file is no place in those of the ones that follow.
        let uses = uses.into_iter().map(|claim| Claim { place: None, ..claim });
        let uses = uses.map(|claim| self.claims.note(&claim)).collect();
        self.budgets.take(&share);
        self.admitted.insert(name, Holding { uses, share });
    }

    /// Takes a pipeline out that was admitted: its name and its files are free again.
    pub fn leave(&mut self, pipeline: &Pipeline) {
        let Some(left) = self.admitted.remove(&self.names.name_of(pipeline)) else {
            return;
        };
        let account = left.share.account();
        let is_last = self.admitted.values().all(|held| held.share.account() != account);
        self.budgets.give_back(&left.share, is_last);
        left.uses.iter().for_each(|noted| self.claims.forget(noted));
    }

    /// What each tenant may use whose pipelines were admitted, as far as that is said.
    #[must_use]
    pub fn budgets(&self) -> BTreeMap<String, Budget> {
        self.budgets.by_tenant()
    }
}

/// The files that a pipeline reads and writes.
fn uses(pipeline: &Pipeline, dead_letters: &Path, span_index: &SpanIndex) -> Vec<Claim> {
    let claim = |path: &Path, who: String, access, place| Claim {
        path: path.to_owned(),
        names: None,
        who: format!("{who} of pipeline `{}`", pipeline.name),
        access,
        place,
        is_default: false,
    };
    let claim_files = |files: Files, what: &str, id: &str, access| {
        let (who, place) = (format!("{what} `{id}`"), span_index.place(id, "path"));
        match files {
            Files::One(path) => claim(&path, who, access, place),
            Files::Matching(pattern) => Claim {
                names: Some(pattern.clone()),
                ..claim(&pattern.folder, who, access, place)
            },
        }
    };
    let mut uses = vec![claim(&pipeline.file, "the file".to_owned(), Access::Reads, None)];
    for source in &pipeline.sources {
        let claims = source.spec.files().into_iter();
        uses.extend(claims.map(|files| claim_files(files, "source", &source.id, Access::Reads)));
    }
    for operator in &pipeline.operators {
        if let ComponentRef::File(path) = &operator.component {
            let who = format!("the component of operator `{}`", operator.id);
            uses.push(claim(
                path,
                who,
                Access::Reads,
                span_index.place(&operator.id, "component"),
            ));
        }
    }
    for sink in &pipeline.sinks {
        let claims = sink.spec.files().into_iter();
        uses.extend(claims.map(|files| claim_files(files, "sink", &sink.id, Access::Writes)));
    }
    uses.push(Claim {
        is_default: pipeline.dead_letters.is_none(),
        ..claim(
            dead_letters,
            "the dead letters".to_owned(),
            Access::Writes,
            span_index.place("", "dead_letters.path"),
        )
    });
    uses
}
