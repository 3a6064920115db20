//! What tenants have used of the workers, and for how long their fuel budget held them.

use super::policy::TenantIndex;

/// What a tenant has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on workers, in ns; where tenants share a host also what its other threads took of a processor.
    pub worker_ns: u64,
    /// Fuel.
    pub fuel: u64,
    /// For how long it had no fuel left of its budget, whether or not something waited for it, in ns.
    pub held_ns: u64,
}

/// The usage of all tenants.
#[derive(Debug, Default)]
pub(super) struct Usages(Vec<TenantUsage>);

#[derive(Clone, Copy, Debug, Default)]
struct TenantUsage {
    usage: Usage,
    /// Since when it is held, if it is.
    held_from_ns: Option<u64>,
}

impl Usages {
    fn entry(&mut self, tenant: TenantIndex) -> &mut TenantUsage {
        let wanted = tenant as usize + 1;
        if self.0.len() < wanted {
            self.0.resize(wanted, TenantUsage::default());
        }
        &mut self.0[tenant as usize]
    }

    pub(super) fn add(&mut self, tenant: TenantIndex, ns: u64, fuel: u64) {
        let usage = &mut self.entry(tenant).usage;
        usage.worker_ns += ns;
        usage.fuel += fuel;
    }

    pub(super) fn hold(&mut self, tenant: TenantIndex, now_ns: u64) {
        self.entry(tenant).held_from_ns = Some(now_ns);
    }

    pub(super) fn release(&mut self, tenant: TenantIndex, now_ns: u64) {
        let entry = self.entry(tenant);
        if let Some(from_ns) = entry.held_from_ns.take() {
            entry.usage.held_ns += now_ns.saturating_sub(from_ns);
        }
    }

    pub(super) fn of(&self, tenant: TenantIndex, now_ns: u64) -> Usage {
        let TenantUsage {
            mut usage,
            held_from_ns,
        } = self.0.get(tenant as usize).copied().unwrap_or_default();
        if let Some(from_ns) = held_from_ns {
            usage.held_ns += now_ns.saturating_sub(from_ns);
        }
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_and_held_adds_up_also_while_it_is_held() {
        let mut usages = Usages::default();
        assert_eq!(usages.of(3, 0), Usage::default());
        usages.add(1, 50, 7);
        usages.add(1, 5, 0);
        usages.hold(1, 100);
        usages.release(1, 130);
        usages.release(1, 140);
        usages.hold(1, 200);
        let usage = Usage {
            worker_ns: 55,
            fuel: 7,
            held_ns: 40,
        };
        assert_eq!(usages.of(1, 210), usage);
        assert_eq!(usages.of(0, 210), Usage::default());
    }
}
