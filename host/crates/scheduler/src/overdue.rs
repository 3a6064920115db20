//! I/O that had its worker's place for long enough, and is still at it.
//!
//! The worker works again, and so there is a thread more than there are workers. Of a tenant with one source that is all; one with 64 would
//! have its next source take the place that this one left, and so on until all of them stand before the threads of other tenants. So while
//! I/O of a tenant is overdue, its next permits wait.

use std::sync::Arc;

use super::io_permit::IoPermit;
use super::policy::TenantIndex;

/// For how long permits wait for I/O that is overdue: what takes longer is blocked, by a disk or a network, and takes nothing of a processor.
const WAIT_NS: u64 = 2_000_000;

/// What is overdue, by tenant.
#[derive(Default)]
pub(super) struct Overdue {
    tenants: Vec<OfTenant>,
}

#[derive(Default)]
struct OfTenant {
    /// How many steps are overdue. For a moment one that is over may have been taken off before it was added.
    steps: i32,
    /// When the last of them became it.
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

    /// Notes that the worker of a step has stopped waiting for it.
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
