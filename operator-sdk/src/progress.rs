//! Which event is being worked on, so that a panic can name it.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const NONE: u32 = u32::MAX;

// A component runs on one thread, where a relaxed store is a plain one. Natively, in tests that run side by side,
// nobody reads it.
static CURRENT: AtomicU32 = AtomicU32::new(NONE);

#[inline]
pub(crate) fn at_event(index: u32) {
    CURRENT.store(index, Relaxed);
}

#[inline]
pub(crate) fn at_no_event() {
    CURRENT.store(NONE, Relaxed);
}

/// The event being worked on, if one is.
#[cfg(target_arch = "wasm32")]
pub(crate) fn current_event() -> Option<u32> {
    Some(CURRENT.load(Relaxed)).filter(|&index| index != NONE)
}
