//! The arrows between crates.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::{crates, root, stem};

/// What each crate uses.
type Arrows = BTreeMap<String, BTreeSet<String>>;

/// As the manifests have it.
fn built() -> Arrows {
    let of = |manifest: &str| -> BTreeSet<String> {
        let mut section = "";
        let mut used = BTreeSet::new();
        for line in manifest.lines() {
            if line.starts_with('[') {
                section = line;
            } else if section != "[dev-dependencies]"
                && let Some(dependency) = line.strip_prefix("dirigo-")
            {
                used.insert(dependency.split(['.', ' ']).next().unwrap().to_owned());
            }
        }
        used
    };
    let manifest = |folder: &std::path::Path| fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let all = crates();
    all.iter()
        .map(|folder| (stem(folder).to_owned(), of(&manifest(folder))))
        .collect()
}

/// As the table of docs/architecture.md has it, whose first line is `| crate | uses |`.
fn drawn() -> Arrows {
    let architecture = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let table = architecture
        .split_once("| crate | uses |\n")
        .expect("the table of arrows")
        .1;
    let rows = table.lines().skip(1).map_while(|line| line.strip_prefix('|'));
    let names = |cell: &str| {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    rows.map(|row| {
        let (name, used) = row.split_once('|').unwrap();
        (names(name).pop_first().unwrap(), names(used))
    })
    .collect()
}

#[test]
fn every_arrow_between_crates_is_drawn_and_every_drawn_one_is_there() {
    assert_eq!(built(), drawn(), "what is built, and what docs/architecture.md draws");
}
