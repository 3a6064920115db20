//! Virtual actors: an operator for a range of keys, alive while there is something to do.
//!
//! An [`Operator`] is a component placed in a pipeline; it spans actors, each with a mailbox and one or more replicas that run
//! its turns. An actor activates at its first event, and gives its instance up when it is idle or room is needed; what lasts
//! is in [`dirigo_state`]. Knows nothing of files or of the order in which actors run.

mod activations;
mod capture;
mod closing;
mod counters;
mod directory;
mod driver;
mod due;
mod effects;
mod emit;
mod fuel_estimator;
mod helping;
mod instance_quota;
mod key_cache;
mod law_check;
mod laws;
mod load;
mod mailbox;
mod operator;
mod partitions_seen;
mod pipeline_context;
mod replica;
mod resharding;
mod slice_lengths;
mod turn;
mod turn_waker;
mod twins;
mod watchdog;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Wake, Waker};

use dirigo_ground::sync::Mutex;

pub use activations::Activations;
pub use capture::CapturedBatch;
pub use closing::OpenKeys;
pub use counters::{Counters, Counts};
pub use due::DueKeys;
use emit::Sequence;
pub use instance_quota::InstanceQuota;
pub use load::{ActorLoad, Load, Relief, ScaleEvent};
use mailbox::{Mailbox, MailboxItem, OWNER};
pub use operator::{NamedEdges, Operator, OperatorOptions, replicas_max};
pub use pipeline_context::PipelineContext;
use replica::{Replica, Role};
pub use resharding::Change;

use dirigo_scheduler::{Ready, Urgency};
use dirigo_state::Keys;

/// An operator for a range of partitions, or for one key; or for windows that are closed because their input has ended.
pub struct Actor {
    operator: Arc<Operator>,
    identity: ActorIdentity,
    mailbox: Mutex<Mailbox>,
    replicas: Box<[Mutex<Replica>]>,
    /// By replica.
    urgencies: Box<[Urgency]>,
    sequence: Sequence<Runnable>,
    /// For how long it has kept workers, in ns.
    busy_ns: AtomicU64,
}

/// Which actor of its operator it is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ActorIdentity {
    /// It has the keys of these partitions.
    Partitions(Range<u32>),
    Key(Box<[u8]>),
    /// It has no keys: what it works on are windows that have left the state.
    Closer,
}

impl ActorIdentity {
    /// The partitions whose keys it has, if it has all of some.
    fn partitions(&self) -> Option<Range<u32>> {
        match self {
            Self::Partitions(partitions) => Some(partitions.clone()),
            Self::Key(_) | Self::Closer => None,
        }
    }
}

/// One replica of an actor: what the scheduler runs.
#[derive(Clone)]
pub struct Runnable {
    actor: Arc<Actor>,
    replica: u16,
}

/// What came of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceReport {
    /// How it ended.
    pub step: Step,
    /// Processor time that it took: what other threads had of the processor meanwhile is not for its tenant to pay.
    pub ns: u64,
    /// Fuel to charge for it.
    pub fuel: u64,
}

/// How a slice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do.
    Again,
    /// Somebody else will say when there is.
    Parked,
}

impl Actor {
    fn new(operator: Arc<Operator>, identity: ActorIdentity, replicas: u16) -> Arc<Self> {
        let allowed = operator.allowed(&identity).min(replicas);
        let is_closer = identity == ActorIdentity::Closer;
        let has_owner = operator.kind().is_stateful() && !is_closer;
        let mailbox = Mailbox::new(replicas, allowed, operator.is_per_event, has_owner);
        let role = |number| match number {
            _ if is_closer => Role::Closer,
            OWNER => Role::Owner,
            _ if has_owner => Role::Helper,
            _ => Role::Owner,
        };
        Arc::new_cyclic(|actor| Self {
            operator,
            identity,
            mailbox: Mutex::new(mailbox),
            replicas: (0..replicas)
                .map(|number| Mutex::new(Replica::new(actor.clone(), number, role(number))))
                .collect(),
            urgencies: (0..replicas).map(|_| Urgency::default()).collect(),
            sequence: Sequence::default(),
            busy_ns: AtomicU64::default(),
        })
    }

    /// Whether the next chunk must not be begun yet, since too many outputs wait for those of a chunk before them; if so
    /// `runnable` is scheduled once it can be.
    fn must_keep_order(&self, runnable: &Runnable) -> bool {
        // Where an owner has helpers, only the closer puts anything out: windows that events close have no helpers.
        if self.replicas.len() == 1 || self.keys().is_some() {
            return false;
        }
        // The replica with the chunk that the others wait for never waits here.
        let number = self.mailbox.lock().next_number();
        self.sequence.must_wait(number, runnable)
    }

