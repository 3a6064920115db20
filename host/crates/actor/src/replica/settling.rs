//! What a turn that ended amounts to.
//!
//! Its effects are taken in one step, or it is rolled back: then its events are put back in smaller parts, until the
//! one that fails stands alone and becomes a dead letter.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::chunk::{ChunkPart, OpenChunk};
use super::phase::Ended;
use super::{Replica, Role};
use crate::driver::{Call, Failed};
use crate::effects::{Effects, Emitted};
use crate::mailbox::Tickets;
use crate::operator::{EventFailure, Operator, StateBefore};
use crate::turn::{TurnEnd, TurnOutcome};
use crate::{Actor, counters};
use dirigo_engine::{Cause, Trap, Unopened};
use dirigo_flow::{FailedTimer, FailedTimers, FailedWindow, Failure, wake_all};
use dirigo_ground::batch::Batch;
use dirigo_ground::call::Rejection;
use dirigo_state::{Entry, Keyed, Layout, shown_segments, timed};

/// Traps in a row after which an actor backs off: more than it takes to find one bad event in the largest batch.
const BACKOFF_AFTER: u32 = 16;
/// The first backoff; each further one lasts twice as long.
const BACKOFF_MIN: Duration = Duration::from_millis(1);
/// The longest backoff: an input of which every event traps still gets through, slowly.
const BACKOFF_MAX: Duration = Duration::from_millis(100);
/// Attempts to open an instance before the pipeline is given up: no event is to blame for those.
const OPEN_ATTEMPTS_MAX: u32 = 5;

/// Whether a turn over so many events got less fuel than they need: a batch gets what its events usually take, and to need more is no fault of any of
/// them yet.
fn is_retry(trap: &Trap, events: usize) -> bool {
    trap.cause == Cause::Fuel && events > 1
}

impl Replica {
    /// Takes a turn's effects, or rolls it back. Gives how many events it was over, and for how long to back off before the
    /// next one, if that must be.
    pub(super) fn settle(&mut self, actor: &Arc<Actor>, ended: Ended) -> (usize, Option<Duration>) {
        let part = self.chunk_mut().take_next().expect("a turn is over a part of a chunk");
        (part.batch.len(), self.settle_part(actor, part, ended))
    }

    /// Takes what comes of a turn over no part of a chunk.
    pub(super) fn settle_turn_apart(&mut self, operator: &Operator, ended: Ended) {
        let TurnEnd {
            instance,
            outcome,
            fuel,
            ..
        } = ended.end;
        counters::add(&operator.counters.fuel, fuel);
        counters::add(&operator.counters.worker_ns, ended.used_ns);
        if let Some(slot) = &mut self.slot {
            slot.instance = instance;
        }
        self.settle_check(operator, &outcome);
    }

    fn settle_part(&mut self, actor: &Arc<Actor>, part: ChunkPart, ended: Ended) -> Option<Duration> {
        let operator = &actor.operator;
        let Ended {
            end:
                TurnEnd {
                    instance,
                    call,
                    outcome,
                    fuel,
                },
            used_ns,
            was_served,
            ..
        } = ended;
        counters::add(&operator.counters.fuel, fuel);
        counters::add(&operator.counters.worker_ns, used_ns);
        if let Some(slot) = &mut self.slot {
            slot.instance = instance;
        }
        if matches!(outcome, TurnOutcome::Done(_) | TurnOutcome::Failed(_)) {
            // A turn of which every event lacks what the guest reads says nothing of the guest: it was not called. Nor does one that merges
            // say what events take.
            if fuel > 0 && part.partials.is_none() {
                operator.observe_turn(part.batch.len(), fuel, used_ns, was_served);
            }
            self.traps_in_row = 0;
        }
        if !matches!(outcome, TurnOutcome::Unopened(_)) {
            self.failed_openings = 0;
        }
        if self.role == Role::Helper && !matches!(outcome, TurnOutcome::Unopened(_)) {
            return self.settle_help(actor, part, call, outcome);
        }
        match outcome {
            TurnOutcome::Done(effects) => {
                if part.partials.is_some() {
                    operator.help.note_merged(part.batch.len());
                }
                self.apply(operator, &part, call, effects, fuel);
                self.update_quota(actor);
                None
            }
            TurnOutcome::Failed(_) if part.partials.is_some() || call.skip_optional_work(&mut self.table) => {
                call.abandon(&mut self.table);
                part.note_wasted(operator);
                self.chunk_mut().put_back(part.alone());
                None
            }
            TurnOutcome::Failed(failed) => {
                call.abandon(&mut self.table);
                self.run_apart(operator, &part, &failed, fuel);
                self.update_quota(actor);
                None
            }
            TurnOutcome::Trapped(trap) => {
                let is_retry = is_retry(&trap, part.batch.len());
                let backoff = self.note_trap(operator, &trap, part.batch.len());
                let runs_again = part.partials.is_some() || (!is_retry && call.skip_optional_work(&mut self.table));
                call.abandon(&mut self.table);
                part.note_wasted(operator);
                if runs_again {
                    self.chunk_mut().put_back(part.alone());
                } else {
                    self.split(operator, &part, trap, fuel);
                }
                backoff
            }
            TurnOutcome::Unopened(unopened) => {
                counters::add(&operator.counters.traps, 1_u64);
                call.abandon(&mut self.table);
                self.chunk_mut().put_back(part);
                Some(self.blame_opening(operator, &unopened))
            }
        }
    }

