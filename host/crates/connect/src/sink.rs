//! Where events leave.
//!
//! A sink writes events to its medium, in the order in which it is given them. It may block; the runtime gives each one
//! a thread of its own. It knows nothing of operators or of ordering, and of an epoch only that it ends.

use std::any::Any;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::task::Waker;

use dirigo_disk::Disk;
use dirigo_ground::batch::Column;
use dirigo_ground::clock::Clock;

pub use crate::{Error, Keep, Offset};
use crate::{Facets, Files};

/// Events that leave.
#[derive(Clone, Copy, Debug)]
pub struct Events<'a> {
    /// Event times, ms since the epoch; one for each event, as are keys and values.
    pub times: &'a [i64],
    /// Keys, empty where an event has none.
    pub keys: &'a Column,
    /// Payloads.
    pub values: &'a Column,
}

/// How a sink takes up its medium.
#[derive(Clone, Copy, Debug)]
pub enum Resume<'a> {
    /// Anew. What it finds there may go if the pipeline wrote it, or says that it may.
    Fresh(Beginning<'a>),
    /// After what the offset says: what came later was never committed, and goes.
    At(&'a Offset),
}

/// On whose behalf a sink begins, anew or after what it had committed.
#[derive(Clone, Copy, Debug)]
pub struct Beginning<'a> {
    /// The name of the pipeline.
    pub pipeline: &'a str,
    /// Whether the run keeps state. Then the state knows what the sink writes, and only that is the pipeline's; else the sink
    /// leaves a mark on it.
    pub keeps_state: bool,
    /// What the state that the run discards says that the sink had written.
    pub discarded: Option<&'a Offset>,
    /// Whether what the pipeline wrote stays, and is added to, instead of being replaced.
    pub goes_on: bool,
}

/// What a sink is opened with, beyond its options.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// Its id in the pipeline.
    pub id: &'a str,
    /// The name of the pipeline.
    pub pipeline: &'a str,
    /// Whose the pipeline is.
    pub tenant: &'a str,
    /// Where it takes up its medium.
    pub from: Resume<'a>,
    /// The files of the machine, as far as this pipeline may write them.
    pub disk: &'a Arc<dyn Disk>,
    /// The time, by which the sink knows how old something is.
    pub clock: &'a Arc<dyn Clock>,
    /// Where the sink may keep what has yet to reach its medium, next to the state; `None` where the run keeps no state.
    pub keep: Option<Keep>,
}

/// What was committed of a sink's input, and has yet to reach its medium.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many events.
    pub events: u64,
    /// Whether the backlog is at its bound: the sink is to be given nothing more until the receiver has taken some of it.
    pub is_full: bool,
}

