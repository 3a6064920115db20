//! What `-s` changes, and what is said of one that cannot be followed.

use std::time::Duration;

use serde_json::json;

use super::{TestFolder, assert_says, spec, with_operator};
use dirigo_connectors::file::{FileFormat, LinesSpec};
use dirigo_connectors::generator::GeneratorSpec;
use dirigo_pipeline::*;

fn base() -> String {
    with_operator("component = \"builtin:map\"\nconfig = { field = \"value\", scale = 1.8 }")
}

fn overridden(overrides: &[&str]) -> Pipeline {
    TestFolder::new()
        .parse(&base(), overrides)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .pipeline
}

fn refused(given: &str) -> String {
    TestFolder::new().parse(&base(), &[given]).unwrap_err().render(false)
}

#[test]
fn an_override_sets_a_key_that_is_written_or_not() {
    let pipeline = overridden(&[
        "pipeline.slo=50ms",
        "operator.o.config.scale=2",
        "operator.0.config.nested.deep = [1, \"x\"]",
        "operator.o.limits.memory=1MiB",
        "source.s.count=7",
        "dead_letters.path=dead.jsonl",
    ]);
    assert_eq!(pipeline.slo, Some(Duration::from_millis(50)));
    let config = json!({ "field": "value", "scale": 2, "nested": { "deep": [1, "x"] } });
    assert_eq!(pipeline.operators[0].config, config);
    assert_eq!(pipeline.operators[0].limits.memory, 1 << 20);
    assert_eq!(spec::<GeneratorSpec>(&*pipeline.sources[0].spec).count, Some(7));
}

#[test]
fn the_last_override_of_a_key_wins() {
    assert_eq!(overridden(&["pipeline.name=a", "pipeline.name=b"]).name, "b");
}

#[test]
fn a_relative_path_in_an_override_starts_from_the_pipeline_files_folder() {
    let folder = TestFolder::new();
    let given = ["sink.out.kind=file", "sink.out.path=over.jsonl"];
    let pipeline = folder.parse(&base(), &given).unwrap().pipeline;
    let path = folder.path("over.jsonl");
    assert_eq!(
        spec::<LinesSpec>(&*pipeline.sinks[0].spec),
        &LinesSpec {
            path,
            format: FileFormat::Jsonl,
            if_exists: None
        }
    );
}

#[test]
fn an_override_may_hold_an_equals_sign_and_quoted_keys() {
    let pipeline = overridden(&["operator.o.config.\"a.b=c\"='x=y'", "operator.o.config.raw=k=v"]);
    assert_eq!(pipeline.operators[0].config["a.b=c"], "x=y");
    assert_eq!(pipeline.operators[0].config["raw"], "k=v");
}

#[test]
fn an_unknown_id_is_told_which_there_are() {
    assert_says(
        &refused("operator.p.config.scale=2"),
        &[
            "no operator is called `p`",
            "in `-s operator.p.config.scale=2`",
            "there are `o`",
        ],
    );
    assert_says(
        &refused("operator.3.config.scale=2"),
        &["`operator` has no item 3", "1 items, counted from 0"],
    );
    assert_says(&refused("test.x.name=y"), &["the file has no `[[test]]`"]);
    assert_says(
        &refused("operator.o.component.x=y"),
        &["`operator.o.component` is not a table"],
    );
}

#[test]
fn a_wrong_value_names_the_override_and_no_line() {
    let said = refused("operator.o.shards=many");
    assert_says(
        &said,
        &[
            "expected a whole number, found the string \"many\"",
            "in `-s operator.o.shards=many`",
        ],
    );
    assert!(!said.contains("pipeline.toml"), "{said}");
    let problems = TestFolder::new().parse(&base(), &["pipeline.slow=1s"]).unwrap_err();
    let expected = json!([{
        "severity": "error",
        "message": "unknown key `slow` in `[pipeline]` (in `-s pipeline.slow=1s`)",
        "file": null,
        "line": null,
        "column": null,
        "help": "did you mean `slo`?",
    }]);
    assert_eq!(serde_json::to_value(problems).unwrap(), expected);
}

#[test]
fn an_override_without_a_key_or_a_value_is_refused() {
    let error = |text| Override::parse(text).unwrap_err().to_string();
    assert!(error("pipeline.slo").contains("has no `=`"));
    assert!(error("=5").contains("not a path of keys"));
    assert!(error("a b=5").contains("not a path of keys"));
    assert!(error("pipeline=5").contains("such as pipeline.slo"));
    assert!(error("operator.map-1=5").contains("such as source.readings.path"));
    assert_eq!(
        "pipeline.slo = 50ms ".parse::<Override>().unwrap().text(),
        "pipeline.slo = 50ms"
    );
}
