//! What happened between two looks at a service, the busiest first.
//!
//! Knows what the API answers, and nothing of screens.

use std::cmp::Ordering;
use std::collections::HashMap;

use dirigo_api::{Activity, OperatorActivity, PipelineActivity, State, Tenant};
use serde::Serialize;

/// What happened in the time between two looks.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Rates {
    /// The time between them, in s.
    pub(super) interval_s: f64,
    /// The threads that run operators.
    pub(super) workers: u32,
    /// How many of them were busy with turns.
    pub(super) workers_busy: f64,
    /// How many pipelines run.
    pub(super) running: usize,
    /// How many have failed.
    pub(super) failed: usize,
    /// How many there are.
    pub(super) pipelines: usize,
    /// Events that sources sent on, per second.
    pub(super) events_in_per_s: f64,
    /// Events that sinks wrote, per second.
    pub(super) events_out_per_s: f64,
    /// The tenants, the busiest first.
    pub(super) tenants: Vec<TenantRates>,
    /// The operators of all pipelines, the busiest first; then pipelines that do not run, those that failed first.
    pub(super) operators: Vec<OperatorRates>,
}

/// What a tenant used.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct TenantRates {
    /// Its name.
    pub(super) name: String,
    /// How many workers it kept busy.
    pub(super) workers: f64,
    /// For which part of the time it had burnt its fuel, from 0 to 1.
    pub(super) held: f64,
    /// The most memory that it had at once, in bytes.
    pub(super) memory_peak: u64,
    /// How often it was denied memory.
    pub(super) memory_denied: u64,
    /// Its pipelines, in whatever state.
    pub(super) pipelines: u64,
}

/// What an operator did; of a pipeline that has none or does not run, what the pipeline is doing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct OperatorRates {
    /// Whose the pipeline is.
    pub(super) tenant: String,
    /// The pipeline.
    pub(super) pipeline: String,
    /// What the pipeline is doing.
    pub(super) state: State,
    /// Why the pipeline failed, or what it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// The operator; empty for a pipeline as a whole.
    pub(super) operator: String,
    /// How many workers it kept busy.
    pub(super) workers: f64,
    /// Events that arrived, per second.
    pub(super) events_in_per_s: f64,
    /// Events that left, per second.
    pub(super) events_out_per_s: f64,
    /// Events that wait for it.
    pub(super) queued: u64,
    /// Whether it is what the pipeline is as slow as.
    pub(super) is_bottleneck: bool,
    /// Of the pipeline, since its run began: 99 % of the events took less from arrival to sink, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) p99_ms: Option<f64>,
    /// How far event time is behind the clock, at the operator or else at the source that is furthest behind, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) watermark_lag_ms: Option<i64>,
    /// Turns that ended in a trap, since the run began.
    pub(super) traps: u64,
    /// Events that failed, since the run began.
    pub(super) dead_letters: u64,
}

impl Rates {
    /// What happened from `before` to `now`. A pipeline that was started meanwhile counts from its start.
    pub(super) fn between(before: &Activity, now: &Activity) -> Self {
        let earlier: HashMap<(&str, &str), &PipelineActivity> = before
            .pipelines
            .iter()
            .map(|pipeline| ((&*pipeline.tenant, &*pipeline.name), pipeline))
            .collect();
        let elapsed_ms = now.at_ms.saturating_sub(before.at_ms).max(1);
        #[allow(clippy::cast_precision_loss, reason = "times between looks are shorter than 2^52 ms")]
        let interval_s = elapsed_ms as f64 / 1e3;
        let mut rates = Self {
            interval_s,
            workers: now.workers,
            pipelines: now.pipelines.len(),
            running: in_state(now, State::Running),
            failed: in_state(now, State::Failed),
            tenants: now
                .tenants
                .iter()
                .map(|tenant| TenantRates::between(before, tenant, interval_s))
                .collect(),
            ..Self::default()
        };
        for pipeline in &now.pipelines {
            let key = (&*pipeline.tenant, &*pipeline.name);
            // The counters of another run say nothing of this one.
            let before = earlier
                .get(&key)
                .copied()
                .filter(|before| before.since_ms == pipeline.since_ms);
            rates.add(before, pipeline, now.at_ms);
        }
        rates.operators.sort_by(OperatorRates::first_the_busiest);
        rates
            .tenants
            .sort_by(|a, b| b.workers.total_cmp(&a.workers).then_with(|| a.name.cmp(&b.name)));
        rates
    }

