//! Who runs next.
//!
//! The scheduler keeps what is ready and hands it to workers, one slice at a time, in the order of a policy. It knows
//! nothing of WebAssembly, actors or batches: an item is anything that can be pushed and popped.

mod budget;
mod fair;
mod fifo;
mod io_permit;
mod overdue;
mod policy;
mod ready_queue;
mod tenant_queue;
mod urgency;
mod usage;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dirigo_ground::sync::{Condvar, Mutex, MutexGuard};

pub use budget::BURST_NS;
use dirigo_ground::clock::Clock;
pub use fair::CREDIT_NS;
pub use io_permit::IoPermits;
use io_permit::{Grant, IoPermit, Leased, OWED_NS, PermitIssuer};
use overdue::Overdue;
pub use policy::{PolicyKind, Ready, Share, TenantIndex, Used};
pub use ready_queue::ReadyQueue;
pub use urgency::Urgency;
pub use usage::Usage;

/// The queue of everything that is ready to run, shared by all workers.
pub struct Scheduler<T> {
    state: Mutex<SchedulerState<T>>,
    work: Condvar,
    clock: Arc<dyn Clock>,
    is_shared: AtomicBool,
}

struct SchedulerState<T> {
    queue: ReadyQueue<Item<T>>,
    sleeping: usize,
    /// How many threads run in place of a worker that sleeps, or slept when they began.
    leased: usize,
    overdue: Overdue,
    closed: bool,
}

/// What waits for a worker.
enum Item<T> {
    /// Something to run.
    Own(T),
    /// Something that another thread runs meanwhile.
    IoPermit(Arc<IoPermit>),
}

