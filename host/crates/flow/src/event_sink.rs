//! From the workers to a sink.
//!
//! Owns in which order events leave, and how long they took to get here; the thread that writes them is a [`SinkTask`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

use dirigo_ground::sync::Mutex;
use hdrhistogram::Histogram;
use smallvec::{SmallVec, smallvec};

use super::edge::{self, Receiver as Receive};
use super::failure_latch::{Failure, FailureLatch};
use super::gate::Gate;
use super::reorder_buffer::ReorderBuffer;
use super::sink_task::{Arrivals, Cause, Encoded, Encoder, Inbox, Marked, SinkHandle, SinkTask};
use dirigo_connect::sink::{self, Sink};
use dirigo_ground::batch::Batch;
use dirigo_ground::clock::Clock;
use dirigo_ground::lineage::{Progress, SourceIndex};
use dirigo_ground::quota::Quota;
use dirigo_pipeline::Order;

/// The workers' end of a sink.
#[derive(Debug)]
pub struct EventSink {
    /// Its name in the pipeline.
    pub id: String,
    /// Events that were written.
    pub events_out: AtomicU64,
    /// From arrival at the source to the sink, in ns.
    pub latency: Mutex<Histogram<u64>>,
    task: SinkHandle<EventEncoder>,
    /// How far the sources were at a cut that the thread has yet to reach in what it was sent: what they have finished since
    /// then releases nothing of the epoch before.
    limit: Mutex<Option<Arc<[u64]>>>,
    /// Whether the thread has yet to look at the frontier.
    is_advance_queued: AtomicBool,
}

/// What a sink has at a cut: besides its end, what is held back to restore the order of the sources.
pub type MarkedEvents = Marked<Vec<(Batch, SourceIndex)>>;

/// What is sent to a sink.
#[derive(Debug)]
pub enum SinkInput {
    /// Events to be written.
    Batch(Batch),
    /// The frontier of a source moved.
    Advanced,
    /// Events of a source that a cut had found held back.
    Restored(Batch, SourceIndex),
}

/// What a sink is made of.
pub struct EventSinkParts {
    /// Where it writes.
    pub sink: Box<dyn Sink>,
    /// Which order it keeps.
    pub order: Order,
    /// The sources that lead to it: no other's events can come before those that it has.
    pub sources: Vec<SourceIndex>,
    /// What ends the pipeline if the sink fails.
    pub failure_latch: Arc<FailureLatch>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl EventSink {
    /// A sink's handle, and the start of its task: it waits for the progress that the pipeline makes.
    #[must_use]
    pub fn new(id: &str, quota: Arc<Quota>) -> (Arc<Self>, UnstartedSink) {
        /// Three significant digits: what a person reads.
        const DIGITS: u8 = 3;
        let latency = Histogram::new(DIGITS).expect("three digits are within what a histogram offers");
        let (task, inbox) = SinkHandle::new(quota);
        let event_sink = Arc::new(Self {
            id: id.to_owned(),
            events_out: AtomicU64::new(0),
            latency: Mutex::new(latency),
            task,
            limit: Mutex::new(None),
            is_advance_queued: AtomicBool::new(false),
        });
        (event_sink.clone(), UnstartedSink { event_sink, inbox })
    }

    /// Says that the frontier of a source moved.
    pub fn advance(&self) {
        if !self.is_advance_queued.swap(true, Ordering::SeqCst) {
            self.task.notify(SinkInput::Advanced);
        }
    }

    /// Ends the epoch behind all that was sent so far, with sources at `frontiers`, and has what there is then reported. The
    /// report is dropped where the sink fails.
    pub fn mark(&self, frontiers: Arc<[u64]>, report: impl FnOnce(MarkedEvents) + Send + 'static) {
        *self.limit.lock() = Some(frontiers);
        self.task.mark(report);
    }

    /// Shows readers the epoch of the last mark: it is committed.
    pub fn publish(&self) {
        self.task.publish();
    }

    /// Says that no more comes in this run, but for a last mark.
    pub fn end(&self) {
        self.task.end();
    }

    /// Takes back what a cut had found held back of a source.
    pub fn restore(&self, batch: Batch, source: SourceIndex) {
        self.task.notify(SinkInput::Restored(batch, source));
    }

    /// Has neither what comes nor the end of the thread wait for what has yet to be delivered.
    pub fn abandon_delivery(&self) {
        self.task.abandon_delivery();
    }

    /// Lets the thread end once it has written what it has, and that is delivered.
    pub fn close(&self) {
        self.task.close();
    }
}

impl Receive for EventSink {
    fn id(&self) -> &str {
        &self.id
    }

