//! Events as they pass: what is looked at while a pipeline runs.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Response, header};
use bytes::Bytes;
use dirigo_api::{Problem, TappedEvent};
use dirigo_flow::{Sample, TapReader};
use hyper::body::Frame;
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::request::{Named, Options};
use crate::entry::Entry;
use crate::refused::Refused;

/// Those who look at events at the same time.
pub(super) const WATCHERS_MAX: usize = 64;
/// How often new events are fetched.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Answers that wait for a client; one that reads more slowly sees less.
const WAITING_MAX: usize = 16;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(tap))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Tapping {
    /// What to look at: a source or an operator, whose outputs are shown; a named output, such as `guard.alerts`; a sink, whose inputs are
    /// shown; or an edge, such as `readings..map-1`.
    at: String,
    /// After how many events to end; by default when the client goes or the pipeline ends.
    events: Option<u64>,
}

/// Samples of the events that pass, a line of JSON for each as they come: up to 16 of a batch, and at most 256 between two looks, 100 ms
/// apart.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/pipelines/{name}/tap", params(("tenant" = String, Path), ("name" = String, Path), Tapping), responses(
    (status = 200, description = "Lines of JSON.", body = TappedEvent, content_type = "application/x-ndjson"),
    (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    (status = 409, description = "The pipeline does not run.", body = Problem),
    (status = 429, description = "Too many look at events.", body = Problem),
))]
async fn tap(
    named: Named,
    State(shared): State<Shared>,
    Options(wanted): Options<Tapping>,
) -> Result<Response<Body>, Refused> {
    let entry = shared.pipelines.entry(&named.key)?;
    let readers = readers(&entry, &wanted.at)?;
    let Ok(permit) = shared.taps.clone().try_acquire_owned() else {
        return Err(
            Refused::new(axum::http::StatusCode::TOO_MANY_REQUESTS, "too many look at events").help("try again later"),
        );
    };
    let (sender, lines) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        send(&entry, readers, wanted.events.unwrap_or(u64::MAX), &sender).await;
        drop(permit);
    });
    let mut response = Response::new(Body::new(Lines(lines)));
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

fn readers(entry: &Entry, at: &str) -> Result<Vec<(String, TapReader)>, Refused> {
    let name = &entry.key.name;
    let tapped = entry
        .monitor()
        .and_then(|monitor| Some((monitor.tap(at)?, monitor.edges()?)));
    let Some((readers, edges)) = tapped else {
        return Err(
            Refused::conflict(format!("pipeline `{name}` does not run")).help("no event passes before it is started")
        );
    };
    if readers.is_empty() {
        return Err(
            Refused::not_found(format!("pipeline `{name}` has no events to look at, at `{at}`"))
                .help(format!("these are its edges: {}", edges.join(", "))),
        );
    }
    Ok(readers)
}

/// Sends what passes until the client has gone, the pipeline has ended, or as many events were sent as are wanted.
async fn send(entry: &Entry, mut readers: Vec<(String, TapReader)>, mut left: u64, sender: &mpsc::Sender<Bytes>) {
    loop {
        let has_ended = entry.status().is_none();
        let mut lines = Vec::new();
        for (edge, reader) in &mut readers {
            for sample in reader.fetch() {
                if left > 0 {
                    left -= 1;
                    lines.extend(line(edge, &sample));
                }
            }
        }
        if !lines.is_empty() && sender.send(lines.into()).await.is_err() {
            return;
        }
        if has_ended || left == 0 {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
            () = sender.closed() => return,
        }
    }
}

fn line(edge: &str, sample: &Sample) -> Vec<u8> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let event = TappedEvent {
        edge: edge.to_owned(),
        time: sample.time,
        key: (!sample.key.is_empty()).then(|| text(&sample.key)),
        value: text(&sample.value),
        is_cut: sample.is_cut,
    };
    let mut line = serde_json::to_vec(&event).expect("an event is plain JSON");
    line.push(b'\n');
    line
}

/// A body of lines that come in their time.
struct Lines(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.get_mut()
            .0
            .poll_recv(context)
            .map(|lines| lines.map(|lines| Ok(Frame::data(lines))))
    }
}
