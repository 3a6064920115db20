//! Actors as far as the host's places and alarms know them, and the world in which they run.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use crate::activations::IdleQueue;
use crate::limits::Budget;
use crate::quota::Quota;
use crate::replica::Replica;
use crate::signal::Signal;
use crate::sync::Mutex;
use crate::{Activations, Epochs, InstanceQuota, join_all};

/// The actors of some tenants, and the places that they share.
///
/// Its own counts are no part of what is checked: they are the standard library's, at which no other thread goes on.
pub struct World {
    activations: Arc<Activations>,
    clock: Arc<Clock>,
    ready: Arc<Ready>,
    active: Arc<Active>,
    actors: Vec<Arc<Actor>>,
}

/// What the operator of a tenant knows of the rest.
pub(crate) struct PipelineContext {
    pub(crate) instances: Arc<InstanceQuota>,
    pub(crate) activations: Arc<Activations>,
    pub(crate) epochs: Epochs,
    pub(crate) clock: Arc<Clock>,
    ready: Arc<Ready>,
}

/// How the last turn of an actor ends. Between two turns it is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastTurn {
    /// The actor is idle then.
    ComesToRest,
    /// The actor gives up its place.
    LeavesPlace,
    /// It does not.
    LastsForEver,
}

/// The only operator of a tenant.
pub struct Operator {
    pub(crate) context: PipelineContext,
    pub(crate) idle: IdleQueue,
    pub(crate) last_turn: LastTurn,
    /// Those of the tenant, and those of all.
    active: [Arc<Active>; 2],
}

/// An actor with one replica.
pub struct Actor {
    pub(crate) operator: Arc<Operator>,
    pub(crate) replicas: Box<[Mutex<Replica>]>,
    /// When its replica was last put in line for a place, and when it last ended a slice.
    queued_ns: AtomicU64,
    stopped_ns: AtomicU64,
}

/// A replica of an actor.
pub struct Runnable {
    pub(crate) actor: Arc<Actor>,
    pub(crate) replica: u16,
}

/// Counts the looks at it.
#[derive(Debug, Default)]
pub(crate) struct Clock(AtomicU64);

/// What is to run.
#[derive(Default)]
struct Ready {
    cells: std::sync::Mutex<VecDeque<Runnable>>,
    scheduled: AtomicU32,
    signal: Signal,
}

/// How many are active, and may be at once.
struct Active {
    now: AtomicU32,
    max: u32,
}

