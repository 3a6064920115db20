//! Streams of NATS JetStream.
//!
//! A source reads a stream from a sequence on; the sequence is its offset, so the state says what was read, and the server nothing. A sink publishes what is
//! committed, and tells from the stream what it has published. Owns the keys of the pipeline file and what they mean together.

mod connection;
mod error;
mod feed;
mod found;
mod publisher;
mod sink;
mod source;

use std::path::Path;
use std::sync::Arc;

use async_nats::ServerAddr;
use dirigo_connect::source::{Error, Opening, Source, SourceSpec};
use dirigo_connect::{Facets, Format, SinkSpec, facets};
use dirigo_disk::Disk;
use dirigo_pipeline::keys::{At, Choice, Diagnostic, Field, Span, Validation, Word};
use dirigo_pipeline::{SinkConnector, SourceConnector, section};
use serde_json::json;

use self::connection::{Login, Servers};
use crate::records::CellRules;
use crate::retries::Party;
use crate::servers::{self, Endpoint, Secret};

/// What becomes of the run where messages were removed before they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It fails.
    Fail,
    /// It goes on at the first message that is there.
    Skip,
}

impl Choice for Missing {
    const WHAT: &'static str = "`missing`";
    const WORDS: &'static [(&'static str, Self)] = &[("fail", Self::Fail), ("skip", Self::Skip)];
}

/// Where a source ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the message that is the last one when the run begins.
    Last,
}

impl Choice for End {
    const WHAT: &'static str = "`end`";
    const WORDS: &'static [(&'static str, Self)] = &[("last", Self::Last)];
}

section! {
    /// The keys of a source that reads a stream of NATS JetStream.
    pub struct Keys = "[[source]]" {
        /// For nats: the URLs of servers of a cluster, such as `["nats://127.0.0.1:4222"]`; `tls://` for those that must encrypt.
        servers: Vec<At<String>>,
        /// For nats: the name of the stream.
        stream: String,
        /// For nats: the subjects whose messages are read, such as `["readings.>"]`. Default: all.
        subjects: Vec<At<String>>,
        /// For nats: what a message is: "jsonl" for lines with a JSON value each, "lines" for lines of whatever they hold. Default: jsonl.
        format: Word<Format>,
        /// For nats: where the first run begins: "first", "new", a sequence such as "1042", or an RFC 3339 time.
        #[schemars(extend("default" = "first"))]
        start: String,
        /// For nats: "last" has the run end with the message that was the last one as it began. Default: it waits for more.
        end: Word<End>,
        /// For nats: what becomes of the run where the stream has removed messages that were not read: "fail", or "skip" to go on without them.
        #[schemars(extend("default" = "fail"))]
        missing: Word<Missing>,
        /// For nats: the token with which to connect.
        token: String,
        /// For nats: the user as whom to connect.
        user: String,
        /// For nats: the password of the user.
        password: String,
        /// For nats: the seed of the nkey with which to connect.
        nkey: String,
        /// For nats: the content of a credentials file, such as `{ file = "me.creds" }`.
        credentials: String,
        /// For nats: certificates of authorities in PEM that vouch for the servers, such as `{ file = "ca.pem" }`. Default: those of the machine.
        ca: String,
    }
}

section! {
    /// The keys of a sink that publishes to a stream of NATS JetStream.
    pub struct SinkKeys = "[[sink]]" {
        /// For nats: the URLs of servers of a cluster, such as `["nats://127.0.0.1:4222"]`; `tls://` for those that must encrypt.
        servers: Vec<At<String>>,
        /// For nats: the name of the stream.
        stream: String,
        /// For nats: the subject of the messages, which the stream takes.
        subject: String,
        /// For nats: the token with which to connect.
        token: String,
        /// For nats: the user as whom to connect.
        user: String,
        /// For nats: the password of the user.
        password: String,
        /// For nats: the seed of the nkey with which to connect.
        nkey: String,
        /// For nats: the content of a credentials file, such as `{ file = "me.creds" }`.
        credentials: String,
        /// For nats: certificates of authorities in PEM that vouch for the servers, such as `{ file = "ca.pem" }`. Default: those of the machine.
        ca: String,
    }
}

