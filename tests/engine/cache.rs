//! The cache of compiled code.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::support::{Dirigo, Finished, Folder, guest, numbered, numbers};

const EVENTS: u64 = 1_000;

/// A pipeline of one guest, which is a file of the folder's own, with the cache in `cache`.
fn folder() -> Folder {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "p"
        [dead_letters]
        path = "dead.jsonl"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        [[operator]]
        id = "guest"
        component = "operator.wasm"
        config = { mode = "reject", every = 2 }
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#,
    );
    folder.write("events.jsonl", numbered(EVENTS, 1));
    fs::copy(guest("map"), folder.path("operator.wasm")).unwrap();
    folder
}

/// Runs, and checks that the guest did what it should.
fn run(folder: &Folder) -> Finished {
    let finished = Dirigo::run(folder, ["pipeline.toml"])
        .cache(folder.path("cache"))
        .finish();
    finished.succeeds();
    let odd = (0..EVENTS).filter(|n| !n.is_multiple_of(2));
    assert!(numbers(&folder.read("out.jsonl")).into_iter().eq(odd));
    finished
}

fn entries(folder: &Folder) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder.path("cache"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    entries
}

fn the_entry(folder: &Folder) -> PathBuf {
    let entries = entries(folder);
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries[0].clone()
}

/// What changes when a file is written anew.
fn identity(path: &Path) -> (u64, i64, i64) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.ino(), metadata.mtime(), metadata.mtime_nsec())
}

#[test]
fn a_component_is_compiled_once() {
    let folder = folder();
    run(&folder);
    let entry = the_entry(&folder);
    assert_eq!(fs::metadata(folder.path("cache")).unwrap().mode() & 0o777, 0o700);
    let before = identity(&entry);
    run(&folder);
    assert_eq!(
        identity(&entry),
        before,
        "the second start found what the first had compiled"
    );
}

#[test]
fn an_entry_that_was_tampered_with_is_compiled_again() {
    let folder = folder();
    run(&folder);
    let entry = the_entry(&folder);
    let whole = fs::read(&entry).unwrap();
    let flipped = |place: usize| {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        bytes
    };
    let damages = [
        ("a bit of the code", flipped(whole.len() - 1_000)),
        ("a bit of the layout", flipped(0)),
        ("a bit of the key", flipped(20)),
        ("a bit of the digest", flipped(50)),
        ("the end is missing", whole[..whole.len() / 2].to_vec()),
        ("all but the start is missing", whole[..10].to_vec()),
        ("nothing is there", Vec::new()),
        ("something else is there", b"\x7fELF and what follows".repeat(1_000)),
    ];
    for (what, bytes) in damages {
        fs::write(&entry, bytes).unwrap();
        let damaged = identity(&entry);
        run(&folder);
        assert!(fs::read(&entry).unwrap() == whole, "{what}: the entry is whole again");
        assert_ne!(identity(&entry), damaged, "{what}");
    }
}

#[test]
fn an_entry_that_belongs_to_another_component_is_not_taken_for_this_one() {
    let folder = folder();
    run(&folder);
    let mine = the_entry(&folder);
    fs::copy(guest("malformed-map"), folder.path("other.wasm")).unwrap();
    let other = Dirigo::command(&folder, "inspect")
        .args(["other.wasm"])
        .cache(folder.path("cache"))
        .finish();
    other.ends_with(0, &[]);
    let others = entries(&folder).into_iter().find(|entry| *entry != mine).unwrap();
    fs::copy(&others, &mine).unwrap();
    run(&folder);
}

/// The parts of an entry: what tells its layout, its component, who made it, and the code.
const TAG: std::ops::Range<usize> = 48..80;

#[test]
fn an_entry_that_the_host_did_not_make_is_compiled_again() {
    let folder = folder();
    run(&folder);
    let entry = the_entry(&folder);
    let whole = fs::read(&entry).unwrap();
    // An attacker knows the layout and the component, and can hash; what it lacks is the key.
    let mut hashed = whole.clone();
    let code_from = TAG.end;
    hashed[code_from + 1_000] ^= 1;
    let digest: [u8; 32] = Sha256::digest(&hashed[code_from..]).into();
    hashed[TAG].copy_from_slice(&digest);
    // Another user of the machine has a host of its own.
    let other = Dirigo::run(&folder, ["pipeline.toml"])
        .cache(folder.path("others-cache"))
        .env("DIRIGO_CACHE_KEY", folder.path("other/cache.key"))
        .finish();
    other.succeeds();
    let of_other = fs::read(folder.path("others-cache").join(entry.file_name().unwrap())).unwrap();
    assert!(of_other[..TAG.start] == whole[..TAG.start] && of_other[TAG] != whole[TAG]);
    for (what, bytes) in [("a hash of the code", hashed), ("made with another key", of_other)] {
        fs::write(&entry, bytes).unwrap();
        let planted = identity(&entry);
        run(&folder);
        assert!(
            fs::read(&entry).unwrap() == whole,
            "{what}: the host's own is there again"
        );
        assert_ne!(identity(&entry), planted, "{what}");
    }
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let folder = folder();
    let key = folder.write("cache.key", [7; 32]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let finished = Dirigo::run(&folder, ["pipeline.toml"])
        .cache(folder.path("cache"))
        .env("DIRIGO_CACHE_KEY", &key)
        .finish();
    finished.succeeds();
    for words in ["cache.key", "can be read by others", "remove it"] {
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    }
    assert!(entries(&folder).is_empty());
}

#[test]
fn an_edited_component_is_picked_up() {
    let folder = folder();
    run(&folder);
    fs::copy(guest("malformed-map"), folder.path("operator.wasm")).unwrap();
    let again = Dirigo::run(&folder, ["pipeline.toml"]).cache(folder.path("cache"));
    let finished = again.set("operator.guest.config", "{ lie = \"none\" }").finish();
    assert_eq!(finished.succeeds().count("events_out"), EVENTS);
    assert_eq!(entries(&folder).len(), 2);
    fs::copy(guest("map"), folder.path("operator.wasm")).unwrap();
    run(&folder);
    assert_eq!(entries(&folder).len(), 2);
}

#[test]
fn a_directory_that_others_can_write_to_is_not_used() {
    let folder = folder();
    fs::create_dir(folder.path("cache")).unwrap();
    for mode in [0o777, 0o770, 0o707] {
        fs::set_permissions(folder.path("cache"), fs::Permissions::from_mode(mode)).unwrap();
        let finished = run(&folder);
        assert!(
            finished.stderr.contains("can be written by others"),
            "{mode:o}: {}",
            finished.stderr
        );
        assert!(entries(&folder).is_empty(), "{mode:o}");
    }
}

#[test]
fn a_directory_that_cannot_be_used_costs_only_time() {
    let folder = folder();
    folder.write("cache", "this is a file");
    let finished = run(&folder);
    assert!(
        finished.stderr.contains("components are compiled at every start"),
        "{}",
        finished.stderr
    );
}

#[test]
fn several_hosts_may_fill_one_cache_at_once() {
    let folders: Vec<Folder> = (0..4).map(|_| folder()).collect();
    let cache = folders[0].path("cache");
    let start = |folder: &Folder| Dirigo::run(folder, ["pipeline.toml"]).cache(cache.clone()).piped();
    let running: Vec<_> = folders.iter().map(start).collect();
    for running in running {
        running.finish().succeeds();
    }
    the_entry(&folders[0]);
}
