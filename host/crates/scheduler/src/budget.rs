//! How much fuel tenants may burn.
//!
//! A token bucket for each tenant that has a budget. Fuel is known after it was burnt, so a bucket may go below empty, by at
//! most what the tenant's slices under way burn; it then waits until that is made up for.

use std::collections::BTreeSet;

use super::policy::{TenantIndex, Used};

/// What a bucket holds, as the time in which its tenant earns it: in any span of time a tenant burns at most what it earns in
/// that and in 100 ms more, and what its slices under way burn.
pub const BURST_NS: u64 = 100_000_000;

/// The buckets of all tenants.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    buckets: Vec<Option<Bucket>>,
    /// The tenants whose bucket is empty, by the moment at which it no longer is.
    empty: BTreeSet<(u64, TenantIndex)>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    fuel_per_s: u64,
    /// When it is full again, if nothing more is burnt, or since when it is.
    full_at_ns: u64,
    is_empty: bool,
}

impl Bucket {
    /// Until when it is empty, once it is.
    fn empty_until_ns(&self) -> u64 {
        self.full_at_ns.saturating_sub(BURST_NS)
    }
}

impl Budgets {
    /// Sets the budget of a tenant, with a full bucket. Says whether the tenant was over its old one.
    pub(super) fn set(&mut self, tenant: TenantIndex, fuel_per_s: Option<u64>, now_ns: u64) -> bool {
        let wanted = tenant as usize + 1;
        if self.buckets.len() < wanted {
            self.buckets.resize(wanted, None);
        }
        let bucket = fuel_per_s.map(|fuel_per_s| Bucket {
            fuel_per_s: fuel_per_s.max(1),
            full_at_ns: now_ns,
            is_empty: false,
        });
        let old = std::mem::replace(&mut self.buckets[tenant as usize], bucket);
        old.is_some_and(|old| old.is_empty && self.empty.remove(&(old.empty_until_ns(), tenant)))
    }

    /// Takes what a slice burnt. Says whether that emptied the bucket.
    pub(super) fn charge(&mut self, used: Used, now_ns: u64) -> bool {
        let tenant = used.tenant;
        let Some(bucket) = self.buckets.get_mut(tenant as usize).and_then(Option::as_mut) else {
            return false;
        };
        let earned_in_ns = (u128::from(used.fuel) * 1_000_000_000).div_ceil(u128::from(bucket.fuel_per_s));
        let was_empty = bucket.is_empty;
        if was_empty {
            self.empty.remove(&(bucket.empty_until_ns(), tenant));
        }
        let earned_in_ns = u64::try_from(earned_in_ns).unwrap_or(u64::MAX);
        bucket.full_at_ns = bucket.full_at_ns.max(now_ns).saturating_add(earned_in_ns);
        bucket.is_empty = was_empty || bucket.empty_until_ns() > now_ns;
        if bucket.is_empty {
            self.empty.insert((bucket.empty_until_ns(), tenant));
        }
        bucket.is_empty && !was_empty
    }

    /// A tenant whose bucket was empty and no longer is.
    pub(super) fn next_refilled(&mut self, now_ns: u64) -> Option<TenantIndex> {
        let &(at_ns, tenant) = self.empty.first()?;
        if at_ns > now_ns {
            return None;
        }
        self.empty.pop_first();
        let bucket = self.buckets[tenant as usize].as_mut();
        bucket.expect("a bucket that is empty exists").is_empty = false;
        Some(tenant)
    }

    /// When the next bucket is no longer empty.
    pub(super) fn refill_at_ns(&self) -> Option<u64> {
        self.empty.first().map(|(at_ns, _)| *at_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burnt(fuel: u64) -> Used {
        Used {
            tenant: 0,
            is_timed: false,
            ns: 0,
            fuel,
        }
    }

    #[test]
    fn a_bucket_holds_what_is_earned_in_100_ms_however_long_nothing_was_burnt() {
        let mut budgets = Budgets::default();
        budgets.set(0, Some(1_000), 0);
        assert!(!budgets.charge(burnt(100), 10_000_000_000));
        assert!(budgets.charge(burnt(1), 10_000_000_000));
    }

    #[test]
    fn what_was_burnt_too_much_is_waited_for() {
        let mut budgets = Budgets::default();
        budgets.set(0, Some(1_000), 0);
        assert!(budgets.charge(burnt(1_100), 0), "100 were there");
        assert!(!budgets.charge(burnt(500), 0), "it is empty already");
        assert_eq!(budgets.refill_at_ns(), Some(1_500_000_000));
        assert_eq!(budgets.next_refilled(1_499_999_999), None);
        assert_eq!(budgets.next_refilled(1_500_000_000), Some(0));
        assert_eq!(budgets.refill_at_ns(), None);
    }

    #[test]
    fn a_tenant_whose_budget_is_lifted_need_not_wait() {
        let mut budgets = Budgets::default();
        budgets.set(0, Some(1), 0);
        assert!(budgets.charge(burnt(1_000), 0));
        assert!(budgets.set(0, None, 0));
        assert_eq!(budgets.refill_at_ns(), None);
        assert!(!budgets.charge(burnt(1_000), 0));
    }
}