/// The keys of a source or a sink that say which servers it reads or writes, and as whom.
macro_rules! server_keys {
    ($keys:expr) => {
        ServerKeys {
            servers: &$keys.servers,
            token: &$keys.token,
            user: &$keys.user,
            password: &$keys.password,
            nkey: &$keys.nkey,
            credentials: &$keys.credentials,
            ca: &$keys.ca,
            place: $keys.place,
        }
    };
}

/// `kind = "nats"` of a sink.
#[derive(Clone, Copy, Debug)]
pub struct NatsSink;

impl SinkConnector for NatsSink {
    type Keys = SinkKeys;

    fn kind(&self) -> &'static str {
        "nats"
    }

    fn validate(&self, keys: &SinkKeys, who: &str, validation: &mut Validation<'_>) -> Option<Arc<dyn SinkSpec>> {
        let servers = server_keys!(keys).validate(who, validation);
        let stream = stream_name(&keys.stream, keys.place, who, validation);
        let example = "\"averages\"";
        let subject = keys
            .subject
            .required("subject", example, keys.place, who, &mut validation.problems)?;
        if !is_subject(&subject.value) || subject.value.contains(['*', '>']) {
            let problem = Diagnostic::error(format!("{who} has no subject of messages as its `subject`"));
            validation.problems.push(
                problem
                    .at(subject.place, "no subject of messages")
                    .help("it is such as \"averages.hourly\", without `*` and `>`"),
            );
            return None;
        }
        Some(Arc::new(sink::NatsSinkSpec {
            servers: servers?,
            stream: stream?,
            subject: subject.value.clone(),
        }))
    }
}

/// `kind = "nats"` of a source.
#[derive(Clone, Copy, Debug)]
pub struct NatsSource;

impl SourceConnector for NatsSource {
    type Keys = Keys;

    fn kind(&self) -> &'static str {
        "nats"
    }

    fn format(&self, keys: &Keys) -> Option<Format> {
        if keys.format.is_absent() {
            return Some(Format::Jsonl);
        }
        keys.format.map(|Word(format)| *format)
    }

    fn validate(&self, keys: &Keys, who: &str, validation: &mut Validation<'_>) -> Option<Arc<dyn SourceSpec>> {
        let servers = server_keys!(keys).validate(who, validation);
        let stream = stream_name(&keys.stream, keys.place, who, validation);
        let start = match keys.start.given() {
            Some(at) => self::start(at, who, validation),
            None => Some(Start::First),
        };
        let subjects = subjects(&keys.subjects, who, validation);
        if let Some(at) = keys.format.given().filter(|at| at.value.0 == Format::Csv) {
            let problem = Diagnostic::error(format!("{who} cannot read messages as csv"));
            let problem = problem.at(at.place, "a message has no header");
            validation
                .problems
                .push(problem.help("\"jsonl\" and \"lines\" are read"));
            return None;
        }
        Some(Arc::new(NatsSpec {
            servers: servers?,
            stream: stream?,
            subjects: subjects?,
            format: self.format(keys)?,
            cells: Arc::default(),
            start: start?,
            missing: keys.missing.map(|Word(missing)| *missing).unwrap_or(Missing::Fail),
            is_bounded: keys.end.given().is_some(),
        }))
    }
}

impl Endpoint for ServerAddr {
    fn host(&self) -> &str {
        ServerAddr::host(self)
    }

    fn port(&self) -> u16 {
        ServerAddr::port(self)
    }
}

