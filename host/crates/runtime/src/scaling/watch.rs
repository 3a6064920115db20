//! What operators do, looked at many times a second, and what follows from it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Judge, Reason, Sample, Verdict};
use dirigo_actor::{Activations, Change, Load, Operator, Relief};
use dirigo_ground::clock::Clock;
use dirigo_scheduler::TenantIndex;

/// How often operators are looked at.
const INTERVAL: Duration = Duration::from_millis(10);

/// How often operators are looked at while all are idle. A replica is added after two looks that ask for one, so within 50 ms of need.
const INTERVAL_AT_REST: Duration = Duration::from_millis(25);

/// An operator that keeps less than this of a worker busy has nothing to do.
const AT_REST: f64 = 0.001;

/// Has the number of replicas and shards follow the load of the operators of a host with so many workers.
pub(in super::super) async fn watch(activations: Arc<Activations>, workers: u32, clock: Arc<dyn Clock>) {
    let mut watch = Watch::new(workers);
    loop {
        let are_at_rest = watch.look(&activations.operators(), clock.now_ns());
        tokio::time::sleep(if are_at_rest { INTERVAL_AT_REST } else { INTERVAL }).await;
    }
}

/// What is known of the operators of a host.
pub(in super::super) struct Watch {
    workers: u32,
    /// By where an operator lies in memory.
    watched: HashMap<usize, Watched>,
}

/// An operator that is looked at.
struct Watched {
    operator: Weak<Operator>,
    judge: Judge,
    /// Its events so far, where it was done with all of them, had nothing to do, and had no more replicas or shards than it must.
    at_rest_after: Option<u64>,
}

/// The workers that a tenant keeps busy.
#[derive(Clone, Copy, Default)]
struct Used {
    weight: u32,
    busy: f64,
}

impl Watch {
    /// One that knows of none, on a host with so many workers.
    pub(in super::super) fn new(workers: u32) -> Self {
        Self {
            workers,
            watched: HashMap::new(),
        }
    }

    /// Looks at these operators once, and changes how many replicas or shards they have. Whether all had nothing to do since the last look.
    pub(in super::super) fn look(&mut self, operators: &[Arc<Operator>], now_ns: u64) -> bool {
        self.watched.retain(|_, watched| watched.operator.strong_count() > 0);
        for operator in operators {
            let watched = self.watched.entry(Arc::as_ptr(operator).addr());
            watched.or_insert_with(|| Watched {
                operator: Arc::downgrade(operator),
                judge: Judge::new(operator.scaling_bounds().unwrap_or(1..=1), operator.slo_ns()),
                at_rest_after: None,
            });
        }
        let events_in = |operator: &Operator| operator.counters().events_in.load(Ordering::Relaxed);
        let is_at_rest = |watched: &Watched, operator| watched.at_rest_after == Some(events_in(operator));
        let of = |operator: &Arc<Operator>| Arc::as_ptr(operator).addr();
        if operators.iter().all(|operator| {
            self.watched
                .get(&of(operator))
                .is_some_and(|watched| is_at_rest(watched, operator))
        }) {
            return true;
        }
        let used = self.used();
        for operator in operators {
            let Some(watched) = self.watched.get_mut(&of(operator)) else {
                continue;
            };
            if is_at_rest(watched, operator) {
                continue;
            }
            let events_in = events_in(operator);
            let Some(load) = operator.load() else { continue };
            let bounds = operator.scaling_bounds();
            let sample = sample(operator, &load, now_ns, free(&used, operator.tenant(), self.workers));
            let verdict = watched.judge.look(sample);
            if let Some(verdict) = verdict.filter(|_| bounds.is_some())
                && !change(operator, &watched.judge, &load, &verdict, now_ns)
            {
                watched.judge.note_undone(now_ns);
            }
            if load.actors.iter().any(|actor| actor.helpers > 0) && operator.is_helped_in_vain() {
                end_help(operator, &load, now_ns);
                watched.judge.note_in_vain(now_ns);
            }
            let has_least = bounds.is_none_or(|bounds| load.executors <= *bounds.start());
            let is_at_rest = has_least && load.waiting == 0 && watched.judge.busy_workers() < AT_REST;
            watched.at_rest_after = is_at_rest.then_some(events_in);
        }
        false
    }

    /// By tenant: the workers that it keeps busy.
    fn used(&self) -> HashMap<TenantIndex, Used> {
        let mut used: HashMap<TenantIndex, Used> = HashMap::new();
        for watched in self.watched.values() {
            if let Some(operator) = watched.operator.upgrade() {
                let own = used.entry(operator.tenant()).or_default();
                own.weight = operator.quota().budget().weight;
                own.busy += watched.judge.busy_workers();
            }
        }
        used
    }
}

/// How many more workers a tenant can have: what others leave, or its share where that is more.
fn free(used: &HashMap<TenantIndex, Used>, tenant: TenantIndex, workers: u32) -> f64 {
    /// A tenant that keeps less than this of a worker busy leaves others its share.
    const IDLE: f64 = 0.01;
    let own = used.get(&tenant).copied().unwrap_or_default();
    let others = used
        .iter()
        .filter(|(other, used)| **other != tenant && used.busy > IDLE);
    let (weights, of_others) = others.fold((own.weight, 0.0), |(weights, busy), (_, used)| {
        (weights + used.weight, busy + used.busy)
    });
    let all = f64::from(workers);
    let share = all * f64::from(own.weight) / f64::from(weights.max(1));
    share.max(all - of_others) - own.busy
}

