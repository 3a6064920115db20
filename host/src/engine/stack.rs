//! What a guest leaves of the stack that it ran on.
//!
//! Each store has a stack of its own, out of the pool, to which it goes back as it is. A guest that called itself half a
//! megabyte deep would leave as much in memory, sooner or later in each of thousands of places, and on nobody's account. So what
//! lies deeper than honest guests reach is given back to the system before its store is dropped.

use std::pin::pin;
use std::task::{Context, Waker};

use rustix::mm::{Advice, madvise};
use wasmtime::{Func, Store};

/// The size of a stack. Wasmtime puts what the host does for a guest on it, too.
pub(super) const BYTES: usize = 1 << 20;
/// What stays: turns of the built-in operators need 8 KiB.
const KEPT_BYTES: usize = 16 << 10;
/// Where the function that gives back runs, counted from the beginning of the stack, is less deep than this: there is nothing on
/// it but that and what enters it.
const ENTRY_BYTES_MAX: usize = 64 << 10;

/// Gives back what a guest that has returned, trapped or been dropped left below the beginning of its stack.
pub(super) fn give_back<T: Send + 'static>(store: &mut Store<T>) {
    let deeper = Func::wrap(&mut *store, give_back_deeper);
    // It waits for nothing. What fails leaves the stack as it is, and so do stores that never had one.
    let call = pin!(deeper.call_async(store, &[], &mut []));
    let _ = call.poll(&mut Context::from_waker(Waker::noop()));
}

/// Gives back what lies deeper in the stack that it is called on.
#[inline(never)]
#[allow(unsafe_code, reason = "the system is told to forget what is in memory")]
fn give_back_deeper() {
    let here = 0_u8;
    let page = rustix::param::page_size();
    let bytes = BYTES - KEPT_BYTES - ENTRY_BYTES_MAX;
    let end = (&raw const here).map_addr(|address| (address & !(page - 1)) - KEPT_BYTES);
    let start = end.wrapping_byte_sub(bytes).cast_mut().cast();
    // SAFETY: this runs on the stack of a store, which wasmtime made `BYTES` long and which nothing else uses meanwhile; no more
    // than `ENTRY_BYTES_MAX` of it lie above, so the range is part of it, and nothing in use is that much deeper than here.
    let _ = unsafe { madvise(start, bytes, Advice::LinuxDontNeed) };
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use wasmtime::{Caller, Engine, Instance, Module};

    use super::super::way::done;
    use super::*;

    /// Calls itself as often as it is told, and traps at the bottom if it is told so.
    const GUEST: &str = r#"(module
        (import "host" "here" (func $here))
        (func $call (export "call") (param $depth i32) (param $traps i32)
            (call $here)
            (if (local.get $depth)
                (then (call $call (i32.sub (local.get $depth) (i32.const 1)) (local.get $traps)))
                (else (if (local.get $traps) (then unreachable))))))"#;
    /// Each call takes some tens of bytes.
    const DEPTH: i32 = 5_000;

    /// What is in memory of the mapping around an address, in bytes.
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
    fn what_a_deep_call_used_of_its_stack_is_given_back_and_the_stack_serves_again() {
        static DEEPEST: AtomicUsize = AtomicUsize::new(usize::MAX);
        let config = super::super::config(None);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, wat::parse_str(GUEST).unwrap()).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_fuel(u64::MAX).unwrap();
        let here = Func::wrap(&mut store, |_: Caller<'_, ()>| {
            let here = 0_u8;
            DEEPEST.fetch_min((&raw const here).addr(), Ordering::Relaxed);
        });
        let instance = done(Instance::new_async(&mut store, &module, &[here.into()]))
            .0
            .unwrap();
        let call = instance.get_typed_func::<(i32, i32), ()>(&mut store, "call").unwrap();
        for traps in [0, 1] {
            let called = done(call.call_async(&mut store, (DEPTH, traps))).0;
            assert_eq!(called.is_err(), traps == 1);
            let deepest = DEEPEST.load(Ordering::Relaxed);
            let left = resident(deepest);
            assert!(left > 200 << 10, "{left} bytes were used");
            give_back(&mut store);
            let left = resident(deepest);
            assert!(left <= KEPT_BYTES + ENTRY_BYTES_MAX, "{left} bytes stay");
        }
    }
}
