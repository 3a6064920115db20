//! What is going on in the host, for clients that show it as it changes.

use axum::Json;
use axum::extract::State;
use dirigo_api::{
    Activity, EdgeActivity, LatencyFigures, OperatorActivity, PipelineActivity, Problem, SinkActivity, SourceActivity,
};
use dirigo_runtime::{Monitor, OperatorStatus, Status};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::request::{OfTenant, Options};
use crate::access::Caller;
use crate::entry::Entry;
use crate::refused::Refused;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(activity))
}

/// What the pipelines and tenants that the caller may see are doing at this moment.
#[utoipa::path(get, path = "/api/v1/activity", params(OfTenant), responses(
    (status = 200, body = Activity), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
))]
async fn activity(
    caller: Caller,
    State(shared): State<Shared>,
    Options(of): Options<OfTenant>,
) -> Result<Json<Activity>, Refused> {
    if let Some(tenant) = &of.tenant {
        caller.expect_see(tenant)?;
    }
    let is_meant = |tenant: &str| of.tenant.as_deref().is_none_or(|meant| meant == tenant);
    let pipelines = shared.pipelines.visible(&caller).into_iter();
    let mut tenants = shared.pipelines.tenants(&caller);
    tenants.retain(|tenant| is_meant(&tenant.name));
    Ok(Json(Activity {
        at_ms: shared.pipelines.now_ms(),
        workers: shared.pipelines.host.workers(),
        pipelines: pipelines
            .filter(|entry| is_meant(&entry.key.tenant))
            .map(|entry| of_pipeline(&entry))
            .collect(),
        tenants,
    }))
}

fn of_pipeline(entry: &Entry) -> PipelineActivity {
    let listed = entry.listed();
    let monitor = entry.monitor();
    let status = monitor.as_ref().and_then(Monitor::status);
    let latency = monitor.and_then(|monitor| monitor.latency());
    let status = status.unwrap_or_default();
    PipelineActivity {
        tenant: listed.tenant,
        name: listed.name,
        state: listed.state,
        reason: listed.reason,
        since_ms: listed.since_ms,
        version: listed.version,
        dead_letters: listed.figures.dead_letters,
        in_flight: listed.figures.in_flight,
        behind_ms: listed.figures.behind_ms,
        bottleneck: status.bottleneck().map(ToOwned::to_owned),
        latency_ms: latency.map(|latency| LatencyFigures {
            p50: latency.p50,
            p99: latency.p99,
        }),
        sources: sources(&status),
        operators: status.operators.iter().map(of_operator).collect(),
        sinks: sinks(&status),
        edges: edges(&status),
    }
}

fn sources(status: &Status) -> Vec<SourceActivity> {
    let sources = status.sources.iter();
    let activity = sources.map(|source| SourceActivity {
        id: source.id.clone(),
        events: source.events,
        in_flight: source.in_flight,
        dead_letters: source.dead_letters,
        units_read: source.units_read,
        units_total: source.units_total,
        has_ended: source.has_ended,
        watermark_ms: source.watermark,
    });
    activity.collect()
}

fn of_operator(operator: &OperatorStatus) -> OperatorActivity {
    let counts = &operator.counts;
    OperatorActivity {
        id: operator.id.clone(),
        events_in: counts.events_in,
        events_out: counts.events_out,
        passed: counts.passed,
        filtered: counts.filtered,
        absorbed: counts.absorbed,
        late: counts.late,
        dead_letters: counts.dead_letters,
        traps: counts.traps,
        worker_ns: counts.worker_ns,
        fuel: counts.fuel,
        queued: operator.queued,
        is_full: operator.is_full,
        // The two are read one after the other.
        instances: counts.activations.saturating_sub(counts.deactivations),
        watermark_ms: operator.watermark,
    }
}

fn sinks(status: &Status) -> Vec<SinkActivity> {
    let sinks = status.sinks.iter();
    let activity = sinks.map(|sink| SinkActivity {
        id: sink.id.clone(),
        events: sink.events,
        queued: sink.queued,
        is_full: sink.is_full,
    });
    activity.collect()
}

fn edges(status: &Status) -> Vec<EdgeActivity> {
    let edges = status.edges.iter();
    let activity = edges.map(|edge| EdgeActivity {
        from: edge.from.clone(),
        to: edge.to.clone(),
        sent: edge.sent,
        received: edge.received,
        queued: edge.queued,
    });
    activity.collect()
}
