//! What the operators of a running pipeline have in common.

use std::sync::Arc;

use super::{Activations, InstanceQuota, Runnable};
use dirigo_flow::{DeadLetters, Epochs, FailureLatch};
use dirigo_ground::clock::Clock;
use dirigo_scheduler::{Scheduler, TenantIndex};
use dirigo_state::Store;

/// What all operators of a pipeline share.
pub struct PipelineContext {
    /// The pipeline's name.
    pub name: String,
    /// Whose it is.
    pub tenant: TenantIndex,
    /// What the tenant holds of the instance slots, and its quota.
    pub instances: Arc<InstanceQuota>,
    /// Its latency target.
    pub slo_ns: Option<u64>,
    /// The names of its lines: of its sources, then of its timed operators.
    pub sources: Vec<Arc<str>>,
    /// Where ready cells go.
    pub scheduler: Arc<Scheduler<Runnable>>,
    /// The instance slots.
    pub activations: Arc<Activations>,
    /// Where state goes that no active actor holds.
    pub store: Arc<Store>,
    /// When effects may be taken, and to which epoch they belong.
    pub epochs: Arc<Epochs>,
    /// Where failed events go.
    pub dead_letters: Arc<DeadLetters>,
    /// What ends the pipeline before its time.
    pub failure_latch: Arc<FailureLatch>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where timers run.
    pub runtime: tokio::runtime::Handle,
}
