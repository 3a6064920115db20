//! Compiles crates of this workspace to components, for build scripts that embed them.
//!
//! The guests are compiled for another target and into a target directory of their own, which all build scripts share: cargo
//! holds a lock on the one that it builds into. A target that is not installed is found before anything is compiled.

#![allow(clippy::print_stdout, reason = "build scripts speak to cargo so")]

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use dirigo_wasm_target::TARGET;

/// How far the output directory of a build script, `PROFILE/build/PACKAGE-HASH/out`, lies below that of the profile.
const PROFILE_LEVELS: usize = 3;

/// A guest: the name that it is embedded under, and its package.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    /// As the list has it.
    pub name: &'static str,
    /// As its `Cargo.toml` has it.
    pub package: &'static str,
}

/// Compiles `guests`, and writes a list of `(name, component)` to `OUT_DIR/file`, to be included as
/// `&[(&str, &[u8])]`. Runs again when one of `watched` changes, paths from the root of the workspace.
///
/// Ends the build script with one line where the target is not installed or a guest does not compile.
pub fn embed(guests: &[Guest], watched: &[&str], file: &str) {
    if let Err(error) = try_embed(guests, watched, file) {
        // Cargo prints it as one line.
        println!("cargo::error={error:#}");
        std::process::exit(1);
    }
}

fn try_embed(guests: &[Guest], watched: &[&str], file: &str) -> anyhow::Result<()> {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let root = manifest
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").is_file())
        .context("this crate is built within its workspace, whose `Cargo.lock` was not found")?;
    let depth = manifest.strip_prefix(root)?.components().count();
    for path in watched
        .iter()
        .chain(&["wit", "operator-sdk", "Cargo.toml", "Cargo.lock"])
    {
        // Relative, so that a target directory that two checkouts share watches the one that is built.
        println!("cargo::rerun-if-changed={}{path}", "../".repeat(depth));
    }
    if let Some(problem) = dirigo_wasm_target::problem(&variable("RUSTC")) {
        bail!(problem);
    }
    let out = PathBuf::from(variable("OUT_DIR"));
    let target_directory = out
        .ancestors()
        .nth(PROFILE_LEVELS)
        .context("the output directory does not lie in a target directory")?
        .join("components");
    if !guests.is_empty() {
        compile(root, &target_directory, guests)?;
    }
    let mut list = String::from("&[\n");
    for Guest { name, package } in guests {
        let wasm = target_directory
            .join(TARGET)
            .join("component")
            .join(format!("{}.wasm", package.replace('-', "_")));
        let wasm = wasm.display().to_string();
        writeln!(list, "    ({name:?}, include_bytes!({wasm:?})),")?;
    }
    list.push_str("]\n");
    let list_file = out.join(file);
    fs::write(&list_file, list).with_context(|| format!("cannot write {}", list_file.display()))
}

fn compile(root: &Path, target_directory: &Path, guests: &[Guest]) -> anyhow::Result<()> {
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .current_dir(root)
        .args(["build", "--profile", "component", "--target", TARGET, "--target-dir"]);
    cargo.arg(target_directory);
    for guest in guests {
        cargo.args(["--package", guest.package]);
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
    let status = cargo.status().context("cannot run cargo again")?;
    if !status.success() {
        bail!("the operators that the binary carries did not compile");
    }
    Ok(())
}

fn variable(name: &str) -> String {
    env::var(name).expect("cargo sets the variables of build scripts")
}
