//! Components loaded, checked, compiled and instantiated.
//!
//! Owns everything that touches wasmtime: its configuration, the pool, the cache of compiled code, what guests may import.
//! Knows nothing of actors, scheduling or pipelines.

mod abi;
mod bulk;
mod cache;
mod capacity;
mod component;
mod contract;
mod guest;
mod instance;
mod landing;
mod migration;
mod reaper;
mod trap;
mod voice;
mod wasi;
pub mod way;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component::{Component as Compiled, Linker};
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, ModuleVersionStrategy, OptLevel, PoolingAllocationConfig,
    StoreContextMut,
};

pub use bulk::Refused;
pub use cache::{Cache, Error as CacheError};
pub use capacity::Machine;
pub use component::Component;
pub use contract::{Kind, Violation};
pub use dirigo_builtins as builtin;
use guest::{Guest, LastWords};
pub use instance::{Budget, Instance, Setup, Unopened};
pub use landing::make_ready as make_landings_ready;
pub use trap::{Cause, Trap};
pub use voice::{Level, Voice};

/// The most core instances that one component may have: a Rust component is one with a handful of small adapters.
const CORE_INSTANCES_MAX: u32 = 16;
/// The most linear memories of a component. Each takes a slot of the pool, with as many addresses as a memory can have.
const MEMORIES_MAX: u32 = 1;
/// The most tables of a component: its own, and that of its adapters.
const TABLES_MAX: u32 = 2;
/// The most elements of a table, whatever the limits say: instructions on whole tables run to their end.
const TABLE_ELEMENTS_MAX: usize = 20_000;
/// The stack of a guest, on which its own `memory` limit has no hold.
const STACK_BYTES: usize = 512 << 10;
/// Of a dropped instance's memory what is zeroed and kept instead of being given back: more than a built-in operator uses. All
/// places of the pool, which are thousands, come to keep as much sooner or later: with 256 KiB a host grew for ten minutes beside
/// all hostile kinds.
const KEPT_RESIDENT_BYTES: usize = 64 << 10;
/// Likewise of its stack. Turns of the built-in operators use 8 KiB (`/proc/PID/smaps` during `dirigo bench soak`); guests that
/// called themselves deeply left 100 KiB in one place after the other.
const KEPT_STACK_BYTES: usize = 16 << 10;

/// Compiles and instantiates components. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    wasmtime: wasmtime::Engine,
    linker: Arc<Linker<Guest>>,
    cache: Option<Cache>,
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

/// Prepares this thread for running guests, which its first turn would take the time for.
pub fn prepare_thread() {
    wasmtime::Engine::tls_eager_initialize();
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
        reaper::start();
        let linker = linker(&wasmtime).map_err(|error| Error::Setup(format!("{error:#}")))?;
        Ok(Self {
            wasmtime,
            linker: Arc::new(linker),
            cache,
            instances_max,
        })
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
        let wasm = std::fs::read(path).map_err(|source| Error::Read {
            path: path.display().to_string(),
            source,
        })?;
        self.load(&wasm)
    }

    /// Loads a component that the binary carries.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn load_builtin(&self, name: &str) -> Result<Component, Error> {
        self.load(builtin::get(name).ok_or_else(|| Error::NoBuiltin(name.into()))?)
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
        let cached = self.cache.as_ref().and_then(|cache| cache.load(&self.wasmtime, wasm));
        let compiled = match cached {
            Some(compiled) => compiled,
            None => self.compile(wasm)?,
        };
        Ok(Component::new(self, &compiled, wasm, &Sha256::digest(wasm))?)
    }

    fn compile(&self, wasm: &[u8]) -> Result<Compiled, Error> {
        if let Some(problem) = not_a_component(wasm) {
            return Err(Error::NotAComponent(problem));
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

/// Why each setting is as it is stands in docs/design/001-engine.md, with the measurements.
fn config(instances_max: Option<u32>) -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .coredump_on_trap(true)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .gc_support(false)
        .concurrency_support(false)
        .wasm_memory64(false)
        .memory_init_cow(true)
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(2 * STACK_BYTES)
        .async_stack_zeroing(true);
    config
        .module_version(ModuleVersionStrategy::WasmtimeVersion)
        .expect("a strategy without a string is valid");
    if let Some(instances) = instances_max {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances)));
    }
    config
}

fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_MAX))
        .total_memories(instances.saturating_mul(MEMORIES_MAX))
        .total_tables(instances.saturating_mul(TABLES_MAX))
        .total_stacks(instances)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(4 << 30)
        .linear_memory_keep_resident(KEPT_RESIDENT_BYTES)
        .async_stack_keep_resident(KEPT_STACK_BYTES)
        .pagemap_scan(Enabled::Auto);
    pool
}

fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasi::link(&mut linker)?;
    let mut host = linker.instance(&contract::interface("host"))?;
    host.func_wrap_async("log", |store, (level, message): (Level, String)| {
        store.data().voice.log(level, &message);
        serve(store, message.len())
    })?;
    host.func_wrap_async("metric", |store, (name, value): (String, f64)| {
        store.data().voice.count(&name, value);
        serve(store, name.len())
    })?;
    host.func_wrap_async("panicked", |mut store, (message, event): (String, Option<u32>)| {
        let bytes = message.len();
        store.data_mut().last_words = Some(LastWords { message, event });
        serve(store, bytes)
    })?;
    Ok(linker)
}

/// The end of a call of the host, at which the guest may have to let others run.
fn serve(mut store: StoreContextMut<'_, Guest>, bytes: usize) -> Box<dyn Future<Output = wasmtime::Result<()>> + Send> {
    let must_yield = store.data_mut().serve(bytes);
    Box::new(async move {
        if must_yield {
            way::give().await;
        }
        Ok(())
    })
}

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes what is written");
            text
        })
}
