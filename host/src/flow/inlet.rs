//! From a source into the pipeline.
//!
//! One thread per source reads, opens a ticket for what it read, and sends it on; it pauses while what it would add to is
//! full, or a checkpoint is being taken, and ends at the source's end or when it is told to. To read and to send on is one
//! effect: between two of them the source's bookmark covers exactly what was sent.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::sync::Mutex;

use super::halt::{Failure, Halt, panicked};
use super::letters::{DeadLetter, Event, Letters};
use super::progress::{Progress, ReadBatch};
use super::signal::Signal;
use super::waiter::Waiter;
use crate::account::Account;
use crate::actor::{Edge, Epochs};
use crate::batch::{Batch, SourceIndex};
use crate::clock::Clock;
use crate::scheduler::Errands;
use crate::source::{self, Bookmark, Intake, Quota, Read, Refused, Source};
use crate::thread;

/// Bytes that one batch takes; a single record may be larger.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// The handle of a source's thread.
pub struct Inlet {
    /// Its name in the pipeline.
    pub id: String,
    /// Its place among the sources.
    pub index: SourceIndex,
    /// Events that it sent on.
    pub events_in: AtomicU64,
    /// Records that were no events.
    pub dead_letters: AtomicU64,
    /// Units read so far, and in all; 0 in all where that is not known.
    pub done: AtomicU64,
    /// See `done`.
    pub total: AtomicU64,
    /// Rings when there is room, or it should stop.
    pub signal: Arc<Signal>,
    source: Mutex<Box<dyn Source>>,
    /// Whether it can be read again. Only a source that cannot may take for ever to read.
    is_replayable: bool,
    state: AtomicU8,
    is_read_up: AtomicBool,
    progress: Arc<Progress>,
}

/// Between two reads.
const AWAKE: u8 = 0;
/// In a read of a source that cannot be read again, which may block for ever.
const READING: u8 = 1;
/// Told to stop.
const STOPPING: u8 = 2;
/// Told to stop in the middle of such a read, and left to itself.
const ABANDONED: u8 = 3;
/// At its end.
const ENDED: u8 = 4;

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

impl Inlet {
    /// The handle of source `index`, whose thread is not running.
    #[must_use]
    pub fn new(
        id: &str,
        index: SourceIndex,
        source: Box<dyn Source>,
        signal: Arc<Signal>,
        progress: Arc<Progress>,
    ) -> Arc<Self> {
        Arc::new(Self {
            is_replayable: source.can_be_read_again(),
            source: Mutex::new(source),
            id: id.to_owned(),
            index,
            events_in: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            signal,
            state: AtomicU8::new(AWAKE),
            is_read_up: AtomicBool::new(false),
            progress,
        })
    }

    /// What its thread does, to be done step by step.
    #[must_use]
    pub fn reading(self: &Arc<Self>, parts: Parts) -> Reading {
        Reading {
            before: if self.is_replayable {
                0
            } else {
                self.progress.next_position(self.index).saturating_sub(1)
            },
            inlet: self.clone(),
            parts,
            is_over: false,
        }
    }

    /// Where to read on after all that it sent; `None` where that is not possible. Nobody reads meanwhile: the pipeline is
    /// paused, or its thread has ended.
    #[must_use]
    pub fn bookmark(&self) -> Option<Bookmark> {
        if self.is_replayable {
            self.source.lock().bookmark()
        } else {
            None
        }
    }

