//! What one tenant holds of the instance slots.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Runnable;
use dirigo_ground::quota::Quota;
use dirigo_ground::sync::Mutex;
use dirigo_ground::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A tenant's slots, within its budget; one per tenant, shared by all its pipelines.
#[derive(Debug)]
pub struct InstanceQuota {
    /// What else it uses.
    pub quota: Arc<Quota>,
    active_max: usize,
    active: AtomicUsize,
    peak: AtomicUsize,
    waited: AtomicU64,
    waiting: Mutex<VecDeque<Runnable>>,
}

impl InstanceQuota {
    /// The share of a tenant that holds nothing yet.
    #[must_use]
    pub fn new(quota: Arc<Quota>) -> Arc<Self> {
        let bound = quota.budget().active_actors;
        Arc::new(Self {
            quota,
            active_max: bound.map_or(usize::MAX, |actors| actors as usize),
            active: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            waited: AtomicU64::new(0),
            waiting: Mutex::default(),
        })
    }

    /// The most slots that it held at once.
    #[must_use]
    pub fn active_peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// How often an actor had to wait for a slot.
    #[must_use]
    pub fn waited(&self) -> u64 {
        self.waited.load(Ordering::Relaxed)
    }

    /// Whether its budget has no further slot.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.active.load(Ordering::SeqCst) >= self.active_max
    }

    /// Takes a slot, if the budget has one. A tenant whose memory is used up gets no second one: the first lets it
    /// finish what it has, and so give memory back.
    pub(super) fn take(&self) -> bool {
        let has_memory = !self.quota.is_over_memory();
        let taken = self.active.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |active| {
            (active < self.active_max && (active == 0 || has_memory)).then_some(active + 1)
        });
        if let Ok(before) = taken {
            self.peak.fetch_max(before + 1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Notes that an actor begins to wait for a slot.
    pub(super) fn note_wait(&self) {
        self.waited.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a slot, or keeps `runnable`, to be scheduled again once there may be one.
    pub(super) fn take_or_wait(&self, runnable: &Runnable) -> bool {
        let mut waiting = self.waiting.lock();
        // A caller that gives back looks for waiters after it counted down: look once more before waiting.
        if self.take() {
            return true;
        }
        waiting.push_back(runnable.clone());
        false
    }

    pub(super) fn give_back(&self) {
        self.active.fetch_sub(1, Ordering::SeqCst);
        self.wake_next();
    }

    /// Has the one that waits longest look again.
    pub fn wake_next(&self) {
        let next = self.waiting.lock().pop_front();
        if let Some(runnable) = next {
            runnable.schedule();
        }
    }

    /// Drops the chosen runnables that wait for a slot.
    pub fn forget(&self, is_chosen: impl Fn(&Runnable) -> bool) {
        let forgotten = taken_out_of(&mut self.waiting.lock(), is_chosen);
        drop(forgotten);
    }

    /// Whether it holds more slots for its weight than another.
    pub(super) fn has_more_than(&self, other: &InstanceQuota) -> bool {
        let places = |instances: &InstanceQuota| instances.active.load(Ordering::SeqCst) as u64;
        let weight = |instances: &InstanceQuota| u64::from(instances.quota.budget().weight);
        places(self) * weight(other) > places(other) * weight(self)
    }

    /// Whether its idle actors should make room for one of `other`'s.
    pub(super) fn gives_way_to(self: &Arc<Self>, other: &Arc<InstanceQuota>) -> bool {
        Arc::ptr_eq(self, other) || self.has_more_than(other)
    }

    /// Whether actors at rest should give up what they hold.
    pub(super) fn is_short(&self) -> bool {
        !self.waiting.lock().is_empty() || self.quota.is_over_memory()
    }
}

/// Takes the chosen runnables out of a queue; the others keep their order.
pub(super) fn taken_out_of(
    queue: &mut VecDeque<Runnable>,
    is_chosen: impl Fn(&Runnable) -> bool,
) -> VecDeque<Runnable> {
    let (chosen, others) = std::mem::take(queue).into_iter().partition(is_chosen);
    *queue = others;
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirigo_ground::limits::Budget;

    fn instances(budget: Budget) -> Arc<InstanceQuota> {
        InstanceQuota::new(Arc::new(Quota::new(budget)))
    }

    #[test]
    fn a_tenant_without_memory_has_one_place_and_no_second_one() {
        let instances = instances(Budget {
            memory: Some(1),
            ..Budget::default()
        });
        assert!(instances.take() && instances.take(), "there is memory");
        instances.quota.add_memory(1);
        assert!(!instances.take());
        instances.give_back();
        assert!(!instances.take(), "one actor is still active");
        instances.give_back();
        assert!(instances.take(), "the one that lets it get on");
        assert!(!instances.take());
        instances.quota.remove_memory(1);
        assert!(instances.take(), "there is memory again");
        assert_eq!(instances.active_peak(), 2);
    }

    #[test]
    fn a_tenant_has_as_many_places_as_its_budget_says() {
        let instances = instances(Budget {
            active_actors: Some(2),
            ..Budget::default()
        });
        assert!(instances.take() && instances.take() && !instances.take());
        instances.give_back();
        assert!(instances.take() && !instances.take());
    }
}
