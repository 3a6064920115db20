//! The sink that publishes to a topic.
//!
//! What it is given waits in an outbox until its epoch is committed, and is published then. Owns which messages of a batch were taken by the broker.

use std::collections::HashSet;
use std::path::Path;

use dirigo_connect::sink::{DeliveryCapability, Error, Opening, Sink, SinkSpec};
use dirigo_connect::{Facets, facets};
use dirigo_connectors::outbox::{BACKLOG_BYTES, Batch, Deliver, Options, Outbox, Undelivered};
use dirigo_disk::Disk;
use serde_json::json;
use tokio_rustls::TlsConnector;

use crate::brokers::{self, Servers};
use crate::connection::Connection;
use crate::error::{Problem, Stop};
use crate::packet::{self, Answer, Connect, Incoming, Message, Reason, Step};

/// The largest batch, in events and in bytes. Each has an id of its own within the batch, of which MQTT has 65,535.
const BATCH: Options = Options {
    batch_records: 1_024,
    batch_bytes: 1 << 20,
    retry_for: None,
    backlog_bytes: BACKLOG_BYTES,
    delivery_capability: DELIVERY_CAPABILITY,
};
/// What is written at once.
const WRITE_BYTES: usize = 256 << 10;
/// How long a broker keeps what it knows of messages of `QoS` 2 while the connection is lost: longer than anyone restarts one.
const SESSION_SECONDS: u32 = 24 * 60 * 60;
/// A broker sends nothing but acknowledgements.
const ACKNOWLEDGEMENT_BYTES_MAX: usize = 64 << 10;
const DELIVERY_CAPABILITY: DeliveryCapability = DeliveryCapability::SendsAgain {
    why: "a message whose acknowledgement was lost is published again",
};

/// A topic that is written.
#[derive(Clone, Debug)]
pub(crate) struct MqttSinkSpec {
    pub(crate) servers: Servers,
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// If the pipeline file says one.
    pub(crate) client_id: Option<String>,
}

impl SinkSpec for MqttSinkSpec {
    fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Sink>, Error> {
        let client_id = self.client_id.clone();
        let publisher = Publisher {
            tls: self.servers.tls().map_err(Error::fatal)?,
            client_id: client_id.unwrap_or_else(|| brokers::client_id(opening.tenant, opening.pipeline, opening.id)),
            spec: self.clone(),
            connection: None,
            was_connected: false,
            flight: Flight::default(),
        };
        Ok(Box::new(Outbox::open(opening, BATCH, publisher)?))
    }

    fn delivery_capability(&self, _: &dyn Disk) -> DeliveryCapability {
        DELIVERY_CAPABILITY
    }

    fn facets(&self, _: &Path) -> Option<Facets> {
        // Broker and topic may change: what waits in the outbox stays the same.
        Some(facets([("kind", json!("mqtt"))]))
    }
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It is to be sent.
    Waiting,
    /// It was sent.
    Sent,
    /// At `QoS` 2: the broker has it, and is to publish it.
    Received,
    /// The broker has published it.
    Taken,
}

/// The messages of a batch, through connections that come and go.
#[derive(Default)]
struct Flight {
    /// The number of the batch.
    batch: u64,
    messages: Vec<Progress>,
    /// How many are taken.
    taken: usize,
    /// How many are on their way.
    underway: usize,
    /// The first that was not sent on this connection.
    next: usize,
    /// Those that were sent on an earlier connection of the session.
    repeated: HashSet<usize>,
}

impl Flight {
    fn of(batch: &Batch) -> Self {
        Self {
            batch: batch.number(),
            messages: vec![Progress::Waiting; batch.len()],
            ..Self::default()
        }
    }

    /// Begins once more on a new connection, in the same session or in another.
    fn reconnected(&mut self, has_session: bool) {
        (self.underway, self.next) = (0, 0);
        self.repeated.clear();
        for (place, progress) in self.messages.iter_mut().enumerate() {
            if *progress == Progress::Sent && has_session {
                self.repeated.insert(place);
            }
            if matches!(progress, Progress::Sent | Progress::Received) && !has_session {
                *progress = Progress::Waiting;
            }
        }
    }

