//! Compiles the built-in operators, and the hostile guests of the benchmarks, to components; gathers what `dirigo new`
//! writes into a project.
//!
//! The operators are crates of this workspace, but they are compiled for another target and in a target directory of their
//! own: cargo holds a lock on the one that it builds into.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";
const OPERATORS: [&str; 4] = ["map", "filter", "reduce", "window"];
/// The guests of `tests/hostile` that `dirigo bench` sets beside its victims.
const HOSTILE: [&str; 2] = ["map", "reduce"];
/// What a project needs to build an operator: the contract, the SDK with its macros.
const SDK: [&str; 5] = [
    "wit",
    "operator-sdk/src",
    "operator-sdk/Cargo.toml",
    "operator-sdk/macros/src",
    "operator-sdk/macros/Cargo.toml",
];

fn main() {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("host/ lies in the workspace")
        .to_owned();
    let out = PathBuf::from(variable("OUT_DIR"));
    for watched in [
        "wit",
        "operator-sdk",
        "operators",
        "tests/hostile",
        "Cargo.toml",
        "Cargo.lock",
    ] {
        // Relative, so that a target directory that two checkouts share watches the one that is built.
        println!("cargo:rerun-if-changed=../{watched}");
    }
    let target_directory = out.join("components");
    compile(&root, &target_directory);
    write_components(&target_directory, "dirigo", &OPERATORS, &out.join("builtin.rs"));
    write_components(&target_directory, "dirigo_hostile", &HOSTILE, &out.join("hostile.rs"));
    embed(&root, &SDK.map(PathBuf::from), &out.join("sdk.rs"));
    embed(
        &root.join("operator-sdk/templates"),
        &[PathBuf::from(".")],
        &out.join("templates.rs"),
    );
}

fn compile(root: &Path, target_directory: &Path) {
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .current_dir(root)
        .args(["build", "--profile", "component", "--target", TARGET, "--target-dir"]);
    cargo.arg(target_directory);
    for operator in OPERATORS {
        cargo.args(["--package", &format!("dirigo-{operator}")]);
    }
    for guest in HOSTILE {
        cargo.args(["--package", &format!("dirigo-hostile-{guest}")]);
    }
    // What is set for the host's own build (flags, clippy's wrapper, a profile's overrides) is not meant for the guests.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let is_for_the_host = name.starts_with("CARGO_PROFILE_")
            || matches!(
                &*name,
                "RUSTFLAGS"
                    | "CARGO_ENCODED_RUSTFLAGS"
                    | "RUSTC_WRAPPER"
                    | "RUSTC_WORKSPACE_WRAPPER"
                    | "CARGO_BUILD_TARGET"
            );
        if is_for_the_host {
            cargo.env_remove(&*name);
        }
    }
    let status = cargo.status().expect("cargo, which runs this script, can be run again");
    assert!(
        status.success(),
        "the operators that the binary carries did not compile; if the target is missing, run `rustup target add {TARGET}`"
    );
}

/// Writes a list of `(name, component)` of the crates `PREFIX_NAME`.
fn write_components(target_directory: &Path, prefix: &str, names: &[&str], file: &Path) {
    let mut list = String::from("&[\n");
    for name in names {
        let wasm = target_directory
            .join(TARGET)
            .join("component")
            .join(format!("{prefix}_{name}.wasm"));
        writeln!(
            list,
            "    ({name:?}, include_bytes!({:?})),",
            wasm.display().to_string()
        )
        .expect("a string takes what is written");
    }
    list.push_str("]\n");
    fs::write(file, list).expect("the output directory can be written");
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
