//! Inputs, their defaults, and the order of operators.

use super::{assert_says, good, refused};
use dirigo_pipeline::*;

const HEAD: &str = "[pipeline]\nname = \"p\"\n";

fn source(id: &str) -> String {
    format!("[[source]]\nid = \"{id}\"\nkind = \"generator\"\ntime = \"/ts\"\n")
}

fn operator(id: &str, inputs: &str) -> String {
    format!("[[operator]]\nid = \"{id}\"\ncomponent = \"builtin:map\"\n{inputs}\n")
}

fn sink(id: &str, inputs: &str) -> String {
    format!("[[sink]]\nid = \"{id}\"\nkind = \"null\"\n{inputs}\n")
}

fn file(items: &[String]) -> String {
    format!("{HEAD}{}", items.concat())
}

fn ids(pipeline: &Pipeline) -> Vec<&str> {
    pipeline.operators.iter().map(|operator| operator.id.as_str()).collect()
}

#[test]
fn the_default_input_is_the_item_listed_before_whatever_its_table() {
    let text = file(&[
        source("a"),
        operator("x", ""),
        sink("of-x", ""),
        source("b"),
        sink("of-b", ""),
        operator("y", ""),
        sink("of-y", ""),
        sink("of-y-too", ""),
    ]);
    let pipeline = good(&text).pipeline;
    let inputs: Vec<_> = pipeline
        .operators
        .iter()
        .map(|operator| operator.inputs.as_slice())
        .collect();
    assert_eq!(inputs, [[Input::Source(0)], [Input::Source(1)]]);
    let inputs: Vec<_> = pipeline.sinks.iter().map(|sink| sink.inputs.as_slice()).collect();
    assert_eq!(
        inputs,
        [
            [Input::Operator(0)],
            [Input::Source(1)],
            [Input::Operator(1)],
            [Input::Operator(1)]
        ]
    );
}

#[test]
fn operators_are_ordered_by_their_inputs_and_else_as_in_the_file() {
    let text = file(&[
        source("s"),
        operator("last", "inputs = [\"middle\", \"other\"]"),
        operator("other", "inputs = [\"s\"]"),
        operator("middle", "inputs = [\"first\"]"),
        operator("first", "inputs = [\"s\"]"),
        sink("out", "inputs = [\"last\"]"),
    ]);
    let pipeline = good(&text).pipeline;
    assert_eq!(ids(&pipeline), ["other", "first", "middle", "last"]);
    assert_eq!(pipeline.operators[3].inputs, [Input::Operator(2), Input::Operator(0)]);
    assert_eq!(pipeline.sinks[0].inputs, [Input::Operator(3)]);
}

#[test]
fn a_cycle_is_named_in_the_direction_of_the_events() {
    let said = refused(&file(&[
        source("s"),
        operator("a", "inputs = [\"s\", \"c\"]"),
        operator("b", "inputs = [\"a\"]"),
        operator("c", "inputs = [\"b\"]"),
        operator("d", "inputs = [\"e\"]"),
        operator("e", "inputs = [\"d\"]"),
        sink("out", ""),
    ]));
    assert_says(
        &said,
        &[
            "in a circle: a -> b -> c -> a",
            "pipeline.toml:10:10",
            "this closes the circle",
            "help: ",
        ],
    );
    assert_says(&said, &["in a circle: d -> e -> d"]);
}

#[test]
fn an_operator_that_reads_itself_is_refused_once() {
    let said = refused(&file(&[
        source("s"),
        operator("a", "inputs = [\"s\", \"a\"]"),
        sink("out", ""),
    ]));
    assert_says(
        &said,
        &["operator `a` is its own input", ":10:16", "^^^ a cycle of one"],
    );
    assert!(!said.contains("circle"), "{said}");
}

#[test]
fn what_nobody_reads_is_a_warning() {
    let text = file(&[
        source("s"),
        source("t"),
        operator("x", ""),
        operator("y", "inputs = [\"t\"]"),
        sink("out", ""),
    ]);
    let warnings = good(&text).warnings;
    let messages: Vec<&str> = warnings.iter().map(Diagnostic::message).collect();
    assert_eq!(messages, ["nothing reads source `s`", "nothing reads operator `x`"]);
    assert_eq!(warnings.count(Severity::Warning), 2);
}

#[test]
fn an_item_with_nothing_before_it_needs_inputs() {
    let said = refused(&file(&[sink("out", ""), source("s")]));
    assert_says(
        &said,
        &[
            "error: sink `out` has no input",
            "no source or operator is listed before it",
            "help: ",
        ],
    );
}

#[test]
fn an_unknown_input_is_told_which_ids_there_are() {
    let said = refused(&file(&[
        source("readings"),
        operator("x", ""),
        sink("out", "inputs = [\"reading\"]"),
    ]));
    let parts = [
        "no source or operator `reading`",
        ":14:11",
        "did you mean `readings`? there are `readings` and `x`",
    ];
    assert_says(&said, &parts);
}

