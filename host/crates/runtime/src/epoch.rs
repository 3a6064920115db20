//! What the coordinator of a pipeline's epochs and its parts say to each other.
//!
//! Commands and reports are plain data and hold no handle of anything, so a part may be in another process. A part that fails
//! reports nothing: its end of the channel goes. In which order they are said is the coordinator's affair
//! ([`checkpoint`](super::checkpoint)).

use dirigo_connect::{sink, source};
use dirigo_flow::DeadLetterOffset;
use dirigo_ground::lineage::Epoch;
use dirigo_state::{InFlight, Record};

/// What parts are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EpochCommand {
    /// Ends this epoch between two effects. Each part reports what there is of it then, and waits for no other.
    Cut(Epoch),
    /// This epoch is durable: readers may see it.
    Publish(Epoch),
}

/// A part of a pipeline, by its name there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Source(String),
    Operator(String),
    /// What closes windows at the end of the input.
    Closing,
    Sink(String),
    DeadLetters,
}

/// What a part reports at the end of an epoch. What the part keeps itself is durable by then.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EpochReport {
    pub(super) epoch: Epoch,
    pub(super) prepared: Prepared,
}

/// What the store is to keep of a part.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Prepared {
    Source {
        id: String,
        /// Where to read on; `None` where that is not possible.
        offset: Option<source::Offset>,
        /// The position that comes next at least.
        next_position: u64,
        /// How far event time has come in what was read, where that matters.
        watermark: Option<i64>,
    },
    Operator {
        id: String,
        /// How many windows it has open, and how many events are in them.
        open_windows: (u64, u64),
        /// The position of the next of what event time has the operator do, where it is timed.
        next_position: Option<u64>,
        /// The entries that changed since the epoch before.
        records: Vec<Record>,
        /// What waits in it, in the order in which it goes back.
        in_flight: Vec<InFlight>,
    },
    Closing {
        /// How many windows it has closed.
        closed_windows: u64,
    },
    Sink {
        id: String,
        /// Where to write on; `None` for a sink that takes nothing back.
        offset: Option<sink::Offset>,
        /// What it holds back to restore the order of the sources.
        in_flight: Vec<InFlight>,
    },
    DeadLetters(DeadLetterOffset),
}

impl Prepared {
    /// Which part it is of.
    pub(super) fn part(&self) -> Part {
        match self {
            Prepared::Source { id, .. } => Part::Source(id.clone()),
            Prepared::Operator { id, .. } => Part::Operator(id.clone()),
            Prepared::Closing { .. } => Part::Closing,
            Prepared::Sink { id, .. } => Part::Sink(id.clone()),
            Prepared::DeadLetters(_) => Part::DeadLetters,
        }
    }
}
