//! What a crate does not compile for the tests: `doctest = false` where no documentation has an example, `test = false` where there is no
//! unit test. Both spare the suite minutes, and neither may hide one that is written later.

use std::path::{Path, PathBuf};

/// The folders of all crates that `cargo test --workspace` knows and that have a library.
fn libraries() -> Vec<PathBuf> {
    let below = |folder: &str| {
        let folders = std::fs::read_dir(super::root().join(folder)).unwrap();
        folders.map(|folder| folder.unwrap().path()).collect::<Vec<_>>()
    };
    let several = [
        "host/crates",
        "host/benches/guests",
        "operators",
        "tests",
        "tests/hostile",
        "examples/nexmark/operators",
    ];
    let mut folders: Vec<PathBuf> = several.into_iter().flat_map(below).collect();
    folders.extend(
        ["host", "operator-sdk", "operator-sdk/json", "operator-sdk/macros"].map(|one| super::root().join(one)),
    );
    folders.retain(|folder| folder.join("Cargo.toml").exists() && folder.join("src/lib.rs").exists());
    folders
}

/// All that is written in a folder of sources.
fn text(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let one = |path: PathBuf| {
        if path.is_dir() {
            text(&path)
        } else {
            std::fs::read_to_string(path).unwrap()
        }
    };
    entries.map(one).collect()
}

/// Whether documentation has a block that rustdoc would run.
fn has_example(text: &str) -> bool {
    let mut is_inside = false;
    for line in text.lines().map(str::trim_start) {
        let Some(comment) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) else {
            is_inside = false;
            continue;
        };
        let Some(info) = comment.trim_start().strip_prefix("```") else {
            continue;
        };
        is_inside = !is_inside;
        let words = ["", "rust", "no_run", "should_panic", "compile_fail"];
        if is_inside && info.split(',').all(|word| words.contains(&word.trim())) {
            return true;
        }
    }
    false
}

#[test]
fn no_crate_leaves_out_a_test_or_an_example_that_it_has() {
    let libraries = libraries();
    assert!(libraries.len() > 60, "{libraries:?}");
    for folder in libraries {
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let library = manifest.split("[lib]").nth(1).unwrap_or_default();
        let library = library.split("\n[").next().unwrap();
        let says = |line: &str| library.lines().any(|found| found == line);
        let text = text(&folder.join("src"));
        // A guest's tests are those of the suites.
        let has_test = text.contains("#[test]") || text.contains("proptest!");
        assert!(
            !(says("doctest = false") && has_example(&text)),
            "{} has examples",
            folder.display()
        );
        assert!(!(says("test = false") && has_test), "{} has tests", folder.display());
        assert!(
            says("doctest = false") || has_example(&text) || is_exempt(&folder),
            "{} has no example: `doctest = false`",
            folder.display()
        );
    }
}

/// The library of the host has no documentation of its own, and a macro is no library.
fn is_exempt(folder: &Path) -> bool {
    folder.ends_with("host") || folder.ends_with("macros")
}

#[test]
fn an_example_is_a_block_of_rust_in_documentation() {
    assert!(has_example("/// ```\n/// let a = 1;\n/// ```\n"));
    assert!(has_example("//! ```rust,no_run\n//! ```\n"));
    assert!(!has_example("/// ```text\n/// a\n/// ```\n// ```\n"));
}
