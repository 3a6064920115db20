//! The guests of `tests/hostile` and the operators of `examples/nexmark`, as components.
//!
//! Built with cargo when a test first wants one, once per process and without a second compilation if nothing changed: what
//! a test attacks with is always what the sources say.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::Folder;

const GUESTS: [&str; 15] = [
    "map",
    "filter",
    "reduce",
    "sum",
    "process",
    "onlooker",
    "malformed-map",
    "malformed-filter",
    "malformed-reduce",
    "malformed-process",
    "evolving-1",
    "evolving-2",
    "evolving-3",
    "reordered-1",
    "reordered-2",
];
const TARGET: &str = "wasm32-wasip2";
const PROFILE: &str = "component";

/// An operator `map` that runs the hostile map in a mode, and a sink `out` that writes to `out.jsonl`.
pub(crate) fn map_to_file(mode: &str) -> String {
    format!(
        r#"
        [[operator]]
        id = "map"
        component = "{}"
        config = {{ mode = "{mode}" }}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#,
        guest("map").display()
    )
}

/// The component of the hostile guest `name`, which is the name of its folder.
#[track_caller]
pub(crate) fn guest(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    assert!(GUESTS.contains(&name), "there is no guest {name}");
    let file = format!("dirigo_hostile_{}.wasm", name.replace('-', "_"));
    let packages = || GUESTS.map(|guest| format!("dirigo-hostile-{guest}"));
    BUILT.get_or_init(|| build(&packages())).join(file)
}

/// The component of an operator of `examples/nexmark`, which is the name of its folder.
pub(crate) fn nexmark(operator: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let name = operator.replace('-', "_");
    BUILT
        .get_or_init(|| build(&["nexmark-*".to_owned()]))
        .join(format!("nexmark_{name}.wasm"))
}

/// The target directory that holds the binary under test.
pub(crate) fn target_directory() -> &'static Path {
    let binary = Path::new(env!("CARGO_BIN_EXE_dirigo"));
    binary
        .ancestors()
        .nth(2)
        .expect("the binary lies in a profile's folder of the target directory")
}

/// The pipeline `hostile`: the file `events.jsonl`, with the operator `guest` over it, into `out.jsonl`.
pub(crate) fn pipeline(guest_name: &str, config: &str, more: &str) -> Folder {
    Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "hostile"
        [dead_letters]
        path = "dead.jsonl"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        [[operator]]
        id = "guest"
        component = "{}"
        config = {config}
        {more}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#,
        guest(guest_name).display()
    ))
}

fn build(packages: &[String]) -> PathBuf {
    // A directory of their own: cargo holds a lock on the one that the tests are run from.
    let target_directory = target_directory().join("hostile");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--profile",
            PROFILE,
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(&target_directory);
    for package in packages {
        cargo.args(["--package", package]);
    }
    // What is set for the tests' own build (flags, clippy's wrapper, coverage) is not meant for the guests.
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
    let status = cargo.status().unwrap();
    assert!(status.success(), "these guests did not compile: {packages:?}");
    target_directory.join(TARGET).join(PROFILE)
}
