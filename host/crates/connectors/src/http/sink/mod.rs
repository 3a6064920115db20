//! Events that are sent to others by HTTP.
//!
//! Each request brings a batch of the [`outbox`], with a key by which the receiver recognises one that comes again. Owns the
//! keys in the pipeline file, the requests, what answers mean, and which addresses may be sent to.

mod address;
mod client;
mod target;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dirigo_connect::sink::{DeliveryCapability, Error, Opening, Sink, SinkSpec};
use dirigo_connect::{Facets, facets};
use dirigo_disk::Disk;
use dirigo_pipeline::keys::{At, Choice, Diagnostic, Entries, Lapse, Size, Validation, Whole, Word};
use dirigo_pipeline::{SinkConnector, section};
use hyper::Method;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use rustls_pki_types::CertificateDer;
use serde_json::json;

use self::client::Client;
use self::target::Target;
use crate::outbox::{self, Batch, Outbox};
use crate::{servers, tls};

/// Records of a request, where the pipeline file does not say.
const BATCH_RECORDS: usize = 1_000;
/// Bytes of a request, where the pipeline file does not say: a sixteenth of what an HTTP source takes by default.
const BATCH_BYTES: u64 = 1 << 20;
/// The most that a pipeline file may say of that: batches are in memory.
const BATCH_BYTES_MAX: u64 = 64 << 20;
/// How long a receiver may take, where the pipeline file does not say.
const TIMEOUT: Duration = Duration::from_secs(30);

section! {
    /// The keys of a sink that sends events to others.
    pub struct Keys = "[[sink]]" {
        /// For http: where events are sent, such as "https://hooks.example/events".
        url: String,
        /// For http: how: "POST" or "PUT".
        #[schemars(extend("default" = "POST"))]
        method: Word<MethodWord>,
        /// For http: "jsonl", an event per line, or "json", an array.
        #[schemars(extend("default" = "jsonl"))]
        format: Word<BodyFormat>,
        /// For http: the token that each request bears, as `Authorization: Bearer TOKEN`. Default: none.
        token: String,
        /// For http: other headers of each request, by their names. Their values are kept secret, as the token is.
        headers: Entries<String>,
        /// For http: the certificates of the authorities to trust, as PEM. Default: those of the machine.
        ca: String,
        /// For http: how many events a request has at most.
        #[schemars(extend("default" = BATCH_RECORDS))]
        batch: Whole<1, 1_000_000>,
        /// For http: how large the events of a request are together, at most "64MiB"; a larger event comes alone.
        #[schemars(extend("default" = "1MiB"))]
        batch_bytes: Size,
        /// For http: how long the receiver may take to answer a request.
        #[schemars(extend("default" = "30s"))]
        timeout: Lapse,
        /// For http: for how long a batch is tried again before the pipeline fails. Default: for ever.
        retry_for: Lapse,
        /// For http: how much may wait for the receiver before the pipeline is held back.
        #[schemars(extend("default" = "256MiB"))]
        backlog_max: Size,
        /// For http: whether it may send to addresses that are not public, such as 127.0.0.1 and 10.0.0.1.
        #[schemars(extend("default" = false))]
        allow_private: bool,
    }
}

/// How events are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodWord {
    /// To be added to what is there.
    Post,
    /// To be put there.
    Put,
}

impl Choice for MethodWord {
    const WHAT: &'static str = "`method`";
    const WORDS: &'static [(&'static str, Self)] = &[("POST", Self::Post), ("PUT", Self::Put)];
}

/// How a request holds events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    /// Each on a line of its own.
    Jsonl,
    /// As the items of an array.
    Json,
}

impl Choice for BodyFormat {
    const WHAT: &'static str = "format";
    const WORDS: &'static [(&'static str, Self)] = &[("jsonl", Self::Jsonl), ("json", Self::Json)];
}

impl BodyFormat {
    fn content_type(self) -> &'static str {
        match self {
            Self::Jsonl => "application/x-ndjson",
            Self::Json => "application/json",
        }
    }

    fn body(self, batch: &Batch) -> Bytes {
        let mut body = Vec::with_capacity(batch.bytes() + 2 * batch.len() + 2);
        for record in batch.records() {
            match self {
                Self::Jsonl => {
                    body.extend_from_slice(record);
                    body.push(b'\n');
                }
                Self::Json => {
                    body.push(if body.is_empty() { b'[' } else { b',' });
                    body.extend_from_slice(record);
                }
            }
        }
        if self == Self::Json {
            body.push(b']');
        }
        body.into()
    }
}

/// `kind = "http"`.
#[derive(Clone, Copy, Debug)]
pub struct HttpSink;

impl SinkConnector for HttpSink {
    type Keys = Keys;

