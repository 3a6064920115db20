//! A component placed in a pipeline, while the pipeline runs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;

use hdrhistogram::Histogram;

use dirigo_ground::sync::Mutex;

use super::counters::{self, Counters};
use super::directory::Directory;
use super::lengths::Lengths;
use super::pace::Pace;
use super::replica::Leaving;
use super::{Activations, Actor, Cell, Identity, Share};
use dirigo_connectors::source::Extract;
use dirigo_engine::{Component, Kind, Setup};
use dirigo_flow::{DeadLetter, Edge, Epochs, Event, Failure, Gate, Halt, LetterSetup, Letters, Message, Receiver};
use dirigo_ground::batch::Batch;
use dirigo_ground::clock::{Clock, nanoseconds};
use dirigo_pipeline::{self as pipeline, Actors, Isolation, OnError, Window};
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

/// What an operator is made of.
#[derive(Debug)]
pub struct Options {
    /// As the pipeline file has it.
    pub operator: pipeline::Operator,
    /// Its component, loaded.
    pub component: Component,
    /// What its instances are made from.
    pub setup: Setup,
    /// How many workers the host has.
    pub workers: u32,
}

/// An operator of a running pipeline.
pub struct Operator {
    this: Weak<Self>,
    pub(super) id: String,
    pub(super) pipe: Arc<Pipe>,
    pub(super) component: Component,
    pub(super) setup: Setup,
    pub(super) window: Option<Window>,
    pub(super) errors: OnError,
    pub(super) isolation: Isolation,
    pub(super) slice_ns: u64,
    pub(super) pace: Pace,
    /// What events take from its outputs to a sink, in ns: the longest way.
    after_ns: AtomicU64,
    pub(super) counters: Counters,
    pub(super) slice_lengths: Lengths,
    pub(super) edges: Vec<Edge>,
    pub(super) gate: Gate<Waker>,
    letter_setup: Arc<LetterSetup>,
    rekey: Option<Extract>,
    pub(super) directory: Directory,
    replicas: u16,
    shards: u32,
    idle_timeout_ns: u64,
    idle: Mutex<VecDeque<Idle>>,
}

/// An actor that was idle when it was put here.
#[derive(Debug)]
struct Idle {
    actor: Weak<Actor>,
    replica: u16,
    since_ns: u64,
}