    fn is_finished(&self) -> bool {
        self.taken == self.messages.len()
    }

    /// Where the message with an id is, if it is on its way and that far.
    fn place(&self, id: u16, expected: Progress) -> Option<usize> {
        let place = usize::from(id).checked_sub(1)?;
        (self.messages.get(place) == Some(&expected) && place < self.next).then_some(place)
    }

    fn take(&mut self, place: usize) {
        self.messages[place] = Progress::Taken;
        self.taken += 1;
        self.underway -= 1;
    }
}

/// The id of the message at a place of a batch: the same on each connection.
fn id(place: usize) -> u16 {
    u16::try_from(place + 1).expect("a batch has fewer records than there are ids")
}

/// Publishes batches.
struct Publisher {
    spec: MqttSinkSpec,
    tls: Option<TlsConnector>,
    client_id: String,
    connection: Option<(Connection, Answer)>,
    was_connected: bool,
    flight: Flight,
}

impl Deliver for Publisher {
    async fn prepare(&mut self) -> Result<(), Undelivered> {
        let connected = self.connect().await;
        connected.map_err(|stop| self.undelivered(stop))
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<(), Undelivered> {
        if self.flight.batch != batch.number() {
            self.flight = Flight::of(batch);
        }
        let published = self.publish(batch).await;
        published.map_err(|stop| self.undelivered(stop))
    }
}

impl Publisher {
    fn undelivered(&mut self, stop: Stop) -> Undelivered {
        self.connection = None;
        match stop {
            Stop::Retry(reason) => Undelivered::Later { reason, after: None },
            Stop::Failed(problem @ Problem::Refusal(_)) if self.was_connected => Undelivered::Later {
                reason: problem.to_string(),
                after: None,
            },
            Stop::Failed(problem) => Undelivered::Never {
                reason: problem.to_string(),
            },
        }
    }

    async fn publish(&mut self, batch: &Batch) -> Result<(), Stop> {
        let records: Vec<&[u8]> = batch.records().collect();
        self.connect().await?;
        while !self.flight.is_finished() {
            self.send(batch, &records)?;
            let (connection, _) = self.connection.as_mut().expect("it was connected");
            connection.flush().await?;
            if self.flight.underway > 0 {
                connection.fill().await?;
            }
            self.take(batch)?;
        }
        let (connection, _) = self.connection.as_mut().expect("it was connected");
        connection.flush().await
    }

    /// Sees to it that there is a connection.
    async fn connect(&mut self) -> Result<(), Stop> {
        if let Some((connection, _)) = &mut self.connection {
            // A broker may close one on which nothing is published for long.
            if !connection.is_closed().await {
                return Ok(());
            }
            self.connection = None;
        }
        let login = self.spec.servers.login.as_ref();
        let hello = Connect {
            client_id: &self.client_id,
            login: login.map(|login| (&*login.user, &*login.password.0)),
            // Of ids that an earlier process gave nothing may be left.
            is_clean: !self.was_connected,
            session_seconds: SESSION_SECONDS,
            keep_alive: 0,
            receive_max: u16::MAX,
        };
        let servers = &self.spec.servers;
        let (connection, answer) = servers
            .connect(self.tls.as_ref(), &hello, ACKNOWLEDGEMENT_BYTES_MAX)
            .await?;
        tracing::info!(
            "sink with the client id `{}` is connected to {}",
            self.client_id,
            connection.server()
        );
        self.flight.reconnected(answer.has_session);
        self.was_connected = true;
        self.connection = Some((connection, answer));
        Ok(())
    }

