//! Exit codes and what goes with them, of commands that read a pipeline file.

use crate::support::{Folder, assert_says, command};

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

/// Asserts that lines for people hold nothing that acts on a terminal.
#[track_caller]
fn assert_harmless(text: &str) {
    let acts = |character: &char| (character.is_control() && *character != '\n') || *character == '\u{202e}';
    assert_eq!(text.chars().find(acts), None, "{text:?}");
}

#[test]
fn what_a_pipeline_file_says_acts_on_no_terminal() {
    let escapes = r"no\u001b[31m\u202e\nerror: fake.jsonl";
    let shown = r"no\u{1b}[31m\u{202e}\nerror: fake.jsonl";
    let folder = Folder::with_pipeline(&PIPELINE.replace("readings.jsonl", escapes));
    for command in ["run", "check"] {
        let ran = folder.dirigo(&[command, "pipeline.toml"]).expect(78);
        assert_says(&ran.stderr, &[shown]);
        assert_harmless(&ran.stderr);
        assert!(
            !ran.stderr.lines().any(|line| line.starts_with("error: fake")),
            "{}",
            ran.stderr
        );
    }
    // A key that is there as it is, which the file's text shows; and names of cases, which are free.
    let cases = "[[test]]\nname = \"a\\u001b[2J\\nok      forged\"\ninput = []\noutput = []\n";
    folder.write("pipeline.toml", format!("{PIPELINE}\"\u{202e}fehler\" = 1\n"));
    assert_harmless(&folder.dirigo(&["check", "pipeline.toml"]).expect(78).stderr);
    let for_programs = folder
        .dirigo(&["check", "-o", "json", "pipeline.toml"])
        .expect(78)
        .json();
    let said = |found: &serde_json::Value| found["message"].as_str().unwrap().contains("\u{202e}fehler");
    assert!(
        for_programs.as_array().unwrap().iter().any(said),
        "programs get it as it is: {for_programs}"
    );
    folder.write("pipeline.toml", format!("{PIPELINE}{cases}"));
    let tested = folder.dirigo(&["test", "pipeline.toml"]).expect(0);
    assert_eq!(
        tested.stdout,
        "ok      a\\u{1b}[2J\\nok      forged\n1 passed, 0 failed\n"
    );
}

#[test]
fn the_name_of_a_file_acts_on_no_terminal() {
    let folder = Folder::new();
    for arguments in [
        &["inspect", "\u{1b}[2J\nerror: fake.wasm"][..],
        &["run", "\u{1b}[2J\nerror: fake.toml"],
        &["replay", "\u{1b}[2J\nerror: fake.jsonl", "--id", "1"],
        &["state", "ls", "\u{1b}[2J\nerror: fake"],
    ] {
        let ran = folder.dirigo(arguments);
        assert_harmless(&ran.stderr);
        assert_says(&ran.stderr, &[r"\u{1b}[2J\nerror: fake"]);
    }
}

