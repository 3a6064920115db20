//! Pipelines: deployed, listed, inspected, started, stopped, upgraded, deleted.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use dirigo_api::{Deployed, Deployment, Finding, LogLine, Pipeline, PipelineDetails, Problem, Version};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::request::{Body, Named, OfTenant, Options, blocking};
use crate::access::Caller;
use crate::findings::findings_of;
use crate::refused::Refused;

/// For how long a pipeline drains before it stops, by default.
const DRAIN: Duration = Duration::from_secs(20);
/// The longest that may be said.
const DRAIN_MAX: Duration = Duration::from_hours(24);
/// Lines of a log in one answer.
const LINES_MAX: usize = 10_000;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, deploy))
        .routes(routes!(check))
        .routes(routes!(inspect, upgrade, delete))
        .routes(routes!(start))
        .routes(routes!(stop))
        .routes(routes!(rollback))
        .routes(routes!(versions))
        .routes(routes!(logs))
}

/// The pipelines that the caller may see.
#[utoipa::path(get, path = "/api/v1/pipelines", params(OfTenant), responses((status = 200, body = Vec<Pipeline>), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn list(
    caller: Caller,
    State(shared): State<Shared>,
    Options(of): Options<OfTenant>,
) -> Result<Json<Vec<Pipeline>>, Refused> {
    if let Some(tenant) = &of.tenant {
        caller.expect_see(tenant)?;
    }
    Ok(Json(shared.pipelines.list(&caller, of.tenant.as_deref())))
}

/// Deploys a pipeline that is not there yet. When this is answered, the service has it on disk, and starts it.
#[utoipa::path(post, path = "/api/v1/pipelines", params(OfTenant), request_body = Deployment, responses(
    (status = 201, body = Deployed),
    (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 408, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem),
    (status = 409, description = "There is a pipeline of this name.", body = Problem),
    (status = 422, description = "It cannot run; the findings say why.", body = Problem),
    (status = 507, description = "The tenant has as many as it may.", body = Problem),
))]
async fn deploy(
    caller: Caller,
    State(shared): State<Shared>,
    Options(of): Options<OfTenant>,
    Body(deployment): Body<Deployment>,
) -> Result<(StatusCode, Json<Deployed>), Refused> {
    let runtime = tokio::runtime::Handle::current();
    let deployed = blocking(move || {
        // Its task begins on this runtime.
        let _inside = runtime.enter();
        shared.pipelines.deploy(&caller, of.tenant.as_deref(), deployment)
    });
    Ok((StatusCode::CREATED, Json(deployed.await?)))
}

/// What a check has found.
#[derive(serde::Serialize, ToSchema)]
struct Checked {
    /// The tenant whose pipeline it would be.
    tenant: String,
    /// Its name.
    name: String,
    /// Warnings and notes about its file.
    findings: Vec<Finding>,
    /// The same for people.
    rendered: String,
}

/// Looks whether a pipeline could run. Nothing is deployed.
#[utoipa::path(post, path = "/api/v1/check", params(OfTenant), request_body = Deployment, responses(
    (status = 200, body = Checked),
    (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 408, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem),
    (status = 422, description = "It cannot run; the findings say why.", body = Problem),
))]
async fn check(
    caller: Caller,
    State(shared): State<Shared>,
    Options(of): Options<OfTenant>,
    Body(deployment): Body<Deployment>,
) -> Result<Json<Checked>, Refused> {
    let checked = blocking(move || shared.pipelines.check(&caller, of.tenant.as_deref(), &deployment));
    let (key, findings) = checked.await?;
    Ok(Json(Checked {
        tenant: key.tenant,
        name: key.name,
        rendered: findings.render(false),
        findings: findings_of(&findings),
    }))
}

/// A pipeline with its parts.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/pipelines/{name}", params(("tenant" = String, Path), ("name" = String, Path)), responses(
    (status = 200, body = PipelineDetails), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
))]
async fn inspect(named: Named, State(shared): State<Shared>) -> Result<Json<PipelineDetails>, Refused> {
    let details = blocking(move || Ok(shared.pipelines.entry(&named.key)?.details()));
    Ok(Json(details.await?))
}

/// Has another version of a pipeline run, in place of the present one: from the state that this one leaves, without losing or repeating
/// an event. The version before comes back if the new one fails within 30 s, or more than a hundredth more of its events become dead
/// letters.
#[utoipa::path(put, path = "/api/v1/tenants/{tenant}/pipelines/{name}", params(("tenant" = String, Path), ("name" = String, Path)), request_body = Deployment, responses(
    (status = 200, body = Deployed),
    (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    (status = 408, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem),
    (status = 422, description = "It cannot run; the findings say why.", body = Problem),
))]
async fn upgrade(
    named: Named,
    State(shared): State<Shared>,
    Body(deployment): Body<Deployment>,
) -> Result<Json<Deployed>, Refused> {
    let caller = named.caller.clone();
    let key = named.into_changeable()?;
    let deployed = blocking(move || shared.pipelines.upgrade(&caller, &key, deployment));
    Ok(Json(deployed.await?))
}