impl<T: Send + 'static> Scheduler<T> {
    /// An empty queue in the order of `choice`.
    #[must_use]
    pub fn new(choice: PolicyKind, clock: Arc<dyn Clock>) -> Self {
        Self {
            state: Mutex::new(SchedulerState {
                queue: ReadyQueue::new(choice),
                sleeping: 0,
                leased: 0,
                overdue: Overdue::default(),
                closed: false,
            }),
            work: Condvar::new(),
            clock,
            is_shared: AtomicBool::new(false),
        }
    }

    /// Sets what a tenant may use; [`Share::default`] until then. Its bucket is full afterwards.
    pub fn set_share(&self, tenant: TenantIndex, share: Share) {
        let now_ns = self.clock.now_ns();
        self.state.lock().queue.set_share(tenant, share, now_ns);
        // It may no longer be over its budget.
        self.work.notify_all();
    }

    /// What a tenant has used so far.
    pub fn usage(&self, tenant: TenantIndex) -> Usage {
        let now_ns = self.clock.now_ns();
        self.state.lock().queue.usage(tenant, now_ns)
    }

    /// Says that there is more than one tenant, so that what each of them does next to the workers matters to others.
    pub fn share(&self) {
        self.is_shared.store(true, Ordering::Relaxed);
    }

    /// Whether there is more than one tenant.
    pub fn is_shared(&self) -> bool {
        self.is_shared.load(Ordering::Relaxed)
    }

    /// Whether another tenant waits for the worker on which something of this one runs.
    pub fn is_awaited_by_others(&self, tenant: TenantIndex) -> bool {
        self.state.lock().queue.has_ready_of_others(tenant)
    }

    /// The I/O permits of a thread that works for `tenant`; `is_timed` if its pipeline has a latency target.
    pub fn io_permits(self: &Arc<Self>, tenant: TenantIndex, is_timed: bool) -> IoPermits {
        IoPermits::new(Some(self.clone()), tenant, is_timed)
    }

    /// Adds an item that became ready; drops it where the scheduler is closed.
    pub fn push(&self, ready: Ready<T>) {
        let mut state = self.state.lock();
        if state.closed {
            // Dropping the item may call the scheduler, so it is dropped without the lock.
            drop(state);
            drop(ready);
            return;
        }
        state.queue.push(ready.map(Item::Own));
        self.wake_for(state);
    }

    /// Drops the chosen items of a tenant that wait for a worker.
    pub fn remove(&self, tenant: TenantIndex, is_chosen: impl Fn(&T) -> bool) {
        let is_chosen = |item: &Item<T>| match item {
            Item::Own(item) => is_chosen(item),
            Item::IoPermit(_) => false,
        };
        let removed = self.state.lock().queue.remove(tenant, &is_chosen);
        drop(removed);
    }

    /// Wakes a worker for what was added.
    fn wake_for(&self, state: MutexGuard<'_, SchedulerState<T>>) {
        if state.sleeping > 0 {
            drop(state);
            self.work.notify_one();
        }
    }

    /// The next item to run; waits for one. `None` once the scheduler is closed. Each item is settled when its slice has
    /// ended.
    pub fn next(&self) -> Option<Ready<T>> {
        self.take(self.state.lock())
    }

    /// [`settle`](Self::settle) and [`next`](Self::next) in one: nobody comes between them, and the lock is taken once.
    pub fn settle_and_next(&self, used: Used, again: Option<Ready<T>>) -> Option<Ready<T>> {
        let now_ns = self.clock.now_ns();
        let mut state = self.state.lock();
        if state.closed {
            // Dropped without the lock, as in `push`.
            drop(state);
            drop(again);
            return None;
        }
        state
            .queue
            .settle(used, again.map(|ready| ready.map(Item::Own)), now_ns);
        self.take(state)
    }

    fn take<'a>(&'a self, mut state: MutexGuard<'a, SchedulerState<T>>) -> Option<Ready<T>> {
        loop {
            if state.closed {
                return None;
            }
            let now_ns = self.clock.now_ns();
            if let Some(ready) = state.queue.pop(now_ns) {
                // A caller that made more than one item ready, a refill or a worker that gave its own back, wakes one
                // worker at most: each wakes the next.
                let wakes = state.sleeping > 0 && state.queue.has_ready();
                drop(state);
                if wakes {
                    self.work.notify_one();
                }
                if let Some(own) = self.own(ready) {
                    return Some(own);
                }
                state = self.state.lock();
                continue;
            }
            state.sleeping += 1;
            state = match state.queue.refill_at_ns() {
                Some(at_ns) => {
                    let wait = Duration::from_nanos(at_ns.saturating_sub(now_ns));
                    self.work.wait_for(state, wait).0
                }
                None => self.work.wait(state),
            };
            state.sleeping -= 1;
        }
    }

    /// The next item to run, if there is one now.
    pub fn try_next(&self) -> Option<Ready<T>> {
        loop {
            let ready = self.state.lock().queue.pop(self.clock.now_ns())?;
            if let Some(own) = self.own(ready) {
                return Some(own);
            }
        }
    }

    /// What a worker runs itself. For an I/O permit it stands back here.
    fn own(&self, ready: Ready<Item<T>>) -> Option<Ready<T>> {
        let Ready {
            tenant,
            start_by_ns,
            item,
        } = ready;
        match item {
            Item::Own(item) => Some(Ready {
                tenant,
                start_by_ns,
                item,
            }),
            Item::IoPermit(io_permit) => {
                let ns = self.lease(io_permit);
                let used = Used {
                    tenant,
                    is_timed: start_by_ns.is_some(),
                    ns,
                    fuel: 0,
                };
                self.settle(used, None);
                None
            }
        }
    }

    /// Stands back for I/O, unless that has to wait; gives the ns to charge.
    fn lease(&self, io_permit: Arc<IoPermit>) -> u64 {
        let now_ns = self.clock.now_ns();
        let Some(io_permit) = self.state.lock().overdue.keep(io_permit, now_ns) else {
            return 0;
        };
        let Leased { ns, is_overdue } = io_permit.lease();
        if is_overdue {
            self.state.lock().overdue.begin(io_permit.tenant, self.clock.now_ns());
        }
        ns
    }

    /// Charges a tenant for what its item used of a worker, and takes the item back if it wants to go on. The worker
    /// that settles then asks for the next one: nobody else is woken for what it gave back.
    pub fn settle(&self, used: Used, again: Option<Ready<T>>) {
        let now_ns = self.clock.now_ns();
        let again = again.map(|ready| ready.map(Item::Own));
        self.state.lock().queue.settle(used, again, now_ns);
    }

    /// Ends every present and future wait for work, and drops the items that wait for a worker, since an item may keep the scheduler itself alive.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let removed = state.queue.remove_all();
        state.overdue.clear();
        drop(state);
        drop(removed);
        self.work.notify_all();
    }
}

