//! Where events come from, and how far those of each source have come.
//!
//! Every batch that a source reads gets a [`Ticket`], which all that derives from the batch shares; when the last of it is
//! gone, the batch is done with. So the host knows what is in flight, up to where everything is finished, and when a
//! pipeline is empty, without a word from operators. A sink that restores the order of the source trades tickets for a
//! [`HeldLoad`]: what it holds back is no longer in flight, and takes its source's room all the same.

mod watermarks;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::sync::Mutex;

use crate::behind::Behind;
use crate::signal::Signal;
use watermarks::Time;
pub use watermarks::{AFTER_ALL, BEFORE_ALL, Watermark};

/// What lies between two cuts of a pipeline, counted from 1 in each run.
pub type Epoch = u32;

/// A line: the source of a pipeline that an event entered by, by its place in the pipeline file; or behind the sources a timed
/// operator, which put it out when event time came to it.
pub type SourceIndex = u16;

/// Where the events of a batch come from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The oldest batch of the source that has a part in this one.
    pub ticket: Arc<Ticket>,
    /// Which of the ways from the source to here they took, where the graph joins several.
    pub path: u32,
    /// By which output they leave an operator. Events on their way to the next one bear nothing of that.
    pub output: OutputTag,
    /// Which of them came behind the watermark of the source.
    pub behind: Behind,
}

/// An output of an operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputTag {
    /// Its own.
    #[default]
    Own,
    /// One with a name, by its place among those that something reads.
    Named(u16),
}

impl Origin {
    /// That of some of the events, or of others that derive from them: which came behind is made by `behind`.
    #[must_use]
    pub fn of(&self, behind: impl FnOnce(&Behind) -> Behind) -> Self {
        Self {
            ticket: self.ticket.clone(),
            path: self.path,
            output: self.output,
            behind: behind(&self.behind),
        }
    }
}

impl From<Arc<Ticket>> for Origin {
    fn from(ticket: Arc<Ticket>) -> Self {
        Self {
            ticket,
            path: 0,
            output: OutputTag::Own,
            behind: Behind::default(),
        }
    }
}

/// Positions from here on are not of records: they count the windows that are closed because the input has ended
/// of a pipeline, which so come behind everything that any source reads. Doubles, which JSON knows, tell them apart.
pub const WINDOWS_FROM: u64 = 1 << 52;

/// Events of one source that may be in flight or held back, from reading to the sink: they bound a pipeline's memory.
const EVENTS_MAX: u64 = 256 << 10;
/// Bytes of one source that may be in flight or held back.
const BYTES_MAX: u64 = 128 << 20;

/// What is in flight in one pipeline.
#[derive(Debug)]
pub struct Progress {
    /// Of each line: first the sources, then timed operators.
    sources: Vec<SourceProgress>,
    /// How many of them are sources.
    read: usize,
    /// Held by who looks which sources are idle, until what follows from that is done, and by a source that wakes up.
    wakes: Mutex<()>,
    /// For each timed operator, the lines that come to it.
    inputs: OnceLock<Vec<Vec<SourceIndex>>>,
    /// Whether sources wait because closing lags: more is due than is put on its way in one go.
    is_closing_behind: AtomicBool,
    /// Tickets of windows that are not done with.
    windows: AtomicUsize,
    /// Rings when a frontier moves, for sinks that keep the order of the source.
    listener: Box<dyn Listener>,
    keeps_order: bool,
}

/// Is notified when something is finished.
pub trait Listener: Send + Sync + std::fmt::Debug {
    /// The frontier of a source moved.
    fn advanced(&self);
    /// All sources are at their end and nothing is in flight.
    fn emptied(&self);
    /// Event time has passed on a line.
    fn time_passed(&self) {}
    /// Whether the operator whose windows put out what comes of this line has some open.
    fn has_windows(&self, _line: SourceIndex) -> bool {
        false
    }
}

#[derive(Debug)]
struct SourceProgress {
    state: Mutex<SourceState>,
    room: Arc<Signal>,
    /// Whether the source waits for room.
    waits: AtomicBool,
    /// Whether it waits for slower ones.
    is_ahead: AtomicBool,
}

impl SourceProgress {
    fn make_room(&self) {
        if self.waits.swap(false, Ordering::SeqCst) {
            self.room.notify();
        }
    }

    fn let_faster_on(&self) {
        if self.is_ahead.swap(false, Ordering::SeqCst) {
            self.room.notify();
        }
    }
}

