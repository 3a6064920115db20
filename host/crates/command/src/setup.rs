//! What several commands need: an engine, a runtime, a loaded pipeline.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use dirigo_disk::HostDirectories;
use dirigo_engine::{Cache, Compiler, Engine, Machine};
use dirigo_ground::clock::{Clock, SystemClock};
use dirigo_pipeline::{
    self as pipeline, Admission, Diagnostics, Inputs, Loaded, OpenedFile, Override, Registry, Tenants,
};
use dirigo_runtime::{Patience, Prepared, prepare, prepare_with};

use super::{Globals, descriptors, report};

/// An engine, a clock and a runtime.
pub struct CommandContext {
    /// Compiles components, and runs them.
    pub engine: Engine,
    /// What is known of pipeline files.
    pub files: PipelineFiles,
    /// The system's.
    pub clock: Arc<dyn Clock>,
    /// Where everything runs that is no turn of a guest.
    pub runtime: tokio::runtime::Runtime,
}

/// What it takes to load pipeline files.
pub struct PipelineFiles {
    /// The kinds of sources and sinks.
    pub connectors: Registry,
    /// What no pipeline may touch.
    pub host_directories: HostDirectories,
    /// What tenants may do, where the operator of the host says it.
    pub tenants: Option<Tenants>,
}

impl PipelineFiles {
    /// Files of the user.
    #[must_use]
    pub fn of_user(globals: &Globals) -> Self {
        Self {
            connectors: dirigo_connectors::builtin(),
            host_directories: host_directories(globals),
            tenants: None,
        }
    }

    /// Files of tenants: they get what the tenants file grants, and nothing of the host's own directories, of which `state` is one.
    /// `None` where the tenants file is refused; that has been reported.
    ///
    /// # Errors
    /// If the report cannot be written.
    pub fn of_tenants(globals: &Globals, tenants: Option<&Path>, state: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let tenants = match tenants.map(Tenants::load).transpose() {
            Ok(tenants) => tenants,
            Err(problems) => {
                report::diagnostics(&problems, globals.format)?;
                return Ok(None);
            }
        };
        let mut files = Self::of_user(globals);
        if let Some(tenants) = &tenants {
            files.host_directories = files.host_directories.with("tenants file", tenants.file());
        }
        if let Some(directory) = state {
            files.host_directories = files.host_directories.with("state directory", directory);
        }
        Ok(Some(Self { tenants, ..files }))
    }

    /// Loads a pipeline file, which may do what its tenant may.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn load(&self, file: &Path, overrides: &[Override], inputs: Inputs) -> Result<Loaded, Diagnostics> {
        let file = OpenedFile::open(file, overrides)?;
        let admission = match &self.tenants {
            Some(tenants) => tenants.admit(&file, &self.host_directories)?,
            None => Admission::of_user(&self.host_directories),
        };
        pipeline::load_admitted(file, overrides, &self.connectors, inputs, &admission)
    }

    /// What a dead letter in a file of them may do: what its tenant may, which is the one that is named or else the one in whose
    /// folders the file is.
    ///
    /// # Errors
    /// When no tenant has the file.
    pub fn admit_letters(&self, file: &Path, tenant: Option<&str>) -> Result<Admission, Diagnostics> {
        match &self.tenants {
            Some(tenants) => tenants.admit_letters(file, tenant, &self.host_directories),
            None => Ok(Admission::of_user(&self.host_directories)),
        }
    }
}

/// Instances for commands that look at components, or run a few events.
const FEW_INSTANCES: u32 = 256;

impl CommandContext {
    /// Sets up what it takes to have a few instances, with the cache of compiled components that the user wants.
    ///
    /// # Errors
    /// If the machine cannot run guests.
    pub fn new(globals: &Globals) -> anyhow::Result<Self> {
        Self::with(globals, PipelineFiles::of_user(globals), FEW_INSTANCES)
    }

    /// Sets up what it takes to have so many instances of what is in these files, if the machine can hold them.
    ///
    /// # Errors
    /// If the machine cannot run guests.
    pub fn with(globals: &Globals, files: PipelineFiles, instances: u32) -> anyhow::Result<Self> {
        touch_small_pages();
        descriptors::raise();
        // A command loads its components before any pipeline runs.
        let gives_way = false;
        let in_process_of = |executable| Compiler::Process { executable, gives_way };
        let compiler = globals.compiler.clone().map_or(Compiler::InProcess, in_process_of);
        let machine = Machine::read().for_instances(instances);
        let engine = Engine::new(&machine, cache(globals))?.with_compiler(compiler);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .on_thread_start(dirigo_ground::thread::raise_priority)
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        Ok(Self {
            engine,
            files,
            clock: Arc::new(SystemClock::new()),
            runtime,
        })
    }

