//! The sink that publishes to a stream.
//!
//! What it is given waits in an outbox until its epoch is committed, and is published then. Owns what a message of a batch is, and the note of where in the
//! stream to look for messages whose acknowledgements were lost.

use std::future::Future;
use std::path::Path;

use async_nats::Subject;
use dirigo_connect::sink::{DeliveryCapability, Error, Keep, Opening, Resume, Sink, SinkSpec};
use dirigo_connect::{Facets, facets};
use dirigo_disk::Disk;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::connection::Servers;
use super::publisher::{Known, Outgoing, Publisher};
use crate::note;
use crate::outbox::{BACKLOG_BYTES, Batch, Deliver, Options, Outbox, Undelivered};
use crate::retries::Party;

/// The file that says where in the stream to look.
const KNOWN: &str = "published.json";
/// Batches after which it is written anew: the sink looks through the messages of this many after a crash, at most.
const NOTED_EVERY: u32 = 16;
/// The largest batch, in events and in bytes.
const BATCH: Options = Options {
    batch_records: 4_096,
    batch_bytes: 4 << 20,
    retry_for: None,
    backlog_bytes: BACKLOG_BYTES,
    // The receiver reports which batches it has.
    delivery_capability: DeliveryCapability::Transactional,
};

/// A stream that is written.
#[derive(Clone, Debug)]
pub(super) struct NatsSinkSpec {
    pub(super) servers: Servers,
    pub(super) stream: String,
    pub(super) subject: String,
}

impl SinkSpec for NatsSinkSpec {
    fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Sink>, Error> {
        let party = Party {
            kind: "sink",
            id: opening.id.to_owned(),
            servers: self.servers.to_string(),
        };
        let delivery = Delivery {
            spec: self.clone(),
            party,
            keep: opening.keep.clone(),
            publisher: None,
            unnoted: 0,
        };
        if let (Resume::Fresh(_), Some(Keep { disk, folder })) = (&opening.from, &opening.keep) {
            note::discard(&**disk, &folder.join(KNOWN)).map_err(Error::fatal)?;
        }
        Ok(Box::new(Outbox::open(opening, BATCH, delivery)?))
    }

    fn delivery_capability(&self, _: &dyn Disk) -> DeliveryCapability {
        DeliveryCapability::Transactional
    }

    /// Servers may change: the note says which stream it is of.
    fn facets(&self, _: &Path) -> Option<Facets> {
        Some(facets([
            ("kind", json!("nats")),
            ("stream", json!(self.stream)),
            ("subject", json!(self.subject)),
        ]))
    }
}

/// What the note says.
#[derive(Serialize, Deserialize)]
struct Noted {
    /// Whose messages it is about.
    identity: String,
    known: Known,
}

/// Publishes batches.
struct Delivery {
    spec: NatsSinkSpec,
    party: Party,
    keep: Option<Keep>,
    /// There once the first batch tells whose messages they are.
    publisher: Option<(String, Publisher)>,
    /// Batches since the note was written.
    unnoted: u32,
}

impl Delivery {
    async fn publish(&mut self, batch: Outgone) -> Result<(), Undelivered> {
        let Outgone {
            identity,
            first,
            messages,
        } = batch;
        if self.publisher.is_none() {
            let known = self.known(&identity)?;
            let is_known = known.is_some();
            let mut publisher = Publisher::new(
                self.spec.servers.clone(),
                self.spec.stream.clone(),
                self.spec.subject.clone(),
                identity.clone(),
                self.party.clone(),
                known.unwrap_or_else(|| Known::before(first)),
            );
            if !is_known {
                // Where a later process looks is durable before there is anything to be found.
                let known = publisher.publish(first, &[]).await.map_err(|problem| never(&problem))?;
                self.note(&identity, &known)?;
            }
            self.publisher = Some((identity, publisher));
        }
        let (identity, publisher) = self.publisher.as_mut().expect("it was made");
        let known = publisher.publish(first, &messages).await;
        let (identity, known) = (identity.clone(), known.map_err(|problem| never(&problem))?);
        self.unnoted += 1;
        if self.unnoted >= NOTED_EVERY {
            self.note(&identity, &known)?;
        }
        Ok(())
    }

    /// What is noted of the messages of `identity`.
    fn known(&self, identity: &str) -> Result<Option<Known>, Undelivered> {
        let Some(Keep { disk, folder }) = &self.keep else {
            return Ok(None);
        };
        let noted: Option<Noted> = note::read(&**disk, &folder.join(KNOWN)).map_err(|error| never(&error))?;
        Ok(noted
            .filter(|noted| noted.identity == identity)
            .map(|noted| noted.known))
    }

    fn note(&mut self, identity: &str, known: &Known) -> Result<(), Undelivered> {
        self.unnoted = 0;
        let Some(Keep { disk, folder }) = &self.keep else {
            return Ok(());
        };
        let noted = Noted {
            identity: identity.to_owned(),
            known: known.clone(),
        };
        note::write(&**disk, folder, KNOWN, &noted).map_err(|error| never(&error))
    }
}

fn never(problem: &dyn std::error::Error) -> Undelivered {
    Undelivered::Never {
        reason: problem.to_string(),
    }
}

/// The messages of a batch.
struct Outgone {
    identity: String,
    /// The number of the first one.
    first: u64,
    messages: Vec<Outgoing>,
}

impl Deliver for Delivery {
    fn deliver(&mut self, batch: &Batch) -> impl Future<Output = Result<(), Undelivered>> + Send {
        let identity = batch
            .key()
            .rsplit_once('/')
            .map_or(batch.key(), |(identity, _)| identity);
        let subject = Subject::from(self.spec.subject.as_str());
        let messages = batch.shared_records().map(|payload| Outgoing {
            subject: subject.clone(),
            payload,
        });
        let outgone = Outgone {
            identity: identity.to_owned(),
            first: batch.records_before() + 1,
            messages: messages.collect(),
        };
        Box::pin(self.publish(outgone))
    }
}