    /// Puts messages into the output, as many as may be on their way.
    fn send(&mut self, batch: &Batch, records: &[&[u8]]) -> Result<(), Stop> {
        let (connection, answer) = self.connection.as_mut().expect("it was connected");
        let flight = &mut self.flight;
        while flight.next < records.len()
            && flight.underway < usize::from(answer.receive_max)
            && connection.output.len() < WRITE_BYTES
        {
            let place = flight.next;
            flight.next += 1;
            let payload = records[place];
            match flight.messages[place] {
                Progress::Taken => continue,
                Progress::Received => packet::step(Step::Released, id(place), Reason::SUCCESS, &mut connection.output),
                Progress::Waiting | Progress::Sent => {
                    if let Some(reason) = self.spec.flaw(payload, answer) {
                        return Err(self.spec.refused(connection, batch, place, reason));
                    }
                    let message = Message {
                        topic: &self.spec.topic,
                        payload,
                        qos: self.spec.qos,
                        id: id(place),
                        is_repeated: flight.repeated.contains(&place),
                        is_retained: self.spec.retain,
                    };
                    packet::publish(&message, &mut connection.output);
                    flight.messages[place] = Progress::Sent;
                }
            }
            flight.underway += 1;
        }
        Ok(())
    }

    /// Takes the acknowledgements that are there.
    fn take(&mut self, batch: &Batch) -> Result<(), Stop> {
        let (connection, _) = self.connection.as_mut().expect("it was connected");
        let flight = &mut self.flight;
        loop {
            let (step, id, reason) = match connection.next()? {
                None => return Ok(()),
                Some(Incoming::Step { step, id, reason }) => (step, id, reason),
                Some(Incoming::Disconnected(Reason::TAKEN_OVER)) => {
                    return Err(Problem::TakenOver {
                        server: connection.server().to_owned(),
                        client_id: self.client_id.clone(),
                    }
                    .into());
                }
                Some(Incoming::Disconnected(Reason::PACKET_TOO_LARGE)) => {
                    // It is the first that is not acknowledged: brokers read packets in order.
                    let place = flight.messages.iter().position(|progress| *progress == Progress::Sent);
                    let reason = Reason::PACKET_TOO_LARGE.to_string();
                    return Err(self.spec.refused(connection, batch, place.unwrap_or(0), reason));
                }
                Some(Incoming::Disconnected(reason)) => {
                    return Err(Stop::Retry(format!("the broker closes the connection: {reason}")));
                }
                Some(_) => continue,
            };
            match step {
                Step::Acknowledged | Step::Received => {
                    let Some(place) = flight.place(id, Progress::Sent) else {
                        continue;
                    };
                    if reason.is_passing() {
                        return Err(Stop::Retry(format!("the broker takes no message: {reason}")));
                    }
                    if reason.is_failure() {
                        return Err(self.spec.refused(connection, batch, place, reason.to_string()));
                    }
                    if step == Step::Acknowledged {
                        flight.take(place);
                    } else {
                        flight.messages[place] = Progress::Received;
                        packet::step(Step::Released, id, Reason::SUCCESS, &mut connection.output);
                    }
                }
                // Also where the broker does not know the id any more: then it has published the message before.
                Step::Completed => {
                    if let Some(place) = flight.place(id, Progress::Received) {
                        flight.take(place);
                    }
                }
                Step::Released => {}
            }
        }
    }
}

impl MqttSinkSpec {
    /// Why a broker with this answer would not take a message.
    fn flaw(&self, payload: &[u8], answer: &Answer) -> Option<String> {
        let bytes = packet::publish_bytes(&self.topic, payload.len());
        match answer.packet_max {
            Some(max) if bytes > max as usize => {
                return Some(format!("its packet has {bytes} bytes, and may have {max}"));
            }
            _ => {}
        }
        if self.qos > answer.qos_max {
            return Some(format!("the broker takes QoS {} at most", answer.qos_max));
        }
        (self.retain && !answer.takes_retained).then(|| "the broker keeps no retained messages".to_owned())
    }

    fn refused(&self, connection: &Connection, batch: &Batch, place: usize, reason: String) -> Stop {
        Problem::Message {
            server: connection.server().to_owned(),
            topic: self.topic.clone(),
            number: batch.records_before() + place as u64 + 1,
            reason,
        }
        .into()
    }
}
