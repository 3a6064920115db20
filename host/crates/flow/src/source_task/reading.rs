//! What the thread of a source does: reads, opens a ticket for what it read, and sends it on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use super::event_time::{self, Said, SourceTime, milliseconds};
use super::{ABANDONED, AWAKE, ENDED, READING, SourceHandle};
use crate::dead_letter::{DeadLetter, FailedEvent};
use crate::dead_letters::DeadLetters;
use crate::failure_latch::{Failure, FailureLatch, panicked};
use crate::{Edge, Epochs};
use dirigo_connect::source::{self, Intake, REFUSED_BYTES_MAX, Read, ReadLimit, RefusedRecord};
use dirigo_fields::Wanted;
use dirigo_ground::batch::Batch;
use dirigo_ground::behind::Behind;
use dirigo_ground::clock::Clock;
use dirigo_ground::fields::Fields;
use dirigo_ground::lineage::{AFTER_ALL, BEFORE_ALL, Origin, ReadBatch, SourceIndex, Ticket, Watermark};
use dirigo_ground::quota::Quota;
use dirigo_ground::thread;
use dirigo_json::Field;
use dirigo_scheduler::IoPermits;

/// Bytes that one batch takes; a single record may be larger.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Events that one batch takes at most where other tenants share the host: they may wait for as long as it takes to read it, some 50 µs.
const SHARED_BATCH_EVENTS_MAX: usize = 256;

/// What the operators behind a source read of its events.
#[derive(Clone, Debug, Default)]
pub struct Projection {
    /// These fields.
    pub fields: Arc<[Wanted]>,
    /// Whether some read the payloads themselves. Then the source makes bytes of them once, for all of those operators.
    pub raw: bool,
}

/// What the thread works with.
pub struct SourceTaskParts {
    /// What operators read of what the source brings.
    pub wanted: Projection,
    /// Where events go.
    pub edges: Arc<Vec<Edge>>,
    /// Where records go that are no events.
    pub dead_letters: Arc<DeadLetters>,
    /// What ends the pipeline if the source fails.
    pub failure_latch: Arc<FailureLatch>,
    /// Whose memory events take.
    pub quota: Arc<Quota>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// When it may be read.
    pub epochs: Arc<Epochs>,
    /// The pipeline's name.
    pub pipeline: String,
    /// Events that one batch takes.
    pub batch_events: usize,
    /// What is asked of its event time, where an operator behind it is timed.
    pub event_time: Option<EventTimeOptions>,
    /// How far the time of an event may be ahead of the clock.
    pub max_ahead: Option<Duration>,
}

/// What is asked of the event time of a source.
#[derive(Clone, Debug, Default)]
pub struct EventTimeOptions {
    /// How late its events may come.
    pub lateness: Duration,
    /// The field in which events say how far event time has come, where the times of events do not.
    pub watermark: Option<Arc<Field>>,
    /// How far it may read ahead of the slowest of those that it shares such an operator with.
    pub max_drift: Option<Duration>,
    /// Those.
    pub others: Vec<SourceIndex>,
}

/// The thread of a source.
pub type SourceThread = std::thread::JoinHandle<()>;

/// What the thread of a source does.
pub struct SourceTask {
    source_handle: Arc<SourceHandle>,
    parts: SourceTaskParts,
    /// Positions that earlier runs gave out of a source that counts from 1 in each run, since it cannot be read again.
    before: u64,
    event_time: Option<SourceTime>,
    /// Whether other tenants wait for what it does.
    is_shared: bool,
    has_started: bool,
    is_over: bool,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStep {
    /// There is more to do.
    Again,
    /// There is nothing to do before the source's signal was notified more often than `seen`, or the time has passed.
    Wait {
        /// How often it had rung.
        seen: u64,
        /// How long at most.
        at_most: Option<Duration>,
    },
    /// Nothing more comes.
    Ended,
}

impl SourceTask {
    pub(super) fn new(source_handle: Arc<SourceHandle>, parts: SourceTaskParts) -> Self {
        Self {
            before: if source_handle.is_replayable {
                0
            } else {
                source_handle
                    .progress
                    .next_position(source_handle.index)
                    .saturating_sub(1)
            },
            event_time: parts.event_time.as_ref().map(|options| {
                let watermark = source_handle.progress.read_watermark(source_handle.index);
                SourceTime::new(options.lateness, watermark)
            }),
            source_handle,
            parts,
            is_shared: false,
            has_started: false,
            is_over: false,
        }
    }

