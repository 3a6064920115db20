//! The HTTP server: connections, their limits, and what answers at which path.

mod activity;
mod components;
mod console;
mod health;
mod history;
mod latest_letters;
mod letters;
mod metrics;
mod pipelines;
mod request;
mod tap;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tower_service::Service as _;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

use crate::access::Access;
use crate::pipelines::Pipelines;
use crate::refused::Refused;

/// Connections at a time; others wait until one ends.
const CONNECTIONS_MAX: usize = 512;
/// For how long a connection may be silent between two requests, or over the headers of one.
const HEADERS_WAIT_MAX: Duration = Duration::from_secs(30);
/// For how long a client may send nothing of a body, or leave an answer unread.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// The longest body of a request, but for components.
const BODY_MAX: usize = 4 << 20;
/// For how long a request may be worked on, but for the upload of a component.
const REQUEST_MAX: Duration = Duration::from_mins(3);

/// What requests are answered with.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) pipelines: Arc<Pipelines>,
    pub(crate) access: Arc<Access>,
    pub(crate) uploads: Arc<Semaphore>,
    pub(crate) taps: Arc<Semaphore>,
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Dirigo", description = "Deploys pipelines, and watches them. Each request bears `Authorization: Bearer TOKEN`."),
    modifiers(&Bearer),
    security(("token" = []))
)]
struct Document;

/// Says in the document how requests are authorised.
struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(health::routes())
        .merge(activity::routes())
        .merge(metrics::routes())
        .merge(pipelines::routes())
        .merge(letters::routes())
        .merge(history::routes())
        .merge(latest_letters::routes())
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn(in_time))
        // These have limits of their own.
        .merge(tap::routes())
        .merge(components::routes())
}

/// The description of the API in JSON, from which clients can be generated.
#[must_use]
pub fn openapi() -> String {
    let (_, document) = routes().split_for_parts();
    document.to_pretty_json().expect("a document is plain JSON")
}

pub(crate) fn router(pipelines: Arc<Pipelines>, access: Arc<Access>) -> Router {
    let (router, document) = routes().split_for_parts();
    let document: Arc<str> = document.to_pretty_json().expect("a document is plain JSON").into();
    let shared = Shared {
        pipelines,
        access,
        uploads: Arc::new(Semaphore::new(components::UPLOADS_MAX)),
        taps: Arc::new(Semaphore::new(tap::WATCHERS_MAX)),
    };
    router
        .route(
            "/api/v1/openapi.json",
            axum::routing::get(
                move || async move { ([(header::CONTENT_TYPE, "application/json")], document.to_string()) },
            ),
        )
        .merge(console::routes())
        .fallback(|| async {
            Refused::not_found("there is nothing at this path").help("/api/v1/openapi.json says what there is")
        })
        .method_not_allowed_fallback(|| async {
            Refused::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
        })
        .layer(middleware::map_response(plainly))
        .with_state(shared)
}

/// Ends requests that take too long.
async fn in_time(request: Request<axum::body::Body>, next: Next) -> axum::response::Response {
    let answered = tokio::time::timeout(REQUEST_MAX, next.run(request)).await;
    answered.unwrap_or_else(|_| {
        let message = "the request took longer than 3 minutes; it may still be carried out";
        Refused::new(StatusCode::GATEWAY_TIMEOUT, message).into_response()
    })
}

/// Tells browsers to make nothing of an answer but what it says it is.
async fn plainly<B>(mut response: Response<B>) -> Response<B> {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // The files of the console may be kept, for they hold nothing that is anyone's.
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Takes connections for ever.
pub(crate) async fn accept(socket: TcpListener, router: Router) {
    /// After an error of the system, such as a lack of descriptors.
    const PAUSE: Duration = Duration::from_millis(50);
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(permit) = connections.clone().acquire_owned().await {
        match socket.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    serve(stream, router).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection cannot be taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router) {
    // An answer is small, and waits for nothing.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(SILENCE_MAX));
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        async move { Ok::<_, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {})) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WAIT_MAX)
        .serve_connection(TokioIo::new(Box::pin(stream)), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
    }
}
