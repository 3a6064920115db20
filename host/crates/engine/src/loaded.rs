//! Compiled code that is in memory, by the bytes of its component.
//!
//! A component that several operators name is in memory once, whichever pipelines and tenants they are of: code cannot be changed, and what an instance
//! writes is its own.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use dirigo_ground::sync::Mutex;
use wasmtime::component::Component as Compiled;

use crate::digest;

/// The code of the components that are in use. Cheap to clone; clones share it.
#[derive(Clone, Default)]
pub(crate) struct LoadedCode(Arc<Mutex<HashMap<[u8; digest::BYTES], Weak<Compiled>>>>);

impl LoadedCode {
    /// The code of `wasm`, if a component that has it is in use.
    pub(crate) fn get(&self, wasm: &[u8]) -> Option<Arc<Compiled>> {
        self.0.lock().get(&digest::sha256(wasm))?.upgrade()
    }

    /// Registers the code of `wasm` for as long as a component uses it. Returns the code that another thread has registered meanwhile, if there is some.
    pub(crate) fn share(&self, wasm: &[u8], compiled: Compiled) -> Arc<Compiled> {
        let mut loaded = self.0.lock();
        loaded.retain(|_, code| code.strong_count() > 0);
        let digest = digest::sha256(wasm);
        if let Some(known) = loaded.get(&digest).and_then(Weak::upgrade) {
            return known;
        }
        let compiled = Arc::new(compiled);
        loaded.insert(digest, Arc::downgrade(&compiled));
        compiled
    }
}
