//! The connection to a receiver, and what its answers mean.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dirigo_ground::clock::Clock;
use dirigo_ground::printable;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::address::non_public;
use super::target::Target;
use super::{BodyFormat, HttpSpec};
use crate::outbox::{Batch, Deliver, Undelivered};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// What is read of an answer; a connection with more of it is closed.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// What is shown of an answer that refuses a batch.
const SHOWN_MAX: usize = 200;

/// Sends batches to a receiver.
pub(super) struct Client {
    target: Target,
    method: Method,
    format: BodyFormat,
    /// Those of each request.
    headers: HeaderMap,
    /// What no report may show.
    secrets: Vec<String>,
    tls: Option<TlsConnector>,
    timeout: Duration,
    allow_private: bool,
    clock: Arc<dyn Clock>,
    /// A connection that may be used again.
    connection: Option<Connection>,
}

type Connection = SendRequest<Full<Bytes>>;

/// What is known of an answer once all of it is there.
struct Answer {
    status: StatusCode,
    retry_after: Option<Duration>,
    text: String,
}

fn later(reason: String) -> Undelivered {
    Undelivered::Later { reason, after: None }
}

impl Client {
    pub(super) fn new(spec: &HttpSpec, tls: Option<TlsConnector>, clock: Arc<dyn Clock>) -> Self {
        let mut headers = spec.headers.clone();
        headers.insert(header::HOST, spec.target.authority());
        let agent = concat!("dirigo/", env!("CARGO_PKG_VERSION"));
        headers
            .entry(header::USER_AGENT)
            .or_insert(HeaderValue::from_static(agent));
        headers
            .entry(header::CONTENT_TYPE)
            .or_insert(HeaderValue::from_static(spec.format.content_type()));
        let mut secrets: Vec<String> = spec.token.iter().cloned().collect();
        secrets.extend(
            spec.headers
                .values()
                .filter_map(|value| Some(value.to_str().ok()?.to_owned())),
        );
        secrets.retain(|secret| !secret.is_empty());
        if let Some(token) = &spec.token {
            let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).expect("the token was looked at");
            bearer.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, bearer);
        }
        Self {
            target: spec.target.clone(),
            method: spec.method.clone(),
            format: spec.format,
            headers,
            secrets,
            tls,
            timeout: spec.timeout,
            allow_private: spec.allow_private,
            clock,
            connection: None,
        }
    }

    fn request(&self, key: &str, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.path();
        *request.headers_mut() = self.headers.clone();
        let key = HeaderValue::from_str(key).expect("names and numbers are ASCII");
        request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        request
    }

    async fn exchange(&mut self, key: &str, body: Bytes) -> Result<Answer, Undelivered> {
        if let Some(mut connection) = self.connection.take()
            && connection.ready().await.is_ok()
            && let Ok(response) = connection.send_request(self.request(key, body.clone())).await
        {
            return self.read(connection, response).await;
        }
        // There was none, or the receiver has closed it meanwhile.
        let mut connection = self.connect().await?;
        let response = connection.send_request(self.request(key, body)).await;
        let response = response.map_err(|error| later(format!("sending to {}: {error}", self.target)))?;
        self.read(connection, response).await
    }

    /// Reads an answer, and keeps the connection where all of it is there.
    async fn read(&mut self, connection: Connection, response: Response<Incoming>) -> Result<Answer, Undelivered> {
        let (parts, mut body) = response.into_parts();
        let mut text = Vec::new();
        let is_whole = loop {
            match body.frame().await {
                None => break true,
                Some(Err(error)) if parts.status.is_success() => {
                    tracing::debug!("the end of an answer of {} did not come: {error}", self.target);
                    break false;
                }
                Some(Err(error)) => return Err(later(format!("reading the answer of {}: {error}", self.target))),
                Some(Ok(frame)) => text.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..])),
            }
            if text.len() > ANSWER_BYTES_MAX {
                break false;
            }
        };
        if is_whole {
            self.connection = Some(connection);
        }
        Ok(Answer {
            status: parts.status,
            retry_after: retry_after(&parts.headers, self.clock.wall_ms()),
            text: self.shown(&text),
        })
    }

    /// Of a text of the receiver what people may see.
    fn shown(&self, text: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(text).into_owned();
        for secret in &self.secrets {
            text = text.replace(secret.as_str(), "[secret]");
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let line = words.join(" ");
        printable::line(&line).chars().take(SHOWN_MAX).collect()
    }

    /// Connects to the first address that can be reached of those that may be.
    async fn connect(&self) -> Result<Connection, Undelivered> {
        let addresses = self.addresses().await?;
        let each = self.timeout / u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        let mut problem = String::new();
        for address in addresses {
            match tokio::time::timeout(each, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return self.handshake(stream).await,
                Ok(Err(error)) => problem = error.to_string(),
                Err(_) => "no answer".clone_into(&mut problem),
            }
        }
        Err(later(format!("connecting to {}: {problem}", self.target)))
    }

    /// The addresses that may be connected to. Looked up here and nowhere else: those that were looked at are those that are used.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, Undelivered> {
        let (host, port) = (self.target.host(), self.target.port());
        let found: Vec<SocketAddr> = if let Ok(address) = host.parse::<IpAddr>() {
            vec![SocketAddr::new(address, port)]
        } else {
            let found = tokio::net::lookup_host((host, port)).await;
            let found = found.map_err(|error| later(format!("looking up `{host}`: {error}")))?;
            found.collect()
        };
        if found.is_empty() {
            return Err(later(format!("`{host}` has no address")));
        }
        if self.allow_private {
            return Ok(found);
        }
        let (public, denied): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|address| non_public(address.ip()).is_none());
        if let (true, Some(address)) = (public.is_empty(), denied.first()) {
            let address = address.ip();
            let what = non_public(address).unwrap_or_default();
            return Err(Undelivered::Never {
                reason: format!(
                    "`{host}` is at {address}, {what}, which is not sent to without `allow_private = true`"
                ),
            });
        }
        Ok(public)
    }

    async fn handshake(&self, stream: TcpStream) -> Result<Connection, Undelivered> {
        let failed = |error: std::io::Error| later(format!("connecting to {}: {error}", self.target));
        stream.set_nodelay(true).map_err(failed)?;
        let Some(tls) = &self.tls else {
            return self.http(TokioIo::new(stream)).await;
        };
        let name = ServerName::try_from(self.target.host().to_owned());
        let name = name.map_err(|error| Undelivered::Never {
            reason: format!("`{}` is no name of a server: {error}", self.target.host()),
        })?;
        let stream = tls.connect(name, stream).await.map_err(failed)?;
        self.http(TokioIo::new(stream)).await
    }

    async fn http<I>(&self, stream: I) -> Result<Connection, Undelivered>
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(stream)
            .await
            .map_err(|error| later(format!("connecting to {}: {error}", self.target)))?;
        // What goes wrong with it, the request says that is under way.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    /// What an answer means.
    fn judged(&self, answer: &Answer) -> Result<(), Undelivered> {
        let Answer {
            status,
            retry_after,
            text,
        } = answer;
        if status.is_success() {
            return Ok(());
        }
        let says = if text.is_empty() {
            String::new()
        } else {
            format!(": {text}")
        };
        let reason = format!("{} answers {status}{says}", self.target);
        match status.as_u16() {
            408 | 425 | 429 | 500..=599 => Err(Undelivered::Later {
                reason,
                after: *retry_after,
            }),
            300..=399 => Err(Undelivered::Never {
                reason: format!("{reason} (redirects are not followed)"),
            }),
            413 => Err(Undelivered::Never {
                reason: format!("{reason} (`batch` and `batch_bytes` bound what is sent together)"),
            }),
            _ => Err(Undelivered::Never { reason }),
        }
    }
}

