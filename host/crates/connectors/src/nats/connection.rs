//! Connections to NATS servers.
//!
//! Owns who connects where, how often that is tried, and what is said of it. One thread serves all connections of the process; it never waits for a
//! disk. Knows streams and messages as little as events.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_nats::rustls::pki_types::CertificateDer;
use async_nats::rustls::pki_types::pem::PemObject as _;
use async_nats::rustls::{self, ClientConfig, RootCertStore};
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::error::Problem;

/// The first pause after an attempt that failed; each one is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A failure that lasts is logged again after pauses of this length together.
const SILENCE: Duration = Duration::from_mins(1);
/// Failed attempts to reconnect between two lines of the log: the client pauses for four seconds at most.
const ATTEMPTS_PER_LINE: u32 = 15;
/// How long a server may take to answer a request, or the handshake of a connection.
pub(super) const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often a connection is asked whether it still stands. After three without an answer it does not.
const PING_EVERY: Duration = Duration::from_secs(10);

/// Serves the connections of all sources and sinks.
pub(super) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(4)
        .thread_name("nats")
        .enable_io()
        .enable_time()
        .build();
    runtime.expect("the system gives a thread to serve connections")
});

/// Who connects.
#[derive(Clone, Default)]
pub(super) enum Login {
    /// Anybody.
    #[default]
    Anonymous,
    /// Who has a token.
    Token(String),
    /// A user with a password.
    User {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// Who has the seed of an nkey.
    Nkey(String),
    /// Who has the content of a credentials file: a JWT and the seed of its nkey.
    Credentials(String),
}

/// Where servers are, and who connects to them.
#[derive(Clone)]
pub(super) struct Servers {
    /// Their addresses, without names and passwords.
    pub(super) addresses: Vec<ServerAddr>,
    /// Who connects.
    pub(super) login: Login,
    /// Authorities that vouch for servers, next to those of the machine.
    pub(super) authorities: Option<Arc<RootCertStore>>,
    /// Whether servers that a server names are left alone.
    pub(super) is_confined: bool,
}

/// As errors and the log say it.
impl fmt::Display for Servers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, address) in self.addresses.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(formatter, "{comma}{}", address.as_url_str())?;
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

/// Reads certificates of authorities in PEM.
pub(super) fn authorities(pem: &str) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        store.add(certificate).map_err(|error| error.to_string())?;
    }
    if store.is_empty() {
        return Err("there is no `-----BEGIN CERTIFICATE-----` in it".to_owned());
    }
    Ok(store)
}

/// Whether credentials can be used.
pub(super) fn are_credentials(text: &str) -> bool {
    ConnectOptions::with_credentials(text).is_ok()
}

/// What has become of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Link {
    /// How often it was lost.
    losses: u64,
    /// Whether it stands.
    is_up: bool,
}

/// A connection that mends itself.
pub(super) struct Connection {
    pub(super) client: Client,
    link: watch::Receiver<Link>,
}

impl Connection {
    /// How often it was lost.
    pub(super) fn losses(&self) -> u64 {
        self.link.borrow().losses
    }

    /// Waits until it has been lost more often than that.
    pub(super) async fn until_lost(&mut self, losses: u64) {
        let _ = self.link.wait_for(|link| link.losses != losses).await;
    }

    /// Waits until it stands.
    pub(super) async fn until_up(&mut self) {
        let _ = self.link.wait_for(|link| link.is_up).await;
    }
}

/// Who is connected, as the log names it: the source or the sink, and its servers.
#[derive(Clone, Debug)]
pub(super) struct Party {
    /// "source" or "sink".
    pub(super) kind: &'static str,
    /// Its id in the pipeline.
    pub(super) id: String,
    /// Where it connects.
    pub(super) servers: String,
}

impl fmt::Display for Party {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} `{}`", self.kind, self.id)
    }
}

/// Pauses between attempts, and says now and then why there are any.
pub(super) struct Retries {
    party: Party,
    pause: Duration,
    /// How long it has paused since it last said so.
    silent: Option<Duration>,
}

impl Retries {
    pub(super) fn new(party: Party) -> Self {
        Self {
            party,
            pause: PAUSE_MIN,
            silent: None,
        }
    }

    /// Waits before the next attempt.
    pub(super) async fn pause(&mut self, reason: &str) {
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

    /// Says that an attempt succeeded.
    pub(super) fn succeeded(&mut self) {
        if self.silent.take().is_some() {
            tracing::info!("{} uses {} again", self.party, self.party.servers);
        }
        self.pause = PAUSE_MIN;
    }
}

impl Servers {
    /// Connects. A server that is away is waited for.
    ///
    /// # Errors
    /// When a server refuses whoever connects, or is not the one that its certificate says.
    pub(super) async fn connect(&self, party: &Party) -> Result<Connection, Problem> {
        let mut retries = Retries::new(party.clone());
        loop {
            let (sender, link) = watch::channel(Link::default());
            let options = self.options(party, sender)?;
            match options.connect(self.addresses.clone()).await {
                Ok(client) => {
                    retries.succeeded();
                    tracing::info!("{party} is connected to {self}");
                    return Ok(Connection { client, link });
                }
                Err(error) => match self.refusal(&error) {
                    Some(problem) => return Err(problem),
                    None => retries.pause(&described(&error)).await,
                },
            }
        }
    }

