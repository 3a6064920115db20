//! How much an operator has to do, and how many replicas or shards do it.
//!
//! Knows what there is; who decides how many there should be is the runtime.

use std::collections::VecDeque;
use std::iter;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::replica::Deactivation;
use super::{Actor, ActorIdentity, Operator, Runnable};
use dirigo_flow::Edge;
use dirigo_ground::batch::Batch;
use dirigo_ground::quota::{MemoryPressure, Quota};
use dirigo_ground::sync::Mutex;
use dirigo_pipeline::{Count, Scaling};
use dirigo_scheduler::TenantIndex;
use dirigo_state::hash;

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

    fn may_change(&self) -> bool {
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

/// Changes that are kept: a summary has no more.
const EVENTS_KEPT: usize = 64;

/// What an operator has to do at one moment.
#[derive(Clone, Debug)]
pub struct Load {
    /// How many replicas or shards it has.
    pub executors: u32,
    /// Its shards, in the order of their partitions; all replicas of a stateless operator as one.
    pub actors: Vec<ActorLoad>,
    /// How many events wait.
    pub waiting: u64,
    /// Whether what comes behind it is full.
    pub is_held_back: bool,
}

/// What an actor did so far.
#[derive(Clone, Debug)]
pub struct ActorLoad {
    /// The first of its partitions.
    pub first_partition: u32,
    /// For how long it has kept workers, in ns.
    pub busy_ns: u64,
}

impl Operator {
    /// Between how many replicas or shards the load decides; `None` where it decides nothing.
    #[must_use]
    pub fn scaling_bounds(&self) -> Option<RangeInclusive<u32>> {
        let executors = self.executors.as_ref().filter(|executors| executors.may_change());
        executors.map(|executors| executors.bounds.clone())
    }

    /// How many replicas or shards it has; `None` with an actor per key.
    #[must_use]
    pub fn executors(&self) -> Option<u32> {
        let executors = self.executors.as_ref()?;
        if self.kind().is_stateful() {
            return u32::try_from(self.directory.all().len()).ok();
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
        let what = if self.kind().is_stateful() {
            "shards"
        } else {
            "replicas"
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
            let woken = actor.mailbox.lock().allow(allowed);
            for replica in woken {
                let actor = actor.clone();
                Runnable { actor, replica }.schedule();
            }
            // One that runs gives its instance up when it has nothing to do.
            let resting = actor.replicas.iter().skip(usize::from(allowed));
            for mut replica in resting.filter_map(Mutex::try_lock) {
                let Some(_inside) = self.context.epochs.turns().try_enter() else {
                    return;
                };
                while replica.deactivate(&actor) == Deactivation::Shrunk {}
            }
        }
    }

    /// How many replicas of an actor take batches at first.
    pub(super) fn allowed(&self, identity: &ActorIdentity) -> u16 {
        match (&self.executors, identity) {
            (Some(executors), ActorIdentity::Partitions(_)) if !self.kind().is_stateful() => {
                u16::try_from(executors.replicas.load(Ordering::Relaxed)).unwrap_or(u16::MAX)
            }
            _ => u16::MAX,
        }
    }

    /// Where the shard at a place is to be split so that both parts have about as much to do; `None` where nearly all of what it
    /// does is for one partition.
    #[must_use]
    pub fn split_point(&self, place: usize) -> Option<u32> {
        let actor = self.directory.all().into_iter().nth(place)?;
        let partitions = actor.identity.partitions()?;
        let replica = actor.replicas[0].lock();
        replica.partitions_seen.split_point(partitions)
    }
}

/// The partitions of some of the events that an actor took lately.
#[derive(Debug, Default)]
pub(super) struct PartitionsSeen {
    partitions: Vec<u16>,
    noted: usize,
}

impl PartitionsSeen {
    /// How many are kept.
    const KEPT: usize = 128;
    /// How many of a batch are looked at: 10 ns each.
    const OF_BATCH: usize = 4;
    /// With fewer, nothing is known of the load.
    const ENOUGH: usize = 16;
    /// The larger part may have this much of the load, in percent: else a split helps little.
    const LARGER_PART_MAX: usize = 85;

    /// Notes some events of a batch that an actor takes.
    pub(super) fn note(&mut self, actor: &Actor, batch: &Batch) {
        let operator = &actor.operator;
        let is_of_interest = operator.kind().is_stateful() && operator.scaling_bounds().is_some();
        if !is_of_interest || actor.identity.partitions().is_none() {
            return;
        }
        let looked_at = Self::OF_BATCH.min(batch.len());
        for number in 0..looked_at {
            // From all parts of the batch, and of each part another one every time.
            let event = (number * batch.len() / looked_at + self.noted) % batch.len();
            let key = batch.keys.get(event);
            let partition = u16::try_from(hash::partition(hash::key(key))).expect("there are 4,096 partitions");
            let place = self.noted % Self::KEPT;
            self.noted += 1;
            match self.partitions.get_mut(place) {
                Some(kept) => *kept = partition,
                None => self.partitions.push(partition),
            }
        }
    }

    fn split_point(&self, partitions: Range<u32>) -> Option<u32> {
        let own: Vec<u32> = self.partitions.iter().copied().map(u32::from).collect();
        let own: Vec<u32> = own.into_iter().filter(|seen| partitions.contains(seen)).collect();
        let middle = u32::midpoint(partitions.start, partitions.end);
        if own.len() < Self::ENOUGH {
            return (partitions.len() > 1).then_some(middle);
        }
        let larger_part = |at: &u32| {
            let below = own.iter().filter(|seen| *seen < at).count();
            below.max(own.len() - below)
        };
        let points = own.iter().flat_map(|seen| [*seen, seen + 1]);
        let points = points.filter(|at| partitions.start < *at && *at < partitions.end);
        let best = points.min_by_key(larger_part)?;
        (larger_part(&best) * 100 <= own.len() * Self::LARGER_PART_MAX).then_some(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(partitions: &[u16]) -> PartitionsSeen {
        PartitionsSeen {
            partitions: partitions.to_vec(),
            noted: partitions.len(),
        }
    }

    #[test]
    fn a_shard_is_split_where_both_parts_have_as_much_to_do() {
        let mostly_low: Vec<u16> = (0..60).chain([4_000; 4]).collect();
        assert_eq!(seen(&mostly_low).split_point(0..4_096), Some(32));
    }

    #[test]
    fn a_shard_of_one_hot_key_is_not_split() {
        let one: Vec<u16> = [7; 60].into_iter().chain([9, 10, 11, 12]).collect();
        assert_eq!(seen(&one).split_point(0..4_096), None);
        assert_eq!(seen(&[7; 60]).split_point(7..8), None, "nor is one partition");
    }

    #[test]
    fn half_of_the_load_on_one_key_leaves_the_other_half() {
        let half: Vec<u16> = [500; 30].into_iter().chain(600..630).collect();
        assert_eq!(seen(&half).split_point(0..4_096), Some(501));
    }

    #[test]
    fn a_shard_of_which_nothing_is_known_is_split_in_the_middle() {
        assert_eq!(seen(&[1, 2, 3]).split_point(0..4_096), Some(2_048));
    }

    #[test]
    fn executors_lie_within_their_bounds() {
        let of = |min, max, scaling| Executors::of(Count { min, max }, scaling, 4).bounds;
        assert_eq!(of(1, None, Scaling::Auto), 1..=4);
        assert_eq!(of(1, None, Scaling::Off), 4..=4);
        assert_eq!(of(2, Some(3), Scaling::Auto), 2..=3);
        assert_eq!(of(6, None, Scaling::Auto), 6..=6);
    }
}
