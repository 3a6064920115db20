//! From the bytes of a component to code.
//!
//! Owns where that happens. The binary does it in a process of its own, whose time and memory are bounded: compilers take
//! far more of both than they are given bytes, and nothing that a component makes one do may reach the pipelines of others. A
//! program that embeds the library compiles in its own process, unless it names a binary that can do it.

mod child;
mod process;

use std::path::PathBuf;

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::bulk;
use crate::error::Error;

pub use child::compile as compile_for_parent;
pub(crate) use process::compile as compile_in;

/// Where components are compiled.
#[derive(Clone, Debug, Default)]
pub enum Compiler {
    /// In this process, within no bounds but those on what a component may have.
    #[default]
    InProcess,
    /// In a process of its own.
    Process {
        /// Of this executable, which is started with the argument [`SUBCOMMAND`] and then calls [`compile_for_parent`].
        executable: PathBuf,
        /// Whether it runs after everything else that does: for a host whose pipelines are running.
        gives_way: bool,
    },
}

/// The argument by which a binary is asked to compile for its parent.
pub const SUBCOMMAND: &str = "compile-for-parent";

/// The component that is compiled, made ready for that.
///
/// # Errors
/// When it is none, or would take too long.
pub(crate) fn compile<T>(
    engine: &Engine,
    wasm: &[u8],
    translate: impl Fn(&Engine, &[u8]) -> wasmtime::Result<T>,
) -> Result<T, Error> {
    expect_component(wasm)?;
    translate(engine, &bulk::in_pieces(wasm)?).map_err(|error| {
        // What is said of it should speak of the bytes that its author knows.
        let error = translate(engine, wasm).err().unwrap_or(error);
        Error::NotAComponent(format!("is not a valid component: {error:#}"))
    })
}

/// Refuses what its first bytes say is no component.
pub(crate) fn expect_component(wasm: &[u8]) -> Result<(), Error> {
    not_a_component(wasm).map_or(Ok(()), |problem| Err(Error::NotAComponent(problem)))
}

/// The component that code belongs to; `None` where this engine cannot use it.
#[allow(unsafe_code, reason = "wasmtime cannot prove that bytes are code of its own making")]
pub(crate) fn deserialize(engine: &Engine, code: &[u8]) -> Option<Component> {
    // SAFETY: the bytes are what wasmtime serialized. They come from a process of this executable over a pipe that only it
    // and this process have, or from the cache, where they bear a tag that only this user's hosts can make.
    unsafe { Component::deserialize(engine, code) }.ok()
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
