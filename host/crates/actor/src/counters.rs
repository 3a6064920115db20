//! What an operator did, in numbers.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use dirigo_state::windows::OpenChange;
use serde::Serialize;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts that only grow; each is exact once the pipeline is at rest.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        /// The counts at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// The counts now.
            #[must_use]
            pub fn read(&self) -> Counts {
                Counts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Events that arrived.
    events_in,
    /// Events handed on.
    events_out,
    /// Outputs with names, of all names together, whether something reads them or not.
    named_out,
    /// Events that led to output at once.
    passed,
    /// Events that led to none, by the operator's choice.
    filtered,
    /// Events taken into a window, or into the state of a process.
    absorbed,
    /// Events that came after event time had passed the windows which they belong to, or their own times.
    late,
    /// Dead letters: events that failed, and failed timers. A window that could not be finished counts for one of its events.
    dead_letters,
    /// Dead letters of timers that failed, those of a key that were to fire together as one: no event is in them.
    failed_timers,
    /// Windows that were finished incomplete, since their input had ended.
    partial_windows,
    /// Windows in time that were finished.
    windows,
    /// Turns that ended in a trap, and were rolled back.
    traps,
    /// Turns of several events that burnt more than their events usually do, and were rolled back; the events ran again in
    /// smaller turns, in the end each with all that one event may burn.
    retries,
    /// Fuel burnt on events, that of turns which were rolled back included; not what opening instances took.
    fuel,
    /// Worker time that turns took, in ns.
    worker_ns,
    /// Turns, those that were rolled back included.
    turns,
    /// Uninterrupted parts of turns.
    slices,
    /// Actors that got an instance.
    activations,
    /// Actors that gave theirs up.
    deactivations,
    /// Times that an actor was kept waiting because it trapped again and again.
    quarantines,
    /// The longest uninterrupted part of a turn, in µs of its worker's processor time.
    poll_us_max,
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, amount: impl TryInto<u64>) {
    counter.fetch_add(
        amount.try_into().ok().expect("counts are not negative"),
        Ordering::Relaxed,
    );
}

/// What lies in open windows.
#[derive(Debug, Default)]
pub(super) struct OpenWindows {
    windows: AtomicI64,
    events: AtomicI64,
}

impl OpenWindows {
    pub(super) fn change(&self, change: OpenChange) {
        if change != OpenChange::default() {
            self.windows.fetch_add(change.windows, Ordering::Relaxed);
            self.events.fetch_add(change.events, Ordering::Relaxed);
        }
    }

    /// How many there are, with how many events in all.
    pub(super) fn read(&self) -> (u64, u64) {
        let count = |counter: &AtomicI64| u64::try_from(counter.load(Ordering::Relaxed)).unwrap_or(0);
        (count(&self.windows), count(&self.events))
    }
}

/// Raises a counter to this value.
pub(super) fn at_least(counter: &AtomicU64, value: u64) {
    // A load is cheap where several workers run one operator; a write to a line that they share is not.
    if counter.load(Ordering::Relaxed) < value {
        counter.fetch_max(value, Ordering::Relaxed);
    }
}
