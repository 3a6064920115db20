//! What comes from a stream, up to a source that reads it.
//!
//! A task follows the stream from a sequence on, through lost connections and servers that restart, and puts its messages in line, each once and in order.
//! Consumers are ephemeral, and acknowledge nothing: the server keeps no position for the source. Knows messages, not events.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;
use std::vec;

use async_nats::jetstream::consumer::pull::{Config, MessagesError};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer};
use async_nats::jetstream::stream::{ConsumerErrorKind, RetentionPolicy, Stream};
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use dirigo_ground::sync::Mutex;
use futures_util::StreamExt as _;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::connection::{ANSWER_WAIT_MAX, Connection, RUNTIME, Servers};
use super::error::{Problem, Stop};
use super::found;
use super::{Missing, Start};
use crate::retries::{Party, Retries};
use crate::servers::described;

/// Messages that are asked for at a time. Half as many again are on their way at most: the next ones are asked for when half of them have come.
const PULL_MESSAGES: usize = 4_096;
/// Bytes of messages that are asked for at a time, where the server takes no larger messages.
const PULL_BYTES: usize = 4 << 20;
/// Messages beyond which no more are put in line; the bound of bytes is that of a pull. The reader may have as many besides.
const LINE_MESSAGES_MAX: usize = PULL_MESSAGES;
/// Messages that are put in line together, where as many have come.
const CHUNK: usize = 128;
/// How often the server says that it has nothing, where that is so.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// After how much silence the server is asked whether what it sent has come.
const SILENCE: Duration = Duration::from_secs(10);
/// For how long a request for messages stands.
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// How long a consumer lasts of which nothing is asked.
const CONSUMER_LASTS: Duration = Duration::from_secs(90);

/// A message of the stream.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) sequence: u64,
    /// When the server took it, ms since the epoch.
    pub(super) time_ms: i64,
    pub(super) payload: Bytes,
}

/// A stream, and a place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    /// When the stream was created: what tells it from others of its name.
    pub(super) created: String,
    /// The sequence of the last message that is not read any more; 0 for none.
    pub(super) sequence: u64,
}

/// What is read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) servers: Servers,
    pub(super) stream: String,
    pub(super) subjects: Vec<String>,
    /// Where it begins where no run has read.
    pub(super) start: Start,
    /// Where an earlier run stopped.
    pub(super) from: Option<Begun>,
    /// What becomes of the run where messages are missing.
    pub(super) missing: Missing,
    /// Whether it ends with what is last in the stream at first.
    pub(super) is_bounded: bool,
}

/// The messages of a stream, in line.
pub(super) struct Feed {
    line: Arc<Line>,
    /// What the reader has taken out of the line.
    taken: vec::IntoIter<Message>,
    task: AbortHandle,
}

struct Line {
    state: Mutex<Waiting>,
    /// Notified when there is room.
    room: Notify,
    waker: Waker,
}

#[derive(Default)]
struct Waiting {
    messages: Vec<Message>,
    bytes: usize,
    begun: Option<Begun>,
    /// How it ended.
    ended: Option<Result<(), Problem>>,
}

/// What a reader finds in line.
pub(super) enum Next {
    /// Where the stream begins, before the first message.
    Begun(Begun),
    Message(Message),
    /// Nothing now; the waker is woken when that changes.
    Nothing,
    End,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Feed {
    /// Begins to follow a stream.
    pub(super) fn start(reading: Reading, party: Party, waker: Waker) -> Self {
        let line = Arc::new(Line {
            state: Mutex::default(),
            room: Notify::new(),
            waker,
        });
        let follower = Follower {
            line: line.clone(),
            reading,
            party,
        };
        let task = RUNTIME.spawn(Box::pin(follower.run())).abort_handle();
        Self {
            line,
            taken: vec::IntoIter::default(),
            task,
        }
    }

    /// What is next in line.
    ///
    /// # Errors
    /// When the stream cannot be read on, and all that came before was taken.
    pub(super) fn next(&mut self) -> Result<Next, Problem> {
        if let Some(message) = self.taken.next() {
            return Ok(Next::Message(message));
        }
        let mut waiting = self.line.state.lock();
        if let Some(begun) = waiting.begun.take() {
            return Ok(Next::Begun(begun));
        }
        if !waiting.messages.is_empty() {
            self.taken = std::mem::take(&mut waiting.messages).into_iter();
            waiting.bytes = 0;
            drop(waiting);
            self.line.room.notify_one();
            return self.next();
        }
        match &mut waiting.ended {
            None => Ok(Next::Nothing),
            Some(Ok(())) => Ok(Next::End),
            Some(ended) => std::mem::replace(ended, Ok(())).map(|()| Next::End),
        }
    }
}

impl Line {
    fn tell(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.state.lock());
        self.waker.wake_by_ref();
    }

