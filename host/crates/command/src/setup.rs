//! What several commands need: an engine, a runtime, a loaded pipeline.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use dirigo_engine::{Cache, Compiler, Engine, Machine};
use dirigo_ground::clock::{Clock, SystemClock};
use dirigo_pipeline::{Diagnostics, Inputs, Loaded, Override};
use dirigo_runtime::{Patience, Prepared, prepare, prepare_with};

use super::pipeline_files::PipelineFiles;
use super::{Globals, descriptors};

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

    /// Sets up an engine whose pool holds `instances` instances, or as many as the machine can, for the pipelines in `files`.
    ///
    /// # Errors
    /// If the machine cannot run guests.
    pub fn with(globals: &Globals, files: PipelineFiles, instances: u32) -> anyhow::Result<Self> {
        touch_small_pages();
        descriptors::raise();
        let machine = Machine::read().for_instances(instances);
        // A command loads its components before any pipeline runs.
        let engine = Engine::new(&machine, cache(globals))?.with_compiler(compiler(globals, false));
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

    /// The same, whose components are compiled while pipelines run, which come first.
    #[must_use]
    pub fn compiling_beside(mut self, globals: &Globals) -> Self {
        self.engine = self.engine.with_compiler(compiler(globals, true));
        self
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

/// What compiles components; it may give way to whatever else runs.
fn compiler(globals: &Globals, gives_way: bool) -> Compiler {
    let in_process_of = |executable| Compiler::Process { executable, gives_way };
    globals.compiler.clone().map_or(Compiler::InProcess, in_process_of)
}

/// Has the kernel hand out memory in pages of 4 KiB, though the allocator asks for huge ones: to clear 2 MiB at the
/// first touch kept workers, sources and sinks for 5 to 8 ms at any allocation, whichever it belonged to
/// (docs/design/001-engine.md).
fn touch_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "memory comes in huge pages");
    }
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
