//! What a scheduling policy is.

use std::fmt;
use std::str::FromStr;

/// A tenant, by the order in which the host met them.
pub type TenantIndex = u32;

/// Something that is ready to run, and what a policy may know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready<T> {
    /// Who pays for it.
    pub tenant: TenantIndex,
    /// The latest moment to start it, in ns on the host's clock, if its results are to be in time; `None` where nobody
    /// stated a latency target.
    pub start_by_ns: Option<u64>,
    /// The thing itself.
    pub item: T,
}

/// What a tenant may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its part of the workers relative to other tenants' while all of them have work; 0 counts as 1.
    pub weight: u32,
    /// The fuel that it may burn in a second; 0 counts as 1. `None` for as much as its weight gives it.
    pub fuel_per_s: Option<u64>,
}

impl Default for Share {
    fn default() -> Self {
        Self {
            weight: 1,
            fuel_per_s: None,
        }
    }
}

/// What a slice used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Who pays for it.
    pub tenant: TenantIndex,
    /// Whether what ran had a moment to start by.
    pub is_timed: bool,
    /// Time on a worker.
    pub ns: u64,
    /// Fuel.
    pub fuel: u64,
}

impl<T> Ready<T> {
    /// The same with another item.
    pub(super) fn map<U>(self, item: impl FnOnce(T) -> U) -> Ready<U> {
        Ready {
            tenant: self.tenant,
            start_by_ns: self.start_by_ns,
            item: item(self.item),
        }
    }

    /// What its slice used.
    #[must_use]
    pub fn used(&self, ns: u64, fuel: u64) -> Used {
        Used {
            tenant: self.tenant,
            is_timed: self.start_by_ns.is_some(),
            ns,
            fuel,
        }
    }
}

/// Chooses the item that runs next. Every operation but `remove` takes O(log n) of the ready items.
pub(super) trait Policy<T>: Send {
    /// Takes an item; `resumed` if it was just running and its slice ended.
    fn push(&mut self, ready: Ready<T>, resumed: bool);
    /// Takes an item that goes before what its tenant has ready, as far as the policy orders that by arrival.
    fn push_first(&mut self, ready: Ready<T>);
    /// Gives the item that runs next: none of a tenant that is held.
    fn pop(&mut self) -> Option<Ready<T>>;
    /// Whether there is something to pop.
    fn has_ready(&self) -> bool;
    /// Whether a tenant but this one has something to pop that need not wait until this one is done.
    fn has_ready_of_others(&self, tenant: TenantIndex) -> bool;
    /// Notes that a slice ended: called once for every item that was popped.
    fn charge(&mut self, used: Used);
    /// Notes time that a tenant had next to the workers.
    fn charge_outside(&mut self, tenant: TenantIndex, ns: u64);
    /// Whether a tenant has had so much less than others that it would run before all that wait.
    fn is_owed(&mut self, tenant: TenantIndex) -> bool;
    /// Sets the weight of a tenant.
    fn set_weight(&mut self, tenant: TenantIndex, weight: u32);
    /// Keeps back what a tenant has ready, or offers it again.
    fn hold(&mut self, tenant: TenantIndex, is_held: bool);
    /// Removes the chosen items of a tenant, in O(n log n) of its ready items.
    fn remove(&mut self, tenant: TenantIndex, is_chosen: &dyn Fn(&T) -> bool) -> Vec<T>;
    /// The number of tenants that the policy has met.
    fn tenants(&self) -> TenantIndex;
}

/// The policies that a user chooses between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyKind {
    /// Fair between tenants; within a tenant what must start first runs first.
    #[default]
    Deadline,
    /// Fair between tenants; round robin within one.
    Fair,
    /// In order of arrival, each to its end: the baseline that the others are measured against.
    Fifo,
}

impl PolicyKind {
    const NAMES: [(&'static str, PolicyKind); 3] = [
        ("deadline", PolicyKind::Deadline),
        ("fair", PolicyKind::Fair),
        ("fifo", PolicyKind::Fifo),
    ];
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = Self::NAMES
            .iter()
            .find(|(_, choice)| choice == self)
            .expect("every choice has a name");
        formatter.write_str(name)
    }
}

impl FromStr for PolicyKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::NAMES.iter().find(|(name, _)| *name == text);
        named
            .map(|(_, choice)| *choice)
            .ok_or_else(|| format!("`{text}` is none of `deadline`, `fair` and `fifo`"))
    }
}
