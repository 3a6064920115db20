//! Components loaded, checked, compiled and instantiated.
//!
//! Owns everything that touches wasmtime: its configuration, the pool, the cache of compiled code, what guests may import.
//! Knows nothing of actors, scheduling or pipelines.

mod abi;
mod bulk;
mod cache;
mod call;
mod capacity;
mod component;
mod config;
mod contract;
mod digest;
mod driver;
mod engine;
mod failure;
mod guest;
mod imports;
mod instance;
mod kind;
mod list;
mod reaper;
mod setup;
mod staging;
mod trap;
mod validation;
mod voice;
mod wasi;
pub mod way;

pub use bulk::Refused;
pub use cache::{Cache, Error as CacheError};
pub use capacity::Machine;
pub use component::Component;
pub use contract::Violation;
pub use dirigo_builtins as builtin;
pub use engine::{Engine, Error};
pub use instance::{Instance, Unopened};
pub use kind::Kind;
pub use setup::{Budget, Setup};
pub use staging::prepare_buffers as make_landings_ready;
pub use trap::{Cause, Trap};
pub use voice::{Level, Voice};

/// Prepares this thread for running guests, which its first turn would take the time for.
pub fn prepare_thread() {
    wasmtime::Engine::tls_eager_initialize();
}
