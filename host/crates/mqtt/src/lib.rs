//! Topics of MQTT 5 brokers.
//!
//! A source subscribes to topics, and acknowledges a message once it is durable in the journal of the source. A sink publishes what is committed. Owns the
//! keys of the pipeline file and what they mean together.

mod brokers;
mod connection;
mod error;
mod packet;
mod payload;
mod sink;
mod source;
mod topic;

use std::sync::Arc;

use dirigo_connect::{Format, SinkSpec, SourceSpec};
use dirigo_connectors::servers;
use dirigo_pipeline::keys::{At, Diagnostic, Field, Lapse, Size, Span, Validation, Whole, Word};
use dirigo_pipeline::{SinkConnector, SourceConnector, section};

use self::brokers::Servers;

/// For how many seconds a broker keeps a session, where the pipeline file does not say: a week.
const SESSION_SECONDS: u32 = 7 * 24 * 60 * 60;
/// The largest message, in bytes, where the pipeline file does not say.
const MESSAGE_MAX: u64 = 16 << 20;
/// The most that a pipeline file may say of that: no larger record is an event.
const MESSAGE_MAX_MAX: u64 = 64 << 20;
/// What may wait in the journal, in bytes, where the pipeline file does not say.
const BACKLOG_MAX: u64 = 256 << 20;
/// The longest client id and login, in bytes.
const TEXT_MAX: usize = u16::MAX as usize;

section! {
    /// The keys of a source that reads topics of an MQTT broker.
    pub struct Keys = "[[source]]" {
        /// For mqtt: the URLs of brokers, of which the first that answers is used, such as `["mqtt://127.0.0.1:1883"]`; `mqtts://` for those that encrypt.
        servers: Vec<At<String>>,
        /// For mqtt: filters of the topics that are read, such as `["plant/+/temperature"]`.
        topics: Vec<At<String>>,
        /// For mqtt: what a message is: "jsonl" for a JSON value or lines with one each, "lines" for lines of whatever they hold. Default: jsonl.
        format: Word<Format>,
        /// For mqtt: the quality of service at which messages are asked for.
        #[schemars(extend("default" = 1))]
        qos: Whole<0, 2>,
        /// For mqtt: the id as which the source connects. Default: one of the tenant, the pipeline and the id of the source.
        client_id: String,
        /// For mqtt: for how long the broker keeps messages while the source is not connected.
        #[schemars(extend("default" = "7d"))]
        session: Lapse,
        /// For mqtt: the field of each event that gets the topic of its message. Default: none does.
        topic_field: String,
        /// For mqtt: the largest message that is taken; at most "64MiB".
        #[schemars(extend("default" = "16MiB"))]
        message_max: Size,
        /// For mqtt: how much may wait in the journal before no more is read from the broker.
        #[schemars(extend("default" = "256MiB"))]
        backlog_max: Size,
        /// For mqtt: the user as whom to connect.
        user: String,
        /// For mqtt: the password of the user.
        password: String,
        /// For mqtt: certificates of authorities in PEM that vouch for the brokers, such as `{ file = "ca.pem" }`. Default: those of the machine.
        ca: String,
    }
}

section! {
    /// The keys of a sink that publishes to a topic of an MQTT broker.
    pub struct SinkKeys = "[[sink]]" {
        /// For mqtt: the URLs of brokers, of which the first that answers is used, such as `["mqtt://127.0.0.1:1883"]`; `mqtts://` for those that encrypt.
        servers: Vec<At<String>>,
        /// For mqtt: the topic of the messages.
        topic: String,
        /// For mqtt: the quality of service at which messages are published.
        #[schemars(extend("default" = 1))]
        qos: Whole<1, 2>,
        /// For mqtt: whether the broker keeps the last message for those who subscribe later.
        #[schemars(extend("default" = false))]
        retain: bool,
        /// For mqtt: the id as which the sink connects. Default: one of the tenant, the pipeline and the id of the sink.
        client_id: String,
        /// For mqtt: the user as whom to connect.
        user: String,
        /// For mqtt: the password of the user.
        password: String,
        /// For mqtt: certificates of authorities in PEM that vouch for the brokers, such as `{ file = "ca.pem" }`. Default: those of the machine.
        ca: String,
    }
}