impl<T: Send + 'static> PermitIssuer for Scheduler<T> {
    fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    fn is_shared(&self) -> bool {
        Self::is_shared(self)
    }

    fn ask(&self, io_permit: &Arc<IoPermit>) -> Grant {
        let now_ns = self.clock.now_ns();
        let mut state = self.state.lock();
        if state.queue.is_owed(io_permit.tenant) {
            state.queue.charge_outside(io_permit.tenant, OWED_NS);
            return Grant::Owed;
        }
        if state.sleeping > state.leased {
            state.leased += 1;
            return Grant::OfSleeper;
        }
        state.queue.push_first(queued(io_permit.clone(), now_ns));
        self.wake_for(state);
        Grant::Queued
    }

    fn end(&self, io_permit: &IoPermit, grant: Grant, ns: u64, was_overdue: bool) {
        let now_ns = self.clock.now_ns();
        let mut state = self.state.lock();
        if grant == Grant::OfSleeper {
            state.leased -= 1;
        }
        let borne_ns = if grant == Grant::Owed { OWED_NS } else { 0 };
        state
            .queue
            .charge_outside(io_permit.tenant, ns.saturating_sub(borne_ns));
        state.queue.note_used(io_permit.tenant, ns);
        if was_overdue {
            let waiting = state.overdue.end(io_permit.tenant);
            if !waiting.is_empty() {
                let waiting = waiting.into_iter().map(|io_permit| queued(io_permit, now_ns));
                waiting.for_each(|ready| state.queue.push_first(ready));
                self.wake_for(state);
            }
        }
    }
}

/// A permit as it waits for a worker.
fn queued<T>(io_permit: Arc<IoPermit>, now_ns: u64) -> Ready<Item<T>> {
    Ready {
        tenant: io_permit.tenant,
        start_by_ns: io_permit.is_timed.then_some(now_ns),
        item: Item::IoPermit(io_permit),
    }
}

