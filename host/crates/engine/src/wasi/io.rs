//! `wasi:io`: standard input is at its end, what is written becomes log lines, and everything is ready at once.
//!
//! A handle is the number of what it stands for; the guest's [count](Guest::new_handle) bounds how many there are.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, LinkerInstance, Lower, Resource, ResourceType, WasmList};

use super::interface;
use crate::guest::{Guest, HANDLES_MAX};
use crate::guest_log::Level;
use crate::served::{define, define_in_pieces};

/// How much a guest may write in one call; more comes in several.
const WRITE_BYTES_MAX: usize = 4096;

/// `error`, which no stream of these has.
struct Error;
/// `pollable`, which is ready.
pub(super) struct Pollable;
/// `input-stream`: standard input.
pub(super) struct InputStream;
/// `output-stream`: standard output or standard error.
pub(super) struct OutputStream;

impl InputStream {
    pub(super) const REP: u32 = 0;
}

impl OutputStream {
    /// The number of the stream whose lines have this level.
    pub(super) fn rep(level: Level) -> u32 {
        u32::from(level == Level::Warn)
    }

    fn level(stream: &Resource<Self>) -> Level {
        if stream.rep() == Self::rep(Level::Warn) {
            Level::Warn
        } else {
            Level::Info
        }
    }
}

/// `streams.stream-error`.
#[derive(ComponentType, Lower)]
#[component(variant)]
enum StreamError {
    #[allow(dead_code, reason = "a case of the interface's type that does not happen")]
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<Error>),
    #[component(name = "closed")]
    Closed,
}

type Store<'a, 'b> = &'a mut StoreContextMut<'b, Guest>;
type Splice = (Resource<OutputStream>, Resource<InputStream>, u64);
type Written = (Result<(), StreamError>,);

/// Bytes on their way to the log.
struct Print {
    level: Level,
    bytes: Vec<u8>,
    printed: usize,
}

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut error = linker.instance(&interface("io/error"))?;
    error.resource("error", ResourceType::host::<Error>(), drop_handle)?;
    define(
        &mut error,
        "[method]error.to-debug-string",
        |_, (_,): (Resource<Error>,)| Ok(((String::new(),), 0)),
    )?;

    let mut poll = linker.instance(&interface("io/poll"))?;
    poll.resource("pollable", ResourceType::host::<Pollable>(), drop_handle)?;
    define(&mut poll, "[method]pollable.ready", |_, (_,): (Resource<Pollable>,)| {
        Ok(((true,), 0))
    })?;
    define(&mut poll, "[method]pollable.block", |_, (_,): (Resource<Pollable>,)| {
        Ok(((), 0))
    })?;
    define(
        &mut poll,
        "poll",
        |store: Store<'_, '_>, (pollables,): (WasmList<Resource<Pollable>>,)| {
            Ok(((all_are_ready(store, &pollables)?,), pollables.len() * POLLABLE_BYTES))
        },
    )?;

    let mut streams = linker.instance(&interface("io/streams"))?;
    link_input(&mut streams)?;
    link_output(&mut streams)
}

/// What going through a handle costs, in bytes that are copied in the same time: it is looked up in a table.
const POLLABLE_BYTES: usize = 256;

/// The place of each of these.
fn all_are_ready(store: Store<'_, '_>, pollables: &WasmList<Resource<Pollable>>) -> wasmtime::Result<Vec<u32>> {
    wasmtime::ensure!(pollables.len() > 0, "polls nothing");
    wasmtime::ensure!(
        pollables.len() <= HANDLES_MAX,
        "polls {} handles at once; an instance holds at most {HANDLES_MAX}",
        pollables.len()
    );
    let places = 0..;
    pollables
        .iter(store)?
        .zip(places)
        .map(|(pollable, place)| pollable.map(|_| place))
        .collect()
}

