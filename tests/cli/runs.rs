//! Exit codes and what goes with them, of commands that read a pipeline file.

use crate::support::{Folder, assert_says};

const PIPELINE: &str = "[pipeline]\nname = \"p\"\n[[source]]\nid = \"in\"\nkind = \"file\"\npath = \"readings.jsonl\"\n\
                        [[sink]]\nid = \"out\"\nkind = \"stdout\"\n";

#[test]
fn a_run_puts_data_on_standard_output_and_all_else_on_standard_error() {
    let folder = Folder::with_pipeline(PIPELINE);
    folder.write("readings.jsonl", "{\"n\":1}\n{\"n\":2}\n");
    let ran = folder.dirigo(&["run", "pipeline.toml"]).expect(0);
    assert_eq!(ran.stdout, "{\"n\":1}\n{\"n\":2}\n");
    assert_says(&ran.stderr, &["2 events in, 2 out"]);
}

#[test]
fn a_missing_source_file_is_shown_where_it_is_named() {
    let folder = Folder::with_pipeline(PIPELINE);
    folder.write("reading.jsonl", "");
    for command in ["run", "check"] {
        let ran = folder.dirigo(&[command, "pipeline.toml"]).expect(78);
        assert_says(
            &ran.stderr,
            &[
                "cannot find the source file",
                "pipeline.toml:6:8",
                "^^^^",
                "did you mean `reading.jsonl`?",
            ],
        );
    }
}

#[test]
fn what_is_wrong_with_several_files_is_one_list_for_programs() {
    let folder = Folder::with_pipeline(PIPELINE);
    folder.write("other.toml", PIPELINE);
    for command in ["run", "check"] {
        let ran = folder.dirigo(&[command, "-o", "json", "pipeline.toml", "other.toml"]);
        let found: serde_json::Value = serde_json::from_str(&ran.expect(78).stdout).unwrap();
        assert_eq!(found.as_array().unwrap().len(), 2, "{command}: {found}");
    }
}

#[test]
fn a_missing_pipeline_file_is_a_configuration_error() {
    let folder = Folder::with_pipeline(PIPELINE);
    for command in ["run", "check", "test"] {
        let ran = folder.dirigo(&[command, "pipelin.toml"]).expect(78);
        assert_says(
            &ran.stderr,
            &["cannot read the pipeline file", "did you mean `pipeline.toml`?"],
        );
    }
}

#[test]
fn a_component_that_is_not_built_yet_is_told_how_to_build() {
    let text = PIPELINE.replace(
        "[[sink]]",
        "[[operator]]\nid = \"op\"\ncomponent = \"op.wasm\"\n[[sink]]",
    );
    let folder = Folder::with_pipeline(&text);
    folder.write("readings.jsonl", "");
    let ran = folder.dirigo(&["run", "pipeline.toml"]).expect(78);
    assert_says(&ran.stderr, &["cannot find the component", "op.wasm", "`dirigo build`"]);
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    let folder = Folder::new();
    for arguments in [
        &["run"][..],
        &["rnu"],
        &["replay", "dead.jsonl"],
        &["new", "op"],
        &["new", "my op", "--kind", "map"],
        &["new", "", "--kind", "map"],
        &["run", "p.toml", "-s", "nonsense"],
    ] {
        let ran = folder.dirigo(arguments).expect(2);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert!(ran.stderr.starts_with("error: "), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn every_command_has_a_help_text() {
    let folder = Folder::new();
    let help = folder.dirigo(&["--help"]).expect(0).stdout;
    let bench = cfg!(feature = "bench").then_some("bench");
    let always = [
        "run",
        "check",
        "inspect",
        "new",
        "build",
        "test",
        "replay",
        "schema",
        "completions",
    ];
    for command in always.into_iter().chain(bench) {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in\n{help}");
        let own = folder.dirigo(&[command, "--help"]).expect(0).stdout;
        assert_says(&own, &["Usage: dirigo ", command, "Options:"]);
    }
    assert_eq!(help.contains("\n  bench "), bench.is_some(), "{help}");
}

#[test]
#[cfg(all(feature = "bench", debug_assertions))]
fn a_debug_build_says_that_the_hostile_guests_are_only_in_release_builds() {
    let ran = Folder::new().dirigo(&["bench", "isolation"]).expect(1);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert_says(&ran.stderr, &["hostile guests", "only in release builds"]);
}

#[test]
fn the_reason_of_an_error_is_said_once() {
    let folder =
        Folder::with_pipeline(&PIPELINE.replace("kind = \"stdout\"", "kind = \"file\"\npath = \"a.file/out\""));
    folder.write("readings.jsonl", "");
    folder.write("a.file", "");
    folder.write("b.file", "");
    for (arguments, reason) in [
        (&["inspect", "nowhere.wasm"][..], "No such file"),
        (&["inspect", "a.file"], "a.file"),
        (&["replay", "nowhere.jsonl", "--id", "1"], "No such file"),
        (&["run", "pipeline.toml"], "cannot open"),
        (
            &["run", "pipeline.toml", "--state", "b.file"],
            "cannot make the state directory",
        ),
        (&["run", "pipeline.toml", "--state", "b.file"], "Not a directory"),
    ] {
        let ran = folder.dirigo(arguments).expect(1);
        assert_eq!(ran.stderr.matches(reason).count(), 1, "{arguments:?}: {}", ran.stderr);
    }
}
