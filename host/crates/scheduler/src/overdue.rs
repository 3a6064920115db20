//! I/O that exceeded its lease of a worker, and still runs.
//!
//! The worker has resumed its own work, so one thread more runs than there are workers. A tenant with one source adds one such thread. A tenant
//! with 64 would add one with each lease, until all of them were queued before the threads of other tenants. So while I/O of a tenant is
//! overdue, its next permits wait.

use std::sync::Arc;

use super::io_permit::IoPermit;
use super::policy::TenantIndex;

/// For how long permits wait for I/O that is overdue. I/O that takes longer is taken to be blocked by a disk or a network, where it uses no
/// processor.
const WAIT_NS: u64 = 2_000_000;

/// What is overdue, by tenant.
#[derive(Default)]
pub(super) struct Overdue {
    tenants: Vec<OfTenant>,
}

#[derive(Default)]
struct OfTenant {
    /// How many steps are overdue. It is -1 for a moment where a step ends before its worker has added it.
    steps: i32,
    /// When the last of them became overdue.
    since_ns: u64,
    /// The permits that wait.
    waiting: Vec<Arc<IoPermit>>,
}

impl Overdue {
    fn of(&mut self, tenant: TenantIndex) -> &mut OfTenant {
        let index = tenant as usize;
        if index >= self.tenants.len() {
            self.tenants.resize_with(index + 1, OfTenant::default);
        }
        &mut self.tenants[index]
    }

    /// Notes that a step has exceeded its lease.
    pub(super) fn begin(&mut self, tenant: TenantIndex, now_ns: u64) {
        let tenant = self.of(tenant);
        tenant.steps += 1;
        tenant.since_ns = now_ns;
    }

    /// Notes that such a step is over, and gives the permits that waited for it.
    pub(super) fn end(&mut self, tenant: TenantIndex) -> Vec<Arc<IoPermit>> {
        let tenant = self.of(tenant);
        tenant.steps -= 1;
        if tenant.steps > 0 {
            return Vec::new();
        }
        std::mem::take(&mut tenant.waiting)
    }

    /// Keeps a permit that has to wait; gives back one that need not.
    pub(super) fn keep(&mut self, io_permit: Arc<IoPermit>, now_ns: u64) -> Option<Arc<IoPermit>> {
        let tenant = self.of(io_permit.tenant);
        let must_wait = tenant.steps > 0 && now_ns.saturating_sub(tenant.since_ns) < WAIT_NS;
        if must_wait {
            tenant.waiting.push(io_permit);
            return None;
        }
        Some(io_permit)
    }

    #[cfg(test)]
    pub(super) fn waiting(&mut self, tenant: TenantIndex) -> usize {
        self.of(tenant).waiting.len()
    }

    /// Drops all permits that wait.
    pub(super) fn clear(&mut self) {
        self.tenants.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_waits_for_overdue_steps_of_its_tenant_for_a_bounded_time() {
        let mut overdue = Overdue::default();
        let permit = |tenant| IoPermit::new(tenant, false);
        overdue.begin(1, 0);
        assert!(overdue.keep(permit(0), 0).is_some(), "another tenant");
        assert!(overdue.keep(permit(1), WAIT_NS - 1).is_none());
        assert!(overdue.keep(permit(1), WAIT_NS).is_some(), "the step is blocked");
        assert_eq!(overdue.end(1).len(), 1);
        assert!(overdue.keep(permit(1), 0).is_some(), "no step is overdue");
    }

    #[test]
    fn a_step_that_ends_before_it_was_added_is_not_overdue() {
        let mut overdue = Overdue::default();
        assert!(overdue.end(0).is_empty());
        overdue.begin(0, 0);
        assert!(overdue.keep(IoPermit::new(0, false), 0).is_some());
    }
}