impl Deliver for Client {
    async fn deliver(&mut self, batch: &Batch) -> Result<(), Undelivered> {
        let body = self.format.body(batch);
        let answer = tokio::time::timeout(self.timeout, self.exchange(batch.key(), body)).await;
        let Ok(answer) = answer else {
            // The connection is closed with the request that was under way.
            self.connection = None;
            let timeout = humantime::format_duration(self.timeout);
            return Err(later(format!("{} did not answer within {timeout}", self.target)));
        };
        self.judged(&answer?)
    }
}

/// How long a receiver asks to wait: seconds, or a time.
fn retry_after(headers: &HeaderMap, now_ms: i64) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let time = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let ms = u64::try_from(time.as_millisecond().saturating_sub(now_ms)).unwrap_or(0);
    Some(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_asks_for_a_wait_in_seconds_or_until_a_time() {
        let asked = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            // 1994-11-06T08:49:37Z
            retry_after(&headers, 784_111_777_000)
        };
        assert_eq!(asked("120"), Some(Duration::from_mins(2)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:40 GMT"), Some(Duration::from_secs(3)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:30 GMT"), Some(Duration::ZERO));
        for none in ["", "soon", "-1", "1.5"] {
            assert_eq!(asked(none), None, "{none}");
        }
    }
}