    /// Waits for room, and puts messages in line.
    async fn push(&self, mut messages: Vec<Message>, bytes_max: usize) {
        if messages.is_empty() {
            return;
        }
        loop {
            let room = self.room.notified();
            {
                let mut waiting = self.state.lock();
                if waiting.messages.len() < LINE_MESSAGES_MAX && waiting.bytes < bytes_max {
                    let was_empty = waiting.messages.is_empty();
                    waiting.bytes += messages.iter().map(|message| message.payload.len()).sum::<usize>();
                    waiting.messages.append(&mut messages);
                    drop(waiting);
                    if was_empty {
                        self.waker.wake_by_ref();
                    }
                    return;
                }
            }
            room.await;
        }
    }
}

/// Puts messages in line.
struct Follower {
    line: Arc<Line>,
    reading: Reading,
    party: Party,
}

/// How far a follower is.
#[derive(Default)]
struct Place {
    /// The stream, once it is known.
    created: Option<String>,
    /// The next sequence.
    next: u64,
    /// The last sequence that is read, where the source is bounded.
    last: Option<u64>,
}

impl Follower {
    async fn run(self) {
        let ended = self.follow().await;
        self.line.tell(|waiting| waiting.ended = Some(ended));
    }

    async fn follow(&self) -> Result<(), Problem> {
        let mut connection = self.reading.servers.connect(&self.party).await?;
        let mut context = jetstream::new(connection.client.clone());
        context.set_timeout(ANSWER_WAIT_MAX);
        let mut retries = Retries::new(self.party.clone());
        let mut place = Place::default();
        if let Some(from) = &self.reading.from {
            place.created = Some(from.created.clone());
            place.next = from.sequence + 1;
        }
        loop {
            let stopped = match self.open(&context, &mut place).await {
                Ok(None) => return Ok(()),
                Ok(Some((stream, consumer))) => {
                    retries.succeeded();
                    self.take(&mut connection, &stream, &consumer, &mut place).await
                }
                Err(stop) => Err(stop),
            };
            match stopped {
                Ok(()) => return Ok(()),
                Err(Stop::Failed(problem)) => return Err(problem),
                Err(Stop::Again) => {}
                Err(Stop::Retry(reason)) => retries.pause(&reason).await,
            }
            // Whoever is not connected waits for that in silence: the connection says what becomes of it.
            connection.until_up().await;
        }
    }

    /// Finds the stream, makes sure that it is the one that was read, and that nothing is missing; `None` where nothing is left to read.
    async fn open(&self, context: &Context, place: &mut Place) -> Result<Option<(Stream, PullConsumer)>, Stop> {
        let stream = found::find(context, &self.party, &self.reading.stream).await?;
        self.locate(&stream, place).await?;
        if place.last.is_some_and(|last| place.next > last) {
            return Ok(None);
        }
        let start_sequence = place.next;
        let consumer = self
            .consumer(&stream, DeliverPolicy::ByStartSequence { start_sequence })
            .await?;
        let info = consumer.cached_info();
        if info.delivered.stream_sequence >= place.next {
            // Messages were removed since the stream was looked at.
            return Err(Stop::Again);
        }
        if place.last.is_some() && info.num_pending == 0 {
            return Ok(None);
        }
        Ok(Some((stream, consumer)))
    }

