//! Whether operators have the outputs that a pipeline file reads by their names, and which others they have. Where the file is read no component is
//! known yet.

use dirigo_engine::{Component, Kind, Setup};
use dirigo_pipeline::{Diagnostics, Input, Loaded, Operator, Severity, suggestion};

/// The inputs that no operator puts out.
pub(super) fn problems(loaded: &Loaded, components: &[(Component, Setup)]) -> Diagnostics {
    let mut problems = Diagnostics::default();
    let operators = loaded.pipeline.operators.iter();
    let readers = operators.map(|operator| (&operator.id, &operator.inputs));
    let sinks = loaded.pipeline.sinks.iter().map(|sink| (&sink.id, &sink.inputs));
    for (reader, inputs) in readers.chain(sinks) {
        for (place, input) in inputs.iter().enumerate() {
            let Input::Named { operator, output } = *input else {
                continue;
            };
            let (read, (component, setup)) = (&loaded.pipeline.operators[operator], &components[operator]);
            if let Some((message, label, help)) = unknown(read, &read.read_outputs[output], component, setup) {
                let key = format!("inputs.{place}");
                problems.append(loaded.error_at(reader, &key, &message, &label, help.as_deref()));
            }
        }
    }
    problems
}

/// What is wrong with the name of an output of an operator, if that is known: a message, a label and help.
fn unknown(
    operator: &Operator,
    output: &str,
    component: &Component,
    setup: &Setup,
) -> Option<(String, String, Option<String>)> {
    let (id, kind) = (&operator.id, component.kind());
    if kind != Kind::Process {
        let message = format!("`{id}` is a `{kind}` operator");
        return Some((message, "outputs with names are for `process` operators".into(), None));
    }
    // One that opens while the run goes on is looked at then.
    let names: Vec<&str> = setup
        .schema
        .as_ref()?
        .named
        .iter()
        .map(|named| named.name.as_str())
        .collect();
    if names.contains(&output) {
        return None;
    }
    let message = format!("operator `{id}` has no output `{output}`");
    if names.is_empty() {
        let label = format!("its component, `{}`, has no outputs with names", operator.component);
        return Some((message, label, None));
    }
    let help = suggestion(output, &names, "it has");
    Some((message, "unknown output".into(), Some(help)))
}

/// Notes on outputs with names that nothing reads.
pub(super) fn unread(loaded: &Loaded, components: &[(Component, Setup)]) -> Diagnostics {
    let mut notes = Diagnostics::default();
    for (operator, (_, setup)) in loaded.pipeline.operators.iter().zip(components) {
        let named = setup.schema.iter().flat_map(|schema| &schema.named);
        for output in named.filter(|output| !operator.read_outputs.contains(&output.name)) {
            let (id, name) = (&operator.id, &output.name);
            let message = format!("nothing reads the output `{name}` of operator `{id}`");
            let help = format!("name `{id}.{name}` in the `inputs` of an operator or a sink");
            let label = "what it puts out under this name goes nowhere";
            let index = loaded.span_index();
            notes.append(index.problem_at(Severity::Note, id, "id", &message, label, Some(&help)));
        }
    }
    notes
}
