//! Who runs next.
//!
//! The scheduler keeps what is ready and hands it to workers, one slice at a time, in the order of a policy. It knows
//! nothing of WebAssembly, actors or batches: an item is anything that can be pushed and popped.

mod fair;
mod fifo;
mod policy;

use parking_lot::{Condvar, Mutex};

use policy::Policy;
pub use policy::{Choice, Ready, TenantIndex};

/// The queue of everything that is ready to run, shared by all workers.
pub struct Scheduler<T> {
    state: Mutex<State<T>>,
    work: Condvar,
}

struct State<T> {
    policy: Box<dyn Policy<T>>,
    sleeping: usize,
    closed: bool,
}

impl<T: Send + 'static> Scheduler<T> {
    /// An empty queue in the order of `choice`.
    #[must_use]
    pub fn new(choice: Choice) -> Self {
        let policy: Box<dyn Policy<T>> = match choice {
            Choice::Deadline => Box::new(fair::Fair::by_deadline()),
            Choice::Fair => Box::new(fair::Fair::round_robin()),
            Choice::Fifo => Box::new(fifo::Fifo::default()),
        };
        Self {
            state: Mutex::new(State {
                policy,
                sleeping: 0,
                closed: false,
            }),
            work: Condvar::new(),
        }
    }

    /// Sets the share that a tenant gets relative to others; 1 until then.
    pub fn set_weight(&self, tenant: TenantIndex, weight: u32) {
        self.state.lock().policy.set_weight(tenant, weight);
    }

    /// Adds an item that became ready.
    pub fn push(&self, ready: Ready<T>) {
        let mut state = self.state.lock();
        state.policy.push(ready, false);
        if state.sleeping > 0 {
            drop(state);
            self.work.notify_one();
        }
    }

    /// The next item to run; waits for one. `None` once the scheduler is closed.
    pub fn next(&self) -> Option<Ready<T>> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(ready) = state.policy.pop() {
                return Some(ready);
            }
            state.sleeping += 1;
            self.work.wait(&mut state);
            state.sleeping -= 1;
        }
    }

    /// Charges a tenant for what its item used of a worker, and takes the item back if it wants to go on.
    pub fn settle(&self, tenant: TenantIndex, used_ns: u64, again: Option<Ready<T>>) {
        let mut state = self.state.lock();
        state.policy.charge(tenant, used_ns);
        if let Some(ready) = again {
            state.policy.push(ready, true);
            if state.sleeping > 0 {
                drop(state);
                self.work.notify_one();
            }
        }
    }

    /// Ends every present and future wait for work.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_all();
    }
}

impl<T> std::fmt::Debug for Scheduler<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Scheduler").finish_non_exhaustive()
    }
}
