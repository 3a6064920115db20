//! Which actor a key belongs to.

use std::sync::Arc;

use dirigo_ground::sync::Mutex;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::mailbox::MailboxItem;
use super::{Actor, ActorIdentity, Operator};
use dirigo_ground::batch::Batch;
use dirigo_state::hash;

/// Why an actor takes what it is given.
pub(super) const STAYS: &str = "an actor without keys is never retired";

/// The actors of an operator. They receive without its lock: who sends holds up nobody else who does.
pub(super) enum Directory {
    /// Some, each with a range of partitions. Empty until the operator starts, and once the pipeline has ended.
    Shards(Mutex<Arc<Shards>>),
    /// One for every key that has been seen lately.
    PerKey(Mutex<ByKey>),
}

type ByKey = HashMap<Box<[u8]>, Arc<Actor>>;

/// Actors that share all keys of an operator.
#[derive(Default)]
pub(super) struct Shards {
    /// In the order of their partitions.
    actors: Vec<Arc<Actor>>,
    /// Of each partition the place of its actor; empty where there is one actor.
    places: Vec<u16>,
}

impl Shards {
    /// Those, which together have all partitions, in their order.
    pub(super) fn of(actors: Vec<Arc<Actor>>) -> Self {
        let partitions = |actor: &Arc<Actor>| actor.identity.partitions().map_or(0, |own| own.len());
        let places = actors.iter().zip(0_u16..).filter(|_| actors.len() > 1);
        let places = places.flat_map(|(actor, place)| std::iter::repeat_n(place, partitions(actor)));
        Self {
            places: places.collect(),
            actors,
        }
    }

    /// In the order of their partitions.
    pub(super) fn actors(&self) -> &[Arc<Actor>] {
        &self.actors
    }

    /// The actor of a key; `None` where there are no actors.
    pub(super) fn find(&self, key: &[u8]) -> Option<&Arc<Actor>> {
        self.actors.get(self.place(key))
    }

    fn place(&self, key: &[u8]) -> usize {
        if self.places.is_empty() {
            return 0;
        }
        usize::from(self.places[hash::partition(hash::key(key)) as usize])
    }

    /// What each actor gets of a batch.
    pub(super) fn parts(&self, batch: Batch) -> SmallVec<[(&Arc<Actor>, Batch); 1]> {
        match &self.actors[..] {
            [] => return SmallVec::new(),
            [only] => return SmallVec::from_iter([(only, batch)]),
            _ => {}
        }
        let mut events = vec![Vec::new(); self.actors.len()];
        for (event, key) in (0..).zip(batch.keys.iter()) {
            events[self.place(key)].push(event);
        }
        let of_actors = self.actors.iter().zip(events).filter(|(_, events)| !events.is_empty());
        let part = |events: &[u32]| {
            if events.len() == batch.len() {
                batch.clone()
            } else {
                batch.gather(events)
            }
        };
        of_actors.map(|(actor, events)| (actor, part(&events))).collect()
    }
}

impl Directory {
    pub(super) fn shards() -> Self {
        Directory::Shards(Mutex::default())
    }

    pub(super) fn per_key() -> Self {
        Directory::PerKey(Mutex::default())
    }

    /// Gives each actor its events of the batch.
    pub(super) fn deliver(&self, operator: &Operator, batch: Batch) {
        match self {
            Directory::Shards(shards) => {
                let now = shards.lock().clone();
                for (actor, batch) in now.parts(batch) {
                    // An actor whose keys went to others between the two is no longer found.
                    if let Err(returned) = actor.clone().deliver(MailboxItem::of(batch)) {
                        self.deliver(operator, returned.batch);
                    }
                }
            }
            Directory::PerKey(actors) => deliver_by_key(actors, operator, &batch),
        }
    }

    /// Removes an actor of a key, if nothing waits for it; it is made anew at its next event. Actors of shards stay.
    pub(super) fn retire(&self, actor: &Arc<Actor>) {
        if let (Directory::PerKey(actors), ActorIdentity::Key(key)) = (self, &actor.identity) {
            let mut actors = actors.lock();
            if actors.get(key).is_some_and(|known| Arc::ptr_eq(known, actor))
                && actor.mailbox.lock().retire(actor.replicas.len())
            {
                actors.remove(key);
            }
        }
    }

    /// The actor of a key, if there is one now.
    pub(super) fn find(&self, key: &[u8]) -> Option<Arc<Actor>> {
        match self {
            Directory::Shards(shards) => shards.lock().find(key).cloned(),
            Directory::PerKey(actors) => actors.lock().get(key).cloned(),
        }
    }

    /// The actor of a key, which is made if there is none; `None` once the pipeline has ended.
    pub(super) fn find_or_make(&self, operator: &Operator, key: &[u8]) -> Option<Arc<Actor>> {
        match self {
            Directory::Shards(_) => self.find(key),
            Directory::PerKey(actors) => Some(actor_of(actors, operator, key)),
        }
    }

    /// All actors that there are now.
    pub(super) fn all(&self) -> Vec<Arc<Actor>> {
        match self {
            Directory::Shards(shards) => shards.lock().actors.clone(),
            Directory::PerKey(actors) => actors.lock().values().cloned().collect(),
        }
    }

    /// Drops all actors: they and their operator hold each other.
    pub(super) fn clear(&self) {
        // Dropped once the lock is free: instances are what actors have most of.
        match self {
            Directory::Shards(shards) => drop(std::mem::take(&mut *shards.lock())),
            Directory::PerKey(actors) => drop(std::mem::take(&mut *actors.lock())),
        }
    }
}

fn deliver_by_key(actors: &Mutex<ByKey>, operator: &Operator, batch: &Batch) {
    let mut events: HashMap<&[u8], Vec<u32>> = HashMap::default();
    let mut order = Vec::new();
    for (event, key) in (0..).zip(batch.keys.iter()) {
        let own = events.entry(key).or_default();
        if own.is_empty() {
            order.push(key);
        }
        own.push(event);
    }
    for key in order {
        let own = if events.len() == 1 {
            batch.clone()
        } else {
            batch.gather(&events[key])
        };
        let mut item = MailboxItem::of(own);
        // An actor that is retired between the two is no longer found.
        while let Err(returned) = actor_of(actors, operator, key).deliver(item) {
            item = returned;
        }
    }
}

/// The actor of a key, which is made if there is none.
fn actor_of(actors: &Mutex<ByKey>, operator: &Operator, key: &[u8]) -> Arc<Actor> {
    let mut actors = actors.lock();
    if let Some(actor) = actors.get(key) {
        return actor.clone();
    }
    let actor = Actor::new(operator.handle(), ActorIdentity::Key(key.into()), 1);
    actors.insert(key.into(), actor.clone());
    actor
}
