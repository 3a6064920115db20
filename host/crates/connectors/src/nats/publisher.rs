//! Messages into a stream, each once and in order.
//!
//! The id of a message says whose it is, and its number. What the stream has after the last message that is known to be there tells which one is next, so a message
//! whose acknowledgement was lost is not published again: how long the server remembers ids does not matter. Many messages are on their way at a time, and each says
//! with which message the stream ends before it: so none passes one that failed, and none comes of a process that is gone.
//!
//! Each header costs the server time, so a message bears only these two: its own id, and that of the message before it.

use std::collections::VecDeque;
use std::sync::Arc;

use async_nats::header::{
    NATS_EXPECTED_LAST_MESSAGE_ID, NATS_EXPECTED_LAST_SEQUENCE, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
    NATS_EXPECTED_STREAM, NATS_MESSAGE_ID,
};
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer};
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{HeaderMap, HeaderName, Subject};
use bytes::Bytes;
use futures_util::StreamExt as _;

use super::connection::{ANSWER_WAIT_MAX, Connection, Servers};
use super::error::{Problem, Stop};
use super::found;
use crate::retries::{Party, Retries};
use crate::servers::described;

/// Messages that are on their way at a time, at most: at 1 ms to the server a million a second.
const WINDOW_MAX: usize = 1_024;
/// Bytes of them, beyond which no more are sent.
const WINDOW_BYTES: usize = 8 << 20;
/// Messages one by one before it is tried again whether nobody else publishes to the stream.
const PATIENCE: usize = 64;
/// The most of them: each attempt that fails doubles it.
const PATIENCE_MAX: usize = 1 << 16;

/// A message to be published.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) subject: Subject,
    pub(super) payload: Bytes,
}

/// Up to where a stream is known to have what was published.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Known {
    /// When the stream was created; nothing is known before the server was reached.
    pub(super) created: Option<String>,
    /// The number of the last message that is there.
    pub(super) number: u64,
    /// A sequence behind which messages of later numbers are.
    pub(super) sequence: u64,
}

impl Known {
    /// Nothing of the stream, and that messages before this number are none of its business.
    pub(super) fn before(number: u64) -> Self {
        Self {
            number: number.saturating_sub(1),
            ..Self::default()
        }
    }
}

/// Publishes to a stream.
pub(super) struct Publisher {
    servers: Servers,
    stream: String,
    /// The subjects of all messages.
    filter: String,
    /// Whose the messages are.
    identity: Arc<str>,
    party: Party,
    connection: Option<(Connection, Context)>,
    known: Known,
    /// Whether what is known is true of the stream as it is now: else it is looked up first.
    is_sure: bool,
    window: Window,
}

/// How many messages are on their way at a time.
struct Window {
    messages: usize,
    /// Messages that were published one by one since others came between.
    single: usize,
    patience: usize,
}

impl Window {
    fn new() -> Self {
        Self {
            messages: WINDOW_MAX,
            single: 0,
            patience: PATIENCE,
        }
    }

    /// Notes that messages went through: a window that did doubles.
    fn widen(&mut self, published: usize) {
        if self.messages > 1 {
            self.messages = (self.messages + published).min(WINDOW_MAX);
            return;
        }
        self.single += published;
        if self.single >= self.patience {
            self.single = 0;
            self.messages = 8;
        }
    }

    /// Notes that somebody else has published in between.
    fn narrow(&mut self) {
        if self.messages <= 8 {
            self.messages = 1;
            self.patience = (self.patience * 2).min(PATIENCE_MAX);
        } else {
            self.messages /= 4;
        }
    }
}

impl Publisher {
    pub(super) fn new(
        servers: Servers,
        stream: String,
        filter: String,
        identity: String,
        party: Party,
        known: Known,
    ) -> Self {
        Self {
            servers,
            stream,
            filter,
            identity: identity.into(),
            party,
            connection: None,
            known,
            is_sure: false,
            window: Window::new(),
        }
    }