#[derive(Debug, Default)]
struct SourceState {
    /// The number of the ticket at the front of `open`.
    oldest: u64,
    open: VecDeque<OpenTicket>,
    /// Of the tickets that are not done with.
    live: Load,
    /// Of what sinks hold back.
    held: Load,
    next_position: u64,
    ended: bool,
    /// Whether it is what windows put out, and no source: it ends when nothing comes to it any more.
    is_of_windows: bool,
    time: Time,
}

impl SourceState {
    /// Whether nothing comes behind what is in flight.
    fn is_read_up(&self) -> bool {
        self.ended || (self.is_of_windows && self.time.is_at_end())
    }

    fn has_ended(&self) -> bool {
        self.open.is_empty() && (self.ended || self.is_of_windows)
    }
}

#[derive(Clone, Copy, Debug)]
struct OpenTicket {
    first_position: u64,
    arrival_ns: u64,
    load: Load,
    watermark: Watermark,
    done: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Load {
    events: u64,
    bytes: u64,
}

impl Load {
    fn add(&mut self, other: Load) {
        self.events += other.events;
        self.bytes += other.bytes;
    }

    fn remove(&mut self, other: Load) {
        self.events -= other.events;
        self.bytes -= other.bytes;
    }

    fn is_too_much(self) -> bool {
        self.events >= EVENTS_MAX || self.bytes >= BYTES_MAX
    }
}

impl Progress {
    /// The progress of a pipeline with a source for each of `rooms`, which ring when there is room for more. With
    /// `keeps_order` a sink holds events back until all before them are finished.
    #[must_use]
    pub fn new(rooms: Vec<Arc<Signal>>, listener: Box<dyn Listener>, keeps_order: bool) -> Arc<Self> {
        Self::with_windows(rooms, 0, listener, keeps_order)
    }

    /// The same, with a line for each of the timed `operators`: these lines come behind the sources.
    #[must_use]
    pub fn with_windows(
        rooms: Vec<Arc<Signal>>,
        operators: usize,
        listener: Box<dyn Listener>,
        keeps_order: bool,
    ) -> Arc<Self> {
        let line = |room, is_of_windows| SourceProgress {
            state: Mutex::new(SourceState {
                is_of_windows,
                ..SourceState::default()
            }),
            room,
            waits: AtomicBool::new(false),
            is_ahead: AtomicBool::new(false),
        };
        let read = rooms.len();
        let sources = rooms.into_iter().map(|room| line(room, false));
        let windows = (0..operators).map(|_| line(Arc::default(), true));
        Arc::new(Self {
            sources: sources.chain(windows).collect(),
            read,
            wakes: Mutex::default(),
            inputs: OnceLock::new(),
            is_closing_behind: AtomicBool::new(false),
            windows: AtomicUsize::new(0),
            listener,
            keeps_order,
        })
    }

    /// Whether a source should read on. If not, its signal will ring when it should.
    ///
    /// That always comes, though a sink may hold the events of one source back for another. Of all sources there is one whose
    /// frontier is furthest behind; once nothing of it is in flight, its own events lie before all frontiers and no sink holds
    /// them. So it reads on, and its frontier moves past the next.
    ///
    /// Where memory `is_short` it reads on once nothing of it is in flight: batch by batch, but never not at all. Windows that an
    /// interrupted run was closing are done with before anything is read that comes behind them.
    #[must_use]
    pub fn has_room(&self, source: SourceIndex, is_short: bool) -> bool {
        let line = &self.sources[usize::from(source)];
        let state = line.state.lock();
        let mut load = state.live;
        load.add(state.held);
        let is_full = load.is_too_much() || (is_short && state.live.events > 0);
        let awaits_windows =
            || self.windows.load(Ordering::SeqCst) > 0 || self.is_closing_behind.load(Ordering::SeqCst);
        line.waits.store(is_full || awaits_windows(), Ordering::SeqCst);
        // Looked at again: the last of them may have been done with before it was noted that somebody waits.
        !is_full && !awaits_windows()
    }

    /// Opens a ticket for a batch of events. All that was read with it counts as read, whether or not it became an event.
    #[must_use]
    pub fn open(self: &Arc<Self>, source: SourceIndex, read: &ReadBatch) -> Arc<Ticket> {
        let mut state = self.sources[usize::from(source)].state.lock();
        let number = state.oldest + state.open.len() as u64;
        let load = Load {
            events: read.events as u64,
            bytes: read.bytes as u64,
        };
        state.open.push_back(OpenTicket {
            first_position: read.first,
            arrival_ns: read.arrival_ns,
            load,
            watermark: read.watermark,
            done: false,
        });
        state.live.add(load);
        let has_passed = state.time.read(read.watermark);
        if read.first >= WINDOWS_FROM {
            self.windows.fetch_add(1, Ordering::SeqCst);
        } else {
            state.next_position = state.next_position.max(read.last + 1);
        }
        drop(state);
        if has_passed {
            self.ring_for_faster();
        }
        Arc::new(Ticket {
            progress: Some(self.clone()),
            source,
            number,
            first_position: read.first,
            arrival_ns: read.arrival_ns,
        })
    }

