//! A receiver of what a sink sends by HTTP.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// How long a test waits for requests.
const PATIENCE: Duration = Duration::from_mins(3);

/// What came in one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// `POST /events`.
    pub(crate) line: String,
    /// By their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Received {
    /// What tells it from others.
    pub(crate) fn key(&self) -> &str {
        &self.headers["idempotency-key"]
    }
}

/// What a receiver does with a request, after it took it.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// It answers with a status, a header line for each, and a body.
    Answer(u16, Vec<String>, String),
    /// It closes the connection, so that nobody knows whether it took it.
    Break,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self::Answer(status, Vec::new(), String::new())
    }
}

#[derive(Default)]
struct Taken {
    requests: Vec<Received>,
    /// What the next requests are answered; 200 where nothing is said.
    replies: VecDeque<Reply>,
}

/// Takes requests for as long as the test runs.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    taken: Arc<(Mutex<Taken>, Condvar)>,
}

impl Receiver {
    /// One that listens at `address`.
    pub(crate) fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            taken: Arc::default(),
        };
        let taken = this.taken.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, taken) = (stream.unwrap(), taken.clone());
                std::thread::spawn(move || serve(&stream, &taken));
            }
        });
        this
    }

    /// One at a port of its own.
    pub(crate) fn new() -> Self {
        Self::at("127.0.0.1:0")
    }

    /// Says what the next request is answered for which nothing was said.
    pub(crate) fn reply(&self, reply: Reply) {
        self.taken.0.lock().unwrap().replies.push_back(reply);
    }

    /// What came so far.
    pub(crate) fn requests(&self) -> Vec<Received> {
        self.taken.0.lock().unwrap().requests.clone()
    }

    /// Waits for so many requests.
    #[track_caller]
    pub(crate) fn wait_for(&self, requests: usize) -> Vec<Received> {
        let (taken, came) = &*self.taken;
        let waited = came.wait_timeout_while(taken.lock().unwrap(), PATIENCE, |taken| taken.requests.len() < requests);
        let (taken, timed_out) = waited.unwrap();
        assert!(
            !timed_out.timed_out(),
            "{} of {requests} requests came",
            taken.requests.len()
        );
        taken.requests.clone()
    }

    /// The bodies in the order in which they came first, each once: a key that comes again bears the same body.
    #[track_caller]
    pub(crate) fn deduplicated(&self) -> String {
        let mut bodies: BTreeMap<String, String> = BTreeMap::new();
        let mut all = String::new();
        for request in self.requests() {
            if let Some(before) = bodies.insert(request.key().to_owned(), request.body.clone()) {
                assert_eq!(before, request.body, "{}", request.key());
            } else {
                all.push_str(&request.body);
            }
        }
        all
    }
}

fn serve(stream: &TcpStream, taken: &(Mutex<Taken>, Condvar)) {
    let mut reader = BufReader::new(stream);
    // A sender that was killed leaves half a request: it was not taken.
    while let Some(request) = read(&mut reader) {
        let reply = {
            let mut taken = taken.0.lock().unwrap();
            taken.requests.push(request);
            taken.replies.pop_front().unwrap_or(Reply::status(200))
        };
        taken.1.notify_all();
        let Reply::Answer(status, headers, body) = reply else {
            return;
        };
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let answer = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        let mut stream = stream;
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Received> {
    let mut line = || {
        let mut line = String::new();
        let bytes = reader.read_line(&mut line).ok()?;
        (bytes > 0).then(|| line.trim_end().to_owned())
    };
    let first = line()?;
    let mut headers = BTreeMap::new();
    loop {
        let header = line()?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(": ")?;
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Received {
        line: first.rsplit_once(' ')?.0.to_owned(),
        headers,
        body: String::from_utf8(body).ok()?,
    })
}
