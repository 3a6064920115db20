//! From the workers to a sink.
//!
//! Workers hand batches to an outlet and go on; a thread of its own writes them. So a slow disk never holds a worker, and a
//! full outlet only holds back those who would add to it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

use dirigo_ground::sync::Mutex;
use hdrhistogram::Histogram;
use smallvec::SmallVec;

use super::edge::{self, Receiver as Receive};
use super::gate::Gate;
use super::halt::{Failure, Halt, panicked};
use super::ordered::Ordered;
use super::wake_all;
use dirigo_connectors::sink::{self, Sink};
use dirigo_ground::account::Account;
use dirigo_ground::batch::Batch;
use dirigo_ground::clock::Clock;
use dirigo_ground::lineage::{Progress, SourceIndex};
use dirigo_ground::thread;
use dirigo_pipeline::Order;
use dirigo_scheduler::Errands;

/// Where batches come faster than this, the thread lets some gather instead of waiting for each: waking it costs the worker
/// a few microseconds per batch. A batch that comes alone is written at once.
const LINGER: Duration = Duration::from_micros(250);

/// The workers' end of a sink.
#[derive(Debug)]
pub struct Outlet {
    /// Its name in the pipeline.
    pub id: String,
    /// What waits for it.
    pub gate: Gate<Waker>,
    /// Events that were written.
    pub events_out: AtomicU64,
    /// From arrival at the source to the sink, in ns.
    pub latency: Mutex<Histogram<u64>>,
    sender: Sender<Message>,
    /// How far the sources were at a cut that the thread has yet to reach in what it was sent: what they have finished since
    /// then releases nothing of the epoch before.
    limit: Mutex<Option<Arc<[u64]>>>,
    /// Whether the thread has yet to look at the frontier.
    is_told: AtomicBool,
}

enum Message {
    Batch(Batch),
    Advanced,
    Restore(Batch, SourceIndex),
    Mark(Sender<Marked>),
    Publish,
    End,
    Close,
}

/// What a sink has at a cut, behind all that was sent before it.
#[derive(Debug)]
pub struct Marked {
    /// Where the epoch ends.
    pub prepared: sink::Prepared,
    /// What is held back to restore the order of the sources.
    pub held: Vec<(Batch, SourceIndex)>,
}

/// The thread that writes.
pub type Writer = JoinHandle<()>;

/// What a writer works with.
pub struct Parts {
    /// Where it writes.
    pub sink: Box<dyn Sink>,
    /// Which order it keeps.
    pub order: Order,
    /// The sources that lead to it: no other's events can come before those that it has.
    pub sources: Vec<SourceIndex>,
    /// What ends the pipeline if the sink fails.
    pub halt: Arc<Halt>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Outlet {
    /// An outlet, and the start of its thread: it waits for the progress that the pipeline makes.
    #[must_use]
    pub fn new(id: &str, account: Arc<Account>) -> (Arc<Self>, Unstarted) {
        /// Three significant digits: what a person reads.
        const DIGITS: u8 = 3;
        let (sender, receiver) = mpsc::channel();
        let latency = Histogram::new(DIGITS).expect("three digits are within what a histogram offers");
        let outlet = Arc::new(Self {
            id: id.to_owned(),
            gate: Gate::new(account),
            events_out: AtomicU64::new(0),
            latency: Mutex::new(latency),
            sender,
            limit: Mutex::new(None),
            is_told: AtomicBool::new(false),
        });
        (outlet.clone(), Unstarted { outlet, receiver })
    }

    fn take_in(&self, batch: Batch) {
        self.gate.enter(batch.len(), batch.size());
        self.send(Message::Batch(batch));
    }

    /// Says that the frontier of a source moved.
    pub fn advance(&self) {
        if !self.is_told.swap(true, Ordering::SeqCst) {
            self.send(Message::Advanced);
        }
    }

    /// Ends the epoch behind all that was sent so far; sources are at `frontiers`. What the sink has then comes by the
    /// receiver, or nothing if it fails.
    #[must_use]
    pub fn mark(&self, frontiers: Arc<[u64]>) -> Receiver<Marked> {
        let (sender, receiver) = mpsc::channel();
        *self.limit.lock() = Some(frontiers);
        self.send(Message::Mark(sender));
        receiver
    }

    /// Shows readers the epoch of the last mark: it is committed.
    pub fn publish(&self) {
        self.send(Message::Publish);
    }

    /// Says that no more comes in this run, but for a last mark.
    pub fn end(&self) {
        self.send(Message::End);
    }

    /// Takes back what a cut had found held back of a source.
    pub fn restore(&self, batch: Batch, source: SourceIndex) {
        self.send(Message::Restore(batch, source));
    }

    /// Lets the thread end once it has written what it has.
    pub fn close(&self) {
        self.send(Message::Close);
    }

    fn send(&self, message: Message) {
        // The thread holds the other end until it was told to close, after which nothing is sent that matters.
        let _ = self.sender.send(message);
    }
}

impl Receive for Outlet {
    fn id(&self) -> &str {
        &self.id
    }

