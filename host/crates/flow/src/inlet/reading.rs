//! What the thread of a source does: reads, opens a ticket for what it read, and sends it on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use super::{ABANDONED, AWAKE, ENDED, Inlet, READING};
use crate::dead_letter::{DeadLetter, Event};
use crate::halt::{Failure, Halt, panicked};
use crate::letters::Letters;
use crate::{Edge, Epochs};
use dirigo_connect::source::{self, Intake, Quota, Read, Refused};
use dirigo_ground::account::Account;
use dirigo_ground::batch::Batch;
use dirigo_ground::clock::Clock;
use dirigo_ground::lineage::ReadBatch;
use dirigo_ground::thread;
use dirigo_scheduler::Errands;

/// Bytes that one batch takes; a single record may be larger.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// What the thread works with.
pub struct Parts {
    /// Where events go.
    pub edges: Arc<Vec<Edge>>,
    /// Where records go that are no events.
    pub letters: Arc<Letters>,
    /// What ends the pipeline if the source fails.
    pub halt: Arc<Halt>,
    /// Whose memory events take.
    pub account: Arc<Account>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// When it may be read.
    pub epochs: Arc<Epochs>,
    /// The pipeline's name.
    pub pipeline: String,
    /// Events that one batch takes.
    pub batch_events: usize,
}

/// The thread of a source.
pub type Reader = std::thread::JoinHandle<()>;

/// What the thread of a source does.
pub struct Reading {
    inlet: Arc<Inlet>,
    parts: Parts,
    /// Positions that earlier runs gave out of a source that counts from 1 in each run, since it cannot be read again.
    before: u64,
    is_over: bool,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do.
    Again,
    /// There is nothing to do before the inlet's signal has rung more often than `heard`, or the time has passed.
    Wait {
        /// How often it had rung.
        heard: u64,
        /// How long at the most.
        at_most: Option<Duration>,
    },
    /// Nothing more comes.
    Ended,
}

impl Reading {
    pub(super) fn new(inlet: Arc<Inlet>, parts: Parts) -> Self {
        Self {
            before: if inlet.is_replayable {
                0
            } else {
                inlet.progress.next_position(inlet.index).saturating_sub(1)
            },
            inlet,
            parts,
            is_over: false,
        }
    }

    /// Starts a thread that reads to the end.
    ///
    /// # Panics
    /// When the system gives no thread.
    #[must_use]
    pub fn start(mut self, mut errands: Errands) -> Reader {
        let name = format!("source {}", self.inlet.id);
        let run = move || {
            thread::run_at_once();
            loop {
                let step = if self.inlet.is_replayable {
                    errands.run(|| self.step())
                } else {
                    // A read that may last for ever is nothing to stand back for. What it took is charged when it is over, and
                    // whoever has had too much waits then.
                    let step = self.step();
                    errands.catch_up();
                    step
                };
                match step {
                    Step::Again => {}
                    Step::Wait { heard, at_most } => {
                        errands.rest();
                        self.inlet.signal.wait_past(heard, at_most);
                    }
                    Step::Ended => break,
                }
            }
        };
        std::thread::Builder::new()
            .name(name)
            .spawn(run)
            .expect("the system gives a thread to each source")
    }

    /// Reads once, and sends on what came.
    pub fn step(&mut self) -> Step {
        if self.is_over {
            return Step::Ended;
        }
        let stepped = catch_unwind(AssertUnwindSafe(|| self.advance()));
        let failure = match stepped {
            Ok(Ok(Step::Ended) | Err(Stop::Abandoned)) => None,
            Ok(Ok(step)) => return step,
            Ok(Err(Stop::Failed(reason))) => Some(reason),
            Err(panic) => Some(panicked(&*panic)),
        };
        if let Some(reason) = failure {
            let id = self.inlet.id.clone();
            self.parts.halt.blow(Failure::Source { id, reason });
        }
        self.end();
        Step::Ended
    }

