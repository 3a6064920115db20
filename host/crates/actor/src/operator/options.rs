//! How an operator of a running pipeline is made.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::Operator;
use crate::activations::IdleQueue;
use crate::closing::Closer;
use crate::counters::{Counters, OpenWindows};
use crate::directory::{Directory, Shards};
use crate::due::NextDue;
use crate::fuel_estimator::FuelEstimator;
use crate::helping::Help;
use crate::load::Executors;
use crate::slice_lengths::SliceLengths;
use crate::{Actor, ActorIdentity, PipelineContext, driver};
use dirigo_connectors::records::Extract;
use dirigo_engine::{Component, Setup};
use dirigo_flow::{Edge, Gate, OperatorSetup};
use dirigo_ground::clock::nanoseconds;
use dirigo_ground::sync::Mutex;
use dirigo_pipeline::{self as pipeline, Actors, Scaling};
use dirigo_state::{Layout, hash};

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
    /// Where its outputs with names go that something reads.
    pub named_edges: Vec<NamedEdges>,
}

/// Where an output with a name goes.
pub struct NamedEdges {
    /// The name.
    pub name: String,
    /// Where it goes.
    pub edges: Vec<Edge>,
}

/// How many replicas an operator has at most, of any kind, on a host with `workers` workers; `None` with an actor per key, whose number the
/// events decide.
#[must_use]
pub fn replicas_max(operator: &pipeline::Operator, workers: u32) -> Option<u32> {
    let replicas = operator.replicas.unwrap_or_default().most(workers);
    match operator.actors {
        Actors::PerKey => None,
        Actors::Shards(shards) => Some(replicas.max(shards.unwrap_or_default().most(workers))),
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
            named_edges,
        } = options;
        let is_stateful = component.kind().is_stateful();
        let executors = match operator.actors {
            Actors::PerKey => None,
            Actors::Shards(_) if !is_stateful => Some(operator.replicas),
            Actors::Shards(shards) => Some(shards),
        };
        // The events of one origin are told apart by the order in which one actor gets them.
        let scaling = if is_stateful && component.is_per_event() {
            Scaling::Off
        } else {
            operator.scaling
        };
        let executors = executors.map(|count| Executors::of(count.unwrap_or_default(), scaling, workers));
        let at_first = executors.as_ref().map_or(1, Executors::at_first);
        let most = executors
            .as_ref()
            .map_or(workers, |executors| executors.bounds.end().to_owned());
        // One mailbox keeps the order of a stateless operator; its replicas share the work.
        let driver = driver::of(&component, &operator);
        let may_change = executors.as_ref().is_some_and(Executors::may_change);
        let (shards, replicas) = match is_stateful {
            true if may_change && component.is_associative() && driver.can_be_helped() => (at_first, most.min(workers)),
            true => (at_first, 1),
            false => (1, most),
        };
        let directory = match operator.actors {
            Actors::PerKey => Directory::per_key(),
            Actors::Shards(_) => Directory::shards(),
        };
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
            named_edges,
            rekey: operator.key.as_ref().map(|key| Extract::new(Some(key), None)),
            directory,
            closer: Closer::of(most),
            replicas: u16::try_from(replicas).unwrap_or(u16::MAX),
            executors,
            resharding: Mutex::default(),
            help: Help::default(),
            laws: Mutex::default(),
            is_approximate: operator.approximate,
            scaled: Mutex::default(),
            idle: IdleQueue::new(nanoseconds(operator.idle_timeout)),
            component,
            setup,
        });
        if let Directory::Shards(directory) = &this.directory {
            let firsts: Vec<u32> = hash::ranges(shards).chain([hash::PARTITIONS]).collect();
            let actor = |range: &[u32]| {
                let identity = ActorIdentity::Partitions(range[0]..range[1]);
                Actor::new(this.clone(), identity, this.replicas)
            };
            *directory.lock() = Arc::new(Shards::of(firsts.windows(2).map(actor).collect()));
        }
        this.context.activations.register(&this);
        this
    }
}
