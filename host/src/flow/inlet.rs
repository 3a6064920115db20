//! From a source into the pipeline.
//!
//! One thread per source reads, opens a ticket for what it read, and sends it on; it pauses while what it would add to is
//! full, and ends at the source's end or when it is told to.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use super::halt::{Failure, Halt, panicked};
use super::letters::{DeadLetter, Event, Letters};
use super::progress::{Progress, ReadBatch};
use super::signal::Signal;
use super::waiter::Waiter;
use crate::account::Account;
use crate::actor::Edge;
use crate::batch::{Batch, SourceIndex};
use crate::clock::Clock;
use crate::source::{Bookmark, Intake, Quota, Read, Refused, Source};

/// Bytes that one batch takes; a single record may be larger.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// The handle of a source's thread.
#[derive(Debug)]
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
    /// Where it reads.
    pub source: Box<dyn Source>,
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
    /// The pipeline's name.
    pub pipeline: String,
    /// Events that one batch takes.
    pub batch_events: usize,
}

/// The thread of a source; ends with its bookmark.
pub type Reader = std::thread::JoinHandle<Option<Bookmark>>;

impl Inlet {
    /// The handle of source `index`, whose thread is not running.
    #[must_use]
    pub fn new(id: &str, index: SourceIndex, signal: Arc<Signal>, progress: Arc<Progress>) -> Arc<Self> {
        Arc::new(Self {
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

    /// Starts the thread.
    ///
    /// # Panics
    /// When the system gives no thread.
    #[must_use]
    pub fn start(self: &Arc<Self>, parts: Parts) -> Reader {
        let inlet = self.clone();
        let name = format!("source {}", self.id);
        let halt = parts.halt.clone();
        let run = move || {
            let ending = Ending(inlet.clone());
            let read = catch_unwind(AssertUnwindSafe(|| Reading::new(inlet, parts).run()));
            let read = read.unwrap_or_else(|panic| Err(panicked(&*panic)));
            read.unwrap_or_else(|reason| {
                let id = ending.0.id.clone();
                halt.blow(Failure::Source { id, reason });
                None
            })
        };
        std::thread::Builder::new()
            .name(name)
            .spawn(run)
            .expect("the system gives a thread to each source")
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

/// Notes the end of a source when its thread is over, however that came: the end of the pipeline waits for it.
struct Ending(Arc<Inlet>);

impl Drop for Ending {
    fn drop(&mut self) {
        // One that was given up has been noted already.
        if self.0.state.swap(ENDED, Ordering::SeqCst) != ABANDONED {
            self.0.progress.end(self.0.index);
        }
    }
}

struct Reading {
    inlet: Arc<Inlet>,
    parts: Parts,
    /// Whether a read may take for ever, as only one of a source that cannot be read again does.
    may_block: bool,
}

impl Reading {
    fn new(inlet: Arc<Inlet>, parts: Parts) -> Self {
        // Asked once: to say where it is a file hashes what was read last.
        let may_block = parts.source.bookmark().is_none();
        Self {
            inlet,
            parts,
            may_block,
        }
    }

    /// Reads to the end, or says why it can't.
    fn run(mut self) -> Result<Option<Bookmark>, String> {
        while self.wait_for_room() {
            match self.read() {
                Ok(Read::More) => {}
                Ok(Read::Wait(pause)) => {
                    let heard = self.inlet.signal.heard();
                    if self.inlet.state.load(Ordering::SeqCst) == AWAKE {
                        self.inlet.signal.wait_past(heard, Some(pause));
                    }
                }
                Ok(Read::End) => {
                    self.inlet.is_read_up.store(true, Ordering::SeqCst);
                    break;
                }
                Err(Stop::Abandoned) => return Ok(None),
                Err(Stop::Failed(reason)) => return Err(reason),
            }
        }
        Ok(self.parts.source.bookmark())
    }

    /// Waits until the next batch may be read; `false` if none should be.
    fn wait_for_room(&self) -> bool {
        loop {
            let heard = self.inlet.signal.heard();
            if self.parts.halt.is_blown() || self.inlet.state.load(Ordering::SeqCst) != AWAKE {
                return false;
            }
            let waiter = || Waiter::Source(self.inlet.signal.clone());
            let letters = &self.parts.letters.gate;
            let is_short = self.parts.account.is_over_memory();
            let must_wait = !self.inlet.progress.has_room(self.inlet.index, is_short)
                || Edge::must_wait(&self.parts.edges, waiter)
                || (letters.is_full() && letters.wait(waiter()));
            if !must_wait {
                return true;
            }
            self.inlet.signal.wait_past(heard, None);
        }
    }

    fn read(&mut self) -> Result<Read, Stop> {
        let mut intake = Intake::default();
        let quota = Quota {
            events: self.parts.batch_events,
            bytes: BATCH_BYTES_MAX,
        };
        if self.may_block && !self.inlet.change(AWAKE, READING) {
            return Ok(Read::More);
        }
        let outcome = self.parts.source.read(&mut intake, quota);
        if self.may_block && !self.inlet.change(READING, AWAKE) {
            return Err(Stop::Abandoned);
        }
        if let Some(progress) = self.parts.source.progress() {
            self.inlet.done.store(progress.done, Ordering::Relaxed);
            self.inlet.total.store(progress.total, Ordering::Relaxed);
        }
        self.send(intake);
        outcome.map_err(|error| Stop::Failed(error.to_string()))
    }

    fn send(&self, intake: Intake) {
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
    use crate::source;

    /// Says that the pipeline is empty, and then holds whoever told it so until the other end is dropped.
    #[derive(Debug)]
    struct Holding {
        emptied: Sender<()>,
        held: parking_lot::Mutex<Receiver<()>>,
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
            held: held.into(),
        };
        let halt = Arc::<Halt>::default();
        let signal = Arc::<Signal>::default();
        let progress = Progress::new(vec![signal.clone()], Box::new(listener), false);
        let no_letters = || unreachable!("no dead letter comes");
        let (letters, _) = Letters::start(
            Box::new(no_letters),
            LettersBookmark::fresh(),
            Arc::default(),
            halt.clone(),
        );
        let inlet = Inlet::new("s", 0, signal, progress);
        let reader = inlet.start(Parts {
            source: Box::new(source),
            edges: Arc::default(),
            letters,
            halt: halt.clone(),
            account: Arc::default(),
            clock: Arc::new(ManualClock::new(0)),
            pipeline: "p".into(),
            batch_events: 1,
        });
        Held {
            inlet,
            halt,
            reader,
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
        assert_eq!(held.reader.join().unwrap(), Some(7.into()));
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
        assert_eq!(held.reader.join().unwrap(), None);
    }

    #[test]
    fn a_source_that_panics_fails_the_pipeline_and_is_at_its_end() {
        let held = start(Panicking);
        drop(held.told);
        held.emptied.recv().unwrap();
        let failure = held.halt.failure().unwrap();
        assert_eq!(failure.to_string(), "source `s`: panicked: it can't bear it");
        assert_eq!(held.reader.join().unwrap(), None);
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
        assert_eq!(held.reader.join().unwrap(), Some(10.into()));
        assert_eq!(bookmarks.load(Ordering::SeqCst), 2);
    }
}
