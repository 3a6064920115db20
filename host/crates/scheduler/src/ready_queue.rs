//! Everything that is ready to run: a policy, and the budgets that no policy may exceed.

use super::budget::Budgets;
use super::fair::Fair;
use super::fifo::Fifo;
use super::policy::{Policy, PolicyKind, Ready, Share, TenantIndex, Used};
use super::usage::{Usage, Usages};

/// What [`Scheduler`](super::Scheduler) keeps behind its lock. It has no clock: the caller says what time it is.
pub struct ReadyQueue<T> {
    policy: Box<dyn Policy<T>>,
    budgets: Budgets,
    usages: Usages,
}

impl<T: Send + 'static> ReadyQueue<T> {
    /// An empty one in the order of `choice`.
    #[must_use]
    pub fn new(choice: PolicyKind) -> Self {
        let policy: Box<dyn Policy<T>> = match choice {
            PolicyKind::Deadline => Box::new(Fair::least_laxity()),
            PolicyKind::Fair => Box::new(Fair::round_robin()),
            PolicyKind::Fifo => Box::new(Fifo::default()),
        };
        Self {
            policy,
            budgets: Budgets::default(),
            usages: Usages::default(),
        }
    }

    /// Sets what a tenant may use; [`Share::default`] until then. Its bucket is full afterwards.
    pub fn set_share(&mut self, tenant: TenantIndex, share: Share, now_ns: u64) {
        self.policy.set_weight(tenant, share.weight);
        if self.budgets.set(tenant, share.fuel_per_s, now_ns) {
            self.release(tenant, now_ns);
        }
    }

    /// Takes an item that has become ready.
    pub fn push(&mut self, ready: Ready<T>) {
        self.policy.push(ready, false);
    }

    pub(super) fn push_first(&mut self, ready: Ready<T>) {
        self.policy.push_first(ready);
    }

    /// Gives the item that runs next: none of a tenant that is over its budget.
    pub fn pop(&mut self, now_ns: u64) -> Option<Ready<T>> {
        while let Some(tenant) = self.budgets.next_refilled(now_ns) {
            self.release(tenant, now_ns);
        }
        self.policy.pop()
    }

    fn release(&mut self, tenant: TenantIndex, now_ns: u64) {
        self.policy.hold(tenant, false);
        self.usages.release(tenant, now_ns);
    }

    /// Notes what a slice used, once for every item that was popped, and takes the item back if it is still ready.
    pub fn settle(&mut self, used: Used, again: Option<Ready<T>>, now_ns: u64) {
        self.policy.charge(used);
        self.usages.add(used.tenant, used.ns, used.fuel);
        if self.budgets.charge(used, now_ns) {
            self.policy.hold(used.tenant, true);
            self.usages.hold(used.tenant, now_ns);
        }
        if let Some(ready) = again {
            self.policy.push(ready, true);
        }
    }

    /// Removes the chosen items of a tenant, also those that wait for its budget.
    pub(super) fn remove(&mut self, tenant: TenantIndex, is_chosen: &dyn Fn(&T) -> bool) -> Vec<T> {
        self.policy.remove(tenant, is_chosen)
    }

    /// Takes all items out.
    pub(super) fn remove_all(&mut self) -> Vec<T> {
        let tenants = 0..self.policy.tenants();
        tenants
            .flat_map(|tenant| self.policy.remove(tenant, &|_| true))
            .collect()
    }

    #[cfg(test)]
    pub(super) fn hold(&mut self, tenant: TenantIndex, is_held: bool) {
        self.policy.hold(tenant, is_held);
    }

    pub(super) fn charge_outside(&mut self, tenant: TenantIndex, ns: u64) {
        self.policy.charge_outside(tenant, ns);
    }

    /// Notes what a tenant used next to the workers, whatever it was charged for that.
    pub(super) fn note_used(&mut self, tenant: TenantIndex, ns: u64) {
        self.usages.add(tenant, ns, 0);
    }

    pub(super) fn usage(&self, tenant: TenantIndex, now_ns: u64) -> Usage {
        self.usages.of(tenant, now_ns)
    }

    pub(super) fn is_owed(&mut self, tenant: TenantIndex) -> bool {
        self.policy.is_owed(tenant)
    }

    pub(super) fn has_ready(&self) -> bool {
        self.policy.has_ready()
    }

    pub(super) fn has_ready_of_others(&self, tenant: TenantIndex) -> bool {
        self.policy.has_ready_of_others(tenant)
    }

    /// When a tenant that is over its budget no longer is: the next moment at which there is more to pop, if nothing else
    /// happens.
    #[must_use]
    pub fn refill_at_ns(&self) -> Option<u64> {
        self.budgets.refill_at_ns()
    }
}

impl<T> std::fmt::Debug for ReadyQueue<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ReadyQueue").finish_non_exhaustive()
    }
}
