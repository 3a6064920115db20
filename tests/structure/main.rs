//! Who uses whom: between the crates of the host as docs/architecture.md draws it, and between the modules of a crate without
//! a circle; what crates leave out of the tests; and what is built twice.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod builds;
mod crates;
mod graph;
mod modules;
mod switches;

use std::path::{Path, PathBuf};

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The folders of the host's crates.
fn crates() -> Vec<PathBuf> {
    let folders = std::fs::read_dir(root().join("host/crates")).unwrap();
    let mut folders: Vec<_> = folders.map(|folder| folder.unwrap().path()).collect();
    folders.sort();
    folders
}

/// The name of a file or a folder, without its ending.
fn stem(path: &Path) -> &str {
    path.file_stem().unwrap().to_str().unwrap()
}
