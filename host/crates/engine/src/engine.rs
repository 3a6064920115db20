//! The engine: loads components, compiles them, and keeps what was compiled.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use dirigo_disk::read_regular;
use wasmtime::component::{Component as Compiled, Linker};

use crate::bulk::{self, Refused};
use crate::cache::Cache;
use crate::capacity::Machine;
use crate::component::Component;
use crate::config::config;
use crate::contract::Violation;
use crate::guest::Guest;
use crate::{imports, reclaimer};

/// Hears the name of a component.
type OnCompile = Arc<dyn Fn(&str) + Send + Sync>;
/// The largest component that is read: some ten times what an interpreter of Python with its library takes.
const COMPONENT_BYTES_MAX: u64 = 256 << 20;

/// Compiles and instantiates components. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    wasmtime: wasmtime::Engine,
    linker: Arc<Linker<Guest>>,
    cache: Option<Cache>,
    /// Hears which component is compiled, before it is.
    on_compile: Option<OnCompile>,
    instances_max: u32,
}

/// Why a component cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes are no component.
    #[error("{0}")]
    NotAComponent(String),
    /// The component cannot be made ready for compiling.
    #[error("{0}")]
    Refused(#[from] Refused),
    /// The component does not fit the contract.
    #[error("{0}")]
    Violation(#[from] Violation),
    /// There is no built-in of this name.
    #[error("there is no built-in operator `{0}`")]
    NoBuiltin(String),
    /// The engine itself cannot be set up.
    #[error("cannot set up wasmtime: {0}")]
    Setup(String),
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
            on_compile: None,
            instances_max,
        })
    }

    /// The same engine, which calls `hear` with the name of each component that it compiles, before it does.
    #[must_use]
    pub fn on_compile(mut self, hear: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_compile = Some(Arc::new(hear));
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
        let wasm = read_regular(path, COMPONENT_BYTES_MAX).map_err(|source| Error::Read {
            path: path.display().to_string(),
            source,
        })?;
        self.load_as(&path.display().to_string(), &wasm)
    }

    /// Loads a component that the binary carries.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn load_builtin(&self, name: &str) -> Result<Component, Error> {
        let wasm = dirigo_builtins::get(name).ok_or_else(|| Error::NoBuiltin(name.into()))?;
        self.load_as(&format!("builtin:{name}"), wasm)
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
        self.load_as("a component", wasm)
    }

    fn load_as(&self, name: &str, wasm: &[u8]) -> Result<Component, Error> {
        let cached = self.cache.as_ref().and_then(|cache| cache.load(&self.wasmtime, wasm));
        let compiled = match cached {
            Some(compiled) => compiled,
            None => self.compile(name, wasm)?,
        };
        Ok(Component::new(&self.linker, &compiled, wasm)?)
    }

    fn compile(&self, name: &str, wasm: &[u8]) -> Result<Compiled, Error> {
        if let Some(problem) = not_a_component(wasm) {
            return Err(Error::NotAComponent(problem));
        }
        if let Some(hear) = &self.on_compile {
            hear(name);
        }
        let compiled = Compiled::from_binary(&self.wasmtime, &bulk::in_pieces(wasm)?).map_err(|error| {
            // What is said of it should speak of the bytes that its author knows.
            let error = Compiled::from_binary(&self.wasmtime, wasm).err().unwrap_or(error);
            Error::NotAComponent(format!("is not a valid component: {error:#}"))
        })?;
        if let Some(cache) = &self.cache {
            cache.store(&self.wasmtime, wasm, &compiled);
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

/// What the first bytes say is wrong, where they do: the commonest mistakes deserve more than a parse error.
fn not_a_component(wasm: &[u8]) -> Option<String> {
    const MAGIC: &[u8] = b"\0asm";
    let Some(layer) = wasm.strip_prefix(MAGIC) else {
        return Some(if wasm.is_empty() {
            "is empty".into()
        } else {
            "is not WebAssembly".into()
        });
    };
    match layer.get(..4) {
        None => Some("is cut off after the first bytes".into()),
        Some([1, 0, 0, 0]) => Some(
            "is a core module, not a component; build it for the target `wasm32-wasip2`, as `dirigo build` does".into(),
        ),
        Some(_) => None,
    }
}
