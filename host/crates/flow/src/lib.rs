//! How batches get from one place to the next, and how the host keeps count of them.

mod barrier;
mod edge;
mod epochs;
mod gate;
mod halt;
mod inlet;
mod letters;
mod ordered;
mod outlet;
mod saved;

use std::task::Waker;

pub use barrier::{Barrier, Inside, Raised};
pub use edge::{Edge, Message, Receiver};
pub use epochs::{Epochs, Paused};
pub use gate::Gate;
pub use halt::{Failure, Halt};
pub use inlet::{Inlet, Parts as InletParts, Reader, Reading, Step as ReadingStep};
pub use letters::{
    DeadLetter, Event, FirstLetter, Letters, LettersBookmark, MarkedLetters, Setup as LetterSetup,
    Writing as LettersWriting,
};
pub use outlet::{Marked, Outlet, Parts as OutletParts, Unstarted, Writer, Writing};
pub use saved::Saved;

/// Lets all who waited for something go on.
pub fn wake_all(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}