    fn add(&mut self, before: Option<&PipelineActivity>, now: &PipelineActivity, at_ms: i64) {
        let interval_s = self.interval_s;
        let per_s = |before: Option<u64>, now: u64| count(now.saturating_sub(before.unwrap_or(0))) / interval_s;
        for source in &now.sources {
            let before = before.and_then(|before| before.sources.iter().find(|before| before.id == source.id));
            self.events_in_per_s += per_s(before.map(|source| source.events), source.events);
        }
        for sink in &now.sinks {
            let before = before.and_then(|before| before.sinks.iter().find(|before| before.id == sink.id));
            self.events_out_per_s += per_s(before.map(|sink| sink.events), sink.events);
        }
        let lag = |watermark_ms: i64| at_ms.saturating_sub(watermark_ms);
        let of_sources = now
            .sources
            .iter()
            .filter_map(|source| source.watermark_ms)
            .min()
            .map(lag);
        let whole = OperatorRates {
            watermark_lag_ms: of_sources,
            dead_letters: now.dead_letters,
            ..OperatorRates::of(now)
        };
        if now.operators.is_empty() {
            self.operators.push(whole);
            return;
        }
        for operator in &now.operators {
            let before = before.and_then(|before| before.operators.iter().find(|before| before.id == operator.id));
            let was = |figure: fn(&OperatorActivity) -> u64| before.map(figure);
            let workers = per_s(was(|operator| operator.worker_ns), operator.worker_ns) / 1e9;
            self.workers_busy += workers;
            self.operators.push(OperatorRates {
                operator: operator.id.clone(),
                workers,
                events_in_per_s: per_s(was(|operator| operator.events_in), operator.events_in),
                events_out_per_s: per_s(was(|operator| operator.events_out), operator.events_out),
                queued: operator.queued,
                is_bottleneck: now.bottleneck.as_deref() == Some(&*operator.id),
                watermark_lag_ms: operator.watermark_ms.map(lag).or(of_sources),
                traps: operator.traps,
                dead_letters: operator.dead_letters,
                ..whole.clone()
            });
        }
    }
}

fn in_state(activity: &Activity, state: State) -> usize {
    activity
        .pipelines
        .iter()
        .filter(|pipeline| pipeline.state == state)
        .count()
}

#[allow(clippy::cast_precision_loss, reason = "rates are for people")]
fn count(count: u64) -> f64 {
    count as f64
}

impl TenantRates {
    fn between(before: &Activity, now: &Tenant, interval_s: f64) -> Self {
        let before = before.tenants.iter().find(|before| before.name == now.name);
        let figure = |tenant: &Tenant, name: &str| tenant.usage.as_ref().and_then(|usage| usage[name].as_f64());
        let spent = |name: &str| {
            let was = before.and_then(|tenant| figure(tenant, name)).unwrap_or(0.0);
            (figure(now, name).unwrap_or(0.0) - was).max(0.0) / interval_s
        };
        let counted = |name: &str| now.usage.as_ref().and_then(|usage| usage[name].as_u64()).unwrap_or(0);
        Self {
            name: now.name.clone(),
            workers: spent("worker_s"),
            held: spent("held_s").min(1.0),
            memory_peak: counted("memory_peak"),
            memory_denied: counted("memory_denied"),
            pipelines: now.pipelines,
        }
    }
}

impl OperatorRates {
    fn of(pipeline: &PipelineActivity) -> Self {
        Self {
            tenant: pipeline.tenant.clone(),
            pipeline: pipeline.name.clone(),
            state: pipeline.state,
            reason: pipeline.reason.clone(),
            operator: String::new(),
            workers: 0.0,
            events_in_per_s: 0.0,
            events_out_per_s: 0.0,
            queued: pipeline.in_flight,
            is_bottleneck: false,
            p99_ms: pipeline.latency_ms.map(|latency| latency.p99),
            watermark_lag_ms: None,
            traps: 0,
            dead_letters: 0,
        }
    }

