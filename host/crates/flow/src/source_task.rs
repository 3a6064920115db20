//! From a source into the pipeline.
//!
//! One thread per source ([`SourceTask`]) reads, opens a ticket for what it read, and sends it on; it pauses while what
//! it would add to is full, or a checkpoint is being taken, and ends at the source's end or when it is told to. To read
//! and to send on is one effect: between two of them the source's offset covers exactly what was sent. Here is the
//! handle by which others stop it and see how far it is.

mod event_time;
mod reading;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use dirigo_ground::sync::Mutex;

use dirigo_connect::source::{self, Offset, Source};
use dirigo_ground::clock::nanoseconds;
use dirigo_ground::lineage::{Progress, SourceIndex};
use dirigo_ground::signal::Signal;
pub use event_time::Leap;
pub use reading::{EventTimeOptions, Projection, ReadStep, SourceTask, SourceTaskParts, SourceThread};

/// The handle of a source's thread.
pub struct SourceHandle {
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
    /// Since when it has had nothing to read, in ns on the host's clock; [`HEARD`] where it had something last.
    silent_since_ns: AtomicU64,
    leap: Mutex<Option<Leap>>,
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

/// Not silent.
const HEARD: u64 = u64::MAX;

impl SourceHandle {
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
            silent_since_ns: AtomicU64::new(HEARD),
            leap: Mutex::new(None),
            progress,
        })
    }

    /// The event that moved its watermark furthest, where others after it came behind the watermark.
    #[must_use]
    pub fn leap(&self) -> Option<Leap> {
        *self.leap.lock()
    }

    /// What its thread does, to be done step by step.
    #[must_use]
    pub fn task(self: &Arc<Self>, parts: SourceTaskParts) -> SourceTask {
        SourceTask::new(self.clone(), parts)
    }

    /// Where to read on after all that it sent; `None` where that is not possible. Nobody reads meanwhile: the pipeline is
    /// paused, or its thread has ended.
    #[must_use]
    pub fn offset(&self) -> Option<Offset> {
        if self.is_replayable {
            self.source.lock().offset()
        } else {
            None
        }
    }

    /// Says that an epoch is durable, at the cut of which [`offset`](Self::offset) gave this. Waits for a read that is
    /// under way; one of a source that has offsets does not last.
    ///
    /// # Errors
    /// When the source fails.
    pub fn committed(&self, offset: &Offset) -> Result<(), source::Error> {
        self.source.lock().committed(offset)
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
        self.signal.notify();
    }

    /// Whether it was read to its end, and did not stop before.
    #[must_use]
    pub fn is_read_up(&self) -> bool {
        self.is_read_up.load(Ordering::SeqCst)
    }

    /// Has it hold back no operator's event time while it is silent, if it has been for `idle`; `now_ns` is the time.
    pub fn rest_if_silent(&self, idle: Duration, now_ns: u64) {
        let is_silent = || {
            let since_ns = self.silent_since_ns.load(Ordering::SeqCst);
            since_ns != HEARD && now_ns.saturating_sub(since_ns) >= nanoseconds(idle)
        };
        self.progress.rest(self.index, is_silent);
    }

    fn note_silence(&self, now_ns: u64) {
        let _ = self
            .silent_since_ns
            .compare_exchange(HEARD, now_ns, Ordering::SeqCst, Ordering::SeqCst);
    }

    fn note_heard(&self) {
        self.silent_since_ns.store(HEARD, Ordering::SeqCst);
    }

    /// How many of the events that it sent on are on their way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.progress.in_flight(self.index)
    }

    /// When the oldest of its events arrived that are on their way, in ns on the host's clock.
    #[must_use]
    pub fn oldest_arrival_ns(&self) -> Option<u64> {
        self.progress.oldest_arrival_ns(self.index)
    }

    /// Whether nothing more comes of it: it is at its end, has stopped, or was left to itself in a read.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.state.load(Ordering::SeqCst), ABANDONED | ENDED)
    }

    /// Whether its thread can be waited for: not while it is in a read that was given up.
    #[must_use]
    pub fn is_joinable(&self, source_thread: &SourceThread) -> bool {
        self.state.load(Ordering::SeqCst) != ABANDONED || source_thread.is_finished()
    }

    /// How many records it has read, those that were no events included.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.events_in.load(Ordering::Acquire) + self.dead_letters.load(Ordering::Acquire)
    }

    /// Whether it has read so many records, and all that came of them is finished.
    #[must_use]
    pub fn has_finished(&self, records: u64) -> bool {
        self.records() >= records && self.progress.in_flight(self.index) == 0
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

impl std::fmt::Debug for SourceHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SourceHandle")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;
    use crate::{DeadLetterOffset, DeadLetters, FailureLatch};
    use dirigo_connect::Sink;
    use dirigo_connect::source::{Intake, Read, ReadLimit};
    use dirigo_connectors::memory::MemorySink;
    use dirigo_ground::clock::ManualClock;
    use dirigo_ground::limits::Budget;
    use dirigo_ground::lineage::{Listener, ReadBatch};
    use dirigo_ground::quota::Quota;
    use dirigo_scheduler::{IoPermits, PolicyKind, Scheduler};

    /// Says that the pipeline is empty, and then holds the caller until the other end is dropped.
    #[derive(Debug)]
    struct Holding {
        emptied: Sender<()>,
        held: dirigo_ground::sync::Mutex<Receiver<()>>,
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
        offset: Option<Offset>,
        reading: Sender<()>,
        never: Receiver<()>,
    }

    impl Source for Silent {
        fn read(&mut self, _: &mut Intake, _: ReadLimit) -> Result<Read, source::Error> {
            let _ = self.reading.send(());
            let _ = self.never.recv();
            Ok(Read::End)
        }

        fn offset(&self) -> Option<Offset> {
            self.offset.clone()
        }

        fn progress(&self) -> Option<source::ReadProgress> {
            None
        }
    }

    struct Panicking;

    impl Source for Panicking {
        fn read(&mut self, _: &mut Intake, _: ReadLimit) -> Result<Read, source::Error> {
            panic!("it can't bear it");
        }

        fn offset(&self) -> Option<Offset> {
            Some(7.into())
        }

        fn progress(&self) -> Option<source::ReadProgress> {
            None
        }
    }

    /// The handle of a source whose thread runs, and the ends by which a test holds both.
    struct HeldSource {
        source_handle: Arc<SourceHandle>,
        failure_latch: Arc<FailureLatch>,
        source_thread: SourceThread,
        reading: Receiver<()>,
        read: Sender<()>,
        emptied: Receiver<()>,
        told: Sender<()>,
    }

    fn start_silent(offset: Option<Offset>) -> HeldSource {
        let ((reading, is_reading), (read, never)) = (mpsc::channel(), mpsc::channel());
        let source = Silent { offset, reading, never };
        HeldSource {
            reading: is_reading,
            read,
            ..start(source)
        }
    }

    fn start(source: impl Source + 'static) -> HeldSource {
        start_with(source, IoPermits::unshared(), 1)
    }

    fn start_with(source: impl Source + 'static, io_permits: IoPermits, batch_events: usize) -> HeldSource {
        let ((_, reading), (read, _)) = (mpsc::channel(), mpsc::channel());
        let ((emptied, is_emptied), (told, held)) = (mpsc::channel(), mpsc::channel());
        let listener = Holding {
            emptied,
            held: dirigo_ground::sync::Mutex::new(held),
        };
        let failure_latch = Arc::<FailureLatch>::default();
        let signal = Arc::<Signal>::default();
        let progress = Progress::new(vec![signal.clone()], Box::new(listener), false);
        let dead_letters = no_dead_letters(&failure_latch);
        let source_handle = SourceHandle::new("s", 0, Box::new(source), signal, progress);
        let thread = source_handle.task(SourceTaskParts {
            batch_events,
            ..parts(dead_letters, failure_latch.clone())
        });
        HeldSource {
            source_handle,
            failure_latch,
            source_thread: thread.start(io_permits),
            reading,
            read,
            emptied: is_emptied,
            told,
        }
    }

    fn no_dead_letters(failure_latch: &Arc<FailureLatch>) -> Arc<DeadLetters> {
        let open = || unreachable!("no dead letter comes");
        let (dead_letters, _) = DeadLetters::new(
            Box::new(open),
            DeadLetterOffset::fresh(),
            Arc::default(),
            failure_latch.clone(),
            Arc::new(ManualClock::new(0)),
        );
        dead_letters
    }

    fn parts(dead_letters: Arc<DeadLetters>, failure_latch: Arc<FailureLatch>) -> SourceTaskParts {
        SourceTaskParts {
            wanted: Projection::default(),
            edges: Arc::default(),
            dead_letters,
            failure_latch,
            quota: Arc::default(),
            clock: Arc::new(ManualClock::new(0)),
            epochs: Arc::default(),
            pipeline: "p".into(),
            batch_events: 1,
            event_time: None,
            max_ahead: None,
        }
    }

    /// Says how many events it was asked for.
    struct Asked(Sender<usize>);

    impl Source for Asked {
        fn read(&mut self, _: &mut Intake, limit: ReadLimit) -> Result<Read, source::Error> {
            self.0.send(limit.events).unwrap();
            Ok(Read::End)
        }

        fn offset(&self) -> Option<Offset> {
            Some(7.into())
        }

        fn progress(&self) -> Option<source::ReadProgress> {
            None
        }
    }

    #[test]
    fn a_source_reads_smaller_batches_next_to_another_tenant() {
        let scheduler = Arc::new(Scheduler::<()>::new(PolicyKind::Fair, Arc::new(ManualClock::new(0))));
        let asked_for = |batch_events: usize| {
            let (asked, was_asked) = mpsc::channel();
            let held = start_with(Asked(asked), scheduler.io_permits(0, false), batch_events);
            drop(held.told);
            held.source_thread.join().unwrap();
            was_asked.recv().unwrap()
        };
        assert_eq!(asked_for(1024), 1024);
        scheduler.share();
        assert_eq!((asked_for(1024), asked_for(3)), (256, 3));
    }

    #[test]
    fn the_offset_of_a_source_at_its_end_is_waited_for() {
        let held = start_silent(Some(7.into()));
        drop(held.read);
        held.emptied.recv().unwrap();
        assert!(!held.source_thread.is_finished() && held.source_handle.is_joinable(&held.source_thread));
        drop(held.told);
        held.source_thread.join().unwrap();
        assert_eq!(held.source_handle.offset(), Some(7.into()));
    }

    #[test]
    fn a_read_that_was_given_up_is_not_waited_for() {
        let held = start_silent(None);
        held.reading.recv().unwrap();
        drop(held.told);
        held.source_handle.stop();
        held.emptied.recv().unwrap();
        assert!(!held.source_handle.is_joinable(&held.source_thread));
        drop(held.read);
        held.source_thread.join().unwrap();
        assert_eq!(held.source_handle.offset(), None);
    }

    #[test]
    fn a_source_that_panics_fails_the_pipeline_and_is_at_its_end() {
        let held = start(Panicking);
        drop(held.told);
        held.emptied.recv().unwrap();
        let failure = held.failure_latch.failure().unwrap();
        assert_eq!(failure.to_string(), "source `s`: panicked: it can't bear it");
        held.source_thread.join().unwrap();
    }

    /// A source of ten batches without events.
    struct Empty {
        reads: u32,
        offsets: Arc<AtomicU64>,
    }

    impl Source for Empty {
        fn read(&mut self, _: &mut Intake, _: ReadLimit) -> Result<Read, source::Error> {
            self.reads += 1;
            Ok(if self.reads < 10 { Read::More } else { Read::End })
        }

        fn offset(&self) -> Option<Offset> {
            self.offsets.fetch_add(1, Ordering::SeqCst);
            Some(self.reads.into())
        }

        fn progress(&self) -> Option<source::ReadProgress> {
            None
        }
    }

    #[test]
    fn a_source_is_asked_where_it_is_at_its_start_and_at_its_end() {
        let offsets = Arc::<AtomicU64>::default();
        let held = start(Empty {
            reads: 0,
            offsets: offsets.clone(),
        });
        drop(held.told);
        held.source_thread.join().unwrap();
        assert_eq!(held.source_handle.offset(), Some(10.into()));
        assert_eq!(offsets.load(Ordering::SeqCst), 2);
    }

    /// The positions of records that a read accepts, and of those that it refuses.
    type Records = (&'static [u64], &'static [u64]);

    /// A source that cannot be read again.
    struct Spoken(std::slice::Iter<'static, Records>);

    impl Source for Spoken {
        fn read(&mut self, intake: &mut Intake, _: ReadLimit) -> Result<Read, source::Error> {
            let Some((accepted, refused)) = self.0.next() else {
                return Ok(Read::End);
            };
            for &position in *accepted {
                intake.times.push(0);
                intake.keys.push(b"");
                intake.values.push(b"");
                intake.positions.push(position);
            }
            for &position in *refused {
                intake.refuse(position, b"", "it is broken".into());
            }
            Ok(Read::More)
        }

        fn offset(&self) -> Option<Offset> {
            None
        }

        fn progress(&self) -> Option<source::ReadProgress> {
            None
        }
    }

    #[derive(Debug)]
    struct Deaf;

    impl Listener for Deaf {
        fn advanced(&self) {}
        fn emptied(&self) {}
    }

    /// Where a run of these reads comes to that goes on at `next_position`, and the positions of its dead letters.
    fn run(next_position: u64, reads: &'static [Records]) -> (u64, Vec<u64>) {
        let (sink, taken) = MemorySink::new();
        let open = Box::new(|| Ok(Box::new(sink) as Box<dyn Sink>));
        let failure_latch = Arc::<FailureLatch>::default();
        let (dead_letters, mut writing) = DeadLetters::new(
            open,
            DeadLetterOffset::fresh(),
            Arc::default(),
            failure_latch.clone(),
            Arc::new(ManualClock::new(0)),
        );
        let signal = Arc::<Signal>::default();
        let progress = Progress::new(vec![signal.clone()], Box::new(Deaf), false);
        progress.resume(0, next_position);
        let source_handle = SourceHandle::new("s", 0, Box::new(Spoken(reads.iter())), signal, progress.clone());
        let mut reading = source_handle.task(parts(dead_letters, failure_latch));
        while reading.step() != ReadStep::Ended {}
        while writing.step() {}
        let position =
            |line: &[u8]| serde_json::from_slice::<serde_json::Value>(line).unwrap()["event"]["position"].as_u64();
        let positions = taken.lock().iter().filter_map(position).collect();
        (progress.next_position(0), positions)
    }

    #[test]
    fn what_was_refused_has_its_position_for_good() {
        assert_eq!(run(0, &[(&[], &[1])]), (2, vec![1]), "nothing else was read");
        assert_eq!(run(2, &[(&[], &[1])]), (3, vec![2]), "positions go on after a restart");
        assert_eq!(run(3, &[(&[1, 2], &[3])]), (6, vec![5]), "it came last of its batch");
        assert_eq!(run(6, &[(&[2], &[1]), (&[3], &[])]), (9, vec![6]), "it came first");
        assert_eq!(
            run(9, &[(&[1], &[]), (&[], &[2, 3])]),
            (12, vec![10, 11]),
            "the last batch was nothing else"
        );
        assert_eq!(run(12, &[(&[], &[])]), (12, vec![]), "nothing was read");
    }

    #[test]
    fn a_source_whose_tenant_has_no_memory_left_reads_batch_by_batch() {
        let quota = Arc::new(Quota::new(Budget {
            memory: Some(1),
            ..Budget::default()
        }));
        let failure_latch = Arc::<FailureLatch>::default();
        let signal = Arc::<Signal>::default();
        let progress = Progress::new(vec![signal.clone()], Box::new(Deaf), false);
        let records: &[Records] = &[(&[2], &[]), (&[3], &[]), (&[4], &[])];
        let source_handle = SourceHandle::new(
            "s",
            0,
            Box::new(Spoken(records.iter())),
            signal.clone(),
            progress.clone(),
        );
        let mut reading = source_handle.task(SourceTaskParts {
            quota: quota.clone(),
            ..parts(no_dead_letters(&failure_latch), failure_latch)
        });
        let events_in = || source_handle.events_in.load(Ordering::Relaxed);
        let first = ReadBatch {
            first: 1,
            last: 1,
            events: 1,
            bytes: 1,
            arrival_ns: 0,
            watermark: dirigo_ground::lineage::BEFORE_ALL,
        };
        let under_way = progress.open(0, &first);
        assert_eq!((reading.step(), events_in()), (ReadStep::Again, 1), "there is memory");
        quota.add_memory(1);
        let seen = signal.seen();
        assert_eq!(reading.step(), ReadStep::Wait { seen, at_most: None });
        assert_eq!(events_in(), 1, "a batch is under way");
        drop(under_way);
        assert!(signal.seen() > seen);
        assert_eq!((reading.step(), events_in()), (ReadStep::Again, 2), "none is");
    }
}
