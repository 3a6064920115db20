//! What is wrong with a pipeline file, as clients get it.

use dirigo_api::{Finding, Problem};
use dirigo_pipeline::Diagnostics;

/// The findings.
pub(crate) fn findings_of(problems: &Diagnostics) -> Vec<Finding> {
    let json = serde_json::to_value(problems).expect("findings are plain JSON");
    serde_json::from_value(json).expect("findings have these fields")
}

/// A refusal for what is wrong with the pipeline file.
pub(crate) fn problem_of(error: &str, problems: &Diagnostics) -> Problem {
    Problem {
        error: error.to_owned(),
        help: None,
        findings: findings_of(problems),
        rendered: problems.render(false),
    }
}