    fn receive(&self, message: edge::Message) {
        match message {
            edge::Message::Batch(batch) => {
                let (events, bytes) = (batch.len(), batch.size());
                self.task.admit(SinkInput::Batch(batch), events, bytes);
            }
        }
    }

    fn gate(&self) -> &Gate<Waker> {
        self.task.gate()
    }

    fn path_ns(&self) -> u64 {
        0
    }
}

/// A sink whose task does not know yet where to write.
#[derive(Debug)]
pub struct UnstartedSink {
    event_sink: Arc<EventSink>,
    inbox: Inbox<EventEncoder>,
}

impl UnstartedSink {
    /// The task, to be started or done step by step.
    #[must_use]
    pub fn task(self, parts: EventSinkParts, progress: Arc<Progress>) -> SinkTask<EventEncoder> {
        let name = format!("sink {}", self.event_sink.id);
        let encoder = EventEncoder {
            reorder_buffer: (parts.order == Order::Source).then(ReorderBuffer::default),
            event_sink: self.event_sink,
            sources: parts.sources,
            progress,
            clock: parts.clock.clone(),
        };
        SinkTask::new(name, encoder, parts.sink, self.inbox, parts.failure_latch, parts.clock)
    }
}

/// Makes values of events, in the order that the sink keeps.
pub struct EventEncoder {
    event_sink: Arc<EventSink>,
    sources: Vec<SourceIndex>,
    progress: Arc<Progress>,
    clock: Arc<dyn Clock>,
    /// What restores the order of the sources, where that is to be kept.
    reorder_buffer: Option<ReorderBuffer>,
}

impl EventEncoder {
    fn restore(&mut self, batch: Batch, source: SourceIndex) -> Option<Encoded> {
        let now_ns = self.clock.now_ns();
        let Some(reorder_buffer) = &mut self.reorder_buffer else {
            // It held them back for an order that it no longer keeps.
            return Some(all_of(batch, now_ns));
        };
        let position = batch.positions.first().copied().unwrap_or_default();
        let load = self.progress.hold(source, position, batch.len(), batch.size());
        reorder_buffer.restore(batch, source, now_ns, load);
        None
    }
}

/// All events of a batch that arrived then.
fn all_of(batch: Batch, arrival_ns: u64) -> Encoded {
    Encoded {
        arrivals: smallvec![(arrival_ns, batch.len())],
        times: batch.times,
        keys: batch.keys,
        values: batch.values.to_column(),
    }
}

impl Encoder for EventEncoder {
    type Input = SinkInput;
    type AtCut = Vec<(Batch, SourceIndex)>;

    fn encode(&mut self, input: SinkInput) -> Option<Encoded> {
        match input {
            SinkInput::Batch(batch) => {
                let Some(reorder_buffer) = &mut self.reorder_buffer else {
                    let arrival_ns = batch.origin.ticket.arrival_ns();
                    return Some(all_of(batch, arrival_ns));
                };
                reorder_buffer.hold(batch);
                self.release()
            }
            SinkInput::Advanced => self.release(),
            SinkInput::Restored(batch, source) => self.restore(batch, source),
        }
    }

    fn release(&mut self) -> Option<Encoded> {
        let reorder_buffer = self.reorder_buffer.as_mut()?;
        self.event_sink.is_advance_queued.store(false, Ordering::SeqCst);
        let sources = self.sources.iter();
        let frontiers: SmallVec<[_; 4]> = sources
            .map(|&source| (self.progress.frontier(source), source))
            .collect();
        // Looked at after the frontiers: one that has moved since a cut comes with the limit of that cut.
        let limit = self.event_sink.limit.lock().clone();
        let limited = frontiers.into_iter().map(|(frontier, source)| {
            let limit = limit.as_ref().map_or(u64::MAX, |limit| limit[usize::from(source)]);
            (frontier.min(limit), source)
        });
        let is_of_windows = |source: SourceIndex| self.progress.is_of_windows(source);
        let (windows, sources): (SmallVec<[_; 4]>, SmallVec<[_; 4]>) =
            limited.partition(|(_, source)| is_of_windows(*source));
        let before = sources.into_iter().min();
        let released = reorder_buffer.release(|position, source| {
            if is_of_windows(source) {
                let frontier = windows.iter().find(|(_, line)| *line == source);
                frontier.is_none_or(|(frontier, _)| position < *frontier)
            } else {
                before.is_none_or(|before| (position, source) < before)
            }
        });
        (!released.values.is_empty()).then_some(released)
    }

    fn cut(&mut self) -> Vec<(Batch, SourceIndex)> {
        *self.event_sink.limit.lock() = None;
        self.reorder_buffer.iter().flat_map(ReorderBuffer::held).collect()
    }

