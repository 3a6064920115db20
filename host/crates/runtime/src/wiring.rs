//! The edges of a pipeline's graph.

use std::collections::BTreeSet;
use std::sync::Arc;

use dirigo_actor::{NamedEdges, Operator, OperatorOptions, PipelineContext};
use dirigo_engine::{Component, Setup};
use dirigo_flow::{Edge, EventSink, Receiver};
use dirigo_ground::lineage::SourceIndex;
use dirigo_pipeline::{EventOrder, Input, Pipeline, Window};
use dirigo_state::EntryForm;

/// The operators of `pipeline`, connected, and for each source the edges that lead from it.
pub(super) fn connect(
    pipeline: &Pipeline,
    context: &Arc<PipelineContext>,
    components: Vec<(Component, Setup)>,
    event_sinks: &[Arc<EventSink>],
    workers: u32,
) -> (Vec<Arc<Operator>>, Vec<Arc<Vec<Edge>>>) {
    let mut operators: Vec<Arc<Operator>> = Vec::new();
    // Backwards: an operator is made with the edges to what comes after it, which stands behind it.
    let all = pipeline.operators.iter().zip(components).enumerate().rev();
    for (index, (operator, (component, setup))) in all {
        let edges = edges_from(pipeline, Input::Operator(index), &operators, event_sinks);
        let late_edges = edges_from(pipeline, Input::Late(index), &operators, event_sinks);
        let named_edges = operator
            .read_outputs
            .iter()
            .enumerate()
            .map(|(output, name)| NamedEdges {
                name: name.clone(),
                edges: edges_from(
                    pipeline,
                    Input::Named {
                        operator: index,
                        output,
                    },
                    &operators,
                    event_sinks,
                ),
            });
        let options = OperatorOptions {
            operator: operator.clone(),
            component,
            setup: setup.with_quota(&context.instances.quota),
            workers,
            late_edges,
            named_edges: named_edges.collect(),
        };
        operators.insert(0, Operator::new(context.clone(), options, edges));
    }
    let sources = 0..pipeline.sources.len();
    let from_sources = sources
        .map(|index| Arc::new(edges_from(pipeline, Input::Source(index), &operators, event_sinks)))
        .collect();
    (operators, from_sources)
}

/// The edges that lead from `from`; `made` are the last operators of the pipeline.
fn edges_from(pipeline: &Pipeline, from: Input, made: &[Arc<Operator>], event_sinks: &[Arc<EventSink>]) -> Vec<Edge> {
    let first_made = pipeline.operators.len() - made.len();
    let operators = pipeline.operators.iter().enumerate().skip(first_made);
    let to_operators =
        operators.flat_map(|(index, operator)| edges_to(&operator.inputs, from, &made[index - first_made]));
    let sinks = pipeline.sinks.iter().zip(event_sinks);
    let to_sinks = sinks.flat_map(|(sink, event_sink)| edges_to(&sink.inputs, from, event_sink));
    to_operators.chain(to_sinks).collect()
}

fn edges_to<R: Receiver + 'static>(inputs: &[Input], from: Input, receiver: &Arc<R>) -> Vec<Edge> {
    let count = u32::try_from(inputs.len()).expect("a pipeline file bounds the number of inputs");
    let matching = (0..).zip(inputs).filter(|(_, input)| **input == from);
    matching
        .map(|(index, _)| Edge::new(receiver.clone(), index, count))
        .collect()
}

/// For each operator the sources whose events can come to it.
pub(super) fn sources_of_operators(pipeline: &Pipeline) -> Vec<BTreeSet<SourceIndex>> {
    let mut of_operators: Vec<BTreeSet<SourceIndex>> = Vec::new();
    for operator in &pipeline.operators {
        let sources = sources_of(&operator.inputs, &of_operators, &of_operators);
        of_operators.push(sources);
    }
    of_operators
}

/// What is kept of a key of the operator of that name.
pub(super) fn entry_form(pipeline: &Pipeline, operator: &str) -> EntryForm {
    let mut operators = pipeline.operators.iter();
    let found = operators.find(|candidate| candidate.id == operator);
    found.map_or(EntryForm::Window, |operator| form(operator.window, operator.order))
}

