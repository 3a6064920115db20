//! `wasi:clocks`: the time of the event at hand.
//!
//! A guest cannot wait for it.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, Lower, Resource};

use super::interface;
use super::io::Pollable;
use crate::clocks::RESOLUTION_NS;
use crate::guest::Guest;
use crate::served::define;

/// `wall-clock.datetime`.
#[derive(ComponentType, Lower, Clone, Copy, Debug, PartialEq, Eq)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut monotonic = linker.instance(&interface("clocks/monotonic-clock"))?;
    define(
        &mut monotonic,
        "now",
        |store: &mut StoreContextMut<'_, Guest>, (): ()| Ok(((store.data_mut().clocks.monotonic_ns(),), 0)),
    )?;
    define(&mut monotonic, "resolution", |_, (): ()| {
        Ok(((u64::from(RESOLUTION_NS),), 0))
    })?;
    for function in ["subscribe-instant", "subscribe-duration"] {
        define(&mut monotonic, function, |_, (_,): (u64,)| {
            Err::<((Resource<Pollable>,), usize), _>(cannot_wait())
        })?;
    }
    let mut wall = linker.instance(&interface("clocks/wall-clock"))?;
    define(&mut wall, "now", |store: &mut StoreContextMut<'_, Guest>, (): ()| {
        let (seconds, nanoseconds) = store.data_mut().clocks.wall();
        let now = Datetime { seconds, nanoseconds };
        Ok(((now,), 0))
    })?;
    define(&mut wall, "resolution", |_, (): ()| {
        let resolution = Datetime {
            seconds: 0,
            nanoseconds: RESOLUTION_NS,
        };
        Ok(((resolution,), 0))
    })
}

/// In real time it would wait without end, without burning fuel, and with an instance that others need.
fn cannot_wait() -> wasmtime::Error {
    wasmtime::Error::msg("operators cannot wait: their clock is the time of the event")
}