/// The keys of a source or a sink that say which brokers it uses, and as whom.
macro_rules! server_keys {
    ($keys:expr) => {
        ServerKeys {
            servers: &$keys.servers,
            client_id: &$keys.client_id,
            user: &$keys.user,
            password: &$keys.password,
            ca: &$keys.ca,
            place: $keys.place,
        }
    };
}

/// `kind = "mqtt"` of a source.
#[derive(Clone, Copy, Debug)]
pub struct MqttSource;

impl SourceConnector for MqttSource {
    type Keys = Keys;

    fn kind(&self) -> &'static str {
        "mqtt"
    }

    fn format(&self, keys: &Keys) -> Option<Format> {
        if keys.format.is_absent() {
            return Some(Format::Jsonl);
        }
        keys.format.map(|Word(format)| *format)
    }

    fn validate(&self, keys: &Keys, who: &str, validation: &mut Validation<'_>) -> Option<Arc<dyn SourceSpec>> {
        let servers = server_keys!(keys).validate(who, validation);
        let filters = filters(keys, who, validation);
        let format = self.format(keys)?;
        if let Some(at) = keys.format.given().filter(|at| at.value.0 == Format::Csv) {
            let problem = Diagnostic::error(format!("{who} cannot read messages as csv"));
            let problem = problem.at(at.place, "a message has no header");
            validation
                .problems
                .push(problem.help("\"jsonl\" and \"lines\" are read"));
            return None;
        }
        if let Some(at) = keys.topic_field.given() {
            let flaw = match format {
                _ if at.value.is_empty() => Some("empty"),
                Format::Jsonl => None,
                _ => Some("only JSON objects have fields"),
            };
            if let Some(flaw) = flaw {
                let problem = Diagnostic::error(format!("{who} has no field for topics")).at(at.place, flaw);
                validation
                    .problems
                    .push(problem.help("it is the name of a field of JSON, such as \"topic\""));
                return None;
            }
        }
        for (key, size) in [("message_max", &keys.message_max), ("backlog_max", &keys.backlog_max)] {
            if let Some(at) = size.given().filter(|at| at.value.0 == 0) {
                let problem = Diagnostic::error(format!("`{key}` is 0")).at(at.place, "nothing could be read");
                validation.problems.push(problem.help("leave it out for the default"));
            }
        }
        if let Some(at) = keys.message_max.given().filter(|at| at.value.0 > MESSAGE_MAX_MAX) {
            let problem = Diagnostic::error("`message_max` is more than 64MiB").at(at.place, "too large");
            validation.problems.push(problem.help("no event is larger than that"));
        }
        let session = validation.positive("session", &keys.session);
        let message_max = keys.message_max.map(|size| size.0).unwrap_or(MESSAGE_MAX);
        Some(Arc::new(source::MqttSpec {
            servers: servers?,
            filters: filters?,
            format,
            qos: qos(keys.qos.map(|qos| qos.to_u32())),
            client_id: keys.client_id.given().map(|at| at.value.clone()),
            session_seconds: session.map_or(SESSION_SECONDS, |session| {
                u32::try_from(session.as_secs().max(1)).unwrap_or(u32::MAX)
            }),
            topic_field: keys.topic_field.given().map(|at| at.value.clone()),
            message_max: usize::try_from(message_max.min(MESSAGE_MAX_MAX)).expect("64 MiB fit"),
            backlog_max: keys.backlog_max.map(|size| size.0).unwrap_or(BACKLOG_MAX),
        }))
    }
}

