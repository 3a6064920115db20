//! A component that has been checked and compiled.

use std::fmt;
use std::sync::Arc;

use wasmtime::component::{Component as Compiled, ComponentExportIndex, InstancePre, Linker};

use crate::contract::{self, Interface, Violation};
use crate::driver::Exports;
use crate::guest::Guest;
use crate::kind::Kind;
use crate::schema::RawSchema;
use crate::text::Text;
use crate::{digest, imports};
use dirigo_ground::call::StateVersions;

/// Linear memory comes in pages.
const PAGE_BYTES: u64 = 64 << 10;

/// What `lifecycle.open` is handed, the configuration, and what it returns.
pub(crate) type OpenArgs<'a> = (&'a str,);
pub(crate) type Opened = Result<RawSchema, Text>;

/// A component that this host runs: of a known kind, with every import granted. Cheap to clone.
#[derive(Clone)]
pub struct Component(Arc<Inner>);

struct Inner {
    imports: Vec<String>,
    sha256: String,
    size: usize,
    pre: InstancePre<Guest>,
    open: ComponentExportIndex,
    /// `settings.schema`, if it has that.
    settings: Option<ComponentExportIndex>,
    exports: Exports,
    initial_memory: u64,
    is_per_event: bool,
    /// Kept so that other components of the same code can find it.
    _code: Arc<Compiled>,
}

impl Component {
    /// What was compiled from these bytes, if it fits the contract.
    pub(crate) fn new(linker: &Linker<Guest>, code: Arc<Compiled>, wasm: &[u8]) -> Result<Self, Violation> {
        let compiled = &*code;
        contract::check_version(compiled)?;
        let imports = imports::check(compiled)?;
        let kind = contract::kind(compiled)?;
        let open = Interface::of(compiled, "lifecycle")?.function::<OpenArgs<'_>, (Opened,)>("open")?;
        let settings = match Interface::of(compiled, "settings") {
            Ok(settings) => Some(settings.function::<(), (String,)>("schema")?),
            Err(_) => None,
        };
        let exports = Exports::of(compiled, kind)?;
        let pre = linker.instantiate_pre(compiled).map_err(|error| Violation::Types {
            message: format!("{error:#}"),
        })?;
        let required = compiled.resources_required();
        let initial_pages = required.and_then(|required| required.max_initial_memory_size);
        Ok(Self(Arc::new(Inner {
            imports,
            sha256: digest::hex(&digest::sha256(wasm)),
            size: wasm.len(),
            pre,
            open,
            settings,
            exports,
            initial_memory: initial_pages.unwrap_or(0) * PAGE_BYTES,
            is_per_event: imports::depends_on_event(compiled),
            _code: code,
        })))
    }

    /// What kind of operator it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.exports.kind()
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

    /// Whether the host answers it by the event that it works on: it draws random numbers, or looks at a clock. It is handed one
    /// event at a time, for what a call is about is all that the host knows.
    #[must_use]
    pub fn is_per_event(&self) -> bool {
        self.0.is_per_event
    }

    /// Which state it reads and writes; `None` for a stateless one, and before anybody has
    /// [asked](crate::Instance::ask_state_versions) or activated it.
    #[must_use]
    pub fn state_versions(&self) -> Option<StateVersions> {
        self.0.exports.state()?.versions()
    }

    /// How it lays out the state that it writes, in the notation of `wit/state.wit`; `None` where it does not say so, and
    /// before a caller has asked or activated it.
    #[must_use]
    pub fn state_layout(&self) -> Option<&str> {
        self.0.exports.state()?.state_layout()
    }

    /// Whether it says that its accumulators may be merged in any order; not before a caller has asked or activated it.
    #[must_use]
    pub fn is_associative(&self) -> bool {
        self.0
            .exports
            .state()
            .is_some_and(crate::driver::StateFunctions::is_associative)
    }

    /// The version of the state that it writes.
    #[must_use]
    pub fn state_version(&self) -> u32 {
        let versions = self.state_versions();
        versions
            .expect("what keeps state is asked at its first activation, and every pipeline activates it once before it runs")
            .written
    }

    pub(crate) fn pre(&self) -> &InstancePre<Guest> {
        &self.0.pre
    }

    pub(crate) fn open(&self) -> &ComponentExportIndex {
        &self.0.open
    }

    pub(crate) fn settings(&self) -> Option<&ComponentExportIndex> {
        self.0.settings.as_ref()
    }

    pub(crate) fn exports(&self) -> &Exports {
        &self.0.exports
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
