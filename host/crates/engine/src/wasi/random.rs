//! `wasi:random`: numbers that follow from the event at hand.

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use super::interface;
use crate::guest::Guest;
use crate::served::define;

/// A guest that wants more random bytes at once than this asks for memory, not for chance.
const BYTES_MAX: u64 = 64 << 10;

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    for (name, bytes, number) in [
        ("random/random", "get-random-bytes", "get-random-u64"),
        (
            "random/insecure",
            "get-insecure-random-bytes",
            "get-insecure-random-u64",
        ),
    ] {
        let mut random = linker.instance(&interface(name))?;
        define(
            &mut random,
            bytes,
            |store: &mut StoreContextMut<'_, Guest>, (length,): (u64,)| {
                wasmtime::ensure!(
                    length <= BYTES_MAX,
                    "asks for {length} random bytes at once; it may ask for {BYTES_MAX}"
                );
                let mut bytes = vec![0; usize::try_from(length).expect("they are few")];
                store.data_mut().random().fill(&mut bytes);
                let copied = COST * bytes.len();
                Ok(((bytes,), copied))
            },
        )?;
        define(&mut random, number, |store: &mut StoreContextMut<'_, Guest>, (): ()| {
            Ok(((store.data_mut().random().next(),), 0))
        })?;
    }
    let mut seed = linker.instance(&interface("random/insecure-seed"))?;
    define(
        &mut seed,
        "insecure-seed",
        |store: &mut StoreContextMut<'_, Guest>, (): ()| Ok(((store.data().seed.of_hashes(),), 0)),
    )
}

/// How many bytes are copied while one random byte is made and handed over.
const COST: usize = 4;
