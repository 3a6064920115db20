//! Servers of `PostgreSQL`: where they are, and who connects to them.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use dirigo_connectors::servers::{Address, Endpoint as _, Scheme, Secret, ServerRefusal};
use dirigo_connectors::tls;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config};
use tokio_rustls::TlsConnector;

use crate::error::{Kind, Problem, Stop, described, kind};

/// How long a server may take to take a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long a server may take for a statement. After that the sink closes the connection and tries again, whether the network is dead or a lock is held.
pub(crate) const ANSWER_MAX: Duration = Duration::from_mins(1);
/// The schemes of the URLs of servers.
const SCHEMES: &[Scheme] = &[("postgres", 5_432), ("postgresql", 5_432)];

/// The address of a server in a URL.
///
/// # Errors
/// As [`Address::parse`].
pub(crate) fn parse(url: &str) -> Result<Address, String> {
    Address::parse(url, SCHEMES)
}

/// Where servers are, and who connects to them.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    pub(crate) addresses: Vec<Address>,
    pub(crate) database: String,
    pub(crate) user: String,
    pub(crate) password: Option<Secret>,
    pub(crate) is_tls: bool,
    /// Authorities that vouch for servers, in place of those of the machine.
    pub(crate) authorities: Option<Vec<CertificateDer<'static>>>,
}

/// A connection, and the server at its other end.
pub(crate) struct Connected {
    pub(crate) client: Client,
    pub(crate) server: String,
    /// The task that serves the connection. It ends when this is dropped, even while an answer is outstanding.
    _serving: JoinSet<()>,
}

impl Servers {
    /// How to encrypt, where that is wanted.
    pub(crate) fn tls(&self) -> Result<Option<TlsConnector>, Problem> {
        let protocols: &[&[u8]] = &[b"postgresql"];
        let connector = self
            .is_tls
            .then(|| tls::connector(self.authorities.as_deref(), protocols));
        Ok(connector.transpose()?)
    }

    /// Connects to the first server that answers and takes writes. Must be called within a runtime, which serves the connection.
    pub(crate) async fn connect(&self, tls: Option<&TlsConnector>) -> Result<Connected, Stop> {
        let mut reasons = Vec::new();
        for server in &self.addresses {
            match tokio::time::timeout(CONNECT_MAX, self.connect_to(server, tls)).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(Stop::Retry(reason) | Stop::Rows(reason))) => reasons.push(format!("{server}: {reason}")),
                Ok(Err(Stop::Failed(problem))) => return Err(problem.into()),
                Err(_) => reasons.push(format!("{server}: no answer within {} s", CONNECT_MAX.as_secs())),
            }
        }
        Err(Stop::Retry(reasons.join("; ")))
    }

    async fn connect_to(&self, server: &Address, tls: Option<&TlsConnector>) -> Result<Connected, Stop> {
        let retry = |error: io::Error| Stop::Retry(error.to_string());
        let stream = TcpStream::connect((server.host(), server.port()))
            .await
            .map_err(retry)?;
        stream.set_nodelay(true).map_err(retry)?;
        let mut config = Config::new();
        config
            .user(&self.user)
            .dbname(&self.database)
            .application_name("dirigo");
        if let Some(password) = &self.password {
            config.password(&password.0);
        }
        config.ssl_mode(if tls.is_some() {
            SslMode::Require
        } else {
            SslMode::Disable
        });
        let handshake = Handshake {
            tls: tls.cloned(),
            host: server.host().to_owned(),
        };
        let failed = |error: tokio_postgres::Error| self.refusal(server, &error);
        let (client, connection) = config.connect_raw(stream, handshake).await.map_err(failed)?;
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            // The caller that waits for an answer gets the same error.
            if let Err(error) = connection.await {
                tracing::debug!("a connection to PostgreSQL has ended: {error}");
            }
        });
        // Acknowledged rows are to survive a crash of the server; a stricter setting of the server stays. A statement that the sink has given up
        // ends at the server, too; else sessions that wait for the lock of a table would become more with each attempt.
        let settings = format!(
            "SELECT pg_is_in_recovery(), CASE current_setting('synchronous_commit') WHEN 'off' \
             THEN set_config('synchronous_commit', 'on', false) END, CASE current_setting('statement_timeout') WHEN '0' \
             THEN set_config('statement_timeout', '{}', false) END",
            ANSWER_MAX.as_millis()
        );
        let row = client.query_one(&settings, &[]).await.map_err(failed)?;
        if row.get(0) {
            return Err(Stop::Retry("it is a standby, which takes no writes".to_owned()));
        }
        Ok(Connected {
            client,
            server: server.to_string(),
            _serving: serving,
        })
    }

    fn refusal(&self, server: &Address, error: &tokio_postgres::Error) -> Stop {
        if let Some(refusal) = ServerRefusal::of_certificate(server, error) {
            return Problem::from(refusal).into();
        }
        let text = described(error);
        if text.contains("server does not support TLS") {
            return Problem::Unencrypted {
                server: server.to_string(),
            }
            .into();
        }
        let lacks_password = self.password.is_none() && text.contains("password missing");
        let reason = match kind(error) {
            _ if lacks_password => "it wants a `password`".to_owned(),
            Kind::Passing => return Stop::Retry(text),
            Kind::Rows | Kind::Lasting => text,
        };
        let servers = server.to_string();
        Problem::from(ServerRefusal::Login { servers, reason }).into()
    }
}

/// Encrypts a connection, where that is wanted.
struct Handshake {
    tls: Option<TlsConnector>,
    host: String,
}

impl TlsConnect<TcpStream> for Handshake {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    fn connect(self, stream: TcpStream) -> Self::Future {
        Box::pin(async move {
            let tls = self.tls.ok_or_else(|| io::Error::other("no TLS is wanted"))?;
            let name = ServerName::try_from(self.host).map_err(io::Error::other)?;
            Ok(Encrypted(tls.connect(name, stream).await?))
        })
    }
}

/// A connection that is encrypted.
struct Encrypted(tokio_rustls::client::TlsStream<TcpStream>);

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
