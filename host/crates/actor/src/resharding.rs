//! How the keys of an operator go to other actors while it runs.
//!
//! Neighbours in the order of partitions leave, and others take their place: one that is split becomes two, two that are joined become one.
//! Each that leaves finishes the batch that it works on, and gives its keys to the store, as an actor does that deactivates. The last of them
//! passes on what waits for all of them, piece by piece, and then has the others stand in the directory, in one effect. What came first of a
//! key is still first: it is in the mailbox of the new actor before the rest is. Meanwhile batches for these partitions wait; those for others go on.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use super::directory::{Directory, Shards};
use super::replica::{Deactivation, Replica};
use super::{Actor, ActorIdentity, Operator, Step};
use dirigo_ground::sync::{Mutex, MutexGuard};

/// Bytes of batches that are passed on in one go: they are copied in about 0.1 ms.
const PASSED_ON_AT_ONCE: usize = 256 << 10;

/// Actors that leave, and those that come in their place.
pub(super) struct Resharding {
    /// In the order of their partitions. The directory holds them.
    leaving: Vec<Weak<Actor>>,
    /// What the directory has once they have left.
    new: Arc<Shards>,
    /// Those of them that come, in the order of their partitions.
    coming: Vec<Arc<Actor>>,
    /// How many have yet to give their keys up.
    left: AtomicUsize,
    /// The right to put the others in their place.
    handing_over: Mutex<()>,
}

/// Which partitions are to change their actor, or what else shares the load of an actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Those of the actor at a place, from this one on, get an actor of their own.
    Split {
        /// The place of the actor, in the order of partitions.
        actor: usize,
        /// A partition of it, but not its first.
        at: u32,
    },
    /// The actor at a place and the next one become one.
    Join {
        /// The place of the first of the two.
        actor: usize,
    },
    /// So many replicas help the one that has the state of the actor at a place. No partition changes its actor.
    Help {
        /// The place of the actor.
        actor: usize,
        /// How many.
        helpers: u16,
    },
}

impl Operator {
    /// Applies a change: sets the number of an actor's helpers, or has partitions go to other actors once their owners are between two batches. `false` if
    /// there are no such actors, or keys of theirs are on their way to others.
    pub fn apply(&self, change: &Change) -> bool {
        match *change {
            Change::Split { .. } | Change::Join { .. } => self.reshard(change),
            Change::Help { actor, helpers } => self.set_helpers(actor, helpers),
        }
    }

    fn reshard(&self, change: &Change) -> bool {
        let Directory::Shards(shards) = &self.directory else {
            return false;
        };
        let mut under_way = self.resharding.lock();
        if under_way.upgrade().is_some() {
            return false;
        }
        let now = shards.lock().clone();
        let Some((places, firsts)) = change.of(now.actors()) else {
            return false;
        };
        let leaving = &now.actors()[places.clone()];
        let coming: Vec<Arc<Actor>> = firsts
            .windows(2)
            .map(|range| {
                Actor::new(
                    self.handle(),
                    ActorIdentity::Partitions(range[0]..range[1]),
                    self.replicas,
                )
            })
            .collect();
        let mut actors = now.actors().to_vec();
        actors.splice(places, coming.iter().cloned());
        let resharding = Arc::new(Resharding {
            leaving: leaving.iter().map(Arc::downgrade).collect(),
            new: Arc::new(Shards::of(actors)),
            coming,
            left: AtomicUsize::new(leaving.len()),
            handing_over: Mutex::default(),
        });
        *under_way = Arc::downgrade(&resharding);
        drop(under_way);
        for actor in leaving {
            let woken = actor.mailbox.lock().leave(resharding.clone());
            actor.wake(woken);
        }
        true
    }

    /// The actors that are to take the place of others, and may have what waited for those.
    pub(super) fn coming(&self) -> Vec<Arc<Actor>> {
        let resharding = self.resharding.lock().upgrade();
        let coming = resharding.as_ref().filter(|resharding| !resharding.is_done());
        coming.map_or_else(Vec::new, |resharding| resharding.coming.clone())
    }
}

