//! How sources, operators and sinks are connected.
//!
//! Owns the ids, the default inputs, and what is said of wrong ones. Does not know what the items do.

use std::collections::{HashMap, HashSet};

use super::choice::Word;
use super::diagnostic::{Diagnostic, Problems};
use super::model::{EventOrder, Input};
use super::name::Name;
use super::section::{At, Field};
use super::span::Span;
use super::validate::list;
use super::{name, order, raw, suggest};

/// How many operators of a circle are named: more do not fit a line.
const CYCLE_SHOWN_MAX: usize = 12;

/// What stands behind the id of an operator where its late events are meant.
const LATE: &str = ".late";

/// The most paths that lead from a source to one operator or sink, and to all of them together: so often is an event delivered. Ten layers of two operators that each read both of the layer before make a thousand paths, and a layer
/// more doubles them. A pipeline of a thousand operators in a row has as many deliveries.
const PATHS_MAX: u64 = 1_000;
const DELIVERIES_MAX: u64 = 20_000;

/// The connections of a pipeline.
pub(super) struct Wiring {
    /// The operators in topological order.
    pub(super) operators: Vec<WiredOperator>,
    /// The inputs of each sink, in file order.
    pub(super) sinks: Vec<Vec<Input>>,
}

/// The connections of an operator.
pub(super) struct WiredOperator {
    /// Its index in the file.
    pub(super) index: usize,
    /// Its inputs, which count operators in topological order.
    pub(super) inputs: Vec<Input>,
    /// The names of its outputs that something reads, besides its own.
    pub(super) read_outputs: Vec<String>,
}

/// By operator, the names of its outputs that something reads, besides its own.
type ReadOutputs = HashMap<usize, Vec<String>>;

/// A source, an operator or a sink, as far as the graph is concerned.
struct Item<'a> {
    role: Role,
    id: Option<&'a str>,
    /// Where the id stands, or else the header of its table.
    place: Span,
    /// Where its table starts, which is what "listed before" means.
    table: Span,
    inputs: &'a Field<Vec<At<String>>>,
    /// Whether events can come too late for it: it has windows in time, or is handed events in the order of their times.
    has_late: bool,
    /// Whether it asks how far event time has come.
    is_timed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    Source(usize),
    Operator(usize),
    Sink(usize),
}

impl Role {
    fn one(self) -> &'static str {
        match self {
            Role::Source(_) => "a source",
            Role::Operator(_) => "an operator",
            Role::Sink(_) => "a sink",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Role::Source(_) => "source",
            Role::Operator(_) => "operator",
            Role::Sink(_) => "sink",
        }
    }

    /// What it is to those that it feeds; a sink feeds nobody.
    fn as_input(self) -> Option<Input> {
        match self {
            Role::Source(index) => Some(Input::Source(index)),
            Role::Operator(index) => Some(Input::Operator(index)),
            Role::Sink(_) => None,
        }
    }
}

impl Item<'_> {
    fn described(&self) -> String {
        match self.id {
            Some(id) => format!("{} `{id}`", self.role.noun()),
            None => format!("the {}", self.role.noun()),
        }
    }
}

/// Connects the items of a file. What it returns is of use only where no error was reported.
pub(super) fn wire(file: &raw::File, problems: &mut Problems) -> Wiring {
    let items = items(file);
    let names = names(&items, problems);
    let mut edges: HashMap<Role, Vec<Input>> = HashMap::new();
    let mut read_outputs = ReadOutputs::new();
    for (position, item) in items.iter().enumerate() {
        if !matches!(item.role, Role::Source(_)) {
            let inputs = inputs(item, &items[..position], &names, &mut read_outputs, problems);
            edges.insert(item.role, inputs);
        }
    }
    let order = order(file, &items, &edges, problems);
    warn_of_unread(&items, &edges, problems);
    remark_on_unused_time(file, &items, problems);
    bound_paths(&order, &items, &edges, problems);
    numbered(&order, &items, &edges, read_outputs)
}

