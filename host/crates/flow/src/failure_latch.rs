//! The failure latch of a pipeline: what ends it before its time.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};

use dirigo_ground::sync::Mutex;
use dirigo_pipeline::DeadLettersMax;

/// What ended a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A source can't go on.
    #[error("source `{id}`: {reason}")]
    Source {
        /// Which.
        id: String,
        /// Why.
        reason: String,
    },
    /// An operator can't go on, or was told to stop at an error.
    #[error("operator `{id}`: {reason}")]
    Operator {
        /// Which.
        id: String,
        /// Why.
        reason: String,
    },
    /// A sink can't go on.
    #[error("sink `{id}`: {reason}")]
    Sink {
        /// Which.
        id: String,
        /// Why.
        reason: String,
    },
    /// Dead letters can't be written: going on would lose them.
    #[error("dead letters: {reason}")]
    DeadLetters {
        /// Why.
        reason: String,
    },
    /// State can't be kept.
    #[error("state: {reason}")]
    State {
        /// Why.
        reason: String,
    },
    /// Somebody ended it; nobody is at fault.
    #[error("it was stopped")]
    Killed,
    /// The reader of the output is gone; nobody is at fault.
    #[error("the reader of sink `{id}` is gone")]
    Closed {
        /// Which sink.
        id: String,
    },
}

impl Failure {
    /// More events failed than the pipeline allows.
    #[must_use]
    pub fn too_many_dead_letters(dead_letters: u64, events: u64, max: DeadLettersMax) -> Self {
        Self::DeadLetters {
            reason: format!("{dead_letters} of {events} events failed, more than `max = {max}` allows"),
        }
    }
}

/// The reason of a failure that was a panic, from what was said in it.
pub(super) fn panicked(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let said = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", said.unwrap_or("no message"))
}

/// The first failure sets it, and everything that belongs to the pipeline stops.
#[derive(Debug, Default)]
pub struct FailureLatch {
    has_failed: AtomicBool,
    failure: Mutex<Option<Failure>>,
    notify: tokio::sync::Notify,
}

impl FailureLatch {
    /// Sets the latch, unless an earlier failure did.
    pub fn fail(&self, failure: Failure) {
        self.failure.lock().get_or_insert(failure);
        self.has_failed.store(true, Ordering::SeqCst);
        self.notify.notify_one();
    }

    /// Whether it is set.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// The first failure.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.failure.lock().clone()
    }

    /// Waits until it is set.
    pub async fn failed(&self) {
        self.notify.notified().await;
    }
}
