//! Whether the service is there, what it is, and who asks.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use dirigo_api::{About, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use crate::access::Caller;
use crate::refused::Refused;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(about))
        .routes(routes!(whoami))
        .routes(routes!(tenants))
}

/// Whether the service answers.
#[utoipa::path(get, path = "/healthz", security(()), responses((status = 200, description = "It does.", body = String)))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the pipelines that are to run have been started since the service was, and it is not ending.
#[utoipa::path(get, path = "/readyz", security(()), responses(
    (status = 200, description = "They have.", body = String),
    (status = 503, description = "Some have not, or the service is ending.", body = Problem),
))]
async fn readyz(State(shared): State<Shared>) -> Result<&'static str, Refused> {
    if shared.pipelines.is_ready() {
        Ok("ready\n")
    } else {
        let message = "pipelines are being started, or the service is ending";
        Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, message))
    }
}

/// What the service is.
#[utoipa::path(get, path = "/api/v1/about", responses((status = 200, body = About), (status = 401, body = Problem)))]
async fn about(_: Caller, State(shared): State<Shared>) -> Json<About> {
    Json(About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        workers: shared.pipelines.host.workers(),
    })
}

/// Whose token the request bears.
#[utoipa::path(get, path = "/api/v1/whoami", responses((status = 200, body = dirigo_api::Caller), (status = 401, body = Problem)))]
async fn whoami(caller: Caller) -> Json<dirigo_api::Caller> {
    Json(dirigo_api::Caller {
        may_change: caller.may_change(),
        name: caller.name,
        tenant: caller.tenant,
    })
}

/// The tenants that the caller may see, and what each has used.
#[utoipa::path(get, path = "/api/v1/tenants", responses((status = 200, body = Vec<dirigo_api::Tenant>), (status = 401, body = Problem)))]
async fn tenants(caller: Caller, State(shared): State<Shared>) -> Json<Vec<dirigo_api::Tenant>> {
    Json(shared.pipelines.tenants(&caller))
}
