//! `process`: state and timers by key, over events as they come or as event time comes to them.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::{Call, Driver, Emission, Failed, Settled, Tally, mismatched, time_to_come, unread};
use dirigo_engine::{Cause, Component, Trap};
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::{Answer, KeysAfter, NamedOutputs, Outputs, Processed, Rejection, Request, Timers};
use dirigo_ground::items::Items;
use dirigo_ground::lineage::SourceIndex;
use dirigo_pipeline::EventOrder;
use dirigo_state::windows::OpenChange;
use dirigo_state::{Keyed, Step, Table, WaitingEvent, process};

/// The latest time that an output of a timer can have: behind it nothing comes but the end of the input.
const LATEST: i64 = i64::MAX - 2;

/// Drives operators that keep state and timers by key.
pub(crate) struct Process {
    component: Component,
    order: EventOrder,
    /// The name of the operator.
    name: Arc<str>,
    /// How many inputs it has.
    inputs: u32,
    /// Bytes that may be kept of one key.
    state_bytes_max: u64,
    lines: OnceLock<Lines>,
}

/// The lines of an operator.
struct Lines {
    /// Those that come to it.
    inputs: Vec<SourceIndex>,
    /// Its own, of the steps that event time has come to.
    own: SourceIndex,
}

/// The bytes that are kept of some keys.
#[derive(Debug, Default)]
pub(crate) struct CountedKeys {
    /// Without events that are due, where that had to be counted.
    undue: HashMap<Box<[u8]>, u64>,
    /// The most that one of them has, with all.
    pub(crate) most: u64,
}

/// A call under way.
struct Processing {
    plan: process::Plan,
    /// Whether the steps were events that waited, and advances.
    are_due: bool,
    /// The steps that are advances, rising.
    advances: Vec<u32>,
    /// Once there is an answer.
    states: Column,
    timers: Option<Timers>,
    items: Vec<Option<Arc<Items>>>,
}

impl Process {
    pub(super) fn new(
        component: &Component,
        order: EventOrder,
        name: &str,
        inputs: usize,
        state_bytes_max: u64,
    ) -> Self {
        Self {
            component: component.clone(),
            order,
            name: name.into(),
            inputs: u32::try_from(inputs).expect("a pipeline file bounds the number of inputs"),
            state_bytes_max,
            lines: OnceLock::new(),
        }
    }

    /// Whether events wait until event time has come to them.
    pub(crate) fn has_events_wait(&self) -> bool {
        self.order == EventOrder::Time
    }

    /// Whether these are steps that event time has come to, and no events that come to the operator.
    pub(crate) fn are_due(&self, batch: &Batch) -> bool {
        let own = self.lines.get().map(|lines| lines.own);
        own == Some(batch.origin.ticket.source())
    }

    /// The events that event time had passed before they were read, rising: nothing that waits for their time can take them in.
    pub(crate) fn late(&self, batch: &Batch) -> Vec<u32> {
        if !self.has_events_wait() || self.are_due(batch) {
            return Vec::new();
        }
        let behind = batch.origin.behind.events().iter();
        let late = behind.filter(|(event, watermark)| batch.times[*event as usize] < *watermark);
        late.map(|(event, _)| *event).collect()
    }

    /// By which input these events came.
    fn input_of(&self, batch: &Batch) -> u32 {
        batch.origin.path % self.inputs.max(1)
    }

    /// By which input event `index` of a batch came.
    pub(crate) fn input(&self, batch: &Batch, index: usize) -> u32 {
        let waited = self.look_at(batch, index, |step| match step {
            Step::Event(event) => event.input.into(),
            Step::Advance { .. } => 0,
        });
        waited.unwrap_or_else(|| self.input_of(batch))
    }

    /// Has event `index` of a batch wait, of which `source` is the line and `twin` the number among those of its origin. `counted` has the
    /// bytes of keys that were counted for other events of the batch.
    ///
    /// # Errors
    /// When its key would keep more than it may; then why.
    pub(crate) fn put_event(
        &self,
        table: &mut Table,
        batch: &Batch,
        index: usize,
        (source, twin): (&str, u32),
        counted: &mut CountedKeys,
    ) -> Result<OpenChange, String> {
        let (key, time) = (batch.keys.get(index), batch.times[index]);
        let value = batch.values.get(index);
        let event = WaitingEvent {
            input: u16::try_from(self.input_of(batch)).unwrap_or(u16::MAX),
            source,
            position: batch.positions[index],
            path: batch.origin.path,
            twin,
            value: &value,
        };
        let known = table.bytes_of(key) as u64;
        counted.most = counted.most.max(known);
        if known + value.len() as u64 > self.state_bytes_max {
            let count = || self.undue_bytes(table, key, batch);
            let kept = counted.undue.entry(key.into()).or_insert_with(count);
            let bytes = *kept + value.len() as u64;
            if bytes <= self.state_bytes_max {
                *kept = bytes;
            } else {
                let allowed = self.state_bytes_max;
                return Err(format!(
                    "the events of its key that wait for event time would take {bytes} bytes with its state, and its `state` limit allows \
                     {allowed}"
                ));
            }
        }
        Ok(table.put_event(key, time, event, self.component.state_version()))
    }

