//! What the host asks of a guest, and what a guest answers: the contract of `wit/` in the host's own types.
//!
//! State makes requests and takes answers, the engine carries them into a guest and back. Past the engine an answer is well
//! formed. Knows nothing of instances, fuel or turns.

use std::sync::Arc;

use crate::batch::{Batch, Column};
use crate::fields::Fields;
use crate::values::Values;

/// What one turn asks of a guest.
#[derive(Clone, Debug)]
pub enum Request {
    /// `map` or `filter` over a batch.
    Batch(Batch),
    /// `reduce.accumulate`.
    Fold(Fold),
    /// `reduce.finish`.
    Finish(Finish),
}

impl Request {
    /// The events that it is about.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        match self {
            Self::Batch(batch) => batch,
            Self::Fold(fold) => &fold.batch,
            Self::Finish(finish) => &finish.batch,
        }
    }

    /// The same, with what more is known of its events.
    #[must_use]
    pub fn with_batch(&self, batch: Batch) -> Self {
        match self {
            Self::Batch(_) => Self::Batch(batch),
            Self::Fold(fold) => Self::Fold(Fold { batch, ..fold.clone() }),
            Self::Finish(finish) => Self::Finish(Finish {
                batch,
                ..finish.clone()
            }),
        }
    }

    /// How many items the guest works on: events, or windows, or what is merged for them where that is more.
    #[must_use]
    pub fn items(&self) -> usize {
        let merged = match self {
            Self::Batch(_) => 0,
            Self::Fold(fold) => fold.merged.as_ref().map_or(0, |_| fold.accumulators.len()),
            Self::Finish(finish) => finish.merged.as_ref().map_or(0, |_| finish.accumulators.len()),
        };
        self.batch().len().max(merged)
    }

    /// The bytes of what is handed over.
    #[must_use]
    pub fn size(&self) -> usize {
        /// Of an item that a column holds, and of a window with its times and its count.
        const END_BYTES: usize = size_of::<u32>();
        const WINDOW_BYTES: usize = 3 * size_of::<u64>() + size_of::<u32>() + END_BYTES;
        let of_column = |column: &Column| column.bytes().len() + column.len() * END_BYTES;
        let of_windows = |windows: &Windows| windows.keys.bytes().len() + windows.len() * WINDOW_BYTES;
        match self {
            Self::Batch(batch) => batch.size(),
            Self::Fold(fold) => {
                let closing = fold.closing.as_deref().map_or(0, of_windows);
                fold.batch.size() + of_column(&fold.accumulators) + closing
            }
            Self::Finish(finish) => of_column(&finish.accumulators) + of_windows(&finish.windows),
        }
    }
}

/// The arguments of `reduce.accumulate`.
#[derive(Clone, Debug)]
pub struct Fold {
    /// The events.
    pub batch: Batch,
    /// The group of each.
    pub groups: Arc<Vec<u32>>,
    /// What each group starts from.
    pub accumulators: Arc<Column>,
    /// How many accumulators each group has, where some have several: they lie one after the other, and are merged first.
    pub merged: Option<Arc<Vec<u32>>>,
    /// The windows of the first groups, which close.
    pub closing: Option<Arc<Windows>>,
    /// The accumulators that are not of the component's state version, by their places; most folds have none.
    pub stale: Vec<StaleGroups>,
}

/// The arguments of `reduce.finish`.
#[derive(Clone, Debug)]
pub struct Finish {
    /// For each window what its outputs inherit, and what a dead letter says of it; the guest is not handed it.
    pub batch: Batch,
    /// The windows.
    pub windows: Arc<Windows>,
    /// The accumulator of each.
    pub accumulators: Arc<Column>,
    /// How many accumulators each window has, where some have several: they lie one after the other, and are merged first.
    pub merged: Option<Arc<Vec<u32>>>,
    /// The accumulators that are not of the component's state version, by their places.
    pub stale: Vec<StaleGroups>,
}

