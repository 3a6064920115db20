//! What a tenants file grants to one tenant, next to its budget.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use dirigo_disk::Grants;
use dirigo_ground::limits::CompileLimits;

use super::admission::{Caps, Variables};
use super::budget;
use super::diagnostic::{Diagnostic, Problems};
use super::model::Budget;
use super::raw;
use super::section::{At, Field, Open, Section as _, refuse_key};
use super::span::Span;
use super::units::{Lapse, Size};
use super::validate::list;

/// What a tenant may use and do.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) budget: Budget,
    /// The files and folders of its pipelines, without symbolic links.
    pub(super) pipelines: Vec<PathBuf>,
    /// Which folders its pipelines may read; `None` for that of the pipeline file.
    read: Option<Vec<PathBuf>>,
    /// Which folders its pipelines may write; `None` for that of the pipeline file.
    write: Option<Vec<PathBuf>>,
    /// How many sources and sinks its pipelines may have together.
    pub(super) sources: u32,
    pub(super) sinks: u32,
    pub(super) environment: Variables,
    /// The addresses at which its pipelines may listen.
    pub(super) listen: Vec<String>,
    /// Whether they may send to addresses that are not public.
    pub(super) private_receivers: bool,
    /// The servers to which its pipelines may connect.
    pub(super) connect: Vec<String>,
    pub(super) caps: Caps,
}

/// When a pipeline may use the folders that are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// Where nothing else is listed.
    Default,
    /// Besides what is listed.
    Besides,
}

impl Grant {
    /// What is said of a listed tenant. `claimed` are the pipeline files and folders of those before it.
    pub(super) fn of_tenant(
        tenant: &Open<raw::Tenant>,
        file: &Path,
        claimed: &mut BTreeMap<PathBuf, Span>,
        problems: &mut Problems,
    ) -> Self {
        let raw = raw_grant(tenant, raw::Grant::TITLE, problems);
        let budget = budget::budget(tenant, problems);
        let pipelines = pipelines(&raw, file, claimed, problems);
        Self::new(&raw, file, budget, pipelines, problems)
    }

    /// What is said of those that are not listed.
    pub(super) fn of_others(others: &Open<raw::Tenant>, file: &Path, problems: &mut Problems) -> Self {
        let raw = raw_grant(others, "[default]", problems);
        let budget = budget::of_others(others, problems);
        if let Some(key) = raw.pipelines.key() {
            let problem = Diagnostic::error("`[default]` has no `pipelines`").at(key, "not here");
            problems.push(problem.help("it is for the pipeline files that no `[[tenant]]` names"));
        }
        Self::new(&raw, file, budget, Vec::new(), problems)
    }

    fn new(raw: &raw::Grant, file: &Path, budget: Budget, pipelines: Vec<PathBuf>, problems: &mut Problems) -> Self {
        let folders = |field: &Field<Vec<At<String>>>| {
            let paths = |at: &Vec<At<String>>| at.iter().map(|at| next_to(file, &at.value)).collect();
            field.map(paths)
        };
        Self {
            budget,
            pipelines,
            read: folders(&raw.read),
            write: folders(&raw.write),
            sources: raw.sources.map(|sources| sources.to_u32()).unwrap_or(raw::SOURCES),
            sinks: raw.sinks.map(|sinks| sinks.to_u32()).unwrap_or(raw::SINKS),
            environment: Variables::listed(list(&raw.env), problems),
            listen: list(&raw.listen).iter().map(|at| at.value.clone()).collect(),
            private_receivers: raw.private_receivers.map(|may| *may).unwrap_or_default(),
            connect: list(&raw.connect).iter().map(|at| at.value.clone()).collect(),
            caps: caps(raw.limits.given().map(|at| &at.value)),
        }
    }

