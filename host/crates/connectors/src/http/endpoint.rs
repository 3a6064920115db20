//! What becomes of a request: from its headers and its body to an answer.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dirigo_connect::Format;
use dirigo_journal::{Appended, Key};
use hyper::header::{self, HeaderMap};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::HttpSpec;
use super::body::{self, Encoding, Refused, Shape};
use crate::pushed::Inbox;
use crate::records::CellRules;

/// Longer than any key that clients generate.
const KEY_BYTES_MAX: usize = 256;

const STOPPING: &str = "the pipeline is stopping";

/// The header by which a repeated request is recognised (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Where the requests of one source arrive.
pub(super) struct Endpoint {
    inbox: Inbox,
    format: Format,
    cells: Arc<CellRules>,
    /// The SHA-256 of the token that each request must bear.
    token: Option<[u8; 32]>,
    pub(super) body_max: u64,
    backlog_max: u64,
    /// Bytes that are being appended.
    arriving: AtomicU64,
    is_closed: AtomicBool,
}

/// What a request is answered.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn error(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            body: json!({ "error": error.into() }),
        }
    }

    /// Whether the same request may be taken a little later.
    pub(super) fn is_for_now(&self) -> bool {
        matches!(
            self.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        )
    }
}

/// What the headers of a request say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Described {
    shape: Shape,
    encoding: Encoding,
    key: Option<Key>,
}

