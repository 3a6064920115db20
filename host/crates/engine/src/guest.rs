//! What the host keeps next to a guest's memory while an instance lives: its limits, its clocks, its panic message.
//!
//! One per store. Knows nothing of actors or turns.

use std::sync::Arc;

use wasmtime::{Memory, ResourceLimiterAsync, WasmCoreDump};

use crate::bulk;
use crate::call_items::CallItems;
use crate::clocks::Clocks;
use crate::cooperative::{SERVED_NS_MAX, Yielder};
use crate::guest_log::{Counted, GuestLog};
use crate::seed::{EventIdentity, Numbers, Seed};
use crate::setup::Setup;
use dirigo_ground::limits::Limits;
use dirigo_ground::quota::Quota;

/// How many WASI handles a guest may hold at once: far more streams and pollables than a well-behaved one needs, far fewer
/// than would cost memory.
pub(crate) const HANDLES_MAX: usize = 1024;
/// The most elements of a table, whatever the limits say: instructions on whole tables run to their end.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 20_000;

/// The data of a store.
pub(crate) struct Guest {
    pub(crate) limits: Limits,
    quota: Arc<Quota>,
    /// What is charged to the quota for its memory.
    memory: u64,
    /// How much of it the last growth was.
    growth: u64,
    touching: Yielder,
    /// Whether a growth of memory was denied since the last turn began: what a trap is then blamed on.
    pub(crate) memory_denied: bool,
    /// Its linear memory, once a trap has shown it.
    pub(crate) memory_shown: Option<Memory>,
    /// What it reported of a panic.
    pub(crate) panic_message: Option<PanicMessage>,
    pub(crate) log: Arc<GuestLog>,
    /// What it has counted in the call under way: it counts once that takes effect.
    counted: Counted,
    /// How many WASI handles it holds.
    handles: usize,
    pub(crate) seed: Seed,
    /// Which event the call under way is about, if it is about one.
    event: Option<EventIdentity>,
    /// The random numbers of that call, once it has drawn one.
    numbers: Option<Numbers>,
    /// The clocks of that call.
    pub(crate) clocks: Clocks,
    memory_bytes: usize,
    /// The items of the keys of that call.
    pub(crate) items: CallItems,
    /// What the host did for the guest since it last yielded on that account, in ns, roughly.
    served_ns: u64,
}

/// A panic, as the guest reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PanicMessage {
    pub(crate) message: String,
    pub(crate) event: Option<u32>,
}

impl Guest {
    pub(crate) fn new(setup: &Setup) -> Self {
        Self {
            limits: setup.limits,
            quota: setup.quota.clone(),
            memory: 0,
            growth: 0,
            touching: Yielder::new(setup.clock.clone()),
            memory_denied: false,
            memory_shown: None,
            panic_message: None,
            log: setup.log.clone(),
            counted: Counted::default(),
            handles: 0,
            seed: setup.seed,
            event: None,
            numbers: None,
            clocks: Clocks::default(),
            memory_bytes: 0,
            items: CallItems::default(),
            served_ns: 0,
        }
    }

    /// The linear memory that it was granted.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Adds to a counter, if the call under way takes effect.
    pub(crate) fn count(&mut self, name: &str, value: f64) {
        if !self.counted.add(name, value) {
            self.log.report_uncounted(name);
        }
    }

    /// Has what it counted count: the call took effect.
    pub(crate) fn commit_counts(&mut self) {
        for (name, value) in self.counted.take() {
            self.log.count(&name, value);
        }
    }

    /// Forgets what it counted: the call took none.
    pub(crate) fn discard_counts(&mut self) {
        self.counted.take();
    }

    /// Begins to do something for it that may take long.
    pub(crate) fn yielder(&self) -> Yielder {
        self.touching.another()
    }

    /// Notes what a trap shows of its memory.
    pub(crate) fn note_memory(&mut self, error: &wasmtime::Error) {
        let dump = error.downcast_ref::<WasmCoreDump>();
        self.memory_shown = dump.and_then(|dump| dump.memories().first().copied());
    }

    /// Begins a call that is about this event, of this time in ms since the epoch.
    pub(crate) fn begin_event(&mut self, event: EventIdentity, time_ms: i64) {
        self.event = Some(event);
        self.numbers = None;
        self.clocks = Clocks::at(time_ms);
    }

    /// The random numbers of the call under way.
    pub(crate) fn random(&mut self) -> &mut Numbers {
        let (seed, event) = (self.seed, self.event.as_ref());
        self.numbers.get_or_insert_with(|| seed.numbers(event))
    }

    /// Counts a WASI handle, and gives the number that it stands for.
    ///
    /// # Errors
    /// When the guest holds too many.
    pub(crate) fn new_handle(&mut self, rep: u32) -> wasmtime::Result<u32> {
        wasmtime::ensure!(
            self.handles < HANDLES_MAX,
            "holds {HANDLES_MAX} handles of WASI, as many as an instance may"
        );
        self.handles += 1;
        Ok(rep)
    }

