//! What is promised of the sinks, said before the first event.

use dirigo::pipeline::Pipeline;
use dirigo::runtime::DeliverySemantics;
use serde_json::{Value, json};

/// What is promised of the sinks of some pipelines, a line for each. Where nothing outlives the run, that is said instead, once.
pub(crate) fn of_run(pipelines: &[(&Pipeline, Vec<DeliverySemantics>)], keeps_state: bool) -> Vec<String> {
    if keeps_state {
        return lines(pipelines, "guarantee");
    }
    vec!["guarantee: none beyond this run: without `--state` the next run starts from scratch".to_owned()]
}

/// The same, of runs that are to keep state.
pub(crate) fn of_check(pipelines: &[(&Pipeline, Vec<DeliverySemantics>)]) -> Vec<String> {
    lines(pipelines, "guarantee with `--state`")
}

fn lines(pipelines: &[(&Pipeline, Vec<DeliverySemantics>)], start: &str) -> Vec<String> {
    let described = |pipeline: &Pipeline, semantics: &DeliverySemantics| {
        if pipelines.len() == 1 {
            format!("{start}: {semantics}")
        } else {
            format!("{start}: pipeline `{}`: {semantics}", pipeline.name)
        }
    };
    let of_pipeline = |(pipeline, delivery_semantics): &(&Pipeline, Vec<DeliverySemantics>)| -> Vec<String> {
        delivery_semantics
            .iter()
            .map(|semantics| described(pipeline, semantics))
            .collect()
    };
    pipelines.iter().flat_map(of_pipeline).collect()
}

/// The same as findings of `check`.
pub(crate) fn findings(pipeline: &Pipeline, delivery_semantics: &[DeliverySemantics]) -> Vec<Value> {
    let finding = |semantics: &DeliverySemantics| {
        json!({
            "severity": "note",
            "message": format!("guarantee with `--state`: {semantics}"),
            "file": pipeline.file,
            "line": null,
            "column": null,
            "help": null,
            "guarantee": semantics,
        })
    };
    delivery_semantics.iter().map(finding).collect()
}
