//! Who may hold an instance.
//!
//! The machine bounds how many instances live at once. An actor that needs one when there is no room takes the slot of
//! the one that has been idle longest, of its own tenant or of one that has more slots for its weight; where none is
//! idle it waits, and of those who wait the tenant with the fewest slots for its weight is next. So a tenant with
//! thousands of actors neither takes the slots of one with few nor makes it wait behind its own.

// Its path is spelt out for `tests/interleavings`, which includes this file by its own.
#[path = "activations/idle_queue.rs"]
mod idle_queue;

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use super::instance_quota::taken_out_of;
use super::replica::Deactivation;
use super::{InstanceQuota, Operator, Runnable};
use dirigo_ground::sync::Mutex;
use dirigo_ground::sync::atomic::{AtomicUsize, Ordering};
pub(super) use idle_queue::IdleQueue;

/// The instance slots, shared by all pipelines of a host.
#[derive(Debug)]
pub struct Activations {
    max: usize,
    live: AtomicUsize,
    peak: AtomicUsize,
    waiting: Mutex<WaitQueue>,
    operators: Mutex<Vec<Weak<Operator>>>,
}

/// Runnables that wait for a slot, by tenant; those of one tenant in the order in which they came.
#[derive(Debug, Default)]
struct WaitQueue(Vec<(Arc<InstanceQuota>, VecDeque<Runnable>)>);

impl WaitQueue {
    fn push(&mut self, runnable: Runnable) {
        let instances = &runnable.actor.operator.context.instances;
        match self.0.iter_mut().find(|(own, _)| Arc::ptr_eq(own, instances)) {
            Some((_, queue)) => queue.push_back(runnable),
            None => self.0.push((instances.clone(), VecDeque::from([runnable]))),
        }
    }

    /// The tenant that is next: none of the others who wait has fewer slots for its weight.
    fn next(&self) -> Option<usize> {
        let mut tenants = 0..self.0.len();
        let first = tenants.next()?;
        Some(tenants.fold(first, |least, tenant| {
            let is_less = self.0[least].0.has_more_than(&self.0[tenant].0);
            if is_less { tenant } else { least }
        }))
    }

    fn pop(&mut self) -> Option<Runnable> {
        let next = self.next()?;
        let (_, queue) = &mut self.0[next];
        let runnable = queue.pop_front();
        if queue.is_empty() {
            self.0.swap_remove(next);
        }
        runnable
    }

    fn remove(&mut self, is_chosen: impl Fn(&Runnable) -> bool) -> Vec<Runnable> {
        let mut removed = Vec::new();
        self.0.retain_mut(|(_, queue)| {
            removed.extend(taken_out_of(queue, &is_chosen));
            !queue.is_empty()
        });
        removed
    }
}

