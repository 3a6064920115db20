//! A connection to a broker.
//!
//! Owns the bytes that were read and are to be written, and finds out whether the broker is still there. Knows packets, and nothing of what they are for.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Interval, MissedTickBehavior};

use crate::error::{Problem, Stop};
use crate::packet::{self, Answer, Connect, Incoming};

/// How often a broker from which nothing comes is asked whether it is there. If nothing has come until the next time, it is not.
const PING_EVERY: Duration = Duration::from_secs(10);
/// The keep-alive that the client announces, in seconds: a broker closes a connection on which nothing has come for one and a half
/// times as long.
pub(crate) const KEEP_ALIVE_SECONDS: u16 = 30;
/// What is read at once at least.
const READ_BYTES: usize = 64 << 10;

/// What carries bytes.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    server: String,
    /// What was read is between `start` and `end`.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// What is to be written.
    pub(crate) output: Vec<u8>,
    pings: Interval,
    /// Whether nothing has come since the last ping.
    is_silent: bool,
    /// The largest payload that is taken.
    message_max: usize,
}

impl Connection {
    /// Says who connects, and waits for the answer.
    pub(crate) async fn open(
        stream: Box<dyn Stream>,
        server: String,
        hello: &Connect<'_>,
        message_max: usize,
    ) -> Result<(Self, Answer), Stop> {
        let mut pings = tokio::time::interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.reset();
        let mut connection = Self {
            stream,
            server,
            input: vec![0; 2 * READ_BYTES],
            start: 0,
            end: 0,
            output: Vec::new(),
            pings,
            is_silent: false,
            message_max,
        };
        packet::connect(hello, &mut connection.output);
        connection.flush().await?;
        connection.fill().await?;
        let answer = match connection.next()? {
            Some(Incoming::Answer(answer)) => answer,
            Some(Incoming::Disconnected(reason)) => {
                return Err(Stop::Retry(format!("it closes the connection: {reason}")));
            }
            _ => return Err(Stop::Retry("it does not answer as a broker of MQTT 5 does".to_owned())),
        };
        if let Some(seconds) = answer.keep_alive.filter(|&seconds| seconds > 0) {
            // The first tick of an interval comes at once.
            let half = Duration::from_secs(seconds.into()) / 2;
            connection.pings = tokio::time::interval(half.min(PING_EVERY));
            connection.pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
            connection.pings.reset();
        }
        Ok((connection, answer))
    }

    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Waits until a packet is there.
    pub(crate) async fn fill(&mut self) -> Result<(), Stop> {
        while !self.has_packet()? {
            tokio::select! {
                read = self.stream.read(&mut self.input[self.end..]) => match read {
                    Ok(0) => return Err(Stop::Retry("the connection was closed".to_owned())),
                    Ok(count) => {
                        self.end += count;
                        self.is_silent = false;
                    }
                    Err(error) => return Err(Stop::Retry(error.to_string())),
                },
                _ = self.pings.tick() => {
                    if self.is_silent {
                        let message = format!("nothing has come for {} s", PING_EVERY.as_secs());
                        return Err(Stop::Retry(message));
                    }
                    self.is_silent = true;
                    self.ping().await?;
                }
            }
        }
        Ok(())
    }