    fn advance(&self) -> Result<Step, Stop> {
        let heard = self.inlet.signal.heard();
        if self.is_stopped() {
            return Ok(Step::Ended);
        }
        if self.must_wait() {
            return Ok(Step::Wait { heard, at_most: None });
        }
        let read = if self.inlet.is_replayable {
            let Some(_inside) = self.parts.epochs.sources().enter(|| self.waker()) else {
                return Ok(Step::Wait { heard, at_most: None });
            };
            let (intake, read) = self.read();
            self.send(intake);
            read
        } else {
            if !self.inlet.change(AWAKE, READING) {
                return Ok(Step::Again);
            }
            let (intake, read) = self.read();
            if !self.inlet.change(READING, AWAKE) {
                return Err(Stop::Abandoned);
            }
            self.send_when_possible(intake);
            read
        };
        match read.map_err(|error| Stop::Failed(error.to_string()))? {
            Read::More => Ok(Step::Again),
            Read::Wait(pause) => {
                let heard = self.inlet.signal.heard();
                Ok(if self.is_stopped() {
                    Step::Ended
                } else {
                    Step::Wait {
                        heard,
                        at_most: Some(pause),
                    }
                })
            }
            Read::End => {
                self.inlet.is_read_up.store(true, Ordering::SeqCst);
                Ok(Step::Ended)
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.parts.halt.is_blown() || self.inlet.state.load(Ordering::SeqCst) != AWAKE
    }

    fn waker(&self) -> Waker {
        Waker::from(self.inlet.signal.clone())
    }

    /// Whether what it would add to is full; if so, its signal rings once there is room.
    fn must_wait(&self) -> bool {
        let letters = self.parts.letters.gate();
        let is_short = self.parts.account.is_over_memory();
        !self.inlet.progress.has_room(self.inlet.index, is_short)
            || Edge::must_wait(&self.parts.edges, || self.waker())
            || (letters.is_full() && letters.wait(self.waker()))
    }

    fn read(&self) -> (Intake, Result<Read, source::Error>) {
        let mut intake = Intake::default();
        let quota = Quota {
            events: self.parts.batch_events,
            bytes: BATCH_BYTES_MAX,
        };
        let mut source = self.inlet.source.lock();
        let read = source.read(&mut intake, quota);
        if let Some(progress) = source.progress() {
            self.inlet.done.store(progress.done, Ordering::Relaxed);
            self.inlet.total.store(progress.total, Ordering::Relaxed);
        }
        (intake, read)
    }

    /// Sends on what cannot be read again, once no checkpoint is being taken.
    fn send_when_possible(&self, intake: Intake) {
        loop {
            let heard = self.inlet.signal.heard();
            if let Some(_inside) = self.parts.epochs.sources().enter(|| self.waker()) {
                return self.send(intake);
            }
            self.inlet.signal.wait_past(heard, None);
        }
    }

    /// Notes the end of the source, however that came: the end of the pipeline waits for it.
    fn end(&mut self) {
        self.is_over = true;
        // One that was given up has been noted already.
        if self.inlet.state.swap(ENDED, Ordering::SeqCst) != ABANDONED {
            self.inlet.progress.end(self.inlet.index);
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
            return;
        };
        for refused in intake.refused {
            self.bury(refused);
        }
        let Some(&first) = intake.positions.first() else {
            return self.inlet.progress.pass_over(self.inlet.index, last);
        };
        let Intake {
            times,
            keys,
            values,
            positions,
            ..
        } = intake;
        let events = times.len();
        let bytes = keys.bytes().len() + values.bytes().len();
        let read = ReadBatch {
            first,
            last,
            events,
            bytes,
            arrival_ns: self.parts.clock.now_ns(),
        };
        let ticket = self.inlet.progress.open(self.inlet.index, &read);
        // After the ticket was opened: who sees them counted sees them in flight too.
        self.inlet.events_in.fetch_add(events as u64, Ordering::Release);
        let batch = Batch {
            times: Arc::new(times),
            keys: Arc::new(keys),
            values: Arc::new(values),
            positions: Arc::new(positions),
            origin: ticket.into(),
        };
        Edge::send_all(&self.parts.edges, batch);
    }

    fn bury(&self, refused: Refused) {
        self.inlet.dead_letters.fetch_add(1, Ordering::Relaxed);
        self.parts.letters.push(DeadLetter {
            id: 0,
            pipeline: self.parts.pipeline.clone(),
            operator: self.inlet.id.clone(),
            component: None,
            kind: "source".into(),
            reason: refused.reason,
            backtrace: None,
            event: Event::new(&self.inlet.id, refused.position, None, b"", &refused.value),
            state: None,
            fuel: 0,
            attempt: 1,
            setup: None,
        });
    }
}

/// Why a thread reads no more.
enum Stop {
    Failed(String),
    /// It was given up while it read.
    Abandoned,
}