    /// Finds out where in the stream to go on.
    async fn locate(&self, stream: &Stream, place: &mut Place) -> Result<(), Stop> {
        let info = stream.cached_info();
        let (servers, name) = (|| self.party.servers.clone(), || self.reading.stream.clone());
        let retention = match info.config.retention {
            RetentionPolicy::Limits => None,
            RetentionPolicy::Interest => Some("interest"),
            RetentionPolicy::WorkQueue => Some("workqueue"),
        };
        if let Some(retention) = retention {
            return Err(Problem::Retention {
                servers: servers(),
                stream: name(),
                retention,
            }
            .into());
        }
        let (first, last) = (info.state.first_sequence.max(1), info.state.last_sequence);
        if place.last.is_none() && self.reading.is_bounded {
            place.last = Some(last);
        }
        let created = found::created(info);
        match &place.created {
            None => {
                place.next = self.first(stream, first, last).await?;
                place.created = Some(created.clone());
                let sequence = place.next - 1;
                tracing::info!(
                    "{} begins behind sequence {sequence} of stream `{}`",
                    self.party,
                    self.reading.stream
                );
                let begun = Begun { created, sequence };
                self.line.tell(|waiting| waiting.begun = Some(begun));
            }
            Some(known) if *known != created => {
                return Err(Problem::Recreated {
                    servers: servers(),
                    stream: name(),
                    known: known.clone(),
                    found: created,
                }
                .into());
            }
            Some(_) if place.next > last + 1 => {
                return Err(Problem::Shortened {
                    servers: servers(),
                    stream: name(),
                    last,
                    read: place.next - 1,
                }
                .into());
            }
            Some(_) => {}
        }
        self.skip_to(first, place)
    }

    /// Goes on at the first message that is there; what was removed before it is missing.
    fn skip_to(&self, first: u64, place: &mut Place) -> Result<(), Stop> {
        if first <= place.next {
            return Ok(());
        }
        let (servers, stream, next) = (self.party.servers.clone(), self.reading.stream.clone(), place.next);
        let problem = Problem::Missing {
            servers,
            stream,
            first,
            next,
            count: first - next,
        };
        match self.reading.missing {
            Missing::Fail => Err(problem.into()),
            Missing::Skip => {
                tracing::warn!("{}: {problem}", self.party);
                place.next = first;
                Ok(())
            }
        }
    }

    /// The first sequence of a run before which none has read.
    async fn first(&self, stream: &Stream, first: u64, last: u64) -> Result<u64, Stop> {
        match self.reading.start {
            Start::First => Ok(first),
            Start::New => Ok(last + 1),
            Start::Sequence(start) if start > last + 1 => Err(Problem::StartsBeyond {
                servers: self.party.servers.clone(),
                stream: self.reading.stream.clone(),
                last,
                start,
            }
            .into()),
            Start::Sequence(start) => Ok(start),
            Start::Time(time_ms) => {
                let start_time = async_nats::datetime::from_nanos(i128::from(time_ms) * 1_000_000);
                let start_time = start_time.map_err(|error| Stop::Retry(error.to_string()))?;
                let consumer = self.consumer(stream, DeliverPolicy::ByStartTime { start_time }).await?;
                let info = consumer.cached_info();
                // What the consumer has delivered is, at first, what lies before its start.
                let start = info.delivered.stream_sequence + 1;
                let _ = stream.delete_consumer(&info.name).await;
                Ok(start.max(first))
            }
        }
    }

    async fn consumer(&self, stream: &Stream, deliver_policy: DeliverPolicy) -> Result<PullConsumer, Stop> {
        let config = Config {
            description: Some(format!("Dirigo, {}", self.party)),
            deliver_policy,
            ack_policy: AckPolicy::None,
            filter_subjects: self.reading.subjects.clone(),
            inactive_threshold: CONSUMER_LASTS,
            memory_storage: true,
            num_replicas: 1,
            ..Config::default()
        };
        stream
            .create_consumer(config)
            .await
            .map_err(|error| match error.kind() {
                // What is wrong with the request stays wrong; the rest may pass.
                ConsumerErrorKind::JetStream(answer) if answer.code() == 400 => Problem::Consumer {
                    servers: self.party.servers.clone(),
                    stream: self.reading.stream.clone(),
                    reason: answer.to_string(),
                }
                .into(),
                ConsumerErrorKind::JetStream(answer) => found::refused(&answer, &self.party, &self.reading.stream),
                _ => Stop::Retry(format!("no answer of JetStream: {}", described(&error))),
            })
    }

