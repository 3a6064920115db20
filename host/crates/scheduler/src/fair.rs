//! Fair shares between tenants.
//!
//! Each tenant has a virtual runtime: the worker time that it used, divided by its weight. The tenant with the least runs
//! next, so shares follow the weights however many pipelines, operators or keys a tenant splits itself into.
//!
//! What a slice uses is known when it ends. Until then its tenant bears what its slices usually take, or it would get every
//! worker that asks meanwhile.
//!
//! A tenant that has nothing waiting, be it that it sleeps or that all it has is running, cannot be owed more than
//! [`CREDIT_NS`] when it has again: it starts at most that far behind where the queue has got to (start-time fair queueing:
//! Goyal et al., SIGCOMM '96; with several servers, Jin et al., SIGMETRICS '04). So sleeping is no way to save, nor is having
//! fewer actors than a weight is worth workers.
//!
//! Within a tenant, items take turns, or the one with least laxity goes first ([`TenantQueue`]).

use std::collections::BTreeSet;

use super::policy::{Policy, Ready, TenantIndex, Used};
use super::tenant_queue::TenantQueue;

/// Virtual runtimes are in units of 1/1024 ns at weight 1, so that weights up to 1024 divide without loss that matters.
const SCALE: u64 = 1024;
/// What a slice takes before any of a tenant was seen: the default of `slice`.
const SLICE_NS_AT_FIRST: u64 = 100_000;
/// A new slice counts for one part in this many of what slices usually take.
const SMOOTHING: u64 = 8;
/// Worker time that a tenant which had nothing waiting may be owed. Two slices: on several workers, one that has a single
/// actor falls behind by about one while another's slice ends first, and must not lose that; one that wakes runs before all
/// that wait. Each tenant that wakes delays others by at most this, and gains at most this over any span of time.
pub const CREDIT_NS: u64 = 200_000;
/// Where virtual time starts again, long before it overflows: after 26 days of a worker at weight 1.
const RUNTIME_MAX: u64 = 1 << 61;

pub(super) struct Fair<T> {
    tenants: Vec<FairTenant<T>>,
    /// The tenants that have something waiting and are not held, by virtual runtime.
    awake: BTreeSet<(u64, TenantIndex)>,
    /// The greatest virtual runtime that a tenant was chosen with.
    now: u64,
    new_queue: fn() -> TenantQueue<T>,
}

struct FairTenant<T> {
    /// Virtual, with what its slices under way are expected to take.
    runtime: u64,
    /// What they are expected to take, virtual.
    expected: u64,
    /// How many of them there are.
    running: u64,
    /// What a slice of it usually takes.
    slice_ns: u64,
    weight: u64,
    is_held: bool,
    queue: TenantQueue<T>,
}

impl<T> Fair<T> {
    pub(super) fn round_robin() -> Self {
        Self::new(TenantQueue::round_robin)
    }

    pub(super) fn least_laxity() -> Self {
        Self::new(TenantQueue::least_laxity)
    }

    fn new(new_queue: fn() -> TenantQueue<T>) -> Self {
        Self {
            tenants: Vec::new(),
            awake: BTreeSet::new(),
            now: 0,
            new_queue,
        }
    }

    fn tenant(&mut self, index: TenantIndex) -> &mut FairTenant<T> {
        let wanted = index as usize + 1;
        while self.tenants.len() < wanted {
            self.tenants.push(FairTenant::new((self.new_queue)()));
        }
        &mut self.tenants[index as usize]
    }

    /// Offers what a tenant has waiting, which had nothing on offer until now.
    fn wake(&mut self, index: TenantIndex) {
        let now = self.now;
        let tenant = self.tenant(index);
        tenant.runtime = tenant.earliest(now);
        let runtime = tenant.runtime;
        self.awake.insert((runtime, index));
    }

    fn add(&mut self, ready: Ready<T>, push: fn(&mut TenantQueue<T>, Ready<T>)) {
        let index = ready.tenant;
        let tenant = self.tenant(index);
        let had_nothing = tenant.queue.is_empty();
        push(&mut tenant.queue, ready);
        if had_nothing && !tenant.is_held {
            self.wake(index);
        }
    }

    /// Changes the virtual runtime of a tenant.
    fn move_by(&mut self, index: TenantIndex, change: impl FnOnce(&mut FairTenant<T>)) {
        let tenant = self.tenant(index);
        let before = tenant.runtime;
        change(tenant);
        let after = tenant.runtime;
        let is_awake = !tenant.queue.is_empty() && !tenant.is_held;
        if is_awake && before != after {
            self.awake.remove(&(before, index));
            self.awake.insert((after, index));
        }
    }

