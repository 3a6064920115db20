//! A component placed in a pipeline, while the pipeline runs.

mod dead_letters;
mod options;
mod rekey;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;

use hdrhistogram::Histogram;

use super::activations::IdleQueue;
use super::closing::Closer;
use super::counters::{self, Counters, OpenWindows};
use super::directory::Directory;
use super::driver::Driver;
use super::due::NextDue;
use super::fuel_estimator::{AWAITED_NS, FuelEstimator};
use super::helping::Help;
use super::law_check::Laws;
use super::load::{Executors, Scaled};
use super::resharding::Resharding;
use super::slice_lengths::SliceLengths;
use super::{Actor, PipelineContext, Runnable};
pub(super) use dead_letters::{EventFailure, StateBefore};
use dirigo_connectors::records::Extract;
use dirigo_engine::{Component, GuestLog, Kind, Setup};
use dirigo_flow::{Edge, Gate, Message, OperatorSetup, Receiver};
use dirigo_ground::batch::Batch;
use dirigo_ground::lineage::OutputTag;
use dirigo_ground::sync::Mutex;
use dirigo_pipeline::{Isolation, OnError};
use dirigo_state::Layout;
use dirigo_state::windows::OpenChange;
pub use options::{NamedEdges, OperatorOptions, replicas_max};

/// An operator of a running pipeline.
pub struct Operator {
    this: Weak<Self>,
    pub(super) id: String,
    pub(super) context: Arc<PipelineContext>,
    pub(super) component: Component,
    pub(super) setup: Setup,
    /// How it lays out its accumulators, where it says so.
    pub(super) layout: Option<Layout>,
    /// Whether it is handed one event at a time: what the host answers it depends on the event.
    pub(super) is_per_event: bool,
    pub(super) driver: Box<dyn Driver>,
    pub(super) errors: OnError,
    pub(super) isolation: Isolation,
    slice_ns: u64,
    slice_shared_ns: u64,
    pub(super) fuel_estimator: FuelEstimator,
    /// What events take from its outputs to a sink, in ns: the longest way.
    after_ns: AtomicU64,
    pub(super) counters: Counters,
    pub(super) open_windows: OpenWindows,
    pub(super) next_due: NextDue,
    /// See [`resumed_in_windows`](Self::resumed_in_windows).
    resumed_in_windows: AtomicU64,
    pub(super) slice_lengths: SliceLengths,
    pub(super) edges: Vec<Edge>,
    late_edges: Vec<Edge>,
    named_edges: Vec<NamedEdges>,
    pub(super) gate: Gate<Waker>,
    dead_letter_setup: Arc<OperatorSetup>,
    rekey: Option<Extract>,
    pub(super) directory: Directory,
    pub(super) closer: Closer,
    /// How many replicas each of its actors has, those that rest included.
    pub(super) replicas: u16,
    /// How many replicas or shards it has at a time; none with an actor per key.
    pub(super) executors: Option<Executors>,
    pub(super) resharding: Mutex<Weak<Resharding>>,
    pub(super) help: Help,
    pub(super) laws: Mutex<Laws>,
    pub(super) is_approximate: bool,
    pub(super) scaled: Mutex<Scaled>,
    pub(super) idle: IdleQueue,
}