/// Accumulators that another version of the component wrote. Each is of a group that has an event, or of a window to be finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleGroups {
    /// Which version.
    pub version: u32,
    /// Their places among the accumulators: the numbers of the groups, where each has one.
    pub groups: Vec<u32>,
}

/// What a guest answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// From `map`.
    Mapped(Outputs),
    /// From `filter`.
    Filtered(Filtered),
    /// From `reduce.accumulate`.
    Folded(Folded),
    /// From `reduce.finish`.
    Finished(Finished),
    /// The guest was not asked: these events lack what it reads.
    Unread(Vec<Rejection>),
}

/// `reduce.windows`.
#[derive(Clone, Debug, Default)]
#[cfg_attr(
    feature = "component-model",
    derive(wasmtime::component::ComponentType, wasmtime::component::Lower),
    component(record)
)]
pub struct Windows {
    /// The key of each.
    pub keys: Column,
    /// Starts, ms since the epoch.
    pub starts: Vec<i64>,
    /// Ends, ms since the epoch.
    pub ends: Vec<i64>,
    /// How many events each holds.
    pub counts: Vec<u64>,
    /// How often each was finished before.
    pub panes: Vec<u32>,
}

impl Windows {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }
}

/// `reduce.versions`: which state a component reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(
    feature = "component-model",
    derive(wasmtime::component::ComponentType, wasmtime::component::Lift),
    component(record)
)]
pub struct StateVersions {
    /// The version of the accumulators that it returns.
    pub written: u32,
    /// The oldest version that it can migrate.
    pub oldest: u32,
}

impl StateVersions {
    /// Whether it takes accumulators of this version.
    #[must_use]
    pub fn reads(self, version: u32) -> bool {
        (self.oldest..=self.written).contains(&version)
    }
}

/// `types.failure`: what a guest rejects, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Its place among what was handed over.
    pub index: u32,
    /// Why.
    pub message: String,
}

/// `types.outputs`, validated against the number of items that were handed over.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// What each value came from; never descends.
    pub origins: Vec<u32>,
    /// New keys, where the operator gives any.
    pub keys: Option<Column>,
    /// What is known of the fields in the values: first those that were written, in the order of the schema.
    pub fields: Fields,
    /// The values.
    pub values: Values,
    /// Rejected items, by rising index.
    pub failures: Vec<Rejection>,
}

impl Outputs {
    /// Those at these places, in that order. Failures stay.
    #[must_use]
    pub fn gather(&self, places: &[u32]) -> Self {
        Self {
            origins: places.iter().map(|&place| self.origins[place as usize]).collect(),
            keys: self.keys.as_ref().map(|keys| keys.gather(places)),
            fields: self.fields.gather(places),
            values: self.values.gather(places),
            failures: self.failures.clone(),
        }
    }
}

/// `filter.filtered`, validated.
#[derive(Clone, Debug, Default)]
pub struct Filtered {
    /// The events to keep, strictly rising.
    pub kept: Vec<u32>,
    /// Rejected events, by rising index.
    pub failures: Vec<Rejection>,
}

/// `reduce.folded`, validated.
#[derive(Clone, Debug)]
pub enum Folded {
    /// Nothing was rejected.
    Done {
        /// The accumulators of the groups that stay open.
        accumulators: Column,
        /// What the closing windows emit.
        outputs: Outputs,
    },
    /// These events were; nothing else of the call counts.
    Rejected(Vec<Rejection>),
    /// The state that these events touch is of another version, and cannot be brought to the component's.
    Unmigrated(Vec<Rejection>),
}

/// What `reduce.finish` returned, validated.
#[derive(Clone, Debug)]
pub enum Finished {
    /// What the windows emit; an origin is the place of a window.
    Done(Outputs),
    /// These windows are of another version, and cannot be brought to the component's.
    Unmigrated(Vec<Rejection>),
}
