//! Which actor a key belongs to.

use std::sync::Arc;

use dirigo_ground::sync::Mutex;
use hashbrown::HashMap;

use super::mailbox::MailboxItem;
use super::{Actor, ActorIdentity, Operator};
use dirigo_ground::batch::Batch;
use dirigo_state::hash;

/// Why an actor takes what it is given.
pub(super) const STAYS: &str = "actors of shards are never retired";

/// The actors of an operator. They receive without its lock: who sends holds up nobody else who does.
pub(super) enum Directory {
    /// A fixed number, by key hash. Empty until the operator starts, and once the pipeline has ended.
    Shards(Mutex<Arc<[Arc<Actor>]>>),
    /// One for every key that has been seen lately.
    PerKey(Mutex<ByKey>),
}

type ByKey = HashMap<Box<[u8]>, Arc<Actor>>;

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
            Directory::Shards(actors) => {
                let actors = actors.lock().clone();
                match &actors[..] {
                    [] => {}
                    [only] => hand_over(only, batch),
                    several => deliver_to_shards(several, &batch),
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
            Directory::Shards(actors) => {
                let actors = actors.lock();
                let shards = u32::try_from(actors.len()).ok().filter(|shards| *shards > 0)?;
                let shard = hash::shard(hash::partition(hash::key(key)), shards);
                Some(actors[shard as usize].clone())
            }
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
            Directory::Shards(actors) => actors.lock().to_vec(),
            Directory::PerKey(actors) => actors.lock().values().cloned().collect(),
        }
    }

    /// Drops all actors: they and their operator hold each other.
    pub(super) fn clear(&self) {
        // Dropped once the lock is free: instances are what actors have most of.
        match self {
            Directory::Shards(actors) => drop(std::mem::take(&mut *actors.lock())),
            Directory::PerKey(actors) => drop(std::mem::take(&mut *actors.lock())),
        }
    }
}

fn hand_over(actor: &Arc<Actor>, batch: Batch) {
    let delivered = actor.clone().deliver(MailboxItem { batch, is_done: false });
    delivered.expect(STAYS);
}

fn deliver_to_shards(actors: &[Arc<Actor>], batch: &Batch) {
    let shards = u32::try_from(actors.len()).expect("there are at most as many shards as partitions");
    let mut events = vec![Vec::new(); actors.len()];
    for (event, key) in (0..).zip(batch.keys.iter()) {
        let shard = hash::shard(hash::partition(hash::key(key)), shards);
        events[shard as usize].push(event);
    }
    for (actor, events) in actors.iter().zip(events) {
        if events.len() == batch.len() {
            hand_over(actor, batch.clone());
        } else if !events.is_empty() {
            hand_over(actor, batch.gather(&events));
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
        let mut item = MailboxItem {
            batch: own,
            is_done: false,
        };
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