    fn receive(&self, message: edge::Message) {
        match message {
            edge::Message::Batch(batch) => self.take_in(batch),
        }
    }

    fn gate(&self) -> &Gate<Waker> {
        &self.gate
    }

    fn path_ns(&self) -> u64 {
        0
    }
}

/// An outlet whose thread is not running.
#[derive(Debug)]
pub struct Unstarted {
    outlet: Arc<Outlet>,
    receiver: Receiver<Message>,
}

impl Unstarted {
    /// What its thread does, to be done step by step.
    #[must_use]
    pub fn writing(self, parts: Parts, progress: Arc<Progress>) -> Writing {
        Writing {
            ordered: (parts.order == Order::Source).then(Ordered::default),
            outlet: self.outlet,
            parts,
            progress,
            messages: self.receiver,
            pace: Pace::Waiting,
            has_failed: false,
            is_closed: false,
        }
    }
}

/// What the thread of a sink does.
pub struct Writing {
    outlet: Arc<Outlet>,
    parts: Parts,
    progress: Arc<Progress>,
    messages: Receiver<Message>,
    ordered: Option<Ordered>,
    pace: Pace,
    /// After a failure what still comes is dropped.
    has_failed: bool,
    /// Whether it was told to close: nothing comes after that.
    is_closed: bool,
}

/// How fast messages come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// The last one was waited for.
    Waiting,
    /// The last one came soon.
    Busy,
    /// There was none, and some are being let gather.
    Lingering,
}

/// A batch at the gate of an outlet, which it leaves when it is done with, written or not.
struct Admitted<'a> {
    gate: &'a Gate<Waker>,
    events: usize,
    bytes: usize,
}

impl<'a> Admitted<'a> {
    fn new(gate: &'a Gate<Waker>, batch: &Batch) -> Self {
        Self {
            gate,
            events: batch.len(),
            bytes: batch.size(),
        }
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        wake_all(self.gate.leave(self.events, self.bytes));
    }
}

impl Writing {
    /// Starts a thread that writes.
    ///
    /// # Panics
    /// When the system gives no thread.
    #[must_use]
    pub fn start(mut self, mut errands: Errands) -> Writer {
        let name = format!("sink {}", self.outlet.id);
        let run = move || {
            thread::run_at_once();
            while !self.is_over() {
                self.wait(&mut errands);
            }
        };
        std::thread::Builder::new()
            .name(name)
            .spawn(run)
            .expect("the system gives a thread to each sink")
    }

