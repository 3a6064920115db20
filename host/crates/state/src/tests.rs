//! The store as its callers see it, on the machine's own disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use dirigo_disk::{Disk, Mode, Real, Simulated};

fn entry(count: u64) -> Entry {
    Entry::new(count, (0, 0), 1, b"a")
}

fn record(key: &str, count: u64) -> Record {
    (key.as_bytes().into(), Some(entry(count)))
}

fn forgotten(key: &str) -> Record {
    (key.as_bytes().into(), None)
}

/// The keys that are shown to be open.
fn shown(store: &Store) -> Vec<String> {
    let mut keys = FirstKeys::after(None);
    store.show_keys("op", &mut keys).unwrap();
    let (keys, _) = keys.into_keys();
    keys.map(|key| String::from_utf8(key.into_vec()).unwrap()).collect()
}

fn loaded(store: &Store, wanted: &Keys<'_>) -> Vec<Record> {
    let mut table = Table::default();
    store.load("op", wanted, &mut table).unwrap();
    let entries = table.entries();
    let mut records: Vec<Record> = entries.map(|(key, entry)| (key.into(), Some(entry.clone()))).collect();
    records.sort_by(|left, right| left.0.cmp(&right.0));
    records
}

fn all(store: &Store) -> Vec<Record> {
    loaded(store, &Keys::ALL)
}

fn open(directory: &Path) -> Result<Store, Error> {
    Store::open(Arc::new(Real), directory)
}

fn by_hand(directory: &Path) -> Result<Store, Error> {
    let options = StoreOptions {
        apply: Apply::ByHand,
        ..StoreOptions::default()
    };
    Store::open_with(Arc::new(Real), directory, options)
}

/// Commits these entries, with the epoch's number as position.
fn commit(store: &Store, records: Vec<Record>) {
    store.freeze();
    store.commit(snapshot(store.epoch() + 1, records)).unwrap();
}

fn snapshot(epoch: u64, records: Vec<Record>) -> Snapshot {
    let in_flight = InFlight {
        item: "op".into(),
        bytes: epoch.to_le_bytes().into(),
    };
    Snapshot {
        state: vec![("op".into(), records)],
        in_flight: vec![in_flight],
        offsets: Offsets {
            sources: [("s".into(), epoch.into())].into(),
            ..Offsets::default()
        },
    }
}

/// Whether positions and what was in flight are those of the store's epoch.
fn is_of_one_epoch(store: &Store) -> bool {
    let of = snapshot(store.epoch(), Vec::new());
    let expected = if store.epoch() == 0 { None } else { Some(of.offsets) };
    let in_flight = if store.epoch() == 0 { Vec::new() } else { of.in_flight };
    store.offsets().unwrap() == expected && store.take_in_flight().unwrap() == in_flight
}

fn logs(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|is| is == "log"))
        .collect();
    logs.sort();
    logs
}

#[test]
fn what_an_actor_gives_up_is_found_again() {
    let store = Store::temporary();
    store.spill("op", vec![record("a", 1), record("b", 2)]).unwrap();
    store.spill("op2", vec![record("a", 9)]).unwrap();
    assert_eq!(loaded(&store, &Keys::One(b"a")), [record("a", 1)]);
    assert_eq!(all(&store), [record("a", 1), record("b", 2)]);
}

#[test]
fn a_flush_to_disk_hides_nothing() {
    let store = Store::temporary();
    let records = (0..400_000_u32).map(|key| record(&key.to_string(), 1)).collect();
    store.spill("op", records).unwrap();
    store.spill("op", vec![forgotten("7"), record("8", 3)]).unwrap();
    assert_eq!(loaded(&store, &Keys::One(b"7")), []);
    assert_eq!(loaded(&store, &Keys::One(b"8")), [record("8", 3)]);
    let firsts: Vec<u32> = hash::ranges(5).chain([hash::PARTITIONS]).collect();
    let of_range = |range: &[u32]| Keys::Partitions {
        first: range[0],
        end: range[1],
    };
    let all: usize = firsts
        .windows(2)
        .map(|range| loaded(&store, &of_range(range)).len())
        .sum();
    assert_eq!(all, 399_999);
}