    /// Has it stop after what it has read. A read that may block for ever is left to itself; whatever it still brings was
    /// never taken.
    pub fn stop(&self) {
        let stopped = self
            .state
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |state| match state {
                AWAKE => Some(STOPPING),
                READING => Some(ABANDONED),
                _ => None,
            });
        if stopped == Ok(READING) {
            self.progress.end(self.index);
        }
        self.signal.ring();
    }

    /// Whether it was read to its end, and did not stop before.
    #[must_use]
    pub fn is_read_up(&self) -> bool {
        self.is_read_up.load(Ordering::SeqCst)
    }

    /// Whether its thread can be waited for: not while it is in a read that was given up.
    #[must_use]
    pub fn is_joinable(&self, reader: &Reader) -> bool {
        self.state.load(Ordering::SeqCst) != ABANDONED || reader.is_finished()
    }

    /// Whether it has read so many records, and all that came of them is finished.
    #[must_use]
    pub fn has_finished(&self, records: u64) -> bool {
        let read = self.events_in.load(Ordering::Acquire) + self.dead_letters.load(Ordering::Acquire);
        read >= records && self.progress.in_flight(self.index) == 0
    }

    /// How many of the events that it sent on are finished.
    #[must_use]
    pub fn finished(&self) -> u64 {
        let read = self.events_in.load(Ordering::Acquire);
        read.saturating_sub(self.progress.in_flight(self.index))
    }

    fn change(&self, from: u8, to: u8) -> bool {
        self.state
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
}

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
            let Some(_inside) = self.parts.epochs.sources().enter(|| self.waiter()) else {
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

    fn waiter(&self) -> Waiter {
        Waiter::Source(self.inlet.signal.clone())
    }

    /// Whether what it would add to is full; if so, its signal rings once there is room.
    fn must_wait(&self) -> bool {
        let letters = &self.parts.letters.gate;
        let is_short = self.parts.account.is_over_memory();
        !self.inlet.progress.has_room(self.inlet.index, is_short)
            || Edge::must_wait(&self.parts.edges, || self.waiter())
            || (letters.is_full() && letters.wait(self.waiter()))
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
            if let Some(_inside) = self.parts.epochs.sources().enter(|| self.waiter()) {
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
        for refused in intake.refused {
            self.bury(refused);
        }
        let (Some(&first), Some(&last)) = (intake.positions.first(), intake.positions.last()) else {
            return;
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

impl std::fmt::Debug for Inlet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Inlet")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Why a thread reads no more.
enum Stop {
    Failed(String),
    /// It was given up while it read.
    Abandoned,
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;
    use crate::clock::ManualClock;
    use crate::flow::{LettersBookmark, Listener};

    /// Says that the pipeline is empty, and then holds whoever told it so until the other end is dropped.
    #[derive(Debug)]
    struct Holding {
        emptied: Sender<()>,
        held: crate::sync::Mutex<Receiver<()>>,
    }

    impl Listener for Holding {
        fn advanced(&self) {}

        fn emptied(&self) {
            self.emptied.send(()).unwrap();
            let _ = self.held.lock().recv();
        }
    }

    /// Something to read of which nothing comes before the other end is dropped.
    struct Silent {
        bookmark: Option<Bookmark>,
        reading: Sender<()>,
        never: Receiver<()>,
    }

    impl Source for Silent {
        fn read(&mut self, _: &mut Intake, _: Quota) -> Result<Read, source::Error> {
            let _ = self.reading.send(());
            let _ = self.never.recv();
            Ok(Read::End)
        }

        fn bookmark(&self) -> Option<Bookmark> {
            self.bookmark.clone()
        }

        fn progress(&self) -> Option<source::Progress> {
            None
        }
    }

    struct Panicking;

    impl Source for Panicking {
        fn read(&mut self, _: &mut Intake, _: Quota) -> Result<Read, source::Error> {
            panic!("it can't bear it");
        }

        fn bookmark(&self) -> Option<Bookmark> {
            Some(7.into())
        }

        fn progress(&self) -> Option<source::Progress> {
            None
        }
    }

    /// The inlet of a source whose thread runs, and the ends by which a test holds both.
    struct Held {
        inlet: Arc<Inlet>,
        halt: Arc<Halt>,
        reader: Reader,
        reading: Receiver<()>,
        read: Sender<()>,
        emptied: Receiver<()>,
        told: Sender<()>,
    }

    fn start_silent(bookmark: Option<Bookmark>) -> Held {
        let ((reading, is_reading), (read, never)) = (mpsc::channel(), mpsc::channel());
        let source = Silent {
            bookmark,
            reading,
            never,
        };
        Held {
            reading: is_reading,
            read,
            ..start(source)
        }
    }

    fn start(source: impl Source + 'static) -> Held {
        let ((_, reading), (read, _)) = (mpsc::channel(), mpsc::channel());
        let ((emptied, is_emptied), (told, held)) = (mpsc::channel(), mpsc::channel());
        let listener = Holding {
            emptied,
            held: crate::sync::Mutex::new(held),
        };
        let halt = Arc::<Halt>::default();
        let signal = Arc::<Signal>::default();
        let progress = Progress::new(vec![signal.clone()], Box::new(listener), false);
        let no_letters = || unreachable!("no dead letter comes");
        let (letters, _) = Letters::new(
            Box::new(no_letters),
            LettersBookmark::fresh(),
            Arc::default(),
            halt.clone(),
        );
        let inlet = Inlet::new("s", 0, Box::new(source), signal, progress);
        let thread = inlet.reading(Parts {
            edges: Arc::default(),
            letters,
            halt: halt.clone(),
            account: Arc::default(),
            clock: Arc::new(ManualClock::new(0)),
            epochs: Arc::default(),
            pipeline: "p".into(),
            batch_events: 1,
        });
        Held {
            inlet,
            halt,
            reader: thread.start(Errands::unshared()),
            reading,
            read,
            emptied: is_emptied,
            told,
        }
    }

    #[test]
    fn the_bookmark_of_a_source_at_its_end_is_waited_for() {
        let held = start_silent(Some(7.into()));
        drop(held.read);
        held.emptied.recv().unwrap();
        assert!(!held.reader.is_finished() && held.inlet.is_joinable(&held.reader));
        drop(held.told);
        held.reader.join().unwrap();
        assert_eq!(held.inlet.bookmark(), Some(7.into()));
    }

    #[test]
    fn a_read_that_was_given_up_is_not_waited_for() {
        let held = start_silent(None);
        held.reading.recv().unwrap();
        drop(held.told);
        held.inlet.stop();
        held.emptied.recv().unwrap();
        assert!(!held.inlet.is_joinable(&held.reader));
        drop(held.read);
        held.reader.join().unwrap();
        assert_eq!(held.inlet.bookmark(), None);
    }

    #[test]
    fn a_source_that_panics_fails_the_pipeline_and_is_at_its_end() {
        let held = start(Panicking);
        drop(held.told);
        held.emptied.recv().unwrap();
        let failure = held.halt.failure().unwrap();
        assert_eq!(failure.to_string(), "source `s`: panicked: it can't bear it");
        held.reader.join().unwrap();
    }

    /// A source of ten batches without events.
    struct Empty {
        reads: u32,
        bookmarks: Arc<AtomicU64>,
    }

    impl Source for Empty {
        fn read(&mut self, _: &mut Intake, _: Quota) -> Result<Read, source::Error> {
            self.reads += 1;
            Ok(if self.reads < 10 { Read::More } else { Read::End })
        }

        fn bookmark(&self) -> Option<Bookmark> {
            self.bookmarks.fetch_add(1, Ordering::SeqCst);
            Some(self.reads.into())
        }

        fn progress(&self) -> Option<source::Progress> {
            None
        }
    }

    #[test]
    fn a_source_is_asked_where_it_is_at_its_start_and_at_its_end() {
        let bookmarks = Arc::<AtomicU64>::default();
        let held = start(Empty {
            reads: 0,
            bookmarks: bookmarks.clone(),
        });
        drop(held.told);
        held.reader.join().unwrap();
        assert_eq!(held.inlet.bookmark(), Some(10.into()));
        assert_eq!(bookmarks.load(Ordering::SeqCst), 2);
    }
}
