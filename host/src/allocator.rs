//! The allocator, which does nothing that lasts on the threads of others.
//!
//! Mimalloc gives memory back to the system that has been free for a second, all of it at once, on the thread that happens to free
//! something then: a worker in the middle of a guest's poll, a source, a sink. That took 15 to 46 ms (docs/design/001-engine.md). So its
//! delay is set to ten years, and a thread gives memory back instead.
//!
//! And each thread looks through all its pages for what others have freed of them, every 10,000 times that it needs a page: with a hundred
//! thousand actors 5 to 7 ms. It finds the same where it next allocates of that size, so it looks as seldom as it can be told to.

use std::ffi::{c_int, c_long};
use std::time::Duration;

use dirigo::thread::{WORKER_NICENESS, raise_priority, set_niceness};
use mimalloc::MiMalloc;

/// Batches are made by one thread and dropped by another; this allocator takes that without locks.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay`: for how many ms memory has to be free before whoever frees more gives it back.
const PURGE_DELAY: c_int = 15;
/// `mi_option_generic_collect`: how often a thread needs a page until it looks through all that it has.
const GENERIC_COLLECT: c_int = 34;
/// The most that mimalloc takes for it.
const GENERIC_COLLECT_MAX: c_long = 1_000_000;
/// For ever: ten years.
const NEVER_MS: c_long = 10 * 365 * 24 * 60 * 60 * 1_000;
/// How often it is given back, as often as mimalloc would.
const INTERVAL: Duration = Duration::from_secs(1);

#[allow(unsafe_code, reason = "the wrapper has no name for the allocator's options")]
// SAFETY: they are functions of mimalloc, which any thread may call at any time, with these types.
unsafe extern "C" {
    safe fn mi_option_set(option: c_int, value: c_long);
    safe fn mi_collect(force: bool);
}

/// Has a thread of its own give memory back from now on, if one can be had.
pub(crate) fn start() {
    mi_option_set(GENERIC_COLLECT, GENERIC_COLLECT_MAX);
    let thread = std::thread::Builder::new().name("dirigo-allocator".into());
    if thread.spawn(give_back).is_ok() {
        mi_option_set(PURGE_DELAY, NEVER_MS);
    }
}

fn give_back() {
    // It gives way to sources and sinks as workers do, and takes as little at a time as the kernel can be asked for.
    set_niceness(WORKER_NICENESS);
    raise_priority();
    loop {
        std::thread::sleep(INTERVAL);
        mi_collect(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(unsafe_code, reason = "as above")]
    // SAFETY: as above.
    unsafe extern "C" {
        safe fn mi_option_get(option: c_int) -> c_long;
    }

    /// What is resident, in bytes.
    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    #[test]
    fn the_options_are_those_that_are_meant() {
        assert_eq!(mi_option_get(GENERIC_COLLECT), 10_000);
        mi_option_set(GENERIC_COLLECT, GENERIC_COLLECT_MAX);
        assert_eq!(mi_option_get(GENERIC_COLLECT), 1_000_000);
    }

    #[test]
    fn memory_is_given_back_when_the_thread_does_it_and_not_by_who_frees_it() {
        assert_eq!(mi_option_get(PURGE_DELAY), 1_000, "mimalloc's own delay");
        mi_option_set(PURGE_DELAY, NEVER_MS);
        let blocks: Vec<Vec<u8>> = (0..64).map(|_| vec![1; 1 << 20]).collect();
        let full = resident();
        drop(blocks);
        assert!(full.saturating_sub(resident()) < 32 << 20, "nobody gave it back");
        mi_collect(true);
        assert!(full.saturating_sub(resident()) > 32 << 20, "{full} and {}", resident());
    }
}