    /// Puts messages in line until they stop coming, or the last one has come.
    async fn take(
        &self,
        connection: &mut Connection,
        stream: &Stream,
        consumer: &PullConsumer,
        place: &mut Place,
    ) -> Result<(), Stop> {
        // Twice what one message may have: a request for fewer bytes than that of the next message is refused.
        let bytes = PULL_BYTES.max(connection.client.max_payload() * 2);
        let losses = connection.losses();
        let messages = consumer.stream().max_messages_per_batch(PULL_MESSAGES);
        let messages = messages
            .max_bytes_per_batch(bytes)
            .heartbeat(HEARTBEAT)
            .expires(PULL_EXPIRES);
        let messages = messages.messages().await;
        let messages = messages.map_err(|error| Stop::Retry(described(&error)))?;
        let mut messages = messages.ready_chunks(CHUNK);
        let mut delivered = 0;
        loop {
            let chunk = tokio::select! {
                biased;
                () = connection.until_lost(losses) => {
                    // What was on its way may be lost.
                    return Err(Stop::Again);
                }
                chunk = messages.next() => chunk.ok_or(Stop::Again)?,
                () = tokio::time::sleep(SILENCE) => {
                    let info = consumer.get_info().await.map_err(|error| Stop::Retry(described(&error)))?;
                    if info.delivered.consumer_sequence != delivered {
                        tracing::debug!("{}: messages were lost on their way", self.party);
                        return Err(Stop::Again);
                    }
                    if place.last.is_some() && info.num_pending == 0 {
                        return Ok(());
                    }
                    continue;
                }
            };
            let mut arrived = Vec::with_capacity(chunk.len());
            let ended = self.examine(chunk, stream, place, &mut delivered, &mut arrived).await;
            self.line.push(arrived, bytes).await;
            if ended? {
                return Ok(());
            }
        }
    }

    /// Takes out of messages those that come next in the stream. Gives whether the last one that is to be read is among them.
    async fn examine(
        &self,
        chunk: Vec<Result<jetstream::Message, MessagesError>>,
        stream: &Stream,
        place: &mut Place,
        delivered: &mut u64,
        arrived: &mut Vec<Message>,
    ) -> Result<bool, Stop> {
        for message in chunk {
            let message = message.map_err(|error| Stop::Retry(described(&error)))?;
            let info = message.info().map_err(|error| Stop::Retry(error.to_string()))?;
            *delivered += 1;
            if info.consumer_sequence != *delivered {
                tracing::debug!("{}: messages were lost on their way", self.party);
                return Err(Stop::Again);
            }
            let (sequence, is_last) = (info.stream_sequence, info.pending == 0);
            if place.last.is_some_and(|last| sequence > last) {
                return Ok(true);
            }
            if sequence > place.next && self.reading.subjects.is_empty() {
                self.look_for_missing(stream, sequence, place).await?;
            }
            let time_ns = info.published.unix_timestamp_nanos();
            arrived.push(Message {
                sequence,
                time_ms: i64::try_from(time_ns.div_euclid(1_000_000)).unwrap_or(i64::MAX),
                payload: message.message.payload,
            });
            place.next = sequence + 1;
            if place.last.is_some_and(|last| sequence == last || is_last) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sees to it that messages that did not come were deleted one by one, and not removed by the limits of the stream.
    async fn look_for_missing(&self, stream: &Stream, sequence: u64, place: &mut Place) -> Result<(), Stop> {
        let info = stream
            .get_info()
            .await
            .map_err(|error| Stop::Retry(described(&error)))?;
        self.skip_to(info.state.first_sequence.min(sequence), place)
    }
}
