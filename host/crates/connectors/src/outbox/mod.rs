//! What a sink that sends has yet to bring to its receiver.
//!
//! A receiver takes nothing back, so nothing may be sent before it is committed, and what is committed must not be lost on its way.
//! The outbox is a [`Sink`] that keeps records on disk until a [`Deliver`] has brought them to their receiver. It groups them into
//! numbered batches whose bounds are fixed once: a batch that is sent again has the same number and the same bytes, so that a receiver
//! can recognise it. Owns the batches, how far they are committed and delivered, the thread that delivers them, and when a delivery is
//! tried again. Does not know what a receiver is, or what records mean.

mod backoff;
#[cfg(test)]
mod crashes;
mod delivered;
mod delivery;
mod error;
mod frame;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use dirigo_connect::sink::{self, Backlog, DeliveryCapability, Events, Keep, Offset, Opening, Prepared, Resume, Sink};
use dirigo_disk::{Disk, PathKind, Real};
use dirigo_journal::Journal;
use serde::{Deserialize, Serialize};

use self::delivered::Delivered;
pub use self::delivery::{Deliver, Undelivered};
use self::delivery::{Delivery, Thread, Unstarted};
use self::error::Error;
pub use self::frame::Batch;
use self::frame::OpenBatch;

/// What may wait for the receiver, in bytes, before what comes next waits in front of the sink: as much as a source that others push to
/// keeps by default. What is not committed yet does not count: the end of its epoch may lie behind what would have to wait.
pub const BACKLOG_BYTES: u64 = 256 << 20;

/// What is promised of a sink with an outbox.
pub const DELIVERY_CAPABILITY: DeliveryCapability = DeliveryCapability::SendsAgain {
    why: "a batch whose acknowledgement was lost is sent again under the same number",
};

/// How a sink uses its outbox.
#[derive(Clone, Debug)]
pub struct Options {
    /// Records of a batch at most.
    pub batch_records: usize,
    /// Bytes of a batch at most; a record that alone has more is a batch of its own.
    pub batch_bytes: usize,
    /// For how long a batch is tried again; `None` for ever.
    pub retry_for: Option<Duration>,
    /// See [`BACKLOG_BYTES`].
    pub backlog_bytes: u64,
    /// What the sink promises: [`DELIVERY_CAPABILITY`] where the receiver cannot recognise a batch that is sent again.
    pub delivery_capability: DeliveryCapability,
}

/// How far a stream of batches reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Reach {
    /// How many batches it has.
    batches: u64,
    /// How many records they have.
    records: u64,
    /// How many bytes they take in the journal.
    bytes: u64,
}

/// Where an outbox stands, as the state knows it.
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    /// What tells its batches from those of other states of the same pipeline.
    lineage: String,
    #[serde(flatten)]
    reach: Reach,
}

/// Starts the thread that delivers, with the waker of the sink's writer.
type Start = Box<dyn FnOnce(Waker) -> Result<Thread, Error> + Send>;

/// A sink that keeps what it is given until it is delivered.
pub struct Outbox {
    journal: Arc<Journal>,
    lineage: Arc<str>,
    options: Options,
    /// The batch that is being filled.
    open: OpenBatch,
    /// Up to where batches were appended.
    written: Reach,
    /// Where the epoch ends that was prepared last.
    prepared: Reach,
    delivery: Arc<Delivery>,
    /// Starts the thread that delivers.
    start: Option<Start>,
    thread: Option<Thread>,
    /// The folder of an outbox that ends with the run.
    temporary: Option<tempfile::TempDir>,
    id: String,
}

impl Outbox {
    /// The outbox of a sink: where the state knows it, what is committed and not delivered goes to `receiver` once the sink is started,
    /// and what was never committed is gone.
    ///
    /// # Errors
    /// When the disk fails, or something is damaged or missing that was committed.
    pub fn open<D: Deliver>(opening: Opening<'_>, options: Options, receiver: D) -> Result<Self, sink::Error> {
        let (mut outbox, unstarted) = Self::parts(opening, options)?;
        outbox.start = Some(Box::new(move |waker| unstarted.start(receiver, waker)));
        Ok(outbox)
    }

    /// The outbox, and what is to deliver its batches.
    fn parts(opening: Opening<'_>, options: Options) -> Result<(Self, Unstarted), Error> {
        let Opening {
            id,
            pipeline,
            from,
            clock,
            keep,
            ..
        } = opening;
        let mut temporary = None;
        let (disk, folder) = if let Some(Keep { disk, folder }) = keep {
            (disk, folder)
        } else {
            let folder = temporary.insert(tempfile::tempdir().map_err(Error::Folder)?);
            (Arc::new(Real) as Arc<dyn Disk>, folder.path().to_owned())
        };
        let place = match from {
            Resume::Fresh(_) => {
                discard(&*disk, &folder)?;
                Place {
                    lineage: lineage(),
                    reach: Reach::default(),
                }
            }
            Resume::At(offset) => serde_json::from_value(offset.clone()).map_err(Error::Offset)?,
        };
        let journal = Arc::new(Journal::open(disk.clone(), &folder, clock.wall_ms())?);
        journal.truncate(place.reach.bytes)?;
        let lineage: Arc<str> = place.lineage.into();
        let delivered = Delivered::open(&*disk, &folder, &lineage)?;
        let reach = first_undelivered(&journal, delivered.reach(), place.reach)?;
        let delivery = Arc::new(Delivery::new(place.reach, reach));
        let unstarted = Unstarted {
            id: id.to_owned(),
            name: format!("{pipeline}/{id}/{lineage}"),
            batches: frame::Reader::new(journal.clone(), reach.bytes)?,
            delivery: delivery.clone(),
            journal: journal.clone(),
            delivered,
            retry_for: options.retry_for,
            is_kept: temporary.is_none(),
            clock: clock.clone(),
        };
        let outbox = Self {
            journal,
            lineage,
            options,
            open: OpenBatch::default(),
            written: place.reach,
            prepared: place.reach,
            delivery,
            start: None,
            thread: None,
            temporary,
            id: id.to_owned(),
        };
        Ok((outbox, unstarted))
    }

