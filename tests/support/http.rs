//! A client of a source to which events are sent by HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Sends requests to one route.
pub(crate) struct Client {
    /// `127.0.0.1:8080`.
    pub(crate) address: String,
    /// `/events`.
    pub(crate) route: String,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: serde_json::Value,
}

impl Client {
    /// Of the log line that says where a source listens.
    pub(crate) fn of(line: &str) -> Self {
        let url = line.split("http://").nth(1).unwrap();
        let url = url.split([' ', '\u{1b}']).next().unwrap().trim();
        let (address, route) = url.split_once('/').unwrap();
        Self {
            address: address.to_owned(),
            route: format!("/{route}"),
        }
    }

    /// Sends a body, with these headers, and gives the answer; `None` where the connection broke.
    pub(crate) fn post(&self, body: &[u8], headers: &[(&str, &str)]) -> Option<Answer> {
        let headers: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{}\r\n",
            self.route,
            self.address,
            body.len(),
            headers.concat()
        );
        self.send(&[head.as_bytes(), body].concat())
    }

    /// Sends these bytes, and gives what is answered until the connection ends.
    pub(crate) fn send(&self, request: &[u8]) -> Option<Answer> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        // An answer may come before all was sent.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let body = match serde_json::from_str(body) {
            Ok(body) => body,
            // JSON that is none did not come whole.
            Err(_) if head.contains("application/json") => return None,
            Err(_) => serde_json::Value::String(body.to_owned()),
        };
        Some(Answer {
            status,
            head: head.to_ascii_lowercase(),
            body,
        })
    }
}
