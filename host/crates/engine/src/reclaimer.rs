//! Large memories, reclaimed without holding anybody up.
//!
//! Giving 100 MiB back takes 16 ms, and wasmtime does it in one system call when a store is dropped. So it is done before,
//! in pieces: by the turn that ended the guest, which lets others run on the way and is charged to its tenant, and by a
//! thread of its own where no turn did. Small memories are dropped where they are: that takes a few µs, and a place in the
//! pool is free at once. What is dropped in the middle of a call, when a pipeline is stopped, goes back in one piece.
//!
//! That the turn does it has two more reasons. Who makes a tenant restart pays for it. And pages that are freed on the
//! processor where others are found next stay there, while the kernel moves pages between processors 2,016 at a time
//! (`CONFIG_PCP_BATCH_SCALE_MAX`), which keeps the page fault that needs one for 0.25 to 0.45 ms.

use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::sync::OnceLock;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::task::{Context, Poll, Waker};
use std::thread;

use rustix::mm::{Advice, madvise};
use wasmtime::component::{Func, Val};
use wasmtime::{Memory, Store};

use crate::cooperative::Yielder;
use crate::guest::Guest;

/// More memory than this is given back in pieces: 512 pages, which take about 0.1 ms.
const KEPT_BYTES_MAX: usize = 2 << 20;
/// How many stores may wait. They still hold their places in the pool, of which the host reserves more than these for
/// itself; what comes when the queue is full is dropped where it is.
const WAITING_MAX: usize = 4;
/// How much is given back at a time, in about 0.02 ms. Where the kernel is not preemptible, nobody else runs on the processor
/// until then, whatever the priorities.
const PIECE_BYTES: usize = 128 << 10;

/// Keeps a store from holding its worker up when it is dropped.
pub(crate) struct StoreGuard(Option<Guarded>);

/// What there is to drop.
struct Guarded {
    store: Store<Guest>,
    /// A function of the guest, once it has any.
    entry: Option<Func>,
    /// How much of its memory is reclaimed, from the start. Nothing of it is kept in the pool, whose thousands of slots would all
    /// have been such a guest's one day.
    reclaimed_bytes: usize,
}

impl StoreGuard {
    pub(crate) fn new(store: Store<Guest>) -> Self {
        Self(Some(Guarded {
            store,
            entry: None,
            reclaimed_bytes: 0,
        }))
    }

    /// Ends a guest: reclaims its memory, and lets others run in between.
    pub(crate) async fn reclaim(mut self, yielder: &mut Yielder) {
        let guarded = self.get_mut();
        if guarded.is_large() {
            guarded.reclaim(yielder).await;
        }
    }

    /// Notes where the guest can be entered.
    pub(crate) fn note_entry(&mut self, entry: Func) {
        self.get_mut().entry = Some(entry);
    }

    fn get_mut(&mut self) -> &mut Guarded {
        self.0.as_mut().expect("it is taken only when it is dropped")
    }
}

impl Deref for StoreGuard {
    type Target = Store<Guest>;

    fn deref(&self) -> &Store<Guest> {
        let guarded = self.0.as_ref();
        &guarded.expect("it is taken only when it is dropped").store
    }
}

impl DerefMut for StoreGuard {
    fn deref_mut(&mut self) -> &mut Store<Guest> {
        &mut self.get_mut().store
    }
}

impl Drop for StoreGuard {
    fn drop(&mut self) {
        if let Some(guarded) = self.0.take_if(|guarded| guarded.is_large())
            && let Some(reclaimer) = reclaimer()
        {
            match reclaimer.try_send(guarded) {
                Ok(()) => {}
                Err(TrySendError::Full(guarded) | TrySendError::Disconnected(guarded)) => drop(guarded),
            }
        }
    }
}

/// Starts the thread, if it does not run.
pub(crate) fn start() {
    reclaimer();
}

