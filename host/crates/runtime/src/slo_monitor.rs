//! Whether pipelines can meet their latency targets next to what else runs.
//!
//! What a pipeline needs is measured, not stated: the workers' time that each of its operators took for the events of the
//! last interval, scaled to the rate that its sources offer. What it can have is its tenant's share of the workers, or what
//! the others leave, whichever is more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Job;
use dirigo_actor::Operator;
use dirigo_flow::SourceHandle;

/// What one pipeline took of the workers in an interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Demand {
    /// Its name.
    pub pipeline: String,
    /// Whose it is.
    pub tenant: String,
    /// The tenant's weight.
    pub weight: u32,
    /// Its latency target.
    pub slo: Option<Duration>,
    /// By operator: the workers that it kept busy.
    pub used: Vec<(String, f64)>,
    /// How many times the events that came are offered: 1 where sources are as fast as they want to be.
    pub backlog: f64,
    /// What a turn of each operator on the longest way to a sink takes together.
    pub path: Duration,
}

/// Why a pipeline cannot meet its target.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Shortfall {
    /// Its operators need more of the workers than it can have.
    #[error(
        "pipeline `{pipeline}` cannot meet its slo of {} alongside the other pipelines: it needs {needed:.2} workers \
         ({}), and can get {available:.2} of {workers} (tenant `{tenant}` has the weight {weight} of {weights})",
        humantime::format_duration(*slo), listed(operators)
    )]
    Workers {
        /// Its name.
        pipeline: String,
        /// Its target.
        slo: Duration,
        /// The workers that it needs.
        needed: f64,
        /// By operator.
        operators: Vec<(String, f64)>,
        /// The workers that it can have.
        available: f64,
        /// All that there are.
        workers: u32,
        /// Whose it is.
        tenant: String,
        /// The tenant's weight.
        weight: u32,
        /// Those of all tenants together.
        weights: u32,
    },
    /// One event takes longer than the target.
    #[error(
        "pipeline `{pipeline}` cannot meet its slo of {} at all: one turn of each operator on its path takes \
         {path:.3?} in total",
        humantime::format_duration(*slo)
    )]
    Path {
        /// Its name.
        pipeline: String,
        /// Its target.
        slo: Duration,
        /// What the way takes.
        path: Duration,
    },
}

impl Shortfall {
    /// Which pipeline it is of.
    #[must_use]
    pub fn pipeline(&self) -> &str {
        match self {
            Shortfall::Workers { pipeline, .. } | Shortfall::Path { pipeline, .. } => pipeline,
        }
    }
}

fn listed(operators: &[(String, f64)]) -> String {
    let each: Vec<String> = operators
        .iter()
        .map(|(id, workers)| format!("`{id}` {workers:.2}"))
        .collect();
    each.join(", ")
}

/// Those of `demands` that cannot meet their targets on so many workers.
#[must_use]
pub fn shortfalls(demands: &[Demand], workers: u32) -> Vec<Shortfall> {
    let mut tenants: Vec<(&str, u32)> = demands
        .iter()
        .map(|demand| (demand.tenant.as_str(), demand.weight))
        .collect();
    tenants.sort_unstable();
    tenants.dedup();
    let weights: u32 = tenants.iter().map(|(_, weight)| weight).sum();
    let shortfall = |(index, demand): (usize, &Demand)| {
        let slo = demand.slo?;
        let pipeline = demand.pipeline.clone();
        if demand.path > slo {
            let path = demand.path;
            return Some(Shortfall::Path { pipeline, slo, path });
        }
        let of_others = |is_own_tenant: bool| -> f64 {
            let others = demands.iter().enumerate().filter(|(other, _)| *other != index);
            let others = others.filter(|(_, other)| (other.tenant == demand.tenant) == is_own_tenant);
            others.map(|(_, other)| other.sum()).sum()
        };
        let all = f64::from(workers);
        let share = all * f64::from(demand.weight) / f64::from(weights);
        let available = (share.max(all - of_others(false)) - of_others(true)).max(0.0);
        let needed = demand.sum() * demand.backlog;
        (needed > available).then(|| Shortfall::Workers {
            pipeline,
            slo,
            needed,
            operators: demand
                .used
                .iter()
                .map(|(id, used)| (id.clone(), used * demand.backlog))
                .collect(),
            available,
            workers,
            tenant: demand.tenant.clone(),
            weight: demand.weight,
            weights,
        })
    };
    demands.iter().enumerate().filter_map(shortfall).collect()
}

impl Demand {
    fn sum(&self) -> f64 {
        self.used.iter().map(|(_, used)| used).sum()
    }
}

/// Measures what a running pipeline takes of the workers.
pub struct DemandMeter {
    demand: Demand,
    /// Events per second that its sources offer, where they say so.
    offered: Option<f64>,
    operators: Vec<Arc<Operator>>,
    source_handles: Vec<Arc<SourceHandle>>,
    worker_ns: Vec<u64>,
    events: u64,
}