impl Change {
    /// The places of the actors that leave, and the first partitions of those that come, with the one behind the last of them.
    fn of(&self, actors: &[Arc<Actor>]) -> Option<(Range<usize>, Vec<u32>)> {
        let partitions = |actor: usize| actors.get(actor)?.identity.partitions();
        match *self {
            Self::Split { actor, at } => {
                let Range { start, end } = partitions(actor)?;
                (start < at && at < end).then(|| (actor..actor + 1, vec![start, at, end]))
            }
            Self::Join { actor } => {
                let (first, second) = (partitions(actor)?, partitions(actor + 1)?);
                Some((actor..actor + 2, vec![first.start, second.end]))
            }
            Self::Help { .. } => None,
        }
    }
}

impl Resharding {
    /// Whether those that leave stand in the directory no longer.
    fn is_done(&self) -> bool {
        let mut leaving = self.leaving.iter().filter_map(Weak::upgrade);
        leaving.all(|actor| actor.mailbox.lock().is_retired())
    }

    /// Passes on some of what waits for those that leave. Whether that was all.
    fn pass_on(&self, leaving: &[Arc<Actor>]) -> bool {
        let mut passed_on = 0;
        for actor in leaving {
            loop {
                let next = actor.mailbox.lock().pop();
                let Some(item) = next else { break };
                passed_on += item.batch.size();
                for (actor, batch) in self.new.parts(item.batch.clone()) {
                    actor.mailbox.lock().hold(item.with(batch));
                }
                if passed_on > PASSED_ON_AT_ONCE {
                    return false;
                }
            }
        }
        true
    }

    /// Puts those that come in the place of those that leave, where nothing waits for these and none of them is just being looked at. Whether it
    /// did.
    fn hand_over(&self, operator: &Operator, leaving: &[Arc<Actor>], own: &Arc<Actor>) -> bool {
        let Directory::Shards(shards) = &operator.directory else {
            return true;
        };
        // A caller that takes windows of a key looks into the store under the lock of its actor.
        let others = leaving.iter().filter(|actor| !Arc::ptr_eq(actor, own));
        let locked: Option<Vec<MutexGuard<'_, Replica>>> = others.map(|actor| actor.replicas[0].try_lock()).collect();
        let Some(_locked) = locked else { return false };
        let mut shards = shards.lock();
        let has_ended = shards.actors().is_empty();
        let mut mailboxes: Vec<_> = leaving.iter().map(|actor| actor.mailbox.lock()).collect();
        if has_ended || mailboxes.iter().any(|mailbox| !mailbox.is_empty()) {
            return has_ended;
        }
        mailboxes.iter_mut().for_each(|mailbox| mailbox.hand_over());
        *shards = self.new.clone();
        true
    }
}

impl Actor {
    /// Takes the instances of the helpers, which are all idle here. Says whether none has one any more.
    fn deactivate_helpers(self: &Arc<Self>) -> bool {
        let helpers = self.replicas.iter().skip(1).map(Mutex::try_lock);
        helpers.fold(true, |have_left, helper| {
            let has_left = helper.map(|mut helper| helper.deactivate(self) != Deactivation::Shrunk);
            have_left && has_left.unwrap_or(false)
        })
    }
}

impl Replica {
    /// Gives up the actor's keys, little by little, and has other actors take its place once all have that leave with it. Part of an effect.
    pub(super) fn leave(&mut self, actor: &Arc<Actor>, resharding: &Resharding) -> Step {
        if self.deactivate(actor) == Deactivation::Shrunk || !actor.deactivate_helpers() {
            return Step::Again;
        }
        if !self.has_left {
            self.has_left = true;
            resharding.left.fetch_sub(1, Ordering::SeqCst);
        }
        if resharding.left.load(Ordering::SeqCst) > 0 {
            return Step::Parked;
        }
        let Some(_handing_over) = resharding.handing_over.try_lock() else {
            return Step::Parked;
        };
        let leaving: Vec<Arc<Actor>> = resharding.leaving.iter().filter_map(Weak::upgrade).collect();
        if !resharding.pass_on(&leaving) || !resharding.hand_over(&actor.operator, &leaving, actor) {
            return Step::Again;
        }
        for actor in &resharding.coming {
            let woken = actor.mailbox.lock().wake();
            actor.wake(woken);
        }
        Step::Parked
    }
}

impl fmt::Debug for Resharding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Resharding");
        shown
            .field("leaving", &self.leaving.len())
            .field("coming", &self.coming.len());
        shown.finish_non_exhaustive()
    }
}