impl Activations {
    /// At most `max` instances at once.
    ///
    /// # Panics
    /// When `max` is 0.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        assert!(max > 0, "without an instance slot nothing can run");
        Arc::new(Self {
            max,
            live: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            waiting: Mutex::default(),
            operators: Mutex::default(),
        })
    }

    /// The most instances that were alive at once.
    #[must_use]
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Lets the idle actors of `operator` be found when room is needed.
    pub(super) fn register(&self, operator: &Arc<Operator>) {
        let mut operators = self.operators.lock();
        operators.retain(|known| known.strong_count() > 0);
        operators.push(Arc::downgrade(operator));
    }

    /// The operators that live.
    #[must_use]
    pub fn operators(&self) -> Vec<Arc<Operator>> {
        self.operators.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Takes a slot for `runnable`. Where there is none it is kept, and scheduled again once there is.
    #[must_use]
    pub(super) fn acquire(&self, runnable: &Runnable) -> bool {
        let instances = &runnable.actor.operator.context.instances;
        if !self.acquire_own_slot(instances, runnable) {
            // It may have been woken for a slot that its tenant's budget does not let it take.
            if self.live.load(Ordering::SeqCst) < self.max {
                self.wake_next();
            }
            return false;
        }
        let is_acquired = self.acquire_slot(runnable);
        if !is_acquired {
            instances.give_back();
        }
        is_acquired
    }

    /// Takes a slot within the budget of the tenant.
    fn acquire_own_slot(&self, instances: &Arc<InstanceQuota>, runnable: &Runnable) -> bool {
        let is_own = |other: &Arc<InstanceQuota>| Arc::ptr_eq(other, instances);
        loop {
            if instances.take() {
                return true;
            }
            if self.evict_longest_idle(is_own) == Deactivation::Gone {
                continue;
            }
            if instances.take_or_wait(runnable) {
                return true;
            }
            // An actor that became idle since the look for one did not know yet that somebody waits.
            self.evict_longest_idle(is_own);
            return false;
        }
    }

    fn acquire_slot(&self, runnable: &Runnable) -> bool {
        let instances = &runnable.actor.operator.context.instances;
        let gives_way = |other: &Arc<InstanceQuota>| other.gives_way_to(instances);
        loop {
            if self.take_free() {
                return true;
            }
            if self.evict_longest_idle(gives_way) == Deactivation::Gone {
                continue;
            }
            let mut waiting = self.waiting.lock();
            // A caller that releases looks for waiters after it counted down: look once more before waiting.
            if self.take_free() {
                return true;
            }
            waiting.push(runnable.clone());
            drop(waiting);
            // An actor that became idle since the look for one did not know yet that somebody waits.
            self.evict_longest_idle(gives_way);
            return false;
        }
    }

    fn take_free(&self) -> bool {
        let taken = self.live.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |live| {
            (live < self.max).then_some(live + 1)
        });
        if let Ok(before) = taken {
            self.peak.fetch_max(before + 1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Gives a slot back.
    pub(super) fn release(&self, instances: &InstanceQuota) {
        instances.give_back();
        self.live.fetch_sub(1, Ordering::SeqCst);
        self.wake_next();
    }

    /// Has the next one in line look for a slot again. One that was woken and has no use for it any more passes it on.
    pub fn wake_next(&self) {
        let next = self.waiting.lock().pop();
        if let Some(runnable) = next {
            runnable.schedule();
        }
    }

    /// Drops the chosen runnables that wait for a slot.
    pub fn forget(&self, is_chosen: impl Fn(&Runnable) -> bool) {
        let forgotten = self.waiting.lock().remove(is_chosen);
        drop(forgotten);
    }

    /// Whether somebody waits for a slot to whom an idle actor of this tenant should give way.
    pub(super) fn is_short(&self, instances: &Arc<InstanceQuota>) -> bool {
        let waiting = self.waiting.lock();
        waiting.0.iter().any(|(other, _)| instances.gives_way_to(other))
    }

    /// The tenant that waits for a slot and is next.
    fn next_in_line(&self) -> Option<Arc<InstanceQuota>> {
        let waiting = self.waiting.lock();
        waiting.next().map(|next| waiting.0[next].0.clone())
    }

    /// Deactivates the actor that has been idle longest, of the tenants that are asked for; or has it begin to leave, which
    /// [`sweep`](Self::sweep) goes on with.
    fn evict_longest_idle(&self, is_asked_for: impl Fn(&Arc<InstanceQuota>) -> bool) -> Deactivation {
        let asked_for = self.operators().into_iter();
        let asked_for = asked_for.filter(|operator| is_asked_for(&operator.context.instances));
        let oldest = asked_for.filter_map(|operator| Some((operator.idle.longest_since_ns()?, operator)));
        let mut candidates: Vec<(u64, Arc<Operator>)> = oldest.collect();
        candidates.sort_by_key(|(since_ns, _)| *since_ns);
        let mut leaving = candidates.iter().map(|(_, operator)| operator.idle.evict_longest());
        leaving
            .find(|leaving| *leaving != Deactivation::Stays)
            .unwrap_or(Deactivation::Stays)
    }

    /// Deactivates every actor that has been idle for longer than its operator allows, and the longest idle while others
    /// wait for a slot: one that was just coming to rest escapes both its own look and that of who waits.
    pub fn sweep(&self, now_ns: u64) {
        let free = self.max.saturating_sub(self.live.load(Ordering::SeqCst));
        let is_awaited = || self.next_in_line().is_some();
        (0..free).take_while(|_| is_awaited()).for_each(|_| self.wake_next());
        while let Some(next) = self.next_in_line() {
            if self.evict_longest_idle(|other| other.gives_way_to(&next)) == Deactivation::Stays {
                break;
            }
        }
        for operator in self.operators() {
            let instances = &operator.context.instances;
            while instances.is_short() && operator.idle.evict_longest() != Deactivation::Stays {}
            if instances.is_short() {
                instances.wake_next();
            }
            operator.idle.deactivate_old(now_ns);
        }
    }
}
