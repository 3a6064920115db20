//! Which actor a key belongs to.

use std::sync::Arc;

use dirigo_ground::sync::Mutex;
use hashbrown::HashMap;

use super::{Actor, Identity, Operator};
use dirigo_ground::batch::Batch;
use dirigo_state::hash;

/// The actors of an operator.
pub(super) enum Directory {
    /// A fixed number, by key hash. Empty until the operator starts.
    Shards(Mutex<Vec<Arc<Actor>>>),
    /// One for every key that has been seen lately.
    PerKey(Mutex<HashMap<Box<[u8]>, Arc<Actor>>>),
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
            Directory::Shards(actors) => {
                let actors = actors.lock();
                match &actors[..] {
                    // Empty only once the pipeline has ended.
                    [] => {}
                    [only] => only.receive(batch),
                    several => deliver_to_shards(several, &batch),
                }
            }
            Directory::PerKey(actors) => deliver_by_key(&mut actors.lock(), operator, &batch),
        }
    }

    /// Removes an actor of a key, if nothing waits for it; it is made anew at its next event. Actors of shards stay.
    pub(super) fn retire(&self, actor: &Arc<Actor>) {
        if let (Directory::PerKey(actors), Identity::Key(key)) = (self, &actor.identity) {
            let mut actors = actors.lock();
            let mailbox = actor.mailbox.lock();
            let is_at_rest = mailbox.is_empty() && mailbox.idle.len() == actor.replicas.len();
            if is_at_rest && actors.get(key).is_some_and(|known| Arc::ptr_eq(known, actor)) {
                actors.remove(key);
            }
        }
    }

    /// All actors that there are now.
    pub(super) fn all(&self) -> Vec<Arc<Actor>> {
        match self {
            Directory::Shards(actors) => actors.lock().clone(),
            Directory::PerKey(actors) => actors.lock().values().cloned().collect(),
        }
    }

    /// Lets go of all actors: they and their operator hold each other.
    pub(super) fn clear(&self) {
        match self {
            Directory::Shards(actors) => actors.lock().clear(),
            Directory::PerKey(actors) => actors.lock().clear(),
        }
    }
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
            actor.receive(batch.clone());
        } else if !events.is_empty() {
            actor.receive(batch.gather(&events));
        }
    }
}

fn deliver_by_key(actors: &mut HashMap<Box<[u8]>, Arc<Actor>>, operator: &Operator, batch: &Batch) {
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
        if let Some(actor) = actors.get(key) {
            actor.receive(own);
        } else {
            let actor = Actor::new(operator.handle(), Identity::Key(key.into()), 1);
            actor.receive(own);
            actors.insert(key.into(), actor);
        }
    }
}
