//! Brokers: where they are, who connects to them, and when that is tried again.

use std::fmt;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, rustls};

use crate::connection::{Connection, Stream};
use crate::error::{Problem, Stop};
use crate::packet::{Answer, Connect, Reason};

/// How long a broker may take to take a connection and to answer on it.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
/// The first pause after an attempt that failed; each one is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A failure that lasts is logged again after pauses of this length together.
const SILENCE: Duration = Duration::from_mins(1);

/// The address of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    is_tls: bool,
    host: String,
    port: u16,
}

impl Server {
    /// Of a URL, or what is wrong with it.
    pub(crate) fn parse(url: &str) -> Result<Self, &'static str> {
        let (is_tls, rest) = match url.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => return Err("a URL begins with `mqtt://` or `mqtts://`"),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err("logs and errors show URLs: write `user` and `password` as keys of their own");
        }
        if rest.contains(['/', '?', '#']) || rest.chars().any(char::is_whitespace) {
            return Err("it has more than a host and a port");
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !host.starts_with('[') || host.ends_with(']') => {
                let port = port.parse().ok().filter(|&port: &u16| port != 0);
                (host, port.ok_or("its port is no port")?)
            }
            _ => (rest, if is_tls { 8_883 } else { 1_883 }),
        };
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err("it has more than one port; an IPv6 address stands in brackets");
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err("it names no host");
        }
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port,
        })
    }

    /// A name, or an address without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "mqtts" } else { "mqtt" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(formatter, "{scheme}://{open}{}{close}:{}", self.host, self.port)
    }
}

/// A user with a password.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// The id as which a source or a sink connects whose pipeline file says none.
pub(crate) fn client_id(tenant: &str, pipeline: &str, id: &str) -> String {
    // No name has a dot, so no two of these are the same.
    format!("dirigo.{tenant}.{pipeline}.{id}")
}

/// Where brokers are, and who connects to them.
#[derive(Clone)]
pub(crate) struct Servers {
    pub(crate) addresses: Vec<Server>,
    pub(crate) login: Option<Login>,
    /// Authorities that vouch for brokers, in place of those of the machine.
    pub(crate) authorities: Option<Vec<CertificateDer<'static>>>,
}

/// As errors and the log say it.
impl fmt::Display for Servers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, address) in self.addresses.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(formatter, "{comma}{address}")?;
        }
        Ok(())
    }
}

/// Without what the login is, which is a secret.
impl fmt::Debug for Servers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Servers")
            .field("addresses", &self.to_string())
            .finish_non_exhaustive()
    }
}

impl Servers {
    /// How to encrypt, where a broker wants that.
    pub(crate) fn tls(&self) -> Result<Option<TlsConnector>, Problem> {
        let is_wanted = self.addresses.iter().any(|address| address.is_tls);
        let connector = is_wanted.then(|| dirigo_connectors::tls::connector(self.authorities.as_deref(), &[]));
        Ok(connector.transpose()?)
    }

    /// Connects to the first broker that answers.
    pub(crate) async fn connect(
        &self,
        tls: Option<&TlsConnector>,
        hello: &Connect<'_>,
        message_max: usize,
    ) -> Result<(Connection, Answer), Stop> {
        let mut reasons = Vec::new();
        for server in &self.addresses {
            let attempt = tokio::time::timeout(ANSWER_WAIT_MAX, server.connect(tls, hello, message_max));
            match attempt.await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(Stop::Retry(reason))) => reasons.push(format!("{server}: {reason}")),
                Ok(Err(Stop::Failed(problem))) => return Err(problem.into()),
                Err(_) => reasons.push(format!("{server}: no answer within {} s", ANSWER_WAIT_MAX.as_secs())),
            }
        }
        Err(Stop::Retry(reasons.join("; ")))
    }
}

