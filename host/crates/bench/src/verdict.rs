//! Whether the claim held: that neighbours cost a victim nothing that it notices.
//!
//! Owns when nothing can be said of it. What is beyond the bound on a machine where other processes were at work may be their
//! doing, and so may be what the victim took alone, which the bound is made of.

use serde::Serialize;

use super::isolation::PolicyColumn;
use super::victim::{Bound, Cell, P99_EVENTS_MIN, PollBound, p99_bound_us};
use super::{machine_load, table};

/// What is said of the claim.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Verdict {
    pub(super) claim: Claim,
    /// What the p99 next to a neighbour may be, in µs.
    bound_us: f64,
    /// In a line.
    pub(super) why: String,
}

/// Whether it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Claim {
    Held,
    Broken,
    NoVerdict,
}

impl Verdict {
    /// On a machine with so many processors, and this load.
    pub(super) fn of(column: &PolicyColumn, processors: usize, load: Option<f64>) -> Self {
        let bound_us = p99_bound_us(&column.alone);
        let (claim, why) = judge(column, processors, load);
        Self { claim, bound_us, why }
    }

    /// For people.
    pub(super) fn line(&self, policy: &str) -> String {
        let bound = table::latency(self.bound_us);
        match self.claim {
            Claim::Held => format!("{policy}: the claim held: {}; the bound is {bound}", self.why),
            Claim::Broken => format!("{policy}: the claim is broken: {}; the bound is {bound}", self.why),
            Claim::NoVerdict => format!("{policy}: no verdict: {}", self.why),
        }
    }
}

fn judge(column: &PolicyColumn, processors: usize, load: Option<f64>) -> (Claim, String) {
    let PolicyColumn { alone, beside, .. } = column;
    let cells = || [alone].into_iter().chain(beside.iter().map(|(_, cell)| cell));
    let fewest = cells().map(|cell| cell.events).min().unwrap_or(0);
    if fewest < P99_EVENTS_MIN {
        let why =
            format!("a p99 needs {P99_EVENTS_MIN} events and there were {fewest}: give more `--rate` or `--duration`");
        return (Claim::NoVerdict, why);
    }
    let is_broken = |cell: &Cell| {
        let poll = cell.neighbour.as_ref().and_then(|neighbour| neighbour.poll_bound);
        cell.bound == Some(Bound::Broken) || poll == Some(PollBound::Broken)
    };
    let broken: Vec<_> = beside.iter().filter(|(_, cell)| is_broken(cell)).collect();
    // A victim that was alone on a busy machine makes a bound that anything holds.
    let judged = [alone].into_iter().chain(broken.iter().map(|(_, cell)| cell));
    let others = judged.map(|cell| cell.others).fold(0.0, f64::max);
    if machine_load::is_busy(others, processors) {
        let load = load.map_or_else(String::new, |load| {
            format!("load {load:.0} on {processors} processors, ")
        });
        let why = format!("the machine was busy ({load}{others:.1} of them taken by others)");
        return (Claim::NoVerdict, why);
    }
    if !broken.is_empty() {
        let named: Vec<String> = broken
            .iter()
            .map(|(name, cell)| format!("{name} (p99 {})", table::latency(cell.p99_us)))
            .collect();
        return (Claim::Broken, format!("next to {}", named.join(", ")));
    }
    let by_p99 = |one: &&(String, Cell), other: &&(String, Cell)| one.1.p99_us.total_cmp(&other.1.p99_us);
    let kinds = match beside.len() {
        1 => "the one kind".to_owned(),
        kinds => format!("{kinds} kinds"),
    };
    let worst = beside.iter().max_by(by_p99).map_or_else(String::new, |(name, cell)| {
        format!(
            "p99 at most {} (next to {name}) of {kinds}",
            table::latency(cell.p99_us)
        )
    });
    (Claim::Held, worst)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(p99_us: f64, others: f64, bound: Option<Bound>) -> Cell {
        let mut cell = Cell::of_test(p99_us, others);
        cell.bound = bound;
        cell
    }

    fn column(alone: Cell, beside: Cell) -> PolicyColumn {
        PolicyColumn {
            alone,
            beside: vec![
                ("greedy".into(), cell(300.0, 0.0, Some(Bound::Holds))),
                ("bulk".into(), beside),
            ],
            verdict: None,
        }
    }

    #[test]
    fn the_claim_holds_or_is_broken_and_on_a_busy_machine_neither_is_said() {
        let judged =
            |alone_others, beside: Cell| Verdict::of(&column(cell(400.0, alone_others, None), beside), 2, Some(19.0));
        let held = judged(0.05, cell(700.0, 1.0, Some(Bound::Holds)));
        assert_eq!(held.claim, Claim::Held, "others were at work, and it held all the same");
        assert_eq!(
            held.line("fair"),
            "fair: the claim held: p99 at most 700 µs (next to bulk) of 2 kinds; the bound is 800 µs"
        );
        let broken = judged(0.05, cell(900.0, 0.05, Some(Bound::Broken)));
        assert_eq!(
            (broken.claim, broken.why.as_str()),
            (Claim::Broken, "next to bulk (p99 900 µs)")
        );
        for busy in [
            judged(0.05, cell(900.0, 1.0, Some(Bound::Broken))),
            judged(1.0, cell(700.0, 0.0, Some(Bound::Holds))),
        ] {
            let why = "the machine was busy (load 19 on 2 processors, 1.0 of them taken by others)";
            assert_eq!((busy.claim, busy.why.as_str()), (Claim::NoVerdict, why));
        }
    }

    #[test]
    fn of_few_events_nothing_is_said() {
        let mut few = cell(900.0, 0.0, Some(Bound::Broken));
        few.events = 999;
        let verdict = Verdict::of(&column(cell(400.0, 0.0, None), few), 2, None);
        assert_eq!(verdict.claim, Claim::NoVerdict);
        assert!(verdict.why.contains("there were 999"), "{verdict:?}");
    }
}