    /// Starts a thread that reads to the end.
    ///
    /// # Panics
    /// When the system gives no thread.
    #[must_use]
    pub fn start(mut self, mut io_permits: IoPermits) -> SourceThread {
        let name = format!("source {}", self.source_handle.id);
        let run = move || {
            thread::raise_priority();
            loop {
                self.is_shared = io_permits.is_shared();
                let step = if self.source_handle.is_replayable {
                    // No worker makes room for a thread that only finds that it has to wait.
                    let wait = if io_permits.must_ask() { self.blocked() } else { None };
                    wait.unwrap_or_else(|| io_permits.run(|| self.step()))
                } else {
                    // A read that may last for ever is nothing to stand back for. What it took is charged when it is over, and
                    // a tenant that has had too much waits then.
                    let step = self.step();
                    io_permits.catch_up();
                    step
                };
                match step {
                    ReadStep::Again => {}
                    ReadStep::Wait { seen, at_most } => {
                        io_permits.rest();
                        self.source_handle.signal.wait_past(seen, at_most);
                    }
                    ReadStep::Ended => break,
                }
            }
        };
        std::thread::Builder::new()
            .name(name)
            .spawn(run)
            .expect("the system gives a thread to each source")
    }

    /// Reads once, and sends on what came.
    pub fn step(&mut self) -> ReadStep {
        if self.is_over {
            return ReadStep::Ended;
        }
        let stepped = catch_unwind(AssertUnwindSafe(|| self.advance()));
        let failure = match stepped {
            Ok(Ok(ReadStep::Ended) | Err(StopReason::Abandoned)) => None,
            Ok(Ok(step)) => return step,
            Ok(Err(StopReason::Failed(reason))) => Some(reason),
            Err(panic) => Some(panicked(&*panic)),
        };
        if let Some(reason) = failure {
            let id = self.source_handle.id.clone();
            self.parts.failure_latch.fail(Failure::Source { id, reason });
        }
        self.end();
        ReadStep::Ended
    }

