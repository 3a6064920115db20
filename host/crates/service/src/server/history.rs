//! How pipelines have been doing over the last hour.

use axum::Json;
use axum::extract::State;
use dirigo_api::{History, Problem};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::request::{Named, Options};
use crate::refused::Refused;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(history))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Since {
    /// From when on, in ms since the epoch; by default all that is kept.
    from_ms: Option<i64>,
}

/// How a pipeline was doing over the last hour, as it was seen every 5 s; with a sample only where something changed. It begins anew with the
/// service.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/pipelines/{name}/history", params(("tenant" = String, Path), ("name" = String, Path), Since), responses(
    (status = 200, body = History), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
))]
async fn history(
    named: Named,
    State(shared): State<Shared>,
    Options(since): Options<Since>,
) -> Result<Json<History>, Refused> {
    let entry = shared.pipelines.entry(&named.key)?;
    Ok(Json(entry.history(since.from_ms.unwrap_or(i64::MIN))))
}