impl Endpoint {
    pub(super) fn new(spec: &HttpSpec, inbox: Inbox) -> Self {
        Self {
            inbox,
            format: spec.format,
            cells: spec.cells.clone(),
            token: spec.token.as_ref().map(|token| Sha256::digest(token.trim()).into()),
            body_max: spec.body_max,
            backlog_max: spec.backlog_max,
            arriving: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Takes nothing any more.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    /// What the headers say of a request whose body may be read; or why it is refused.
    pub(super) fn admit(&self, method: &Method, headers: &HeaderMap) -> Result<Described, Answer> {
        if !self.is_authorized(headers) {
            return Err(Answer::error(
                StatusCode::UNAUTHORIZED,
                "the request bears no `Authorization: Bearer TOKEN` with the token of this source",
            ));
        }
        if method != Method::POST {
            return Err(Answer::error(StatusCode::METHOD_NOT_ALLOWED, "events are sent by POST"));
        }
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(Answer::error(StatusCode::SERVICE_UNAVAILABLE, STOPPING));
        }
        if self.waiting() >= self.backlog_max {
            return Err(self.held_back());
        }
        let length = text(headers, header::CONTENT_LENGTH.as_str()).and_then(|length| length.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.body_max) {
            return Err(self.too_large());
        }
        for name in [
            header::CONTENT_TYPE.as_str(),
            header::CONTENT_ENCODING.as_str(),
            IDEMPOTENCY_KEY,
        ] {
            let is_text = headers.get(name).is_none_or(|value| value.to_str().is_ok());
            if !is_text || headers.get_all(name).iter().count() > 1 {
                let message = format!("the header `{name}` comes once, in ASCII");
                return Err(Answer::error(StatusCode::BAD_REQUEST, message));
            }
        }
        let content_type = text(headers, header::CONTENT_TYPE.as_str());
        let Some(shape) = Shape::of(content_type, self.format) else {
            let known = match self.format {
                Format::Lines => "this source takes `text/plain`, a line per event",
                Format::Jsonl | Format::Csv => {
                    "`application/x-ndjson`, `application/json` and `text/csv` are; without a type the `format` of the source counts"
                }
            };
            let message = format!(
                "`{}` is not a content type of events: {known}",
                content_type.unwrap_or_default()
            );
            return Err(Answer::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        };
        let content_encoding = text(headers, header::CONTENT_ENCODING.as_str());
        let Some(encoding) = Encoding::of(content_encoding) else {
            let message = format!(
                "`{}` is no encoding that is known: `gzip` and `zstd` are",
                content_encoding.unwrap_or_default()
            );
            return Err(Answer::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        };
        let key = match headers.get(IDEMPOTENCY_KEY) {
            None => None,
            Some(key) if key.is_empty() || key.len() > KEY_BYTES_MAX => {
                let message = format!("an `Idempotency-Key` has 1 to {KEY_BYTES_MAX} bytes");
                return Err(Answer::error(StatusCode::BAD_REQUEST, message));
            }
            Some(key) => {
                let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
                digest.first_chunk().copied().map(Key)
            }
        };
        Ok(Described { shape, encoding, key })
    }

    /// Bytes that wait to be read, those included that are on their way into the journal.
    fn waiting(&self) -> u64 {
        self.inbox.waiting() + self.arriving.load(Ordering::SeqCst)
    }

    fn held_back(&self) -> Answer {
        let (waiting, max) = (self.waiting(), self.backlog_max);
        Answer::error(
            StatusCode::TOO_MANY_REQUESTS,
            format!("{waiting} bytes wait to be read; `backlog_max` is {max}"),
        )
    }

    fn is_authorized(&self, headers: &HeaderMap) -> bool {
        let Some(token) = self.token else { return true };
        if !headers.contains_key(header::AUTHORIZATION) {
            return false;
        }
        let given = text(headers, header::AUTHORIZATION.as_str()).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        let given: [u8; 32] = Sha256::digest(given.unwrap_or_default()).into();
        // Of digests, and all bytes of them: how long it takes says nothing of the token.
        let differs = token
            .iter()
            .zip(given)
            .fold(0, |differs, (left, right)| differs | (left ^ right));
        differs == 0
    }

    pub(super) fn too_large(&self) -> Answer {
        Answer::error(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the body has more than {} bytes (`body_max`): send it in parts",
                self.body_max
            ),
        )
    }

    /// Appends what a body brings, and answers once it is durable. Waits for the disk.
    pub(super) fn take(&self, body: &[u8], described: Described) -> Answer {
        let Described { shape, encoding, key } = described;
        let lines = body::decompressed(body, encoding, self.body_max)
            .and_then(|body| body::lines(body, shape, &self.cells, &self.inbox.clock));
        let (lines, records) = match lines {
            Ok(lines) => lines,
            Err(Refused::TooLarge) => return self.too_large(),
            Err(Refused::Grows) => {
                let message =
                    "as JSON the records would take more than sixteen times the body: its column names are too long";
                return Answer::error(StatusCode::PAYLOAD_TOO_LARGE, message);
            }
            Err(Refused::Malformed(reason)) => return Answer::error(StatusCode::BAD_REQUEST, reason),
        };
        let accepted = |repeated: bool| Answer {
            status: StatusCode::OK,
            body: json!({ "records": records, "repeated": repeated }),
        };
        if lines.is_empty() {
            return accepted(false);
        }
        if self.format != Format::Lines && matches!(lines[..], [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
            return Answer::error(StatusCode::BAD_REQUEST, "the body is UTF-16: send UTF-8");
        }
        // The pipeline may have stopped while the body came.
        if self.is_closed.load(Ordering::SeqCst) {
            return Answer::error(StatusCode::SERVICE_UNAVAILABLE, STOPPING);
        }
        let bytes = lines.len() as u64;
        // A body that is larger than what may wait is taken where nothing waits.
        self.arriving.fetch_add(bytes, Ordering::SeqCst);
        let waiting = self.waiting();
        if waiting > bytes && waiting > self.backlog_max {
            self.arriving.fetch_sub(bytes, Ordering::SeqCst);
            return self.held_back();
        }
        let key = key.map(|key| (key, self.inbox.clock.wall_ms()));
        let appended = self.inbox.journal.append(&lines, key);
        self.arriving.fetch_sub(bytes, Ordering::SeqCst);
        match appended {
            Ok(Appended::Now(_)) => {
                self.inbox.waker.wake_by_ref();
                accepted(false)
            }
            Ok(Appended::Before(_)) => accepted(true),
            Ok(Appended::Differs) => Answer::error(
                StatusCode::UNPROCESSABLE_ENTITY,
                "another body came with this `Idempotency-Key`: give each body a key of its own",
            ),
            Err(error) if error.kind() == Some(ErrorKind::StorageFull) && !self.inbox.journal.has_failed() => {
                tracing::warn!("a request is refused: {error}");
                Answer::error(StatusCode::INSUFFICIENT_STORAGE, "the disk of the journal is full")
            }
            Err(error) => {
                tracing::error!("a request is refused: {error}");
                // The source finds out whether the journal can be used any more.
                self.inbox.waker.wake_by_ref();
                Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "the journal cannot be written")
            }
        }
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}