fn qos(given: Option<u32>) -> u8 {
    given.map_or(1, |qos| u8::try_from(qos).expect("it is 2 at most"))
}

fn filters(keys: &Keys, who: &str, validation: &mut Validation<'_>) -> Option<Vec<String>> {
    let example = "[\"readings/#\"]";
    let list = keys
        .topics
        .required("topics", example, keys.place, who, &mut validation.problems)?;
    if list.value.is_empty() {
        let problem = Diagnostic::error(format!("{who} has no topics")).at(list.place, "an empty list");
        validation
            .problems
            .push(problem.help(format!("write `topics = {example}`")));
        return None;
    }
    let filters = list.value.iter().map(|at| match topic::flaw_of_filter(&at.value) {
        None => Some(at.value.clone()),
        Some(flaw) => {
            let problem = Diagnostic::error(format!("{who} has a filter that stands for no topic"));
            validation.problems.push(
                problem
                    .at(at.place, flaw)
                    .help("such as \"plant/+/temperature\" or \"plant/#\""),
            );
            None
        }
    });
    let filters: Vec<_> = filters.collect();
    filters.into_iter().collect()
}

/// `kind = "mqtt"` of a sink.
#[derive(Clone, Copy, Debug)]
pub struct MqttSink;

impl SinkConnector for MqttSink {
    type Keys = SinkKeys;

    fn kind(&self) -> &'static str {
        "mqtt"
    }

    fn validate(&self, keys: &SinkKeys, who: &str, validation: &mut Validation<'_>) -> Option<Arc<dyn SinkSpec>> {
        let servers = server_keys!(keys).validate(who, validation);
        let example = "\"plant/averages\"";
        let topic = keys
            .topic
            .required("topic", example, keys.place, who, &mut validation.problems)?;
        if let Some(flaw) = topic::flaw_of_name(&topic.value) {
            let problem = Diagnostic::error(format!("{who} has no topic of messages as its `topic`"));
            validation
                .problems
                .push(problem.at(topic.place, flaw).help(format!("it is such as {example}")));
            return None;
        }
        Some(Arc::new(sink::MqttSinkSpec {
            servers: servers?,
            topic: topic.value.clone(),
            qos: qos(keys.qos.map(|qos| qos.to_u32())),
            retain: keys.retain.map(|retain| *retain).unwrap_or_default(),
            client_id: keys.client_id.given().map(|at| at.value.clone()),
        }))
    }
}

/// The keys that say where brokers are and who connects.
struct ServerKeys<'k> {
    servers: &'k Field<Vec<At<String>>>,
    client_id: &'k Field<String>,
    user: &'k Field<String>,
    password: &'k Field<String>,
    ca: &'k Field<String>,
    place: Span,
}

impl ServerKeys<'_> {
    fn validate(&self, who: &str, validation: &mut Validation<'_>) -> Option<Servers> {
        let example = "mqtt://127.0.0.1:1883";
        let addresses = servers::addresses(self.servers, example, self.place, who, validation, self::brokers::parse);
        let texts = [
            ("client_id", self.client_id),
            ("user", self.user),
            ("password", self.password),
        ];
        for (key, field) in texts {
            let Some(at) = field.given() else { continue };
            let flaw = match at.value.len() {
                0 => "empty",
                length if length > TEXT_MAX => "it is longer than 65,535 bytes",
                _ => continue,
            };
            let problem = Diagnostic::error(format!("{who} has no `{key}` that can be sent")).at(at.place, flaw);
            validation
                .problems
                .push(problem.help(format!("leave `{key}` out, or give it a value")));
            return None;
        }
        let login = servers::login(self.user, self.password, who, validation)?;
        let authorities = match self.ca.given() {
            None => None,
            Some(at) => Some(servers::authorities(at, who, validation)?),
        };
        Some(Servers {
            addresses: addresses?,
            login,
            authorities,
        })
    }
}
