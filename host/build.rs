//! Gathers what `dirigo new` writes into a project: the contract, the SDK with its macros, and the templates.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// What a project needs to build an operator.
const SDK: [&str; 7] = [
    "wit",
    "operator-sdk/src",
    "operator-sdk/Cargo.toml",
    "operator-sdk/json/src",
    "operator-sdk/json/Cargo.toml",
    "operator-sdk/macros/src",
    "operator-sdk/macros/Cargo.toml",
];

fn main() {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("host/ lies in the workspace")
        .to_owned();
    let out = PathBuf::from(variable("OUT_DIR"));
    for watched in ["wit", "operator-sdk"] {
        // Relative, so that a target directory that two checkouts share watches the one that is built.
        println!("cargo:rerun-if-changed=../{watched}");
    }
    embed(&root, &SDK.map(PathBuf::from), &out.join("sdk.rs"));
    embed(
        &root.join("operator-sdk/templates"),
        &[PathBuf::from(".")],
        &out.join("templates.rs"),
    );
}

/// Writes a list of `(path, contents)` of all files at `paths` under `root`.
fn embed(root: &Path, paths: &[PathBuf], file: &Path) {
    let mut found = Vec::new();
    for path in paths {
        collect(&root.join(path), &mut found);
    }
    found.sort();
    let mut list = String::from("&[\n");
    for path in found {
        let name = path.strip_prefix(root).expect("it was found under the root");
        writeln!(
            list,
            "    ({:?}, include_str!({:?})),",
            name.display().to_string(),
            path.display().to_string()
        )
        .expect("a string takes what is written");
    }
    list.push_str("]\n");
    fs::write(file, list).expect("the output directory can be written");
}

fn collect(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory of the source tree can be read") {
            collect(
                &entry.expect("a directory of the source tree can be read").path(),
                found,
            );
        }
    } else {
        found.push(path.components().collect());
    }
}

fn variable(name: &str) -> String {
    env::var(name).expect("cargo sets the variables of build scripts")
}