    /// The lowest position of a source that it may read next; all before it were read.
    #[must_use]
    pub fn next_position(&self, source: SourceIndex) -> u64 {
        self.sources[usize::from(source)].state.lock().next_position
    }

    /// Goes on after a restart: everything of the source before `next_position` was read.
    pub fn resume(&self, source: SourceIndex, next_position: u64) {
        let mut state = self.sources[usize::from(source)].state.lock();
        state.next_position = state.next_position.max(next_position);
    }

    /// Notes that a source read on up to position `last`, and that no event came of it.
    pub fn pass_over(&self, source: SourceIndex, last: u64) {
        self.resume(source, last + 1);
        if self.keeps_order {
            self.listener.advanced();
        }
    }

    /// Notes that a source is at its end.
    pub fn end(&self, source: SourceIndex) {
        self.sources[usize::from(source)].state.lock().ended = true;
        self.listener.advanced();
        self.check_empty();
    }

    /// How many events of a source are on their way.
    #[must_use]
    pub fn in_flight(&self, source: SourceIndex) -> u64 {
        self.sources[usize::from(source)].state.lock().live.events
    }

    /// When the oldest events of a source arrived that are on their way, in ns on the host's clock; `None` where none are.
    #[must_use]
    pub fn oldest_arrival_ns(&self, source: SourceIndex) -> Option<u64> {
        let state = self.sources[usize::from(source)].state.lock();
        state.open.front().map(|open| open.arrival_ns)
    }

    /// The first position of a source that is not finished; all before it are.
    #[must_use]
    pub fn frontier(&self, source: SourceIndex) -> u64 {
        let state = self.sources[usize::from(source)].state.lock();
        let unread = if state.is_read_up() {
            u64::MAX
        } else {
            state.next_position
        };
        match state.open.front() {
            Some(open) if open.first_position < WINDOWS_FROM => open.first_position,
            // Windows that an interrupted run was closing stand before what this one reads, though their positions come behind.
            Some(_) => state
                .open
                .iter()
                .fold(unread, |least, open| least.min(open.first_position)),
            None => unread,
        }
    }

    /// Whether all sources are at their end and nothing is in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.iter().all(|line| {
            let state = line.state.lock();
            state.has_ended()
        })
    }

    fn close(&self, source: SourceIndex, number: u64) {
        let line = &self.sources[usize::from(source)];
        let mut state = line.state.lock();
        let index = usize::try_from(number - state.oldest).expect("tickets in flight are bounded");
        state.open[index].done = true;
        let OpenTicket {
            load, first_position, ..
        } = state.open[index];
        state.live.remove(load);
        let mut advanced = false;
        while let Some(OpenTicket { watermark, .. }) = state.open.pop_front_if(|open| open.done) {
            let is_last = state.open.is_empty();
            state.time.done(watermark, is_last);
            state.oldest += 1;
            advanced = true;
        }
        let is_last = state.has_ended();
        drop(state);
        line.make_room();
        if first_position >= WINDOWS_FROM && self.windows.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.sources.iter().for_each(SourceProgress::make_room);
        }
        if advanced && self.keeps_order {
            self.listener.advanced();
        }
        if advanced {
            self.listener.time_passed();
        }
        if is_last {
            self.check_empty();
        }
    }

    /// Counts what a sink holds back of a source from this position on, until that is dropped. What windows put out that were
    /// closed at the end of the input takes no room: it leaves at the end of the source, which so must not wait for it. Of that
    /// there is no more than of a few megabytes of windows ([`WINDOWS_FROM`]).
    #[must_use]
    pub fn hold(self: &Arc<Self>, source: SourceIndex, position: u64, events: usize, bytes: usize) -> HeldLoad {
        if position >= WINDOWS_FROM {
            return HeldLoad::default();
        }
        let load = Load {
            events: events as u64,
            bytes: bytes as u64,
        };
        self.sources[usize::from(source)].state.lock().held.add(load);
        self.ring_for_faster();
        HeldLoad {
            progress: Some(self.clone()),
            source,
            load,
        }
    }

    fn release(&self, source: SourceIndex, load: Load) {
        let line = &self.sources[usize::from(source)];
        line.state.lock().held.remove(load);
        line.make_room();
    }

    fn check_empty(&self) {
        if self.is_empty() {
            self.listener.emptied();
        }
    }
}