    /// Opens the folders that a pipeline may use whose own ones are `own`, without symbolic links, or says which cannot be.
    pub(super) fn open(&self, own: &[PathBuf], when: Own) -> Result<Grants, (PathBuf, io::Error)> {
        let open = |folders: &Option<Vec<PathBuf>>| {
            let own = own.iter().filter(|_| folders.is_none() || when == Own::Besides);
            let own = own.map(|folder| (folder, dirigo_disk::Grant::open_real(folder)));
            let listed = folders.iter().flatten();
            let listed = listed.map(|folder| (folder, dirigo_disk::Grant::open(folder)));
            own.chain(listed)
                .map(|(folder, opened)| opened.map_err(|error| (folder.clone(), error)))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Grants {
            read: open(&self.read)?,
            write: open(&self.write)?,
        })
    }

    /// The folders and files that a tenant has, without symbolic links.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let write = self.write.iter().flatten().map(|folder| real(folder));
        self.pipelines.iter().cloned().chain(write).collect()
    }
}

fn raw_grant(tenant: &Open<raw::Tenant>, title: &str, problems: &mut Problems) -> raw::Grant {
    let mut grant = raw::Grant::at(tenant.place);
    for entry in &tenant.others {
        if !grant.take(entry, problems) {
            let known: Vec<&str> = [raw::Tenant::KEYS, raw::Grant::KEYS].concat();
            refuse_key(entry, title, &known, problems);
        }
    }
    grant
}

fn pipelines(
    raw: &raw::Grant,
    file: &Path,
    claimed: &mut BTreeMap<PathBuf, Span>,
    problems: &mut Problems,
) -> Vec<PathBuf> {
    let mut pipelines = Vec::new();
    for At { value, place } in list(&raw.pipelines) {
        let path = next_to(file, value);
        let Ok(real) = path.canonicalize() else {
            let problem = Diagnostic::error("there is no such pipeline file or folder");
            let problem = problem.at(*place, format!("no file is {}", path.display()));
            problems.push(problem.help("relative paths start from the folder of the tenants file"));
            continue;
        };
        if let Some(first) = claimed.insert(real.clone(), *place) {
            let problem = Diagnostic::error("a pipeline file or folder is listed twice").at(*place, "again here");
            problems.push(problem.also(first, "first here"));
        }
        pipelines.push(real);
    }
    pipelines
}

fn caps(raw: Option<&raw::Caps>) -> Caps {
    let raw = raw.cloned().unwrap_or_default();
    let size = |field: &Field<Size>, default: &str| {
        let default = default.parse::<bytesize::ByteSize>();
        field
            .map(|Size(bytes)| *bytes)
            .unwrap_or_else(|| default.expect("the default is a size").as_u64())
    };
    let compiling = CompileLimits::default();
    let duration = |field: &Field<Lapse>, default: &str| {
        let default = humantime::parse_duration(default).expect("the default is a duration");
        field.map(|Lapse(duration)| *duration).unwrap_or(default)
    };
    Caps {
        slice: duration(&raw.slice, raw::SLICE_CAP),
        open_ms: u64::try_from(duration(&raw.open, raw::OPEN_CAP).as_millis()).unwrap_or(u64::MAX),
        zstd_window: size(&raw.zstd_window_max, raw::ZSTD_WINDOW_CAP),
        memory: size(&raw.memory, raw::MEMORY_CAP),
        state: size(&raw.state, raw::STATE_CAP),
        fuel_per_event: raw
            .fuel_per_event
            .map(|fuel| fuel.to_u64())
            .unwrap_or(raw::FUEL_PER_EVENT_CAP),
        compiling: CompileLimits {
            time: raw.compile_time.map(|Lapse(time)| *time).unwrap_or(compiling.time),
            memory: raw.compile_memory.map(|Size(bytes)| *bytes).unwrap_or(compiling.memory),
        },
    }
}

/// A path that a file says, seen from the working directory.
fn next_to(file: &Path, path: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(path)
}

/// A path without symbolic links, where it exists.
pub(super) fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