    fn options(&self, party: &Party, link: watch::Sender<Link>) -> Result<ConnectOptions, Problem> {
        let options = ConnectOptions::new();
        let options = match self.login.clone() {
            Login::Anonymous => options,
            Login::Token(token) => options.token(token),
            Login::User { user, password } => options.user_and_password(user, password),
            Login::Nkey(seed) => options.nkey(seed),
            Login::Credentials(text) => options.credentials(&text).map_err(|_| Problem::Credentials)?,
        };
        let options = match &self.authorities {
            Some(authorities) => options.tls_client_config(
                ClientConfig::builder()
                    .with_root_certificates(authorities.clone())
                    .with_no_client_auth(),
            ),
            None => options,
        };
        let options = if self.is_confined {
            options.ignore_discovered_servers()
        } else {
            options
        };
        let (party, failed, link) = (party.clone(), Arc::new(AtomicU32::new(0)), Arc::new(link));
        let options = options.event_callback(move |event| {
            note(&party, &event, &link, &failed);
            std::future::ready(())
        });
        Ok(options
            .name("dirigo")
            .connection_timeout(ANSWER_WAIT_MAX)
            .request_timeout(Some(ANSWER_WAIT_MAX))
            .ping_interval(PING_EVERY))
    }

    /// Why it would be refused again, if that is so.
    fn refusal(&self, error: &ConnectError) -> Option<Problem> {
        let servers = self.to_string();
        match error.kind() {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => Some(Problem::Refused {
                servers,
                with: match self.login {
                    Login::Anonymous => "it wants a `token`, `user` and `password`, `nkey` or `credentials`",
                    Login::Token(_) => "it does not take this `token`",
                    Login::User { .. } => "it does not take this `user` with this `password`",
                    Login::Nkey(_) => "it does not take this `nkey`",
                    Login::Credentials(_) => "it does not take these `credentials`",
                },
            }),
            _ => certificate_error(error).map(|reason| Problem::Certificate { servers, reason }),
        }
    }
}

/// What is wrong with the certificate of a server.
fn certificate_error(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(|error| error.get_ref())
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner.or_else(|| error.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(reason)) => return Some(format!("{reason:?}")),
            _ => cause = error.source(),
        }
    }
    None
}

/// An error with its causes.
pub(super) fn described(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn note(party: &Party, event: &Event, link: &watch::Sender<Link>, failed: &AtomicU32) {
    match event {
        Event::Connected => {
            let losses = link.borrow().losses;
            link.send_modify(|link| link.is_up = true);
            failed.store(0, Ordering::Relaxed);
            if losses > 0 {
                tracing::info!("{party} is connected again to {}", party.servers);
            }
        }
        Event::Disconnected => {
            link.send_modify(|link| {
                link.losses += 1;
                link.is_up = false;
            });
            tracing::warn!(
                "{party} has lost its connection to {}; it connects again",
                party.servers
            );
        }
        Event::ClientError(error) if !link.borrow().is_up => {
            let attempt = failed.fetch_add(1, Ordering::Relaxed) + 1;
            if attempt.is_multiple_of(ATTEMPTS_PER_LINE) {
                tracing::warn!("{party} cannot connect to {}: {error}; it tries again", party.servers);
            }
        }
        Event::ServerError(error) => tracing::warn!("{party}: {} says: {error}", party.servers),
        event => tracing::debug!("{party}: {event}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_servers_has_no_secret() {
        for login in [
            Login::Token("s3cret".to_owned()),
            Login::Nkey("s3cret".to_owned()),
            Login::Credentials("s3cret".to_owned()),
            Login::User {
                user: "me".to_owned(),
                password: "s3cret".to_owned(),
            },
        ] {
            let servers = Servers {
                addresses: vec!["nats://a:1".parse().unwrap(), "tls://b:2".parse().unwrap()],
                login,
                authorities: None,
                is_confined: false,
            };
            let said = format!("{servers} {servers:?}");
            assert!(
                said.contains("nats://a:1, tls://b:2") && !said.contains("s3cret"),
                "{said}"
            );
        }
    }

    #[test]
    fn authorities_are_certificates() {
        assert!(authorities("").is_err());
        assert!(authorities("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
    }
}