    /// Moves the start of virtual time up to a moment that nobody who matters is behind.
    fn start_again(&mut self) {
        let start = self.now / 2;
        self.now -= start;
        for tenant in &mut self.tenants {
            tenant.runtime = tenant.runtime.saturating_sub(start);
        }
        let awake = std::mem::take(&mut self.awake);
        self.awake = awake
            .into_iter()
            .map(|(runtime, index)| (runtime.saturating_sub(start), index))
            .collect();
    }
}

impl<T> FairTenant<T> {
    fn new(queue: TenantQueue<T>) -> Self {
        Self {
            runtime: 0,
            expected: 0,
            running: 0,
            slice_ns: SLICE_NS_AT_FIRST,
            weight: 1,
            is_held: false,
            queue,
        }
    }

    fn virtual_of(&self, ns: u64) -> u64 {
        ns.saturating_mul(SCALE) / self.weight
    }

    /// Where it starts if it had nothing until `now`.
    fn earliest(&self, now: u64) -> u64 {
        self.runtime.max(now.saturating_sub(self.virtual_of(CREDIT_NS)))
    }

    /// Charges for a slice that starts.
    fn expect_slice(&mut self) {
        let expected = self.virtual_of(self.slice_ns);
        self.expected += expected;
        self.runtime = self.runtime.saturating_add(expected);
        self.running += 1;
    }

    /// Charges for a slice that ended what it took in place of what was expected.
    fn end_slice(&mut self, used: Used) {
        // Slices under way are expected to take the same; which of them ended makes no difference in the end.
        let expected = self.expected.checked_div(self.running).unwrap_or(0);
        self.expected -= expected;
        self.running = self.running.saturating_sub(1);
        let used_ns = self.virtual_of(used.ns);
        self.runtime = self.runtime.saturating_sub(expected).saturating_add(used_ns);
        self.slice_ns = self.slice_ns - self.slice_ns / SMOOTHING + used.ns / SMOOTHING;
        self.queue.charge(used);
    }
}

impl<T: Send> Policy<T> for Fair<T> {
    fn push(&mut self, ready: Ready<T>, _: bool) {
        self.add(ready, TenantQueue::push);
    }

    fn push_first(&mut self, ready: Ready<T>) {
        self.add(ready, TenantQueue::push_first);
    }

    fn pop(&mut self) -> Option<Ready<T>> {
        let (runtime, index) = self.awake.pop_first()?;
        self.now = self.now.max(runtime);
        let tenant = self.tenant(index);
        let ready = tenant
            .queue
            .pop()
            .expect("a tenant is awake while it has something ready");
        tenant.expect_slice();
        let (runtime, is_empty) = (tenant.runtime, tenant.queue.is_empty());
        if !is_empty {
            self.awake.insert((runtime, index));
        }
        if self.now > RUNTIME_MAX {
            self.start_again();
        }
        Some(ready)
    }

    fn has_ready(&self) -> bool {
        !self.awake.is_empty()
    }

    fn has_ready_of_others(&self, tenant: TenantIndex) -> bool {
        self.awake.iter().any(|&(_, index)| index != tenant)
    }

    fn charge(&mut self, used: Used) {
        self.move_by(used.tenant, |tenant| tenant.end_slice(used));
    }

    fn charge_outside(&mut self, index: TenantIndex, ns: u64) {
        let now = self.now;
        self.move_by(index, |tenant| {
            // Who has something waiting may be further behind.
            let from = if tenant.queue.is_empty() {
                tenant.earliest(now)
            } else {
                tenant.runtime
            };
            tenant.runtime = from.saturating_add(tenant.virtual_of(ns));
        });
    }

    fn is_owed(&mut self, index: TenantIndex) -> bool {
        let now = self.now;
        let tenant = self.tenant(index);
        // Half of what one may be owed: it was, and has not used it up.
        tenant.earliest(now) <= now.saturating_sub(tenant.virtual_of(CREDIT_NS / 2))
    }

    fn set_weight(&mut self, index: TenantIndex, weight: u32) {
        let tenant = self.tenant(index);
        // What was charged was charged at the old weight.
        tenant.weight = u64::from(weight.max(1));
    }

