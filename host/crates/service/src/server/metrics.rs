//! `/metrics`: how pipelines and tenants are doing, as Prometheus reads it.
//!
//! Owns the names of the metrics, which docs/service.md lists. There is one series per part of a pipeline, so their number is that of what was
//! deployed; no value of an event is in a label.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::header;
use dirigo_api::Problem;
use dirigo_runtime::{Status, TenantSummary};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use crate::access::Caller;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// A metric: its name, its type, what it counts.
type Metric = (&'static str, &'static str, &'static str);

const STATE: Metric = (
    "dirigo_pipeline_state",
    "gauge",
    "1 for the state that the pipeline is in",
);
const DEAD_LETTERS: Metric = (
    "dirigo_pipeline_dead_letters_total",
    "counter",
    "Events and records that failed",
);
const BEHIND: Metric = (
    "dirigo_pipeline_behind_seconds",
    "gauge",
    "How long the oldest events on their way have been",
);
const SOURCE_EVENTS: Metric = (
    "dirigo_source_events_total",
    "counter",
    "Events that the source sent on",
);
const SOURCE_IN_FLIGHT: Metric = (
    "dirigo_source_in_flight_events",
    "gauge",
    "Events of the source that are on their way",
);
const OPERATOR_IN: Metric = (
    "dirigo_operator_events_in_total",
    "counter",
    "Events that arrived at the operator",
);
const OPERATOR_EVENTS: Metric = (
    "dirigo_operator_events_total",
    "counter",
    "What became of the events of the operator",
);
const OPERATOR_QUEUED: Metric = (
    "dirigo_operator_queued_events",
    "gauge",
    "Events that wait for the operator",
);
const OPERATOR_FULL: Metric = (
    "dirigo_operator_is_full",
    "gauge",
    "1 while those before the operator wait for room",
);
const OPERATOR_TRAPS: Metric = ("dirigo_operator_traps_total", "counter", "Turns that ended in a trap");
const OPERATOR_WORKER: Metric = (
    "dirigo_operator_worker_seconds_total",
    "counter",
    "Worker time that turns took",
);
const OPERATOR_FUEL: Metric = ("dirigo_operator_fuel_total", "counter", "Fuel burnt on events");
const SINK_EVENTS: Metric = (
    "dirigo_sink_events_total",
    "counter",
    "Events that the sink has written",
);
const SINK_QUEUED: Metric = ("dirigo_sink_queued_events", "gauge", "Events that wait to be written");
const TENANT_WORKER: Metric = (
    "dirigo_tenant_worker_seconds_total",
    "counter",
    "Time that the tenant had on workers",
);
const TENANT_FUEL: Metric = (
    "dirigo_tenant_fuel_total",
    "counter",
    "Fuel that the tenant's operators burnt",
);
const TENANT_MEMORY: Metric = (
    "dirigo_tenant_memory_peak_bytes",
    "gauge",
    "The most memory that the tenant had at once",
);
const TENANT_DENIED: Metric = (
    "dirigo_tenant_memory_denied_total",
    "counter",
    "How often the tenant was denied memory",
);
const TENANT_HELD: Metric = (
    "dirigo_tenant_held_seconds_total",
    "counter",
    "For how long the tenant had burnt its fuel",
);

/// In the order in which they are shown.
const METRICS: [Metric; 19] = [
    STATE,
    DEAD_LETTERS,
    BEHIND,
    SOURCE_EVENTS,
    SOURCE_IN_FLIGHT,
    OPERATOR_IN,
    OPERATOR_EVENTS,
    OPERATOR_QUEUED,
    OPERATOR_FULL,
    OPERATOR_TRAPS,
    OPERATOR_WORKER,
    OPERATOR_FUEL,
    SINK_EVENTS,
    SINK_QUEUED,
    TENANT_WORKER,
    TENANT_FUEL,
    TENANT_MEMORY,
    TENANT_DENIED,
    TENANT_HELD,
];

/// The metrics of the pipelines and tenants that the caller may see, in the text format of Prometheus. Those of a pipeline begin anew with each
/// of its runs.
#[utoipa::path(get, path = "/metrics", responses(
    (status = 200, description = "Metrics.", body = String, content_type = "text/plain"), (status = 401, body = Problem),
))]
async fn metrics(caller: Caller, State(shared): State<Shared>) -> ([(header::HeaderName, &'static str); 1], String) {
    let mut series = Series::default();
    for entry in shared.pipelines.visible(&caller) {
        let labels = format!("tenant=\"{}\",pipeline=\"{}\"", entry.key.tenant, entry.key.name);
        series.add(STATE, &format!("{labels},state=\"{}\"", entry.state().word()), 1.0);
        if let Some(status) = entry.status() {
            series.of_pipeline(&labels, &status);
        }
    }
    let tenants = shared.pipelines.host.tenants();
    for tenant in tenants.iter().filter(|tenant| caller.may_see(&tenant.name)) {
        series.of_tenant(tenant);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], series.text())
}

/// The lines, by metric.
#[derive(Default)]
struct Series(std::collections::HashMap<&'static str, String>);

impl Series {
    fn add(&mut self, (name, ..): Metric, labels: &str, value: f64) {
        let lines = self.0.entry(name).or_default();
        writeln!(lines, "{name}{{{labels}}} {value}").expect("a text takes what is written to it");
    }

    fn count(&mut self, metric: Metric, labels: &str, value: u64) {
        #[allow(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
        self.add(metric, labels, value as f64);
    }

    fn of_pipeline(&mut self, labels: &str, status: &Status) {
        self.count(DEAD_LETTERS, labels, status.dead_letters);
        self.add(BEHIND, labels, seconds(status.behind_ns));
        for source in &status.sources {
            let labels = format!("{labels},source=\"{}\"", source.id);
            self.count(SOURCE_EVENTS, &labels, source.events);
            self.count(SOURCE_IN_FLIGHT, &labels, source.in_flight);
        }
        for operator in &status.operators {
            let labels = format!("{labels},operator=\"{}\"", operator.id);
            let counts = &operator.counts;
            self.count(OPERATOR_IN, &labels, counts.events_in);
            for (outcome, events) in [
                ("passed", counts.passed),
                ("filtered", counts.filtered),
                ("absorbed", counts.absorbed),
                ("late", counts.late),
                ("dead_letter", counts.dead_letters),
            ] {
                self.count(OPERATOR_EVENTS, &format!("{labels},outcome=\"{outcome}\""), events);
            }
            self.count(OPERATOR_QUEUED, &labels, operator.queued);
            self.count(OPERATOR_FULL, &labels, operator.is_full.into());
            self.count(OPERATOR_TRAPS, &labels, counts.traps);
            self.add(OPERATOR_WORKER, &labels, seconds(counts.worker_ns));
            self.count(OPERATOR_FUEL, &labels, counts.fuel);
        }
        for sink in &status.sinks {
            let labels = format!("{labels},sink=\"{}\"", sink.id);
            self.count(SINK_EVENTS, &labels, sink.events);
            self.count(SINK_QUEUED, &labels, sink.queued);
        }
    }

    fn of_tenant(&mut self, tenant: &TenantSummary) {
        let labels = format!("tenant=\"{}\"", tenant.name);
        self.add(TENANT_WORKER, &labels, tenant.worker_s);
        self.count(TENANT_FUEL, &labels, tenant.fuel);
        self.count(TENANT_MEMORY, &labels, tenant.memory_peak);
        self.count(TENANT_DENIED, &labels, tenant.memory_denied);
        self.add(TENANT_HELD, &labels, tenant.held_s);
    }

    fn text(self) -> String {
        let mut text = String::new();
        for (name, kind, help) in METRICS {
            let lines = self.0.get(name).map_or("", String::as_str);
            write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}")
                .expect("a text takes what is written to it");
        }
        text
    }
}

#[allow(clippy::cast_precision_loss, reason = "times are shorter than 2^52 ns")]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_is_in_the_documentation() {
        let documented = include_str!("../../../../../docs/service.md");
        for (name, ..) in METRICS {
            assert!(
                documented.contains(&format!("| `{name}`")),
                "docs/service.md does not have `{name}`"
            );
        }
    }
}