/// The keys that say where servers are and who connects.
struct ServerKeys<'k> {
    servers: &'k Field<Vec<At<String>>>,
    token: &'k Field<String>,
    user: &'k Field<String>,
    password: &'k Field<String>,
    nkey: &'k Field<String>,
    credentials: &'k Field<String>,
    ca: &'k Field<String>,
    place: Span,
}

impl ServerKeys<'_> {
    fn validate(&self, who: &str, validation: &mut Validation<'_>) -> Option<Servers> {
        let addresses = self.addresses(who, validation);
        let login = self.login(who, validation);
        let authorities = match self.ca.given() {
            None => None,
            Some(at) => Some(servers::authorities(at, who, validation)?),
        };
        Some(Servers {
            addresses: addresses?,
            login: login?,
            authorities,
            is_confined: validation.is_confined(),
        })
    }

    fn addresses(&self, who: &str, validation: &mut Validation<'_>) -> Option<Vec<ServerAddr>> {
        let parse = |url: &str| {
            let address = url.parse::<ServerAddr>().ok();
            let address = address.filter(|address| !address.host().is_empty() && !address.is_websocket());
            let address = address.ok_or("no URL of a server: it begins with `nats://` or `tls://`")?;
            if address.has_user_pass() || address.password().is_some() {
                return Err(servers::SECRET.to_owned());
            }
            Ok(address)
        };
        servers::addresses(
            self.servers,
            "nats://127.0.0.1:4222",
            self.place,
            who,
            validation,
            parse,
        )
    }

    fn login(&self, who: &str, validation: &mut Validation<'_>) -> Option<Login> {
        let ways = [
            ("token", self.token),
            ("user", self.user),
            ("nkey", self.nkey),
            ("credentials", self.credentials),
        ];
        let mut empty = [("password", self.password)].into_iter().chain(ways);
        if let Some((key, at)) = empty.find_map(|(key, field)| {
            let at = field.given().filter(|at| at.value.trim().is_empty())?;
            Some((key, at))
        }) {
            let problem = Diagnostic::error(format!("{who} has an empty `{key}`")).at(at.place, "empty");
            validation
                .problems
                .push(problem.help(format!("leave `{key}` out, or give it a value")));
            return None;
        }
        let mut given = ways.iter().filter_map(|(key, field)| Some((*key, field.key()?)));
        if let (Some((one, first)), Some((other, place))) = (given.next(), given.next()) {
            let problem = Diagnostic::error(format!("{who} has both `{one}` and `{other}`"));
            let problem = problem
                .at(place, "another way to connect")
                .also(first, "one way to connect");
            validation.problems.push(problem.help("remove one of the two"));
            return None;
        }
        if let Some(login) = servers::login(self.user, self.password, who, validation)? {
            return Some(Login::User(login));
        }
        if let Some(at) = self.credentials.given() {
            if !connection::are_credentials(&at.value) {
                let problem = Diagnostic::error(format!("the `credentials` of {who} cannot be read"));
                let problem = problem.at(at.place, "no JWT with the seed of an nkey");
                validation
                    .problems
                    .push(problem.help("they are the content of a file, such as `{ file = \"me.creds\" }`"));
                return None;
            }
            return Some(Login::Credentials(Secret(at.value.clone())));
        }
        let secret = |field: &Field<String>| field.map(|text| Secret(text.trim().to_owned()));
        Some(match (secret(self.token), secret(self.nkey)) {
            (Some(token), _) => Login::Token(token),
            (None, Some(seed)) => Login::Nkey(seed),
            (None, None) => Login::Anonymous,
        })
    }
}

fn stream_name(field: &Field<String>, place: Span, who: &str, validation: &mut Validation<'_>) -> Option<String> {
    let at = field.required("stream", "\"READINGS\"", place, who, &mut validation.problems)?;
    let is_name = !at.value.is_empty()
        && !at
            .value
            .contains(|letter: char| letter.is_whitespace() || letter.is_control() || ".*>/\\".contains(letter));
    if !is_name {
        let problem = Diagnostic::error(format!("{who} has no name of a stream as its `stream`"));
        validation.problems.push(
            problem
                .at(at.place, "no name of a stream")
                .help("it has no blanks and none of `.*>/\\`"),
        );
        return None;
    }
    Some(at.value.clone())
}

