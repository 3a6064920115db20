//! The source that subscribes to topics.
//!
//! A message goes to the journal, and is acknowledged once it is durable there. What was not acknowledged comes again, so nothing is lost between broker
//! and journal; where only the acknowledgement was lost it comes twice. Owns the subscriptions and what becomes of messages.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use dirigo_connect::source::{Error, Keep, Opening, Source, SourceSpec};
use dirigo_connect::{Facets, Format, facets};
use dirigo_connectors::note;
use dirigo_connectors::pushed::{Inbox, Pushed, Receiver};
use dirigo_connectors::retries::{Party, Retries};
use dirigo_disk::Disk;
use dirigo_ground::clock::nanoseconds;
use dirigo_ground::sync::Mutex;
use serde_json::json;
use tokio::sync::oneshot;

use crate::brokers::{self, Servers};
use crate::connection::{Connection, KEEP_ALIVE_SECONDS};
use crate::error::{Problem, Stop};
use crate::packet::{self, Connect, Incoming, Message, Reason, Step};
use crate::payload;

/// The file that says what the session subscribes to.
const SUBSCRIBED: &str = "subscribed.json";
/// How long a session lasts at most that no later run resumes.
const SESSION_SECONDS_OF_RUN: u32 = 300;
/// How many messages a broker may send before the first is acknowledged.
const RECEIVE_MAX: u16 = 4_096;
/// How much is put into the journal at once: as much as a few milliseconds of a disk are worth.
const APPEND_BYTES: usize = 1 << 20;
/// How long it pauses while the journal is full.
const HELD_BACK: Duration = Duration::from_millis(20);
/// A connection that ends sooner is no sign that the next one will last.
const SHORT: Duration = Duration::from_secs(2);
/// The id of the packet that subscribes, and of the one that unsubscribes: ids of messages are those of the broker.
const SUBSCRIBE_ID: u16 = 1;
const UNSUBSCRIBE_ID: u16 = 2;

/// Topics that are read.
#[derive(Clone, Debug)]
pub(crate) struct MqttSpec {
    pub(crate) servers: Servers,
    pub(crate) filters: Vec<String>,
    pub(crate) format: Format,
    pub(crate) qos: u8,
    /// If the pipeline file says one.
    pub(crate) client_id: Option<String>,
    /// For how many seconds a broker keeps the session while no one is connected.
    pub(crate) session_seconds: u32,
    /// The field that gets the topic.
    pub(crate) topic_field: Option<String>,
    pub(crate) message_max: usize,
    pub(crate) backlog_max: u64,
}

impl SourceSpec for MqttSpec {
    fn format(&self) -> Format {
        self.format
    }

    fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Source>, Error> {
        let party = Party {
            kind: "source",
            id: opening.id.to_owned(),
            servers: self.servers.to_string(),
        };
        let client_id = self.client_id.clone();
        let subscriber = Subscriber {
            spec: self.clone(),
            party,
            client_id: client_id.unwrap_or_else(|| brokers::client_id(opening.tenant, opening.pipeline, opening.id)),
            keep: opening.keep.clone(),
            thread: None,
            failure: Arc::default(),
        };
        let name = format!("what came from {}", self.servers);
        Ok(Box::new(Pushed::open(subscriber, name, self.format, opening)?))
    }

    fn can_be_read_again(&self, _: &dyn Disk) -> bool {
        true
    }

    fn facets(&self, _: &Path) -> Facets {
        // Brokers and topics may change: what is in the journal stays the same.
        let is_lines = self.format == Format::Lines;
        facets([("kind", json!("mqtt")), ("lines", json!(is_lines.then_some(true)))])
    }
}

/// Has what comes to topics put into a journal.
struct Subscriber {
    spec: MqttSpec,
    party: Party,
    client_id: String,
    keep: Option<Keep>,
    thread: Option<Thread>,
    failure: Arc<Mutex<Option<Problem>>>,
}

