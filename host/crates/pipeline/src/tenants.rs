//! The tenants file: what the operator of a host grants to each tenant, whatever pipeline files say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Diagnostics, Problems};
use super::model::Budget;
use super::name::Name;
use super::section::Read as _;
use super::span::Span;
use super::validate::list;
use super::{budget, document, loaded, raw};

/// What tenants may use.
#[derive(Clone, Debug)]
pub struct Tenants {
    file: PathBuf,
    by_name: BTreeMap<String, Budget>,
    default: Option<Budget>,
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
        self.by_name.get(tenant).copied().or(self.default)
    }

    /// The file that it was read from.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }
}

fn read(text: &str, file: &Path, problems: &mut Problems) -> Option<Tenants> {
    let root = document::parse(text, problems)?;
    let raw = raw::Tenants::read(&root, problems)?;
    let mut by_name = BTreeMap::new();
    let mut places: BTreeMap<String, Span> = BTreeMap::new();
    for at in list(&raw.tenant) {
        let tenant = &at.value;
        let budget = budget::budget(tenant, problems);
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
        by_name.insert(text.clone(), budget);
    }
    let default = raw.default.given().map(|at| budget::of_others(&at.value, problems));
    Some(Tenants {
        file: file.to_owned(),
        by_name,
        default,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Tenants, Diagnostics> {
        Tenants::parse(text, Path::new("tenants.toml"))
    }

    #[test]
    fn a_tenant_gets_its_own_budget_and_others_the_default() {
        let tenants =
            parse("[[tenant]]\nname = \"acme\"\nweight = 4\nmemory = \"64MiB\"\n[default]\nfuel_per_second = 1000\n")
                .unwrap();
        let acme = Budget {
            weight: 4,
            memory: Some(64 << 20),
            ..Budget::default()
        };
        let other = Budget {
            fuel_per_second: Some(1000),
            ..Budget::default()
        };
        assert_eq!((tenants.budget("acme"), tenants.budget("x")), (Some(acme), Some(other)));
    }

    #[test]
    fn without_a_default_others_get_nothing() {
        let tenants = parse("[[tenant]]\nname = \"acme\"\n").unwrap();
        assert_eq!(tenants.budget("acme"), Some(Budget::default()));
        assert_eq!(tenants.budget("x"), None);
    }

    #[test]
    fn all_that_is_wrong_is_said_with_its_place() {
        let text = "[[tenant]]\nname = \"a\"\nweight = 0\nmemry = \"1GiB\"\n[[tenant]]\nname = \"a\"\n[[tenant]]\nmemory = \"4KiB\"\n[default]\nname = \"x\"\n";
        let said = parse(text).unwrap_err().to_string();
        for part in [
            "did you mean `memory`?",
            "tenant `a` is listed twice",
            "the tenant has no `name`",
            "`memory` is too little for a tenant",
            "`[default]` names no tenant",
            "tenants.toml:3",
        ] {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
    }
}
