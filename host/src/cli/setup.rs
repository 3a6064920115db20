//! What several commands need: an engine, a runtime, a loaded pipeline.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use dirigo::clock::{Clock, SystemClock};
use dirigo::engine::{Cache, Engine, Machine};
use dirigo::pipeline::{self, Diagnostics, Override};
use dirigo::runtime::{Prepared, prepare};

use super::Globals;

/// An engine, a clock and a runtime.
pub(crate) struct Setup {
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runtime: tokio::runtime::Runtime,
}

impl Setup {
    pub(crate) fn new(globals: &Globals) -> anyhow::Result<Self> {
        touch_small_pages();
        let engine = Engine::new(&Machine::read(), cache(globals))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .on_thread_start(dirigo::thread::run_at_once)
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        Ok(Self {
            engine,
            clock: Arc::new(SystemClock::new()),
            runtime,
        })
    }

    /// Loads and prepares a pipeline file.
    pub(crate) fn load(&self, file: &Path, overrides: &[Override]) -> Result<Prepared, Diagnostics> {
        let loaded = pipeline::load(file, overrides)?;
        prepare(&self.engine, loaded, &self.clock, self.runtime.handle())
    }

    /// Loads and prepares a pipeline file for its test cases, whose events come from no source.
    pub(crate) fn load_for_tests(&self, file: &Path, overrides: &[Override]) -> Result<Prepared, Diagnostics> {
        let loaded = pipeline::load_for_tests(file, overrides)?;
        prepare(&self.engine, loaded, &self.clock, self.runtime.handle())
    }
}

/// Has the kernel hand out memory in pages of 4 KiB, though the allocator asks for huge ones: to clear 2 MiB at the first
/// touch kept workers, sources and sinks for 5 to 8 ms at any allocation, whoever's it was (docs/design/001-engine.md).
fn touch_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "memory comes in huge pages");
    }
}

/// The cache that the user wants; a default one that cannot be used is done without.
fn cache(globals: &Globals) -> Option<Cache> {
    let directory = match globals.cache_dir.as_deref() {
        Some("off") => return None,
        Some(directory) => directory.into(),
        None => Cache::default_directory()?,
    };
    Cache::open(&directory)
        .inspect_err(|error| tracing::warn!("{error}; components are compiled at every start"))
        .ok()
}
