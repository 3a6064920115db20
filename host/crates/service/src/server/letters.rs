//! Dead letters: counted, shown, put back.

use axum::Json;
use axum::extract::State;
use dirigo_api::{DeadLetters, Problem, Retried, Retry};
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::request::{Body, InPath, Named, Options, blocking};
use crate::refused::Refused;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(retry))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Only those that failed in this operator, or that this source refused.
    operator: Option<String>,
}

/// The part of an address that names a letter.
#[derive(Deserialize)]
struct Letter {
    id: u64,
}

/// The dead letters of a pipeline, counted by where and why they failed.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/pipelines/{name}/dead-letters", params(("tenant" = String, Path), ("name" = String, Path), Which), responses(
    (status = 200, body = DeadLetters), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem), (status = 422, description = "The pipeline file of its version is not valid any more.", body = Problem),
    (status = 500, description = "The dead letters cannot be read.", body = Problem),
))]
async fn list(
    named: Named,
    State(shared): State<Shared>,
    Options(which): Options<Which>,
) -> Result<Json<DeadLetters>, Refused> {
    let listed = blocking(move || shared.pipelines.dead_letters(&named.key, which.operator.as_deref()));
    Ok(Json(listed.await?))
}

/// One dead letter, as it stands in the file of the pipeline's dead letters, and whether it was `retried`.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/pipelines/{name}/dead-letters/{id}",
    params(("tenant" = String, Path), ("name" = String, Path), ("id" = u64, Path)), responses(
    (status = 200, body = Object), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem), (status = 422, description = "The pipeline file of its version is not valid any more.", body = Problem),
    (status = 500, description = "The dead letters cannot be read.", body = Problem),
))]
async fn show(
    named: Named,
    State(shared): State<Shared>,
    InPath(Letter { id }): InPath<Letter>,
) -> Result<Json<Value>, Refused> {
    let (letter, is_retried) = blocking(move || shared.pipelines.dead_letter(&named.key, id)).await?;
    let mut letter = serde_json::to_value(letter).expect("a letter is plain JSON");
    letter["retried"] = is_retried.into();
    Ok(Json(letter))
}

/// Puts dead letters back into the pipeline, each at the operator where it failed, exactly once. The pipeline takes a checkpoint before that, and
/// resumes after it. This is answered when the letters have come to their end; the retry is carried out even if the client goes.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/pipelines/{name}/dead-letters/retry", params(("tenant" = String, Path), ("name" = String, Path)),
    request_body = Retry, responses(
    (status = 200, body = Retried), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem), (status = 408, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem),
    (status = 409, description = "It was interrupted or failed, another one is under way, or the pipeline is being deleted.", body = Problem),
    (status = 422, description = "The pipeline cannot run, or the body is not what it should be.", body = Problem),
))]
async fn retry(named: Named, State(shared): State<Shared>, Body(which): Body<Retry>) -> Result<Json<Retried>, Refused> {
    let name = named.key.name.clone();
    let key = named.into_changeable()?;
    let answer = shared.pipelines.retry(&key, which)?;
    // Its task goes without an answer where the pipeline is deleted or the service ends.
    let gone = |_| Refused::conflict(format!("pipeline `{name}` is being deleted, or the service ends"));
    Ok(Json(answer.await.map_err(gone)??))
}