    /// Sees to it that the stream has these messages, the first of which has the number `first`; tries until it does. Gives up to where it has them. Without
    /// messages it gives where the stream ends. Where nothing was known of the stream, that is to be durable before anything is published: else a later process
    /// does not know where to look for what this one published.
    ///
    /// # Errors
    /// When the stream cannot have them, until a person changes something.
    pub(super) async fn publish(&mut self, first: u64, messages: &[Outgoing]) -> Result<Known, Problem> {
        let mut retries = Retries::new(self.party.clone());
        loop {
            let stop = match self.attempt(first, messages).await {
                Ok(()) => {
                    retries.succeeded();
                    return Ok(self.known.clone());
                }
                Err(stop) => stop,
            };
            self.is_sure = false;
            match stop {
                Stop::Failed(problem) => return Err(problem),
                Stop::Again => {}
                Stop::Retry(reason) => retries.pause(&reason).await,
            }
            if let Some((connection, _)) = &mut self.connection {
                connection.until_up().await;
            }
        }
    }

    async fn attempt(&mut self, first: u64, messages: &[Outgoing]) -> Result<(), Stop> {
        if self.connection.is_none() {
            let connection = self.servers.connect(&self.party).await?;
            let mut context = jetstream::new(connection.client.clone());
            context.set_timeout(ANSWER_WAIT_MAX);
            self.connection = Some((connection, context));
        }
        let context = self.connection.as_ref().expect("it was made").1.clone();
        if !self.is_sure {
            self.look(&context).await?;
            self.is_sure = true;
        }
        loop {
            let done = self.known.number + 1;
            let there = usize::try_from(done.saturating_sub(first)).unwrap_or(usize::MAX);
            let Some(left) = messages.get(there..).filter(|left| !left.is_empty()) else {
                return Ok(());
            };
            if self.window.messages == 1 {
                self.publish_one(&context, &left[0]).await?;
            } else {
                self.publish_window(&context, left).await?;
            }
        }
    }

    /// The id of a message: pipeline, sink and lineage, and its number among those of the lineage, from 1.
    fn id(&self, number: u64) -> String {
        format!("{}/{number}", self.identity)
    }

    /// The number of a message with this id, if it is one of this sink.
    fn number(&self, headers: &HeaderMap) -> Option<u64> {
        let (identity, number) = headers.get(NATS_MESSAGE_ID)?.as_str().rsplit_once('/')?;
        number.parse().ok().filter(|_| identity == &*self.identity)
    }