    fn written(&mut self, arrivals: &Arrivals) {
        let now_ns = self.clock.now_ns();
        let mut latency = self.event_sink.latency.lock();
        for &(arrival_ns, events) in arrivals {
            self.event_sink.events_out.fetch_add(events as u64, Ordering::Relaxed);
            let recorded = latency.record_n(now_ns.saturating_sub(arrival_ns), events as u64);
            recorded.expect("the histogram resizes itself");
        }
    }

    fn failure(&self, cause: Cause) -> Failure {
        let id = self.event_sink.id.clone();
        match cause {
            Cause::Medium(sink::Error::Closed) => Failure::Closed { id },
            cause => Failure::Sink {
                id,
                reason: cause.to_string(),
            },
        }
    }

    fn abandon(&mut self) {
        self.reorder_buffer = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use dirigo_ground::batch::Column;
    use dirigo_ground::clock::ManualClock;
    use dirigo_ground::fields::Fields;
    use dirigo_ground::lineage::{Listener, Ticket};
    use dirigo_scheduler::IoPermits;

    #[derive(Debug)]
    struct Deaf;

    impl Listener for Deaf {
        fn advanced(&self) {}
        fn emptied(&self) {}
    }

    /// A sink that writes as it is told to.
    struct Scripted<F>(F);

    impl<F: FnMut() -> Result<(), sink::Error> + Send> Sink for Scripted<F> {
        fn write(&mut self, _: sink::Events<'_>) -> Result<(), sink::Error> {
            (self.0)()
        }

        fn flush(&mut self) -> Result<(), sink::Error> {
            Ok(())
        }

        fn prepare(&mut self) -> Result<sink::Prepared, sink::Error> {
            Ok(sink::Prepared {
                offset: Some(7.into()),
                sync: None,
            })
        }

        fn publish(&mut self) -> Result<(), sink::Error> {
            Ok(())
        }

        fn delivery_capability(&self) -> sink::DeliveryCapability {
            sink::DeliveryCapability::WritesNothing
        }
    }

    fn batch() -> Batch {
        Batch {
            times: Arc::new(vec![0; 3]),
            keys: Arc::new(Column::of_empty(3)),
            values: Column::of_empty(3).into(),
            fields: Fields::default(),
            positions: Arc::new(vec![1, 2, 3]),
            origin: Ticket::detached().into(),
        }
    }

    /// What is left of a sink that got two batches of three: its failure, its offset, what was written.
    fn run(
        write: impl FnMut() -> Result<(), sink::Error> + Send + 'static,
    ) -> (Option<String>, Option<sink::Offset>, u64) {
        let (event_sink, unstarted) = EventSink::new("out", Arc::default());
        let failure_latch = Arc::<FailureLatch>::default();
        let parts = EventSinkParts {
            sink: Box::new(Scripted(write)),
            order: Order::Key,
            sources: vec![0],
            failure_latch: failure_latch.clone(),
            clock: Arc::new(ManualClock::new(0)),
        };
        let writer = unstarted
            .task(parts, Progress::new(Vec::new(), Box::new(Deaf), false))
            .start(IoPermits::unshared());
        event_sink.receive(edge::Message::Batch(batch()));
        event_sink.receive(edge::Message::Batch(batch()));
        let (sender, marked) = mpsc::channel();
        event_sink.mark([].into(), move |marked| sender.send(marked).unwrap());
        event_sink.close();
        writer.join().unwrap();
        let offset = marked.recv().ok().and_then(|marked| marked.prepared.offset);
        assert_eq!(event_sink.gate().events(), 0, "nobody waits for room for ever");
        let failure = failure_latch.failure().map(|failure| failure.to_string());
        (failure, offset, event_sink.events_out.load(Ordering::Relaxed))
    }

    /// What is in a batch of one event at each position.
    fn at(positions: &[u64]) -> Batch {
        Batch {
            times: Arc::new(vec![0; positions.len()]),
            keys: Arc::new(Column::of_empty(positions.len())),
            values: Column::of_empty(positions.len()).into(),
            fields: Fields::default(),
            positions: Arc::new(positions.to_vec()),
            origin: Ticket::detached().into(),
        }
    }

    #[test]
    fn what_sources_finish_after_a_cut_releases_nothing_of_the_epoch_before() {
        let (event_sink, unstarted) = EventSink::new("out", Arc::default());
        let progress = Progress::new(vec![Arc::default()], Box::new(Deaf), true);
        let parts = EventSinkParts {
            sink: Box::new(Scripted(|| Ok(()))),
            order: Order::Source,
            sources: vec![0],
            failure_latch: Arc::default(),
            clock: Arc::new(ManualClock::new(0)),
        };
        let mut task = unstarted.task(parts, progress.clone());
        event_sink.receive(edge::Message::Batch(at(&[1, 5])));
        // At the cut everything before 3 is finished; before the sink comes to it, all is.
        let (sender, marked) = mpsc::channel();
        event_sink.mark([3].into(), move |marked| sender.send(marked).unwrap());
        progress.resume(0, 9);
        while task.step() {}
        let held: Vec<u64> = marked.recv().unwrap().at_cut[0].0.positions.to_vec();
        assert_eq!((held, event_sink.events_out.load(Ordering::Relaxed)), (vec![5], 2));
    }

    #[test]
    fn what_was_written_is_counted() {
        assert_eq!(run(|| Ok(())), (None, Some(7.into()), 6));
    }

    #[test]
    fn a_sink_that_panics_fails_the_pipeline_and_holds_nobody_up() {
        let failure = "sink `out`: panicked: it can't bear it".to_owned();
        assert_eq!(run(|| panic!("it can't bear it")), (Some(failure), None, 0));
    }

    /// A sink that sends: how many events its receiver has yet to take, and by what it wakes its writer.
    struct Sends(Arc<Mutex<(u64, Option<Waker>)>>);

    impl Sink for Sends {
        fn write(&mut self, events: sink::Events<'_>) -> Result<(), sink::Error> {
            self.0.lock().0 += events.values.len() as u64;
            Ok(())
        }

        fn flush(&mut self) -> Result<(), sink::Error> {
            Ok(())
        }

        fn prepare(&mut self) -> Result<sink::Prepared, sink::Error> {
            Ok(sink::Prepared::default())
        }

        fn publish(&mut self) -> Result<(), sink::Error> {
            Ok(())
        }

        fn start(&mut self, waker: Waker) -> Result<(), sink::Error> {
            self.0.lock().1 = Some(waker);
            Ok(())
        }

        fn backlog(&self) -> sink::Backlog {
            let events = self.0.lock().0;
            sink::Backlog {
                events,
                is_full: events >= 3,
            }
        }

        fn delivery_capability(&self) -> sink::DeliveryCapability {
            sink::DeliveryCapability::WritesNothing
        }
    }

    /// Sends two batches of three events to a sink that has room for one, and says what ended it where `taken` is called whenever it waits.
    fn sends(taken: impl Fn(&EventSink, u64) -> u64) -> (Option<String>, u64) {
        let (event_sink, unstarted) = EventSink::new("out", Arc::default());
        let failure_latch = Arc::<FailureLatch>::default();
        let waiting = Arc::new(Mutex::new((0, None::<Waker>)));
        let parts = EventSinkParts {
            sink: Box::new(Sends(waiting.clone())),
            order: Order::Key,
            sources: vec![0],
            failure_latch: failure_latch.clone(),
            clock: Arc::new(ManualClock::new(0)),
        };
        let writer = unstarted
            .task(parts, Progress::new(Vec::new(), Box::new(Deaf), false))
            .start(IoPermits::unshared());
        event_sink.receive(edge::Message::Batch(batch()));
        event_sink.receive(edge::Message::Batch(batch()));
        event_sink.close();
        while !writer.is_finished() {
            let waker = {
                let mut waiting = waiting.lock();
                assert!(waiting.0 <= 6);
                waiting.0 = taken(&event_sink, waiting.0);
                waiting.1.clone()
            };
            waker.iter().for_each(Waker::wake_by_ref);
            std::thread::yield_now();
        }
        writer.join().unwrap();
        let failure = failure_latch.failure().map(|failure| failure.to_string());
        (failure, event_sink.events_out.load(Ordering::Relaxed))
    }

    #[test]
    fn a_full_backlog_holds_up_what_comes_and_the_end_until_it_is_delivered() {
        let ended = sends(|_, waiting| {
            assert!(waiting <= 3, "the second batch waits for the first");
            waiting.saturating_sub(3)
        });
        assert_eq!(ended, (None, 6));
    }

    #[test]
    fn an_abandoned_delivery_holds_up_nothing_and_the_pipeline_says_that_it_was_stopped() {
        let ended = sends(|event_sink, waiting| {
            event_sink.abandon_delivery();
            waiting
        });
        assert_eq!(ended, (Some("it was stopped".to_owned()), 6));
    }

    #[test]
    fn nothing_is_written_after_a_failure_nor_counted_as_written() {
        let mut results = [Ok(()), Err(sink::Error::Closed)].into_iter();
        let failure = "the reader of sink `out` is gone".to_owned();
        assert_eq!(run(move || results.next().unwrap()), (Some(failure), None, 3));
    }
}
