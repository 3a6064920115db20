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
use super::grant::{self, Grant, Own};
use super::loaded::{OpenedFile, texts};
use super::mistaken::Wanted;
use super::model::Budget;
use super::name::Name;
use super::section::Read as _;
use super::span::Span;
use super::token::{self, Token};
use super::validate::{list, outside};
use super::{document, loaded, raw};

/// What tenants may use.
#[derive(Clone, Debug)]
pub struct Tenants {
    file: PathBuf,
    by_name: BTreeMap<String, Grant>,
    default: Option<Grant>,
    tokens: Vec<Token>,
}

impl Tenants {
    /// Reads a tenants file.
    ///
    /// # Errors
    /// When it cannot be read, or with everything in it that is wrong.
    pub fn load(file: &Path) -> Result<Self, Diagnostics> {
        let text = OpenedFile::open_as(file, Wanted::Tenants, &[])?.read(Wanted::Tenants, &[])?;
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
        self.tenant_of(&grant::real(file)).map(|(name, _)| name)
    }

    /// The file that it was read from.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What a pipeline file may do on a host with these directories of its own.
    ///
    /// # Errors
    /// When it is listed nowhere and there is no `[default]`, or a folder that its tenant was granted cannot be opened.
    pub fn admit(&self, file: &OpenedFile, host: &HostDirectories) -> Result<Admission, Diagnostics> {
        let tenant = self.tenant_of(file.real());
        let grant = tenant.map(|(_, grant)| grant).or(self.default.as_ref());
        let Some(grant) = grant else {
            return Err(refused(
                file.path(),
                format!("no tenant in {} has this pipeline file", self.file.display()),
                "name the file or its folder in the `pipelines` of its `[[tenant]]`, or add a `[default]` for all others"
                    .to_owned(),
            ));
        };
        let own = folder_of(file.real()).to_owned();
        self.admission(
            tenant.map(|(name, _)| name),
            grant,
            &[own],
            file.path(),
            host,
            Own::Default,
        )
    }

    /// What a pipeline may do that was sent on behalf of a tenant which is listed: what its files may, in the folders that it was granted
    /// and in `folder`, which the host keeps for it and which has no symbolic links in its path.
    ///
    /// # Errors
    /// When the tenant is not listed, or a folder cannot be opened.
    pub fn admit_sent(
        &self,
        tenant: &str,
        called: &Path,
        folder: &Path,
        host: &HostDirectories,
    ) -> Result<Admission, Diagnostics> {
        let Some((name, grant)) = self.by_name.get_key_value(tenant) else {
            let message = format!("{} has no tenant `{tenant}`", self.file.display());
            let help = "the operator of the host adds a `[[tenant]]` with this name";
            return Err(refused(called, message, help.to_owned()));
        };
        let own = [folder.to_owned()];
        self.admission(Some(name), grant, &own, called, host, Own::Besides)
    }

    /// Who may use the service.
    #[must_use]
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// The tenants that are listed.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// What a dead letter in the file at `letters` may do when it is run again: as much as the pipelines of its tenant, which is
    /// the one that is named, or else the one in whose folders the file is.
    ///
    /// # Errors
    /// When there is no such tenant, or a folder that it was granted cannot be opened.
    pub fn admit_letters(
        &self,
        letters: &Path,
        named: Option<&str>,
        host: &HostDirectories,
    ) -> Result<Admission, Diagnostics> {
        let real = grant::real(letters);
        let tenant = match named {
            Some(name) => self
                .by_name
                .get_key_value(name)
                .map(|(name, grant)| (name.as_str(), grant)),
            None => self.tenant_around(&real, Grant::folders),
        };
        let Some(grant) = tenant.map(|(_, grant)| grant).or(self.default.as_ref()) else {
            let file = self.file.display();
            let (message, help) = match named {
                Some(name) => (
                    format!("{file} has no tenant `{name}`"),
                    "name one of those that it lists".to_owned(),
                ),
                None => (
                    format!("no tenant in {file} has a folder with these dead letters"),
                    "say with `--tenant NAME` whose they are".to_owned(),
                ),
            };
            return Err(refused(letters, message, help));
        };
        let of_pipelines = || grant.pipelines.iter().map(|path| folder_around(path).to_owned());
        let own: Vec<PathBuf> = match tenant {
            Some(_) => of_pipelines().collect(),
            None => vec![folder_of(&real).to_owned()],
        };
        self.admission(tenant.map(|(name, _)| name), grant, &own, letters, host, Own::Default)
    }

