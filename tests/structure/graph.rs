//! Circles in a graph of names.

use std::collections::{BTreeMap, BTreeSet};

/// From each node to others.
pub(crate) type Graph = BTreeMap<String, BTreeSet<String>>;

/// The nodes that lie on a circle.
pub(crate) fn on_a_circle(graph: &Graph) -> BTreeSet<&str> {
    graph
        .keys()
        .map(String::as_str)
        .filter(|&node| reached_from(graph, node).contains(node))
        .collect()
}

fn reached_from<'a>(graph: &'a Graph, start: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = Vec::from([start]);
    while let Some(node) = next.pop() {
        let arrows = graph.get(node).into_iter().flatten();
        next.extend(arrows.map(String::as_str).filter(|&target| reached.insert(target)));
    }
    reached
}

#[test]
fn a_node_is_on_a_circle_if_arrows_lead_back_to_it() {
    let graph = [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")];
    let mut arrows = Graph::new();
    for (from, to) in graph {
        arrows.entry(from.into()).or_default().insert(to.into());
    }
    assert_eq!(on_a_circle(&arrows), BTreeSet::from(["b", "c"]));
}
