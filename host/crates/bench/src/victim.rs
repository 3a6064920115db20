//! Who is to notice nothing, and what is looked at.

use std::cmp::Ordering;
use std::time::Duration;

use dirigo_runtime::{Ended, Summary};
use serde::Serialize;

use super::openloop::{Plan, Tally};
use super::table;

/// How long neighbours run before a victim starts: they have filled their queues by then.
pub(super) const HEAD_START: Duration = Duration::from_millis(200);
/// How long a victim runs before it is measured: its instances are made by then, and the paces learnt.
pub(super) const WARM_UP: Duration = Duration::from_millis(500);
/// How long neighbours live on after the last event of a victim is due. What has not arrived by then never would have.
pub(super) const GRACE: Duration = Duration::from_millis(200);

/// How long a guest may keep a worker, in µs of processor time. The aim is 1,000; what is measured is too high by up to 150 that the
/// watchdog overstates it by, and by interrupts.
const POLL_US_MAX: u64 = 2_000;

/// Of fewer events, a p99 is the latency of a few of them: ten have to lie beyond it.
pub(super) const P99_EVENTS_MIN: u64 = 1_000;
/// And so for a p99.9, over all rounds.
const P999_EVENTS_MIN: u64 = 10_000;

/// A victim of this name, and of a tenant that bears it too: what each event goes through in a plain pipeline. A window of
/// one makes an output of every event, so that each can be followed to the sink.
pub(super) fn pipeline(name: &str) -> String {
    format!(
        r#"
        [pipeline]
        name = "{name}"
        tenant = "{name}"
        [[source]]
        id = "events"
        kind = "generator"
        [[operator]]
        id = "map"
        component = "builtin:map"
        config = {{ field = "value", scale = 1.8, offset = 32.0, into = "scaled" }}
        [[operator]]
        id = "filter"
        component = "builtin:filter"
        config = {{ field = "scaled", threshold = 32.0 }}
        [[operator]]
        id = "reduce"
        component = "builtin:reduce"
        window = {{ count = 1 }}
        config = {{ field = "scaled", aggregate = "avg" }}
        [[sink]]
        id = "out"
        kind = "null"
        "#
    )
}

/// What became of a victim's events.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Cell {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// Of all rounds, where they have events enough for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) p999_us: Option<f64>,
    pub(super) max_us: f64,
    /// How many processors other processes kept busy meanwhile.
    pub(super) others: f64,
    /// Events that were measured.
    pub(super) events: u64,
    lost: u64,
    doubled: u64,
    misplaced: u64,
    /// Events that did not arrive as long as its neighbours lived.
    starved: u64,
    /// Whether latencies are within the bound; alone they are the bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bound: Option<Bound>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) neighbour: Option<NeighbourStats>,
}

/// What a pipeline did meanwhile.
#[derive(Clone, Debug, Serialize)]
pub(super) struct NeighbourStats {
    pub(super) events: u64,
    pub(super) turns: u64,
    pub(super) slices: u64,
    pub(super) traps: u64,
    pub(super) dead_letters: u64,
    /// The longest that a guest of it kept a worker, in µs of processor time.
    pub(super) poll_us_max: u64,
    /// Whether that is within its bound; `None` where that was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) poll_bound: Option<PollBound>,
}

/// Whether the longest poll of a guest is within [`POLL_US_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PollBound {
    Holds,
    /// It is not, but the machine was too busy to tell whose doing that is.
    NoVerdict,
    Broken,
}

impl Cell {
    /// What has arrived of a plan, and how late.
    pub(super) fn new(tally: &Tally, plan: &Plan, starved: u64) -> Self {
        let books = tally.books(plan);
        let latencies = &tally.latencies_ns;
        #[allow(clippy::cast_precision_loss, reason = "latencies are far below 2^52 ns")]
        let us = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        Self {
            p50_us: us(latencies.value_at_quantile(0.5)),
            p99_us: us(latencies.value_at_quantile(0.99)),
            p999_us: Some(us(latencies.value_at_quantile(0.999))),
            max_us: us(latencies.max()),
            others: 0.0,
            events: latencies.len(),
            lost: books.lost,
            doubled: books.doubled,
            misplaced: books.misplaced,
            starved,
            bound: None,
            neighbour: None,
        }
    }

