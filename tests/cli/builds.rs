//! `dirigo build` where there is nothing that could be built to an operator; where there is, see `projects`.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Folder, Ran, assert_says, command};

/// A crate with this `[lib]` and nothing in it.
fn empty_crate(lib: &str) -> Folder {
    let folder = Folder::new();
    folder.write(
        "Cargo.toml",
        format!("[package]\nname = \"empty\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n[lib]\n{lib}\n"),
    );
    folder.write("src/lib.rs", "");
    folder
}

#[test]
fn a_directory_without_a_manifest_is_no_operator_crate() {
    let folder = Folder::new();
    let ran = folder.dirigo(&["build"]).expect(1);
    assert_says(&ran.stderr, &["no Cargo.toml in .", "dirigo new"]);
    assert_eq!(ran.stdout, "");
}

#[test]
fn a_crate_that_makes_no_component_is_told_what_it_lacks() {
    let ran = empty_crate("").dirigo(&["build", "--debug"]).expect(1);
    assert_says(
        &ran.stderr,
        &["is no operator crate", "crate-type = [\"cdylib\", \"rlib\"]"],
    );
}

#[test]
fn a_component_that_is_no_operator_is_refused() {
    let folder = empty_crate("crate-type = [\"cdylib\"]");
    let ran = folder.dirigo(&["build", "--debug"]).expect(1);
    assert_says(
        &ran.stderr,
        &[
            "empty.wasm was built, but it is no operator",
            "exports none of `dirigo:operator/map`",
        ],
    );
}

#[test]
fn a_crate_that_does_not_compile_fails_in_the_words_of_cargo() {
    let folder = empty_crate("");
    folder.write("src/lib.rs", "fn f() -> u8 { \"\" }");
    let ran = folder.dirigo(&["build", "--debug"]).expect(1);
    assert_says(
        &ran.stderr,
        &["error[E0308]: mismatched types", "`cargo build` failed in ."],
    );
}

#[test]
fn without_cargo_it_says_what_is_needed() {
    let folder = empty_crate("");
    let mut command = command(&folder.path(""));
    command.arg("build").env("PATH", folder.path("nothing"));
    let ran = Ran::of(command).expect(1);
    assert_says(&ran.stderr, &["cannot find `cargo`", "https://rustup.rs"]);
}

#[test]
fn without_the_target_it_says_how_to_get_it() {
    let folder = empty_crate("");
    for (name, script) in [("cargo", "exit 101"), ("rustc", "echo /nowhere/wasm32-wasip2/lib")] {
        let path = folder.path(name);
        folder.write(name, format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = command(&folder.path(""));
    command.arg("build").env("PATH", folder.path(""));
    let ran = Ran::of(command).expect(1);
    assert_says(
        &ran.stderr,
        &[
            "target wasm32-wasip2 is not installed",
            "`rustup target add wasm32-wasip2`",
        ],
    );
}
