//! What the host asks of a guest, and what a guest answers: the contract of `wit/` in the host's own types.
//!
//! State makes requests and takes answers, the engine carries them into a guest and back. Past the engine an answer is well
//! formed. Knows nothing of instances, fuel or turns.

use std::ops::Range;
use std::sync::Arc;

use crate::batch::{Batch, Column};
use crate::fields::Fields;
use crate::items::Items;
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
    /// `process.process`.
    Process(Process),
}

impl Request {
    /// The events that it is about.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        match self {
            Self::Batch(batch) => batch,
            Self::Fold(fold) => &fold.batch,
            Self::Finish(finish) => &finish.batch,
            Self::Process(process) => &process.steps,
        }
    }

    /// The events that the guest is handed.
    #[must_use]
    pub fn events(&self) -> &Batch {
        match self {
            Self::Process(process) => &process.events,
            Self::Batch(_) | Self::Fold(_) | Self::Finish(_) => self.batch(),
        }
    }

    /// The same, with what more is known of its [events](Self::events).
    #[must_use]
    pub fn with_batch(&self, batch: Batch) -> Self {
        match self {
            Self::Batch(_) => Self::Batch(batch),
            Self::Fold(fold) => Self::Fold(Fold { batch, ..fold.clone() }),
            Self::Finish(finish) => Self::Finish(Finish {
                batch,
                ..finish.clone()
            }),
            Self::Process(process) => Self::Process(Process {
                events: batch,
                ..process.clone()
            }),
        }
    }

    /// How many items the guest works on: events, or windows, or what is merged for them or fires where that is more.
    #[must_use]
    pub fn items(&self) -> usize {
        let merged = match self {
            Self::Batch(_) => 0,
            Self::Fold(fold) => fold.merged.as_ref().map_or(0, |_| fold.accumulators.len()),
            Self::Finish(finish) => finish.merged.as_ref().map_or(0, |_| finish.accumulators.len()),
            Self::Process(process) => process.work,
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
                let early = fold.early.as_deref().map_or(0, |early| of_windows(&early.windows));
                fold.batch.size() + of_column(&fold.accumulators) + closing + early
            }
            Self::Finish(finish) => of_column(&finish.accumulators) + of_windows(&finish.windows),
            Self::Process(process) => {
                let known = &process.known;
                let timers = known.timers.as_deref().map_or(0, Timers::size);
                process.events.size() + of_column(&known.keys) + of_column(&known.states) + timers
            }
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
    /// Windows that have a result and stay open; none of a fold that closes some.
    pub early: Option<Arc<EarlyResults>>,
    /// The accumulators that are not of the component's state version, by their places; most folds have none.
    pub stale: Vec<StaleGroups>,
}

/// Windows that have a result before their end, as they are once a fold is done: in the order of the events that bring it.
#[derive(Clone, Debug, Default)]
pub struct EarlyResults {
    /// The windows.
    pub windows: Arc<Windows>,
    /// The group of each.
    pub groups: Vec<u32>,
    /// The event of the batch that brings each.
    pub events: Vec<u32>,
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
    /// Where some windows have several accumulators, which lie one after the other: how these are merged first. Each round merges neighbours to one,
    /// and says how many for each; the last leaves one for each window.
    pub merged: Option<Arc<Vec<Vec<u32>>>>,
    /// The accumulators that are not of the component's state version, by their places.
    pub stale: Vec<StaleGroups>,
}

/// The arguments of `process.process`.
#[derive(Clone, Debug)]
pub struct Process {
    /// The steps, of what their outputs inherit from them. Those that are advances have no value.
    pub steps: Batch,
    /// Those that are events: the same, where all are.
    pub events: Batch,
    /// The number of the key of each event.
    pub keys: Arc<Vec<u32>>,
    /// By which input each event came, where not all came by the first.
    pub inputs: Option<Arc<Vec<u32>>>,
    /// The steps that are advances.
    pub advances: Option<Arc<Advances>>,
    /// The keys, and what is known of each.
    pub known: Known,
    /// The items of each key, by its number, where it has some.
    pub items: Vec<Option<Arc<Items>>>,
    /// How many steps there are, and timers that fire at them at least.
    pub work: usize,
    /// The states that are not of the component's state version, by the numbers of their keys.
    pub stale: Vec<StaleGroups>,
    /// Where the only step comes from, if it is one that waited for event time.
    pub origin: Option<StepOrigin>,
}

/// Where a step comes from that waited for event time: what random numbers follow from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepOrigin {
    /// The line of an event, or the operator whose timers fire.
    pub source: Arc<str>,
    /// The position of an event there, or up to when timers fire.
    pub position: u64,
    /// Which of the ways from there an event took.
    pub path: u32,
    /// Which one it is of those that were made of the same event.
    pub twin: u32,
}