impl Clock {
    pub(crate) fn now_ns(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

impl Ready {
    fn push(&self, runnable: Runnable) {
        self.scheduled.fetch_add(1, Ordering::SeqCst);
        self.cells
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(runnable);
        self.signal.notify();
    }

    fn pop(&self) -> Option<Runnable> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Active {
    fn new(max: u32) -> Arc<Self> {
        Arc::new(Self {
            now: AtomicU32::new(0),
            max,
        })
    }

    fn has_room(&self) -> bool {
        self.now.load(Ordering::SeqCst) < self.max
    }
}

impl Operator {
    pub(crate) fn note_activation(&self) {
        for active in &self.active {
            let before = active.now.fetch_add(1, Ordering::SeqCst);
            assert!(before < active.max, "more are active than may be");
        }
    }

    pub(crate) fn note_deactivation(&self) {
        for active in &self.active {
            active.now.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Runnable {
    /// Has it run.
    pub fn schedule(self) {
        let ready = self.actor.operator.context.ready.clone();
        ready.push(self);
    }

    /// Runs a turn of it; what is left comes in when it has ended.
    fn run(self) {
        let replica = &self.actor.replicas[usize::from(self.replica)];
        let has_more = if let Some(mut replica) = replica.try_lock() {
            replica.run(&self);
            replica.has_turns_left() && !replica.is_waiting()
        } else {
            shuttle::thread::yield_now();
            true
        };
        let now_ns = self.actor.operator.context.clock.now_ns();
        self.actor.stopped_ns.store(now_ns, Ordering::SeqCst);
        if has_more {
            self.schedule();
        }
    }
}

impl Clone for Runnable {
    /// Only who puts it in line needs another.
    fn clone(&self) -> Self {
        let now_ns = self.actor.operator.context.clock.now_ns();
        self.actor.queued_ns.store(now_ns, Ordering::SeqCst);
        Self {
            actor: self.actor.clone(),
            replica: self.replica,
        }
    }
}

impl World {
    /// One with so many places.
    #[must_use]
    pub fn new(places: u32) -> Self {
        Self {
            activations: Activations::new(places as usize),
            clock: Arc::default(),
            ready: Arc::default(),
            active: Active::new(places),
            actors: Vec::new(),
        }
    }

    /// Adds a tenant which may have so many active actors, and one actor for each of `turns`, that has so many to run.
    pub fn add_tenant(&mut self, active_max: Option<u32>, turns: &[u32], last_turn: LastTurn) {
        let budget = Budget {
            active_actors: active_max,
            ..Budget::default()
        };
        let operator = Arc::new(Operator {
            context: PipelineContext {
                instances: InstanceQuota::new(Arc::new(Quota::new(budget))),
                activations: self.activations.clone(),
                epochs: Epochs::default(),
                clock: self.clock.clone(),
                ready: self.ready.clone(),
            },
            idle: IdleQueue::new(u64::MAX),
            last_turn,
            active: [Active::new(active_max.unwrap_or(u32::MAX)), self.active.clone()],
        });
        self.activations.register(&operator);
        for turns in turns {
            let actor = Arc::new(Actor {
                operator: operator.clone(),
                replicas: [Mutex::new(Replica::new(*turns))].into(),
                queued_ns: AtomicU64::new(0),
                stopped_ns: AtomicU64::new(0),
            });
            self.actors.push(actor);
        }
    }

    /// Schedules every actor, and runs all that is ready on so many threads.
    pub fn run_all(&self, threads: usize) {
        for actor in &self.actors {
            Runnable {
                actor: actor.clone(),
                replica: 0,
            }
            .schedule();
        }
        self.run_ready(threads);
    }

    /// Runs what is ready on so many threads, until nothing is.
    pub fn run_ready(&self, threads: usize) {
        let run = |ready: Arc<Ready>| {
            while let Some(runnable) = ready.pop() {
                runnable.run();
            }
        };
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                let ready = self.ready.clone();
                shuttle::thread::spawn(move || run(ready))
            })
            .collect();
        join_all(threads);
    }

    /// Does what the host does from time to time.
    pub fn sweep(&self) {
        self.activations.sweep(self.clock.now_ns());
    }

    /// Whether all have run all their turns.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let has_turns_left = |actor: &Arc<Actor>| actor.replicas[0].lock().has_turns_left();
        !self.actors.iter().any(has_turns_left)
    }

    /// Whether somebody waits who could have a place that nobody has.
    #[must_use]
    pub fn forgot_a_place(&self) -> bool {
        let could_run = |actor: &&Arc<Actor>| actor.operator.active.iter().all(|active| active.has_room());
        let mut waiting = self.actors.iter().filter(|actor| actor.replicas[0].lock().is_waiting());
        waiting.any(|actor| could_run(&actor))
    }

    /// Whether somebody waits who got in line after another, of the same tenant, had come to rest.
    #[must_use]
    pub fn forgot_an_idle_actor(&self) -> bool {
        let waiting = |actor: &&Arc<Actor>| actor.replicas[0].lock().is_waiting();
        let resting = |actor: &&Arc<Actor>| actor.replicas[0].lock().is_idle();
        self.actors.iter().filter(waiting).any(|waiting| {
            let queued_ns = waiting.queued_ns.load(Ordering::SeqCst);
            let mut resting = self.actors.iter().filter(resting);
            resting.any(|resting| {
                Arc::ptr_eq(&waiting.operator, &resting.operator)
                    && resting.stopped_ns.load(Ordering::SeqCst) < queued_ns
            })
        })
    }

    /// An actor.
    #[must_use]
    pub fn actor(&self, number: usize) -> &Arc<Actor> {
        &self.actors[number]
    }

    /// How often something was scheduled.
    #[must_use]
    pub fn scheduled(&self) -> u32 {
        self.ready.scheduled.load(Ordering::SeqCst)
    }

    /// Waits until something is scheduled, and takes it.
    pub fn wait_for_ready(&self) {
        loop {
            let heard = self.ready.signal.seen();
            if self.ready.pop().is_some() {
                return;
            }
            self.ready.signal.wait_past(heard, None);
        }
    }
}

impl fmt::Debug for Operator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Operator").finish_non_exhaustive()
    }
}

impl fmt::Debug for Runnable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{}", self.replica)
    }
}
