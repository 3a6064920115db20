//! Components: uploaded, listed, removed.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use dirigo_api::{Component, Problem};
use http_body_util::BodyExt as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::request::blocking;
use super::{SILENCE_MAX, Shared};
use crate::access::Caller;
use crate::pipelines::is_sha256;
use crate::refused::Refused;
use crate::store::{OPERATORS, Upload};

/// Components that are uploaded at the same time.
pub(super) const UPLOADS_MAX: usize = 8;
/// For how long an upload may take.
const UPLOAD_TIME_MAX: Duration = Duration::from_mins(5);
/// The largest component, as the engine takes it.
const COMPONENT_BYTES_MAX: u64 = 192 << 20;
/// What a tenant may have stored.
const STORED_MAX: usize = 1_000;
const STORED_BYTES_MAX: u64 = 4 << 30;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(upload, remove))
}

/// Whose components a caller uploads: those of its tenant, or those of operators of the host, which any pipeline may use that one of them
/// deploys.
fn scope_of(caller: &Caller) -> String {
    caller.tenant.clone().unwrap_or_else(|| OPERATORS.to_owned())
}

/// The components that the caller's tenant has uploaded, or operators of the host where one of them asks.
#[utoipa::path(get, path = "/api/v1/components", responses((status = 200, body = Vec<Component>), (status = 401, body = Problem)))]
async fn list(caller: Caller, State(shared): State<Shared>) -> Result<Json<Vec<Component>>, Refused> {
    let stored = blocking(move || Ok(shared.pipelines.store.components(&scope_of(&caller))?)).await?;
    let component = |(sha256, bytes)| Component { sha256, bytes };
    Ok(Json(stored.into_iter().map(component).collect()))
}

/// Stores a component. It is compiled when a pipeline is deployed that names it.
#[utoipa::path(put, path = "/api/v1/components/{sha256}", params(("sha256" = String, Path, description = "Its SHA-256, in lower-case hexadecimal")),
    request_body(content = Vec<u8>, content_type = "application/wasm"), responses(
    (status = 200, description = "It was there already.", body = Component),
    (status = 201, description = "It is stored.", body = Component),
    (status = 400, description = "The body did not come whole.", body = Problem),
    (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 408, description = "The body came too slowly.", body = Problem),
    (status = 413, description = "It is larger than a component may be.", body = Problem),
    (status = 422, description = "The body has another hash, or is no component.", body = Problem),
    (status = 429, description = "Too many components are being uploaded.", body = Problem),
    (status = 507, description = "The tenant has stored as much as it may.", body = Problem),
))]
async fn upload(
    caller: Caller,
    State(shared): State<Shared>,
    Path(sha256): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<Component>), Refused> {
    let scope = scope_of(&caller);
    caller.expect_change(&scope)?;
    expect_sha256(&sha256)?;
    let store = shared.clone();
    let (find, named) = (scope.clone(), sha256.clone());
    let (known, stored) = blocking(move || {
        let store = &store.pipelines.store;
        Ok((store.component(&find, &named), store.components(&find)?))
    })
    .await?;
    if known.is_some() {
        let bytes = stored
            .iter()
            .find(|(known, _)| *known == sha256)
            .map_or(0, |(_, bytes)| *bytes);
        pass_over(body, bytes).await;
        return Ok((StatusCode::OK, Json(Component { sha256, bytes })));
    }
    let room = STORED_BYTES_MAX.saturating_sub(stored.iter().map(|(_, bytes)| bytes).sum());
    if stored.len() >= STORED_MAX || room == 0 {
        return Err(no_room());
    }
    let Ok(_permit) = shared.uploads.try_acquire() else {
        return Err(
            Refused::new(StatusCode::TOO_MANY_REQUESTS, "too many components are being uploaded")
                .help("try again in a second"),
        );
    };
    let store = shared.clone();
    let begun = blocking(move || Ok(store.pipelines.store.upload(&scope)?)).await?;
    let taken = tokio::time::timeout(UPLOAD_TIME_MAX, take(begun, body, room)).await;
    let upload = taken.unwrap_or_else(|_| Err(too_slow("5 minutes")))?;
    let bytes = upload.bytes();
    let named = sha256.clone();
    let is_kept = blocking(move || Ok(upload.keep(&named)?)).await?;
    if !is_kept {
        return Err(Refused::invalid(
            "what was sent has another SHA-256 than the address says",
        ));
    }
    Ok((StatusCode::CREATED, Json(Component { sha256, bytes })))
}