/// The items in file order. Tables of different names are interleaved as they are written, which only their places
/// tell.
fn items(file: &raw::File) -> Vec<Item<'_>> {
    const NO_INPUTS: &Field<Vec<At<String>>> = &Field::Absent;
    let sources = list(&file.source)
        .iter()
        .enumerate()
        .map(|(index, At { value, .. })| item(Role::Source(index), &value.id, value.place, NO_INPUTS));
    let operators = list(&file.operator)
        .iter()
        .enumerate()
        .map(|(index, At { value, .. })| {
            let has_windows = value.window.given().is_some_and(|window| window.value.is_in_time());
            let order = value.order.map(|Word(order)| *order);
            Item {
                has_late: has_windows || order == Some(EventOrder::Time),
                is_timed: has_windows || order.is_some(),
                ..item(Role::Operator(index), &value.id, value.place, &value.inputs)
            }
        });
    let sinks = list(&file.sink)
        .iter()
        .enumerate()
        .map(|(index, At { value, .. })| item(Role::Sink(index), &value.id, value.place, &value.inputs));
    let mut items: Vec<Item<'_>> = sources.chain(operators).chain(sinks).collect();
    items.sort_by_key(|item| item.table);
    items
}

fn item<'a>(role: Role, id: &'a Field<Name>, table: Span, inputs: &'a Field<Vec<At<String>>>) -> Item<'a> {
    let place = id.given().map_or(table, |at| at.place);
    Item {
        role,
        id: id.given().map(|at| at.value.0.as_str()),
        place,
        table,
        inputs,
        has_late: false,
        is_timed: false,
    }
}