    /// Schedules a replica that can go on, if there is one.
    fn wake(self: &Arc<Self>, replica: Option<u16>) {
        if let Some(replica) = replica {
            let actor = self.clone();
            Runnable { actor, replica }.schedule();
        }
    }

    /// How urgent what a replica works on is.
    fn urgency(&self, replica: u16) -> &Urgency {
        &self.urgencies[usize::from(replica)]
    }

    /// The keys whose state it keeps, if it keeps any.
    fn keys(&self) -> Option<Keys<'_>> {
        if !self.operator.kind().is_stateful() {
            return None;
        }
        match &self.identity {
            ActorIdentity::Partitions(partitions) => Some(Keys::Partitions {
                first: partitions.start,
                end: partitions.end,
            }),
            ActorIdentity::Key(key) => Some(Keys::One(key)),
            ActorIdentity::Closer => None,
        }
    }

    /// Takes what is to wait in the mailbox, and has it run; or gives it back, if the actor was retired: its key has another
    /// actor then, or gets one.
    fn deliver(self: Arc<Self>, item: MailboxItem) -> Result<(), MailboxItem> {
        let woken = self.mailbox.lock().push(item)?;
        if let Some(replica) = woken {
            Runnable { actor: self, replica }.schedule();
        }
        Ok(())
    }
}

impl Runnable {
    /// Whether its actor is one of this operator.
    fn is_of(&self, operator: &Operator) -> bool {
        std::ptr::eq(&raw const *self.actor.operator, operator)
    }

    /// Puts it in the queue of what is ready.
    pub fn schedule(self) {
        let scheduler = self.actor.operator.context.scheduler.clone();
        scheduler.push(self.into_ready());
    }

    /// It, with what the scheduler may know of it.
    #[must_use]
    pub fn into_ready(self) -> Ready<Runnable> {
        let operator = &self.actor.operator;
        let start_by_ns = operator.context.slo_ns.and_then(|slo_ns| {
            let waiting_since_ns = self.actor.mailbox.lock().oldest_arrival_ns();
            let urgency = self.actor.urgency(self.replica);
            let turn_ns = operator.fuel_estimator.turn_ns();
            urgency.start_by_ns(waiting_since_ns, slo_ns, turn_ns, operator.after_ns())
        });
        Ready {
            tenant: operator.context.tenant,
            start_by_ns,
            item: self,
        }
    }

    /// Whether effects may be taken now; while the pipeline is paused, it is scheduled once the pipeline goes on.
    fn may_take_effects(&self) -> bool {
        let turns = self.actor.operator.context.epochs.turns();
        turns.enter(|| self.waker()).is_some()
    }

    /// Schedules it when woken.
    fn waker(&self) -> Waker {
        Arc::new(self.clone()).into()
    }

    /// Ends its pipeline: running it showed a fault of the host, after which nothing in it can be trusted.
    pub fn give_up(&self) {
        let operator = &self.actor.operator;
        let reason = "the host failed while it ran this operator; please report this".into();
        operator.context.failure_latch.fail(dirigo_flow::Failure::Operator {
            id: operator.id.clone(),
            reason,
        });
    }

    /// Runs it for about one slice, which begins now.
    #[must_use]
    pub fn run(&self) -> SliceReport {
        let clock = &self.actor.operator.context.clock;
        let started_ns = clock.now_ns();
        let base = watchdog::before(started_ns);
        let (step, fuel) = match self.actor.replicas[usize::from(self.replica)].try_lock() {
            Some(mut replica) => (replica.run(&self.actor, started_ns, base), replica.take_fuel()),
            // A checkpoint copies what it holds, or somebody who looks for idle actors looks at it: the worker does not wait.
            None if self.may_take_effects() => (Step::Again, 0),
            None => (Step::Parked, 0),
        };
        let passed_ns = clock.now_ns().saturating_sub(started_ns);
        let ns = base.spent(passed_ns);
        // One that burnt nothing met a locked replica, or had something done for it by the host: as long as that takes.
        if step == Step::Again && fuel > 0 {
            self.actor.operator.slice_lengths.note(ns);
        }
        // Elapsed time: the actor occupies its worker also while another process has the processor.
        counters::add(&self.actor.busy_ns, passed_ns);
        SliceReport { step, ns, fuel }
    }
}

impl Wake for Runnable {
    fn wake(self: Arc<Self>) {
        Arc::unwrap_or_clone(self).schedule();
    }
}

impl fmt::Debug for Runnable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { actor, replica } = self;
        write!(formatter, "{}/{:?}#{replica}", actor.operator.id, actor.identity)
    }
}
