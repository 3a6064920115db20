//! How batches get from one place to the next, and how the host keeps count of them.

mod barrier;
mod dead_letter;
mod edge;
mod epochs;
mod gate;
mod halt;
mod inlet;
mod lazy_sink;
mod letters;
mod ordered;
mod outlet;
mod saved;
mod sink_task;

use std::task::Waker;

pub use barrier::{Barrier, Inside, Raised};
pub use dead_letter::{DeadLetter, Event, Setup as LetterSetup};
pub use edge::{Edge, Message, Receiver};
pub use epochs::{Epochs, Paused};
pub use gate::Gate;
pub use halt::{Failure, Halt};
pub use inlet::{Inlet, Parts as InletParts, Reader, Reading, Step as ReadingStep};
pub use letters::{FirstLetter, LetterEncoder, Letters, LettersBookmark, MarkedLetters, NextId};
pub use outlet::{EventEncoder, Input as OutletInput, MarkedEvents, Outlet, Parts as OutletParts, Unstarted};
pub use saved::Saved;
pub use sink_task::{Arrivals, Cause, Encoded, Encoder, Marked, SinkTask};

/// Lets all who waited for something go on.
pub fn wake_all(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}