#[test]
fn the_reason_of_an_error_is_said_once() {
    let folder =
        Folder::with_pipeline(&PIPELINE.replace("kind = \"stdout\"", "kind = \"file\"\npath = \"a.file/out\""));
    folder.write("readings.jsonl", "");
    folder.write("a.file", "");
    folder.write("b.file", "");
    folder.write("sound.toml", PIPELINE);
    for (arguments, reason) in [
        (&["inspect", "nowhere.wasm"][..], "No such file"),
        (&["inspect", "a.file"], "a.file"),
        (&["replay", "nowhere.jsonl", "--id", "1"], "No such file"),
        (&["run", "pipeline.toml"], "cannot open"),
        (
            &["run", "sound.toml", "--state", "b.file/state"],
            "cannot make the state directory",
        ),
        (&["run", "sound.toml", "--state", "b.file/state"], "Not a directory"),
    ] {
        let ran = folder.dirigo(arguments).expect(1);
        assert_eq!(ran.stderr.matches(reason).count(), 1, "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn a_component_is_inspected_with_and_without_settings() {
    let folder = Folder::new();
    let inspect = |arguments: &[&str], code| folder.dirigo(&[&["inspect"], arguments].concat()).expect(code);
    let without = inspect(&["builtin:reduce"], 0).stdout;
    assert_says(
        &without,
        &[
            "fields          depend on its settings, which `--config JSON` gives",
            "missing field `aggregate`",
        ],
    );
    let with = inspect(
        &["builtin:reduce", "--config", r#"{"aggregate": "sum", "field": "n"}"#],
        0,
    );
    assert_says(&with.stdout, &["reads           n (f64"]);
    let wrong = inspect(&["builtin:reduce", "--config", r#"{"aggregate": "sun"}"#], 0);
    assert_says(
        &wrong.stdout,
        &["fields          not known with these settings", "`sun`"],
    );
    let not_json = inspect(&["builtin:reduce", "--config", "field=n"], 2).stderr;
    assert_says(&not_json, &["settings are a JSON object, such as"]);
    let unnamed = inspect(&["reduce"], 1).stderr;
    assert_says(
        &unnamed,
        &["cannot read reduce", "the built-in operator is `builtin:reduce`"],
    );
}

#[test]
fn where_nothing_comes_out_there_is_no_latency() {
    let folder = Folder::with_pipeline(PIPELINE);
    folder.write("readings.jsonl", "");
    let ran = folder.dirigo(&["run", "pipeline.toml"]).expect(0);
    assert_says(&ran.stderr, &["no latency: no event reached a sink"]);
}

#[test]
fn what_is_compiled_is_said_the_first_time() {
    let folder = Folder::with_pipeline(&PIPELINE.replace(
        "[[sink]]",
        "[[operator]]\nid = \"op\"\ncomponent = \"builtin:filter\"\nconfig = { field = \"n\", min = 0 }\n[[sink]]",
    ));
    folder.write("readings.jsonl", "{\"n\":1}\n");
    let says = |cache: &str, command: &str| {
        let ran = folder
            .dirigo(&[command, "--cache-dir", cache, "pipeline.toml"])
            .expect(0);
        let said = ran.stderr.lines().find(|line| line.starts_with("compiling"));
        said.map(str::to_owned)
    };
    let first = "compiling builtin:filter (first use; cached afterwards)";
    assert_eq!(says("cache", "check").as_deref(), Some(first));
    assert_eq!(says("cache", "run"), None);
    let always = "compiling builtin:filter (there is no cache: at every start)";
    assert_eq!(says("off", "run").as_deref(), Some(always));
}

#[test]
fn a_pipeline_file_that_is_named_twice_runs_once() {
    let folder = Folder::with_pipeline(PIPELINE);
    folder.write("readings.jsonl", "{\"n\":1}\n");
    let ran = folder.dirigo(&[
        "run",
        "pipeline.toml",
        "./pipeline.toml",
        "--summary-json",
        "summary.json",
    ]);
    ran.expect(0);
    let summary: serde_json::Value = serde_json::from_str(&folder.read("summary.json")).unwrap();
    assert_eq!(summary["pipelines"].as_array().unwrap().len(), 1);
}

#[test]
fn a_file_in_place_of_a_directory_or_of_a_pipeline_file_is_said_to_be_one() {
    let folder = Folder::with_pipeline(PIPELINE);
    folder.write("readings.jsonl", "{\"n\":1}\n");
    let ran = folder
        .dirigo(&["run", "pipeline.toml", "--state", "pipeline.toml"])
        .expect(78);
    assert_says(&ran.stderr, &["`--state pipeline.toml`: this is a file", "a directory"]);
    let ran = folder.dirigo(&["run", "."]).expect(78);
    assert_says(&ran.stderr, &["such as `./pipeline.toml`"]);
    folder.write("p.dead.jsonl", "");
    let ran = folder.dirigo(&["dead-letters", "retry", "p.dead.jsonl"]).expect(1);
    assert_says(
        &ran.stderr,
        &["p.dead.jsonl holds dead letters", "the file of their pipeline"],
    );
}

#[test]
fn a_run_whose_standard_error_takes_nothing_comes_to_its_end() {
    let folder = Folder::with_pipeline(PIPELINE);
    folder.write("readings.jsonl", "{\"n\":1}\n");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = command(&folder.path(""));
    command.args(["run", "pipeline.toml"]).stderr(full);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    assert_eq!(output.stdout, b"{\"n\":1}\n");
}