    /// Counts a trap over so many events. Gives for how long to back off.
    pub(crate) fn note_trap(&mut self, operator: &Operator, trap: &Trap, events: usize) -> Option<Duration> {
        let counters = &operator.counters;
        let counter = if is_retry(trap, events) {
            &counters.retries
        } else {
            &counters.traps
        };
        counters::add(counter, 1_u64);
        if trap.cause == Cause::Output {
            // The guest answered: it is sound, and costs nobody an instance.
            self.traps_in_row = 0;
            return None;
        }
        self.traps_in_row += 1;
        let doublings = self.traps_in_row.checked_sub(BACKOFF_AFTER)?;
        Some(BACKOFF_MIN.saturating_mul(1 << doublings.min(16)).min(BACKOFF_MAX))
    }

    fn blame_opening(&mut self, operator: &Operator, unopened: &Unopened) -> Duration {
        self.failed_openings += 1;
        // To wait as long once more would hold up the end of its pipeline, and of the run.
        let is_late = matches!(unopened, Unopened::Late(_));
        if is_late || self.failed_openings >= OPEN_ATTEMPTS_MAX {
            operator.context.failure_latch.fail(Failure::Operator {
                id: operator.id.clone(),
                reason: unopened.to_string(),
            });
        }
        BACKOFF_MIN
    }

    /// Puts what trapped back, in parts: around the event that the guest blames, or in halves. A single event becomes a
    /// dead letter.
    fn split(&mut self, operator: &Operator, part: &ChunkPart, trap: Trap, fuel: u64) {
        let events = part.batch.len();
        let attempts = part.attempts + 1;
        if events == 1 {
            let state = self.state_of(operator, &part.batch, 0);
            let Trap {
                cause,
                reason,
                backtrace,
                ..
            } = trap;
            let failure = EventFailure {
                kind: cause.name(),
                reason,
                backtrace,
                state,
                timers: self.failed_timers(operator, &part.batch, 0),
                fuel,
                attempt: attempts,
            };
            operator.send_to_dead_letters(&part.batch, 0, failure);
            self.forget_failed(operator, &part.batch);
            Self::done(operator, &part.batch);
            return;
        }
        match trap.event.map(|event| event as usize).filter(|&event| event < events) {
            Some(event) => self
                .chunk_mut()
                .put_back_pieces(&part.batch, attempts, &[event, event + 1]),
            None => self.chunk_mut().put_back_pieces(&part.batch, attempts, &[events / 2]),
        }
    }

    fn apply(&mut self, operator: &Operator, part: &ChunkPart, call: Box<dyn Call>, effects: Effects, fuel: u64) {
        let Effects {
            tally,
            rejected,
            outputs: Emitted { batches, held, unread },
        } = effects;
        // Before state changes: a dead letter bears what its event met.
        self.reject(operator, part, "rejected", &rejected, fuel);
        let open = call.commit(&mut self.table);
        operator.open_windows.change(open);
        operator.next_due.note(self.table.next_due());
        let counters = &operator.counters;
        for (counter, events) in [
            (&counters.passed, tally.passed),
            (&counters.filtered, tally.filtered),
            (&counters.absorbed, tally.absorbed),
            (&counters.named_out, unread),
        ] {
            if events > 0 {
                counters::add(counter, events);
            }
        }
        let is_closer = self.role == Role::Closer;
        if is_closer && operator.time_windows().is_none() {
            counters::add(&counters.partial_windows, part.batch.len() - rejected.len());
        }
        if let (true, Some(windows)) = (is_closer, operator.time_windows()) {
            let closed = timed::closed(&part.batch, windows);
            counters::add(&counters.windows, closed.saturating_sub(rejected.len()));
        }
        let outputs = batches.into_iter().filter(|batch| !batch.is_empty());
        self.chunk_mut().outputs.extend(outputs);
        self.held.extend(held);
        Self::done(operator, &part.batch);
    }

    /// Runs what took no effect again, each event that failed alone, behind those before it: its dead letter bears the state
    /// that it met. One that was alone becomes a dead letter.
    fn run_apart(&mut self, operator: &Operator, part: &ChunkPart, failed: &Failed, fuel: u64) {
        let Failed { kind, failures } = failed;
        if part.batch.len() == 1 {
            self.reject(operator, part, kind, failures, fuel);
            // State that cannot be read stays as it is, its timers included.
            if *kind != "migrate" {
                self.forget_failed(operator, &part.batch);
            }
            Self::done(operator, &part.batch);
            return;
        }
        let failing = failures.iter().map(|failure| failure.index as usize);
        let cuts: Vec<usize> = failing.flat_map(|at| [at, at + 1]).collect();
        self.chunk_mut().put_back_pieces(&part.batch, part.attempts, &cuts);
    }

