//! Connections to NATS servers.
//!
//! Owns who connects where, how often that is tried, and what is said of it. One thread serves all connections of the process; it never waits for a
//! disk. Knows streams and messages as little as events.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::error::Problem;
use crate::retries::{Party, Retries};
use crate::servers::{self, Secret, ServerRefusal, described};

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
#[derive(Clone, Debug, Default)]
pub(super) enum Login {
    /// Anybody.
    #[default]
    Anonymous,
    /// Who has a token.
    Token(Secret),
    /// A user with a password.
    User(servers::Login),
    /// Who has the seed of an nkey.
    Nkey(Secret),
    /// Who has the content of a credentials file: a JWT and the seed of its nkey.
    Credentials(Secret),
}

/// Where servers are, and who connects to them.
#[derive(Clone, Debug)]
pub(super) struct Servers {
    /// Their addresses, without names and passwords.
    pub(super) addresses: Vec<ServerAddr>,
    /// Who connects.
    pub(super) login: Login,
    /// Authorities that vouch for servers, in place of those of the machine.
    pub(super) authorities: Option<Vec<CertificateDer<'static>>>,
    /// Whether servers that a server names are left alone.
    pub(super) is_confined: bool,
}

/// As errors and the log name them.
impl fmt::Display for Servers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&servers::joined(self.addresses.iter().map(ServerAddr::as_url_str)))
    }
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
                    Some(refusal) => return Err(refusal.into()),
                    None => retries.pause(&described(&error)).await,
                },
            }
        }
    }

    fn options(&self, party: &Party, link: watch::Sender<Link>) -> Result<ConnectOptions, Problem> {
        let options = ConnectOptions::new();
        let options = match self.login.clone() {
            Login::Anonymous => options,
            Login::Token(token) => options.token(token.0),
            Login::User(servers::Login { user, password }) => options.user_and_password(user, password.0),
            Login::Nkey(seed) => options.nkey(seed.0),
            Login::Credentials(text) => options.credentials(&text.0).map_err(|_| Problem::Credentials)?,
        };
        let options = match &self.authorities {
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(authorities.iter().cloned());
                options.tls_client_config(
                    ClientConfig::builder()
                        .with_root_certificates(roots)
                        .with_no_client_auth(),
                )
            }
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
    fn refusal(&self, error: &ConnectError) -> Option<ServerRefusal> {
        match error.kind() {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => Some(ServerRefusal::Login {
                servers: self.to_string(),
                reason: match self.login {
                    Login::Anonymous => "it wants a `token`, `user` and `password`, `nkey` or `credentials`",
                    Login::Token(_) => "it does not take this `token`",
                    Login::User(_) => "it does not take this `user` with this `password`",
                    Login::Nkey(_) => "it does not take this `nkey`",
                    Login::Credentials(_) => "it does not take these `credentials`",
                }
                .to_owned(),
            }),
            _ => ServerRefusal::of_certificate(self, error),
        }
    }
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
            Login::Token(Secret("s3cret".to_owned())),
            Login::Nkey(Secret("s3cret".to_owned())),
            Login::Credentials(Secret("s3cret".to_owned())),
            Login::User(servers::Login {
                user: "me".to_owned(),
                password: Secret("s3cret".to_owned()),
            }),
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
}