    fn hold(&mut self, index: TenantIndex, is_held: bool) {
        let tenant = self.tenant(index);
        let was_held = std::mem::replace(&mut tenant.is_held, is_held);
        if tenant.queue.is_empty() || was_held == is_held {
            return;
        }
        let runtime = tenant.runtime;
        if is_held {
            self.awake.remove(&(runtime, index));
        } else {
            self.wake(index);
        }
    }

    fn remove(&mut self, index: TenantIndex, is_chosen: &dyn Fn(&T) -> bool) -> Vec<T> {
        let tenant = self.tenant(index);
        let removed = tenant.queue.remove(is_chosen);
        let (runtime, is_empty) = (tenant.runtime, tenant.queue.is_empty());
        if is_empty {
            self.awake.remove(&(runtime, index));
        }
        removed
    }

    fn tenants(&self) -> TenantIndex {
        TenantIndex::try_from(self.tenants.len()).expect("an index for each")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE_NS: u64 = 100_000;

    fn ready(tenant: TenantIndex, item: u32) -> Ready<u32> {
        Ready {
            tenant,
            start_by_ns: None,
            item,
        }
    }

    /// Runs slices on one worker; every item is always ready again. Gives each tenant's share of all of them.
    fn shares(fair: &mut Fair<u32>, tenants: u32, slices: u32) -> Vec<f64> {
        let mut counts = vec![0.0; tenants as usize];
        for _ in 0..slices {
            let chosen = fair.pop().unwrap();
            counts[chosen.tenant as usize] += 1.0 / f64::from(slices);
            fair.charge(chosen.used(SLICE_NS, 0));
            fair.push(chosen, true);
        }
        counts
    }

    #[test]
    fn shares_follow_weights_however_a_tenant_splits_itself() {
        let mut fair = Fair::round_robin();
        for (tenant, weight, items) in [(0, 1, 1000), (1, 2, 1), (2, 4, 10)] {
            fair.set_weight(tenant, weight);
            (0..items).for_each(|item| fair.push(ready(tenant, item), false));
        }
        let shares = shares(&mut fair, 3, 70_000);
        for (share, wanted) in shares.iter().zip([1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0]) {
            assert!((share - wanted).abs() < 0.001, "{shares:?}");
        }
    }

    #[test]
    fn sleeping_earns_no_credit() {
        let mut fair = Fair::round_robin();
        fair.push(ready(0, 0), false);
        shares(&mut fair, 1, 1000);
        fair.push(ready(1, 0), false);
        let shares = shares(&mut fair, 2, 1000);
        assert!((shares[1] - 0.5).abs() < 0.01, "{shares:?}");
    }

    #[test]
    fn what_wakes_below_its_share_runs_before_all_that_wait() {
        let mut fair = Fair::round_robin();
        (0..100).for_each(|tenant| fair.push(ready(tenant, tenant), false));
        shares(&mut fair, 100, 1050);
        fair.push(ready(100, 100), false);
        assert_eq!(fair.pop().map(|ready| ready.item), Some(100));
    }

    #[test]
    fn a_tenant_bears_its_slices_under_way() {
        let mut fair = Fair::round_robin();
        (0..4).for_each(|item| fair.push(ready(0, item), false));
        fair.push(ready(1, 4), false);
        let tenants: Vec<_> = (0..2).filter_map(|_| fair.pop()).map(|ready| ready.tenant).collect();
        assert_eq!(tenants, [0, 1], "the second worker serves the second tenant");
    }

    #[test]
    fn a_single_actor_that_comes_back_keeps_its_place() {
        let mut fair = Fair::round_robin();
        fair.set_weight(1, 4);
        for tenant in 0..2 {
            fair.push(ready(tenant, 0), false);
        }
        let shares = shares(&mut fair, 2, 5_000);
        assert!((shares[1] - 0.8).abs() < 0.001, "{shares:?}");
    }

    #[test]
    fn shares_stay_when_virtual_time_starts_again() {
        let mut fair = Fair::round_robin();
        fair.set_weight(1, 3);
        (0..4).for_each(|item| fair.push(ready(item % 2, item), false));
        fair.now = RUNTIME_MAX;
        for index in 0..2 {
            fair.hold(index, true);
            fair.hold(index, false);
        }
        let shares = shares(&mut fair, 2, 10_000);
        assert!(fair.now < RUNTIME_MAX, "it started again");
        assert!((shares[1] - 0.75).abs() < 0.001, "{shares:?}");
    }
}