    /// Notes that the guest dropped a WASI handle.
    pub(crate) fn drop_handle(&mut self) {
        self.handles -= 1;
    }

    /// Accounts for a call of the host that read this many bytes; gives whether the guest has been served for long enough
    /// to let others run. Fuel does not tell: a call burns 20 units and lasts as long as thousands.
    pub(crate) fn serve(&mut self, bytes: usize) -> bool {
        /// A call with a short line takes about this long.
        const CALL_NS: u64 = 500;
        /// Copying and looking for what is no UTF-8 go through 4 bytes/ns at least.
        const BYTES_PER_NS: u64 = 4;
        self.served_ns += CALL_NS + bytes as u64 / BYTES_PER_NS;
        let is_due = self.served_ns >= SERVED_NS_MAX;
        if is_due {
            self.served_ns = 0;
        }
        is_due
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.quota.remove_memory(self.memory);
    }
}

#[async_trait::async_trait]
impl ResourceLimiterAsync for Guest {
    async fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let added = (desired - current) as u64;
        if added == bulk::LET_OTHERS_RUN_BYTES {
            self.touching.yield_if_due().await;
            return Ok(false);
        }
        // What a component starts with was known when it got its place.
        let is_start = current == 0;
        let granted = desired as u64 <= self.limits.memory && (is_start || self.quota.try_add_memory(added));
        if granted {
            if is_start {
                self.quota.add_memory(added);
            }
            self.memory += added;
            self.growth = added;
            self.touching.restart();
        }
        self.memory_denied |= !granted;
        if granted {
            self.memory_bytes = self.memory_bytes.max(desired);
        }
        Ok(granted)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory_denied = true;
        // It was granted, and came to nothing.
        let growth = std::mem::take(&mut self.growth);
        self.memory -= growth;
        self.quota.remove_memory(growth);
        Ok(())
    }

    async fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX && desired as u64 <= self.limits.table_elements)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use dirigo_ground::clock::ManualClock;

    const PAGE: usize = 64 << 10;

    fn guest() -> Guest {
        let clock: Arc<dyn dirigo_ground::clock::Clock> = Arc::new(ManualClock::default());
        Guest::new(&Setup {
            schema: None,
            limits: Limits {
                memory: 10 * PAGE as u64,
                ..Limits::default()
            },
            config: "".into(),
            log: Arc::new(GuestLog::new("test", "guest", clock.clone(), Arc::default())),
            quota: Arc::default(),
            seed: Seed::new("test", "guest"),
            clock,
        })
    }

    fn grow(guest: &mut Guest, current: usize, desired: usize) -> bool {
        let asked = pin!(guest.memory_growing(current, desired, None)).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(granted) = asked else {
            panic!("no time goes by");
        };
        granted.unwrap()
    }

    #[test]
    fn a_growth_past_the_limit_is_denied_and_remembered() {
        let mut guest = guest();
        assert!(grow(&mut guest, 0, 10 * PAGE));
        assert!(!guest.memory_denied);
        assert!(!grow(&mut guest, 10 * PAGE, 11 * PAGE));
        assert!(guest.memory_denied);
        assert_eq!(guest.memory_bytes(), 10 * PAGE);
    }

    #[test]
    fn calls_of_the_host_are_due_to_yield_after_as_much_as_they_take() {
        let mut guest = guest();
        let mut calls_until_due = |bytes| (1..=1_000).find(|_| guest.serve(bytes));
        assert_eq!(
            [calls_until_due(0), calls_until_due(0)],
            [Some(100); 2],
            "each of the shortest takes 500 ns"
        );
        assert_eq!(calls_until_due(4_000), Some(34), "4,000 bytes take 1,000 ns more");
        assert_eq!(calls_until_due(1 << 20), Some(1));
    }

    #[test]
    fn what_a_guest_counts_counts_once_its_call_takes_effect() {
        let mut guest = guest();
        guest.count("seen", 1.0);
        guest.discard_counts();
        guest.commit_counts();
        assert!(guest.log.metrics().is_empty(), "it was rolled back");
        guest.count("seen", 1.0);
        guest.count("seen", 2.0);
        assert!(guest.log.metrics().is_empty(), "it has no effect yet");
        guest.commit_counts();
        guest.commit_counts();
        assert_eq!(guest.log.metrics().get("seen"), Some(&3.0));
    }

    #[test]
    fn to_let_others_run_is_no_growth() {
        let mut guest = guest();
        assert!(grow(&mut guest, 0, PAGE));
        let marker = usize::try_from(bulk::LET_OTHERS_RUN_BYTES).unwrap();
        assert!(!grow(&mut guest, PAGE, PAGE + marker));
        assert!(!guest.memory_denied, "nothing was asked for");
        assert_eq!((guest.memory_bytes(), guest.memory), (PAGE, PAGE as u64));
    }
}
