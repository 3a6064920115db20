//! A table that evicts keys, with a store behind it, is as good as a map; and what was committed is what was at the
//! cut.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use smallvec::SmallVec;

use super::*;
use dirigo_disk::Simulated;
use dirigo_ground::lineage::Epoch;

const KEYS: u64 = 400;
const SEEDS: u64 = 20;
const STEPS: u32 = 400;
const DIRECTORY: &str = "/state/pipeline";

type Model = BTreeMap<u64, u64>;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A table and a store as an actor uses them, next to what should be in them.
struct Actor {
    table: Table,
    store: Store,
    turn: u32,
    model: Model,
    /// The epoch under way, and the last one that is durable.
    epoch: Epoch,
    committed: Epoch,
    /// What was captured and is not committed yet.
    captured: Option<(Epoch, Vec<Record>, Model)>,
    durable: Model,
}

fn open(disk: &Simulated) -> Store {
    let options = StoreOptions {
        apply: Apply::ByHand,
        log_bytes_max: 20_000,
        layer_bytes_max: 10_000,
        ..StoreOptions::default()
    };
    Store::open_with(Arc::new(disk.clone()), Path::new(DIRECTORY), options).unwrap()
}

/// Of some keys it does not lie within the slot.
fn full_key(key: u64) -> Vec<u8> {
    let length = if key.is_multiple_of(7) { 40 } else { 8 };
    let mut bytes = vec![0; length];
    bytes[..8].copy_from_slice(&key.to_be_bytes());
    bytes
}

fn entries(store: &Store, wanted: &Keys<'_>) -> Model {
    let mut table = Table::default();
    store.load("op", wanted, &mut table).unwrap();
    let entries = table.entries();
    entries
        .map(|(key, entry)| (u64::from_be_bytes(*key.first_chunk().unwrap()), entry.count))
        .collect()
}

impl Actor {
    fn new(store: Store) -> Self {
        Self {
            table: Table::default(),
            store,
            turn: 0,
            model: Model::new(),
            epoch: 1,
            committed: 0,
            captured: None,
            durable: Model::new(),
        }
    }

    fn step(&mut self, random: &mut Random) {
        match random.below(16) {
            0..8 => self.turn(random),
            8 => {
                let records = self.table.evict(60, self.turn, self.committed);
                self.spill(records);
            }
            9 => {
                let records = self.table.shrink(self.committed);
                self.spill(records);
            }
            10 => {
                let records = self.table.evict_vacant(self.turn, self.committed);
                self.spill(records);
            }
            11 => {
                let records = self.table.drain(self.committed);
                self.spill(records);
                self.table = Table::in_epoch(self.epoch);
                let all = Keys::ALL;
                self.store.load_few("op", &all, &mut self.table).unwrap();
            }
            12 | 13 if self.captured.is_none() => self.cut(),
            12..15 => self.commit(),
            _ => self.store.apply_now().unwrap(),
        }
    }

    fn spill(&self, records: Vec<Record>) {
        self.store.spill("op", records).unwrap();
    }

    /// Some keys get an event; windows close now and then, and some turns come to nothing.
    fn turn(&mut self, random: &mut Random) {
        self.turn += 1;
        let keys: Vec<u64> = (0..=random.below(60)).map(|_| random.below(KEYS)).collect();
        let bytes: Vec<Vec<u8>> = keys.iter().map(|key| full_key(*key)).collect();
        let mut admitted = keys.len();
        if self.table.is_partial() {
            let (first, missing) = self.table.admit(bytes.iter().map(Vec::as_slice), 20);
            self.store.look_up("op", &missing, &mut self.table).unwrap();
            admitted = first;
        }
        let is_abandoned = random.below(5) == 0;
        for (key, bytes) in keys.iter().zip(&bytes).take(admitted) {
            let slot = self.table.slot_of(bytes);
            self.table.slot_mut(slot).turn = self.turn;
            if is_abandoned {
                continue;
            }
            if random.below(3) == 0 {
                self.table.close(slot);
                self.model.remove(key);
            } else {
                let count = self.model.get(key).map_or(1, |count| count + 1);
                let accumulator: SmallVec<[u8; 64]> = (0..count % 60).map(|_| 7).collect();
                self.table.put(slot, (count, 0, 0), 1, &accumulator);
                self.model.insert(*key, count);
            }
        }
        self.table.sweep();
    }

    fn cut(&mut self) {
        let records = self.table.captured(self.committed, self.epoch + 1);
        self.store.freeze();
        self.captured = Some((self.epoch, records, self.model.clone()));
        self.epoch += 1;
    }

    fn commit(&mut self) {
        let Some((epoch, records, model)) = self.captured.take() else {
            return;
        };
        let snapshot = Snapshot {
            state: vec![("op".into(), records)],
            ..Snapshot::default()
        };
        self.store.commit(snapshot).unwrap();
        (self.committed, self.durable) = (epoch, model);
    }

    fn contents(&self) -> Model {
        let mut found = Model::new();
        for key in 0..KEYS {
            let bytes = full_key(key);
            if self.table.find(hash::key(&bytes), &bytes).is_some() || !self.table.is_partial() {
                found.extend(self.table.get(&bytes).map(|entry| (key, entry.count)));
            } else {
                found.extend(entries(&self.store, &Keys::One(&bytes)));
            }
        }
        found
    }
}