    /// What a file of a tenant may do whose own folders are `own`.
    fn admission(
        &self,
        tenant: Option<&str>,
        grant: &Grant,
        own: &[PathBuf],
        file: &Path,
        host: &HostDirectories,
        when: Own,
    ) -> Result<Admission, Diagnostics> {
        let opened = grant.open(own, when).map_err(|(folder, error): (PathBuf, io::Error)| {
            refused(
                file,
                format!("cannot open {}, a folder of its tenant: {error}", folder.display()),
                format!("make it, or change `read` and `write` in {}", self.file.display()),
            )
        })?;
        Ok(Admission {
            access: Arc::new(FileAccess::granted(host.clone(), opened)),
            environment: grant.environment.clone(),
            listen: Some(grant.listen.clone()),
            private_receivers: Some(grant.private_receivers),
            connect: Some(grant.connect.clone()),
            caps: Some(grant.caps),
            tenancy: Some(Tenancy {
                file: self.file.clone(),
                tenant: tenant.map(str::to_owned),
                listed: self.by_name.keys().cloned().collect(),
            }),
        })
    }

    fn grant(&self, tenant: &str) -> Option<&Grant> {
        self.by_name.get(tenant).or(self.default.as_ref())
    }

    /// The tenant whose a pipeline file is: of those who name it, or a folder around it, the one that names it most closely.
    fn tenant_of(&self, real: &Path) -> Option<(&str, &Grant)> {
        self.tenant_around(real, |grant| grant.pipelines.clone())
    }

    /// The tenant with the innermost of `folders` around a path without symbolic links.
    fn tenant_around(&self, real: &Path, folders: impl Fn(&Grant) -> Vec<PathBuf>) -> Option<(&str, &Grant)> {
        let of_tenant = |(name, grant): (&'_ String, &'_ Grant)| {
            let around = folders(grant).into_iter().filter(|path| real.starts_with(path));
            around
                .map(|path| path.components().count())
                .max()
                .map(|depth| (depth, name.clone()))
        };
        let (_, name) = self
            .by_name
            .iter()
            .filter_map(of_tenant)
            .max_by_key(|(depth, _)| *depth)?;
        let (name, grant) = self.by_name.get_key_value(&name)?;
        Some((name.as_str(), grant))
    }
}

fn refused(file: &Path, message: String, help: String) -> Diagnostics {
    let problem = Diagnostic::error(message).help(help);
    Diagnostics::of_one(texts(file, "", &[]), problem)
}

/// The folder that a file is in.
fn folder_of(real: &Path) -> &Path {
    real.parent().unwrap_or(Path::new("/"))
}

/// A folder, or the one that a file is in.
fn folder_around(real: &Path) -> &Path {
    if real.is_dir() { real } else { folder_of(real) }
}

fn read(text: &str, file: &Path, problems: &mut Problems) -> Option<Tenants> {
    let mut unparsed = Problems::default();
    let Some(mut root) = document::parse(text, &mut unparsed) else {
        match Wanted::Tenants.data(text) {
            Some(mistake) => problems.push(mistake),
            None => *problems = unparsed,
        }
        return None;
    };
    if let Some(mistake) = Wanted::Tenants.other(&root) {
        problems.push(mistake);
        return None;
    }
    let environment = &|name: &str| std::env::var(name);
    outside(file, environment, &Admission::default()).fill_in(&mut root, problems);
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
    let tokens = token::tokens(&raw, &by_name, problems);
    Some(Tenants {
        tokens,
        file: file.to_owned(),
        by_name,
        default,
    })
}

#[cfg(test)]
mod tests;