impl Operator {
    /// The operator of `options`, whose outputs go to `edges`.
    #[must_use]
    pub fn new(pipe: Arc<Pipe>, options: Options, edges: Vec<Edge>) -> Arc<Self> {
        let Options {
            operator,
            component,
            setup,
            workers,
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
        let this = Arc::new_cyclic(|this| Self {
            this: this.clone(),
            letter_setup: Arc::new(LetterSetup {
                component: operator.component.to_string(),
                config: operator.config_as_written,
                limits: operator.limits,
                window: operator.window,
            }),
            id: operator.id,
            gate: Gate::new(pipe.share.account.clone()),
            pipe,
            window: operator.window,
            errors: operator.errors,
            isolation: operator.isolation,
            slice_ns: nanoseconds(operator.slice),
            pace: Pace::default(),
            after_ns: AtomicU64::new(0),
            counters: Counters::default(),
            slice_lengths: Lengths::default(),
            edges,
            rekey: operator.key.as_ref().map(|key| Extract::new(Some(key), None)),
            directory,
            replicas: u16::try_from(replicas).unwrap_or(u16::MAX),
            shards,
            idle_timeout_ns: nanoseconds(operator.idle_timeout),
            idle: Mutex::default(),
            component,
            setup,
        });
        if let Directory::Shards(actors) = &this.directory {
            let actor = |index| {
                Actor::new(
                    this.clone(),
                    Identity::Shard {
                        index,
                        shards: this.shards,
                    },
                    this.replicas,
                )
            };
            *actors.lock() = (0..this.shards).map(actor).collect();
        }
        this.pipe.activations.register(&this);
        this
    }

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

    /// How long its actors kept a worker in ns, each time that they would have gone on.
    #[must_use]
    pub fn slice_lengths(&self) -> Histogram<u64> {
        self.slice_lengths.read()
    }

    /// What a slice of it is to last, in ns.
    #[must_use]
    pub fn slice_ns(&self) -> u64 {
        self.slice_ns
    }

    /// What its guests counted.
    #[must_use]
    pub fn metrics(&self) -> std::collections::BTreeMap<String, f64> {
        self.setup.voice.metrics()
    }

    /// Where its outputs go.
    #[must_use]
    pub fn edges(&self) -> &[Edge] {
        &self.edges
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

    /// The handle that its actors hold.
    pub(super) fn handle(&self) -> Arc<Self> {
        self.this.upgrade().expect("whoever calls it holds it")
    }

    fn rekeyed(&self, batch: Batch) -> Option<Batch> {
        let Some(rekey) = &self.rekey else { return Some(batch) };
        let mut keys = dirigo_ground::batch::Column::with_capacity(batch.len(), batch.keys.bytes().len());
        let mut kept = Vec::with_capacity(batch.len());
        for (event, value) in (0..).zip(batch.values.iter()) {
            match rekey.key(value) {
                Ok(key) => {
                    keys.push(&key);
                    kept.push(event);
                }
                Err(reason) => self.bury(&batch, event as usize, Death::of("key", reason)),
            }
        }
        let batch = if kept.len() == batch.len() {
            batch
        } else {
            batch.gather(&kept)
        };
        (!batch.is_empty()).then(|| Batch {
            keys: Arc::new(keys),
            ..batch
        })
    }

    /// Sends an event to the dead letters, or ends the pipeline where errors do that.
    pub(super) fn bury(&self, batch: &Batch, event: usize, death: Death) {
        counters::add(&self.counters.dead_letters, 1_u64);
        let source = &self.pipe.sources[usize::from(batch.origin.ticket.source())];
        if self.errors == OnError::Stop {
            let place = format!("event {} of source `{source}`", batch.positions[event]);
            let reason = format!("{place}: {}", death.reason);
            self.pipe.halt.blow(Failure::Operator {
                id: self.id.clone(),
                reason,
            });
        }
        self.pipe.letters.push(DeadLetter {
            id: 0,
            pipeline: self.pipe.name.clone(),
            operator: self.id.clone(),
            component: Some(self.component.sha256().to_owned()),
            kind: death.kind.to_owned(),
            reason: death.reason,
            backtrace: death.backtrace,
            event: Event::new(
                source,
                batch.positions[event],
                Some(batch.times[event]),
                batch.keys.get(event),
                batch.values.get(event),
            ),
            state: death.state,
            fuel: death.fuel,
            attempt: death.attempt,
            setup: Some(self.letter_setup.clone()),
        });
    }

    /// Hands outputs on.
    pub(super) fn forward(&self, batch: Batch) {
        counters::add(&self.counters.events_out, batch.len());
        Edge::send_all(&self.edges, batch);
    }

    /// Whether its outputs would add to something full; if so, `cell` is scheduled once there is room.
    pub(super) fn must_wait(&self, cell: &Cell) -> bool {
        let letters = self.pipe.letters.gate();
        if letters.is_full() && letters.wait(cell.waker()) {
            return true;
        }
        Edge::must_wait(&self.edges, || cell.waker())
    }

    /// What events take from here to a sink, in ns: own turn and the longest way after it.
    #[must_use]
    pub fn path_ns(&self) -> u64 {
        self.pace.turn_ns().saturating_add(self.after_ns())
    }

    /// Learns from a turn that ended well.
    ///
    /// What it knows of the way after it moves up by one operator with every turn; asking all that come after at once would
    /// take as long as there are ways through the graph.
    pub(super) fn observe_turn(&self, events: usize, fuel: u64, ns: u64, was_served: bool) {
        self.pace.observe_turn(events, fuel, ns, was_served);
        self.after_ns
            .store(Edge::longest_path_ns(&self.edges), Ordering::Relaxed);
    }

    /// What events take from its outputs to a sink, in ns.
    pub(super) fn after_ns(&self) -> u64 {
        self.after_ns.load(Ordering::Relaxed)
    }

    /// Keeps in mind that a replica is idle.
    pub(super) fn note_idle(&self, actor: &Arc<Actor>, replica: u16, since_ns: u64) {
        self.idle.lock().push_back(Idle {
            actor: Arc::downgrade(actor),
            replica,
            since_ns,
        });
    }

    pub(super) fn longest_idle_since_ns(&self) -> Option<u64> {
        self.idle.lock().front().map(|idle| idle.since_ns)
    }

    /// Deactivates the actor that has been idle longest, if there is one; or has it begin to leave, if it has much to give up.
    pub(super) fn evict_longest_idle(&self) -> Leaving {
        // Entries of actors that were busy meanwhile go to the back, once each.
        let entries = self.idle.lock().len();
        let left = (0..entries).find_map(|_| match self.visit_oldest(u64::MAX) {
            Visit::Deactivated => Some(Leaving::Gone),
            Visit::Shrunk => Some(Leaving::Shrunk),
            Visit::Busy | Visit::Gone | Visit::TooYoung => None,
        });
        left.unwrap_or(Leaving::Stays)
    }

    /// Deactivates actors that have been idle for the timeout.
    pub(super) fn deactivate_idle(&self, now_ns: u64) {
        let before_ns = now_ns.saturating_sub(self.idle_timeout_ns);
        let mut entries = self.idle.lock().len();
        while entries > 0 {
            match self.visit_oldest(before_ns) {
                Visit::TooYoung => return,
                Visit::Shrunk => {}
                Visit::Deactivated | Visit::Busy | Visit::Gone => entries -= 1,
            }
        }
    }

    /// Looks at the oldest entry, and deactivates its actor if it has been idle since `before_ns`.
    fn visit_oldest(&self, before_ns: u64) -> Visit {
        let entry = {
            let mut idle = self.idle.lock();
            match idle.front() {
                None => return Visit::TooYoung,
                Some(front) if front.since_ns > before_ns => return Visit::TooYoung,
                Some(_) => idle.pop_front().expect("there is a front"),
            }
        };
        let Some(actor) = entry.actor.upgrade() else {
            return Visit::Gone;
        };
        // A replica that is running now is not idle; it says so again when it is.
        let Some(mut replica) = actor.replicas[usize::from(entry.replica)].try_lock() else {
            self.idle.lock().push_back(Idle {
                since_ns: self.pipe.clock.now_ns(),
                ..entry
            });
            return Visit::Busy;
        };
        let used_ns = replica.last_used_ns();
        if replica.is_running() || used_ns > before_ns || used_ns > entry.since_ns {
            self.idle.lock().push_back(Idle {
                since_ns: used_ns.max(entry.since_ns),
                ..entry
            });
            return Visit::Busy;
        }
        // A checkpoint that is looking at the actor would miss what leaves it now.
        let Some(_inside) = self.pipe.epochs.turns().try_enter() else {
            self.idle.lock().push_front(entry);
            return Visit::TooYoung;
        };
        let leaving = replica.deactivate(&actor);
        if leaving == Leaving::Shrunk {
            self.idle.lock().push_front(entry);
            return Visit::Shrunk;
        }
        replica.leave_idle_queue();
        if leaving == Leaving::Gone {
            Visit::Deactivated
        } else {
            Visit::Gone
        }
    }

    pub(super) fn retire(&self, actor: &Arc<Actor>) {
        self.directory.retire(actor);
    }

    /// Drops everything that its actors have not finished: the pipeline has failed.
    pub fn abandon(&self) {
        for actor in self.directory.all() {
            self.drop_mail(&actor);
            for replica in &actor.replicas {
                replica.lock().abandon(&actor);
            }
            // Dropped once the lock is free: the last of a source's events tells that the pipeline is empty.
            let early = actor.sequence.lock().abandon();
            drop(early);
        }
    }

    pub(super) fn drop_mail(&self, actor: &Actor) {
        let (events, bytes) = actor.mailbox.lock().clear();
        dirigo_flow::wake_all(self.gate.leave(events, bytes));
    }

    /// Deactivates all actors and lets go of them.
    pub fn shut_down(&self) {
        for actor in self.directory.all() {
            for replica in &actor.replicas {
                replica.lock().give_up_instance(&actor);
            }
        }
        self.directory.clear();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visit {
    Deactivated,
    /// It is still the oldest, and has less to give up.
    Shrunk,
    Busy,
    Gone,
    TooYoung,
}

/// Why an event failed.
#[derive(Debug)]
pub(super) struct Death {
    pub(super) kind: &'static str,
    pub(super) reason: String,
    pub(super) backtrace: Option<String>,
    pub(super) state: Option<String>,
    pub(super) fuel: u64,
    pub(super) attempt: u32,
}

impl Death {
    pub(super) fn of(kind: &'static str, reason: String) -> Self {
        Self {
            kind,
            reason,
            backtrace: None,
            state: None,
            fuel: 0,
            attempt: 1,
        }
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