    /// What several cells of the same kind come to: latencies and longest polls are medians, events are all of them.
    pub(super) fn over_rounds(cells: &[Self]) -> Self {
        let median = |figure: fn(&Self) -> f64| median(cells.iter().map(figure), f64::total_cmp);
        let sum = |count: fn(&Self) -> u64| cells.iter().map(count).sum();
        let events: u64 = sum(|cell| cell.events);
        Self {
            p50_us: median(|cell| cell.p50_us),
            p99_us: median(|cell| cell.p99_us),
            p999_us: median_of_all(cells.iter().map(|cell| cell.p999_us)).filter(|_| events >= P999_EVENTS_MIN),
            max_us: median(|cell| cell.max_us),
            others: cells.iter().map(|cell| cell.others).fold(0.0, f64::max),
            events,
            lost: sum(|cell| cell.lost),
            doubled: sum(|cell| cell.doubled),
            misplaced: sum(|cell| cell.misplaced),
            starved: sum(|cell| cell.starved),
            bound: None,
            neighbour: NeighbourStats::over_rounds(cells.iter().filter_map(|cell| cell.neighbour.as_ref())),
        }
    }

    /// One of enough events.
    #[cfg(test)]
    pub(super) fn of_test(p99_us: f64, others: f64) -> Self {
        Self {
            p50_us: p99_us,
            p99_us,
            p999_us: None,
            max_us: p99_us,
            others,
            events: P99_EVENTS_MIN,
            lost: 0,
            doubled: 0,
            misplaced: 0,
            starved: 0,
            bound: None,
            neighbour: None,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.misplaced == 0
    }

    /// Says whether this is close enough to `alone` to pass for unmoved. `machine` is the same victim next to native
    /// threads that never pause: what the machine's own scheduler does, whatever the neighbour is.
    pub(super) fn judge(&mut self, alone: &Cell, machine: &Cell) {
        let p99 = (self.p99_us, p99_bound_us(alone), machine.p99_us);
        let p999 = self.p999_us.zip(alone.p999_us.zip(machine.p999_us));
        let p999 = p999.map(|(found, (alone, machine))| (found, 2.0 * alone + 1_000.0, machine));
        let mut both = [p99].into_iter().chain(p999);
        self.bound = Some(if both.clone().all(|(found, bound, _)| found <= bound) {
            Bound::Holds
        } else if both.all(|(found, bound, machine)| found <= bound.max(machine)) {
            Bound::Machine
        } else {
            Bound::Broken
        });
    }

    /// p50, p99, p99.9, the maximum, what was lost, what starved: as a table has them.
    pub(super) fn figures(&self) -> impl Iterator<Item = String> {
        let p999 = self.p999_us.map_or_else(String::new, table::latency);
        let [p50, p99, max] = [self.p50_us, self.p99_us, self.max_us].map(table::latency);
        let latencies = [p50, p99, p999, max];
        let lost = self.lost + self.doubled + self.misplaced;
        let counts = [lost, self.starved].map(|count| count.to_string());
        latencies.into_iter().chain(counts)
    }
}

/// Whether latencies next to a neighbour are within the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Bound {
    Holds,
    /// They are not, nor are those next to native threads, which are as long.
    Machine,
    Broken,
}

/// The middle one, where there is one of each.
fn median_of_all(figures: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let figures: Option<Vec<f64>> = figures.collect();
    figures.map(|figures| median(figures.into_iter(), f64::total_cmp))
}

/// The middle one of an odd number of figures.
pub(super) fn median<T: Copy>(figures: impl Iterator<Item = T>, order: impl FnMut(&T, &T) -> Ordering) -> T {
    let mut figures: Vec<T> = figures.collect();
    figures.sort_by(order);
    figures[figures.len() / 2]
}

/// What the p99 next to a neighbour may be.
pub(super) fn p99_bound_us(alone: &Cell) -> f64 {
    1.5 * alone.p99_us + 200.0
}

