//! Events that others send by HTTP, and in [`sink`] those that are sent to others.
//!
//! What a request brings is converted to lines, appended to a journal and acknowledged once it is durable there; the source reads the journal, and so can be
//! read again. Owns the addresses, the requests and their answers.

mod body;
mod endpoint;
mod server;
pub mod sink;
mod source;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use dirigo_connect::source::{Error, Opening, Source, SourceSpec};
use dirigo_connect::{Facets, Format, facets};
use dirigo_disk::Disk;
use dirigo_pipeline::keys::{At, Diagnostic, Entries, Size, Validation, Word};
use dirigo_pipeline::{SourceConnector, section};
use serde_json::json;

use crate::pushed::Pushed;
use crate::records::{CellRules, ColumnType, validate_cells};

/// What a request may bring, in bytes, where the pipeline file does not say.
const BODY_MAX: u64 = 16 << 20;
/// The most that a pipeline file may say of that: bodies are parsed in memory.
const BODY_MAX_MAX: u64 = 64 << 20;
/// What may wait in the journal, in bytes, where the pipeline file does not say.
const BACKLOG_MAX: u64 = 256 << 20;

section! {
    /// The keys of a source to which others send events.
    pub struct Keys = "[[source]]" {
        /// For http: the address at which it listens, such as "127.0.0.1:8080". Sources may share one.
        listen: String,
        /// For http: the path of its URL. Default: "/" and its id.
        route: String,
        /// For http: how records are told apart in a request whose `Content-Type` does not say. Default: jsonl.
        format: Word<Format>,
        /// For csv: the types of columns, by their names, where they are not to be seen cell by cell: "boolean", "s64", "f64",
        /// "text" or "json". A record with a cell of another type is a dead letter.
        fields: Entries<Word<ColumnType>>,
        /// For csv: the cells that stand for null, as they are written: `""` in quotes is another cell than an empty one.
        #[schemars(extend("default" = ["", "\"\""]))]
        nulls: Vec<At<String>>,
        /// For http: the token that each request must bear, as `Authorization: Bearer TOKEN`. Default: none is asked for.
        token: String,
        /// For http: the largest body of a request, decompressed; at most "64MiB".
        #[schemars(extend("default" = "16MiB"))]
        body_max: Size,
        /// For http: how much may wait in the journal before requests are refused until later (429).
        #[schemars(extend("default" = "256MiB"))]
        backlog_max: Size,
        /// For http: whether it may listen beyond this machine, though what it is sent is not encrypted.
        #[schemars(extend("default" = false))]
        insecure: bool,
    }
}

/// `kind = "http"`.
#[derive(Clone, Copy, Debug)]
pub struct HttpSource;

impl SourceConnector for HttpSource {
    type Keys = Keys;

    fn kind(&self) -> &'static str {
        "http"
    }

    fn format(&self, keys: &Keys) -> Option<Format> {
        if keys.format.is_absent() {
            return Some(Format::Jsonl);
        }
        keys.format.map(|Word(format)| *format)
    }

    fn validate(&self, keys: &Keys, who: &str, validation: &mut Validation<'_>) -> Option<Arc<dyn SourceSpec>> {
        let example = "\"127.0.0.1:8080\"";
        let at = keys
            .listen
            .required("listen", example, keys.place, who, &mut validation.problems)?;
        let insecure = keys.insecure.map(|insecure| *insecure).unwrap_or_default();
        let address = validation.address(at, who, insecure);
        let route = match keys.route.given() {
            Some(at) if !is_route(&at.value) => {
                let problem = Diagnostic::error(format!("{who} has no path of a URL as its `route`"));
                validation.problems.push(
                    problem
                        .at(at.place, "no path")
                        .help("it begins with a `/` and has letters, digits and `-._~/`, such as \"/readings\""),
                );
                return None;
            }
            route => route.map(|at| at.value.clone()),
        };
        if let Some(at) = keys.body_max.given().filter(|at| at.value.0 > BODY_MAX_MAX) {
            let problem = Diagnostic::error("`body_max` is more than 64MiB").at(at.place, "too large");
            validation
                .problems
                .push(problem.help("bodies are parsed in memory: have clients send more of them"));
        }
        for (key, size) in [("body_max", &keys.body_max), ("backlog_max", &keys.backlog_max)] {
            if let Some(at) = size.given().filter(|at| at.value.0 == 0) {
                let problem = Diagnostic::error(format!("`{key}` is 0")).at(at.place, "nothing could be sent");
                validation.problems.push(problem.help("leave it out for the default"));
            }
        }
        if let Some(at) = keys.token.given().filter(|at| at.value.trim().is_empty()) {
            let problem = Diagnostic::error(format!("{who} has an empty `token`")).at(at.place, "empty");
            validation
                .problems
                .push(problem.help("leave `token` out to take requests from everybody"));
        }
        let format = self.format(keys)?;
        let cells = validate_cells(&keys.fields, &keys.nulls, format, &mut validation.problems)?;
        Some(Arc::new(HttpSpec {
            address: address?,
            route,
            format,
            cells,
            token: keys.token.given().map(|at| at.value.clone()),
            body_max: keys.body_max.map(|size| size.0).unwrap_or(BODY_MAX),
            backlog_max: keys.backlog_max.map(|size| size.0).unwrap_or(BACKLOG_MAX),
        }))
    }
}

fn is_route(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.starts_with('/') && text.bytes().all(is_plain)
}

/// A place to which others send events.
#[derive(Clone)]
pub struct HttpSpec {
    /// Where it listens.
    address: SocketAddr,
    /// The path of its URL, if the pipeline file says one.
    route: Option<String>,
    /// How records are told apart in a request that does not say.
    format: Format,
    cells: Arc<CellRules>,
    /// What a request must bear.
    token: Option<String>,
    body_max: u64,
    backlog_max: u64,
}

/// Without the token, which is a secret.
impl std::fmt::Debug for HttpSpec {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("HttpSpec")
            .field("address", &self.address)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

impl SourceSpec for HttpSpec {
    fn format(&self) -> Format {
        self.format
    }

    fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Source>, Error> {
        // A body of CSV becomes lines of JSON, too.
        let format = match self.format {
            Format::Lines => Format::Lines,
            Format::Jsonl | Format::Csv => Format::Jsonl,
        };
        let requests = source::Requests::new(self.clone(), opening.id);
        let name = format!("what was sent to `{}`", requests.path());
        Ok(Box::new(Pushed::with_cells(
            requests,
            name,
            format,
            &self.cells,
            opening,
        )?))
    }

    fn can_be_read_again(&self, _: &dyn Disk) -> bool {
        true
    }

    fn facets(&self, _: &Path) -> Facets {
        // The address may change: what is in the journal stays the same.
        let is_lines = self.format == Format::Lines;
        facets([("kind", json!("http")), ("lines", json!(is_lines.then_some(true)))])
    }
}