    /// The more workers, the earlier; then those that failed, then by how many events wait.
    fn first_the_busiest(a: &Self, b: &Self) -> Ordering {
        let has_failed = |row: &Self| row.state == State::Failed;
        let name = |row: &Self| (row.tenant.clone(), row.pipeline.clone(), row.operator.clone());
        b.workers
            .total_cmp(&a.workers)
            .then_with(|| has_failed(b).cmp(&has_failed(a)))
            .then_with(|| b.queued.cmp(&a.queued))
            .then_with(|| name(a).cmp(&name(b)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use dirigo_api::SourceActivity;
    use serde_json::json;

    use super::*;

    /// A pipeline whose operator has had these events, and this time on workers.
    fn pipeline(name: &str, since_ms: i64, events: u64, worker_ns: u64) -> PipelineActivity {
        PipelineActivity {
            tenant: "acme".into(),
            name: name.into(),
            state: State::Running,
            reason: None,
            since_ms,
            version: 1,
            dead_letters: 0,
            in_flight: 0,
            behind_ms: 0.0,
            bottleneck: Some("map".into()),
            latency_ms: None,
            sources: vec![SourceActivity {
                id: "in".into(),
                events,
                watermark_ms: Some(7_000),
                ..SourceActivity::default()
            }],
            operators: vec![OperatorActivity {
                id: "map".into(),
                events_in: events,
                events_out: events / 2,
                worker_ns,
                ..OperatorActivity::default()
            }],
            sinks: Vec::new(),
            edges: Vec::new(),
        }
    }

    fn activity(at_ms: i64, worker_s: f64, pipelines: Vec<PipelineActivity>) -> Activity {
        Activity {
            at_ms,
            workers: 2,
            pipelines,
            tenants: vec![Tenant {
                name: "acme".into(),
                pipelines: 2,
                usage: Some(
                    json!({"worker_s": worker_s, "held_s": worker_s / 4.0, "memory_peak": 4096, "memory_denied": 0}),
                ),
            }],
        }
    }

    /// Two pipelines over two seconds: `busy` did more, and `failing` has failed.
    pub(crate) fn two_seconds() -> Rates {
        let failing = PipelineActivity {
            state: State::Failed,
            reason: Some("cannot open `in.jsonl`".into()),
            sources: Vec::new(),
            operators: Vec::new(),
            ..pipeline("failing", 0, 0, 0)
        };
        let calm = |events, worker_ns| pipeline("calm", 0, events, worker_ns);
        let busy = |events, worker_ns| pipeline("busy", 0, events, worker_ns);
        let before = activity(8_000, 1.0, vec![busy(1_000, 0), calm(50, 0), failing.clone()]);
        let now = activity(10_000, 3.0, vec![busy(5_000, 1_500_000_000), calm(50, 0), failing]);
        Rates::between(&before, &now)
    }

    #[test]
    fn the_busiest_operator_comes_first_and_a_failed_pipeline_before_idle_ones() {
        let rates = two_seconds();
        let names: Vec<&str> = rates.operators.iter().map(|row| &*row.pipeline).collect();
        assert_eq!(names, ["busy", "failing", "calm"]);
        let busy = &rates.operators[0];
        assert_eq!(
            (busy.workers, busy.events_in_per_s, busy.events_out_per_s),
            (0.75, 2_000.0, 1_000.0)
        );
        assert_eq!((busy.watermark_lag_ms, busy.is_bottleneck), (Some(3_000), true));
        assert_eq!((rates.running, rates.failed, rates.workers_busy), (2, 1, 0.75));
        assert_eq!((rates.events_in_per_s, rates.events_out_per_s), (2_000.0, 0.0));
        let acme = &rates.tenants[0];
        assert_eq!((acme.workers, acme.held, acme.memory_peak), (1.0, 0.25, 4096));
    }

    #[test]
    fn a_pipeline_that_was_started_anew_counts_from_its_start() {
        let before = activity(8_000, 0.0, vec![pipeline("p", 0, 1_000_000, 9)]);
        let now = activity(10_000, 0.0, vec![pipeline("p", 9_000, 10, 9)]);
        let rates = Rates::between(&before, &now);
        assert_eq!((rates.operators[0].events_in_per_s, rates.running), (5.0, 1));
    }
}