/// What is kept of a key of an operator with this window, or this order.
pub(super) fn form(window: Option<Window>, order: Option<EventOrder>) -> EntryForm {
    match window {
        _ if order.is_some() => EntryForm::Keyed,
        Some(Window::Time(_)) => EntryForm::Segments,
        Some(Window::Count(_) | Window::Global { .. }) | None => EntryForm::Window,
    }
}

/// The names of the lines: of the sources, then of the operators that go by event time.
pub(super) fn line_ids(pipeline: &Pipeline) -> impl Iterator<Item = &String> {
    let timed = pipeline.operators.iter().filter(|operator| operator.goes_by_time());
    let sources = pipeline.sources.iter().map(|source| &source.id);
    sources.chain(timed.map(|operator| &operator.id))
}

/// For each sink the sources whose events can come to it.
pub(super) fn sources_of_sinks(pipeline: &Pipeline) -> Vec<Vec<SourceIndex>> {
    let of_operators = sources_of_operators(pipeline);
    let sinks = pipeline.sinks.iter();
    sinks
        .map(|sink| {
            sources_of(&sink.inputs, &of_operators, &of_operators)
                .into_iter()
                .collect()
        })
        .collect()
}

/// The lines of a pipeline: what comes of its sources, and of its operators that go by event time, each of which has one of its own.
pub(super) struct Lines {
    /// For each operator the lines that come to it.
    pub(super) into_operators: Vec<Vec<SourceIndex>>,
    /// For each sink the same.
    pub(super) into_sinks: Vec<Vec<SourceIndex>>,
    /// For each operator its own line, if it goes by event time.
    pub(super) own: Vec<Option<SourceIndex>>,
}

impl Lines {
    pub(super) fn of(pipeline: &Pipeline) -> Self {
        let mut next = index(pipeline.sources.len());
        let mut own = Vec::new();
        let (mut into_operators, mut out_of_operators) = (Vec::new(), Vec::new());
        for operator in &pipeline.operators {
            let into = sources_of(&operator.inputs, &out_of_operators, &into_operators);
            let line = operator.goes_by_time().then_some(next);
            next += SourceIndex::from(line.is_some());
            let mut out = BTreeSet::from_iter(line);
            // What a process makes of events as they arrive bears their lines, and so has a result that an event brings; what timers and windows
            // that close put out bears their own.
            let by_events = operator.window.is_some_and(Window::has_results_by_events);
            if line.is_none() || by_events || operator.order == Some(EventOrder::Arrival) {
                out.extend(&into);
            }
            out_of_operators.push(out);
            into_operators.push(into);
            own.push(line);
        }
        let sinks = pipeline.sinks.iter();
        let into_sinks = sinks.map(|sink| sources_of(&sink.inputs, &out_of_operators, &into_operators));
        Self {
            into_sinks: into_sinks.map(|lines| lines.into_iter().collect()).collect(),
            into_operators: into_operators
                .into_iter()
                .map(|lines| lines.into_iter().collect())
                .collect(),
            own,
        }
    }

    /// The operators that go by event time, by their places, each with its line.
    pub(super) fn timed(&self) -> impl Iterator<Item = (usize, SourceIndex)> {
        self.own
            .iter()
            .enumerate()
            .filter_map(|(place, line)| Some((place, (*line)?)))
    }

    /// For each source whether an operator that goes by event time is behind it.
    pub(super) fn are_timed(&self, pipeline: &Pipeline) -> Vec<bool> {
        let of_operators = sources_of_operators(pipeline);
        let is_timed = |source: SourceIndex| self.timed().any(|(place, _)| of_operators[place].contains(&source));
        (0..index(pipeline.sources.len())).map(is_timed).collect()
    }
}

fn index(place: usize) -> SourceIndex {
    SourceIndex::try_from(place).expect("a pipeline file bounds the number of sources")
}

/// The sources behind `inputs`. Of the operators among them, which stand in topological order, it is known what comes out of them, and what
/// comes to them: from there is what is late.
fn sources_of(
    inputs: &[Input],
    out_of_operators: &[BTreeSet<SourceIndex>],
    into_operators: &[BTreeSet<SourceIndex>],
) -> BTreeSet<SourceIndex> {
    let mut sources = BTreeSet::new();
    for input in inputs {
        match *input {
            Input::Source(index) => {
                sources.insert(self::index(index));
            }
            Input::Operator(index) | Input::Named { operator: index, .. } => sources.extend(&out_of_operators[index]),
            Input::Late(index) => sources.extend(&into_operators[index]),
        }
    }
    sources
}