/// The queue of the thread; `None` where no thread can be had.
fn reclaimer() -> Option<&'static SyncSender<Guarded>> {
    static RECLAIMER: OnceLock<Option<SyncSender<Guarded>>> = OnceLock::new();
    let start = || {
        let (sender, all) = mpsc::sync_channel(WAITING_MAX);
        let thread = thread::Builder::new().name("dirigo-reclaimer".into());
        let run = move || {
            // It enters guests. What that needs is had now, or never.
            wasmtime::Engine::tls_eager_initialize();
            dirigo_ground::thread::set_niceness(dirigo_ground::thread::WORKER_NICENESS);
            all.into_iter().for_each(Guarded::reclaim_all);
        };
        thread.spawn(run).ok()?;
        Some(sender)
    };
    RECLAIMER.get_or_init(start).as_ref()
}

impl Guarded {
    fn is_large(&self) -> bool {
        let memory_bytes = self.store.data().memory_bytes();
        memory_bytes.saturating_sub(self.reclaimed_bytes) > KEPT_BYTES_MAX
    }

    async fn reclaim(&mut self, yielder: &mut Yielder) {
        yielder.restart();
        while self.reclaim_piece() {
            yielder.yield_if_due().await;
        }
    }

    fn reclaim_all(mut self) {
        while self.reclaim_piece() {}
    }

    /// Gives back a little of what wasmtime would give back at once; whether there is more. A failure leaves the rest to
    /// wasmtime.
    #[allow(unsafe_code, reason = "the system is told to forget what is in memory")]
    fn reclaim_piece(&mut self) -> bool {
        let Some(memory) = self.memory() else {
            return false;
        };
        let at = self.reclaimed_bytes;
        let bytes = PIECE_BYTES.min(memory.data_size(&self.store).saturating_sub(at));
        if bytes == 0 {
            return false;
        }
        let start = memory.data_ptr(&self.store);
        // SAFETY: the range lies within a mapped linear memory, which nobody borrows while the store is borrowed mutably here;
        // the mapping stays, and the guest may find any bytes in it.
        let given = unsafe { madvise(start.add(at).cast(), bytes, Advice::LinuxDontNeed) };
        if given.is_ok() {
            self.reclaimed_bytes += bytes;
        }
        given.is_ok()
    }

    /// The guest's memory. Wasmtime shows it with a trap only, so a guest without one is entered with no fuel.
    fn memory(&mut self) -> Option<Memory> {
        if self.store.data().memory_shown.is_none() {
            let entry = self.entry.take()?;
            self.store.set_fuel(0).ok()?;
            self.store.fuel_async_yield_interval(None).ok()?;
            let mut result = [Val::Bool(false)];
            let params = [Val::String(String::new())];
            let entered = {
                let call = pin!(entry.call_async(&mut self.store, &params, &mut result));
                call.poll(&mut Context::from_waker(Waker::noop()))
            };
            if let Poll::Ready(Err(error)) = entered {
                self.store.data_mut().note_memory(&error);
            }
        }
        self.store.data().memory_shown
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wasmtime::component::{Component, Linker};

    use super::*;
    use crate::config::config;
    use crate::cooperative::done;
    use crate::guest_log::GuestLog;
    use crate::seed::Seed;
    use crate::setup::Setup;
    use dirigo_ground::clock::{Clock, ManualClock, SlowClock};
    use dirigo_pipeline::Limits;

    /// A guest of 64 pages, which traps if it is given a text of more than 9 bytes.
    const GUEST: &str = r#"(component
        (core module $module
            (memory (export "memory") 64)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
            (func (export "open") (param i32 i32) (result i32)
                (if (i32.gt_u (local.get 1) (i32.const 9)) (then unreachable))
                (i32.const 0)))
        (core instance $instance (instantiate $module))
        (func (export "open") (param "config" string) (result (result (error string)))
            (canon lift (core func $instance "open") (memory $instance "memory")
                (realloc (func $instance "realloc")))))"#;
    const MEMORY_BYTES: usize = 64 << 16;

    /// An engine with a pool.
    fn engine() -> wasmtime::Engine {
        wasmtime::Engine::new(&config(Some(64))).unwrap()
    }

