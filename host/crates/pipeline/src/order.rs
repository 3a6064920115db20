//! Topological order, and the circles that prevent one.
//!
//! Owns the search. Knows nodes by their numbers only.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// Who has circles has a plan that is wrong as a whole: a few show it, and each costs a pass over the graph.
const CYCLES_MAX: usize = 10;

/// An order in which every node stands behind its inputs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    /// The nodes; of those that are ready at the same time, the one with the smallest number comes first. Those of
    /// circles, and those behind circles that are not told of, are left out.
    pub(super) nodes: Vec<usize>,
    /// The circles, each in the direction of the edges and from its smallest number on.
    pub(super) cycles: Vec<Vec<usize>>,
}

/// Orders the nodes `0..inputs.len()`.
pub(super) fn topological(inputs: Vec<Vec<usize>>) -> Order {
    let mut waiting: HashMap<usize, Vec<usize>> = inputs.into_iter().enumerate().collect();
    let mut order = Order::default();
    loop {
        order.nodes.extend(take_ready(&mut waiting));
        if waiting.is_empty() || order.cycles.len() == CYCLES_MAX {
            return order;
        }
        // Each node left waits for another one that is left, so there is a circle. Without it there may be others.
        let cycle = cycle(&waiting);
        for node in &cycle {
            waiting.remove(node);
        }
        forget_the_gone(&mut waiting);
        order.cycles.push(cycle);
    }
}

/// Takes out what waits for nobody, again and again.
fn take_ready(waiting: &mut HashMap<usize, Vec<usize>>) -> Vec<usize> {
    let mut missing: HashMap<usize, usize> = HashMap::new();
    let mut readers: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut ready = BinaryHeap::new();
    for (&node, inputs) in &*waiting {
        missing.insert(node, inputs.len());
        if inputs.is_empty() {
            ready.push(Reverse(node));
        }
        for &input in inputs {
            readers.entry(input).or_default().push(node);
        }
    }
    let mut taken = Vec::new();
    while let Some(Reverse(node)) = ready.pop() {
        taken.push(node);
        waiting.remove(&node);
        for &reader in readers.get(&node).into_iter().flatten() {
            let missing = missing.get_mut(&reader).expect("each reader waits");
            *missing -= 1;
            if *missing == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    forget_the_gone(waiting);
    taken
}

/// Takes out of the inputs what waits no longer.
fn forget_the_gone(waiting: &mut HashMap<usize, Vec<usize>>) {
    let left: HashSet<usize> = waiting.keys().copied().collect();
    for inputs in waiting.values_mut() {
        inputs.retain(|input| left.contains(input));
    }
}

/// One circle among nodes that all wait for each other.
fn cycle(waiting: &HashMap<usize, Vec<usize>>) -> Vec<usize> {
    let mut node = *waiting.keys().min().expect("somebody waits");
    let mut way: Vec<usize> = Vec::new();
    let mut steps: HashMap<usize, usize> = HashMap::new();
    while steps.insert(node, way.len()).is_none() {
        way.push(node);
        node = *waiting[&node].first().expect("who waits, waits for somebody");
    }
    // The way went from reader to input; events go the other way.
    let start = way
        .iter()
        .position(|&earlier| earlier == node)
        .expect("the way came back to this node");
    let mut cycle = way.split_off(start);
    cycle.reverse();
    let first = (0..cycle.len())
        .min_by_key(|&position| cycle[position])
        .unwrap_or_default();
    cycle.rotate_left(first);
    cycle
}
