//! What an instance is made from besides its component, and what a call of it may burn.

use std::sync::Arc;

use crate::guest_log::GuestLog;
use crate::seed::Seed;
use dirigo_ground::clock::Clock;
use dirigo_ground::fields::Schema;
use dirigo_ground::limits::Limits;
use dirigo_ground::quota::Quota;

/// What an instance is made from, besides its component.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What it may use.
    pub limits: Limits,
    /// What `open` gets: a JSON object.
    pub config: Arc<str>,
    /// What it said, when it was opened for the first time, that it reads and writes; `None` where it was not open in time.
    pub schema: Option<Arc<Schema>>,
    /// Where its log lines and counters go.
    pub log: Arc<GuestLog>,
    /// Whose memory it takes.
    pub quota: Arc<Quota>,
    /// What its random numbers follow from.
    pub seed: Seed,
    /// By which it yields while the host does something for it.
    pub clock: Arc<dyn Clock>,
}

impl Setup {
    /// The same, on a tenant's account.
    #[must_use]
    pub fn with_quota(self, quota: &Arc<Quota>) -> Self {
        Self {
            log: Arc::new(self.log.with_quota(quota.clone())),
            quota: quota.clone(),
            ..self
        }
    }
}

/// Fuel for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Fuel after which the call traps.
    pub total: u64,
    /// Fuel after which it yields, again and again; at least 1.
    pub slice: u64,
}