    /// A context for pipeline files of tenants, of which a few events are run ([`PipelineFiles::of_tenants`]).
    ///
    /// # Errors
    /// If the machine cannot run guests, or the report cannot be written.
    pub fn for_pipelines(
        globals: &Globals,
        tenants: Option<&Path>,
        state: Option<&Path>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(files) = PipelineFiles::of_tenants(globals, tenants, state)? else {
            return Ok(None);
        };
        Ok(Some(Self::with(globals, files, FEW_INSTANCES)?.announcing(globals)))
    }

    /// The same, which says which component it compiles: that takes up to seconds, and only the first time.
    #[must_use]
    pub fn announcing(mut self, globals: &Globals) -> Self {
        let log = globals.log.clone();
        let when = match globals.cache_dir.as_deref() {
            Some("off") => "there is no cache: at every start",
            _ => "first use; cached afterwards",
        };
        self.engine = self
            .engine
            .on_compile(move |name| log.say(&format!("compiling {name} ({when})")));
        self
    }

    /// Loads and prepares a pipeline file.
    ///
    /// # Errors
    /// What is wrong with the file or its components.
    pub fn load(&self, file: &Path, overrides: &[Override]) -> Result<Prepared, Diagnostics> {
        self.prepare(self.files.load(file, overrides, Inputs::OfSources)?)
    }

    /// Loads and prepares a pipeline file for its test cases, whose events come from no source.
    ///
    /// # Errors
    /// What is wrong with the file or its components.
    pub fn load_for_tests(&self, file: &Path, overrides: &[Override]) -> Result<Prepared, Diagnostics> {
        self.prepare(self.files.load(file, overrides, Inputs::HandedIn)?)
    }

    /// Prepares a pipeline to be run next to others, which do not wait for long until its operators are open.
    ///
    /// # Errors
    /// What is wrong with its components.
    pub fn prepare_to_run(&self, loaded: Loaded, patience: &Patience) -> Result<Prepared, Diagnostics> {
        self.runtime
            .block_on(prepare_with(&self.engine, loaded, &self.clock, patience))
    }

    /// Prepares a pipeline that was loaded.
    ///
    /// # Errors
    /// What is wrong with its components.
    pub fn prepare(&self, loaded: Loaded) -> Result<Prepared, Diagnostics> {
        self.runtime.block_on(prepare(&self.engine, loaded, &self.clock))
    }
}

/// Has the kernel hand out memory in pages of 4 KiB, though the allocator asks for huge ones: to clear 2 MiB at the
/// first touch kept workers, sources and sinks for 5 to 8 ms at any allocation, whichever it belonged to
/// (docs/design/001-engine.md).
fn touch_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "memory comes in huge pages");
    }
}

/// What the host keeps for itself whatever a command does: the caches that it or another host of this user loads code
/// from, and their keys.
fn host_directories(globals: &Globals) -> HostDirectories {
    let named = globals.cache_dir.as_deref().filter(|directory| *directory != "off");
    let caches = named.map(PathBuf::from).into_iter().chain(Cache::default_directory());
    let keys = globals.cache_key.clone().into_iter().chain(Cache::default_key());
    let of_host = |what| move |directories: HostDirectories, path: PathBuf| directories.with(what, &path);
    let directories = caches.fold(HostDirectories::default(), of_host("cache directory"));
    keys.fold(directories, of_host("key of the cache"))
}

/// The cache that the user wants; one that cannot be used, or that others could change, is done without.
fn cache(globals: &Globals) -> Option<Cache> {
    let directory = match globals.cache_dir.as_deref() {
        Some("off") => return None,
        Some(directory) => directory.into(),
        None => Cache::default_directory()?,
    };
    let key = globals.cache_key.clone().or_else(Cache::default_key);
    let opened = key.map_or_else(
        || Err("there is no home directory for the key of the cache; name a file for it with `--cache-key`".to_owned()),
        |key| Cache::open(&directory, &key).map_err(|error| error.to_string()),
    );
    opened
        .inspect_err(|error| tracing::warn!("{error}; until then components are compiled at every start"))
        .ok()
}
