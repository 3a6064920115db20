//! How much an operator has to do, and how many replicas or shards do it.
//!
//! Knows what there is; who decides how many there should be is the runtime.

use std::collections::VecDeque;
use std::iter;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::mailbox::OWNER;
use super::replica::Deactivation;
use super::{Actor, ActorIdentity, Change, Operator};
use dirigo_flow::Edge;
use dirigo_ground::quota::{MemoryPressure, Quota};
use dirigo_ground::sync::Mutex;
use dirigo_pipeline::{Count, Scaling};
use dirigo_scheduler::TenantIndex;

/// How many replicas or shards an operator has.
#[derive(Debug)]
pub(super) struct Executors {
    /// The fewest and the most that it may have.
    pub(super) bounds: RangeInclusive<u32>,
    /// How many replicas of a stateless operator take batches.
    replicas: AtomicU32,
}

impl Executors {
    /// The bounds that a pipeline file gives, on a host with `workers` workers.
    pub(super) fn of(count: Count, scaling: Scaling, workers: u32) -> Self {
        let most = count.most(workers);
        let least = match scaling {
            Scaling::Auto => count.min.min(most),
            Scaling::Off => most,
        };
        Self {
            bounds: least..=most,
            replicas: AtomicU32::new(least),
        }
    }

    /// How many there are before anything is known of the load.
    pub(super) fn at_first(&self) -> u32 {
        *self.bounds.start()
    }

    pub(super) fn may_change(&self) -> bool {
        self.bounds.start() < self.bounds.end()
    }
}

/// Changes of the number of replicas or shards, the latest ones.
#[derive(Debug, Default)]
pub(super) struct Scaled {
    count: u64,
    latest: VecDeque<ScaleEvent>,
}

/// A change of the number of replicas or shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleEvent {
    /// When, in ns on the clock of the host.
    pub at_ns: u64,
    /// How many there were.
    pub from: u32,
    /// How many there are.
    pub to: u32,
    /// Why.
    pub reason: String,
}

/// How many accumulators an owner may have to merge for each event that a helper folds: with more, help is of no use.
const ACCUMULATORS_PER_EVENT_MAX: f64 = 0.5;

/// Changes that are kept: a summary has no more.
const EVENTS_KEPT: usize = 64;

/// What an operator has to do at one moment.
#[derive(Clone, Debug)]
pub struct Load {
    /// How many replicas, or shards and helpers of these, it has.
    pub executors: u32,
    /// Its shards, in the order of their partitions; all replicas of a stateless operator as one.
    pub actors: Vec<ActorLoad>,
    /// How many events wait.
    pub waiting: u64,
    /// Whether what comes behind it is full.
    pub is_held_back: bool,
}

/// What would relieve a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relief {
    /// This: a split, or one more helper.
    By(Change),
    /// It is still being checked whether it may have helpers.
    NotYet,
    /// Nothing that is worth it.
    None,
}

/// What an actor did so far.
#[derive(Clone, Debug)]
pub struct ActorLoad {
    /// The first of its partitions.
    pub first_partition: u32,
    /// For how long it has kept workers, in ns.
    pub busy_ns: u64,
    /// How many replicas help the one that has its state.
    pub helpers: u16,
}

impl Operator {
    /// Between how many replicas or shards the load decides; `None` where it decides nothing.
    #[must_use]
    pub fn scaling_bounds(&self) -> Option<RangeInclusive<u32>> {
        let executors = self.executors.as_ref().filter(|executors| executors.may_change());
        executors.map(|executors| executors.bounds.clone())
    }

    /// How many replicas, or shards and helpers of these, it has; `None` with an actor per key.
    #[must_use]
    pub fn executors(&self) -> Option<u32> {
        let executors = self.executors.as_ref()?;
        if self.kind().is_stateful() {
            let executors = |actor: &Arc<Actor>| 1 + u32::from(actor.mailbox.lock().helpers());
            return Some(self.directory.all().iter().map(executors).sum());
        }
        Some(executors.replicas.load(Ordering::Relaxed))
    }

    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> TenantIndex {
        self.context.tenant
    }