    /// Whether it was told to close, and has.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_closed
    }

    /// Handles what was sent, if something was; `false` if nothing was.
    pub fn step(&mut self) -> bool {
        match self.messages.try_recv() {
            Ok(message) => self.handle(message),
            Err(_) => return false,
        }
        true
    }

    /// Handles the next message, and waits for it where there is none.
    fn wait(&mut self, errands: &mut Errands) {
        if let Ok(message) = self.messages.try_recv() {
            if self.pace == Pace::Lingering {
                self.pace = Pace::Busy;
            }
            return errands.run(|| self.handle(message));
        }
        self.flush();
        errands.rest();
        if self.pace == Pace::Busy {
            std::thread::sleep(LINGER);
            self.pace = Pace::Lingering;
            return;
        }
        let waits_from_ns = self.parts.clock.now_ns();
        let message = self.messages.recv().unwrap_or(Message::Close);
        let waited_ns = self.parts.clock.now_ns().saturating_sub(waits_from_ns);
        self.pace = if u128::from(waited_ns) < LINGER.as_nanos() {
            Pace::Busy
        } else {
            Pace::Waiting
        };
        errands.run(|| self.handle(message));
    }

    fn handle(&mut self, message: Message) {
        // Held until a failure is known: who waits for the answer asks for that next.
        let _held = match &message {
            Message::Mark(reply) => Some(reply.clone()),
            _ => None,
        };
        self.guarded(|this| match message {
            Message::Batch(batch) => this.take(batch),
            Message::Advanced => this.release(),
            Message::Restore(batch, source) => this.restore(batch, source),
            Message::Mark(reply) => this.mark(&reply),
            Message::End => {
                this.parts.sink.end();
                Ok(())
            }
            Message::Publish if this.has_failed => Ok(()),
            Message::Publish => this.parts.sink.publish(),
            Message::Close => {
                this.is_closed = true;
                this.release()
            }
        });
    }

    /// Hands what is buffered to the medium.
    pub fn flush(&mut self) {
        if !self.has_failed {
            self.guarded(|this| this.parts.sink.flush());
        }
    }

    /// Ends the pipeline where the sink fails. What still comes is dropped: what is held back by a full gate can only end
    /// once there is room.
    fn guarded(&mut self, work: impl FnOnce(&mut Self) -> Result<(), sink::Error>) {
        let worked = catch_unwind(AssertUnwindSafe(|| work(self)));
        let id = self.outlet.id.clone();
        let failure = match worked {
            Ok(Ok(())) => return,
            Ok(Err(sink::Error::Closed)) => Failure::Closed { id },
            Ok(Err(error)) => Failure::Sink {
                id,
                reason: error.to_string(),
            },
            Err(panic) => Failure::Sink {
                id,
                reason: panicked(&*panic),
            },
        };
        self.parts.halt.blow(failure);
        self.has_failed = true;
        self.ordered = None;
    }

    fn take(&mut self, batch: Batch) -> Result<(), sink::Error> {
        let outlet = self.outlet.clone();
        let _admitted = Admitted::new(&outlet.gate, &batch);
        if self.has_failed {
            return Ok(());
        }
        if let Some(ordered) = &mut self.ordered {
            ordered.hold(batch);
            self.release()
        } else {
            self.parts.sink.write(&batch.values)?;
            self.count(batch.origin.ticket.arrival_ns(), batch.len());
            Ok(())
        }
    }

    fn release(&mut self) -> Result<(), sink::Error> {
        let Some(ordered) = &mut self.ordered else {
            return Ok(());
        };
        self.outlet.is_told.store(false, Ordering::SeqCst);
        let sources = self.parts.sources.iter();
        let frontiers: SmallVec<[_; 4]> = sources
            .map(|&source| (self.progress.frontier(source), source))
            .collect();
        // Looked at after the frontiers: one that has moved since a cut comes with the limit of that cut.
        let limit = self.outlet.limit.lock().clone();
        let limited = frontiers.into_iter().map(|(frontier, source)| {
            let limit = limit.as_ref().map_or(u64::MAX, |limit| limit[usize::from(source)]);
            (frontier.min(limit), source)
        });
        let released = ordered.release(limited.min().expect("a sink has inputs"));
        if released.values.is_empty() {
            return Ok(());
        }
        self.parts.sink.write(&released.values)?;
        for arrival_ns in released.arrivals_ns {
            self.count(arrival_ns, 1);
        }
        Ok(())
    }

    fn count(&self, arrival_ns: u64, events: usize) {
        self.outlet.events_out.fetch_add(events as u64, Ordering::Relaxed);
        let latency_ns = self.parts.clock.now_ns().saturating_sub(arrival_ns);
        let recorded = self.outlet.latency.lock().record_n(latency_ns, events as u64);
        recorded.expect("the histogram resizes itself");
    }

    fn mark(&mut self, reply: &Sender<Marked>) -> Result<(), sink::Error> {
        if self.has_failed {
            return Ok(());
        }
        // What came since the mark before may be free already.
        self.release()?;
        let held = self.ordered.iter().flat_map(Ordered::held).collect();
        *self.outlet.limit.lock() = None;
        let prepared = self.parts.sink.prepare()?;
        // Whoever asked has given up only where the pipeline has failed.
        let _ = reply.send(Marked { prepared, held });
        // What was finished since the cut releases something now.
        self.release()
    }

    fn restore(&mut self, batch: Batch, source: SourceIndex) -> Result<(), sink::Error> {
        let Some(ordered) = &mut self.ordered else {
            // It held them back for an order that it no longer keeps.
            self.parts.sink.write(&batch.values)?;
            self.count(self.parts.clock.now_ns(), batch.len());
            return Ok(());
        };
        let load = self.progress.hold(source, batch.len(), batch.size());
        ordered.restore(batch, source, self.parts.clock.now_ns(), load);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirigo_ground::batch::Column;
    use dirigo_ground::clock::ManualClock;
    use dirigo_ground::lineage::{Listener, Ticket};

    #[derive(Debug)]
    struct Deaf;

    impl Listener for Deaf {
        fn advanced(&self) {}
        fn emptied(&self) {}
    }

    /// A sink that writes as it is told to.
    struct Scripted<F>(F);

    impl<F: FnMut() -> Result<(), sink::Error> + Send> Sink for Scripted<F> {
        fn write(&mut self, _: &Column) -> Result<(), sink::Error> {
            (self.0)()
        }

        fn flush(&mut self) -> Result<(), sink::Error> {
            Ok(())
        }

        fn prepare(&mut self) -> Result<sink::Prepared, sink::Error> {
            Ok(sink::Prepared {
                bookmark: Some(7.into()),
                sync: None,
            })
        }

        fn publish(&mut self) -> Result<(), sink::Error> {
            Ok(())
        }

        fn ability(&self) -> sink::Ability {
            sink::Ability::WritesNothing
        }
    }

    fn batch() -> Batch {
        Batch {
            times: Arc::new(vec![0; 3]),
            keys: Arc::new(Column::of_empty(3)),
            values: Arc::new(Column::of_empty(3)),
            positions: Arc::new(vec![1, 2, 3]),
            origin: Ticket::detached().into(),
        }
    }

    /// What is left of an outlet that got two batches of three: its failure, its bookmark, what was written.
    fn run(
        write: impl FnMut() -> Result<(), sink::Error> + Send + 'static,
    ) -> (Option<String>, Option<sink::Bookmark>, u64) {
        let (outlet, unstarted) = Outlet::new("out", Arc::default());
        let halt = Arc::<Halt>::default();
        let parts = Parts {
            sink: Box::new(Scripted(write)),
            order: Order::Key,
            sources: vec![0],
            halt: halt.clone(),
            clock: Arc::new(ManualClock::new(0)),
        };
        let writer = unstarted
            .writing(parts, Progress::new(Vec::new(), Box::new(Deaf), false))
            .start(Errands::unshared());
        outlet.take_in(batch());
        outlet.take_in(batch());
        let marked = outlet.mark([].into());
        outlet.close();
        writer.join().unwrap();
        let bookmark = marked.recv().ok().and_then(|marked| marked.prepared.bookmark);
        assert_eq!(outlet.gate.events(), 0, "nobody waits for room for ever");
        let failure = halt.failure().map(|failure| failure.to_string());
        (failure, bookmark, outlet.events_out.load(Ordering::Relaxed))
    }

    /// What is in a batch of one event at each position.
    fn at(positions: &[u64]) -> Batch {
        Batch {
            times: Arc::new(vec![0; positions.len()]),
            keys: Arc::new(Column::of_empty(positions.len())),
            values: Arc::new(Column::of_empty(positions.len())),
            positions: Arc::new(positions.to_vec()),
            origin: Ticket::detached().into(),
        }
    }

    #[test]
    fn what_sources_finish_after_a_cut_releases_nothing_of_the_epoch_before() {
        let (outlet, unstarted) = Outlet::new("out", Arc::default());
        let progress = Progress::new(vec![Arc::default()], Box::new(Deaf), true);
        let parts = Parts {
            sink: Box::new(Scripted(|| Ok(()))),
            order: Order::Source,
            sources: vec![0],
            halt: Arc::default(),
            clock: Arc::new(ManualClock::new(0)),
        };
        let mut writing = unstarted.writing(parts, progress.clone());
        outlet.take_in(at(&[1, 5]));
        // At the cut everything before 3 is finished; before the sink comes to it, all is.
        let marked = outlet.mark([3].into());
        progress.resume(0, 9);
        while writing.step() {}
        let held: Vec<u64> = marked.recv().unwrap().held[0].0.positions.to_vec();
        assert_eq!((held, outlet.events_out.load(Ordering::Relaxed)), (vec![5], 2));
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

    #[test]
    fn nothing_is_written_after_a_failure_nor_counted_as_written() {
        let mut results = [Ok(()), Err(sink::Error::Closed)].into_iter();
        let failure = "the reader of sink `out` is gone".to_owned();
        assert_eq!(run(move || results.next().unwrap()), (Some(failure), None, 3));
    }
}
