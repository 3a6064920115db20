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

/// Chooses who runs next among what is ready. Every operation takes O(log n).
pub(super) trait Policy<T>: Send {
    /// Takes an item; `resumed` if it was just running and its slice ended.
    fn push(&mut self, ready: Ready<T>, resumed: bool);
    /// Gives the item that runs next.
    fn pop(&mut self) -> Option<Ready<T>>;
    /// Notes what a tenant used of a worker.
    fn charge(&mut self, tenant: TenantIndex, used_ns: u64);
    /// Sets the share of a tenant.
    fn set_weight(&mut self, tenant: TenantIndex, weight: u32);
}

/// The policies that a user chooses between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Fair between tenants; within a tenant what must start first runs first.
    #[default]
    Deadline,
    /// Fair between tenants; round robin within one.
    Fair,
    /// In order of arrival, each to its end: the baseline that the others are measured against.
    Fifo,
}

impl Choice {
    const NAMES: [(&'static str, Choice); 3] = [
        ("deadline", Choice::Deadline),
        ("fair", Choice::Fair),
        ("fifo", Choice::Fifo),
    ];
}

impl fmt::Display for Choice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = Self::NAMES
            .iter()
            .find(|(_, choice)| choice == self)
            .expect("every choice has a name");
        formatter.write_str(name)
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::NAMES.iter().find(|(name, _)| *name == text);
        named
            .map(|(_, choice)| *choice)
            .ok_or_else(|| format!("`{text}` is none of `deadline`, `fair` and `fifo`"))
    }
}
