//! Calls that may panic, and then are to say nothing.
//!
//! redb panics over some files that are damaged or are no databases. The message that names the file says what that means; the
//! report of a panic before it would look like a fault of Dirigo.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What `act` gives; `None` if it panics. Panics of other threads are reported as before.
pub(super) fn without_panic<T>(act: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_QUIET.get() {
                report(info);
            }
        }));
    });
    let before = IS_QUIET.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(act));
    IS_QUIET.set(before);
    done.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_panics_gives_nothing_and_what_does_not_gives_its_value() {
        assert_eq!(without_panic(|| 7), Some(7));
        assert_eq!(without_panic(|| -> u8 { panic!("on purpose") }), None);
        assert!(!IS_QUIET.get());
    }
}
