//! How an operator of a running pipeline is made.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::Operator;
use crate::activations::IdleQueue;
use crate::closing::Closer;
use crate::counters::{Counters, OpenWindows};
use crate::directory::Directory;
use crate::due::NextDue;
use crate::fuel_estimator::FuelEstimator;
use crate::slice_lengths::SliceLengths;
use crate::{Actor, ActorIdentity, PipelineContext, driver};
use dirigo_connectors::records::Extract;
use dirigo_engine::{Component, Setup};
use dirigo_flow::{Edge, Gate, OperatorSetup};
use dirigo_ground::clock::nanoseconds;
use dirigo_pipeline::{self as pipeline, Actors};
use dirigo_state::Layout;

/// What an operator is made of.
pub struct OperatorOptions {
    /// As the pipeline file has it.
    pub operator: pipeline::Operator,
    /// Its component, loaded.
    pub component: Component,
    /// What its instances are made from.
    pub setup: Setup,
    /// How many workers the host has.
    pub workers: u32,
    /// Where events go that come too late for it.
    pub late_edges: Vec<Edge>,
}

/// How many replicas an operator has at most, of any kind, on a host with `workers` workers; `None` with an actor per key, whose number the
/// events decide.
#[must_use]
pub fn replicas_max(operator: &pipeline::Operator, workers: u32) -> Option<u32> {
    let replicas = operator.replicas.unwrap_or(workers);
    match operator.actors {
        Actors::PerKey => None,
        Actors::Shards(shards) => Some(replicas.max(shards.unwrap_or(workers))),
    }
}

impl Operator {
    /// The operator of `options`, whose outputs go to `edges`.
    #[must_use]
    pub fn new(context: Arc<PipelineContext>, options: OperatorOptions, edges: Vec<Edge>) -> Arc<Self> {
        let OperatorOptions {
            operator,
            component,
            setup,
            workers,
            late_edges,
        } = options;
        let is_stateful = component.kind().is_stateful();
        let (shards, directory) = match operator.actors {
            Actors::PerKey => (0, Directory::per_key()),
            // One mailbox keeps the order of a stateless operator; its replicas share the work.
            Actors::Shards(_) if !is_stateful => (1, Directory::shards()),
            Actors::Shards(shards) => (shards.unwrap_or(workers), Directory::shards()),
        };
        let replicas = if is_stateful {
            1
        } else {
            operator.replicas.unwrap_or(workers)
        };
        let driver = driver::of(&component, &operator);
        let this = Arc::new_cyclic(|this| Self {
            this: this.clone(),
            dead_letter_setup: Arc::new(OperatorSetup {
                component: operator.component.to_string(),
                config: operator.config_as_written,
                limits: operator.limits,
                window: operator.window,
                order: operator.order,
            }),
            id: operator.id,
            gate: Gate::new(context.instances.quota.clone()),
            context,
            layout: component.state_layout().and_then(Layout::parse),
            is_per_event: component.is_per_event(),
            driver,
            errors: operator.errors,
            isolation: operator.isolation,
            slice_ns: nanoseconds(operator.slice),
            slice_shared_ns: nanoseconds(operator.slice_shared.min(operator.slice)),
            fuel_estimator: FuelEstimator::default(),
            after_ns: AtomicU64::new(0),
            counters: Counters::default(),
            open_windows: OpenWindows::default(),
            next_due: NextDue::default(),
            resumed_in_windows: AtomicU64::new(0),
            slice_lengths: SliceLengths::default(),
            edges,
            late_edges,
            rekey: operator.key.as_ref().map(|key| Extract::new(Some(key), None)),
            directory,
            closer: Closer::of(if shards == 0 { workers } else { shards }),
            replicas: u16::try_from(replicas).unwrap_or(u16::MAX),
            shards,
            idle: IdleQueue::new(nanoseconds(operator.idle_timeout)),
            component,
            setup,
        });
        if let Directory::Shards(actors) = &this.directory {
            let actor = |index| {
                Actor::new(
                    this.clone(),
                    ActorIdentity::Shard {
                        index,
                        shards: this.shards,
                    },
                    this.replicas,
                )
            };
            *actors.lock() = (0..this.shards).map(actor).collect();
        }
        this.context.activations.register(&this);
        this
    }
}
