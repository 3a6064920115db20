//! Fair shares between tenants.
//!
//! Each tenant has a virtual runtime: what it used, divided by its weight. The tenant with the least runs next, so shares
//! follow the weights however many pipelines, operators or keys a tenant splits itself into. One that slept starts at the
//! least virtual runtime of those awake and gains nothing by it (as in Linux's CFS, Documentation/scheduler).
//! Within a tenant, items take turns, or the one that must start first goes first.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeSet, BinaryHeap, VecDeque};

use super::policy::{Policy, Ready, TenantIndex};

/// Virtual runtimes are in units of 1/1024 ns at weight 1, so that weights up to 1024 divide without loss that matters.
const SCALE: u64 = 1024;

pub(super) struct Fair<T> {
    tenants: Vec<Tenant<T>>,
    /// The tenants that have something ready, by virtual runtime.
    awake: BTreeSet<(u64, TenantIndex)>,
    /// The greatest virtual runtime that a tenant was chosen with: where one that slept starts.
    now: u64,
    new_queue: fn() -> Queue<T>,
}

struct Tenant<T> {
    runtime: u64,
    weight: u64,
    queue: Queue<T>,
}

enum Queue<T> {
    RoundRobin(VecDeque<Ready<T>>),
    ByDeadline {
        heap: BinaryHeap<Reverse<Timed<T>>>,
        pushed: u64,
    },
}

impl<T> Fair<T> {
    pub(super) fn round_robin() -> Self {
        Self::new(|| Queue::RoundRobin(VecDeque::new()))
    }

    pub(super) fn by_deadline() -> Self {
        Self::new(|| Queue::ByDeadline {
            heap: BinaryHeap::new(),
            pushed: 0,
        })
    }

    fn new(new_queue: fn() -> Queue<T>) -> Self {
        Self {
            tenants: Vec::new(),
            awake: BTreeSet::new(),
            now: 0,
            new_queue,
        }
    }

    fn tenant(&mut self, index: TenantIndex) -> &mut Tenant<T> {
        let wanted = index as usize + 1;
        while self.tenants.len() < wanted {
            self.tenants.push(Tenant {
                runtime: 0,
                weight: 1,
                queue: (self.new_queue)(),
            });
        }
        &mut self.tenants[index as usize]
    }
}

impl<T: Send> Policy<T> for Fair<T> {
    fn push(&mut self, ready: Ready<T>, _: bool) {
        let (index, now) = (ready.tenant, self.now);
        let tenant = self.tenant(index);
        if tenant.queue.is_empty() {
            tenant.runtime = tenant.runtime.max(now);
            let runtime = tenant.runtime;
            tenant.queue.push(ready);
            self.awake.insert((runtime, index));
        } else {
            tenant.queue.push(ready);
        }
    }

    fn pop(&mut self) -> Option<Ready<T>> {
        let &(runtime, index) = self.awake.first()?;
        self.now = self.now.max(runtime);
        let tenant = self.tenant(index);
        let ready = tenant
            .queue
            .pop()
            .expect("a tenant is awake while it has something ready");
        if tenant.queue.is_empty() {
            self.awake.remove(&(runtime, index));
        }
        Some(ready)
    }

    fn charge(&mut self, index: TenantIndex, used_ns: u64) {
        let tenant = self.tenant(index);
        let before = tenant.runtime;
        tenant.runtime = before.saturating_add(used_ns.saturating_mul(SCALE) / tenant.weight);
        let after = tenant.runtime;
        if self.awake.remove(&(before, index)) {
            self.awake.insert((after, index));
        }
    }

    fn set_weight(&mut self, index: TenantIndex, weight: u32) {
        self.tenant(index).weight = u64::from(weight.max(1));
    }
}

impl<T> Queue<T> {
    fn is_empty(&self) -> bool {
        match self {
            Queue::RoundRobin(queue) => queue.is_empty(),
            Queue::ByDeadline { heap, .. } => heap.is_empty(),
        }
    }

    fn push(&mut self, ready: Ready<T>) {
        match self {
            Queue::RoundRobin(queue) => queue.push_back(ready),
            Queue::ByDeadline { heap, pushed } => {
                *pushed += 1;
                heap.push(Reverse(Timed {
                    start_by_ns: ready.start_by_ns.unwrap_or(u64::MAX),
                    order: *pushed,
                    ready,
                }));
            }
        }
    }

    fn pop(&mut self) -> Option<Ready<T>> {
        match self {
            Queue::RoundRobin(queue) => queue.pop_front(),
            Queue::ByDeadline { heap, .. } => heap.pop().map(|Reverse(timed)| timed.ready),
        }
    }
}

/// An item by the moment it must start; those that share one, or have none, in the order in which they came.
struct Timed<T> {
    start_by_ns: u64,
    order: u64,
    ready: Ready<T>,
}

impl<T> Ord for Timed<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.start_by_ns, self.order).cmp(&(other.start_by_ns, other.order))
    }
}

impl<T> PartialOrd for Timed<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Timed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Timed<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(tenant: TenantIndex, item: u32) -> Ready<u32> {
        Ready {
            tenant,
            start_by_ns: None,
            item,
        }
    }

    /// Runs slices of 100 ns; every item is always ready again. Gives each tenant's share of all of them.
    fn shares(fair: &mut Fair<u32>, tenants: u32, slices: u32) -> Vec<f64> {
        let mut counts = vec![0.0; tenants as usize];
        for _ in 0..slices {
            let chosen = fair.pop().unwrap();
            counts[chosen.tenant as usize] += 1.0 / f64::from(slices);
            fair.charge(chosen.tenant, 100);
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
    fn items_of_a_tenant_take_turns() {
        let mut fair = Fair::round_robin();
        (0..3).for_each(|item| fair.push(ready(0, item), false));
        let order: Vec<u32> = (0..6)
            .map(|_| {
                let chosen = fair.pop().unwrap();
                let item = chosen.item;
                fair.push(chosen, true);
                item
            })
            .collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn what_must_start_first_goes_first_within_a_tenant() {
        let mut fair = Fair::by_deadline();
        for (item, start_by_ns) in [(0, None), (1, Some(30)), (2, Some(10)), (3, Some(20))] {
            fair.push(
                Ready {
                    tenant: 0,
                    start_by_ns,
                    item,
                },
                false,
            );
        }
        let order: Vec<u32> = std::iter::from_fn(|| fair.pop()).map(|ready| ready.item).collect();
        assert_eq!(order, [2, 3, 1, 0]);
    }
}
