//! A component that has been checked and compiled.

use std::fmt;
use std::sync::{Arc, OnceLock};

use wasmtime::component::{Component as Compiled, ComponentExportIndex, InstancePre};

use super::contract::{self, Kind, Violation};
use super::guest::Guest;
use super::{Engine, hex};
use dirigo_ground::call::StateVersions;

/// Linear memory comes in pages.
const PAGE_BYTES: u64 = 64 << 10;

/// A component that this host runs: of a known kind, with every import granted. Cheap to clone.
#[derive(Clone)]
pub struct Component(Arc<Inner>);

struct Inner {
    kind: Kind,
    imports: Vec<String>,
    sha256: String,
    size: usize,
    pre: InstancePre<Guest>,
    open: ComponentExportIndex,
    functions: Vec<ComponentExportIndex>,
    initial_memory: u64,
    /// What a reduce answered when it was asked.
    state_versions: OnceLock<StateVersions>,
}

impl Component {
    pub(super) fn new(engine: &Engine, compiled: &Compiled, wasm: &[u8], digest: &[u8]) -> Result<Self, Violation> {
        let (kind, imports) = contract::check(compiled)?;
        let pre = engine
            .linker
            .instantiate_pre(compiled)
            .map_err(|error| Violation::Types {
                message: format!("{error:#}"),
            })?;
        let export = |interface: &str, function: &str| {
            let instance = compiled
                .get_export_index(None, interface)
                .expect("the contract was checked");
            compiled
                .get_export_index(Some(&instance), function)
                .expect("the contract was checked")
        };
        let interface = kind.interface();
        let functions = kind
            .functions()
            .iter()
            .map(|function| export(&interface, function))
            .collect();
        let required = compiled.resources_required();
        Ok(Self(Arc::new(Inner {
            kind,
            imports,
            sha256: hex(digest),
            size: wasm.len(),
            pre,
            open: export(&contract::interface("lifecycle"), "open"),
            functions,
            initial_memory: required
                .and_then(|required| required.max_initial_memory_size)
                .unwrap_or(0)
                * PAGE_BYTES,
            state_versions: OnceLock::new(),
        })))
    }

    /// What kind of operator it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The names of what it imports.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.0.imports
    }

    /// The SHA-256 of its bytes, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.0.sha256
    }

    /// The size of its `.wasm`, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// The linear memory that an instance starts with, in bytes.
    #[must_use]
    pub fn initial_memory(&self) -> u64 {
        self.0.initial_memory
    }

    /// Which state it reads and writes; `None` for a stateless one, and before anybody has
    /// [asked](super::Instance::ask_state_versions) or activated it.
    #[must_use]
    pub fn state_versions(&self) -> Option<StateVersions> {
        self.0.state_versions.get().copied()
    }

    /// The version of the state that it writes.
    #[must_use]
    pub fn state_version(&self) -> u32 {
        let versions = self.state_versions();
        versions
            .expect("a reduce is asked at its first activation, and every pipeline activates it once before it runs")
            .written
    }

    pub(super) fn learn_state_versions(&self, versions: StateVersions) {
        // Whoever asks at the same time gets the same answer, or the component breaks its contract: the first one counts.
        let _ = self.0.state_versions.set(versions);
    }

    pub(super) fn pre(&self) -> &InstancePre<Guest> {
        &self.0.pre
    }

    pub(super) fn open(&self) -> &ComponentExportIndex {
        &self.0.open
    }

    pub(super) fn functions(&self) -> &[ComponentExportIndex] {
        &self.0.functions
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Component")
            .field("kind", &self.kind())
            .field("sha256", &self.sha256())
            .finish_non_exhaustive()
    }
}
