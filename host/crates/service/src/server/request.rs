//! What requests bear: a token, a body, the name of a pipeline.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::header;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::Shared;
use crate::access::Caller;
use crate::pipelines::is_name;
use crate::record::Key;
use crate::refused::Refused;

impl FromRequestParts<Shared> for Caller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Refused> {
        let bearer = parts.headers.get(header::AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        let caller = bearer.and_then(|token| shared.access.caller(token, shared.pipelines.now_ms()));
        caller.ok_or_else(|| {
            let error = match bearer {
                None => "the request bears no `Authorization: Bearer TOKEN`",
                Some(_) => "this token is not valid, or not any more",
            };
            Refused::new(StatusCode::UNAUTHORIZED, error)
        })
    }
}

/// A body in JSON.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Shared> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Refused> {
        let body = super::SILENCE_MAX * 2;
        let json = tokio::time::timeout(body, Json::<T>::from_request(request, shared)).await;
        match json {
            Ok(Ok(Json(body))) => Ok(Self(body)),
            Ok(Err(rejection)) => Err(refused(&rejection)),
            Err(_) => Err(Refused::new(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not come within a minute",
            )),
        }
    }
}

fn refused(rejection: &JsonRejection) -> Refused {
    Refused::new(rejection.status(), rejection.body_text())
}

/// What stands behind the `?` of an address.
pub(super) struct Options<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Shared> for Options<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Refused> {
        let query = Query::<T>::from_request_parts(parts, shared).await;
        let refused = |rejection: QueryRejection| Refused::new(rejection.status(), rejection.body_text());
        query.map(|Query(options)| Self(options)).map_err(refused)
    }
}

/// Whose pipelines a request is about.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct OfTenant {
    /// The tenant; by default all that the caller may see, and for a pipeline that an operator of the host deploys the tenant that its file
    /// says.
    pub(super) tenant: Option<String>,
}

/// What the parts of an address are.
pub(super) struct InPath<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Shared> for InPath<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Refused> {
        let path = Path::<T>::from_request_parts(parts, shared).await;
        let refused = |rejection: PathRejection| Refused::new(rejection.status(), rejection.body_text());
        path.map(|Path(parts)| Self(parts)).map_err(refused)
    }
}

/// The parts of an address that name a pipeline.
#[derive(Deserialize)]
struct PathOfPipeline {
    tenant: String,
    name: String,
}

/// A pipeline that an address names, and that the caller may see.
pub(super) struct Named {
    pub(super) caller: Caller,
    pub(super) key: Key,
}

impl FromRequestParts<Shared> for Named {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Refused> {
        let caller = Caller::from_request_parts(parts, shared).await?;
        let InPath(PathOfPipeline { tenant, name }) = InPath::from_request_parts(parts, shared).await?;
        caller.expect_see(&tenant)?;
        if !is_name(&tenant) || !is_name(&name) {
            return Err(Refused::not_found("no tenant or pipeline can be called so"));
        }
        let key = Key { tenant, name };
        Ok(Self { caller, key })
    }
}

impl Named {
    /// The pipeline, which the caller may change.
    pub(super) fn into_changeable(self) -> Result<Key, Refused> {
        self.caller.expect_change(&self.key.tenant)?;
        Ok(self.key)
    }
}

/// Does what waits for a disk or compiles, where it holds up no other request.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
