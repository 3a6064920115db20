//! The addresses at which sources listen, and the connections that come there.
//!
//! Sources of one process share an address, each with a route of its own. All addresses are served by one thread, which never waits for a disk: bodies
//! are taken by threads of their own.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use dirigo_ground::sync::Mutex;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::AbortHandle;
use tokio_io_timeout::TimeoutStream;

use super::endpoint::{Answer, Endpoint};

/// Connections of one address at a time; others wait until one ends.
const CONNECTIONS_MAX: usize = 1_024;
/// For how long a connection may be silent between two requests, or over the headers of one.
const HEADERS_WAIT_MAX: Duration = Duration::from_secs(30);
/// For how long a client may leave its answers unread.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);
/// For how long a body may take to come.
const BODY_WAIT_MAX: Duration = Duration::from_mins(1);
/// Bytes of bodies that have come and are not taken yet, of all sources together.
const BODIES_BYTES_MAX: usize = 256 << 20;
/// Threads that decompress and parse bodies, and wait for the disk: they mostly share one wait.
const INGEST_THREADS_MAX: usize = 16;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(INGEST_THREADS_MAX)
        .thread_name("http")
        .enable_io()
        .enable_time()
        .build();
    runtime.expect("the system gives a thread to serve requests")
});

/// By address.
static LISTENERS: LazyLock<Mutex<HashMap<SocketAddr, Weak<Listener>>>> = LazyLock::new(Mutex::default);

static BODIES: Semaphore = Semaphore::const_new(BODIES_BYTES_MAX);

/// An address, and who listens there.
#[derive(Default)]
struct Listener {
    routes: Mutex<HashMap<String, Arc<Endpoint>>>,
    accepting: Mutex<Option<AbortHandle>>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.lock().take() {
            accepting.abort();
        }
    }
}

/// A route that leads to a source, until this is dropped.
pub(super) struct Route {
    listener: Arc<Listener>,
    path: String,
    /// Where it listens.
    pub(super) address: SocketAddr,
}

impl Route {
    fn new(listener: Arc<Listener>, path: &str, address: SocketAddr) -> Self {
        Self {
            listener,
            path: path.to_owned(),
            address,
        }
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.listener.routes.lock().remove(&self.path);
    }
}

/// Has requests for a route of an address go to an endpoint.
///
/// # Errors
/// When the system refuses the address, or another source of this process has the route.
pub(super) fn listen(address: SocketAddr, route: &str, endpoint: Arc<Endpoint>) -> io::Result<Route> {
    let mut listeners = LISTENERS.lock();
    listeners.retain(|_, listener| listener.strong_count() > 0);
    if let Some(listener) = listeners.get(&address).and_then(Weak::upgrade) {
        let mut routes = listener.routes.lock();
        if routes.contains_key(route) {
            let message = format!("another source has the route `{route}`");
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        routes.insert(route.to_owned(), endpoint);
        drop(routes);
        return Ok(Route::new(listener, route, address));
    }
    let (listener, address) = accept_at(address, route, endpoint)?;
    listeners.insert(address, Arc::downgrade(&listener));
    Ok(Route::new(listener, route, address))
}

/// Begins to accept connections, once the first route is there.
fn accept_at(address: SocketAddr, route: &str, endpoint: Arc<Endpoint>) -> io::Result<(Arc<Listener>, SocketAddr)> {
    let socket = bind(address)?;
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    let _inside = RUNTIME.enter();
    let socket = TcpListener::from_std(socket)?;
    let listener = Arc::<Listener>::default();
    listener.routes.lock().insert(route.to_owned(), endpoint);
    let accepting = RUNTIME.spawn(accept(socket, Arc::downgrade(&listener)));
    *listener.accepting.lock() = Some(accepting.abort_handle());
    Ok((listener, address))
}

/// Binds an address. One that a pipeline of this process has just given up may take a moment to be free.
fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    const ATTEMPTS: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(25);
    let mut attempt = 1;
    loop {
        match std::net::TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < ATTEMPTS => {
                attempt += 1;
                std::thread::sleep(PAUSE);
            }
            bound => return bound,
        }
    }
}

async fn accept(socket: TcpListener, listener: Weak<Listener>) {
    /// After an error of the system, such as a lack of descriptors.
    const PAUSE: Duration = Duration::from_millis(50);
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(permit) = connections.clone().acquire_owned().await {
        match socket.accept().await {
            Ok((stream, _)) => {
                let listener = listener.clone();
                tokio::spawn(async move {
                    serve(stream, listener).await;
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

async fn serve(stream: TcpStream, listener: Weak<Listener>) {
    // An answer is small, and waits for nothing.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(ANSWER_WAIT_MAX));
    let service = service_fn(move |request| {
        let listener = listener.clone();
        async move { Ok::<_, Infallible>(respond(&answer(request, &listener).await)) }
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

fn respond(answer: &Answer) -> Response<Full<Bytes>> {
    let is_for_now = answer.is_for_now();
    let mut response = Response::new(Full::new(Bytes::from(format!("{}\n", answer.body))));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if is_for_now {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    match answer.status {
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        _ => {}
    }
    response
}

async fn answer(request: Request<Incoming>, listener: &Weak<Listener>) -> Answer {
    let path = request.uri().path();
    let endpoint = listener
        .upgrade()
        .and_then(|listener| listener.routes.lock().get(path).cloned());
    let Some(endpoint) = endpoint else {
        return Answer::error(StatusCode::NOT_FOUND, "no source has this route");
    };
    let described = match endpoint.admit(request.method(), request.headers()) {
        Ok(described) => described,
        Err(answer) => return answer,
    };
    let body = tokio::time::timeout(BODY_WAIT_MAX, whole(request.into_body(), &endpoint)).await;
    let (body, room) = match body {
        Ok(Ok(body)) => body,
        Ok(Err(answer)) => return answer,
        Err(_) => return Answer::error(StatusCode::REQUEST_TIMEOUT, "the body did not come within a minute"),
    };
    let take = move || {
        // The body takes its room until it was taken, also if the client goes meanwhile.
        let _room = room;
        endpoint.take(&body, described)
    };
    let taken = tokio::task::spawn_blocking(take).await;
    taken.unwrap_or_else(|_| Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "the request cannot be taken"))
}

/// All of a body, and the memory that it takes of all bodies together.
async fn whole(mut body: Incoming, endpoint: &Endpoint) -> Result<(Vec<u8>, SemaphorePermit<'static>), Answer> {
    let no_room = |_| {
        Answer::error(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests are under way: there is no memory for their bodies",
        )
    };
    let mut room = BODIES.try_acquire_many(0).map_err(no_room)?;
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| Answer::error(StatusCode::BAD_REQUEST, format!("the body did not come whole: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if (all.len() + data.len()) as u64 > endpoint.body_max {
            return Err(endpoint.too_large());
        }
        let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
        room.merge(BODIES.try_acquire_many(bytes).map_err(no_room)?);
        all.extend_from_slice(&data);
    }
    Ok((all, room))
}
