//! The tenants file: what the operator of a host grants to each tenant, whatever pipeline files say.
//!
//! Owns whose a pipeline file is: that of the tenant whose `pipelines` name it. What a file of a tenant may do is its
//! [`Admission`].

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dirigo_disk::{FileAccess, HostDirectories};

use super::admission::{Admission, Tenancy};
use super::diagnostic::{Diagnostic, Diagnostics, Problems};
use super::grant::{self, Grant};
use super::loaded::texts;
use super::model::Budget;
use super::name::Name;
use super::section::Read as _;
use super::span::Span;
use super::validate::list;
use super::{document, loaded, raw};

/// What tenants may use.
#[derive(Clone, Debug)]
pub struct Tenants {
    file: PathBuf,
    by_name: BTreeMap<String, Grant>,
    default: Option<Grant>,
}

impl Tenants {
    /// Reads a tenants file.
    ///
    /// # Errors
    /// When it cannot be read, or with everything in it that is wrong.
    pub fn load(file: &Path) -> Result<Self, Diagnostics> {
        let text = loaded::read_text(file, "tenants file", &[])?;
        Self::parse(&text, file)
    }

    /// Validates the text of a tenants file that is, or would be, at `file`.
    ///
    /// # Errors
    /// With everything in it that is wrong.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Diagnostics> {
        let texts = loaded::texts(file, text, &[]);
        let mut problems = Problems::default();
        let tenants = read(&texts.text, file, &mut problems);
        match tenants {
            Some(tenants) if !problems.has_errors() => Ok(tenants),
            _ => Err(problems.into_diagnostics(texts)),
        }
    }

    /// What a tenant may use; `None` for one that is not listed, where nothing is said of such.
    #[must_use]
    pub fn budget(&self, tenant: &str) -> Option<Budget> {
        self.grant(tenant).map(|grant| grant.budget)
    }

    /// How many sources and sinks the pipelines of a tenant may have together.
    pub(super) fn ends(&self, tenant: &str) -> Option<[u32; 2]> {
        self.grant(tenant).map(|grant| [grant.sources, grant.sinks])
    }

    /// The tenant that is listed with a pipeline file.
    #[must_use]
    pub fn owner(&self, file: &Path) -> Option<&str> {
        self.tenant_of(file).map(|(name, _)| name)
    }

    /// The file that it was read from.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What the pipeline file at `file` may do on a host with these directories of its own.
    ///
    /// # Errors
    /// When it is listed nowhere and there is no `[default]`, or a folder that its tenant was granted cannot be opened.
    pub fn admit(&self, file: &Path, host: &HostDirectories) -> Result<Admission, Diagnostics> {
        let problem = |message: String, help: String| {
            let problem = Diagnostic::error(message).help(help);
            Diagnostics::of_one(texts(file, "", &[]), problem)
        };
        let tenant = self.tenant_of(file);
        let grant = match tenant {
            Some((_, grant)) => grant,
            None => self.default.as_ref().ok_or_else(|| {
                problem(
                    format!("no tenant in {} has this pipeline file", self.file.display()),
                    "name the file or its folder in the `pipelines` of its `[[tenant]]`, or add a `[default]` for all \
                     others"
                        .to_owned(),
                )
            })?,
        };
        let opened = grant.open(file).map_err(|(folder, error): (PathBuf, io::Error)| {
            problem(
                format!("cannot open {}, a folder of its tenant: {error}", folder.display()),
                format!("make it, or change `read` and `write` in {}", self.file.display()),
            )
        })?;
        Ok(Admission {
            access: Arc::new(FileAccess::granted(host.clone(), opened)),
            environment: grant.environment.clone(),
            caps: Some(grant.caps),
            tenancy: Some(Tenancy {
                file: self.file.clone(),
                tenant: tenant.map(|(name, _)| name.to_owned()),
                listed: self.by_name.keys().cloned().collect(),
            }),
        })
    }

    fn grant(&self, tenant: &str) -> Option<&Grant> {
        self.by_name.get(tenant).or(self.default.as_ref())
    }

    /// The tenant whose a pipeline file is: of those who name it, or a folder around it, the one that names it most closely.
    fn tenant_of(&self, file: &Path) -> Option<(&str, &Grant)> {
        let real = grant::real(file);
        let named = self
            .by_name
            .iter()
            .flat_map(|(name, grant)| grant.pipelines.iter().map(move |path| (path, name, grant)));
        let around = named.filter(|(path, ..)| real.starts_with(path));
        around
            .max_by_key(|(path, ..)| path.components().count())
            .map(|(_, name, grant)| (name.as_str(), grant))
    }
}

fn read(text: &str, file: &Path, problems: &mut Problems) -> Option<Tenants> {
    let root = document::parse(text, problems)?;
    let raw = raw::Tenants::read(&root, problems)?;
    let mut by_name = BTreeMap::new();
    let mut places: BTreeMap<String, Span> = BTreeMap::new();
    let mut claimed: BTreeMap<PathBuf, Span> = BTreeMap::new();
    for at in list(&raw.tenant) {
        let tenant = &at.value;
        let grant = Grant::of_tenant(tenant, file, &mut claimed, problems);
        let Some(name) = tenant
            .name
            .required("name", "\"acme\"", tenant.place, "the tenant", problems)
        else {
            continue;
        };
        let Name(text) = &name.value;
        if let Some(first) = places.insert(text.clone(), name.place) {
            let problem = Diagnostic::error(format!("tenant `{text}` is listed twice")).at(name.place, "again here");
            problems.push(problem.also(first, "first here"));
        }
        by_name.insert(text.clone(), grant);
    }
    let default = raw
        .default
        .given()
        .map(|at| Grant::of_others(&at.value, file, problems));
    Some(Tenants {
        file: file.to_owned(),
        by_name,
        default,
    })
}

#[cfg(test)]
mod tests;