/// The items by id.
fn names<'a>(items: &'a [Item<'a>], problems: &mut Problems) -> HashMap<&'a str, &'a Item<'a>> {
    let mut names: HashMap<&str, &Item<'_>> = HashMap::new();
    for item in items {
        let Some(id) = item.id else {
            continue;
        };
        match names.get(id) {
            None => {
                names.insert(id, item);
            }
            Some(first) => problems.push(
                Diagnostic::error(format!("two items have the id `{id}`"))
                    .at(item.place, format!("this {} needs an id of its own", item.role.noun()))
                    .also(first.place, format!("first, the id of {}", first.role.one()))
                    .help("ids are shared by sources, operators and sinks"),
            ),
        }
    }
    names
}

/// What feeds an operator or a sink.
fn inputs(
    item: &Item<'_>,
    before: &[Item<'_>],
    names: &HashMap<&str, &Item<'_>>,
    read_outputs: &mut ReadOutputs,
    problems: &mut Problems,
) -> Vec<Input> {
    if item.inputs.is_absent() {
        return default_input(item, before, problems).into_iter().collect();
    }
    let Some(At { value: written, place }) = item.inputs.given() else {
        return Vec::new();
    };
    if written.is_empty() {
        problems.push(
            Diagnostic::error(format!("{} has no input", item.described()))
                .at(*place, "empty")
                .help("name a source or an operator, or leave `inputs` out for the one listed before"),
        );
    }
    let mut seen = HashMap::new();
    let mut inputs = Vec::new();
    for at in written {
        if let Some(first) = seen.insert(at.value.as_str(), at.place) {
            problems.push(
                Diagnostic::error(format!("{} names `{}` twice", item.described(), at.value))
                    .at(at.place, "again here")
                    .also(first, "first here"),
            );
        } else if let Some(input) = reference(item, at, names, read_outputs, problems) {
            inputs.push(input);
        }
    }
    inputs
}

/// The nearest source or operator listed before: a sink has no output that could be an input.
fn default_input(item: &Item<'_>, before: &[Item<'_>], problems: &mut Problems) -> Option<Input> {
    let input = before.iter().rev().find_map(|earlier| earlier.role.as_input());
    if input.is_none() {
        problems.push(
            Diagnostic::error(format!("{} has no input", item.described()))
                .at(item.table, "no source or operator is listed before it")
                .help("name its inputs, such as `inputs = [\"readings\"]`, or list it behind one"),
        );
    }
    input
}

fn reference(
    item: &Item<'_>,
    at: &At<String>,
    names: &HashMap<&str, &Item<'_>>,
    read_outputs: &mut ReadOutputs,
    problems: &mut Problems,
) -> Option<Input> {
    let id = at.value.as_str();
    let Some(target) = names.get(id) else {
        if let Some(operator) = id.strip_suffix(LATE) {
            return late(item, operator, at, names, problems);
        }
        if let Some((operator, output)) = id.rsplit_once('.') {
            return named(item, (operator, output), at, names, read_outputs, problems);
        }
        let problem = Diagnostic::error(format!("there is no source or operator `{id}`")).at(at.place, "unknown id");
        let help = (!problems.is_full()).then(|| suggest::help(id, &ids_for(item, names), "there are"));
        problems.push(problem.help_if(help));
        return None;
    };
    let problem = match target.role.as_input() {
        None => Diagnostic::error(format!("sink `{id}` cannot be an input")).at(at.place, "a sink has no output"),
        Some(_) if target.role == item.role => {
            Diagnostic::error(format!("{} is its own input", item.described())).at(at.place, "a cycle of one")
        }
        Some(input) => return Some(input),
    };
    problems.push(problem);
    None
}

/// The events that come too late for the windows of an operator.
fn late(
    item: &Item<'_>,
    operator: &str,
    at: &At<String>,
    names: &HashMap<&str, &Item<'_>>,
    problems: &mut Problems,
) -> Option<Input> {
    let target = names.get(operator);
    let problem = match target.map(|target| (target.role, target.has_late)) {
        Some((Role::Operator(_), true)) if target.is_some_and(|target| target.role == item.role) => {
            Diagnostic::error(format!("{} is its own input", item.described())).at(at.place, "a cycle of one")
        }
        Some((Role::Operator(index), true)) => return Some(Input::Late(index)),
        Some(_) => Diagnostic::error(format!("nothing is late for `{operator}`"))
            .at(at.place, "it does not go by event time")
            .help("`.late` stands behind the id of an operator with windows in time, or of a process with `order = \"time\"`"),
        None => {
            let timed = names.iter().filter(|(_, other)| other.has_late).map(|(id, _)| *id);
            let mut timed: Vec<&str> = timed.collect();
            timed.sort_unstable();
            let help = (!problems.is_full()).then(|| suggest::help(operator, &timed, "events can be late for"));
            Diagnostic::error(format!("there is no operator `{operator}`"))
                .at(at.place, "unknown id")
                .help_if(help)
        }
    };
    problems.push(problem);
    None
}

/// What an operator puts out under a name. Whether its component has that output, is not known yet.
fn named(
    item: &Item<'_>,
    (operator, output): (&str, &str),
    at: &At<String>,
    names: &HashMap<&str, &Item<'_>>,
    read_outputs: &mut ReadOutputs,
    problems: &mut Problems,
) -> Option<Input> {
    let problem = match names.get(operator).map(|target| target.role) {
        Some(role) if role == item.role => {
            Diagnostic::error(format!("{} is its own input", item.described())).at(at.place, "a cycle of one")
        }
        Some(Role::Operator(index)) => match name::flaw(output) {
            None => {
                let outputs = read_outputs.entry(index).or_default();
                let known = outputs.iter().position(|known| known == output);
                let output = known.unwrap_or_else(|| {
                    outputs.push(output.to_owned());
                    outputs.len() - 1
                });
                return Some(Input::Named {
                    operator: index,
                    output,
                });
            }
            Some(flaw) => Diagnostic::error(format!("{output:?} cannot be the name of an output")).at(at.place, flaw),
        },
        Some(role) => Diagnostic::error(format!("{} `{operator}` has no outputs with names", role.noun()))
            .at(at.place, "no operator")
            .help("a name stands behind the id of an operator that is a process: `ID.NAME`"),
        None => {
            let operators = names.values().filter(|other| matches!(other.role, Role::Operator(_)));
            let mut operators: Vec<(Span, &str)> =
                operators.filter_map(|other| Some((other.table, other.id?))).collect();
            operators.sort_unstable();
            let operators: Vec<&str> = operators.into_iter().map(|(_, id)| id).collect();
            let help = (!problems.is_full()).then(|| suggest::help(operator, &operators, "there are"));
            Diagnostic::error(format!("there is no operator `{operator}`"))
                .at(at.place, "unknown id")
                .help_if(help)
        }
    };
    problems.push(problem);
    None
}

/// The ids that an item could name, in file order.
fn ids_for<'a>(item: &Item<'_>, names: &HashMap<&'a str, &Item<'_>>) -> Vec<&'a str> {
    let could_be = |other: &Item<'_>| other.role.as_input().is_some() && other.role != item.role;
    let others = names.iter().filter(|(_, other)| could_be(other));
    let mut ids: Vec<(Span, &str)> = others.map(|(id, other)| (other.table, *id)).collect();
    ids.sort_unstable();
    ids.into_iter().map(|(_, id)| id).collect()
}