fn sample(operator: &Operator, load: &Load, now_ns: u64, free_workers: f64) -> Sample {
    let counters = operator.counters();
    let done = [
        &counters.passed,
        &counters.filtered,
        &counters.absorbed,
        &counters.late,
        &counters.dead_letters,
    ];
    let busy_ns = load.actors.iter().map(|actor| (actor.first_partition, actor.busy_ns));
    Sample {
        now_ns,
        executors: load.executors,
        busy_ns: busy_ns.collect::<BTreeMap<u32, u64>>(),
        done: done.iter().map(|counter| counter.load(Ordering::Relaxed)).sum(),
        waiting: load.waiting,
        is_held_back: load.is_held_back,
        free_workers,
        is_short: operator.may_have_no_more_actors(),
    }
}

/// Has an operator have as many replicas or shards as a verdict says; of shards and their helpers one more, or one fewer, at a time. Whether that could
/// be.
fn change(operator: &Operator, judge: &Judge, load: &Load, verdict: &Verdict, now_ns: u64) -> bool {
    let from = load.executors;
    if !operator.kind().is_stateful() {
        operator.set_replicas(verdict.to);
        operator.note_scaled(now_ns, from, verdict.to, verdict.reason.to_string());
        return true;
    }
    let place = |first: u32| load.actors.iter().position(|actor| actor.first_partition == first);
    let change = if verdict.to > from {
        let places = judge.busiest().into_iter().filter_map(place);
        first_relief(operator, places)
    } else if matches!(verdict.reason, Reason::Uneven { .. }) && !can_be_relieved(operator, judge, place) {
        None
    } else if let Some(actor) = load.actors.iter().position(|actor| actor.helpers > 0) {
        let helpers = load.actors[actor].helpers - 1;
        Some(Change::Help { actor, helpers })
    } else {
        judge.calmest_pair().and_then(place).map(|actor| Change::Join { actor })
    };
    let Some(change) = change.filter(|change| operator.apply(change)) else {
        return false;
    };
    let to = if verdict.to > from { from + 1 } else { from - 1 };
    let is_hot = verdict.to > from && matches!(change, Change::Help { .. });
    let why = if is_hot {
        "; a few keys have most of the events"
    } else {
        ""
    };
    operator.note_scaled(now_ns, from, to, format!("{}{why}", verdict.reason));
    true
}

/// Whether the load of the busiest shard could be shared, if there were room for one more.
fn can_be_relieved(operator: &Operator, judge: &Judge, place: impl Fn(u32) -> Option<usize>) -> bool {
    let busiest = judge.busiest().into_iter().find_map(place);
    busiest.is_some_and(|busiest| matches!(operator.relief(busiest), Relief::By(_)))
}

/// What relieves the first of these shards that can be relieved. None before it is passed over of which that is not known yet.
fn first_relief(operator: &Operator, places: impl Iterator<Item = usize>) -> Option<Change> {
    for place in places {
        match operator.relief(place) {
            Relief::By(change) => return Some(change),
            Relief::NotYet => return None,
            Relief::None => {}
        }
    }
    None
}

/// Has no actor of an operator have helpers.
fn end_help(operator: &Operator, load: &Load, now_ns: u64) {
    let helped = load.actors.iter().enumerate().filter(|(_, actor)| actor.helpers > 0);
    let ended = helped.filter(|(actor, _)| {
        operator.apply(&Change::Help {
            actor: *actor,
            helpers: 0,
        })
    });
    let ended: u32 = ended.map(|(_, actor)| u32::from(actor.helpers)).sum();
    operator.forget_help();
    let reason = "helpers save too little: they leave more than one accumulator to merge for two events".into();
    operator.note_scaled(now_ns, load.executors, load.executors - ended, reason);
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Watch")
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_can_have_its_share_or_what_others_leave() {
        let used = |of: &[(TenantIndex, u32, f64)]| -> HashMap<TenantIndex, Used> {
            let each = of.iter().map(|(tenant, weight, busy)| {
                let used = Used {
                    weight: *weight,
                    busy: *busy,
                };
                (*tenant, used)
            });
            each.collect()
        };
        let near = |free: f64, wanted: f64| (free - wanted).abs() < 1e-9;
        let greedy = used(&[(0, 1, 1.0), (1, 1, 7.0)]);
        assert!(near(free(&greedy, 0, 8), 3.0), "half of the workers are its own");
        assert!(near(free(&greedy, 1, 8), 0.0));
        let weighed = used(&[(0, 3, 1.0), (1, 1, 7.0)]);
        assert!(near(free(&weighed, 0, 8), 5.0));
        let alone = used(&[(0, 1, 1.0), (1, 9, 0.0)]);
        assert!(near(free(&alone, 0, 8), 7.0), "who has nothing to do leaves its share");
    }
}