    /// What a message bears that knows only where the stream ends.
    fn headers(&self, number: u64, expected: HeaderName, sequence: u64) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, self.id(number));
        headers.insert(NATS_EXPECTED_STREAM, self.stream.as_str());
        headers.insert(expected, sequence.to_string());
        headers
    }

    /// What a message bears that comes right after the one before it.
    fn headers_of_next(&self, number: u64) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, self.id(number));
        // A sequence does not do: a message of another client may have taken the place of the one before.
        headers.insert(NATS_EXPECTED_LAST_MESSAGE_ID, self.id(number - 1));
        headers
    }

    /// Publishes messages, many of which are on their way at a time, to a stream to which no other client publishes meanwhile.
    async fn publish_window(&mut self, context: &Context, messages: &[Outgoing]) -> Result<(), Stop> {
        let mut under_way = VecDeque::new();
        let mut bytes = 0;
        let begin = self.known.number + 1;
        let mut failed = None;
        for (number, outgoing) in (begin..).zip(messages) {
            while under_way.len() >= self.window.messages || bytes >= WINDOW_BYTES {
                let Some((acknowledgement, length)) = under_way.pop_front() else {
                    break;
                };
                bytes -= length;
                self.acknowledged(context, acknowledgement).await?;
            }
            let headers = if number == begin {
                self.headers(number, NATS_EXPECTED_LAST_SEQUENCE, self.known.sequence)
            } else {
                self.headers_of_next(number)
            };
            let length = outgoing.payload.len();
            match send(context, outgoing, headers).await {
                Ok(acknowledgement) => under_way.push_back((acknowledgement, length)),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
            bytes += length;
        }
        for (acknowledgement, _) in under_way {
            self.acknowledged(context, acknowledgement).await?;
        }
        match failed {
            Some(error) => Err(self.stopped(context, &error).await),
            None => Ok(()),
        }
    }

    /// Waits until the next message is acknowledged. After the first that fails all others do, since the stream does not end as they expect.
    async fn acknowledged(&mut self, context: &Context, acknowledgement: PublishAckFuture) -> Result<(), Stop> {
        match acknowledgement.await {
            Ok(there) => {
                self.known.number += 1;
                self.known.sequence = there.sequence;
                self.window.widen(1);
                Ok(())
            }
            Err(error) => Err(self.stopped(context, &error).await),
        }
    }

    /// Publishes one message to a stream to which others publish, too.
    async fn publish_one(&mut self, context: &Context, outgoing: &Outgoing) -> Result<(), Stop> {
        let number = self.known.number + 1;
        let stream = found::find(context, &self.party, &self.stream).await?;
        let last = match stream.get_last_raw_message_by_subject(&outgoing.subject).await {
            Ok(last) => Some(last),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => None,
            Err(error) => return Err(Stop::Retry(described(&error))),
        };
        if let Some(last) = &last
            && let Some(there) = self.number(&last.headers)
            && there >= number
        {
            // It came in the meantime: a message that was on its way.
            return Err(Stop::Again);
        }
        let sequence = last.map_or(0, |last| last.sequence);
        let headers = self.headers(number, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, sequence);
        match send(context, outgoing, headers).await {
            Ok(acknowledgement) => self.acknowledged(context, acknowledgement).await,
            Err(error) => Err(self.stopped(context, &error).await),
        }
    }

    /// What follows from an error.
    async fn stopped(&mut self, context: &Context, error: &PublishError) -> Stop {
        let (servers, stream) = (self.party.servers.clone(), self.stream.clone());
        let answer = std::error::Error::source(error).and_then(|source| source.downcast_ref::<jetstream::Error>());
        match (error.kind(), answer.map(jetstream::Error::error_code)) {
            (PublishErrorKind::WrongLastSequence | PublishErrorKind::WrongLastMessageId, _)
            | (_, Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)) => {
                self.window.narrow();
                Stop::Again
            }
            (PublishErrorKind::MaxPayloadExceeded, _) | (_, Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM)) => {
                let reason = described(error);
                Problem::TooLarge {
                    servers,
                    stream,
                    number: self.known.number + 1,
                    reason,
                }
                .into()
            }
            (_, Some(ErrorCode::STREAM_NOT_MATCH)) => self.no_such_subject(),
            // Nobody takes messages of that subject: there is no stream, or it has other subjects, or the server is not ready yet.
            (PublishErrorKind::StreamNotFound, _) => match found::find(context, &self.party, &self.stream).await {
                Err(Stop::Failed(problem)) => problem.into(),
                Ok(stream) if !self.is_taken_by(&stream) => self.no_such_subject(),
                _ => Stop::Retry(described(error)),
            },
            _ => Stop::Retry(described(error)),
        }
    }

    fn no_such_subject(&self) -> Stop {
        Problem::NoSubject {
            servers: self.party.servers.clone(),
            stream: self.stream.clone(),
            subject: self.filter.clone(),
        }
        .into()
    }

    /// Whether a stream takes the subjects of the messages.
    fn is_taken_by(&self, stream: &Stream) -> bool {
        let subjects = &stream.cached_info().config.subjects;
        subjects.iter().any(|subject| covers(subject, &self.filter))
    }

    /// Finds out which message is next, and where the stream ends.
    async fn look(&mut self, context: &Context) -> Result<(), Stop> {
        let stream = found::find(context, &self.party, &self.stream).await?;
        let info = stream.cached_info();
        let (servers, name) = (self.party.servers.clone(), self.stream.clone());
        let created = found::created(info);
        let (first, last) = (info.state.first_sequence.max(1), info.state.last_sequence);
        match &self.known.created {
            Some(known) if *known != created => {
                return Err(Problem::RecreatedOutput {
                    servers,
                    stream: name,
                    known: known.clone(),
                    found: created,
                }
                .into());
            }
            Some(_) if self.known.sequence > last => {
                return Err(Problem::ShortenedOutput {
                    servers,
                    stream: name,
                    last,
                    known: self.known.sequence,
                }
                .into());
            }
            _ => {}
        }
        if !self.is_taken_by(&stream) {
            return Err(self.no_such_subject());
        }
        if self.known.created.is_some() && self.known.sequence < last {
            let removed = first.saturating_sub(self.known.sequence + 1);
            if removed > 0 {
                tracing::warn!(
                    "{}: stream `{name}` has removed {removed} messages since the last one that was acknowledged; the server's memory of ids decides whether \
                     they come twice",
                    self.party
                );
            }
            let numbers = self.numbers(&stream, last).await?;
            self.known.number = self.known.number.max(numbers.unwrap_or_default());
        }
        self.known.created = Some(created);
        self.known.sequence = last;
        Ok(())
    }

    /// The greatest number among the messages of this sink behind what is known, up to a sequence.
    async fn numbers(&self, stream: &Stream, last: u64) -> Result<Option<u64>, Stop> {
        let config = Config {
            description: Some(format!("Dirigo, {}", self.party)),
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: self.known.sequence + 1,
            },
            ack_policy: AckPolicy::None,
            filter_subject: self.filter.clone(),
            headers_only: true,
            memory_storage: true,
            num_replicas: 1,
            ..Config::default()
        };
        let consumer: PullConsumer = stream
            .create_consumer(config)
            .await
            .map_err(|error| Stop::Retry(described(&error)))?;
        let mut greatest = None;
        if consumer.cached_info().num_pending > 0 {
            let messages = consumer.stream().heartbeat(ANSWER_WAIT_MAX / 2).messages().await;
            let mut messages = messages.map_err(|error| Stop::Retry(described(&error)))?;
            let mut delivered = 0;
            while let Some(message) = messages.next().await {
                let message = message.map_err(|error| Stop::Retry(described(&error)))?;
                let info = message.info().map_err(|error| Stop::Retry(error.to_string()))?;
                delivered += 1;
                if info.consumer_sequence != delivered {
                    return Err(Stop::Again);
                }
                if info.stream_sequence > last {
                    break;
                }
                let number = message.headers.as_ref().and_then(|headers| self.number(headers));
                greatest = greatest.max(number);
                if info.stream_sequence == last || info.pending == 0 {
                    break;
                }
            }
        }
        let _ = stream.delete_consumer(&consumer.cached_info().name).await;
        Ok(greatest)
    }
}