impl Server {
    async fn connect(
        &self,
        tls: Option<&TlsConnector>,
        hello: &Connect<'_>,
        message_max: usize,
    ) -> Result<(Connection, Answer), Stop> {
        let retry = |error: std::io::Error| Stop::Retry(error.to_string());
        let stream = TcpStream::connect((&*self.host, self.port)).await.map_err(retry)?;
        stream.set_nodelay(true).map_err(retry)?;
        let stream: Box<dyn Stream> = match tls.filter(|_| self.is_tls) {
            None => Box::new(stream),
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone())
                    .map_err(|_| Stop::Retry("no certificate can be issued for its name".to_owned()))?;
                let stream = tls.connect(name, stream).await;
                Box::new(stream.map_err(|error| match certificate_error(&error) {
                    Some(reason) => Stop::Failed(Problem::Certificate {
                        server: self.to_string(),
                        reason,
                    }),
                    None => retry(error),
                })?)
            }
        };
        let (connection, answer) = Connection::open(stream, self.to_string(), hello, message_max).await?;
        if !answer.reason.is_failure() {
            return Ok((connection, answer));
        }
        let reason = match answer.reason {
            Reason::BAD_LOGIN | Reason::NOT_AUTHORIZED if hello.login.is_none() => {
                "it wants a `user` and a `password`".to_owned()
            }
            Reason::BAD_LOGIN | Reason::NOT_AUTHORIZED => {
                "it does not take this `user` with this `password`".to_owned()
            }
            reason => reason.to_string(),
        };
        if answer.reason.is_passing() {
            return Err(Stop::Retry(format!("it refuses the connection: {reason}")));
        }
        Err(Problem::Refused {
            server: self.to_string(),
            reason,
        }
        .into())
    }
}

/// What is wrong with the certificate of a broker.
fn certificate_error(error: &std::io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::InvalidCertificate(reason) => Some(format!("{reason:?}")),
        _ => None,
    }
}

/// Who is connected, as the log names it: the source or the sink, and its brokers.
#[derive(Clone, Debug)]
pub(crate) struct Party {
    /// "source" or "sink".
    pub(crate) kind: &'static str,
    /// Its id in the pipeline.
    pub(crate) id: String,
    /// Where it connects.
    pub(crate) servers: String,
}

impl fmt::Display for Party {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} `{}`", self.kind, self.id)
    }
}

/// Pauses between attempts, and says now and then why there are any.
pub(crate) struct Retries {
    party: Party,
    pause: Duration,
    /// How long it has paused since it last said so.
    silent: Option<Duration>,
}

impl Retries {
    pub(crate) fn new(party: Party) -> Self {
        Self {
            party,
            pause: PAUSE_MIN,
            silent: None,
        }
    }

    /// Waits before the next attempt.
    pub(crate) async fn pause(&mut self, reason: &str) {
        if self.silent.is_none_or(|silent| silent >= SILENCE) {
            let (party, servers) = (&self.party, &self.party.servers);
            tracing::warn!("{party} does not reach {servers}: {reason}; it tries again");
            self.silent = Some(Duration::ZERO);
        } else {
            tracing::debug!("{}: {reason}", self.party);
        }
        tokio::time::sleep(self.pause).await;
        self.silent = self.silent.map(|silent| silent + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    /// Says that there is a connection: why it ends is logged again.
    pub(crate) fn connected(&mut self) {
        self.silent = None;
    }

    /// Says that a connection has lasted.
    pub(crate) fn succeeded(&mut self) {
        self.pause = PAUSE_MIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_broker() {
        for (url, shown) in [
            ("mqtt://broker.example", "mqtt://broker.example:1883"),
            ("mqtts://broker.example/", "mqtts://broker.example:8883"),
            ("mqtt://127.0.0.1:1884", "mqtt://127.0.0.1:1884"),
            ("mqtt://[::1]:1884", "mqtt://[::1]:1884"),
            ("mqtt://[::1]", "mqtt://[::1]:1883"),
        ] {
            assert_eq!(Server::parse(url).unwrap().to_string(), shown);
        }
        for url in [
            "broker",
            "tcp://broker",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://me:s3cret@broker",
            "mqtt://broker:0",
            "mqtt://broker:port",
            "mqtt://broker/path",
        ] {
            assert!(Server::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn what_is_said_of_servers_has_no_secret() {
        let servers = Servers {
            addresses: vec![Server::parse("mqtt://a").unwrap(), Server::parse("mqtts://b").unwrap()],
            login: Some(Login {
                user: "me".to_owned(),
                password: "s3cret".to_owned(),
            }),
            authorities: None,
        };
        let said = format!("{servers} {servers:?}");
        assert!(
            said.contains("mqtt://a:1883, mqtts://b:8883") && !said.contains("s3cret"),
            "{said}"
        );
    }
}
