//! Brokers: where they are, and who connects to them.

use std::fmt;
use std::time::Duration;

use dirigo_connectors::servers::{self, Address, Endpoint as _, Login, Scheme, ServerRefusal};
use dirigo_connectors::tls;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::connection::{Connection, Stream};
use crate::error::{Problem, Stop};
use crate::packet::{Answer, Connect, Reason};

/// How long a broker may take to take a connection and to answer on it.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
/// The schemes of the URLs of brokers.
const SCHEMES: &[Scheme] = &[("mqtt", 1_883), (ENCRYPTED, 8_883)];
const ENCRYPTED: &str = "mqtts";

/// The address of a broker in a URL.
///
/// # Errors
/// As [`Address::parse`].
pub(crate) fn parse(url: &str) -> Result<Address, String> {
    Address::parse(url, SCHEMES)
}

/// The client id of a source or a sink without `client_id`.
pub(crate) fn client_id(tenant: &str, pipeline: &str, id: &str) -> String {
    // No name has a dot, so no two of these are the same.
    format!("dirigo.{tenant}.{pipeline}.{id}")
}

/// Where brokers are, and who connects to them.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    pub(crate) addresses: Vec<Address>,
    pub(crate) login: Option<Login>,
    /// Authorities that vouch for brokers, in place of those of the machine.
    pub(crate) authorities: Option<Vec<CertificateDer<'static>>>,
}

/// As errors and the log name them.
impl fmt::Display for Servers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&servers::joined(&self.addresses))
    }
}

impl Servers {
    /// How to encrypt, where a broker wants that.
    pub(crate) fn tls(&self) -> Result<Option<TlsConnector>, Problem> {
        let is_wanted = self.addresses.iter().any(is_encrypted);
        let connector = is_wanted.then(|| tls::connector(self.authorities.as_deref(), &[]));
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
            let attempt = tokio::time::timeout(ANSWER_WAIT_MAX, connect(server, tls, hello, message_max));
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

fn is_encrypted(server: &Address) -> bool {
    server.scheme() == ENCRYPTED
}

async fn connect(
    server: &Address,
    encryption: Option<&TlsConnector>,
    hello: &Connect<'_>,
    message_max: usize,
) -> Result<(Connection, Answer), Stop> {
    let retry = |error: std::io::Error| Stop::Retry(error.to_string());
    let stream = TcpStream::connect((server.host(), server.port()))
        .await
        .map_err(retry)?;
    stream.set_nodelay(true).map_err(retry)?;
    let stream: Box<dyn Stream> = match encryption.filter(|_| is_encrypted(server)) {
        None => Box::new(stream),
        Some(encryption) => {
            let name = ServerName::try_from(server.host().to_owned())
                .map_err(|_| Stop::Retry("no certificate can be issued for its name".to_owned()))?;
            let stream = encryption.connect(name, stream).await;
            Box::new(
                stream.map_err(|error| match ServerRefusal::of_certificate(server, &error) {
                    Some(refusal) => Problem::from(refusal).into(),
                    None => retry(error),
                })?,
            )
        }
    };
    let (connection, answer) = Connection::open(stream, server.to_string(), hello, message_max).await?;
    if !answer.reason.is_failure() {
        return Ok((connection, answer));
    }
    let reason = match answer.reason {
        Reason::BAD_LOGIN | Reason::NOT_AUTHORIZED if hello.login.is_none() => {
            "it wants a `user` and a `password`".to_owned()
        }
        Reason::BAD_LOGIN | Reason::NOT_AUTHORIZED => "it does not take this `user` with this `password`".to_owned(),
        reason => reason.to_string(),
    };
    if answer.reason.is_passing() {
        return Err(Stop::Retry(format!("it refuses the connection: {reason}")));
    }
    let servers = server.to_string();
    Err(Problem::from(ServerRefusal::Login { servers, reason }).into())
}
#[cfg(test)]
mod tests {
    use dirigo_connectors::servers::Secret;

    use super::*;

    #[test]
    fn what_is_said_of_servers_has_no_secret() {
        let servers = Servers {
            addresses: vec![parse("mqtt://a").unwrap(), parse("mqtts://b").unwrap()],
            login: Some(Login {
                user: "me".to_owned(),
                password: Secret("s3cret".to_owned()),
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
