//! What one tenant holds of the places for instances.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Cell;
use dirigo_ground::account::Account;
use dirigo_ground::sync::Mutex;
use dirigo_ground::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A tenant's places, within its budget; one per tenant, shared by all its pipelines.
#[derive(Debug)]
pub struct Share {
    /// What else it uses.
    pub account: Arc<Account>,
    active_max: usize,
    active: AtomicUsize,
    peak: AtomicUsize,
    waited: AtomicU64,
    waiting: Mutex<VecDeque<Cell>>,
}

impl Share {
    /// The share of a tenant that holds nothing yet.
    #[must_use]
    pub fn new(account: Arc<Account>) -> Arc<Self> {
        let bound = account.budget().active_actors;
        Arc::new(Self {
            account,
            active_max: bound.map_or(usize::MAX, |actors| actors as usize),
            active: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            waited: AtomicU64::new(0),
            waiting: Mutex::default(),
        })
    }

    /// The most places that it held at once.
    #[must_use]
    pub fn active_peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// How often an actor had to wait for a place.
    #[must_use]
    pub fn waited(&self) -> u64 {
        self.waited.load(Ordering::Relaxed)
    }

    /// Takes a place, if the budget has one. A tenant whose memory is used up gets no second one: the first lets it finish
    /// what it has, and so give memory back.
    pub(super) fn take(&self) -> bool {
        let has_memory = !self.account.is_over_memory();
        let taken = self.active.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |active| {
            (active < self.active_max && (active == 0 || has_memory)).then_some(active + 1)
        });
        if let Ok(before) = taken {
            self.peak.fetch_max(before + 1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Notes that an actor begins to wait for a place.
    pub(super) fn note_wait(&self) {
        self.waited.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a place, or keeps `cell`, to be scheduled again once there may be one.
    pub(super) fn take_or_wait(&self, cell: &Cell) -> bool {
        let mut waiting = self.waiting.lock();
        // Whoever gives back looks for waiters after it counted down: look once more before waiting.
        if self.take() {
            return true;
        }
        waiting.push_back(cell.clone());
        false
    }

    pub(super) fn give_back(&self) {
        self.active.fetch_sub(1, Ordering::SeqCst);
        self.wake_next();
    }

    /// Has whoever waits longest look again.
    pub fn wake_next(&self) {
        let next = self.waiting.lock().pop_front();
        if let Some(cell) = next {
            cell.schedule();
        }
    }

    /// Whether it holds more places for its weight than another.
    pub(super) fn has_more_than(&self, other: &Share) -> bool {
        let places = |share: &Share| share.active.load(Ordering::SeqCst) as u64;
        let weight = |share: &Share| u64::from(share.account.budget().weight);
        places(self) * weight(other) > places(other) * weight(self)
    }

    /// Whether its idle actors should make room for one of `other`'s.
    pub(super) fn gives_way_to(self: &Arc<Self>, other: &Arc<Share>) -> bool {
        Arc::ptr_eq(self, other) || self.has_more_than(other)
    }

    /// Whether actors at rest should give up what they hold.
    pub(super) fn is_short(&self) -> bool {
        !self.waiting.lock().is_empty() || self.account.is_over_memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirigo_ground::limits::Budget;

    fn share(budget: Budget) -> Arc<Share> {
        Share::new(Arc::new(Account::new(budget)))
    }

    #[test]
    fn a_tenant_without_memory_has_one_place_and_no_second_one() {
        let share = share(Budget {
            memory: Some(1),
            ..Budget::default()
        });
        assert!(share.take() && share.take(), "there is memory");
        share.account.add_memory(1);
        assert!(!share.take());
        share.give_back();
        assert!(!share.take(), "one actor is still active");
        share.give_back();
        assert!(share.take(), "the one that lets it get on");
        assert!(!share.take());
        share.account.remove_memory(1);
        assert!(share.take(), "there is memory again");
        assert_eq!(share.active_peak(), 2);
    }

    #[test]
    fn a_tenant_has_as_many_places_as_its_budget_says() {
        let share = share(Budget {
            active_actors: Some(2),
            ..Budget::default()
        });
        assert!(share.take() && share.take() && !share.take());
        share.give_back();
        assert!(share.take() && !share.take());
    }
}