    /// Drops timers that failed as they were to fire, and so became a dead letter.
    fn forget_failed(&mut self, operator: &Operator, batch: &Batch) {
        if let Some(process) = operator.driver.process() {
            operator
                .open_windows
                .change(process.forget_failed(&mut self.table, batch));
            operator.next_due.note(self.table.next_due());
        }
    }

    fn reject(&mut self, operator: &Operator, part: &ChunkPart, kind: &'static str, failures: &[Rejection], fuel: u64) {
        for failure in failures {
            let event = failure.index as usize;
            let failure = EventFailure {
                state: self.state_of(operator, &part.batch, event),
                timers: self.failed_timers(operator, &part.batch, event),
                fuel,
                attempt: part.attempts + 1,
                ..EventFailure::of(kind, failure.message.clone())
            };
            operator.send_to_dead_letters(&part.batch, event, failure);
        }
    }

    /// Shares in every batch that is joined in the chunk of a turn that has ended.
    pub(crate) fn tickets_of_chunk(&self) -> Tickets {
        self.chunk
            .as_ref()
            .map_or_else(Tickets::new, |chunk| chunk.tickets.clone())
    }

    /// The chunk of a turn that has ended.
    pub(crate) fn chunk_mut(&mut self) -> &mut OpenChunk {
        self.chunk.as_mut().expect("a turn is over a part of a chunk")
    }

    /// What is kept of an event's key, or of a window that is to be finished, for its dead letter.
    fn state_of(&self, operator: &Operator, batch: &Batch, event: usize) -> Option<StateBefore> {
        /// More is not decoded: a person reads less, and the worker has others waiting. It is in the base64.
        const DECODED_BYTES_MAX: usize = 4 << 10;
        /// More of the open windows of a key is not kept with each of its events.
        const OPEN_BYTES_MAX: usize = 16 << 10;
        if !operator.kind().is_stateful() {
            return None;
        }
        let window = if self.role == Role::Closer {
            Entry::decode(&batch.values.get(event))
        } else {
            None
        };
        let key = batch.keys.get(event);
        // What a key has open in time, or waiting, may be much, and is the same for each of its events that fail.
        if window.is_none() && operator.driver.goes_by_time() && self.table.bytes_of(key) > OPEN_BYTES_MAX {
            return None;
        }
        let entry = &match &window {
            Some(entry) => Cow::Borrowed(entry),
            None => self.table.whole(key)?,
        };
        let layout = operator.layout.as_ref();
        let layout = layout.filter(|_| entry.bytes().len() <= DECODED_BYTES_MAX);
        // Of another version it is laid out in a way that this component does not know.
        let decode = |layout: &Layout, version: u32, accumulator: &[u8]| {
            let is_known = version == operator.component.state_version();
            is_known.then(|| layout.decode(accumulator)).flatten()
        };
        let accumulator = layout.and_then(|layout| match operator.time_windows() {
            None if operator.driver.process().is_some() => decode(layout, entry.state_version, Keyed::of(entry).state),
            None => decode(layout, entry.state_version, entry.bytes()),
            Some(_) => Some(shown_segments(entry, |segment| {
                decode(layout, segment.state_version, segment.accumulator).unwrap_or_default()
            })),
        });
        Some(StateBefore {
            entry: BASE64_STANDARD.encode(entry.encode()),
            accumulator,
            window: window.as_ref().map(|entry| FailedWindow {
                count: entry.count,
                start: entry.start,
                end: entry.end,
            }),
        })
    }

    /// The timers that were to fire at a step that failed, if it is an advance.
    fn failed_timers(&self, operator: &Operator, batch: &Batch, step: usize) -> Option<FailedTimers> {
        /// More are not named.
        const NAMED_MAX: usize = 100;
        let until = operator.driver.process()?.advance_at(batch, step)?;
        let entry = self.table.get(batch.keys.get(step));
        let timers = entry.into_iter().flat_map(|entry| Keyed::of(entry).timers());
        let mut due = timers.take_while(|(time, _)| *time <= until);
        let set = due.by_ref().take(NAMED_MAX).map(|(time, name)| FailedTimer {
            name: String::from_utf8_lossy(name).into_owned(),
            time,
        });
        Some(FailedTimers {
            until,
            set: set.collect(),
            left_out: due.count(),
        })
    }

    /// Notes that events no longer wait here.
    pub(super) fn done(operator: &Operator, batch: &Batch) {
        wake_all(operator.gate.leave(batch.len(), batch.size()));
    }
}
