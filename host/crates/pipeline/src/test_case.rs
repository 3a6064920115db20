//! Checks of the cases for `dirigo test`.
//!
//! Owns where their events enter and leave. Does not run them.

use std::collections::HashMap;

use super::config::Translation;
use super::diagnostic::Diagnostic;
use super::model::{Test, TestEvent};
use super::name::Name;
use super::section::{At, Field};
use super::span::{Origin, Span};
use super::validate::{Validation, list};
use super::{raw, suggest};

pub(super) fn validate_all(raw: &raw::File, validation: &mut Validation<'_>) -> Vec<Test> {
    let sources: Vec<&str> = list(&raw.source).iter().filter_map(|at| name(&at.value.id)).collect();
    let sinks: Vec<&str> = list(&raw.sink).iter().filter_map(|at| name(&at.value.id)).collect();
    let ends = Ends { sources, sinks };
    let mut seen = HashMap::new();
    let cases = list(&raw.test).iter();
    cases
        .filter_map(|at| validate(&at.value, &ends, &mut seen, validation))
        .collect()
}

/// Where events may enter and leave.
struct Ends<'a> {
    sources: Vec<&'a str>,
    sinks: Vec<&'a str>,
}

fn name(id: &Field<Name>) -> Option<&str> {
    id.given().map(|at| at.value.0.as_str())
}

fn validate<'a>(
    raw: &'a raw::Test,
    ends: &Ends<'_>,
    seen: &mut HashMap<&'a str, Span>,
    validation: &mut Validation<'_>,
) -> Option<Test> {
    let problems = &mut validation.problems;
    let name = raw
        .name
        .required("name", "\"what it shows\"", raw.place, "the test", problems);
    if let Some(at) = name
        && let Some(first) = seen.insert(at.value.as_str(), at.place)
    {
        problems.push(
            Diagnostic::error(format!("two tests are called {:?}", at.value))
                .at(at.place, "again here")
                .also(first, "first here"),
        );
    }
    let input = raw
        .input
        .required("input", "[{ value = { … } }]", raw.place, "the test", problems);
    let output = raw
        .output
        .required("output", "[{ value = { … } }]", raw.place, "the test", problems);
    let input = input.map(|at| events(&at.value, "source", &ends.sources, validation));
    let output = output.map(|at| events(&at.value, "sink", &ends.sinks, validation));
    let line = match raw.place.origin {
        Origin::File => validation.texts.line_and_column(raw.place.start).0,
        Origin::Override(_) => 1,
    };
    Some(Test {
        name: name?.value.clone(),
        input: input?,
        output: output?,
        line,
    })
}

fn events(raw: &[At<raw::Event>], end: &str, ids: &[&str], validation: &mut Validation<'_>) -> Vec<TestEvent> {
    raw.iter()
        .filter_map(|at| event(&at.value, end, ids, validation))
        .collect()
}

fn event(raw: &raw::Event, end: &str, ids: &[&str], validation: &mut Validation<'_>) -> Option<TestEvent> {
    let at = place_of_event(raw, end, ids, validation);
    let value = raw
        .value
        .required("value", "{ … }", raw.place, "the event", &mut validation.problems)?;
    let mut translation = Translation {
        outside: None,
        problems: &mut validation.problems,
    };
    Some(TestEvent {
        value: translation.value(&value.value.0),
        at: at?,
    })
}

fn place_of_event(raw: &raw::Event, end: &str, ids: &[&str], validation: &mut Validation<'_>) -> Option<String> {
    let problem = match (raw.at.given(), ids) {
        (Some(at), _) if ids.contains(&at.value.as_str()) => return Some(at.value.clone()),
        (Some(at), _) => Diagnostic::error(format!("there is no {end} `{}`", at.value))
            .at(at.place, format!("not the id of a {end}"))
            .help_if((!validation.problems.is_full()).then(|| suggest::help(&at.value, ids, "there are"))),
        (None, [only]) if raw.at.is_absent() => return Some((*only).to_owned()),
        // Without any source or sink the pipeline is refused for that.
        (None, _) if ids.is_empty() || !raw.at.is_absent() => return None,
        (None, _) => Diagnostic::error(format!("the event does not say at which {end}"))
            .at(raw.place, "`at` is missing")
            .help(format!("add `at`: there are {}", suggest::listed(ids))),
    };
    validation.problems.push(problem);
    None
}
