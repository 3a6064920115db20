//! Servers to connect to, as pipeline files name them: their addresses, the authorities that vouch for them, the login.
//!
//! Owns what the keys `servers`, `ca`, `user` and `password` mean for every connector that has them.

use std::error::Error;
use std::fmt;

use dirigo_pipeline::keys::{At, Diagnostic, Field, Span, Validation};
use rustls_pki_types::CertificateDer;

use crate::tls;

/// A scheme of URLs, and the port of a server that names none.
pub type Scheme = (&'static str, u16);

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    scheme: &'static str,
    host: String,
    port: u16,
}

impl Address {
    /// Of a URL with one of `schemes`, such as `mqtt://broker.example:1883`.
    ///
    /// # Errors
    /// When it has another scheme, no host, or more than a host and a port; the text says which.
    pub fn parse(url: &str, schemes: &[Scheme]) -> Result<Self, String> {
        let found = url
            .split_once("://")
            .and_then(|(scheme, rest)| Some((schemes.iter().find(|(known, _)| *known == scheme)?, rest)));
        let Some((&(scheme, default_port), rest)) = found else {
            let known: Vec<String> = schemes.iter().map(|(scheme, _)| format!("`{scheme}://`")).collect();
            return Err(format!("a URL begins with {}", known.join(" or ")));
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err(SECRET.to_owned());
        }
        if rest.contains(['/', '?', '#']) || rest.chars().any(char::is_whitespace) {
            return Err("it has more than a host and a port".to_owned());
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !host.starts_with('[') || host.ends_with(']') => {
                let port = port.parse().ok().filter(|&port: &u16| port != 0);
                (host, port.ok_or("its port is no port")?)
            }
            _ => (rest, default_port),
        };
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err("it has more than one port; an IPv6 address stands in brackets".to_owned());
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err("it names no host".to_owned());
        }
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port,
        })
    }

    /// The scheme, as [`parse`](Self::parse) was given it.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(formatter, "{scheme}://{open}{host}{close}:{port}")
    }
}

/// The error for a URL that has a user or a password.
pub(crate) const SECRET: &str = "logs and errors show URLs: write `user` and `password` as keys of their own";

/// What a tenant may be allowed to connect to.
pub trait Endpoint {
    /// A name, or an address without brackets.
    fn host(&self) -> &str;
    /// The port.
    fn port(&self) -> u16;
}

impl Endpoint for Address {
    fn host(&self) -> &str {
        &self.host
    }

    fn port(&self) -> u16 {
        self.port
    }
}

/// The servers that a source or a sink names, each as `parse` reads it; `example` is the URL of one. Where one cannot be read, or the tenant may not connect to
/// it, that is noted among the problems of `validation`.
pub fn addresses<E: Endpoint>(
    list: &Field<Vec<At<String>>>,
    example: &str,
    place: Span,
    who: &str,
    validation: &mut Validation<'_>,
    parse: impl Fn(&str) -> Result<E, String>,
) -> Option<Vec<E>> {
    let wanted = format!("[\"{example}\"]");
    let list = list.required("servers", &wanted, place, who, &mut validation.problems)?;
    if list.value.is_empty() {
        let problem = Diagnostic::error(format!("{who} has no servers")).at(list.place, "an empty list");
        validation
            .problems
            .push(problem.help(format!("write `servers = {wanted}`")));
        return None;
    }
    let addresses = list.value.iter().map(|at| match parse(&at.value) {
        Ok(address) => {
            let is_granted = validation.may_connect(address.host(), address.port(), at.place, who);
            is_granted.then_some(address)
        }
        Err(flaw) => {
            let problem = Diagnostic::error(format!("{who} has a server whose URL cannot be used"));
            let problem = problem.at(at.place, flaw);
            validation
                .problems
                .push(problem.help(format!("it is such as \"{example}\"")));
            None
        }
    });
    let addresses: Vec<_> = addresses.collect();
    addresses.into_iter().collect()
}

/// The certificates of authorities that a `ca` has; `None` if they cannot be read, which is noted among the problems of `validation`.
pub fn authorities(
    at: &At<String>,
    who: &str,
    validation: &mut Validation<'_>,
) -> Option<Vec<CertificateDer<'static>>> {
    let certificates = tls::certificates(&at.value);
    if certificates.is_none() {
        let problem = Diagnostic::error(format!("{who} has no certificates as its `ca`"));
        let problem = problem.at(at.place, "no PEM that can be read");
        validation
            .problems
            .push(problem.help("name the file that has them: `ca = { file = \"ca.pem\" }`"));
    }
    certificates
}