    /// The bytes that are kept of a key, but for events that are due once all is done with that was read: closing may lag behind.
    fn undue_bytes(&self, table: &Table, key: &[u8], batch: &Batch) -> u64 {
        let Some(entry) = table.get(key) else { return 0 };
        let inputs = self.lines.get().map_or(&[][..], |lines| &lines.inputs);
        let to_come = time_to_come(inputs, batch);
        (table.bytes_of(key) - Keyed::of(entry).events().due_bytes(to_come)) as u64
    }

    /// Drops the timers that were to fire at an advance which failed: it is the only one of `batch`.
    pub(crate) fn forget_failed(&self, table: &mut Table, batch: &Batch) -> OpenChange {
        let until = self.advance_at(batch, 0);
        until.map_or_else(OpenChange::default, |until| table.drop_timers(batch.keys.get(0), until))
    }

    /// Up to when timers fire at a step that event time has come to, if it is an advance.
    pub(crate) fn advance_at(&self, batch: &Batch, index: usize) -> Option<i64> {
        self.look_at(batch, index, |step| match step {
            Step::Advance { until } => Some(until),
            Step::Event(_) => None,
        })
        .flatten()
    }

    /// What `look` makes of a step that event time has come to. `None` where `batch` has events that come to the operator.
    pub(crate) fn look_at<T>(&self, batch: &Batch, index: usize, look: impl FnOnce(Step<'_>) -> T) -> Option<T> {
        if !self.are_due(batch) {
            return None;
        }
        let record = batch.values.get(index);
        Step::decode(&record).map(look)
    }
}

impl Driver for Process {
    fn begin(&self, table: &mut Table, turn: u32, batch: &Batch) -> (Request, Box<dyn Call>) {
        let version = self.component.state_version();
        let are_due = self.are_due(batch);
        let (request, plan) = if are_due {
            process::assign_steps(table, batch, &self.name, turn, version)
        } else {
            process::assign_events(table, batch, self.input_of(batch), turn, version)
        };
        let advances = request.advances.as_ref().map_or(&[][..], |advances| &advances.places);
        let call = Processing {
            plan,
            are_due,
            advances: (0..).zip(advances).map(|(before, place)| before + place).collect(),
            states: Column::default(),
            timers: None,
            items: Vec::new(),
        };
        (Request::Process(request), Box::new(call))
    }

    fn set_lines(&self, inputs: &[SourceIndex], own: SourceIndex) {
        self.lines.get_or_init(|| Lines {
            inputs: inputs.to_vec(),
            own,
        });
    }

    fn process(&self) -> Option<&Process> {
        Some(self)
    }
}

impl Processing {
    /// Gives outputs of events the times of their events. Those of advances have those of their timers.
    fn set_times(&self, outputs: &mut Outputs, batch: &Batch) {
        let Some(times) = &mut outputs.times else { return };
        if self.advances.is_empty() {
            outputs.times = None;
            return;
        }
        for (time, origin) in times.iter_mut().zip(&outputs.origins) {
            *time = if self.advances.binary_search(origin).is_ok() {
                (*time).min(LATEST)
            } else {
                batch.times[*origin as usize]
            };
        }
    }
}

/// Takes out which steps have outputs that cannot be written, by rising number, each once.
fn take_failures(outputs: &mut Outputs, named: &mut [NamedOutputs]) -> Vec<Rejection> {
    let mut failures = std::mem::take(&mut outputs.failures);
    for named in named {
        failures.append(&mut named.outputs.failures);
    }
    failures.sort_by_key(|failure| failure.index);
    failures.dedup_by_key(|failure| failure.index);
    failures
}

impl Call for Processing {
    fn settle(&mut self, answer: Answer, batch: &Batch) -> Result<Settled, Trap> {
        let processed = match answer {
            Answer::Processed(processed) => processed,
            Answer::Unread(failures) => return Ok(unread(failures)),
            _ => return Err(mismatched()),
        };
        let failed = |kind, failures| Ok(Settled::Failed(Failed { kind, failures }));
        let after = match processed {
            Processed::Done(after) => after,
            Processed::Rejected(failures) => return failed("rejected", failures),
            Processed::Unmigrated(failures) => return failed("migrate", failures),
        };
        let KeysAfter {
            states,
            timers,
            items,
            mut outputs,
            mut named,
        } = *after;
        let failures = take_failures(&mut outputs, &mut named);
        if !failures.is_empty() {
            return failed("rejected", failures);
        }
        if let Some(key) = self.plan.unfired(timers.as_ref()) {
            return Err(Trap {
                cause: Cause::Malformed,
                reason: format!("`timers` of key {key} has one that was to fire"),
                backtrace: None,
                event: None,
            });
        }
        self.set_times(&mut outputs, batch);
        for named in &mut named {
            self.set_times(&mut named.outputs, batch);
        }
        (self.states, self.timers, self.items) = (states, timers, items);
        let outputs = if named.is_empty() {
            Emission::derived(outputs)
        } else {
            Emission::UnderNames { own: outputs, named }
        };
        let passed = outputs.events();
        let tally = if self.are_due {
            // They were counted when they came to wait.
            Tally::default()
        } else {
            Tally {
                passed,
                filtered: 0,
                absorbed: batch.len() - passed,
            }
        };
        Ok(Settled::Done {
            tally,
            outputs,
            rejected: Vec::new(),
        })
    }

    fn commit(self: Box<Self>, table: &mut Table) -> OpenChange {
        self.plan.commit(table, &self.states, self.timers.as_ref(), &self.items)
    }

    fn abandon(self: Box<Self>, table: &mut Table) {
        self.plan.abandon(table);
    }
}
