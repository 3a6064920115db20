//! What the operators of a running pipeline have in common.

use std::sync::Arc;

use super::{Activations, Cell, Share};
use dirigo_flow::{Epochs, Halt, Letters};
use dirigo_ground::clock::Clock;
use dirigo_scheduler::{Scheduler, TenantIndex};
use dirigo_state::Store;

/// What all operators of a pipeline share.
pub struct Pipe {
    /// The pipeline's name.
    pub name: String,
    /// Whose it is.
    pub tenant: TenantIndex,
    /// What the tenant holds of the places for instances, and its account.
    pub share: Arc<Share>,
    /// Its latency target.
    pub slo_ns: Option<u64>,
    /// The names of its sources.
    pub sources: Vec<String>,
    /// Where ready cells go.
    pub scheduler: Arc<Scheduler<Cell>>,
    /// The places for instances.
    pub activations: Arc<Activations>,
    /// Where state goes that no active actor holds.
    pub store: Arc<Store>,
    /// When effects may be taken, and to which epoch they belong.
    pub epochs: Arc<Epochs>,
    /// Where failed events go.
    pub letters: Arc<Letters>,
    /// What ends the pipeline before its time.
    pub halt: Arc<Halt>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where timers run.
    pub runtime: tokio::runtime::Handle,
}