    /// Waits without reading, and keeps the connection alive.
    pub(crate) async fn rest(&mut self, pause: Duration) -> Result<(), Stop> {
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            _ = self.pings.tick() => self.ping().await,
        }
    }

    /// Whether the broker has closed it, found out without waiting.
    pub(crate) async fn is_closed(&mut self) -> bool {
        if self.has_packet().is_err() || self.end == self.input.len() {
            return true;
        }
        tokio::select! {
            biased;
            read = self.stream.read(&mut self.input[self.end..]) => match read {
                Ok(count) if count > 0 => {
                    self.end += count;
                    false
                }
                _ => true,
            },
            () = std::future::ready(()) => false,
        }
    }

    /// Whether the first packet is there. Makes room for it where it is not.
    fn has_packet(&mut self) -> Result<bool, Stop> {
        let unread = &self.input[self.start..self.end];
        let length = packet::length(unread).map_err(|malformed| Stop::Retry(malformed.to_string()))?;
        if length.is_some_and(|length| unread.len() >= length) {
            return Ok(true);
        }
        if let Some(length) = length.filter(|&length| length > self.message_max) {
            self.expect_small(length)?;
        }
        // Of a packet that may be too large, no more room is made than what has come asks for.
        let room = length.map_or(0, |length| length.min(self.message_max.max(unread.len() + READ_BYTES)));
        let wanted = room.max(READ_BYTES);
        if self.input.len() - self.start < wanted || self.end == self.input.len() {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.input.len() < wanted + READ_BYTES {
                self.input.resize(wanted + READ_BYTES, 0);
            }
        }
        Ok(false)
    }

    /// Sees to it that the message of a packet of which the first bytes are there is not too large.
    fn expect_small(&self, length: usize) -> Result<(), Stop> {
        let unread = &self.input[self.start..self.end];
        let Ok(Incoming::Message(message)) = packet::read(unread) else {
            // The topic has yet to come, if there is one.
            return if unread.len() < self.message_max.max(READ_BYTES) {
                Ok(())
            } else {
                Err(Stop::Retry(
                    "a packet that is not a message is larger than any may be".to_owned(),
                ))
            };
        };
        let bytes = length - (unread.len() - message.payload.len());
        if bytes <= self.message_max {
            return Ok(());
        }
        Err(Problem::MessageTooLarge {
            server: self.server.clone(),
            topic: message.topic.to_owned(),
            bytes,
            max: self.message_max,
        }
        .into())
    }

    /// Takes the next packet, if it is there.
    pub(crate) fn next(&mut self) -> Result<Option<Incoming<'_>>, Stop> {
        if !self.has_packet()? {
            return Ok(None);
        }
        let unread = &self.input[self.start..self.end];
        let length = packet::length(unread).ok().flatten().expect("it was found");
        let packet = &unread[..length];
        self.start += length;
        let packet = packet::read(packet).map_err(|malformed| Stop::Retry(malformed.to_string()))?;
        Ok(Some(packet))
    }

    async fn ping(&mut self) -> Result<(), Stop> {
        packet::ping(&mut self.output);
        self.flush().await
    }

    /// Writes what is to be written.
    pub(crate) async fn flush(&mut self) -> Result<(), Stop> {
        if self.output.is_empty() {
            return Ok(());
        }
        let write = async {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await
        };
        let written = tokio::time::timeout(PING_EVERY * 2, write).await;
        self.output.clear();
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Stop::Retry(error.to_string())),
            Err(_) => Err(Stop::Retry("it has read nothing for some time".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE_MAX: usize = 1 << 20;

    async fn opened() -> (Connection, tokio::io::DuplexStream) {
        let (own, mut broker) = tokio::io::duplex(READ_BYTES);
        let hello = Connect {
            client_id: "id",
            login: None,
            is_clean: false,
            session_seconds: 60,
            keep_alive: KEEP_ALIVE_SECONDS,
            receive_max: 100,
        };
        broker.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
        let (connection, _) = Connection::open(Box::new(own), "broker".to_owned(), &hello, MESSAGE_MAX)
            .await
            .unwrap_or_else(|_| panic!("the broker answers"));
        (connection, broker)
    }

    #[tokio::test]
    async fn a_packet_gets_no_more_memory_than_a_message_may_have_before_its_bytes_come() {
        let (mut connection, mut broker) = opened().await;
        // The first bytes of a message of 256 MiB.
        broker.write_all(&[0x30, 0xff, 0xff, 0xff, 0x7f]).await.unwrap();
        drop(broker);
        assert!(connection.fill().await.is_err(), "the packet does not come");
        assert!(
            connection.input.len() <= MESSAGE_MAX + 2 * READ_BYTES,
            "{}",
            connection.input.len()
        );
    }

    #[tokio::test]
    async fn what_came_before_a_malformed_packet_is_taken() {
        let (mut connection, mut broker) = opened().await;
        let message = [0x30, 5, 0, 1, b't', 0, b'x'];
        broker.write_all(&[&message[..], &[0, 0]].concat()).await.unwrap();
        connection.fill().await.unwrap_or_else(|_| panic!("a message is there"));
        assert!(matches!(connection.next(), Ok(Some(Incoming::Message(message))) if message.payload == b"x"));
        assert!(connection.next().is_err());
    }
}
