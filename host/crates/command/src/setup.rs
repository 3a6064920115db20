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

/// An engine, connectors, a clock and a runtime.
pub struct CommandContext {
    /// Compiles components, and runs them.
    pub engine: Engine,
    /// The kinds of sources and sinks.
    pub connectors: Registry,
    /// The system's.
    pub clock: Arc<dyn Clock>,
    /// Where everything runs that is no turn of a guest.
    pub runtime: tokio::runtime::Runtime,
    /// What no pipeline may touch.
    pub host_directories: HostDirectories,
    /// What tenants may do, where the operator of the host says it.
    pub tenants: Option<Tenants>,
}

impl CommandContext {
    /// Sets up what this machine has, with the cache of compiled components that the user wants.
    ///
    /// # Errors
    /// If the machine cannot run guests.
    pub fn new(globals: &Globals) -> anyhow::Result<Self> {
        touch_small_pages();
        descriptors::raise();
        // A command loads its components before any pipeline runs.
        let gives_way = false;
        let in_process_of = |executable| Compiler::Process { executable, gives_way };
        let compiler = globals.compiler.clone().map_or(Compiler::InProcess, in_process_of);
        let engine = Engine::new(&Machine::read(), cache(globals))?.with_compiler(compiler);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .on_thread_start(dirigo_ground::thread::raise_priority)
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        Ok(Self {
            engine,
            connectors: dirigo_connectors::builtin(),
            clock: Arc::new(SystemClock::new()),
            runtime,
            host_directories: host_directories(globals),
            tenants: None,
        })
    }

    /// A context for pipeline files of tenants: they get what the tenants file grants, and nothing of the host's own directories, of which
    /// `state` is one. `None` where the tenants file is refused; that has been reported.
    ///
    /// # Errors
    /// If the machine cannot run guests, or the report cannot be written.
    pub fn for_pipelines(
        globals: &Globals,
        tenants: Option<&Path>,
        state: Option<&Path>,
    ) -> anyhow::Result<Option<Self>> {
        let tenants = match tenants.map(Tenants::load).transpose() {
            Ok(tenants) => tenants,
            Err(problems) => {
                report::diagnostics(&problems, globals.format)?;
                return Ok(None);
            }
        };
        let context = Self::new(globals)?;
        Ok(Some(
            context.with_tenants(tenants).with_state(state).announcing(globals),
        ))
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

    /// With what tenants may do, by a file that none of them may touch.
    #[must_use]
    fn with_tenants(mut self, tenants: Option<Tenants>) -> Self {
        if let Some(tenants) = &tenants {
            self.host_directories = self.host_directories.with("tenants file", tenants.file());
        }
        self.tenants = tenants;
        self
    }

    /// With the directory that state is kept in, which no pipeline may touch.
    #[must_use]
    fn with_state(mut self, directory: Option<&Path>) -> Self {
        if let Some(directory) = directory {
            self.host_directories = self.host_directories.with("state directory", directory);
        }
        self
    }

    /// Loads and prepares a pipeline file.
    ///
    /// # Errors
    /// What is wrong with the file or its components.
    pub fn load(&self, file: &Path, overrides: &[Override]) -> Result<Prepared, Diagnostics> {
        self.prepare(self.load_file(file, overrides, Inputs::OfSources)?)
    }

    /// Loads and prepares a pipeline file for its test cases, whose events come from no source.
    ///
    /// # Errors
    /// What is wrong with the file or its components.
    pub fn load_for_tests(&self, file: &Path, overrides: &[Override]) -> Result<Prepared, Diagnostics> {
        self.prepare(self.load_file(file, overrides, Inputs::HandedIn)?)
    }

    /// Loads and prepares a pipeline file to be run next to others, which do not wait for long until its operators are open.
    ///
    /// # Errors
    /// What is wrong with the file or its components.
    pub fn load_to_run(
        &self,
        file: &Path,
        overrides: &[Override],
        patience: &Patience,
    ) -> Result<Prepared, Diagnostics> {
        let loaded = self.load_file(file, overrides, Inputs::OfSources)?;
        self.runtime
            .block_on(prepare_with(&self.engine, loaded, &self.clock, patience))
    }

    /// Loads a pipeline file, which may do what its tenant may.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn load_file(&self, file: &Path, overrides: &[Override], inputs: Inputs) -> Result<Loaded, Diagnostics> {
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