/// A writer of events.
pub trait Sink: Send {
    /// Writes events in order. They may be buffered.
    ///
    /// # Errors
    /// When the medium fails.
    fn write(&mut self, events: Events<'_>) -> Result<(), Error>;

    /// Hands buffered events to the medium; called whenever no more are waiting.
    ///
    /// # Errors
    /// When the medium fails.
    fn flush(&mut self) -> Result<(), Error>;

    /// Ends an epoch: the offset covers all that was written so far. Hands it to the medium as a whole, so that it can
    /// be read up to there, but does not wait for the disk: that is left to [`Prepared::sync`].
    ///
    /// # Errors
    /// When the medium fails. After that nothing is known of what was written since the last one.
    fn prepare(&mut self) -> Result<Prepared, Error>;

    /// Shows readers the epoch that the last [`prepare`](Self::prepare) ended, once it is committed, and before the next one
    /// ends.
    ///
    /// # Errors
    /// When the medium fails. A sink that is then opened at the committed offset makes up for it.
    fn publish(&mut self) -> Result<(), Error>;

    /// Begins to deliver what is committed, where the sink does that on a thread of its own. By `waker` it has its writer look at
    /// [`backlog`](Self::backlog) again and [`flush`](Self::flush): as it has delivered something, and where it cannot go on, which the flush
    /// then says.
    ///
    /// # Errors
    /// When it cannot.
    fn start(&mut self, _waker: Waker) -> Result<(), Error> {
        Ok(())
    }

    /// What is committed, and was not delivered yet. Where it is full, what comes next waits in front of the sink; a run that ends in order
    /// waits until there is none.
    fn backlog(&self) -> Backlog {
        Backlog::default()
    }

    /// Says that no more is written in this run, which has not failed: the next [`prepare`](Self::prepare) leaves nothing half done.
    fn end(&mut self) {}

    /// What becomes of what it wrote, where a run ends before its time.
    fn delivery_capability(&self) -> DeliveryCapability;
}

/// An epoch that a sink has ended, on its way to being committed.
#[derive(Default)]
pub struct Prepared {
    /// Where it ends; `None` for a sink that takes nothing back.
    pub offset: Option<Offset>,
    /// Makes all that the offset covers durable. To be waited for before the offset is committed; the sink may be
    /// written to meanwhile.
    pub sync: Option<Box<dyn FnOnce() -> Result<(), Error> + Send>>,
}

impl Prepared {
    /// Waits for the disk, where that is to be waited for; what it leaves can be committed.
    ///
    /// # Errors
    /// When the disk fails. Nothing may be committed then.
    pub fn synced(self) -> Result<Option<Offset>, Error> {
        self.sync.map_or(Ok(()), |sync| sync())?;
        Ok(self.offset)
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Prepared")
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

/// What becomes of what a sink wrote after the last commit, where a run ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryCapability {
    /// It goes, and no reader has seen it.
    Transactional,
    /// It goes, but readers may have seen it.
    TakesBack,
    /// It goes, and no reader has seen it; what was committed is sent to a receiver, and some of that more than once.
    SendsAgain {
        /// Why more than once.
        why: &'static str,
    },
    /// It stays, and comes again.
    AtLeastOnce {
        /// Why it stays: "standard output cannot be truncated".
        why: &'static str,
    },
    /// There is nothing: the sink writes nothing.
    WritesNothing,
}

/// What a pipeline says of one of its sinks, validated: the options of its connector.
pub trait SinkSpec: Any + Debug + Send + Sync {
    /// Opens the sink.
    ///
    /// # Errors
    /// When the medium cannot be opened, or lacks what the offset says it has, or holds what the sink must not touch.
    fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Sink>, Error>;

    /// What it will be able to do, without opening it.
    fn delivery_capability(&self, disk: &dyn Disk) -> DeliveryCapability;

    /// What its offsets depend on, `None` where it gives none; paths as they are [seen from](crate::seen_from) the
    /// pipeline `file`. That `kind` is among them keeps the offsets of one connector from another.
    fn facets(&self, file: &Path) -> Option<Facets>;

    /// The files that it writes.
    fn files(&self) -> Vec<Files> {
        Vec::new()
    }

    /// What opening it anew would do to what is there, found out without touching that: "replaces `out.jsonl` (12 bytes),
    /// which an earlier run made". `None` where there is nothing to be said.
    ///
    /// # Errors
    /// When it cannot be opened, as far as that can be told.
    fn check(&self, _beginning: Beginning<'_>, _disk: &dyn Disk) -> Result<Option<String>, Error> {
        Ok(None)
    }

    /// Whether it could be opened to go on after what the offset says, found out without touching anything. `resuming` says
    /// on whose behalf.
    ///
    /// # Errors
    /// When it could not, as far as that can be told: what was committed is gone, or others have written there since.
    fn check_committed(&self, _offset: &Offset, _resuming: Beginning<'_>, _disk: &dyn Disk) -> Result<(), Error> {
        Ok(())
    }

    /// What there is where it would write, and would be lost if it began anew: "`out.jsonl`, which has 12 bytes".
    fn content(&self, _disk: &dyn Disk) -> Option<String> {
        None
    }
}