    fn advance(&mut self) -> Result<ReadStep, StopReason> {
        if !self.has_started {
            self.has_started = true;
            let started = self.source_handle.source.lock().start(self.waker());
            started.map_err(|error| StopReason::Failed(error.to_string()))?;
        }
        let seen = self.source_handle.signal.seen();
        if self.is_stopped() {
            return Ok(ReadStep::Ended);
        }
        if let Some(wait) = self.blocked() {
            return Ok(wait);
        }
        let read = if self.source_handle.is_replayable {
            let Some(_inside) = self.parts.epochs.sources().enter(|| self.waker()) else {
                return Ok(ReadStep::Wait { seen, at_most: None });
            };
            let (intake, read) = self.read();
            self.send(intake);
            read
        } else {
            if !self.source_handle.change(AWAKE, READING) {
                return Ok(ReadStep::Again);
            }
            self.source_handle.note_silence(self.parts.clock.now_ns());
            let (intake, read) = self.read();
            if !self.source_handle.change(READING, AWAKE) {
                return Err(StopReason::Abandoned);
            }
            self.send_when_possible(intake);
            read
        };
        match read.map_err(|error| StopReason::Failed(error.to_string()))? {
            Read::More => Ok(ReadStep::Again),
            Read::Wait(pause) => {
                self.source_handle.note_silence(self.parts.clock.now_ns());
                // A notification since `seen` may mean new input.
                Ok(ReadStep::Wait {
                    seen,
                    at_most: Some(pause),
                })
            }
            Read::End => {
                self.source_handle.is_read_up.store(true, Ordering::SeqCst);
                if self.source_handle.source.lock().ends_its_input() {
                    let progress = &self.source_handle.progress;
                    progress.pass_time(self.source_handle.index, AFTER_ALL);
                }
                Ok(ReadStep::Ended)
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.parts.failure_latch.has_failed() || self.source_handle.state.load(Ordering::SeqCst) != AWAKE
    }

    fn waker(&self) -> Waker {
        Waker::from(self.source_handle.signal.clone())
    }

    /// What it waits for before it reads, if it has to.
    fn blocked(&self) -> Option<ReadStep> {
        let seen = self.source_handle.signal.seen();
        if !self.has_started || self.is_stopped() || !self.must_wait() {
            return None;
        }
        // It has something to read, as far as is known: it is not silent.
        self.source_handle.note_heard();
        Some(ReadStep::Wait { seen, at_most: None })
    }

    /// Whether what it would add to is full; if so, its signal rings once there is room.
    fn must_wait(&self) -> bool {
        let dead_letters = self.parts.dead_letters.gate();
        let is_short = self.parts.quota.is_over_memory();
        !self.source_handle.progress.has_room(self.source_handle.index, is_short)
            || self.is_too_far_ahead()
            || Edge::must_wait(&self.parts.edges, || self.waker())
            || (dead_letters.is_full() && dead_letters.wait(self.waker()))
    }

    /// Whether it waits for slower sources; if so, its signal rings when they have come nearer.
    fn is_too_far_ahead(&self) -> bool {
        let options = self.parts.event_time.as_ref();
        options.is_some_and(|options| {
            let progress = &self.source_handle.progress;
            let index = self.source_handle.index;
            options
                .max_drift
                .is_some_and(|max_drift| progress.is_too_far_ahead(index, &options.others, milliseconds(max_drift)))
        })
    }

    fn read(&self) -> (Intake, Result<Read, source::Error>) {
        let mut intake = Intake::wanting(&self.parts.wanted.fields);
        let events_max = if self.is_shared {
            SHARED_BATCH_EVENTS_MAX
        } else {
            usize::MAX
        };
        let limit = ReadLimit {
            events: self.parts.batch_events.min(events_max),
            bytes: BATCH_BYTES_MAX,
        };
        let mut source = self.source_handle.source.lock();
        let read = source.read(&mut intake, limit);
        if let Some(progress) = source.progress() {
            self.source_handle.done.store(progress.done, Ordering::Relaxed);
            self.source_handle.total.store(progress.total, Ordering::Relaxed);
        }
        (intake, read)
    }

    /// Sends on what cannot be read again, once no checkpoint is being taken.
    fn send_when_possible(&self, intake: Intake) {
        loop {
            let seen = self.source_handle.signal.seen();
            if let Some(_inside) = self.parts.epochs.sources().enter(|| self.waker()) {
                return self.send(intake);
            }
            self.source_handle.signal.wait_past(seen, None);
        }
    }

    /// Notes the end of the source, however that came: the end of the pipeline waits for it.
    fn end(&mut self) {
        self.is_over = true;
        // Nobody reads a source that can be read again any more; another one may be held by a read that was given up.
        if self.source_handle.is_replayable {
            self.source_handle.source.lock().stop();
        }
        // One that was given up has been noted already.
        if self.source_handle.state.swap(ENDED, Ordering::SeqCst) != ABANDONED {
            self.source_handle.progress.end(self.source_handle.index);
        }
    }

    fn send(&self, mut intake: Intake) {
        if self.before > 0 {
            intake
                .positions
                .iter_mut()
                .for_each(|position| *position += self.before);
            intake
                .refused
                .iter_mut()
                .for_each(|refused| refused.position += self.before);
        }
        let refused = intake.refused.last().map(|refused| refused.position);
        let Some(last) = intake.positions.last().copied().max(refused) else {
            return self.pass_time(intake.watermark);
        };
        self.source_handle.note_heard();
        for refused in std::mem::take(&mut intake.refused) {
            self.send_to_dead_letters(refused);
        }
        let watermark = intake.watermark;
        let (batch, said) = self.with_said(self.without_ahead(self.batch(intake)));
        let Some(&first) = batch.positions.first() else {
            self.source_handle.progress.pass_over(self.source_handle.index, last);
            return self.pass_time(watermark);
        };
        let (behind, reached) = self.pass_events(&batch.times, said.as_ref());
        let events = batch.len();
        let read = ReadBatch {
            first,
            last,
            events,
            bytes: batch.keys.bytes().len() + batch.values.size(),
            arrival_ns: self.parts.clock.now_ns(),
            watermark: reached,
        };
        let ticket = self.source_handle.progress.open(self.source_handle.index, &read);
        // After the ticket was opened: who sees them counted sees them in flight too.
        self.source_handle.events_in.fetch_add(events as u64, Ordering::Release);
        let batch = Batch {
            origin: Origin {
                behind,
                ..ticket.into()
            },
            ..batch
        };
        Edge::send_all(&self.parts.edges, batch);
        self.pass_time(watermark);
    }

    /// The events of what was read, under no ticket yet.
    fn batch(&self, mut intake: Intake) -> Batch {
        let mut values = intake.take_values();
        let Intake {
            times,
            keys,
            mut fields,
            positions,
            ..
        } = intake;
        if self.parts.wanted.raw {
            values = values.to_column().into();
        }
        if fields.events() < values.len() {
            fields.extend(&values.to_column(), fields.events()..values.len());
        }
        Batch {
            times: Arc::new(times),
            keys: Arc::new(keys),
            values,
            fields: Fields::new(fields.finish()),
            positions: Arc::new(positions),
            origin: Ticket::detached().into(),
        }
    }

    /// The events whose time is not too far ahead of the clock; the others become dead letters.
    fn without_ahead(&self, batch: Batch) -> Batch {
        let Some(max_ahead) = self.parts.max_ahead else {
            return batch;
        };
        let latest = self.latest(max_ahead);
        if batch.times.iter().all(|time| *time <= latest) {
            return batch;
        }
        let is_ahead = |event: &u32| batch.times[*event as usize] > latest;
        let events = u32::try_from(batch.len()).expect("a batch has fewer than 2^32 events");
        let (ahead, kept): (Vec<u32>, Vec<u32>) = (0..events).partition(is_ahead);
        for event in ahead {
            let event = event as usize;
            self.refuse(&batch, event, too_far_ahead("time", batch.times[event], max_ahead));
        }
        batch.gather(&kept)
    }

    /// The latest time that may be taken in now, in ms since the epoch.
    fn latest(&self, max_ahead: Duration) -> i64 {
        self.parts.clock.wall_ms().saturating_add(milliseconds(max_ahead))
    }

    /// Makes an event of a batch a dead letter of the source.
    fn refuse(&self, batch: &Batch, event: usize, reason: String) {
        let value = batch.values.get(event);
        self.send_to_dead_letters(RefusedRecord {
            position: batch.positions[event],
            value: value[..value.len().min(REFUSED_BYTES_MAX)].to_vec(),
            reason,
        });
    }

    /// The watermarks that events carry, if the source has a `watermark` field. An event whose watermark is invalid, or too far ahead of the clock,
    /// becomes a dead letter.
    fn with_said(&self, batch: Batch) -> (Batch, Option<Said>) {
        let options = self.parts.event_time.as_ref();
        let Some(field) = options.and_then(|options| options.watermark.as_ref()) else {
            return (batch, None);
        };
        let mut said = event_time::said(&batch, field);
        if let Some(max_ahead) = self.parts.max_ahead {
            let latest = self.latest(max_ahead);
            for time in said.iter_mut().flatten() {
                if let Ok(ms) = *time
                    && ms > latest
                {
                    *time = Err(too_far_ahead("watermark", ms, max_ahead));
                }
            }
        }
        if !said.iter().flatten().any(Result::is_err) {
            return (batch, Some(said));
        }
        let mut kept = Vec::new();
        for (event, said) in said.iter().enumerate() {
            let Some(Err(reason)) = said else {
                kept.push(u32::try_from(event).expect("a batch has fewer than 2^32 events"));
                continue;
            };
            self.refuse(&batch, event, reason.clone());
        }
        said.retain(|said| !matches!(said, Some(Err(_))));
        (batch.gather(&kept), Some(said))
    }

    /// Goes on to a watermark that the source itself gave, behind all that it read.
    fn pass_time(&self, watermark: Option<Watermark>) {
        if let (Some(event_time), Some(watermark)) = (&self.event_time, watermark) {
            event_time.pass_to(watermark);
            let progress = &self.source_handle.progress;
            progress.pass_time(self.source_handle.index, event_time.watermark());
        }
    }

    /// Goes on past events with these times. Gives those that came behind the watermark, and the watermark behind them all.
    fn pass_events(&self, times: &[i64], said: Option<&Said>) -> (Behind, Watermark) {
        let Some(event_time) = &self.event_time else {
            return (Behind::default(), BEFORE_ALL);
        };
        // One that was idle comes back to where operators have got without it.
        if let Some(watermark) = self.source_handle.progress.wake(self.source_handle.index) {
            event_time.pass_to(watermark);
        }
        let behind = event_time.pass(times, said);
        if let Some(leap) = event_time.leap() {
            *self.source_handle.leap.lock() = Some(leap);
        }
        (behind, event_time.watermark())
    }

    fn send_to_dead_letters(&self, refused: RefusedRecord) {
        self.source_handle.dead_letters.fetch_add(1, Ordering::Relaxed);
        self.parts.dead_letters.push(DeadLetter {
            id: 0,
            pipeline: self.parts.pipeline.clone(),
            operator: self.source_handle.id.clone(),
            component: None,
            kind: "source".into(),
            reason: refused.reason,
            backtrace: None,
            event: FailedEvent::new(&self.source_handle.id, refused.position, None, b"", &refused.value),
            window: None,
            input: None,
            timers: None,
            state: None,
            accumulator: None,
            fuel: 0,
            attempt: 1,
            setup: None,
        });
    }
}

/// Why an event is refused by `max_ahead`.
fn too_far_ahead(what: &str, ms: i64, max_ahead: Duration) -> String {
    let max_ahead_s = max_ahead.as_secs_f64();
    format!("its {what}, {ms} in ms since 1970, is more than {max_ahead_s} s (`max_ahead`) ahead of the clock")
}

/// Why a thread reads no more.
enum StopReason {
    Failed(String),
    /// It was given up while it read.
    Abandoned,
}
