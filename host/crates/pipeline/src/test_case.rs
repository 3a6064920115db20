//! Checks of the cases for `dirigo test`.
//!
//! Owns where their events enter and leave, and which dead letters may come. Does not run them.

use std::collections::HashMap;

use super::choice::Word;
use super::config::{Any, Translation};
use super::diagnostic::Diagnostic;
use super::model::{ExpectedDeadLetter, Test, TestEntry, TestEvent, TestInput};
use super::name::Name;
use super::section::{At, Field};
use super::span::{Origin, Span};
use super::validate::{Validation, list};
use super::{raw, suggest};

pub(super) fn validate_all(raw: &raw::File, validation: &mut Validation<'_>) -> Vec<Test> {
    let sources: Vec<&str> = list(&raw.source).iter().filter_map(|at| name(&at.value.id)).collect();
    let operators = list(&raw.operator).iter().filter_map(|at| name(&at.value.id));
    let nodes = sources.iter().copied().chain(operators).collect();
    let sinks: Vec<&str> = list(&raw.sink).iter().filter_map(|at| name(&at.value.id)).collect();
    let ids = Ids { sources, nodes, sinks };
    let mut seen = HashMap::new();
    let cases = list(&raw.test).iter();
    cases
        .filter_map(|at| validate(&at.value, &ids, &mut seen, validation))
        .collect()
}

/// What cases may name.
struct Ids<'a> {
    /// Where events enter.
    sources: Vec<&'a str>,
    /// Where they fail: sources and operators.
    nodes: Vec<&'a str>,
    /// Where they leave.
    sinks: Vec<&'a str>,
}

fn name(id: &Field<Name>) -> Option<&str> {
    id.given().map(|at| at.value.0.as_str())
}

fn validate<'a>(
    raw: &'a raw::Test,
    ids: &Ids<'_>,
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
    let input = input.map(|at| each(&at.value, |raw| entry(raw, &ids.sources, validation)));
    let output = output.map(|at| each(&at.value, |raw| event(raw, &ids.sinks, validation)));
    let dead_letters = raw.dead_letters.given();
    let dead_letters = dead_letters.map(|at| each(&at.value, |raw| dead_letter(raw, &ids.nodes, validation)));
    let line = match raw.place.origin {
        Origin::File => validation.texts.line_and_column(raw.place.start).0,
        Origin::Override(_) => 1,
    };
    Some(Test {
        name: name?.value.clone(),
        input: input?,
        output: output?,
        order: raw.order.map(|Word(order)| *order).unwrap_or_default(),
        dead_letters,
        late: raw.late.map(|late| late.to_u64()),
        fuel_per_event_max: raw.max_fuel_per_event.map(|fuel| fuel.to_u64()),
        line,
    })
}

fn each<T, U>(raw: &[At<T>], read: impl FnMut(&T) -> Option<U>) -> Vec<U> {
    raw.iter().map(|at| &at.value).filter_map(read).collect()
}

fn entry(raw: &raw::InputEntry, sources: &[&str], validation: &mut Validation<'_>) -> Option<TestEntry> {
    let at = end(&raw.at, raw.place, "source", sources, validation);
    let input = match (raw.value.given(), raw.watermark.given()) {
        (Some(_), Some(watermark)) => {
            let both = Diagnostic::error("an entry of the input has both a `value` and a `watermark`")
                .at(watermark.place, "next to a value")
                .help(
                    "make two entries of it, `{ value = … }` and `{ watermark = … }`, in the order in which they enter",
                );
            validation.problems.push(both);
            None
        }
        (Some(value), None) => Some(TestInput::Event(json(&value.value, validation))),
        (None, Some(watermark)) => Some(TestInput::Watermark(watermark.value.0)),
        (None, None) => {
            if raw.value.is_absent() && raw.watermark.is_absent() {
                let neither = Diagnostic::error("an entry of the input has neither a `value` nor a `watermark`")
                    .at(raw.place, "`value` is missing")
                    .help(
                        "add `value = { … }` for an event, or `watermark = \"2024-01-01T00:00:00Z\"` for how far event time \
                         has come",
                    );
                validation.problems.push(neither);
            }
            None
        }
    };
    Some(TestEntry { at: at?, input: input? })
}

fn event(raw: &raw::Event, sinks: &[&str], validation: &mut Validation<'_>) -> Option<TestEvent> {
    if let Some(place) = raw.watermark.key() {
        let misplaced = Diagnostic::error("an event of the output has a `watermark`")
            .at(place, "watermarks leave by no sink")
            .help("put `{ watermark = … }` into `input`, and here what leaves when it has come");
        validation.problems.push(misplaced);
        return None;
    }
    let at = end(&raw.at, raw.place, "sink", sinks, validation);
    let value = raw
        .value
        .required("value", "{ … }", raw.place, "the event", &mut validation.problems)?;
    let value = json(&value.value, validation);
    Some(TestEvent { at: at?, value })
}

fn dead_letter(
    raw: &raw::ExpectedDeadLetter,
    nodes: &[&str],
    validation: &mut Validation<'_>,
) -> Option<ExpectedDeadLetter> {
    let problems = &mut validation.problems;
    let operator = raw
        .operator
        .required("operator", "\"map-1\"", raw.place, "the dead letter", problems)?;
    if !nodes.contains(&operator.value.as_str()) {
        let unknown = Diagnostic::error(format!("there is no operator or source `{}`", operator.value))
            .at(operator.place, "not the id of an operator or a source")
            .help_if((!problems.is_full()).then(|| suggest::help(&operator.value, nodes, "there are")));
        problems.push(unknown);
        return None;
    }
    Some(ExpectedDeadLetter {
        operator: operator.value.clone(),
        reason: raw.reason.map(Clone::clone),
        value: raw.value.given().map(|at| json(&at.value, validation)),
    })
}

fn json(value: &Any, validation: &mut Validation<'_>) -> serde_json::Value {
    let mut translation = Translation {
        outside: None,
        problems: &mut validation.problems,
    };
    translation.value(&value.0)
}

/// The source or sink, whichever `what` says, that `at` names.
fn end(at: &Field<String>, place: Span, what: &str, ids: &[&str], validation: &mut Validation<'_>) -> Option<String> {
    let problem = match (at.given(), ids) {
        (Some(at), _) if ids.contains(&at.value.as_str()) => return Some(at.value.clone()),
        (Some(at), _) => Diagnostic::error(format!("there is no {what} `{}`", at.value))
            .at(at.place, format!("not the id of a {what}"))
            .help_if((!validation.problems.is_full()).then(|| suggest::help(&at.value, ids, "there are"))),
        (None, [only]) if at.is_absent() => return Some((*only).to_owned()),
        // Without any source or sink the pipeline is refused for that.
        (None, _) if ids.is_empty() || !at.is_absent() => return None,
        (None, _) => Diagnostic::error(format!("the event does not say at which {what}"))
            .at(place, "`at` is missing")
            .help(format!("add `at`: there are {}", suggest::listed(ids))),
    };
    validation.problems.push(problem);
    None
}