impl Operator {
    /// Its name in the pipeline.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.component.kind()
    }

    /// What it did so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many windows it has open, and how many events are in them.
    #[must_use]
    pub fn open_windows(&self) -> (u64, u64) {
        self.open_windows.read()
    }

    /// Takes over the open windows of an earlier run.
    pub fn resume_open_windows(&self, windows: u64, events: u64) {
        self.open_windows.change(OpenChange {
            windows: windows.cast_signed(),
            events: events.cast_signed(),
        });
    }

    /// Events that were in windows when the last run stopped, and count in this one since their windows could not be finished.
    #[must_use]
    pub fn resumed_in_windows(&self) -> u64 {
        self.resumed_in_windows.load(Ordering::Relaxed)
    }

    /// How long its actors kept a worker in ns, each time that they would have gone on.
    #[must_use]
    pub fn slice_lengths(&self) -> Histogram<u64> {
        self.slice_lengths.read()
    }

    /// What a slice of it is to last, in ns: less where other tenants wait for the worker.
    #[must_use]
    pub fn slice_ns(&self) -> u64 {
        if self.context.scheduler.is_shared() {
            self.slice_shared_ns
        } else {
            self.slice_ns
        }
    }

    /// The length of a slice in which a worker looks up as often as it does in one of this operator: next to other tenants, one that asks
    /// for long slices is looked at as often as others are.
    pub(crate) fn looked_up_ns(&self) -> u64 {
        if self.context.scheduler.is_shared() {
            self.slice_shared_ns.min(AWAITED_NS)
        } else {
            self.slice_ns
        }
    }

    /// Whether another tenant waits for the worker that runs it.
    pub(crate) fn is_awaited_by_others(&self) -> bool {
        let scheduler = &self.context.scheduler;
        scheduler.is_shared() && scheduler.is_awaited_by_others(self.context.tenant)
    }

    /// What its guests counted.
    #[must_use]
    pub fn metrics(&self) -> std::collections::BTreeMap<String, f64> {
        self.setup.log.metrics()
    }

    /// What its guests log.
    #[must_use]
    pub fn log(&self) -> &Arc<GuestLog> {
        &self.setup.log
    }

    /// Where its outputs go.
    #[must_use]
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// Where events go that come too late for it.
    #[must_use]
    pub fn late_edges(&self) -> &[Edge] {
        &self.late_edges
    }

    /// Where its outputs with names go that something reads.
    #[must_use]
    pub fn named_edges(&self) -> &[NamedEdges] {
        &self.named_edges
    }

    /// The output of this name, if something reads it.
    #[must_use]
    pub fn output_tag(&self, name: &str) -> Option<OutputTag> {
        let place = self.named_edges.iter().position(|named| named.name == name)?;
        let place = u16::try_from(place).expect("a pipeline file bounds the number of inputs");
        Some(OutputTag::Named(place))
    }

    /// The name of an output, if it has one.
    #[must_use]
    pub fn output_name(&self, output: OutputTag) -> Option<&str> {
        match output {
            OutputTag::Own => None,
            OutputTag::Named(place) => Some(&self.named_edges[usize::from(place)].name),
        }
    }

    /// What waits for it.
    #[must_use]
    pub fn gate(&self) -> &Gate<Waker> {
        &self.gate
    }

    /// Takes events: gives them their new keys if it does, and hands them to the actors.
    fn take_in(&self, batch: Batch) {
        counters::add(&self.counters.events_in, batch.len());
        let Some(batch) = self.rekeyed(batch) else { return };
        self.gate.enter(batch.len(), batch.size());
        self.directory.deliver(self, batch);
    }

    /// Whether these are steps that event time has come to, and no events that come to the operator.
    pub(super) fn are_due(&self, batch: &Batch) -> bool {
        self.driver.process().is_some_and(|process| process.are_due(batch))
    }

    /// The handle that its actors hold.
    pub(super) fn handle(&self) -> Arc<Self> {
        self.this.upgrade().expect("the caller holds it")
    }

    /// Hands outputs on, by the output that they leave by.
    pub(super) fn forward(&self, mut batch: Batch) {
        let (counter, edges) = match std::mem::take(&mut batch.origin.output) {
            OutputTag::Own => (&self.counters.events_out, &self.edges),
            OutputTag::Named(place) => (&self.counters.named_out, &self.named_edges[usize::from(place)].edges),
        };
        counters::add(counter, batch.len());
        Edge::send_all(edges, batch);
    }

    /// Hands events on that come too late for its windows.
    pub(super) fn forward_late(&self, batch: Batch) {
        counters::add(&self.counters.late, batch.len());
        Edge::send_all(&self.late_edges, batch);
    }

    /// Whether its outputs would add to something full; if so, `runnable` is scheduled once there is room.
    pub(super) fn must_wait(&self, runnable: &Runnable) -> bool {
        let dead_letters = self.context.dead_letters.gate();
        if dead_letters.is_full() && dead_letters.wait(runnable.waker()) {
            return true;
        }
        let must_wait = |edges: &[Edge]| Edge::must_wait(edges, || runnable.waker());
        must_wait(&self.edges)
            || must_wait(&self.late_edges)
            || self.named_edges.iter().any(|named| must_wait(&named.edges))
    }

    /// What events take from here to a sink, in ns: own turn and the longest way after it.
    #[must_use]
    pub fn path_ns(&self) -> u64 {
        self.fuel_estimator.turn_ns().saturating_add(self.after_ns())
    }

    /// Learns from a turn that ended well.
    ///
    /// What it knows of the way after it moves up by one operator with every turn; asking all that come after at once would
    /// take as long as there are ways through the graph.
    pub(super) fn observe_turn(&self, events: usize, fuel: u64, ns: u64, was_served: bool) {
        self.fuel_estimator.observe_turn(events, fuel, ns, was_served);
        let of_names = self.named_edges.iter().map(|named| Edge::longest_path_ns(&named.edges));
        let after_ns = of_names.fold(Edge::longest_path_ns(&self.edges), u64::max);
        self.after_ns.store(after_ns, Ordering::Relaxed);
    }

    /// What events take from its outputs to a sink, in ns.
    pub(super) fn after_ns(&self) -> u64 {
        self.after_ns.load(Ordering::Relaxed)
    }

    pub(super) fn retire(&self, actor: &Arc<Actor>) {
        self.directory.retire(actor);
    }

    /// Drops everything that its actors have not finished: the pipeline has failed.
    pub fn abandon(&self) {
        for actor in self.actors() {
            self.clear_mailbox(&actor);
            for replica in &actor.replicas {
                replica.lock().abandon(&actor);
            }
            actor.sequence.abandon();
        }
    }

    pub(super) fn clear_mailbox(&self, actor: &Actor) {
        let dropped = actor.mailbox.lock().clear();
        let counted = dropped.iter().filter(|item| !item.is_done).map(|item| &item.batch);
        let (events, bytes) = counted.fold((0, 0), |(events, bytes), batch| {
            (events + batch.len(), bytes + batch.size())
        });
        dirigo_flow::wake_all(self.gate.leave(events, bytes));
    }

    /// Deactivates and drops all actors, and drops the runnables that wait for a worker or for a slot: a runnable holds the operator, and with it the state.
    pub fn shut_down(&self) {
        for actor in self.actors() {
            for replica in &actor.replicas {
                let mut replica = replica.lock();
                if replica.is_helper() {
                    // It may be in the middle of a check, which nobody waits for.
                    replica.abandon(&actor);
                } else {
                    replica.give_up_instance(&actor);
                }
            }
        }
        self.directory.clear();
        self.closer.clear();
        let context = &self.context;
        let is_own = |runnable: &Runnable| runnable.is_of(self);
        context.activations.forget(is_own);
        context.instances.forget(is_own);
        context.scheduler.remove(context.tenant, is_own);
    }

    /// All actors that there are now. What waits for a key in one of those that come is older than what waits for it in others.
    pub(super) fn actors(&self) -> impl Iterator<Item = Arc<Actor>> {
        let coming = self.coming().into_iter();
        coming.chain(self.directory.all()).chain(self.closer.get())
    }
}

impl Receiver for Operator {
    fn id(&self) -> &str {
        &self.id
    }

    fn receive(&self, message: Message) {
        match message {
            Message::Batch(batch) => self.take_in(batch),
        }
    }

    fn gate(&self) -> &Gate<Waker> {
        &self.gate
    }

    fn path_ns(&self) -> u64 {
        Operator::path_ns(self)
    }
}
