//! The engine: loads components, compiles them, and keeps what was compiled.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use dirigo_disk::{Disk, Real, read_regular};
use dirigo_ground::limits::CompileLimits;
use wasmtime::component::{Component as Compiled, Linker};

use crate::cache::Cache;
use crate::capacity::Machine;
use crate::compiler::{self, Compiler};
use crate::component::Component;
use crate::config::config;
use crate::error::Error;
use crate::guest::Guest;
use crate::loaded::LoadedCode;
use crate::{imports, reclaimer};

/// A callback that gets the name of a component.
type OnCompile = Arc<dyn Fn(&str) + Send + Sync>;
/// The largest component: the code that is compiled, and twice as much of data and names.
const COMPONENT_BYTES_MAX: u64 = 192 << 20;

/// Compiles and instantiates components. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    wasmtime: wasmtime::Engine,
    linker: Arc<Linker<Guest>>,
    cache: Option<Cache>,
    loaded: LoadedCode,
    /// Called with the name of a component before it is compiled.
    on_compile: Option<OnCompile>,
    compiler: Compiler,
    instances_max: u32,
}

impl Engine {
    /// An engine that pools instances as far as `machine` allows, with compiled code kept in `cache`.
    ///
    /// # Errors
    /// When wasmtime refuses this machine altogether.
    pub fn new(machine: &Machine, cache: Option<Cache>) -> Result<Self, Error> {
        let instances_max = machine.instances();
        let pooled = (instances_max > 0).then(|| wasmtime::Engine::new(&config(Some(instances_max))));
        let (wasmtime, instances_max) = match pooled {
            Some(Ok(engine)) => (engine, instances_max),
            refused => {
                /// Without a pool each instance reserves its own slot; a limit that small machines can hold.
                const UNPOOLED_INSTANCES_MAX: u32 = 256;
                let reason = match refused {
                    Some(Err(error)) => format!("{error:#}"),
                    _ => "this process may map too little memory".into(),
                };
                tracing::warn!(reason, "no pool of instances: each is made on demand, which is slower");
                let engine = wasmtime::Engine::new(&config(None));
                (
                    engine.map_err(|error| Error::Setup(format!("{error:#}")))?,
                    UNPOOLED_INSTANCES_MAX,
                )
            }
        };
        reclaimer::start();
        let linker = imports::linker(&wasmtime).map_err(|error| Error::Setup(format!("{error:#}")))?;
        Ok(Self {
            wasmtime,
            linker: Arc::new(linker),
            cache,
            loaded: LoadedCode::default(),
            on_compile: None,
            compiler: Compiler::InProcess,
            instances_max,
        })
    }

    /// The same engine, which calls `report` with the name of each component that it compiles, before it does.
    #[must_use]
    pub fn on_compile(mut self, report: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_compile = Some(Arc::new(report));
        self
    }

    /// With components compiled elsewhere than in this process.
    #[must_use]
    pub fn with_compiler(mut self, compiler: Compiler) -> Self {
        self.compiler = compiler;
        self
    }

    /// How many instances may be alive at once.
    #[must_use]
    pub fn instances_max(&self) -> u32 {
        self.instances_max
    }

    /// Loads a component from a file.
    ///
    /// # Errors
    /// When it cannot be read, is no component, or breaks the contract.
    pub fn load_file(&self, path: &Path) -> Result<Component, Error> {
        self.load_file_on(&Real, path, CompileLimits::default())
    }

    /// Loads a component from a file of a disk; if it has to be compiled, within `limits`.
    ///
    /// # Errors
    /// When it cannot be read, is no component, takes too much to compile, or breaks the contract.
    pub fn load_file_on(&self, disk: &dyn Disk, path: &Path, limits: CompileLimits) -> Result<Component, Error> {
        let wasm = read_regular(disk, path, COMPONENT_BYTES_MAX).map_err(|source| Error::Read {
            path: path.display().to_string(),
            source,
        })?;
        self.load_by(&path.display().to_string(), &wasm, &self.compiler, limits)
    }

    /// Loads a component that the binary carries.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn load_builtin(&self, name: &str) -> Result<Component, Error> {
        let wasm = dirigo_builtins::get(name).ok_or_else(|| Error::NoBuiltin(name.into()))?;
        // What the host itself brings along is no bomb, and compiles sooner than a process starts.
        let limits = CompileLimits::default();
        self.load_by(&format!("builtin:{name}"), wasm, &Compiler::InProcess, limits)
    }

    /// Loads a component by `builtin:NAME` or from a file, as a person names it.
    ///
    /// # Errors
    /// As [`load_builtin`](Self::load_builtin) or [`load_file`](Self::load_file).
    pub fn load_named(&self, name: &Path) -> Result<Component, Error> {
        match name.to_str().and_then(|name| name.strip_prefix("builtin:")) {
            Some(builtin) => self.load_builtin(builtin),
            None => self.load_file(name),
        }
    }

    /// Loads a component from its bytes, from the cache if it was compiled before.
    ///
    /// # Errors
    /// When they are no component, or one that breaks the contract.
    pub fn load(&self, wasm: &[u8]) -> Result<Component, Error> {
        self.load_by("a component", wasm, &self.compiler, CompileLimits::default())
    }

    fn load_by(&self, name: &str, wasm: &[u8], place: &Compiler, limits: CompileLimits) -> Result<Component, Error> {
        if let Some(code) = self.loaded.get(wasm) {
            return Ok(Component::new(&self.linker, code, wasm)?);
        }
        let cached = self.cache.as_ref().and_then(|cache| cache.load(&self.wasmtime, wasm));
        let compiled = match cached {
            Some(compiled) => compiled,
            None => self.compile(name, wasm, place, limits)?,
        };
        Ok(Component::new(&self.linker, self.loaded.share(wasm, compiled), wasm)?)
    }

    fn compile(&self, name: &str, wasm: &[u8], place: &Compiler, limits: CompileLimits) -> Result<Compiled, Error> {
        compiler::expect_component(wasm)?;
        if let Some(report) = &self.on_compile {
            report(name);
        }
        let (compiled, code) = match place {
            Compiler::InProcess => {
                let compiled = compiler::compile(&self.wasmtime, wasm, Compiled::from_binary)?;
                // Only a cache has a use for the bytes.
                let code = self.cache.as_ref().map(|_| compiled.serialize());
                (compiled, code.and_then(Result::ok))
            }
            Compiler::Process { executable, gives_way } => {
                let code = compiler::compile_in(executable, *gives_way, wasm, limits)?;
                let compiled = compiler::deserialize(&self.wasmtime, &code);
                let compiled = compiled.ok_or_else(|| Error::Compiler("its code is not for this host".into()))?;
                (compiled, Some(code))
            }
        };
        if let (Some(cache), Some(code)) = (&self.cache, code) {
            cache.store(&self.wasmtime, wasm, &code);
        }
        Ok(compiled)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Engine")
            .field("instances_max", &self.instances_max)
            .finish_non_exhaustive()
    }
}
