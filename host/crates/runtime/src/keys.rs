//! Whether events have keys where an operator keeps state by key.

use dirigo_engine::{Component, Kind, Setup};
use dirigo_pipeline::{ComponentRef, Diagnostics, Input, Loaded, Operator, Severity};

/// Notes on operators that keep state by key, and whose events have none: all of them share one state, one actor and one worker.
pub(super) fn one_for_all(loaded: &Loaded, components: &[(Component, Setup)]) -> Diagnostics {
    let mut notes = Diagnostics::default();
    // By operator: whether nothing gives a key to the events that leave it.
    let mut leaving: Vec<bool> = Vec::new();
    for (operator, (component, _)) in loaded.pipeline.operators.iter().zip(components) {
        let of_input = |input: &Input| match *input {
            Input::Source(source) => loaded.pipeline.sources[source].key.is_none(),
            Input::Operator(operator) | Input::Late(operator) | Input::Named { operator, .. } => leaving[operator],
        };
        let is_without = operator.key.is_none() && operator.inputs.iter().all(of_input);
        if is_without && component.kind().is_stateful() {
            notes.append(note(loaded, operator, component.kind()));
        }
        leaving.push(is_without && !may_give_keys(operator, component.kind()));
    }
    notes
}

/// Whether the component may give keys of its own to what it puts out. The maps that Dirigo carries do not.
fn may_give_keys(operator: &Operator, kind: Kind) -> bool {
    match kind {
        Kind::Filter | Kind::Reduce => false,
        Kind::Map | Kind::Process => !matches!(operator.component, ComponentRef::Builtin(_)),
    }
}

fn note(loaded: &Loaded, operator: &Operator, kind: Kind) -> Diagnostics {
    let id = &operator.id;
    let message = format!("events of operator `{id}` have no key: all of them count as one");
    let label = match kind {
        Kind::Reduce => "one window for all events, not one for each key",
        _ => "one state for all events, not one for each key",
    };
    let help = "to tell them apart, point `key` of the source or of this operator at a field such as \"/sensor\"";
    loaded
        .span_index()
        .problem_at(Severity::Note, id, "id", &message, label, Some(help))
}