    /// Appends a record.
    ///
    /// # Errors
    /// When the disk fails, or a batch could not be delivered.
    pub fn push(&mut self, record: &[u8]) -> Result<(), sink::Error> {
        let has_room = self.open.bytes() + record.len() <= self.options.batch_bytes;
        if !has_room && !self.open.is_empty() {
            self.seal()?;
        }
        self.open.push(record);
        if self.open.len() >= self.options.batch_records {
            self.seal()?;
        }
        Ok(())
    }

    /// Ends the batch that is being filled: from here on its bounds are fixed.
    fn seal(&mut self) -> Result<(), Error> {
        if self.open.is_empty() {
            return Ok(());
        }
        let records = self.open.len() as u64;
        let frame = self.open.seal(self.written);
        let bytes = frame.len() as u64;
        self.journal.write(frame, None)?;
        self.open.clear();
        self.written = Reach {
            batches: self.written.batches + 1,
            records: self.written.records + records,
            bytes: self.written.bytes + bytes,
        };
        if self.temporary.is_some() {
            // Nothing is taken back that no later run would make again.
            self.journal.sync(self.written.bytes)?;
            self.delivery.release(self.written);
        }
        Ok(())
    }
}

/// What tells the batches of one state of a pipeline from those of another.
fn lineage() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

/// Removes what is in the folder of an outbox.
fn discard(disk: &dyn Disk, folder: &Path) -> Result<(), Error> {
    if disk.look(folder).map_err(Error::Folder)? == PathKind::Folder {
        Delivered::discard(disk, folder)?;
        Journal::discard(disk, folder)?;
    }
    Ok(())
}

/// From where on batches are to be delivered, of those up to `committed`, where it is known that those up to `delivered` were.
fn first_undelivered(journal: &Arc<Journal>, delivered: Reach, committed: Reach) -> Result<Reach, Error> {
    if delivered.bytes > committed.bytes {
        return Err(Error::Older {
            delivered: delivered.batches,
            committed: committed.batches,
        });
    }
    let start = journal.start();
    if delivered.bytes >= start {
        return Ok(delivered);
    }
    // What was removed was delivered, though a crash took the note of it.
    if start == committed.bytes {
        return Ok(committed);
    }
    let batch = frame::Reader::new(journal.clone(), start)?.next()?;
    Ok(batch.before())
}

impl Sink for Outbox {
    fn write(&mut self, events: Events<'_>) -> Result<(), sink::Error> {
        self.delivery.expect_none_failed()?;
        events.values.iter().try_for_each(|value| self.push(value))
    }

    fn flush(&mut self) -> Result<(), sink::Error> {
        self.delivery.expect_none_failed()?;
        // Without state no epoch ends before the run does. While the receiver has something to do, batches grow.
        if self.temporary.is_some() && self.delivery.backlog() == Reach::default() {
            self.seal()?;
        }
        Ok(())
    }

    fn prepare(&mut self) -> Result<Prepared, sink::Error> {
        self.delivery.expect_none_failed()?;
        self.seal()?;
        self.prepared = self.written;
        let place = Place {
            lineage: self.lineage.to_string(),
            reach: self.prepared,
        };
        let offset: Offset = serde_json::to_value(place).expect("a place has no maps, whose keys could fail");
        let (journal, end) = (self.journal.clone(), self.prepared.bytes);
        Ok(Prepared {
            offset: Some(offset),
            sync: Some(Box::new(move || Ok(journal.sync(end).map_err(Error::from)?))),
        })
    }

    fn publish(&mut self) -> Result<(), sink::Error> {
        self.delivery.release(self.prepared);
        self.delivery.expect_none_failed()
    }

    fn start(&mut self, waker: Waker) -> Result<(), sink::Error> {
        if let Some(start) = self.start.take() {
            self.thread = Some(start(waker)?);
        }
        Ok(())
    }

    fn backlog(&self) -> Backlog {
        let backlog = self.delivery.backlog();
        Backlog {
            events: backlog.records,
            is_full: backlog.bytes >= self.options.backlog_bytes,
        }
    }

    fn delivery_capability(&self) -> DeliveryCapability {
        self.options.delivery_capability
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        // It no longer delivers once this returns.
        let Some(thread) = self.thread.take() else { return };
        drop(thread);
        let waiting = self.delivery.backlog().records;
        if waiting == 0 {
            return;
        }
        let id = &self.id;
        if self.temporary.is_some() {
            tracing::warn!(
                sink = id,
                "{waiting} events were not delivered, and are lost: the run keeps no state"
            );
        } else {
            tracing::warn!(
                sink = id,
                "{waiting} events wait in the outbox: the next run with this state delivers them"
            );
        }
    }
}