/// The operators' indexes in topological order.
fn order(
    file: &raw::File,
    items: &[Item<'_>],
    edges: &HashMap<Role, Vec<Input>>,
    problems: &mut Problems,
) -> Vec<usize> {
    let operator_inputs = |index| {
        edges[&Role::Operator(index)]
            .iter()
            .copied()
            .filter_map(Input::operator)
            .collect()
    };
    let order = order::topological((0..list(&file.operator).len()).map(operator_inputs).collect());
    for cycle in &order.cycles {
        problems.push(cycle_problem(cycle, items));
    }
    order.nodes
}

fn cycle_problem(cycle: &[usize], items: &[Item<'_>]) -> Diagnostic {
    let by_index = |index: usize| items.iter().find(|item| item.role == Role::Operator(index));
    let members: Vec<&Item<'_>> = cycle
        .iter()
        .take(CYCLE_SHOWN_MAX)
        .filter_map(|&index| by_index(index))
        .collect();
    let mut ids: Vec<&str> = members.iter().map(|item| item.id.unwrap_or("?")).collect();
    let first = ids.first().copied();
    if cycle.len() > CYCLE_SHOWN_MAX {
        ids.push("…");
    }
    ids.extend(first);
    let problem = Diagnostic::error(format!("operators feed each other in a circle: {}", ids.join(" -> ")))
        .help("take one of these inputs out: events flow from sources to sinks only");
    let inputs = |item: &Item<'_>| item.inputs.given().map_or(item.table, |at| at.place);
    let Some((first, others)) = members.split_first() else {
        return problem;
    };
    let problem = problem.at(inputs(first), "this closes the circle");
    others
        .iter()
        .fold(problem, |problem, other| problem.also(inputs(other), ""))
}

fn warn_of_unread(items: &[Item<'_>], edges: &HashMap<Role, Vec<Input>>, problems: &mut Problems) {
    if problems.has_errors() {
        // A broken reference leaves its item unread; the error says it better.
        return;
    }
    let read: HashSet<Input> = edges.values().flatten().copied().collect();
    let has_named_read: HashSet<usize> = read
        .iter()
        .filter(|input| matches!(input, Input::Named { .. }))
        .filter_map(|input| input.operator())
        .collect();
    for item in items {
        if item.role.as_input().is_none_or(|input| read.contains(&input)) {
            continue;
        }
        let problem = match item.role {
            Role::Operator(index) if has_named_read.contains(&index) => {
                Diagnostic::note(format!("nothing reads the own output of {}", item.described()))
                    .at(item.place, "what it emits without a name goes nowhere")
            }
            _ => Diagnostic::warning(format!("nothing reads {}", item.described()))
                .at(item.place, "what it emits goes nowhere")
                .help("name it in the `inputs` of an operator or a sink"),
        };
        problems.push(problem);
    }
}

/// Says of keys about event time that nothing asks for it.
fn remark_on_unused_time(file: &raw::File, items: &[Item<'_>], problems: &mut Problems) {
    if items.iter().any(|item| item.is_timed) {
        return;
    }
    for At { value: source, .. } in list(&file.source) {
        let keys = [
            ("lateness", source.lateness.key()),
            ("watermark", source.watermark.key()),
            ("idle", source.idle.key()),
            ("max_drift", source.max_drift.key()),
        ];
        for (key, place) in keys {
            if let Some(place) = place {
                problems.push(
                    Diagnostic::note(format!("`{key}` has no effect")).at(place, "no operator goes by event time"),
                );
            }
        }
    }
}

/// Reports a graph that multiplies its events by the ways on which they come.
fn bound_paths(order: &[usize], items: &[Item<'_>], edges: &HashMap<Role, Vec<Input>>, problems: &mut Problems) {
    if problems.has_errors() {
        return;
    }
    let by_role: HashMap<Role, &Item<'_>> = items.iter().map(|item| (item.role, item)).collect();
    let sinks = items
        .iter()
        .map(|item| item.role)
        .filter(|role| matches!(role, Role::Sink(_)));
    let in_order = order.iter().map(|&index| Role::Operator(index)).chain(sinks);
    let mut paths: HashMap<Role, u64> = HashMap::new();
    let mut deliveries = 0_u64;
    for role in in_order {
        let inputs = &edges[&role];
        // However many sources feed it, the event of one comes from that one.
        let direct = u64::from(inputs.iter().any(|input| matches!(input, Input::Source(_))));
        let ways = inputs
            .iter()
            .filter_map(|input| paths.get(&Role::Operator(input.operator()?)));
        let own = ways.fold(direct, |sum, ways| sum.saturating_add(*ways));
        deliveries = deliveries.saturating_add(own);
        if own > PATHS_MAX || deliveries > DELIVERIES_MAX {
            let item = by_role[&role];
            let message = format!("too many paths lead from a source to {}", item.described());
            let label = format!("{own} paths to it, {deliveries} to it and the operators before it");
            let help = format!(
                "an event takes every path: at most {PATHS_MAX} may lead to one operator or sink, and {DELIVERIES_MAX} to all \
                 together"
            );
            problems.push(Diagnostic::error(message).at(item.place, label).help(help));
            return;
        }
        paths.insert(role, own);
    }
}

/// The connections with operators counted in topological order.
fn numbered(
    order: &[usize],
    items: &[Item<'_>],
    edges: &HashMap<Role, Vec<Input>>,
    mut read_outputs: ReadOutputs,
) -> Wiring {
    let places: HashMap<usize, usize> = order.iter().enumerate().map(|(place, &index)| (index, place)).collect();
    let renumber = |role: &Role| -> Vec<Input> {
        let number = |input: &Input| match input {
            Input::Source(index) => Some(Input::Source(*index)),
            // An operator of a cycle has no place; the pipeline is refused.
            Input::Operator(index) => places.get(index).copied().map(Input::Operator),
            Input::Late(index) => places.get(index).copied().map(Input::Late),
            Input::Named { operator, output } => places.get(operator).map(|&operator| Input::Named {
                operator,
                output: *output,
            }),
        };
        edges.get(role).into_iter().flatten().filter_map(number).collect()
    };
    let sinks = items
        .iter()
        .filter(|item| matches!(item.role, Role::Sink(_)))
        .map(|item| renumber(&item.role));
    let operators = order.iter().map(|&index| WiredOperator {
        index,
        inputs: renumber(&Role::Operator(index)),
        read_outputs: read_outputs.remove(&index).unwrap_or_default(),
    });
    Wiring {
        operators: operators.collect(),
        sinks: sinks.collect(),
    }
}