#[test]
fn a_sink_is_no_input() {
    let said = refused(&file(&[
        source("s"),
        sink("out", ""),
        operator("x", "inputs = [\"out\"]"),
        sink("end", ""),
    ]));
    assert_says(&said, &["sink `out` cannot be an input", "a sink has no output"]);
}

#[test]
fn an_input_is_named_once() {
    let said = refused(&file(&[source("s"), sink("out", "inputs = [\"s\", \"s\"]")]));
    assert_says(&said, &["sink `out` names `s` twice", "again here", "first here"]);
    let said = refused(&file(&[source("s"), sink("out", "inputs = []")]));
    assert_says(&said, &["sink `out` has no input", "empty"]);
}

#[test]
fn an_id_that_two_items_share_is_shown_at_both() {
    let said = refused(&file(&[source("s"), operator("s", ""), sink("out", "")]));
    assert_says(
        &said,
        &[
            "two items have the id `s`",
            "first, the id of a source",
            "this operator needs an id of its own",
        ],
    );
    let said = refused(&file(&[source("s"), operator("o", ""), sink("o", "")]));
    assert_says(&said, &["first, the id of an operator"]);
}

#[test]
fn what_is_late_for_windows_in_time_can_be_an_input() {
    let windows = |id: &str, window: &str| {
        format!("[[operator]]\nid = \"{id}\"\ncomponent = \"builtin:reduce\"\nwindow = {window}\ninputs = [\"s\"]\n")
    };
    let late = |inputs: &str| {
        file(&[
            source("s"),
            windows("days", "{ tumbling = \"1d\" }"),
            windows("fives", "{ count = 5 }"),
            sink("out", "inputs = [\"days\", \"fives\"]"),
            sink("late", inputs),
        ])
    };
    let pipeline = good(&late("inputs = [\"days.late\"]")).pipeline;
    assert_eq!(pipeline.sinks[1].inputs, [Input::Late(0)]);
    assert_says(
        &refused(&late("inputs = [\"fives.late\"]")),
        &["nothing is late for `fives`", "it does not go by event time"],
    );
    assert_says(&refused(&late("inputs = [\"s.late\"]")), &["nothing is late for `s`"]);
    assert_says(
        &refused(&late("inputs = [\"day.late\"]")),
        &["there is no operator `day`", "did you mean `days`?"],
    );
    let own = file(&[
        source("s"),
        windows("days", "{ tumbling = \"1d\" }").replace("[\"s\"]", "[\"s\", \"days.late\"]"),
        sink("out", ""),
    ]);
    assert_says(&refused(&own), &["operator `days` is its own input"]);
}

#[test]
fn what_an_operator_puts_out_under_a_name_can_be_an_input() {
    let named = |inputs: &str| {
        file(&[
            source("s"),
            operator("sort", "inputs = [\"s\", \"classify.too-hot\"]"),
            operator("classify", "inputs = [\"s\"]"),
            sink("out", "inputs = [\"classify\", \"sort\"]"),
            sink("more", inputs),
        ])
    };
    let pipeline = good(&named("inputs = [\"classify.cold\", \"classify.too-hot\"]")).pipeline;
    assert_eq!(ids(&pipeline), ["classify", "sort"], "what reads it stands behind it");
    let input = |output| Input::Named { operator: 0, output };
    assert_eq!(pipeline.operators[0].read_outputs, ["too-hot", "cold"]);
    assert_eq!(pipeline.operators[1].inputs, [Input::Source(0), input(0)]);
    assert_eq!(pipeline.sinks[1].inputs, [input(1), input(0)]);

    let said = |inputs: &str| refused(&named(inputs));
    assert_says(
        &said("inputs = [\"clasify.cold\"]"),
        &["there is no operator `clasify`", "did you mean `classify`?"],
    );
    assert_says(
        &said("inputs = [\"s.cold\"]"),
        &["source `s` has no outputs with names", "no operator"],
    );
    assert_says(
        &said("inputs = [\"classify.too hot\"]"),
        &["\"too hot\" cannot be the name of an output", "it contains ' '"],
    );
    assert_says(
        &said("inputs = [\"classify.cold\", \"classify.cold\"]"),
        &["sink `more` names `classify.cold` twice"],
    );
    let own = file(&[
        source("s"),
        operator("x", "inputs = [\"s\", \"x.again\"]"),
        sink("out", ""),
    ]);
    assert_says(&refused(&own), &["operator `x` is its own input"]);
    let circle = file(&[
        source("s"),
        operator("x", "inputs = [\"s\", \"y.again\"]"),
        operator("y", "inputs = [\"x\"]"),
        sink("out", ""),
    ]);
    assert_says(
        &refused(&circle),
        &["operators feed each other in a circle: x -> y -> x"],
    );
}

#[test]
fn an_operator_of_which_something_reads_a_named_output_alone_is_noted() {
    let text = file(&[source("s"), operator("x", ""), sink("out", "inputs = [\"x.some\"]")]);
    let said = good(&text).warnings.render(false);
    assert_says(&said, &["note: nothing reads the own output of operator `x`"]);
    assert!(!said.contains("warning"), "{said}");
}