#[test]
fn only_what_was_committed_outlives_the_process() {
    let directory = tempfile::tempdir().unwrap();
    {
        let store = open(directory.path()).unwrap();
        assert_eq!((store.epoch(), store.offsets().unwrap()), (0, None));
        store
            .spill("op", vec![record("spilled", 1), record("closed", 1)])
            .unwrap();
        commit(&store, vec![record("active", 2)]);
        commit(&store, vec![forgotten("closed")]);
        store.spill("op", vec![record("late", 3)]).unwrap();
    }
    let store = open(directory.path()).unwrap();
    assert_eq!(store.epoch(), 2);
    assert!(is_of_one_epoch(&store));
    assert_eq!(all(&store), [record("active", 2), record("spilled", 1)]);
}

#[test]
fn what_is_spilled_after_the_cut_is_not_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    store.spill("op", vec![record("a", 1), record("b", 1)]).unwrap();
    store.freeze();
    store.spill("op", vec![record("a", 2), forgotten("b")]).unwrap();
    assert_eq!(all(&store), [record("a", 2)], "look-ups see both layers");
    store.commit(snapshot(1, Vec::new())).unwrap();
    assert_eq!(all(&store), [record("a", 2)]);
    drop(store);
    assert_eq!(all(&open(directory.path()).unwrap()), [record("a", 1), record("b", 1)]);
}

#[test]
fn an_applied_log_leaves_the_same_state_and_no_segments_behind() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..5_u64 {
        let store = by_hand(directory.path()).unwrap();
        assert_eq!(store.epoch(), 3 * round);
        commit(&store, vec![record("kept", round + 1), record("gone", 1)]);
        commit(&store, vec![record(&round.to_string(), 1)]);
        store.apply_now().unwrap();
        commit(&store, vec![forgotten("gone")]);
        let expected = all(&store);
        assert_eq!(expected.len() as u64, round + 2);
        if round % 2 == 0 {
            store.apply_now().unwrap();
        }
        drop(store);
        assert_eq!(logs(directory.path()).len(), 1);
        let store = by_hand(directory.path()).unwrap();
        assert!(is_of_one_epoch(&store));
        assert_eq!(all(&store), expected);
    }
}

#[test]
fn an_epoch_too_large_for_memory_goes_to_the_database_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        layer_bytes_max: 10_000,
        ..StoreOptions::default()
    };
    let open = || Store::open_with(Arc::new(Real), directory.path(), options).unwrap();
    let many = |count| {
        (0..1_000)
            .map(|key| record(&format!("{key:04}"), count))
            .collect::<Vec<_>>()
    };
    let store = open();
    commit(&store, vec![record("0007", 1), record("x", 1)]);
    store.spill("op", many(2)).unwrap();
    commit(&store, vec![record("0008", 3)]);
    let mut expected = many(2);
    expected[8] = record("0008", 3);
    expected.push(record("x", 1));
    assert_eq!(all(&store), expected);
    let log = fs::metadata(&logs(directory.path())[0]).unwrap();
    assert_eq!(log.len(), SEGMENT_START as u64);
    commit(&store, vec![record("x", 4)]);
    *expected.last_mut().unwrap() = record("x", 4);
    drop(store);
    let store = open();
    assert_eq!((store.epoch(), all(&store)), (3, expected));
    assert!(is_of_one_epoch(&store));
}

#[test]
fn an_epoch_that_went_to_the_database_at_once_leaves_the_log_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = by_hand(directory.path()).unwrap();
    commit(&store, vec![record("a", 1)]);
    let before = logs(directory.path()).remove(0);
    let log = fs::read(&before).unwrap();
    store.apply_now().unwrap();
    drop(store);
    // As if the process had ended between the transaction and the new segment.
    fs::remove_file(logs(directory.path()).remove(0)).unwrap();
    fs::write(before, log).unwrap();
    kill(&directory);
    for epoch in 1..4 {
        let store = by_hand(directory.path()).unwrap();
        assert_eq!(store.epoch(), epoch);
        commit(&store, vec![record("a", epoch + 1)]);
        assert_eq!(all(&store), [record("a", epoch + 1)]);
    }
}

#[test]
fn look_ups_are_right_while_epochs_are_committed_and_applied() {
    const KEYS: usize = 2_000;
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        layer_bytes_max: 400_000,
        log_bytes_max: 100_000,
        ..StoreOptions::default()
    };
    let store = Store::open_with(Arc::new(Real), directory.path(), options).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Each owns keys that it changes and looks up, as an actor does.
        let owners: Vec<_> = (0..2_u64)
            .map(|owner| {
                let (store, is_over) = (&store, &is_over);
                scope.spawn(move || {
                    let mut counts = vec![0; KEYS];
                    let mut number = owner;
                    while !is_over.load(Ordering::Relaxed) {
                        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let key = usize::try_from(number >> 33).unwrap() % KEYS;
                        let name = format!("{owner}-{key}");
                        let expected = match counts[key] {
                            0 => Vec::new(),
                            count => vec![record(&name, count)],
                        };
                        assert_eq!(loaded(store, &Keys::One(name.as_bytes())), expected);
                        counts[key] += 1;
                        store.spill("op", vec![record(&name, counts[key])]).unwrap();
                    }
                    counts.iter().sum::<u64>()
                })
            })
            .collect();
        for _ in 0..200 {
            commit(&store, vec![record("other", 1)]);
        }
        is_over.store(true, Ordering::Relaxed);
        let changes: u64 = owners.into_iter().map(|owner| owner.join().unwrap()).sum();
        assert!(changes > 0);
    });
}

