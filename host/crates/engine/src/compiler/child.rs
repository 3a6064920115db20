//! The process that compiles one component for its parent, and ends.
//!
//! It gets the component on standard input and writes to standard output a byte that says what follows: [`CODE`], or a
//! [`PROBLEM`] in words. It bounds itself before it reads anything, as far as the kernel can; its parent watches over the
//! rest.

use std::io::{self, Read as _, Write as _};
use std::time::Duration;

use dirigo_ground::limits::CompileLimits;
use dirigo_ground::thread::{LAST_NICENESS, set_niceness};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};

use super::compile as translate;
use crate::config::config;

/// What a compiled component is preceded by.
pub(super) const CODE: u8 = b'C';
/// What the reason is preceded by why there is none.
pub(super) const PROBLEM: u8 = b'P';

/// Compiles the component on standard input to standard output, within `limits`; behind everything else that runs if it
/// `gives_way`.
///
/// # Errors
/// When the limits cannot be set, or the parent has gone.
pub fn compile(limits: CompileLimits, gives_way: bool) -> io::Result<()> {
    if gives_way {
        set_niceness(LAST_NICENESS);
    }
    restrain(limits)?;
    let mut wasm = Vec::new();
    io::stdin().lock().read_to_end(&mut wasm)?;
    let compiled = wasmtime::Engine::new(&config(None))
        .map_err(|error| format!("cannot set up wasmtime: {error:#}"))
        .and_then(|engine| {
            let compiled = translate(&engine, &wasm, wasmtime::Engine::precompile_component);
            compiled.map_err(|error| error.to_string())
        });
    let (kind, answer) = match compiled {
        Ok(code) => (CODE, code),
        Err(problem) => (PROBLEM, problem.into_bytes()),
    };
    let mut out = io::stdout().lock();
    out.write_all(&[kind])?;
    out.write_all(&answer)?;
    out.flush()
}

/// Bounds this process.
fn restrain(limits: CompileLimits) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    limit(Resource::Core, 0)?;
    // The parent looks at the memory that is really used, every few ms: this is for what is asked for between two looks.
    let asked_for = data_bytes()?.saturating_add(limits.memory.saturating_mul(2));
    limit(Resource::Data, asked_for)?;
    // Likewise of the time, which the kernel counts in whole seconds.
    limit(
        Resource::Cpu,
        limits.time.saturating_add(Duration::from_secs(1)).as_secs(),
    )
}

/// Lowers a limit, for good.
fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let most = getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most));
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    Ok(setrlimit(resource, limit)?)
}

/// The bytes of writable memory that this process has asked for.
fn data_bytes() -> io::Result<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let data: Option<u64> = pages.split_whitespace().nth(5).and_then(|pages| pages.parse().ok());
    Ok(data.unwrap_or(0) * rustix::param::page_size() as u64)
}