    /// What its tenant uses, and may use.
    #[must_use]
    pub fn quota(&self) -> &Quota {
        &self.context.instances.quota
    }

    /// The latency target of its pipeline.
    #[must_use]
    pub fn slo_ns(&self) -> Option<u64> {
        self.context.slo_ns
    }

    /// Whether its tenant has as many active actors as it may have, or little memory left.
    #[must_use]
    pub fn may_have_no_more_actors(&self) -> bool {
        let instances = &self.context.instances;
        instances.is_used_up() || instances.quota.memory_pressure() != MemoryPressure::None
    }

    /// Keeps in mind that the number of its replicas or shards changed, and why.
    pub fn note_scaled(&self, at_ns: u64, from: u32, to: u32, reason: String) {
        let (pipeline, operator) = (&self.context.name, &self.id);
        let what = match self.kind().is_stateful() {
            true if self.can_be_helped() => "shards and helpers",
            true => "shards",
            false => "replicas",
        };
        tracing::info!(%pipeline, %operator, "{from} -> {to} {what}: {reason}");
        let mut scaled = self.scaled.lock();
        scaled.count += 1;
        if scaled.latest.len() == EVENTS_KEPT {
            scaled.latest.pop_front();
        }
        scaled.latest.push_back(ScaleEvent {
            at_ns,
            from,
            to,
            reason,
        });
    }

    /// How often the number of its replicas or shards changed, and the latest changes.
    #[must_use]
    pub fn scaled(&self) -> (u64, Vec<ScaleEvent>) {
        let scaled = self.scaled.lock();
        (scaled.count, scaled.latest.iter().cloned().collect())
    }

    /// What it has to do now; `None` with an actor per key.
    #[must_use]
    pub fn load(&self) -> Option<Load> {
        let executors = self.executors()?;
        let of_actor = |actor: Arc<Actor>| {
            Some(ActorLoad {
                first_partition: actor.identity.partitions()?.start,
                busy_ns: actor.busy_ns.load(Ordering::Relaxed),
                helpers: actor.mailbox.lock().helpers(),
            })
        };
        Some(Load {
            executors,
            actors: self.directory.all().into_iter().filter_map(of_actor).collect(),
            waiting: self.gate.events() as u64,
            is_held_back: iter::once(&self.edges[..])
                .chain(self.named_edges().iter().map(|named| &named.edges[..]))
                .any(Edge::is_any_full),
        })
    }

    /// Lets so many replicas of a stateless operator take batches. Those that must not give up their instances once they are between two batches.
    pub fn set_replicas(&self, replicas: u32) {
        let Some(executors) = self.executors.as_ref().filter(|_| !self.kind().is_stateful()) else {
            return;
        };
        executors.replicas.store(replicas, Ordering::Relaxed);
        let allowed = u16::try_from(replicas).unwrap_or(u16::MAX);
        for actor in self.directory.all() {
            self.allow(&actor, allowed);
        }
    }

    /// Lets the first `allowed` replicas of an actor take batches.
    fn allow(&self, actor: &Arc<Actor>, allowed: u16) {
        let woken = actor.mailbox.lock().allow(allowed);
        woken.into_iter().for_each(|replica| actor.wake(Some(replica)));
        // One that runs gives its instance up when it has nothing to do.
        let resting = actor.replicas.iter().skip(usize::from(allowed));
        for mut replica in resting.filter_map(Mutex::try_lock) {
            let Some(_inside) = self.context.epochs.turns().try_enter() else {
                return;
            };
            while replica.deactivate(actor) == Deactivation::Shrunk {}
        }
    }

