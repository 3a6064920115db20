//! Random epochs and random crashes: what is found again is always one whole epoch, and the right one.

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;

use super::*;
use dirigo_disk::Simulated;

const KEYS: u64 = 40;
const SEEDS: u64 = 1_000;
const DIRECTORY: &str = "/state/pipeline";

/// By key, how often it was changed.
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

fn open(disk: &Simulated) -> Result<Store, Error> {
    let options = StoreOptions {
        apply: Apply::ByHand,
        log_bytes_max: 20_000,
        layer_bytes_max: 3_000,
        ..StoreOptions::default()
    };
    Store::open_with(Arc::new(disk.clone()), Path::new(DIRECTORY), options)
}

fn record((key, count): (u64, u64)) -> Record {
    let entry = Entry::new(count, (0, 0), 0, &[1; 30]);
    (key.to_be_bytes().into(), (count > 0).then_some(entry))
}

fn contents(store: &Store) -> Model {
    let mut table = Table::default();
    store.load("op", &Keys::ALL, &mut table).unwrap();
    let entries = table.entries();
    entries
        .map(|(key, entry)| (u64::from_be_bytes(*key.as_array().unwrap()), entry.count))
        .collect()
}

fn set(model: &mut Model, key: u64, count: u64) {
    if count == 0 {
        model.remove(&key);
    } else {
        model.insert(key, count);
    }
}

fn offsets(epoch: u64) -> Offsets {
    Offsets {
        sources: [("s".into(), epoch.into())].into(),
        ..Offsets::default()
    }
}

fn in_flight(epoch: u64) -> Vec<InFlight> {
    let one = |place: u64| InFlight {
        item: "op".into(),
        bytes: [epoch.to_be_bytes(), place.to_be_bytes()].concat(),
    };
    (0..epoch % 4).map(one).collect()
}

/// One epoch: some keys are spilled before the cut, some stand in active tables, one is spilled after it. What the epoch
/// holds if it is committed is put into `history` first.
fn epoch(store: &Store, random: &mut Random, history: &mut Vec<Model>) -> Result<(), Error> {
    let number = store.epoch() + 1;
    history.truncate(usize::try_from(number).unwrap());
    let mut model = history.last().unwrap().clone();
    let mut changes = |model: &mut Model, changes: u64| -> Vec<(u64, u64)> {
        let one = |_| {
            let change = (random.below(KEYS), random.below(4) * number);
            set(model, change.0, change.1);
            change
        };
        (0..changes).map(one).collect()
    };
    // Now and then an epoch is too large for the layer.
    let many = if number.is_multiple_of(5) { 60 } else { 6 };
    let spilled = changes(&mut model, many);
    let active = changes(&mut model, 4);
    let late = changes(&mut model.clone(), 1);
    history.push(model);
    store.spill("op", spilled.into_iter().map(record).collect())?;
    store.freeze();
    let mut now = history.last().unwrap().clone();
    late.iter().for_each(|&(key, count)| set(&mut now, key, count));
    store.spill("op", late.into_iter().map(record).collect())?;
    // Actors take what was spilled late back, so the next epoch begins with what this one holds.
    let back = history.last().unwrap();
    let back = now
        .keys()
        .chain(back.keys())
        .map(|key| (*key, back.get(key).copied().unwrap_or(0)));
    let back: Vec<Record> = back.map(record).collect();
    store.commit(Snapshot {
        state: vec![("op".into(), active.into_iter().map(record).collect())],
        in_flight: in_flight(number),
        offsets: offsets(number),
    })?;
    store.spill("op", back)?;
    if random.below(4) == 0 {
        store.apply_now()?;
    }
    Ok(())
}

/// Runs, crashes and restarts; says what was found that must not be.
fn violation(seed: u64, lies: bool) -> Option<String> {
    let mut random = Random(seed);
    let mut disk = Simulated::new(seed);
    disk.lie_on_sync(lies);
    // By epoch, what it holds; the last one may be under way.
    let mut history = vec![Model::new()];
    let mut committed = 0;
    for _ in 0..8 {
        // Often while it opens or soon after, since that is when it builds on what the one before has left.
        let within = [20, 40, 250][usize::try_from(random.below(3)).unwrap()];
        disk.crash_at(1 + random.below(within));
        match open(&disk) {
            Err(_) if disk.is_crashed() => {}
            Err(error) => return Some(error.to_string()),
            Ok(store) => {
                let found = usize::try_from(store.epoch()).unwrap();
                if found < committed || found >= history.len() {
                    return Some(format!("epoch {found} where {committed} was committed"));
                }
                // Once found, an epoch must be found again.
                committed = found;
                let contents = if disk.is_crashed() {
                    None
                } else {
                    Some(contents(&store))
                };
                if contents.is_some_and(|contents| contents != history[found]) {
                    return Some(format!("other contents than those of epoch {found}"));
                }
                let is_right = store.offsets().unwrap() == (found > 0).then(|| offsets(store.epoch()))
                    && store.take_in_flight().unwrap() == in_flight(store.epoch());
                if !is_right {
                    return Some(format!("other positions than those of epoch {found}"));
                }
                while epoch(&store, &mut random, &mut history).is_ok() {
                    committed = usize::try_from(store.epoch()).unwrap();
                }
                committed = committed.max(usize::try_from(store.epoch()).unwrap());
            }
        }
        disk = disk.restart();
    }
    None
}

#[test]
fn whatever_a_crash_leaves_is_one_committed_epoch() {
    for seed in 0..SEEDS {
        assert_eq!(violation(seed, false), None, "seed {seed}");
    }
}

#[test]
fn a_disk_that_lies_is_found_out() {
    // What reads a database whose pages are missing may panic, too.
    let is_found = |seed: &u64| catch_unwind(|| violation(*seed, true)).map_or(true, |violation| violation.is_some());
    assert!((0..SEEDS).any(|seed| is_found(&seed)), "no seed shows it");
}