fn link_input(streams: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    streams.resource("input-stream", ResourceType::host::<InputStream>(), drop_handle)?;
    for function in ["read", "blocking-read"] {
        let name = format!("[method]input-stream.{function}");
        define(streams, &name, |_, (_, _): (Resource<InputStream>, u64)| {
            Ok(((Err::<Vec<u8>, _>(StreamError::Closed),), 0))
        })?;
    }
    for function in ["skip", "blocking-skip"] {
        let name = format!("[method]input-stream.{function}");
        define(streams, &name, |_, (_, _): (Resource<InputStream>, u64)| {
            Ok(((Err::<u64, _>(StreamError::Closed),), 0))
        })?;
    }
    define(
        streams,
        "[method]input-stream.subscribe",
        |store: Store<'_, '_>, (_,): (Resource<InputStream>,)| Ok(((pollable(store.data_mut())?,), 0)),
    )
}

fn link_output(streams: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    streams.resource("output-stream", ResourceType::host::<OutputStream>(), drop_handle)?;
    define(
        streams,
        "[method]output-stream.check-write",
        |_, (_,): (Resource<OutputStream>,)| Ok(((Ok::<_, StreamError>(WRITE_BYTES_MAX as u64),), 0)),
    )?;
    for function in ["write", "blocking-write-and-flush"] {
        let name = format!("[method]output-stream.{function}");
        define_in_pieces(
            streams,
            &name,
            |store: Store<'_, '_>, (stream, contents): (Resource<OutputStream>, WasmList<u8>)| {
                check_length(contents.len() as u64)?;
                let bytes = contents.as_le_slice(&*store).to_vec();
                Ok(written(&stream, bytes))
            },
            Print::step,
        )?;
    }
    for function in ["write-zeroes", "blocking-write-zeroes-and-flush"] {
        let name = format!("[method]output-stream.{function}");
        define_in_pieces(
            streams,
            &name,
            |_, (stream, length): (Resource<OutputStream>, u64)| Ok(written(&stream, vec![0; check_length(length)?])),
            Print::step,
        )?;
    }
    for function in ["flush", "blocking-flush"] {
        let name = format!("[method]output-stream.{function}");
        define(streams, &name, |_, (_,): (Resource<OutputStream>,)| {
            Ok::<(Written, usize), _>(((Ok(()),), 0))
        })?;
    }
    for function in ["splice", "blocking-splice"] {
        let name = format!("[method]output-stream.{function}");
        define(streams, &name, |_, (_, _, _): Splice| {
            Ok(((Err::<u64, _>(StreamError::Closed),), 0))
        })?;
    }
    define(
        streams,
        "[method]output-stream.subscribe",
        |store: Store<'_, '_>, (_,): (Resource<OutputStream>,)| Ok(((pollable(store.data_mut())?,), 0)),
    )
}

/// How many bytes a guest writes, if it may write them at once.
fn check_length(bytes: u64) -> wasmtime::Result<usize> {
    wasmtime::ensure!(
        bytes <= WRITE_BYTES_MAX as u64,
        "writes {bytes} bytes at once, and `check-write` allows {WRITE_BYTES_MAX}"
    );
    Ok(usize::try_from(bytes).expect("they are few"))
}

fn written(stream: &Resource<OutputStream>, bytes: Vec<u8>) -> (Written, Option<Print>) {
    let print = Print {
        level: OutputStream::level(stream),
        bytes,
        printed: 0,
    };
    ((Ok(()),), Some(print))
}

impl Print {
    /// Prints up to a line that is logged. Gives what it takes, in bytes that are copied in the same time.
    fn step(guest: &mut Guest, print: &mut Self) -> Option<usize> {
        /// A line takes 2 µs until it waits for the thread that writes it.
        const LINE_BYTES: usize = 8_000;
        let rest = &print.bytes[print.printed..];
        if rest.is_empty() {
            return None;
        }
        let taken = guest.log.print(print.level, rest);
        print.printed += taken;
        Some(taken + LINE_BYTES)
    }
}

fn pollable(guest: &mut Guest) -> wasmtime::Result<Resource<Pollable>> {
    guest.new_handle(0).map(Resource::new_own)
}

#[allow(clippy::unnecessary_wraps, reason = "the linker asks for it")]
fn drop_handle(mut store: StoreContextMut<'_, Guest>, _rep: u32) -> wasmtime::Result<()> {
    store.data_mut().drop_handle();
    Ok(())
}