/// Writes a body as it comes.
async fn take(mut upload: Upload, mut body: Body, room: u64) -> Result<Upload, Refused> {
    loop {
        let frame = tokio::time::timeout(SILENCE_MAX, body.frame()).await;
        let frame = match frame.map_err(|_| too_slow("30 seconds without a byte"))? {
            None => break,
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                let message = format!("the body did not come whole: {error}");
                return Err(Refused::new(StatusCode::BAD_REQUEST, message));
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        let bytes = upload.bytes() + data.len() as u64;
        if bytes > COMPONENT_BYTES_MAX {
            let message = format!("a component has {} MiB at most", COMPONENT_BYTES_MAX >> 20);
            return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        if bytes > room {
            return Err(no_room());
        }
        if upload.bytes() == 0 && !data.starts_with(&b"\0asm"[..data.len().min(4)]) {
            return Err(
                Refused::invalid("this is no WebAssembly").help("`dirigo build` compiles an operator to a component")
            );
        }
        upload = blocking(move || {
            upload.append(&data)?;
            Ok(upload)
        })
        .await?;
    }
    Ok(upload)
}

/// Reads a body of this length to its end. A client that sends all of its body before it reads would take a connection that is closed before
/// that for a failure.
async fn pass_over(mut body: Body, bytes: u64) {
    let all = async {
        let mut left = bytes;
        while let Ok(Some(Ok(frame))) = tokio::time::timeout(SILENCE_MAX, body.frame()).await {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            let Some(rest) = left.checked_sub(length) else { return };
            left = rest;
        }
    };
    // What is answered is the same for a body that does not come whole.
    let _ = tokio::time::timeout(UPLOAD_TIME_MAX, all).await;
}

fn too_slow(limit: &str) -> Refused {
    Refused::new(
        StatusCode::REQUEST_TIMEOUT,
        format!("the component came too slowly: {limit}"),
    )
}

fn no_room() -> Refused {
    let gib = STORED_BYTES_MAX >> 30;
    Refused::quota(format!(
        "the tenant has stored as much as it may: {STORED_MAX} components, or {gib} GiB of them"
    ))
    .help("remove those that no pipeline needs")
}

fn expect_sha256(text: &str) -> Result<(), Refused> {
    if is_sha256(text) {
        return Ok(());
    }
    Err(Refused::invalid(
        "a component is named by its SHA-256, in 64 lower-case hexadecimal digits",
    ))
}

/// Removes a component that no pipeline needs.
#[utoipa::path(delete, path = "/api/v1/components/{sha256}", params(("sha256" = String, Path, description = "Its SHA-256, in lower-case hexadecimal")), responses(
    (status = 204, description = "It is gone."),
    (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 404, description = "There is no such component.", body = Problem),
    (status = 409, description = "A pipeline needs it.", body = Problem),
    (status = 422, description = "This is no hash.", body = Problem),
))]
async fn remove(
    caller: Caller,
    State(shared): State<Shared>,
    Path(sha256): Path<String>,
) -> Result<StatusCode, Refused> {
    let scope = scope_of(&caller);
    caller.expect_change(&scope)?;
    expect_sha256(&sha256)?;
    let was_there = blocking(move || {
        let users = shared.pipelines.users_of(&scope, &sha256);
        if !users.is_empty() {
            let names = users.join("`, `");
            return Err(Refused::conflict(format!("versions of `{names}` need this component"))
                .help("delete those pipelines first"));
        }
        Ok(shared.pipelines.store.remove_component(&scope, &sha256)?)
    })
    .await?;
    if was_there {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Refused::not_found("there is no such component"))
    }
}