impl DemandMeter {
    /// A meter of `job`, whose tenant has this weight.
    #[must_use]
    pub fn new(job: &Job, weight: u32) -> Self {
        let pipeline = job.pipeline();
        let demand = Demand {
            pipeline: pipeline.name.clone(),
            tenant: pipeline.account.clone(),
            weight,
            slo: pipeline.slo,
            used: Vec::new(),
            backlog: 1.0,
            path: Duration::ZERO,
        };
        let offered: Option<Vec<f64>> = pipeline.sources.iter().map(|source| source.spec.rate()).collect();
        let mut meter = Self {
            demand,
            offered: offered.map(|rates| rates.iter().sum()),
            operators: job.operators().to_vec(),
            source_handles: job.source_handles().to_vec(),
            worker_ns: Vec::new(),
            events: 0,
        };
        meter.worker_ns = meter.worker_ns();
        meter
    }

    fn worker_ns(&self) -> Vec<u64> {
        let of = |operator: &Arc<Operator>| operator.counters().worker_ns.load(Ordering::Relaxed);
        self.operators.iter().map(of).collect()
    }

    /// What it took since it was last asked, `interval` ago.
    #[allow(
        clippy::cast_precision_loss,
        reason = "counts of one interval are far below 2^52, and estimates need no more digits"
    )]
    pub fn read(&mut self, interval: Duration) -> Demand {
        let interval_s = interval.as_secs_f64().max(1e-9);
        let now = self.worker_ns();
        let used = self.operators.iter().zip(&now).zip(&self.worker_ns);
        let used = used.map(|((operator, now), before)| {
            let busy_s = now.saturating_sub(*before) as f64 / 1e9;
            (operator.id().to_owned(), busy_s / interval_s)
        });
        self.demand.used = used.collect();
        self.worker_ns = now;
        let events: u64 = self
            .source_handles
            .iter()
            .map(|source_handle| source_handle.events_in.load(Ordering::Relaxed))
            .sum();
        let came = (events - self.events) as f64;
        self.events = events;
        self.demand.backlog = match self.offered {
            Some(rate) if came > 0.0 => (rate * interval_s / came).max(1.0),
            _ => 1.0,
        };
        let path_ns = self.source_paths_ns();
        self.demand.path = Duration::from_nanos(path_ns);
        self.demand.clone()
    }

    fn source_paths_ns(&self) -> u64 {
        self.operators
            .iter()
            .map(|operator| operator.path_ns())
            .max()
            .unwrap_or(0)
    }
}

impl std::fmt::Debug for DemandMeter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("DemandMeter")
            .field("demand", &self.demand)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(pipeline: &str, tenant: &str, used: f64, backlog: f64) -> Demand {
        Demand {
            pipeline: pipeline.into(),
            tenant: tenant.into(),
            weight: 1,
            slo: Some(Duration::from_millis(50)),
            used: vec![("map".into(), used / 4.0), ("reduce".into(), used * 3.0 / 4.0)],
            backlog,
            path: Duration::from_millis(1),
        }
    }

    #[test]
    fn a_pipeline_may_have_what_the_others_leave() {
        let demands = [demand("a", "acme", 1.5, 1.0), demand("b", "globex", 0.5, 1.0)];
        assert_eq!(shortfalls(&demands, 2), []);
    }

    #[test]
    fn what_is_needed_is_told_with_what_there_is() {
        let demands = [demand("a", "acme", 0.5, 4.0), demand("b", "globex", 1.5, 1.0)];
        let said: Vec<String> = shortfalls(&demands, 2).iter().map(ToString::to_string).collect();
        // `a` takes half a worker for a quarter of what it is offered; `b` has more than its share, but not at its need.
        let a = "pipeline `a` cannot meet its slo of 50ms alongside the other pipelines: it needs 2.00 workers (`map` \
                 0.50, `reduce` 1.50), and can get 1.00 of 2 (tenant `acme` has the weight 1 of 2)";
        assert_eq!(said, [a]);
    }

    #[test]
    fn pipelines_of_one_tenant_share_its_share() {
        let demands = [
            demand("a", "acme", 0.6, 1.0),
            demand("b", "acme", 0.3, 3.0),
            demand("c", "globex", 1.0, 1.0),
        ];
        let short = shortfalls(&demands, 2);
        assert_eq!(short.len(), 1);
        assert!(
            matches!(&short[0], Shortfall::Workers { pipeline, available, .. } if pipeline == "b" && *available < 0.41)
        );
    }

    #[test]
    fn a_way_longer_than_the_target_is_too_long_on_any_machine() {
        let slow = Demand {
            path: Duration::from_millis(60),
            ..demand("a", "acme", 0.1, 1.0)
        };
        let said = shortfalls(&[slow], 64)[0].to_string();
        assert!(
            said.contains("cannot meet its slo of 50ms at all") && said.contains("60.000ms"),
            "{said}"
        );
    }
}
