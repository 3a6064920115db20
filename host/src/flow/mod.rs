//! How batches get from one place to the next, and how the host keeps count of them.

mod barrier;
mod gate;
mod halt;
mod inlet;
mod letters;
mod ordered;
mod outlet;
mod progress;
mod saved;
mod signal;
mod waiter;

pub use barrier::{Barrier, Inside, Raised};
pub use gate::Gate;
pub use halt::{Failure, Halt};
pub use inlet::{Inlet, Parts as InletParts, Reader, Reading, Step as ReadingStep};
pub use letters::{
    DeadLetter, Event, FirstLetter, Letters, LettersBookmark, MarkedLetters, Setup as LetterSetup,
    Writing as LettersWriting,
};
pub use outlet::{Marked, Outlet, Parts as OutletParts, Unstarted, Writer, Writing};
pub use progress::{Listener, Progress, ReadBatch, Ticket};
pub use saved::Saved;
pub use signal::Signal;
pub use waiter::{Waiter, wake_all};