#[test]
fn a_state_directory_has_one_owner() {
    let directory = tempfile::tempdir().unwrap();
    let owner = open(directory.path()).unwrap();
    commit(&owner, vec![record("a", 1)]);
    assert!(matches!(open(directory.path()), Err(Error::InUse { .. })));
    let emptied = Store::open_emptied(Arc::new(Real), directory.path());
    assert!(matches!(emptied, Err(Error::InUse { .. })));
    assert_eq!(all(&owner), [record("a", 1)]);
    drop(owner);
    assert_eq!(open(directory.path()).unwrap().epoch(), 1);
}

#[test]
fn an_emptied_store_has_no_state_and_no_positions() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let store = Store::open_emptied(Arc::new(Real), directory.path()).unwrap();
        assert_eq!((store.epoch(), store.offsets().unwrap()), (0, None));
        assert_eq!(all(&store), []);
        commit(&store, vec![record("a", 1)]);
        if round > 0 {
            store.apply_now().unwrap();
        }
    }
}

#[test]
fn a_directory_of_something_else_is_not_emptied() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.tex"), "years").unwrap();
    let emptied = Store::open_emptied(Arc::new(Real), directory.path());
    assert!(matches!(emptied, Err(Error::Foreign { .. })));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn state_of_a_version_without_a_log_is_read() {
    use redb::TableDefinition;
    let directory = tempfile::tempdir().unwrap();
    let database = redb::Database::create(directory.path().join("state.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let state: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("state");
        let key = keys::full("op", b"a");
        let mut table = transaction.open_table(state).unwrap();
        table.insert(&*key, entry(7).encode().as_slice()).unwrap();
        let meta: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
        let offsets: &[u8] = br#"{"sources":{"s":5},"sinks":{},"dead_letters":null}"#;
        transaction
            .open_table(meta)
            .unwrap()
            .insert("bookmarks", offsets)
            .unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    let store = open(directory.path()).unwrap();
    assert_eq!((store.epoch(), all(&store)), (0, vec![record("a", 7)]));
    assert_eq!(store.offsets().unwrap().unwrap().sources["s"], 5);
}

/// Where the first record of a segment stands.
const SEGMENT_START: usize = 20;

/// A directory with three epochs in its log, and where each ends there.
fn three_epochs() -> (tempfile::TempDir, PathBuf, [u64; 3]) {
    let directory = tempfile::tempdir().unwrap();
    let store = by_hand(directory.path()).unwrap();
    let path = logs(directory.path()).remove(0);
    let ends = [1, 2, 3].map(|count| {
        commit(&store, vec![record("a", count), record("b", count)]);
        fs::metadata(&path).unwrap().len()
    });
    drop(store);
    kill(&directory);
    (directory, path, ends)
}

/// Makes it look as if the last process had not ended in order.
fn kill(directory: &tempfile::TempDir) {
    fs::write(directory.path().join("lock"), "").unwrap();
}

/// Checks that the store holds exactly the moment of `epoch`.
fn holds(store: &Store, epoch: u64) {
    assert_eq!(store.epoch(), epoch);
    assert!(is_of_one_epoch(store));
    let expected = if epoch == 0 {
        vec![]
    } else {
        vec![record("a", epoch), record("b", epoch)]
    };
    assert_eq!(all(store), expected);
}

#[test]
fn a_changed_byte_is_noticed_or_leads_to_the_epoch_before() {
    let (directory, path, ends) = three_epochs();
    let log = fs::read(&path).unwrap();
    for at in 0..log.len() {
        let mut changed = log.clone();
        changed[at] ^= 0x11;
        fs::write(&path, &changed).unwrap();
        kill(&directory);
        match by_hand(directory.path()) {
            Ok(store) => {
                assert!(
                    at as u64 >= ends[1],
                    "byte {at} is of an epoch that another one follows"
                );
                holds(&store, 2);
            }
            Err(Error::Damaged { offset, epoch, .. }) => {
                let bad = ends.iter().filter(|&&end| end <= at as u64).count() as u64;
                assert_eq!(epoch, bad, "byte {at}");
                let start = if bad == 0 {
                    if at < SEGMENT_START { 0 } else { SEGMENT_START as u64 }
                } else {
                    ends[usize::try_from(bad).unwrap() - 1]
                };
                assert_eq!(offset, start);
                assert_eq!(fs::read(&path).unwrap(), changed, "what is refused stays as it is");
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
}

#[test]
fn a_torn_tail_leads_to_the_epoch_before_and_is_written_over() {
    let (directory, path, ends) = three_epochs();
    let log = fs::read(&path).unwrap();
    // Every length near the end of an epoch, and each third of the others: each takes a dozen `fsync`s.
    let is_tried = |length: &u64| length.is_multiple_of(3) || ends.iter().any(|end| end.abs_diff(*length) < 3);
    for length in (0..=log.len() as u64).filter(is_tried) {
        let whole = ends.iter().filter(|&&end| end <= length).count() as u64;
        // Nothing is written to a segment before its start is durable.
        let rests = if length < SEGMENT_START as u64 {
            &[0][..]
        } else {
            &[0, 40]
        };
        for &rest in rests {
            kill(&directory);
            let mut torn = log[..usize::try_from(length).unwrap()].to_vec();
            torn.resize(torn.len() + rest, 0);
            fs::write(&path, torn).unwrap();
            let store = by_hand(directory.path()).unwrap();
            holds(&store, whole);
            let next = whole + 1;
            commit(&store, vec![record("a", next), record("b", next)]);
            drop(store);
            holds(&by_hand(directory.path()).unwrap(), next);
        }
    }
}

#[test]
fn an_epoch_with_a_hole_is_a_torn_one_if_nothing_follows_it() {
    let (directory, path, ends) = three_epochs();
    let mut log = fs::read(&path).unwrap();
    // Pages reach the disk in any order: the end of the epoch may be there without its beginning.
    log[usize::try_from(ends[1]).unwrap()..][..30].fill(0);
    fs::write(&path, log).unwrap();
    holds(&by_hand(directory.path()).unwrap(), 2);
}

#[test]
fn a_missing_segment_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let store = by_hand(directory.path()).unwrap();
    commit(&store, vec![record("a", 1)]);
    store.apply_now().unwrap();
    commit(&store, vec![record("a", 2)]);
    drop(store);
    kill(&directory);
    let path = logs(directory.path()).remove(0);
    fs::rename(path, directory.path().join("epochs-0003.log")).unwrap();
    let opened = by_hand(directory.path());
    assert!(matches!(opened, Err(Error::Damaged { epoch: 1, .. })), "{opened:?}");
}

#[test]
fn an_event_that_holds_a_record_of_another_store_does_not_make_a_crash_damage() {
    let (_other, other, other_ends) = three_epochs();
    let record = fs::read(other).unwrap()[usize::try_from(other_ends[1]).unwrap()..].to_vec();
    let (directory, path, _) = three_epochs();
    let store = by_hand(directory.path()).unwrap();
    for _ in 0..2 {
        let in_flight = InFlight {
            item: "op".into(),
            bytes: record.clone(),
        };
        store.freeze();
        store
            .commit(Snapshot {
                in_flight: vec![in_flight],
                ..Snapshot::default()
            })
            .unwrap();
    }
    drop(store);
    kill(&directory);
    let log = fs::read(&path).unwrap();
    fs::write(&path, &log[..log.len() - 1]).unwrap();
    assert_eq!(by_hand(directory.path()).unwrap().epoch(), 4);
}

/// A database of many pages: it has inner ones, which lead to the leaves.
#[test]
fn a_changed_bit_of_a_large_database_is_refused_or_changes_nothing() {
    const KEYS: u64 = 3_000;
    const SEED: u64 = 0x5eed;
    let disk = Simulated::new(1);
    let folder = Path::new("/state");
    let options = StoreOptions {
        apply: Apply::ByHand,
        ..StoreOptions::default()
    };
    let open = || Store::open_with(Arc::new(disk.clone()), folder, options);
    let key = |number: u64| format!("key-{number}-{}", "x".repeat(60));
    let expected: Vec<Record> = {
        let mut records: Vec<Record> = (0..KEYS).map(|number| record(&key(number), number + 1)).collect();
        records.sort_by(|left, right| left.0.cmp(&right.0));
        records
    };
    let store = open().unwrap();
    commit(&store, expected.clone());
    store.apply_now().unwrap();
    drop(store);
    let look = || -> Result<Vec<Record>, Error> {
        let store = open()?;
        let mut table = Table::default();
        let keys: Vec<_> = expected.iter().map(|(key, _)| &**key).collect();
        store.look_up("op", &keys, &mut table)?;
        let mut found: Vec<Record> = table
            .entries()
            .map(|(key, entry)| (key.into(), Some(entry.clone())))
            .collect();
        found.sort_by(|left, right| left.0.cmp(&right.0));
        Ok(found)
    };
    assert!(look().unwrap() == expected);
    let file = disk.open(&folder.join("state.redb"), Mode::Existing).unwrap();
    let mut random = SEED;
    let mut refused = 0;
    for _ in 0..150 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let (at, bit) = ((random >> 20) % file.len().unwrap(), 1 << (random >> 61));
        let mut before = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(0, &mut before).unwrap();
        file.write_at(at, &[before[usize::try_from(at).unwrap()] ^ bit])
            .unwrap();
        match look() {
            Ok(found) => assert!(found == expected, "seed {SEED}: bit {bit} of byte {at}"),
            Err(error) => {
                assert!(error.to_string().contains("state.redb is damaged"), "{error}");
                refused += 1;
            }
        }
        // Opening may have changed it.
        file.set_len(before.len() as u64).unwrap();
        file.write_at(0, &before).unwrap();
        file.sync().unwrap();
    }
    assert!(refused > 15, "{refused} of 150");
}

#[test]
fn a_database_without_checksums_gets_them_unless_it_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let database = redb::Database::create(&path).unwrap();
    let moment = durable::EpochMeta {
        epoch: 4,
        ..durable::EpochMeta::default()
    };
    let full = keys::full("op", b"a");
    durable::apply(&database, &moment, |write| write(&full, &entry(7).encode())).unwrap();
    drop(database);
    let old = fs::read(&path).unwrap();
    let at = old.windows(full.len()).position(|bytes| bytes == &*full).unwrap();
    let mut damaged = old.clone();
    damaged[at + full.len() - 1] ^= 1;
    fs::write(&path, &damaged).unwrap();
    assert!(matches!(open(folder.path()), Err(Error::Broken { .. })));
    fs::write(&path, &old).unwrap();
    let seen = Stopped::open(&Real, folder.path()).unwrap();
    assert_eq!((seen.epoch(), seen.get("op", b"a").unwrap()), (4, Some(entry(7))));
    drop(seen);
    assert!(fs::read(&path).unwrap() == old, "looking at it changes nothing");
    for _ in 0..2 {
        let store = open(folder.path()).unwrap();
        assert_eq!((store.epoch(), all(&store)), (4, vec![record("a", 7)]));
        assert!(fs::read(&path).unwrap().starts_with(b"dirigo database"));
    }
}

#[test]
fn open_keys_are_shown_whichever_layer_has_them_and_those_of_no_other_operator() {
    let disk = Simulated::new(1);
    let options = StoreOptions {
        apply: Apply::ByHand,
        ..StoreOptions::default()
    };
    let open = || Store::open_with(Arc::new(disk.clone()), Path::new("/state"), options).unwrap();
    let store = open();
    assert_eq!(shown(&store), [""; 0]);
    let commit = |records: Vec<Record>| {
        store.freeze();
        store
            .commit(Snapshot {
                state: vec![("op".into(), records), ("ope".into(), vec![record("other", 1)])],
                ..Snapshot::default()
            })
            .unwrap();
    };
    commit(vec![record("d", 1), record("e", 1), record("f", 1)]);
    store.apply_now().unwrap();
    commit(vec![record("c", 1), forgotten("e")]);
    store.spill("op", vec![record("b", 1)]).unwrap();
    store.freeze();
    store.spill("op", vec![record("a", 1)]).unwrap();
    // What a newer layer has forgotten is shown all the same: a look-up tells.
    assert_eq!(shown(&store), ["a", "b", "c", "d", "e", "f"]);
    store
        .forget("op", ["a", "c", "d"].map(|key| key.as_bytes().into()).to_vec())
        .unwrap();
    let mut table = Table::default();
    let wanted = ["a", "b", "c", "d", "e", "f"].map(str::as_bytes);
    store.look_up("op", &wanted, &mut table).unwrap();
    let left: Vec<_> = wanted.into_iter().filter(|key| table.get(key).is_some()).collect();
    assert_eq!(left, [b"b", b"f"]);
}