/// The thread that reads, and waits for the disk.
struct Thread {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Receiver for Subscriber {
    fn start(&mut self, inbox: Inbox) -> Result<(), Error> {
        let tls = self.spec.servers.tls().map_err(Error::fatal)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::fatal(Problem::Thread(error)))?;
        let (stop, stopped) = oneshot::channel();
        let (failure, waker) = (self.failure.clone(), inbox.waker.clone());
        let mut subscription = Subscription {
            retries: Retries::new(self.party.clone()),
            spec: self.spec.clone(),
            party: self.party.clone(),
            client_id: self.client_id.clone(),
            keep: self.keep.clone(),
            tls,
            inbox,
            received: HashSet::new(),
            was_connected: false,
            connected_at_ns: None,
        };
        let run = move || {
            let failed = runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = stopped => None,
                    problem = subscription.run() => Some(problem),
                }
            });
            // A look-up of a name that is under way is not waited for.
            runtime.shutdown_background();
            if let Some(problem) = failed {
                *failure.lock() = Some(problem);
                waker.wake_by_ref();
            }
        };
        let thread = std::thread::Builder::new().name(format!("mqtt {}", self.party.id));
        let thread = thread
            .spawn(run)
            .map_err(|error| Error::fatal(Problem::Thread(error)))?;
        self.thread = Some(Thread { stop, thread });
        Ok(())
    }

    fn stop(&mut self) {
        if let Some(Thread { stop, thread }) = self.thread.take() {
            drop(stop);
            // It appends nothing once it has ended. A panic of it was printed.
            let _ = thread.join();
        }
    }

    fn failure(&mut self) -> Option<Error> {
        self.failure.lock().take().map(Error::fatal)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The subscription to topics, through connections that come and go.
struct Subscription {
    spec: MqttSpec,
    party: Party,
    client_id: String,
    keep: Option<Keep>,
    tls: Option<tokio_rustls::TlsConnector>,
    inbox: Inbox,
    retries: Retries,
    /// Messages of `QoS` 2 that are in the journal, and whose ids the broker has not released yet.
    received: HashSet<u16>,
    was_connected: bool,
    connected_at_ns: Option<u64>,
}

impl Subscription {
    /// Reads until that fails for good.
    async fn run(&mut self) -> Problem {
        loop {
            match self.use_connection().await {
                Stop::Retry(reason) => self.pause(reason).await,
                // Logins and certificates may be put right at the broker while the pipeline runs.
                Stop::Failed(problem @ Problem::Refusal(_)) if self.was_connected => {
                    self.pause(problem.to_string()).await;
                }
                Stop::Failed(problem) => return problem,
            }
        }
    }

    /// Pauses before the next attempt: for longer and longer where connections end as soon as they stand. A broker that does not say that another client has
    /// the same id ends them so.
    async fn pause(&mut self, reason: String) {
        let lasted_ns = self
            .connected_at_ns
            .take()
            .map(|at_ns| self.inbox.clock.now_ns() - at_ns);
        let reason = match lasted_ns {
            Some(lasted_ns) if lasted_ns < nanoseconds(SHORT) => {
                format!("{reason} (does another client connect as `{}`?)", self.client_id)
            }
            Some(_) => {
                self.retries.succeeded();
                reason
            }
            None => reason,
        };
        self.retries.pause(&reason).await;
    }

    /// Connects, and reads until the connection ends.
    async fn use_connection(&mut self) -> Stop {
        match self.connected().await {
            Ok(never) => match never {},
            Err(stop) => stop,
        }
    }

    async fn connected(&mut self) -> Result<std::convert::Infallible, Stop> {
        let login = self.spec.servers.login.as_ref();
        let hello = Connect {
            client_id: &self.client_id,
            login: login.map(|login| (&*login.user, &*login.password.0)),
            // Without state nothing comes after this run that could read what the session keeps.
            is_clean: self.keep.is_none() && !self.was_connected,
            session_seconds: if self.keep.is_some() {
                self.spec.session_seconds
            } else {
                self.spec.session_seconds.min(SESSION_SECONDS_OF_RUN)
            },
            keep_alive: KEEP_ALIVE_SECONDS,
            receive_max: RECEIVE_MAX,
        };
        let servers = &self.spec.servers;
        let (mut connection, answer) = servers
            .connect(self.tls.as_ref(), &hello, self.spec.message_max)
            .await?;
        if !answer.has_session {
            self.received.clear();
            if self.was_connected {
                tracing::warn!(
                    "{}: {} has not kept the session; messages that came meanwhile are missing",
                    self.party,
                    connection.server()
                );
            }
        }
        self.subscribe(&mut connection).await?;
        tracing::info!("{} is connected to {}", self.party, connection.server());
        self.was_connected = true;
        self.retries.connected();
        self.connected_at_ns = Some(self.inbox.clock.now_ns());
        loop {
            self.take(&mut connection)?;
            connection.flush().await?;
            while self.inbox.waiting() >= self.spec.backlog_max {
                connection.rest(HELD_BACK).await?;
            }
            connection.fill().await?;
        }
    }

    /// Has the session subscribe to the topics, and to no others. Messages of earlier subscriptions may come before the answer.
    async fn subscribe(&mut self, connection: &mut Connection) -> Result<(), Stop> {
        let filters = || self.spec.filters.iter().map(String::as_str);
        let wanted: BTreeSet<String> = self.spec.filters.iter().cloned().collect();
        let noted = |keep: &Keep| {
            let folder = keep.folder.clone();
            move |reason| Problem::Note { folder, reason }
        };
        if let Some(keep) = &self.keep {
            let known: Option<BTreeSet<String>> =
                note::read(&*keep.disk, &keep.folder.join(SUBSCRIBED)).map_err(noted(keep))?;
            let known = known.unwrap_or_default();
            let dropped: Vec<&str> = known.difference(&wanted).map(String::as_str).collect();
            if !dropped.is_empty() {
                packet::unsubscribe(UNSUBSCRIBE_ID, dropped.iter().copied(), &mut connection.output);
            }
            if known != wanted {
                // All that the session may subscribe to is noted before it does.
                let all: BTreeSet<String> = known.union(&wanted).cloned().collect();
                note::write(&*keep.disk, &keep.folder, SUBSCRIBED, &all).map_err(noted(keep))?;
            }
        }
        packet::subscribe(SUBSCRIBE_ID, self.spec.qos, filters(), &mut connection.output);
        connection.flush().await?;
        loop {
            connection.fill().await?;
            if let Some(reasons) = self.take(connection)? {
                self.expect_subscribed(connection.server(), &reasons)?;
                break;
            }
            connection.flush().await?;
        }
        if let Some(keep) = &self.keep {
            note::write(&*keep.disk, &keep.folder, SUBSCRIBED, &wanted).map_err(noted(keep))?;
        }
        Ok(())
    }

    fn expect_subscribed(&self, server: &str, reasons: &[Reason]) -> Result<(), Stop> {
        if reasons.len() != self.spec.filters.len() {
            let message = "it answers the subscription with the wrong number of reasons";
            return Err(Stop::Retry(message.to_owned()));
        }
        for (filter, reason) in self.spec.filters.iter().zip(reasons) {
            if reason.is_passing() && *reason != Reason::UNSPECIFIED {
                return Err(Stop::Retry(format!("it does not subscribe to `{filter}`: {reason}")));
            }
            if reason.is_failure() {
                return Err(Problem::Subscription {
                    server: server.to_owned(),
                    filter: filter.clone(),
                    reason: reason.to_string(),
                }
                .into());
            }
            if reason.0 < self.spec.qos {
                tracing::warn!("{}: {server} gives `{filter}` QoS {} only", self.party, reason.0);
            }
        }
        Ok(())
    }

    /// Puts the messages that are there into the journal, and then the acknowledgements into the output. What became of the subscriptions, if that is said.
    fn take(&mut self, connection: &mut Connection) -> Result<Option<Vec<Reason>>, Stop> {
        let (mut lines, mut steps, mut subscribed) = (Vec::new(), Vec::new(), None);
        loop {
            let incoming = match connection.next() {
                Ok(Some(incoming)) => incoming,
                Ok(None) => {
                    self.append(&mut lines)?;
                    break;
                }
                Err(stop) => {
                    // The ids of what has come are noted already: it has to be in the journal when it comes again.
                    self.append(&mut lines)?;
                    return Err(stop);
                }
            };
            match incoming {
                Incoming::Message(message) => self.push(&message, &mut lines, &mut steps),
                Incoming::Step {
                    step: Step::Released,
                    id,
                    ..
                } => {
                    let reason = if self.received.remove(&id) {
                        Reason::SUCCESS
                    } else {
                        Reason::UNKNOWN_ID
                    };
                    steps.push((Step::Completed, id, reason));
                }
                Incoming::Subscribed { id, reasons } if id == SUBSCRIBE_ID => subscribed = Some(reasons),
                Incoming::Disconnected(reason) => {
                    // What has come is taken nevertheless.
                    self.append(&mut lines)?;
                    return Err(self.disconnected(connection.server(), reason));
                }
                _ => {}
            }
            if lines.len() >= APPEND_BYTES {
                self.append(&mut lines)?;
            }
        }
        for (step, id, reason) in steps {
            packet::step(step, id, reason, &mut connection.output);
        }
        Ok(subscribed)
    }

    fn disconnected(&self, server: &str, reason: Reason) -> Stop {
        match reason {
            Reason::TAKEN_OVER => Problem::TakenOver {
                server: server.to_owned(),
                client_id: self.client_id.clone(),
            }
            .into(),
            reason => Stop::Retry(format!("it closes the connection: {reason}")),
        }
    }

    fn push(&mut self, message: &Message<'_>, lines: &mut Vec<u8>, steps: &mut Vec<(Step, u16, Reason)>) {
        let field = self.spec.topic_field.as_deref();
        match message.qos {
            0 => {}
            1 => steps.push((Step::Acknowledged, message.id, Reason::SUCCESS)),
            _ => {
                steps.push((Step::Received, message.id, Reason::SUCCESS));
                if !self.received.insert(message.id) {
                    return;
                }
            }
        }
        let field = field.map(|field| (field, message.topic));
        payload::push_lines(message.payload, self.spec.format, field, lines);
    }

    /// Makes lines durable.
    fn append(&mut self, lines: &mut Vec<u8>) -> Result<(), Stop> {
        if lines.is_empty() {
            return Ok(());
        }
        let appended = self.inbox.journal.append(lines, None);
        lines.clear();
        if appended.is_err() {
            // What is not in the journal has to come again.
            self.received.clear();
        }
        match appended {
            Ok(_) => {
                self.inbox.waker.wake_by_ref();
                Ok(())
            }
            // What is not acknowledged comes again.
            Err(error) if error.kind() == Some(std::io::ErrorKind::StorageFull) && !self.inbox.journal.has_failed() => {
                Err(Stop::Retry(format!("the disk of the journal is full: {error}")))
            }
            Err(error) => Err(Problem::from(error).into()),
        }
    }
}
