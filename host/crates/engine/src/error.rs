//! Why a component cannot be loaded.

use std::time::Duration;

use crate::bulk::Refused;
use crate::contract::Violation;

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
    /// It would take too long to compile.
    #[error(
        "compiling it took more than {} s of processor time; the limit is `compile_time` under `[tenant.limits]` in the tenants file",
        .limit.as_secs_f64()
    )]
    CompileTime {
        /// The time that it had.
        limit: Duration,
    },
    /// It would take too much memory to compile.
    #[error(
        "compiling it took more than {} MiB of memory; the limit is `compile_memory` under `[tenant.limits]` in the tenants \
         file",
        .limit >> 20
    )]
    CompileMemory {
        /// The bytes that it had.
        limit: u64,
    },
    /// The compiler failed.
    #[error("compiling it failed: {0}")]
    Compiler(String),
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
