//! `dirigo new`, and what its projects are good for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Folder, Ran, assert_says, dirigo_in, kept};

/// A project of this kind, at a place that outlives the test: what it depends on is then compiled but once.
fn project(kind: &str) -> PathBuf {
    let place = kept("projects");
    let directory = place.join(kind);
    if directory.exists() {
        fs::remove_dir_all(&directory).unwrap();
    }
    fs::create_dir_all(place.join("target")).unwrap();
    let made = dirigo_in(&place, &["new", &format!("my-{kind}"), "--kind", kind, "--path", kind]).expect(0);
    assert_says(
        &made.stdout,
        &[
            &format!("`my-{kind}`"),
            "src/lib.rs",
            "dirigo build",
            "dirigo test",
            "dirigo run",
        ],
    );
    // All kinds share a target directory, where the project's own would be.
    std::os::unix::fs::symlink(place.join("target"), directory.join("target")).unwrap();
    directory
}

fn cargo_test(directory: &Path) {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(directory).arg("test").env_remove("CARGO_TARGET_DIR");
    let ran = Ran::of(cargo).expect(0);
    assert_says(&ran.stdout, &[" ... ok\n", "test result: ok. "]);
}

/// Takes a new project through all that its README says.
fn works_as_generated(kind: &str) -> PathBuf {
    let directory = project(kind);
    cargo_test(&directory);
    let built = dirigo_in(&directory, &["build", "-o", "json"]).expect(0).json();
    assert_eq!(built["kind"], kind);
    let tested = dirigo_in(&directory, &["test", "pipeline.toml"]).expect(0);
    assert_says(&tested.stdout, &["1 passed, 0 failed"]);
    let ran = dirigo_in(&directory, &["run", "pipeline.toml"]).expect(0);
    assert!(!ran.stdout.is_empty(), "events come out");
    assert_says(&ran.stderr, &["1 dead letter"]);
    directory
}

#[test]
fn a_new_project_of_each_kind_works_as_it_is() {
    for kind in ["filter", "reduce", "process"] {
        works_as_generated(kind);
    }
    let map = works_as_generated("map");
    a_fix_of_the_operator_makes_its_dead_letter_succeed(&map);
}

/// The event of the map's data that is broken: its `value` is a string. The fix takes those for 0 °C.
fn a_fix_of_the_operator_makes_its_dead_letter_succeed(directory: &Path) {
    let dead_letters = ["replay", "my-map.dead.jsonl", "--id", "1"];
    let failed = dirigo_in(directory, &dead_letters).expect(1);
    assert_says(
        &failed.stdout,
        &["then      rejected", "now       rejected", "\"broken\""],
    );

    let built = dirigo_in(directory, &["build"]).expect(0).stdout;
    let component = directory.join(built.trim());
    let first = fs::read(&component).unwrap();
    let source = directory.join("src/lib.rs");
    let code = fs::read_to_string(&source).unwrap();
    // A number that is written as text is no column of numbers: the fixed operator parses the value itself.
    let parsed = code.replacen("#[derive(Event)]", "#[derive(Deserialize)]", 1);
    let fixed = parsed.replace(
        "    value: f64,\n}\n\n/// What becomes",
        "    #[serde(deserialize_with = \"lenient\")]\n    value: f64,\n}\n\n/// What becomes",
    ) + "\nfn lenient<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<f64, D::Error> {\n    \
           let text = String::deserialize(from)?;\n    Ok(text.parse().unwrap_or_default())\n}\n";
    fs::write(&source, fixed).unwrap();
    dirigo_in(directory, &["build"]).expect(0);

    let changed = dirigo_in(directory, &dead_letters).expect(1);
    assert_says(&changed.stderr, &["is not the component that the event failed in"]);
    let fix = component.to_str().unwrap();
    let succeeds = dirigo_in(directory, &[&dead_letters[..], &["--component", fix]].concat()).expect(0);
    assert_says(
        &succeeds.stdout,
        &["now       succeeds", "output    ", "\"celsius\":0.0"],
    );
    fs::write(&component, first).unwrap();
    dirigo_in(directory, &dead_letters).expect(1);
}

#[test]
fn a_project_is_written_to_an_empty_directory_only() {
    let folder = Folder::new();
    fs::create_dir(folder.path("empty")).unwrap();
    let empty = ["new", "op", "--kind", "filter", "--path", "empty"];
    folder.dirigo(&empty).expect(0);
    assert!(folder.read("empty/Cargo.toml").contains("name = \"op\""));
    folder.write("full/mine.txt", "mine");
    let ran = folder.dirigo(&["new", "full", "--kind", "map"]).expect(1);
    assert_says(&ran.stderr, &["full exists and is not empty; nothing was written"]);
    assert_eq!(fs::read_dir(folder.path("full")).unwrap().count(), 1);
    folder.write("file", "");
    folder.dirigo(&["new", "file", "--kind", "map"]).expect(1);
}

#[test]
fn a_program_gets_the_list_of_files() {
    let folder = Folder::new();
    let made = folder
        .dirigo(&["new", "op", "--kind", "reduce", "-o", "json"])
        .expect(0)
        .json();
    assert_eq!(
        (&made["name"], &made["kind"], &made["path"]),
        (&"op".into(), &"reduce".into(), &"op".into())
    );
    for file in made["files"].as_array().unwrap() {
        assert!(folder.path("op").join(file.as_str().unwrap()).is_file());
    }
}
