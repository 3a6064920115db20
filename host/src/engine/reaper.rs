//! Stores with much memory are dropped by a thread of their own.
//!
//! Giving 100 MiB back to the system takes 16 ms, which a worker does not have. Small instances are dropped where they are:
//! that takes a few µs, and a place in the pool is free at once.

use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread;

use wasmtime::Store;

use super::guest::Guest;

/// More memory than this is handed to the reaper: 512 pages, which take about 0.1 ms.
const KEPT_BYTES_MAX: usize = 2 << 20;
/// How many stores may wait. They still hold their places in the pool, of which the host reserves more than these for
/// itself; what comes when the queue is full is dropped where it is.
const WAITING_MAX: usize = 4;

/// A store that does not hold its worker up when it is dropped.
pub(super) struct Mortal(Option<Store<Guest>>);

impl Mortal {
    pub(super) fn new(store: Store<Guest>) -> Self {
        Self(Some(store))
    }
}

impl Deref for Mortal {
    type Target = Store<Guest>;

    fn deref(&self) -> &Store<Guest> {
        self.0.as_ref().expect("it is taken only when it is dropped")
    }
}

impl DerefMut for Mortal {
    fn deref_mut(&mut self) -> &mut Store<Guest> {
        self.0.as_mut().expect("it is taken only when it is dropped")
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(store) = self.0.take_if(|store| store.data().memory_bytes() > KEPT_BYTES_MAX)
            && let Some(reaper) = reaper()
        {
            match reaper.try_send(store) {
                Ok(()) => {}
                Err(TrySendError::Full(store) | TrySendError::Disconnected(store)) => drop(store),
            }
        }
    }
}

/// The way to the thread, which is started when the first store goes there; `None` where no thread can be had.
fn reaper() -> Option<&'static SyncSender<Store<Guest>>> {
    static REAPER: OnceLock<Option<SyncSender<Store<Guest>>>> = OnceLock::new();
    let start = || {
        let (sender, stores) = mpsc::sync_channel(WAITING_MAX);
        let thread = thread::Builder::new().name("dirigo-reaper".into());
        let reap = move || {
            crate::thread::give_way(crate::thread::WORKER_NICENESS);
            stores.into_iter().for_each(drop);
        };
        thread.spawn(reap).ok()?;
        Some(sender)
    };
    REAPER.get_or_init(start).as_ref()
}