/// Has a pipeline go, with its state and its versions. What it wrote stays. When this is answered, it is on disk that the pipeline goes; it
/// is gone once it is listed no more.
#[utoipa::path(delete, path = "/api/v1/tenants/{tenant}/pipelines/{name}", params(("tenant" = String, Path), ("name" = String, Path)), responses(
    (status = 202, description = "It goes.", body = Pipeline), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
))]
async fn delete(named: Named, State(shared): State<Shared>) -> Result<(StatusCode, Json<Pipeline>), Refused> {
    let key = named.into_changeable()?;
    let pipeline = blocking(move || shared.pipelines.delete(&key)).await?;
    Ok((StatusCode::ACCEPTED, Json(pipeline)))
}

/// Has a pipeline run that was stopped, has finished or has failed.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/pipelines/{name}/start", params(("tenant" = String, Path), ("name" = String, Path)), responses(
    (status = 200, body = Pipeline), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
))]
async fn start(named: Named, State(shared): State<Shared>) -> Result<Json<Pipeline>, Refused> {
    let key = named.into_changeable()?;
    Ok(Json(blocking(move || shared.pipelines.run(&key)).await?))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Stopping {
    /// For how long what its sources have read may go to its end, such as `20s`, the default; `0s` to take a last checkpoint at once, which
    /// has what is on its way.
    drain: Option<String>,
}

/// Stops a pipeline. Its state is kept, and it resumes there once it is started again.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/pipelines/{name}/stop", params(("tenant" = String, Path), ("name" = String, Path), Stopping), responses(
    (status = 200, body = Pipeline), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem),
))]
async fn stop(
    named: Named,
    State(shared): State<Shared>,
    Options(stopping): Options<Stopping>,
) -> Result<Json<Pipeline>, Refused> {
    let key = named.into_changeable()?;
    let drain = match stopping.drain.as_deref().map(humantime::parse_duration) {
        None => DRAIN,
        Some(Ok(drain)) if drain <= DRAIN_MAX => drain,
        Some(Ok(_)) => return Err(Refused::invalid("a pipeline may drain for a day at most")),
        Some(Err(error)) => return Err(Refused::invalid(format!("`drain` is no time: {error}")).help("such as `20s`")),
    };
    Ok(Json(blocking(move || shared.pipelines.stop(&key, drain)).await?))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Returning {
    /// The number of the version; by default the one before the present one.
    to: Option<u64>,
}

/// Has an earlier version of a pipeline run, from the state that the present one leaves.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/pipelines/{name}/rollback", params(("tenant" = String, Path), ("name" = String, Path), Returning), responses(
    (status = 200, body = Pipeline), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem), (status = 409, body = Problem),
))]
async fn rollback(
    named: Named,
    State(shared): State<Shared>,
    Options(returning): Options<Returning>,
) -> Result<Json<Pipeline>, Refused> {
    let key = named.into_changeable()?;
    Ok(Json(
        blocking(move || shared.pipelines.roll_back(&key, returning.to)).await?,
    ))
}

/// The versions that are kept of a pipeline, the latest first.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/pipelines/{name}/versions", params(("tenant" = String, Path), ("name" = String, Path)), responses(
    (status = 200, body = Vec<Version>), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
))]
async fn versions(named: Named, State(shared): State<Shared>) -> Result<Json<Vec<Version>>, Refused> {
    Ok(Json(shared.pipelines.versions(&named.key)?))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Lines {
    /// How many, at most; 100 by default.
    lines: Option<usize>,
    /// From when on, in ms since the epoch.
    from_ms: Option<i64>,
}

/// The latest lines of a pipeline's log: what its operators said, and what the service says of it.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/pipelines/{name}/logs", params(("tenant" = String, Path), ("name" = String, Path), Lines), responses(
    (status = 200, body = Vec<LogLine>), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
))]
async fn logs(
    named: Named,
    State(shared): State<Shared>,
    Options(wanted): Options<Lines>,
) -> Result<Json<Vec<LogLine>>, Refused> {
    let entry = shared.pipelines.entry(&named.key)?;
    let lines = wanted.lines.unwrap_or(100).min(LINES_MAX);
    Ok(Json(entry.log(lines, wanted.from_ms.unwrap_or(i64::MIN))))
}
