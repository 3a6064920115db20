//! What a pipeline file may do to the host that it is loaded on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dirigo_disk::{FileAccess, HostDirectories};
use dirigo_ground::limits::{CompileLimits, Limits};

use super::diagnostic::{Diagnostic, Problems};
use super::section::At;

/// What a pipeline file may open, look up and ask for, and whose it is.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// Which files it may open.
    pub access: Arc<FileAccess>,
    pub(super) environment: Variables,
    /// The addresses at which it may listen; `None` for all.
    pub(super) listen: Option<Vec<String>>,
    /// Whether it may send to addresses that are not public; `None` where nobody restricts that.
    pub(super) private_receivers: Option<bool>,
    /// The servers to which it may connect, each a host and a port; `None` for all.
    pub(super) connect: Option<Vec<String>>,
    pub(super) caps: Option<Caps>,
    /// `None` where the file says whose it is.
    pub(super) tenancy: Option<Tenancy>,
}

/// The most that an operator or a source of a tenant may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// How long it runs before another actor gets the worker.
    pub slice: Duration,
    /// Linear memory, in bytes.
    pub memory: u64,
    /// What is kept of one key, in bytes.
    pub state: u64,
    /// Fuel that one event may burn.
    pub fuel_per_event: u64,
    /// How long it may take to open, in ms.
    pub open_ms: u64,
    /// How much of what came before a source that decompresses zstd keeps at hand, in bytes.
    pub zstd_window: u64,
    /// What compiling one component may take.
    pub compiling: CompileLimits,
}

/// Whose a pipeline file is, by a tenants file.
#[derive(Clone, Debug)]
pub(super) struct Tenancy {
    /// The tenants file.
    pub(super) file: PathBuf,
    /// Its tenant; `None` where no tenant lists the file.
    pub(super) tenant: Option<String>,
    /// The tenants that are listed.
    pub(super) listed: Vec<String>,
}

/// The account of all files that no tenant lists. No tenant can be called so.
const UNLISTED: &str = "[default]";

impl Tenancy {
    /// Whose budget the file uses.
    pub(super) fn account(&self) -> &str {
        self.tenant.as_deref().unwrap_or(UNLISTED)
    }

    /// The tenant of a file that itself says `said`, or else is of `default`; or what is wrong with that: a message and a
    /// help.
    pub(super) fn tenant<'a>(&'a self, said: Option<&'a str>, default: &'a str) -> Result<&'a str, (String, String)> {
        let file = self.file.display();
        match (&self.tenant, said) {
            (Some(tenant), Some(said)) if tenant != said => Err((
                format!("this file is of tenant `{tenant}`, and says `{said}`"),
                format!("remove `tenant`: {file} lists the file under `{tenant}`"),
            )),
            (Some(tenant), _) => Ok(tenant),
            (None, said) => {
                let said = said.unwrap_or(default);
                if self.listed.iter().any(|listed| listed == said) {
                    return Err((
                        format!("this file is not of tenant `{said}`"),
                        format!("the operator of the host names the file in the `pipelines` of `{said}` in {file}"),
                    ));
                }
                Ok(said)
            }
        }
    }
}

impl Admission {
    /// Of a file that may do what the user of this process may, but for what the host keeps for itself.
    #[must_use]
    pub fn of_user(host: &HostDirectories) -> Self {
        Self {
            access: Arc::new(FileAccess::of_user(host.clone())),
            ..Self::default()
        }
    }
}

impl Admission {
    /// The limits of an operator that was not in a pipeline file of the tenant: what it may ask for, at most.
    #[must_use]
    pub fn capped(&self, limits: Limits) -> Limits {
        let Some(caps) = self.caps else { return limits };
        Limits {
            memory: limits.memory.min(caps.memory),
            state: limits.state.min(caps.state),
            fuel_per_event: limits.fuel_per_event.min(caps.fuel_per_event),
            open_ms: limits.open_ms.min(caps.open_ms),
            ..limits
        }
    }

    /// What compiling a component may take.
    #[must_use]
    pub fn compiling(&self) -> CompileLimits {
        self.caps.map(|caps| caps.compiling).unwrap_or_default()
    }
}

/// Which environment variables a pipeline file may name.
#[derive(Clone, Debug, Default)]
pub(super) enum Variables {
    /// All.
    #[default]
    All,
    /// Those of a list; `NAME`, or `PREFIX_*` for all that begin so.
    Listed(Vec<String>),
}

impl Variables {
    /// Those that a tenants file lists.
    pub(super) fn listed(names: &[At<String>], problems: &mut Problems) -> Self {
        for At { value, place } in names {
            let name = value.strip_suffix('*').unwrap_or(value);
            if value.is_empty() || name.contains(['*', '=', '\0']) {
                let problem = Diagnostic::error(format!("`{value}` cannot be the name of an environment variable"));
                let problem = problem.at(*place, "no variable bears this name");
                problems.push(problem.help("write a name such as \"ACME_TOKEN\", or \"ACME_*\" for all that begin so"));
            }
        }
        Self::Listed(names.iter().map(|at| at.value.clone()).collect())
    }

    /// Whether a variable may be named.
    pub(super) fn allow(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Listed(listed) => listed.iter().any(|listed| match listed.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == listed,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_allows_its_names_and_prefixes() {
        let listed = Variables::Listed(vec!["TOKEN".to_owned(), "ACME_*".to_owned()]);
        for (name, allowed) in [
            ("TOKEN", true),
            ("TOKEN_2", false),
            ("ACME_KEY", true),
            ("ACME", false),
            ("XACME_KEY", false),
        ] {
            assert_eq!(listed.allow(name), allowed, "{name}");
        }
        assert!(Variables::All.allow("TOKEN"));
        assert!(!Variables::Listed(Vec::new()).allow("TOKEN"));
    }
}