fn subjects(field: &Field<Vec<At<String>>>, who: &str, validation: &mut Validation<'_>) -> Option<Vec<String>> {
    let Some(list) = field.given() else {
        return Some(Vec::new());
    };
    for at in &list.value {
        let is_subject = is_subject(&at.value);
        if !is_subject {
            let problem = Diagnostic::error(format!("{who} has no subject in `subjects`"));
            validation.problems.push(
                problem
                    .at(at.place, "no subject")
                    .help("it is such as \"readings.*\" or \"readings.>\""),
            );
            return None;
        }
    }
    let mut subjects: Vec<_> = list.value.iter().map(|at| at.value.clone()).collect();
    subjects.sort();
    subjects.dedup();
    Some(subjects)
}

/// Whether a text is a subject, or a pattern of subjects.
fn is_subject(text: &str) -> bool {
    let tokens: Vec<_> = text.split('.').collect();
    let is_token = |(place, token): (usize, &&str)| !token.is_empty() && (*token != ">" || place + 1 == tokens.len());
    !text.contains(char::is_whitespace) && tokens.iter().enumerate().all(is_token)
}

/// Where a source begins where no run has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the first message that there is.
    First,
    /// With the first one that comes.
    New,
    /// With this sequence.
    Sequence(u64),
    /// With the first one that the server took then or later, ms since the epoch.
    Time(i64),
}

fn start(at: &At<String>, who: &str, validation: &mut Validation<'_>) -> Option<Start> {
    let text = at.value.trim();
    let start = match text {
        "first" => Some(Start::First),
        "new" => Some(Start::New),
        _ => {
            let sequence = text.parse().ok().filter(|sequence| *sequence > 0).map(Start::Sequence);
            let time = || text.parse::<jiff::Timestamp>().ok();
            sequence.or_else(|| time().map(|time| Start::Time(time.as_millisecond())))
        }
    };
    if start.is_none() {
        let problem = Diagnostic::error(format!("{who} has no place in a stream as its `start`"));
        validation.problems.push(
            problem.at(at.place, "no place in a stream").help(
                "it is \"first\", \"new\", a sequence such as \"1042\", or a time such as \"2024-01-01T00:00:00Z\"",
            ),
        );
    }
    start
}

/// A stream that is read.
#[derive(Clone, Debug)]
pub struct NatsSpec {
    servers: Servers,
    stream: String,
    subjects: Vec<String>,
    format: Format,
    cells: Arc<CellRules>,
    start: Start,
    missing: Missing,
    is_bounded: bool,
}

impl NatsSpec {
    fn party(&self, kind: &'static str, id: &str) -> Party {
        Party {
            kind,
            id: id.to_owned(),
            servers: self.servers.to_string(),
        }
    }
}

impl SourceSpec for NatsSpec {
    fn format(&self) -> Format {
        self.format
    }

    fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Source>, Error> {
        Ok(Box::new(source::NatsSource::open(self.clone(), opening)?))
    }

    fn can_be_read_again(&self, _: &dyn Disk) -> bool {
        true
    }

    /// Servers may change: the offset says which stream it is of.
    fn facets(&self, _: &Path) -> Facets {
        let is_lines = self.format == Format::Lines;
        facets([
            ("kind", json!("nats")),
            ("stream", json!(self.stream)),
            (
                "subjects",
                json!(Some(&self.subjects).filter(|subjects| !subjects.is_empty())),
            ),
            ("lines", json!(is_lines.then_some(true))),
        ])
    }

    fn has_times(&self) -> bool {
        true
    }
}