    fn kind(&self) -> &'static str {
        "http"
    }

    fn validate(&self, keys: &Keys, who: &str, validation: &mut Validation<'_>) -> Option<Arc<dyn SinkSpec>> {
        let example = "\"https://hooks.example/events\"";
        let url = keys
            .url
            .required("url", example, keys.place, who, &mut validation.problems);
        let asked = keys.allow_private.given().filter(|at| at.value);
        let allow_private = asked.is_some();
        if let Some(at) = asked {
            validation.expect_private_receivers(at.place, who);
        }
        let target = url.and_then(|at| target(at, who, allow_private, validation));
        let token = match keys.token.given() {
            Some(at) => Some(token(at, who, validation)?),
            None => None,
        };
        let headers = headers(keys, token.is_some(), who, validation);
        let authorities = match keys.ca.given() {
            Some(at) => Some(servers::authorities(at, who, validation)?),
            None => None,
        };
        for (key, size) in [("batch_bytes", &keys.batch_bytes), ("backlog_max", &keys.backlog_max)] {
            if let Some(at) = size.given().filter(|at| at.value.0 == 0) {
                let problem = Diagnostic::error(format!("`{key}` is 0")).at(at.place, "nothing could be sent");
                validation.problems.push(problem.help("leave it out for the default"));
            }
        }
        if let Some(at) = keys.batch_bytes.given().filter(|at| at.value.0 > BATCH_BYTES_MAX) {
            let problem = Diagnostic::error("`batch_bytes` is more than 64MiB").at(at.place, "too large");
            validation
                .problems
                .push(problem.help("a batch is in memory while it is sent"));
        }
        let timeout = validation.positive("timeout", &keys.timeout);
        let retry_for = validation.positive("retry_for", &keys.retry_for);
        let batch_bytes = keys.batch_bytes.map(|size| size.0).unwrap_or(BATCH_BYTES);
        let batch_records = keys.batch.map(|records| records.to_u64());
        Some(Arc::new(HttpSpec {
            target: target?,
            method: match keys.method.map(|Word(method)| *method) {
                Some(MethodWord::Put) => Method::PUT,
                Some(MethodWord::Post) | None => Method::POST,
            },
            format: keys.format.map(|Word(format)| *format).unwrap_or(BodyFormat::Jsonl),
            token,
            headers: headers?,
            authorities,
            options: outbox::Options {
                batch_records: batch_records.map_or(BATCH_RECORDS, |records| {
                    usize::try_from(records).expect("a million fits")
                }),
                batch_bytes: usize::try_from(batch_bytes.min(BATCH_BYTES_MAX)).expect("64 MiB fit"),
                retry_for,
                backlog_bytes: keys.backlog_max.map(|size| size.0).unwrap_or(outbox::BACKLOG_BYTES),
                delivery_capability: outbox::DELIVERY_CAPABILITY,
            },
            timeout: timeout.unwrap_or(TIMEOUT),
            allow_private,
        }))
    }
}

fn target(at: &At<String>, who: &str, allow_private: bool, validation: &mut Validation<'_>) -> Option<Target> {
    let target = match Target::parse(&at.value) {
        Ok(target) => target,
        Err(flaw) => {
            let problem = Diagnostic::error(format!("{who} has no URL to send to")).at(at.place, flaw);
            validation
                .problems
                .push(problem.help("such as \"https://hooks.example/events\""));
            return None;
        }
    };
    // An address is known now, a name when it is looked up.
    let address: Option<IpAddr> = target.host().parse().ok();
    if let Some(what) = address.and_then(address::non_public).filter(|_| !allow_private) {
        let problem = Diagnostic::error(format!("{who} would send to {what}")).at(at.place, "not a public address");
        validation
            .problems
            .push(problem.help("say `allow_private = true` where that is meant"));
        return None;
    }
    Some(target)
}

fn token(at: &At<String>, who: &str, validation: &mut Validation<'_>) -> Option<String> {
    let token = at.value.trim();
    let flaw = match token {
        "" => "empty",
        token if HeaderValue::from_str(token).is_err() || !token.is_ascii() => "not in ASCII, or of several lines",
        token => return Some(token.to_owned()),
    };
    let problem = Diagnostic::error(format!("{who} has no `token` that a request can bear")).at(at.place, flaw);
    validation.problems.push(problem);
    None
}

/// What the sink itself says in each request.
fn is_own(name: &HeaderName, has_token: bool) -> bool {
    let own = [
        header::HOST,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::UPGRADE,
        header::EXPECT,
        header::TE,
        header::TRAILER,
    ];
    own.contains(name) || name == "idempotency-key" || (has_token && name == header::AUTHORIZATION)
}

fn headers(keys: &Keys, has_token: bool, who: &str, validation: &mut Validation<'_>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    let Some(at) = keys.headers.given() else {
        return keys.headers.is_absent().then_some(headers);
    };
    for (name, value) in &at.value.0 {
        let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
        let flaw = match (&parsed, HeaderValue::from_str(&value.value)) {
            (None, _) => "no name of a header",
            (Some(parsed), _) if is_own(parsed, has_token) => "the sink says this header itself",
            (Some(parsed), _) if headers.contains_key(parsed) => "it is there already",
            (Some(_), Err(_)) => "no value of a header",
            (Some(parsed), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.insert(parsed.clone(), value);
                continue;
            }
        };
        let problem = Diagnostic::error(format!("{who} cannot send the header `{name}`")).at(value.place, flaw);
        validation.problems.push(problem);
        return None;
    }
    Some(headers)
}

/// A receiver of events.
#[derive(Clone)]
pub struct HttpSpec {
    target: Target,
    method: Method,
    format: BodyFormat,
    token: Option<String>,
    headers: HeaderMap,
    authorities: Option<Vec<CertificateDer<'static>>>,
    options: outbox::Options,
    timeout: Duration,
    allow_private: bool,
}

/// Without the token and the headers, which are secrets.
impl std::fmt::Debug for HttpSpec {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("HttpSpec")
            .field("target", &self.target)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl SinkSpec for HttpSpec {
    fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Sink>, Error> {
        let tls = self
            .target
            .is_tls()
            .then(|| tls::connector(self.authorities.as_deref(), &[b"http/1.1"]));
        let tls = tls.transpose().map_err(Error::fatal)?;
        let client = Client::new(self, tls, opening.clock.clone());
        Ok(Box::new(Outbox::open(opening, self.options.clone(), client)?))
    }

    fn delivery_capability(&self, _: &dyn Disk) -> DeliveryCapability {
        outbox::DELIVERY_CAPABILITY
    }

    fn facets(&self, _: &Path) -> Option<Facets> {
        // The receiver may move: what waits for it in the outbox stays the same.
        Some(facets([("kind", json!("http"))]))
    }
}
