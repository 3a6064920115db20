//! `wasi:cli`: no environment, no arguments, no terminal; standard streams; an exit that is a trap.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};

use super::interface;
use super::io::{InputStream, OutputStream};
use crate::guest::Guest;
use crate::guest_log::Level;
use crate::served::define;

/// `terminal-input` and `terminal-output`, of which there are none.
struct TerminalInput;
struct TerminalOutput;

/// What the call of a guest ends with that calls `exit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("called exit({0})")]
pub(crate) struct Exit(pub(crate) u8);

type Nothing = ();
type Store<'a, 'b> = &'a mut StoreContextMut<'b, Guest>;
type Variables = Vec<(String, String)>;

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut environment = linker.instance(&interface("cli/environment"))?;
    define(&mut environment, "get-environment", |_, (): Nothing| {
        Ok(((Variables::new(),), 0))
    })?;
    define(&mut environment, "get-arguments", |_, (): Nothing| {
        Ok(((Vec::<String>::new(),), 0))
    })?;
    define(&mut environment, "initial-cwd", |_, (): Nothing| {
        Ok(((None::<String>,), 0))
    })?;

    let mut exit = linker.instance(&interface("cli/exit"))?;
    define(&mut exit, "exit", |_, (status,): (Result<(), ()>,)| {
        Err::<(Nothing, usize), _>(Exit(u8::from(status.is_err())).into())
    })?;
    define(&mut exit, "exit-with-code", |_, (code,): (u8,)| {
        Err::<(Nothing, usize), _>(Exit(code).into())
    })?;

    let mut stdin = linker.instance(&interface("cli/stdin"))?;
    define(&mut stdin, "get-stdin", |store: Store<'_, '_>, (): Nothing| {
        Ok((
            (store
                .data_mut()
                .new_handle(InputStream::REP)
                .map(Resource::<InputStream>::new_own)?,),
            0,
        ))
    })?;
    let mut stdout = linker.instance(&interface("cli/stdout"))?;
    define(&mut stdout, "get-stdout", |store: Store<'_, '_>, (): Nothing| {
        Ok(((output(store.data_mut(), Level::Info)?,), 0))
    })?;
    let mut stderr = linker.instance(&interface("cli/stderr"))?;
    define(&mut stderr, "get-stderr", |store: Store<'_, '_>, (): Nothing| {
        Ok(((output(store.data_mut(), Level::Warn)?,), 0))
    })?;

    let mut input = linker.instance(&interface("cli/terminal-input"))?;
    input.resource("terminal-input", ResourceType::host::<TerminalInput>(), |_, _| Ok(()))?;
    let mut output = linker.instance(&interface("cli/terminal-output"))?;
    output.resource("terminal-output", ResourceType::host::<TerminalOutput>(), |_, _| Ok(()))?;
    let mut stdin = linker.instance(&interface("cli/terminal-stdin"))?;
    define(&mut stdin, "get-terminal-stdin", |_, (): Nothing| {
        Ok(((None::<Resource<TerminalInput>>,), 0))
    })?;
    for (stream, function) in [
        ("cli/terminal-stdout", "get-terminal-stdout"),
        ("cli/terminal-stderr", "get-terminal-stderr"),
    ] {
        let mut stream = linker.instance(&interface(stream))?;
        define(&mut stream, function, |_, (): Nothing| {
            Ok(((None::<Resource<TerminalOutput>>,), 0))
        })?;
    }
    Ok(())
}

/// A handle of the stream whose lines have this level.
fn output(guest: &mut Guest, level: Level) -> wasmtime::Result<Resource<OutputStream>> {
    guest.new_handle(OutputStream::rep(level)).map(Resource::new_own)
}