    /// A guest that was called with `config` and has ones all over its memory.
    fn guest(config: &str) -> (StoreGuard, Memory) {
        let engine = engine();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
        let setup = Setup {
            schema: None,
            limits: Limits::default(),
            config: "".into(),
            log: Arc::new(GuestLog::new("test", "guest", clock.clone(), Arc::default())),
            quota: Arc::default(),
            seed: Seed::new("test", "guest"),
            clock,
        };
        let mut guard = StoreGuard::new(Store::new(&engine, Guest::new(&setup)));
        guard.limiter_async(|guest| guest);
        guard.set_fuel(1_000_000).unwrap();
        let component = Component::new(&engine, wat::parse_str(GUEST).unwrap()).unwrap();
        let instance = done(Linker::new(&engine).instantiate_async(&mut *guard, &component))
            .0
            .unwrap();
        let open = instance
            .get_typed_func::<(&str,), (Result<(), String>,)>(&mut *guard, "open")
            .unwrap();
        guard.note_entry(*open.func());
        if let Err(error) = done(open.call_async(&mut *guard, (config,))).0 {
            guard.data_mut().note_memory(&error);
        }
        let memory = guard.get_mut().memory().expect("a trap shows it");
        memory.data_mut(&mut *guard).fill(1);
        (guard, memory)
    }

    fn assert_given_back(guarded: &Guarded, memory: Memory) {
        let given = memory.data(&guarded.store);
        assert_eq!(given.len(), MEMORY_BYTES);
        assert!(given.iter().all(|byte| *byte == 0), "the system has it");
    }

    #[test]
    fn the_memory_of_a_guest_that_ended_is_given_back() {
        for config in ["fine", "what it traps at"] {
            let (mut guard, memory) = guest(config);
            let mut yielder = Yielder::new(Arc::new(ManualClock::default()));
            let guarded = guard.get_mut();
            assert!(guarded.is_large());
            let ((), yields) = done(guarded.reclaim(&mut yielder));
            assert_given_back(guarded, memory);
            assert!(!guarded.is_large(), "no thread has to");
            assert_eq!(yields, 0, "no time went by");
        }
    }

    #[test]
    fn others_may_run_after_each_piece_that_takes_long() {
        let (mut guard, memory) = guest("fine");
        let mut yielder = Yielder::new(Arc::new(SlowClock::default()));
        let guarded = guard.get_mut();
        let ((), yields) = done(guarded.reclaim(&mut yielder));
        assert_given_back(guarded, memory);
        assert_eq!(yields, MEMORY_BYTES / PIECE_BYTES);
    }

    /// Calls itself as often as it is told.
    const DEEP: &str = r#"(module
        (import "host" "here" (func $here))
        (func $call (export "call") (param $depth i32)
            (call $here)
            (if (local.get $depth) (then (call $call (i32.sub (local.get $depth) (i32.const 1)))))))"#;

    /// What is in memory of the mapping around an address, in bytes. Each stack of the pool is one, between guard pages.
    fn resident(address: usize) -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_in = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let bounds = range.map(|(start, end)| [start, end].map(|bound| usize::from_str_radix(bound, 16)));
            if let Some([Ok(start), Ok(end)]) = bounds {
                is_in = (start..end).contains(&address);
            } else if let Some(rest) = line.strip_prefix("Rss:").filter(|_| is_in) {
                return rest.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10;
            }
        }
        panic!("{address:#x} is not mapped");
    }

    #[test]
    fn nothing_is_kept_of_a_stack_that_a_guest_went_deep_into() {
        let engine = engine();
        let module = wasmtime::Module::new(&engine, wat::parse_str(DEEP).unwrap()).unwrap();
        let mut store = Store::new(&engine, usize::MAX);
        store.set_fuel(u64::MAX).unwrap();
        let here = wasmtime::Func::wrap(&mut store, |mut caller: wasmtime::Caller<'_, usize>| {
            let here = 0_u8;
            *caller.data_mut() = (*caller.data()).min((&raw const here).addr());
        });
        let instance = done(wasmtime::Instance::new_async(&mut store, &module, &[here.into()]))
            .0
            .unwrap();
        let call = instance.get_typed_func::<i32, ()>(&mut store, "call").unwrap();
        done(call.call_async(&mut store, 5_000)).0.unwrap();
        let deepest = *store.data();
        let used = resident(deepest);
        assert!(used > 200 << 10, "{used} bytes");
        drop(store);
        let left = resident(deepest);
        assert!(left <= 16 << 10, "{left} bytes");
    }
}