/// A password, a token or a key, which no error and no log shows.
#[derive(Clone)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

/// A user with a password.
#[derive(Clone, Debug)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// A user with a password, if both are given; one without the other is noted among the problems of `validation`.
#[allow(clippy::option_option, reason = "an invalid login differs from a missing one")]
pub fn login(
    user: &Field<String>,
    password: &Field<String>,
    who: &str,
    validation: &mut Validation<'_>,
) -> Option<Option<Login>> {
    match (user.given(), password.given()) {
        (Some(user), Some(password)) => Some(Some(Login {
            user: user.value.clone(),
            password: Secret(password.value.clone()),
        })),
        (None, None) => Some(None),
        (Some(at), None) | (None, Some(at)) => {
            let problem = Diagnostic::error(format!("{who} has only one of `user` and `password`"));
            validation.problems.push(problem.at(at.place, "one without the other"));
            None
        }
    }
}

/// Why no server can be used, until a person changes something.
#[derive(Debug, thiserror::Error)]
pub enum ServerRefusal {
    /// It does not accept the login.
    #[error("{servers} refuses the connection: {reason}")]
    Login {
        /// Which server, or which cluster of servers.
        servers: String,
        /// What the server says, or what would be right.
        reason: String,
    },
    /// Its certificate is not accepted here.
    #[error(
        "the certificate of {servers} is not accepted: {reason}; `ca` names authorities that the machine does not know"
    )]
    Certificate {
        /// Which server, or which cluster of servers.
        servers: String,
        /// What is wrong with the certificate.
        reason: String,
    },
}

impl ServerRefusal {
    /// The refusal that an error of a connection to `servers` stands for, if the certificate is its cause.
    #[must_use]
    pub fn of_certificate(servers: &impl fmt::Display, error: &(dyn Error + 'static)) -> Option<Self> {
        tls::certificate_flaw(error).map(|reason| Self::Certificate {
            servers: servers.to_string(),
            reason,
        })
    }
}

/// The text of an error, followed by those of its causes that say more.
#[must_use]
pub fn described(error: &(dyn Error + 'static)) -> String {
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

/// Servers as errors and the log name them.
#[must_use]
pub fn joined<'a>(addresses: impl IntoIterator<Item = impl fmt::Display + 'a>) -> String {
    let texts: Vec<String> = addresses.into_iter().map(|address| address.to_string()).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMES: &[Scheme] = &[("mqtt", 1_883), ("mqtts", 8_883)];

    #[test]
    fn a_login_is_shown_without_its_password() {
        let login = Login {
            user: "me".to_owned(),
            password: Secret("s3cret".to_owned()),
        };
        assert_eq!(format!("{login:?}"), r#"Login { user: "me", password: Secret(..) }"#);
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Caused {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    #[test]
    fn an_error_is_described_with_the_causes_that_say_more() {
        let caused = |text, source: Option<Caused>| Caused {
            text,
            source: source.map(Box::new),
        };
        let last = caused("the disk is full", None);
        let error = caused("no answer: refused", Some(caused("refused", Some(last))));
        assert_eq!(described(&error), "no answer: refused: the disk is full");
    }

    #[test]
    fn a_url_names_a_server() {
        for (url, shown) in [
            ("mqtt://broker.example", "mqtt://broker.example:1883"),
            ("mqtts://broker.example/", "mqtts://broker.example:8883"),
            ("mqtt://127.0.0.1:1884", "mqtt://127.0.0.1:1884"),
            ("mqtt://[::1]:1884", "mqtt://[::1]:1884"),
            ("mqtt://[::1]", "mqtt://[::1]:1883"),
        ] {
            assert_eq!(Address::parse(url, SCHEMES).unwrap().to_string(), shown);
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
            "mqtt://a b",
            "mqtt://a:1:2",
        ] {
            let flaw = Address::parse(url, SCHEMES).unwrap_err();
            assert!(!flaw.contains("s3cret"), "{flaw}");
        }
    }
}