impl<T> std::fmt::Debug for Scheduler<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Scheduler").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirigo_ground::clock::SystemClock;

    fn scheduler() -> Arc<Scheduler<u32>> {
        Arc::new(Scheduler::new(PolicyKind::Fair, Arc::new(SystemClock::new())))
    }

    fn ready(item: u32) -> Ready<u32> {
        Ready {
            tenant: 0,
            start_by_ns: None,
            item,
        }
    }

    /// An item that refers to the scheduler, as an actor does.
    struct Holder(#[expect(dead_code, reason = "it is held")] Arc<Scheduler<Holder>>);

    #[test]
    fn a_closed_scheduler_holds_nothing() {
        for choice in [PolicyKind::Deadline, PolicyKind::Fair, PolicyKind::Fifo] {
            let scheduler = Arc::new(Scheduler::new(choice, Arc::new(SystemClock::new())));
            let ready = |tenant, start_by_ns| Ready {
                tenant,
                start_by_ns,
                item: Holder(scheduler.clone()),
            };
            scheduler.push(ready(0, None));
            scheduler.push(ready(1, Some(1)));
            let running = scheduler.try_next().expect("two are ready");
            // Another tenant is over its budget.
            scheduler.push(ready(2, None));
            scheduler.state.lock().queue.hold(2, true);
            scheduler.close();
            scheduler.push(ready(0, None));
            let used = running.used(0, 0);
            assert!(scheduler.settle_and_next(used, Some(running)).is_none());
            assert_eq!(Arc::strong_count(&scheduler), 1, "{choice}");
        }
    }

    #[test]
    fn what_is_removed_does_not_run() {
        for choice in [PolicyKind::Deadline, PolicyKind::Fair, PolicyKind::Fifo] {
            let scheduler = Scheduler::new(choice, Arc::new(SystemClock::new()));
            let timed = |item| Ready {
                start_by_ns: Some(u64::from(item)),
                ..ready(item)
            };
            (0..4).for_each(|item| scheduler.push(ready(item)));
            (4..8).for_each(|item| scheduler.push(timed(item)));
            scheduler.push(Ready { tenant: 1, ..ready(8) });
            scheduler.remove(0, |item| item % 2 == 0);
            let mut left: Vec<u32> = std::iter::from_fn(|| scheduler.try_next())
                .map(|ready| ready.item)
                .collect();
            left.sort_unstable();
            assert_eq!(left, [1, 3, 5, 7, 8], "{choice}");
            scheduler.push(ready(9));
            scheduler.remove(0, |_| true);
            assert!(
                !scheduler.is_awaited_by_others(1) && scheduler.try_next().is_none(),
                "{choice}"
            );
            scheduler.push(ready(10));
            assert_eq!(scheduler.try_next().map(|ready| ready.item), Some(10), "{choice}");
        }
    }

    #[test]
    fn a_worker_is_awaited_by_other_tenants_only() {
        let scheduler = scheduler();
        scheduler.push(ready(1));
        assert!(!scheduler.is_awaited_by_others(0), "its own items are no others");
        assert!(scheduler.is_awaited_by_others(1));
        scheduler.push(Ready { tenant: 1, ..ready(2) });
        assert!(scheduler.is_awaited_by_others(0));
        while scheduler.try_next().is_some() {}
        assert!(!scheduler.is_awaited_by_others(0), "what runs does not wait");
        let first_come = Scheduler::new(PolicyKind::Fifo, Arc::new(SystemClock::new()));
        first_come.push(ready(1));
        assert!(!first_come.is_awaited_by_others(1));
    }

    #[test]
    fn a_worker_that_waits_for_a_refill_wakes_by_itself() {
        let scheduler = scheduler();
        let fuel_per_s = Some(1_000);
        scheduler.set_share(0, Share { weight: 1, fuel_per_s });
        scheduler.push(ready(7));
        let chosen = scheduler.next().unwrap();
        // Twice what a full bucket holds: 100 ms until it is made up for.
        scheduler.settle(chosen.used(1, 200), Some(chosen));
        assert!(scheduler.state.lock().queue.pop(scheduler.clock.now_ns()).is_none());
        assert_eq!(scheduler.next().map(|ready| ready.item), Some(7));
    }

    #[test]
    fn workers_that_sleep_all_wake_for_what_a_refill_makes_ready() {
        let scheduler = scheduler();
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let scheduler = scheduler.clone();
                std::thread::spawn(move || scheduler.next().map(|ready| ready.item))
            })
            .collect();
        while scheduler.state.lock().sleeping < 4 {
            std::thread::yield_now();
        }
        let fuel_per_s = Some(1_000);
        scheduler.set_share(0, Share { weight: 1, fuel_per_s });
        let over = Used {
            tenant: 0,
            is_timed: false,
            ns: 1,
            fuel: 150,
        };
        scheduler.settle(over, None);
        // None of these is to be had before the refill, so a worker that is woken waits again.
        (0..5).for_each(|item| scheduler.push(ready(item)));
        assert!(scheduler.next().is_some());
        let mut items: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        items.sort_unstable();
        assert_eq!(items.iter().flatten().count(), 4, "{items:?}");
    }
}
