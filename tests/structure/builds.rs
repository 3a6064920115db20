//! What cargo builds for `cargo run`: nothing that it has not built for the tests.
//!
//! Cargo builds a crate once for each set of features that is asked for. One feature that only a test asks for, of a crate far below, builds wasmtime and all
//! above it twice: minutes for everybody who follows the README.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::process::Command;

use serde_json::Value;

/// The units of a build, each by what cargo knows it by: its package, target, features, profile, and those of all that it uses.
fn units(args: &[&str]) -> BTreeMap<u64, String> {
    let cargo = Command::new(env!("CARGO"))
        .args(args)
        .args(["--release", "--locked", "--unit-graph", "-Zunstable-options"])
        // The graph is there in each toolchain, and promised in none: rust-toolchain.toml says which one this is.
        .env("RUSTC_BOOTSTRAP", "1")
        .current_dir(super::root())
        .output()
        .unwrap();
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    let graph: Value = serde_json::from_slice(&cargo.stdout).unwrap();
    let units = graph["units"].as_array().unwrap();
    let mut known = vec![None; units.len()];
    (0..units.len())
        .map(|place| {
            let unit = &units[place];
            let name = format!("{} {} {}", unit["pkg_id"], unit["target"]["kind"], unit["features"]);
            (identity(units, place, &mut known), name)
        })
        .collect()
}

fn identity(units: &[Value], place: usize, known: &mut [Option<u64>]) -> u64 {
    if let Some(identity) = known[place] {
        return identity;
    }
    let unit = &units[place];
    let used: BTreeSet<u64> = unit["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|used| identity(units, usize::try_from(used["index"].as_u64().unwrap()).unwrap(), known))
        .collect();
    let mut hasher = DefaultHasher::new();
    for member in ["pkg_id", "target", "mode", "features", "platform", "profile"] {
        unit[member].to_string().hash(&mut hasher);
    }
    used.hash(&mut hasher);
    *known[place].insert(hasher.finish())
}

#[test]
fn cargo_run_builds_nothing_that_the_tests_have_not_built() {
    let tests = units(&["test", "--no-run", "--workspace"]);
    let command = units(&["build", "--bin", "dirigo"]);
    assert!(command.len() > 100, "{command:?}");
    let twice: Vec<_> = command
        .iter()
        .filter(|(identity, _)| !tests.contains_key(identity))
        .map(|(_, name)| name)
        .collect();
    assert!(twice.is_empty(), "built once more, with these features: {twice:#?}");
}