/// What a source read in one go.
#[derive(Clone, Copy, Debug)]
pub struct ReadBatch {
    /// Position of the first event.
    pub first: u64,
    /// Position of the last record, whether it became an event or was refused.
    pub last: u64,
    /// How many events.
    pub events: usize,
    /// How many bytes they take.
    pub bytes: usize,
    /// When, in ns on the host's clock.
    pub arrival_ns: u64,
    /// How far event time has come behind it.
    pub watermark: Watermark,
}

/// A share in a batch that a source read. The batch is done with when the last share is dropped.
#[derive(Debug)]
pub struct Ticket {
    progress: Option<Arc<Progress>>,
    source: SourceIndex,
    number: u64,
    first_position: u64,
    arrival_ns: u64,
}

impl Ticket {
    /// A ticket of no pipeline, for tests and tools that run an operator alone.
    #[must_use]
    pub fn detached() -> Arc<Self> {
        Arc::new(Self {
            progress: None,
            source: 0,
            number: 0,
            first_position: 0,
            arrival_ns: 0,
        })
    }

    /// The watermark on these lines once all that they have read is done with; the end of the ticket's own line does not count.
    #[must_use]
    pub fn time_to_come(&self, lines: &[SourceIndex]) -> Watermark {
        let progress = self.progress.as_ref();
        progress.map_or(BEFORE_ALL, |progress| progress.time_to_come(lines, self.source))
    }

    /// The watermark that the operator which receives the batch may rely on, where these lines are its inputs: that behind the batch, if its source is
    /// the only input; else the least watermark of batches that are fully processed. [`BEFORE_ALL`] for a detached ticket.
    #[must_use]
    pub fn time_reached(&self, lines: &[SourceIndex]) -> Watermark {
        let Some(progress) = &self.progress else {
            return BEFORE_ALL;
        };
        if *lines == [self.source] {
            return progress.watermark_behind(self.source, self.number);
        }
        progress.watermark_seen(lines).unwrap_or(BEFORE_ALL)
    }

    /// The source that read the batch.
    #[must_use]
    pub fn source(&self) -> SourceIndex {
        self.source
    }

    /// Counts the batches of the source from 0.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The position of its first event: whatever derives from it comes from there or behind.
    #[must_use]
    pub fn first_position(&self) -> u64 {
        self.first_position
    }

    /// When the batch was read, in ns on the host's clock.
    #[must_use]
    pub fn arrival_ns(&self) -> u64 {
        self.arrival_ns
    }

    /// Counts what a sink holds back of the batch, until that is dropped.
    #[must_use]
    pub fn hold(&self, events: usize, bytes: usize) -> HeldLoad {
        match &self.progress {
            Some(progress) => progress.hold(self.source, self.first_position, events, bytes),
            None => HeldLoad::default(),
        }
    }
}

/// What a sink holds back of a batch whose ticket it has given up.
#[derive(Debug, Default)]
pub struct HeldLoad {
    progress: Option<Arc<Progress>>,
    source: SourceIndex,
    load: Load,
}