impl NeighbourStats {
    /// What several runs come to, if there are any.
    fn over_rounds<'a>(runs: impl Iterator<Item = &'a Self> + Clone) -> Option<Self> {
        runs.clone().next()?;
        let sum = |count: fn(&Self) -> u64| runs.clone().map(count).sum();
        Some(Self {
            events: sum(|deeds| deeds.events),
            turns: sum(|deeds| deeds.turns),
            slices: sum(|deeds| deeds.slices),
            traps: sum(|deeds| deeds.traps),
            dead_letters: sum(|deeds| deeds.dead_letters),
            // What a guest itself takes comes back in each of them, and what the machine does to its thread seldom.
            poll_us_max: median(runs.map(|deeds| deeds.poll_us_max), Ord::cmp),
            poll_bound: None,
        })
    }

    pub(super) fn of(ended: &Ended) -> Self {
        let each = |field: fn(&dirigo_actor::Counts) -> u64| {
            let operators = ended.operators.iter();
            operators.map(move |operator| field(&operator.counts))
        };
        Self {
            events: each(|counts| counts.passed + counts.filtered + counts.absorbed + counts.dead_letters).sum(),
            turns: each(|counts| counts.turns).sum(),
            slices: each(|counts| counts.slices).sum(),
            traps: each(|counts| counts.traps).sum(),
            dead_letters: each(|counts| counts.dead_letters).sum(),
            poll_us_max: each(|counts| counts.poll_us_max).max().unwrap_or(0),
            poll_bound: None,
        }
    }

    /// Says whether a guest kept a worker for too long, on a machine that held a thread which only reads a clock for as much as
    /// `held_us`: so much may be none of the guest's doing, and where that is beyond the bound nothing can be told.
    pub(super) fn judge_poll(&mut self, held_us: u64) {
        self.poll_bound = Some(if self.poll_us_max <= POLL_US_MAX {
            PollBound::Holds
        } else if held_us > POLL_US_MAX || self.poll_us_max <= POLL_US_MAX + held_us {
            PollBound::NoVerdict
        } else {
            PollBound::Broken
        });
    }
}

/// Whether a victim came to its end, and its books balance.
pub(super) fn check(ended: Ended) -> anyhow::Result<()> {
    if let Some(failure) = ended.failure {
        anyhow::bail!("the victim failed: {failure}");
    }
    let summary = Summary::new(0.0, vec![(ended.summary, ended.operators)], Vec::new());
    if let Some(imbalance) = summary.imbalances().first() {
        anyhow::bail!("events of the victim do not add up (a fault of dirigo, please report it): {imbalance}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a p99 and a p99.9 of so many us.
    fn cell([p99_us, longest_us]: [f64; 2]) -> Cell {
        Cell {
            p999_us: Some(longest_us),
            max_us: longest_us,
            ..Cell::of_test(p99_us, 0.0)
        }
    }

    #[test]
    fn what_is_beyond_the_bound_is_the_machines_if_native_threads_do_as_much() {
        let (alone, machine) = (cell([200.0, 1_000.0]), cell([400.0, 5_000.0]));
        for (figures, bound) in [
            ([500.0, 3_000.0], Bound::Holds),
            ([500.0, 5_000.0], Bound::Machine),
            ([500.0, 5_001.0], Bound::Broken),
            ([501.0, 3_000.0], Bound::Broken),
        ] {
            let mut beside = cell(figures);
            beside.judge(&alone, &machine);
            assert_eq!(beside.bound, Some(bound), "{figures:?}");
        }
        let mut few = cell([500.0, 9_999.0]);
        few.p999_us = None;
        few.judge(&alone, &machine);
        assert_eq!(few.bound, Some(Bound::Holds), "of so few events there is no p99.9");
    }

    #[test]
    fn a_poll_that_may_be_long_by_the_machines_doing_is_not_judged() {
        for (poll_us_max, held_us, bound) in [
            (2_000, 0, PollBound::Holds),
            (2_000, 9_000, PollBound::Holds),
            (2_500, 500, PollBound::NoVerdict),
            (2_501, 500, PollBound::Broken),
            (9_999, 2_000, PollBound::Broken),
            (9_999, 2_001, PollBound::NoVerdict),
        ] {
            let mut deeds = NeighbourStats {
                events: 0,
                turns: 0,
                slices: 0,
                traps: 0,
                dead_letters: 0,
                poll_us_max,
                poll_bound: None,
            };
            deeds.judge_poll(held_us);
            assert_eq!(deeds.poll_bound, Some(bound), "{poll_us_max} beside {held_us}");
        }
    }
}