    /// How many replicas of an actor take batches at first.
    pub(super) fn allowed(&self, identity: &ActorIdentity) -> u16 {
        match (&self.executors, identity) {
            (Some(executors), ActorIdentity::Partitions(_)) if !self.kind().is_stateful() => {
                u16::try_from(executors.replicas.load(Ordering::Relaxed)).unwrap_or(u16::MAX)
            }
            // The owner alone: helpers come only once the load asks for them.
            (_, ActorIdentity::Partitions(_) | ActorIdentity::Key(_)) if self.kind().is_stateful() => OWNER + 1,
            _ => u16::MAX,
        }
    }

    /// What relieves the shard at a place most. If it is not known whether it may have helpers, a check of that begins.
    #[must_use]
    pub fn relief(&self, place: usize) -> Relief {
        /// More is done by this factor with a helper that is worth an executor.
        const GAIN_MIN: f64 = 1.2;
        let actor = self.directory.all().into_iter().nth(place);
        let partitions = actor.as_ref().and_then(|actor| actor.identity.partitions());
        let (Some(actor), Some(partitions)) = (actor, partitions) else {
            return Relief::None;
        };
        let helpers = actor.mailbox.lock().helpers();
        let (split, per_event_seen) = {
            let owner = actor.replicas[usize::from(OWNER)].lock();
            let seen = &owner.partitions_seen;
            (
                seen.split(partitions).filter(|_| helpers == 0),
                seen.keys_per_event_max(),
            )
        };
        let left = self.help.accumulators_per_event().or(per_event_seen).unwrap_or(1.0);
        let may_help = self.can_be_helped() && usize::from(helpers) + 1 < actor.replicas.len();
        let by_help = if may_help && left <= ACCUMULATORS_PER_EVENT_MAX {
            let executors = f64::from(helpers) + 1.0;
            (executors + 1.0) / executors / (1.0 + left * executors)
        } else {
            0.0
        };
        if let Some(split) = split.filter(|split| 1.0 / split.larger_part >= by_help) {
            return Relief::By(Change::Split {
                actor: place,
                at: split.at,
            });
        }
        if by_help < GAIN_MIN {
            return Relief::None;
        }
        match self.may_be_helped(&actor) {
            Some(true) => Relief::By(Change::Help {
                actor: place,
                helpers: helpers + 1,
            }),
            Some(false) => Relief::None,
            None => Relief::NotYet,
        }
    }

    /// Sets the number of helpers of the shard at `place`. `false` if there is no such shard, or its keys are moving to other actors.
    pub(super) fn set_helpers(&self, place: usize, helpers: u16) -> bool {
        let actor = self.directory.all().into_iter().nth(place);
        let Some(actor) = actor.filter(|actor| usize::from(helpers) < actor.replicas.len()) else {
            return false;
        };
        // Shards that are about to come are not counted yet.
        let is_more = helpers > actor.mailbox.lock().helpers();
        if is_more && self.resharding.lock().upgrade().is_some() {
            return false;
        }
        let may_be = !actor.mailbox.lock().is_leaving();
        if may_be {
            self.allow(&actor, helpers + 1);
        }
        may_be
    }

    /// Whether its helpers save too little: more than one accumulator for two events is left to merge.
    #[must_use]
    pub fn is_helped_in_vain(&self) -> bool {
        self.help
            .accumulators_per_event()
            .is_some_and(|left| left > ACCUMULATORS_PER_EVENT_MAX)
    }

    /// Forgets how much helpers have saved so far: it may be otherwise another time.
    pub fn forget_help(&self) {
        self.help.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executors_lie_within_their_bounds() {
        let of = |min, max, scaling| Executors::of(Count { min, max }, scaling, 4).bounds;
        assert_eq!(of(1, None, Scaling::Auto), 1..=4);
        assert_eq!(of(1, None, Scaling::Off), 4..=4);
        assert_eq!(of(2, Some(3), Scaling::Auto), 2..=3);
        assert_eq!(of(6, None, Scaling::Auto), 6..=6);
    }
}