/// Sends a message; the server acknowledges it later.
async fn send(context: &Context, outgoing: &Outgoing, headers: HeaderMap) -> Result<PublishAckFuture, PublishError> {
    let message = PublishMessage::build()
        .payload(outgoing.payload.clone())
        .headers(headers);
    context.send_publish(outgoing.subject.clone(), message).await
}

/// Whether all subjects that match `narrow` match `wide`, too.
pub(super) fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wide, mut narrow) = (wide.split('.'), narrow.split('.'));
    loop {
        match (wide.next(), narrow.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_covers_what_it_matches() {
        for (wide, narrow) in [
            ("a.>", "a.b"),
            ("a.>", "a.*"),
            ("a.*", "a.b"),
            ("a.*", "a.*"),
            ("a.b", "a.b"),
            (">", "a.>"),
        ] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in [
            ("a.>", "a"),
            ("a.*", "a.>"),
            ("a.*", "a.b.c"),
            ("a.b", "a.*"),
            ("a.b", "a"),
            ("a", "a.b"),
        ] {
            assert!(!covers(wide, narrow), "{wide} {narrow}");
        }
    }

    #[test]
    fn a_window_narrows_where_others_publish_and_is_tried_again() {
        let mut window = Window::new();
        let mut conflicts = 0;
        while window.messages > 1 {
            window.narrow();
            conflicts += 1;
        }
        assert!(conflicts < 8);
        window.widen(window.patience - 1);
        assert_eq!(window.messages, 1);
        window.widen(1);
        assert!(window.messages > 1);
        let few = window.messages;
        window.widen(few);
        assert_eq!(window.messages, 2 * few);
        window.widen(WINDOW_MAX);
        assert_eq!(window.messages, WINDOW_MAX);
    }
}
