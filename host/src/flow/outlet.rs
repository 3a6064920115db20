//! From the workers to a sink.
//!
//! Workers hand batches to an outlet and go on; a thread of its own writes them. So a slow disk never holds a worker, and a
//! full outlet only holds back those who would add to it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use super::gate::Gate;
use super::halt::{Failure, Halt, panicked};
use super::ordered::Ordered;
use super::progress::Progress;
use super::waiter::{Waiter, wake_all};
use crate::account::Account;
use crate::batch::{Batch, SourceIndex};
use crate::clock::Clock;
use crate::pipeline::Order;
use crate::sink::{self, Bookmark, Sink};

/// Where batches come faster than this, the thread lets some gather instead of waiting for each: waking it costs the worker
/// a few microseconds per batch. A batch that comes alone is written at once.
const LINGER: Duration = Duration::from_micros(250);

/// The workers' end of a sink.
#[derive(Debug)]
pub struct Outlet {
    /// Its name in the pipeline.
    pub id: String,
    /// What waits for it.
    pub gate: Gate<Waiter>,
    /// Events that were written.
    pub events_out: AtomicU64,
    /// From arrival at the source to the sink, in ns.
    pub latency: Mutex<Histogram<u64>>,
    sender: Sender<Message>,
    /// Whether the thread has yet to look at the frontier.
    is_told: AtomicBool,
}

enum Message {
    Batch(Batch),
    Advanced,
    Close,
}

/// The thread that writes; ends with the sink's bookmark.
pub type Writer = JoinHandle<Option<Bookmark>>;

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
            is_told: AtomicBool::new(false),
        });
        (outlet.clone(), Unstarted { outlet, receiver })
    }

    /// Takes a batch; never waits.
    pub fn push(&self, batch: Batch) {
        self.gate.enter(batch.len(), batch.size());
        self.send(Message::Batch(batch));
    }

    /// Says that the frontier of a source moved.
    pub fn advance(&self) {
        if !self.is_told.swap(true, Ordering::SeqCst) {
            self.send(Message::Advanced);
        }
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

/// An outlet whose thread is not running.
#[derive(Debug)]
pub struct Unstarted {
    outlet: Arc<Outlet>,
    receiver: Receiver<Message>,
}

impl Unstarted {
    /// Starts the thread.
    ///
    /// # Panics
    /// When the system gives no thread.
    #[must_use]
    pub fn start(self, parts: Parts, progress: Arc<Progress>) -> Writer {
        let name = format!("sink {}", self.outlet.id);
        let run = move || {
            let ordered = (parts.order == Order::Source).then(Ordered::default);
            let mut writing = Writing {
                outlet: self.outlet,
                parts,
                progress,
                ordered,
                is_closed: false,
            };
            let written = catch_unwind(AssertUnwindSafe(|| writing.run(&self.receiver)));
            let id = writing.outlet.id.clone();
            let failure = match written {
                Ok(Ok(bookmark)) => return bookmark,
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
            writing.parts.halt.blow(failure);
            writing.drain(&self.receiver);
            None
        };
        std::thread::Builder::new()
            .name(name)
            .spawn(run)
            .expect("the system gives a thread to each sink")
    }
}

struct Writing {
    outlet: Arc<Outlet>,
    parts: Parts,
    progress: Arc<Progress>,
    ordered: Option<Ordered>,
    /// Whether it was told to close: nothing comes after that.
    is_closed: bool,
}

/// A batch at the gate of an outlet, which it leaves when it is done with, written or not.
struct Admitted<'a> {
    gate: &'a Gate<Waiter>,
    events: usize,
    bytes: usize,
}

impl<'a> Admitted<'a> {
    fn new(gate: &'a Gate<Waiter>, batch: &Batch) -> Self {
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
    fn run(&mut self, messages: &Receiver<Message>) -> Result<Option<Bookmark>, sink::Error> {
        let mut is_busy = false;
        let mut has_lingered = false;
        loop {
            let message = match messages.try_recv() {
                Ok(message) => {
                    is_busy |= std::mem::take(&mut has_lingered);
                    message
                }
                Err(_) if is_busy => {
                    self.parts.sink.flush()?;
                    std::thread::sleep(LINGER);
                    (is_busy, has_lingered) = (false, true);
                    continue;
                }
                Err(_) => {
                    self.parts.sink.flush()?;
                    has_lingered = false;
                    let waits_from_ns = self.parts.clock.now_ns();
                    let message = messages.recv().unwrap_or(Message::Close);
                    let waited_ns = self.parts.clock.now_ns().saturating_sub(waits_from_ns);
                    is_busy = u128::from(waited_ns) < LINGER.as_nanos();
                    message
                }
            };
            match message {
                Message::Batch(batch) => self.take(batch)?,
                Message::Advanced => self.release()?,
                Message::Close => return self.close(),
            }
        }
    }

    fn take(&mut self, batch: Batch) -> Result<(), sink::Error> {
        let outlet = self.outlet.clone();
        let _admitted = Admitted::new(&outlet.gate, &batch);
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
        let frontiers = sources.map(|&source| (self.progress.frontier(source), source));
        let released = ordered.release(frontiers.min().expect("a sink has inputs"));
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

    fn close(&mut self) -> Result<Option<Bookmark>, sink::Error> {
        self.is_closed = true;
        self.release()?;
        if self.parts.halt.is_blown() {
            return Ok(None);
        }
        self.parts.sink.end();
        let bookmark = self.parts.sink.prepare()?.synced()?;
        self.parts.sink.publish()?;
        Ok(bookmark)
    }

    /// Drops what still comes after the sink failed: what is held back by a full gate can only end once there is room.
    fn drain(mut self, messages: &Receiver<Message>) {
        self.ordered = None;
        while !self.is_closed {
            match messages.recv() {
                Ok(Message::Batch(batch)) => drop(Admitted::new(&self.outlet.gate, &batch)),
                Ok(Message::Advanced) => {}
                Ok(Message::Close) | Err(_) => self.is_closed = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Column;
    use crate::clock::ManualClock;
    use crate::flow::{Listener, Ticket};

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
    fn run(write: impl FnMut() -> Result<(), sink::Error> + Send + 'static) -> (Option<String>, Option<Bookmark>, u64) {
        let (outlet, unstarted) = Outlet::new("out", Arc::default());
        let halt = Arc::<Halt>::default();
        let parts = Parts {
            sink: Box::new(Scripted(write)),
            order: Order::Key,
            sources: vec![0],
            halt: halt.clone(),
            clock: Arc::new(ManualClock::new(0)),
        };
        let writer = unstarted.start(parts, Progress::new(Vec::new(), Box::new(Deaf), false));
        outlet.push(batch());
        outlet.push(batch());
        outlet.close();
        let bookmark = writer.join().unwrap();
        assert_eq!(outlet.gate.events(), 0, "nobody waits for room for ever");
        let failure = halt.failure().map(|failure| failure.to_string());
        (failure, bookmark, outlet.events_out.load(Ordering::Relaxed))
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