impl Drop for HeldLoad {
    fn drop(&mut self) {
        if let Some(progress) = self.progress.take() {
            progress.release(self.source, self.load);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(progress) = self.progress.take() {
            progress.close(self.source, self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Recorded {
        advanced: Arc<AtomicUsize>,
        emptied: Arc<AtomicUsize>,
    }

    impl Listener for Recorded {
        fn advanced(&self) {
            self.advanced.fetch_add(1, Ordering::SeqCst);
        }

        fn emptied(&self) {
            self.emptied.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn read(first: u64, last: u64) -> ReadBatch {
        ReadBatch {
            first,
            last,
            events: 10,
            bytes: 100,
            arrival_ns: 0,
            watermark: BEFORE_ALL,
        }
    }

    #[test]
    fn the_frontier_waits_for_the_oldest() {
        let progress = Progress::new(vec![Arc::default()], Box::<Recorded>::default(), true);
        let (first, second) = (progress.open(0, &read(1, 10)), progress.open(0, &read(11, 20)));
        drop(second);
        assert_eq!(progress.frontier(0), 1);
        let derived = first.clone();
        drop(first);
        assert_eq!(progress.frontier(0), 1);
        drop(derived);
        assert_eq!(progress.frontier(0), 21);
    }

    #[test]
    fn what_no_event_came_of_was_read_all_the_same() {
        let seen = Recorded::default();
        let progress = Progress::new(vec![Arc::default()], Box::new(seen.clone()), true);
        progress.pass_over(0, 3);
        assert_eq!((progress.next_position(0), progress.frontier(0)), (4, 4));
        assert_eq!(
            seen.advanced.load(Ordering::SeqCst),
            1,
            "a sink may wait for that frontier"
        );
        let ticket = progress.open(0, &read(4, 10));
        progress.pass_over(0, 12);
        assert_eq!((progress.next_position(0), progress.frontier(0)), (13, 4));
        drop(ticket);
        assert_eq!(progress.frontier(0), 13);
    }

    #[test]
    fn a_pipeline_is_empty_when_all_sources_ended_and_nothing_is_in_flight() {
        let seen = Recorded::default();
        let progress = Progress::new(vec![Arc::default(), Arc::default()], Box::new(seen.clone()), false);
        let ticket = progress.open(1, &read(1, 10));
        progress.end(0);
        progress.end(1);
        assert_eq!(seen.emptied.load(Ordering::SeqCst), 0);
        drop(ticket);
        assert_eq!(seen.emptied.load(Ordering::SeqCst), 1);
        assert_eq!([0, 1].map(|source| progress.frontier(source)), [u64::MAX; 2]);
    }

    #[test]
    fn a_source_gets_room_back_when_its_events_are_done_with() {
        let signal = Arc::<Signal>::default();
        let progress = Progress::new(vec![signal.clone()], Box::<Recorded>::default(), false);
        let large = ReadBatch {
            bytes: 128 << 20,
            ..read(1, 10)
        };
        let ticket = progress.open(0, &large);
        assert!(!progress.has_room(0, false));
        let seen = signal.seen();
        drop(ticket);
        assert!(signal.seen() > seen && progress.has_room(0, false));
    }

    #[test]
    fn where_memory_is_short_a_source_reads_batch_by_batch() {
        let signal = Arc::<Signal>::default();
        let progress = Progress::new(vec![signal.clone(), Arc::default()], Box::<Recorded>::default(), true);
        assert!(progress.has_room(0, true), "one batch of it may always be under way");
        let ticket = progress.open(0, &read(1, 10));
        assert!(
            !progress.has_room(0, true) && progress.has_room(1, true),
            "each source has its own"
        );
        let held = ticket.hold(10, 100);
        let seen = signal.seen();
        drop(ticket);
        assert!(signal.seen() > seen, "it is told when the batch is done with");
        assert!(progress.has_room(0, true), "what a sink holds back is not under way");
        drop(held);
    }

    #[test]
    fn what_is_held_back_takes_the_room_of_its_source_alone() {
        let signal = Arc::<Signal>::default();
        let progress = Progress::new(vec![signal.clone(), Arc::default()], Box::<Recorded>::default(), true);
        let ticket = progress.open(0, &read(1, 10));
        let held = ticket.hold(256 << 10, 100);
        drop(ticket);
        assert_eq!((progress.in_flight(0), progress.frontier(0)), (0, 11));
        assert!(!progress.has_room(0, false) && progress.has_room(1, false));
        let seen = signal.seen();
        drop(held);
        assert!(signal.seen() > seen && progress.has_room(0, false));
    }

    #[test]
    fn windows_that_close_at_the_end_come_behind_all_that_is_read_and_leave_the_positions_of_records_alone() {
        let signals = [Arc::<Signal>::default(), Arc::default()];
        let progress = Progress::new(signals.to_vec(), Box::<Recorded>::default(), true);
        progress.resume(0, 21);
        // An interrupted run was closing them, and its input has grown since.
        let windows = progress.open(0, &read(WINDOWS_FROM + 5, WINDOWS_FROM + 9));
        assert_eq!((progress.frontier(0), progress.next_position(0)), (21, 21));
        assert!([0, 1].iter().all(|source| !progress.has_room(*source, false)));
        let seen = signals.each_ref().map(|signal| signal.seen());
        let held = windows.hold(1 << 30, 1 << 40);
        drop(windows);
        assert!(
            signals.iter().zip(seen).all(|(signal, seen)| signal.seen() > seen),
            "what comes behind them may be read now"
        );
        assert!(progress.has_room(0, false) && progress.has_room(1, false));
        drop(held);
        drop(progress.open(0, &read(21, 30)));
        assert_eq!((progress.frontier(0), progress.next_position(0)), (31, 31));
        progress.end(0);
        progress.end(1);
        let windows = progress.open(0, &read(WINDOWS_FROM + 10, WINDOWS_FROM + 19));
        assert_eq!((progress.frontier(0), progress.is_empty()), (WINDOWS_FROM + 10, false));
        drop(windows);
        assert_eq!((progress.frontier(0), progress.is_empty()), (u64::MAX, true));
    }
}