#[test]
fn a_table_that_lets_go_of_keys_is_as_good_as_a_map() {
    let mut were_incomplete = 0;
    for seed in 1..=SEEDS {
        let mut random = Random(seed);
        let disk = Simulated::new(seed);
        let mut actor = Actor::new(open(&disk));
        for step in 0..STEPS {
            actor.step(&mut random);
            assert!(actor.contents() == actor.model, "seed {seed}, step {step}");
            actor.table.check();
            were_incomplete += u32::from(actor.table.is_partial());
        }
        let durable = actor.durable.clone();
        drop(actor);
        let store = open(&disk);
        let all = Keys::ALL;
        assert!(entries(&store, &all) == durable, "seed {seed}");
    }
    assert!(were_incomplete > STEPS, "there is something to be tested");
}

#[test]
fn without_a_state_directory_it_is_as_good_as_a_map_too() {
    for seed in 1..=SEEDS {
        let mut random = Random(seed);
        let mut actor = Actor::new(Store::temporary());
        for step in 0..STEPS {
            match random.below(3) {
                0 => actor.step(&mut random),
                _ => actor.turn(&mut random),
            }
            // Nothing is ever committed.
            (actor.committed, actor.epoch) = (0, 1);
            actor.captured = None;
            assert!(actor.contents() == actor.model, "seed {seed}, step {step}");
        }
    }
}

fn put(table: &mut Table, key: &[u8], count: u64) {
    let slot = table.slot_of(key);
    table.put(slot, (count, 0, 0), 1, b"a");
}

fn counts(records: &[Record]) -> Vec<(&[u8], u64)> {
    let count = |entry: &Option<Entry>| entry.as_ref().map_or(0, |entry| entry.count);
    records.iter().map(|(key, entry)| (&**key, count(entry))).collect()
}

#[test]
fn an_entry_that_the_store_has_is_dropped_and_any_other_is_spilled() {
    let mut table = Table::default();
    put(&mut table, b"committed", 1);
    assert_eq!(table.captured(0, 2).len(), 1);
    put(&mut table, b"captured", 2);
    assert_eq!(table.captured(1, 3).len(), 1);
    put(&mut table, b"changed", 3);
    let records = table.evict(3, 1, 1);
    assert_eq!(counts(&records), [(b"captured".as_slice(), 2), (b"changed", 3)]);
    assert!(table.is_empty() && table.is_partial());
    assert_eq!(
        counts(&table.captured(1, 4)),
        [],
        "what was spilled is in the store's layer of this epoch"
    );
}

#[test]
fn a_slot_that_is_used_again_is_captured_once_and_with_its_new_key() {
    let mut table = Table::default();
    put(&mut table, b"old", 1);
    assert_eq!(table.evict(1, 1, 0).len(), 1);
    put(&mut table, b"new", 2);
    assert_eq!((table.slots.len(), table.changed.len()), (1, 1));
    assert_eq!(counts(&table.captured(0, 2)), [(b"new".as_slice(), 2)]);
}

#[test]
fn a_window_that_closed_is_forgotten_in_the_store_before_its_key_is_looked_up() {
    let mut table = Table::default();
    let store = Store::temporary();
    let stored = Entry::new(5, (0, 0), 0, b"");
    store
        .spill("op", vec![(b"closed".as_slice().into(), Some(stored))])
        .unwrap();
    store.load("op", &Keys::One(b"closed"), &mut table).unwrap();
    let slot = table.slot_of(b"closed");
    table.close(slot);
    for key in 0..200_u32 {
        table.slot_of(&key.to_le_bytes());
    }
    table.sweep();
    assert_eq!(table.forgotten.len(), 1);
    store.spill("op", table.evict(1, 1, 0)).unwrap();
    let (_, missing) = table.admit([b"closed".as_slice()].into_iter(), 9);
    store.look_up("op", &missing, &mut table).unwrap();
    assert_eq!(table.get(b"closed"), None);
}

#[test]
fn keys_that_come_all_the_time_stay() {
    let mut table = Table::default();
    let mut missed = 0;
    for turn in 1..=2_000_u32 {
        // Ten keys come all the time, the others once.
        for key in [turn % 10, 10_000 + turn] {
            let is_often = key < 10;
            missed += u32::from(turn > 1_000 && is_often && table.get(&key.to_le_bytes()).is_none());
            let slot = table.slot_of(&key.to_le_bytes());
            table.slot_mut(slot).turn = turn;
            table.put(slot, (1, 0, 0), 1, b"a");
        }
        while table.len() > 110 {
            let _ = table.evict(1, turn, 0);
        }
    }
    assert!(missed < 10, "{missed} of a thousand");
}

#[test]
fn memory_is_given_back_by_the_piece() {
    let mut table = Table::default();
    (0..20_000_u64).for_each(|key| put(&mut table, &key.to_le_bytes(), 1));
    let before = table.slots.capacity();
    while table.has_more_than(1024) {
        assert!(!table.shrink(0).is_empty());
    }
    assert!(
        before >= 20_000 && table.slots.capacity() <= 4096,
        "{}",
        table.slots.capacity()
    );
    table.check();
}
