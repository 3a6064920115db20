//! What is promised of the sinks, said before the first event.

use dirigo::pipeline::Pipeline;
use dirigo::runtime::Guarantee;
use serde_json::{Value, json};

/// What is promised of the sinks of some pipelines, a line for each. Where nothing outlives the run, that is said instead, once.
pub(crate) fn of_run(pipelines: &[(&Pipeline, Vec<Guarantee>)], keeps_state: bool) -> Vec<String> {
    if keeps_state {
        return lines(pipelines, "guarantee");
    }
    vec!["guarantee: none beyond this run: without `--state` the next one starts anew".to_owned()]
}

/// The same, of runs that are to keep state.
pub(crate) fn of_check(pipelines: &[(&Pipeline, Vec<Guarantee>)]) -> Vec<String> {
    lines(pipelines, "guarantee with `--state`")
}

fn lines(pipelines: &[(&Pipeline, Vec<Guarantee>)], start: &str) -> Vec<String> {
    let told = |pipeline: &Pipeline, guarantee: &Guarantee| {
        if pipelines.len() == 1 {
            format!("{start}: {guarantee}")
        } else {
            format!("{start}: pipeline `{}`: {guarantee}", pipeline.name)
        }
    };
    let of_pipeline = |(pipeline, guarantees): &(&Pipeline, Vec<Guarantee>)| -> Vec<String> {
        guarantees.iter().map(|guarantee| told(pipeline, guarantee)).collect()
    };
    pipelines.iter().flat_map(of_pipeline).collect()
}

/// The same as findings of `check`.
pub(crate) fn findings(pipeline: &Pipeline, guarantees: &[Guarantee]) -> Vec<Value> {
    let finding = |guarantee: &Guarantee| {
        json!({
            "severity": "note",
            "message": format!("guarantee with `--state`: {guarantee}"),
            "file": pipeline.file,
            "line": null,
            "column": null,
            "help": null,
            "guarantee": guarantee,
        })
    };
    guarantees.iter().map(finding).collect()
}
