//! What lies between two cuts.

use super::{Barrier, RaisedBarrier};
use dirigo_ground::lineage::Epoch;
use dirigo_ground::sync::atomic::{AtomicU32, Ordering};

/// The epochs of a running pipeline, and the barriers by which one ends.
#[derive(Debug)]
pub struct Epochs {
    /// Sources, which read and hand on.
    sources: Barrier,
    /// Workers, which begin a turn, take the effects of one, or give up the state of an actor.
    turns: Barrier,
    current: AtomicU32,
    committed: AtomicU32,
}

impl Default for Epochs {
    fn default() -> Self {
        Self {
            sources: Barrier::default(),
            turns: Barrier::default(),
            current: AtomicU32::new(1),
            committed: AtomicU32::new(0),
        }
    }
}

impl Epochs {
    /// The one that effects belong to now, counted from 1 in each run.
    #[must_use]
    pub fn current(&self) -> Epoch {
        self.current.load(Ordering::SeqCst)
    }

    /// The last one that is durable; 0 before the first.
    #[must_use]
    pub fn committed(&self) -> Epoch {
        self.committed.load(Ordering::SeqCst)
    }

    /// Pauses the pipeline between two effects, sources first: one that waits for its medium must not hold the workers up.
    #[must_use]
    pub fn pause(&self) -> Paused<'_> {
        let sources = self.sources.raise();
        Paused {
            epochs: self,
            _sources: sources,
            _turns: self.turns.raise(),
        }
    }

    /// Notes that everything up to `epoch` is durable.
    pub fn commit(&self, epoch: Epoch) {
        self.committed.store(epoch, Ordering::SeqCst);
    }

    /// The barrier in front of what sources read.
    #[must_use]
    pub fn sources(&self) -> &Barrier {
        &self.sources
    }

    /// The barrier in front of what turns amount to.
    #[must_use]
    pub fn turns(&self) -> &Barrier {
        &self.turns
    }
}

/// A pipeline between two effects; it goes on when this is dropped.
#[derive(Debug)]
pub struct Paused<'a> {
    epochs: &'a Epochs,
    _sources: RaisedBarrier<'a>,
    _turns: RaisedBarrier<'a>,
}

impl Paused<'_> {
    /// Whether an effect ended in the middle, by a fault of the host.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.epochs.sources.is_broken() || self.epochs.turns.is_broken()
    }

    /// Ends the epoch: what follows belongs to the next. Gives the one that ended.
    #[must_use]
    pub fn cut(&self) -> Epoch {
        self.epochs.current.fetch_add(1, Ordering::SeqCst)
    }
}
