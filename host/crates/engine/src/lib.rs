//! Components loaded, checked, compiled and instantiated.
//!
//! Owns everything that touches wasmtime: its configuration, the pool, the cache of compiled code, what guests may import.
//! Knows nothing of actors, scheduling or pipelines.

mod abi;
mod answers;
mod bulk;
mod cache;
mod call;
mod call_items;
mod capacity;
mod clocks;
mod compiler;
mod component;
mod config;
mod contract;
pub mod cooperative;
mod digest;
mod driver;
mod engine;
mod error;
mod failure;
mod fields;
mod guest;
mod guest_log;
mod import_answers;
mod imports;
mod instance;
mod kind;
mod list;
mod loaded;
mod reclaimer;
mod schema;
mod seed;
mod served;
mod setup;
mod staging;
mod text;
mod trap;
mod validation;
mod wasi;

pub use bulk::Refused;
pub use cache::{Cache, Error as CacheError, KeyError};
pub use capacity::Machine;
pub use compiler::{Compiler, SUBCOMMAND as COMPILER_SUBCOMMAND, compile_for_parent};
pub use component::Component;
pub use contract::Violation;
pub use dirigo_builtins as builtin;
pub use engine::Engine;
pub use error::Error;
pub use guest_log::{GuestLog, Level, Line};
pub use import_answers::answer;
pub use instance::{Instance, Unopened};
pub use kind::Kind;
pub use seed::{EventOrigins, Seed};
pub use setup::{Budget, Setup};
pub use staging::prepare_buffers as prepare_staging_buffers;
pub use trap::{Cause, Trap};

/// Prepares this thread for running guests, which its first turn would take the time for.
pub fn prepare_thread() {
    wasmtime::Engine::tls_eager_initialize();
}
