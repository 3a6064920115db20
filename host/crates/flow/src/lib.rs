//! How batches get from one place to the next, and how the host keeps count of them.

mod attempts;
mod barrier;
mod dead_letter;
mod dead_letters;
mod edge;
mod epochs;
mod event_sink;
mod failure_latch;
mod gate;
mod id_ranges;
mod lazy_sink;
mod reorder_buffer;
mod saved_batch;
mod sink_task;
mod source_task;
mod tap;

use std::task::Waker;

pub use attempts::Attempts;
pub use barrier::{Barrier, BarrierGuard, RaisedBarrier};
pub use dead_letter::{DeadLetter, FailedEvent, FailedTimer, FailedTimers, FailedWindow, OperatorSetup};
pub use dead_letters::{DeadLetterEncoder, DeadLetterOffset, DeadLetters, FirstDeadLetter, MarkedDeadLetters, NextId};
pub use edge::{Edge, Message, Receiver};
pub use epochs::{Epochs, Paused};
pub use event_sink::{EventEncoder, EventSink, EventSinkParts, MarkedEvents, SinkInput, UnstartedSink};
pub use failure_latch::{Failure, FailureLatch};
pub use gate::Gate;
pub use id_ranges::IdRanges;
pub use saved_batch::{Content, SavedBatch};
pub use sink_task::{Arrivals, Cause, Encoded, Encoder, Marked, SinkTask};
pub use source_task::{
    EventTimeOptions, Leap, Projection, ReadStep, SourceHandle, SourceTask, SourceTaskParts, SourceThread,
};

pub use tap::{Sample, Tap, TapReader};

/// Lets all who waited for something go on.
pub fn wake_all(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}