impl Process {
    /// The number of the step that an event is.
    #[must_use]
    pub fn step_of(&self, event: u32) -> u32 {
        let places = self.advances.as_ref().map_or(&[][..], |advances| &advances.places);
        let before = places.partition_point(|place| *place <= event);
        event + u32::try_from(before).expect("a batch has fewer than 2^32 steps")
    }
}

/// `process.known`.
#[derive(Clone, Debug, Default)]
#[cfg_attr(
    feature = "component-model",
    derive(wasmtime::component::ComponentType, wasmtime::component::Lower),
    component(record)
)]
pub struct Known {
    /// The keys, each once.
    pub keys: Arc<Column>,
    /// Their states.
    pub states: Arc<Column>,
    /// Their timers, if any has some.
    pub timers: Option<Arc<Timers>>,
}

/// `process.timers`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "component-model",
    derive(wasmtime::component::ComponentType, wasmtime::component::Lower),
    component(record)
)]
pub struct Timers {
    /// Where those of each key end.
    pub ends: Vec<u32>,
    /// When each fires, ms since the epoch; those of a key rise.
    pub times: Vec<i64>,
    /// The name of each.
    pub names: Column,
}

impl Timers {
    /// The bytes that they take.
    #[must_use]
    pub fn size(&self) -> usize {
        let lists = size_of_val(&self.ends[..]) + size_of_val(&self.times[..]) + size_of_val(self.names.ends());
        lists + self.names.bytes().len()
    }

    /// Those of a key, by their times: of each when it fires, and its name.
    pub fn of(&self, key: usize) -> impl Iterator<Item = (i64, &[u8])> {
        let start = if key == 0 { 0 } else { self.ends[key - 1] };
        let range = start as usize..self.ends.get(key).map_or(start, |end| *end) as usize;
        range.map(|timer| (self.times[timer], self.names.get(timer)))
    }
}

/// `process.advances`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "component-model",
    derive(wasmtime::component::ComponentType, wasmtime::component::Lower),
    component(record)
)]
pub struct Advances {
    /// How many events come before each.
    pub places: Vec<u32>,
    /// The number of the key of each.
    pub keys: Vec<u32>,
    /// Up to when timers fire, ms since the epoch.
    pub until: Vec<i64>,
}

/// State that another version of the component wrote. Each is of a group that has an event, or of a window to be finished.
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
    /// From `process.process`.
    Processed(Processed),
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
    /// The number of the result, from 0.
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
    /// The time of each, where it is not that of what it came from.
    pub times: Option<Vec<i64>>,
    /// What is known of the fields in the values: first those that were written, in the order of the schema.
    pub fields: Fields,
    /// The values.
    pub values: Values,
    /// Rejected items, by rising index.
    pub failures: Vec<Rejection>,
}

impl Outputs {
    /// Those of `range`. Failures stay.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        Self {
            origins: self.origins[range.clone()].to_vec(),
            keys: self.keys.as_ref().map(|keys| keys.slice(range.clone())),
            times: self.times.as_ref().map(|times| times[range.clone()].to_vec()),
            fields: self.fields.slice(&range),
            values: self.values.slice(&range),
            failures: self.failures.clone(),
        }
    }

    /// Those at these places, in that order. Failures stay.
    #[must_use]
    pub fn gather(&self, places: &[u32]) -> Self {
        Self {
            origins: places.iter().map(|&place| self.origins[place as usize]).collect(),
            keys: self.keys.as_ref().map(|keys| keys.gather(places)),
            times: self
                .times
                .as_ref()
                .map(|times| places.iter().map(|&place| times[place as usize]).collect()),
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
        /// What the closing windows emit, or those that have an early result: an origin is the place of a window.
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

/// What `process.process` returned, validated.
#[derive(Clone, Debug)]
pub enum Processed {
    /// No step was rejected.
    Done(Box<KeysAfter>),
    /// These steps were; nothing else of the call counts.
    Rejected(Vec<Rejection>),
    /// The state that these steps touch is of another version, and cannot be brought to the component's.
    Unmigrated(Vec<Rejection>),
}

/// What a process leaves of the keys that it was handed, and what it puts out.
#[derive(Clone, Debug)]
pub struct KeysAfter {
    /// The state of each key.
    pub states: Column,
    /// The timers of each key, if any has some.
    pub timers: Option<Timers>,
    /// The items of each key, by its number, where some of them changed.
    pub items: Vec<Option<Arc<Items>>>,
    /// What is put out; an origin is a step.
    pub outputs: Outputs,
    /// What is put out under names, by rising number of the output.
    pub named: Vec<NamedOutputs>,
}

/// What a process puts out under a name.
#[derive(Clone, Debug)]
pub struct NamedOutputs {
    /// Which of the named outputs of its schema.
    pub output: usize,
    /// What is put out; an origin is a step.
    pub outputs: Outputs,
}
