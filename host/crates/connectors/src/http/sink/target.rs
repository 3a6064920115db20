//! The URL of a receiver.

use std::fmt;

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::http::uri::PathAndQuery;

/// Where batches are sent. Shown without the path, which is a secret at many receivers.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    is_tls: bool,
    host: String,
    port: Option<u16>,
    path: PathAndQuery,
}

impl Target {
    /// Of a URL, or what is wrong with it.
    pub(super) fn parse(url: &str) -> Result<Self, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "no URL")?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("a URL begins with `https://` or `http://`"),
        };
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("a name and a password are none of a URL here: say `token` or `headers`");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err("it names no host");
        }
        let port = authority.port_u16();
        if port.is_none() && authority.as_str().len() > authority.host().len() {
            return Err("its port is no port");
        }
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port,
            path: uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")),
        })
    }

    pub(super) fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// A name, or an address without brackets.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port.unwrap_or(if self.is_tls { 443 } else { 80 })
    }

    /// As it stands in the header `Host`.
    pub(super) fn authority(&self) -> HeaderValue {
        HeaderValue::from_str(&self.shown_authority()).expect("it was part of a URL")
    }

    fn shown_authority(&self) -> String {
        let host = match &self.host {
            host if host.contains(':') => format!("[{host}]"),
            host => host.clone(),
        };
        self.port.map_or(host.clone(), |port| format!("{host}:{port}"))
    }

    /// As it stands in the first line of a request.
    pub(super) fn path(&self) -> Uri {
        Uri::from(self.path.clone())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(formatter, "{scheme}://{}", self.shown_authority())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_path() {
        for (url, shown, port, path) in [
            (
                "https://hooks.example/a/b?c=d",
                "https://hooks.example",
                443,
                "/a/b?c=d",
            ),
            ("http://hooks.example:8080", "http://hooks.example:8080", 8080, "/"),
            ("http://[::1]:80/x", "http://[::1]:80", 80, "/x"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.to_string().as_str(), target.port()), (shown, port));
            assert_eq!(target.path().to_string(), path);
        }
        assert_eq!(Target::parse("http://[::1]/").unwrap().host(), "::1");
    }

    #[test]
    fn what_is_no_url_of_a_receiver_is_refused() {
        for url in [
            "",
            "hooks.example",
            "/x",
            "ftp://hooks.example",
            "http://",
            "http://user:word@hooks.example/",
            "http://hooks.example:99999/",
            "http://hooks example/",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
