//! From the workers to a sink.
//!
//! Workers hand batches to an outlet and go on; a thread of its own writes them. So a slow disk never holds a worker, and a
//! full outlet only holds back those who would add to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use super::gate::Gate;
use super::halt::{Failure, Halt};
use super::ordered::Ordered;
use super::progress::Progress;
use super::waiter::{Waiter, wake_all};
use crate::batch::Batch;
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
    /// Events that arrived.
    pub events_in: AtomicU64,
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
    /// What ends the pipeline if the sink fails.
    pub halt: Arc<Halt>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Outlet {
    /// An outlet, and the start of its thread: it waits for the progress that the pipeline makes.
    #[must_use]
    pub fn new(id: &str) -> (Arc<Self>, Unstarted) {
        /// Three significant digits: what a person reads.
        const DIGITS: u8 = 3;
        let (sender, receiver) = mpsc::channel();
        let latency = Histogram::new(DIGITS).expect("three digits are within what a histogram offers");
        let outlet = Arc::new(Self {
            id: id.to_owned(),
            gate: Gate::default(),
            events_in: AtomicU64::new(0),
            events_out: AtomicU64::new(0),
            latency: Mutex::new(latency),
            sender,
            is_told: AtomicBool::new(false),
        });
        (outlet.clone(), Unstarted { outlet, receiver })
    }

    /// Takes a batch; never waits.
    pub fn push(&self, batch: Batch) {
        self.events_in.fetch_add(batch.len() as u64, Ordering::Relaxed);
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
            Writing {
                outlet: self.outlet,
                parts,
                progress,
                ordered,
            }
            .run(&self.receiver)
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
}

impl Writing {
    fn run(mut self, messages: &Receiver<Message>) -> Option<Bookmark> {
        let mut is_busy = false;
        let mut has_lingered = false;
        loop {
            let message = match messages.try_recv() {
                Ok(message) => {
                    is_busy |= std::mem::take(&mut has_lingered);
                    message
                }
                Err(_) if is_busy => {
                    self.flush();
                    std::thread::sleep(LINGER);
                    (is_busy, has_lingered) = (false, true);
                    continue;
                }
                Err(_) => {
                    self.flush();
                    has_lingered = false;
                    let waits_from_ns = self.parts.clock.now_ns();
                    let message = messages.recv().unwrap_or(Message::Close);
                    let waited_ns = self.parts.clock.now_ns().saturating_sub(waits_from_ns);
                    is_busy = u128::from(waited_ns) < LINGER.as_nanos();
                    message
                }
            };
            match message {
                Message::Batch(batch) => self.take(batch),
                Message::Advanced => self.release(),
                Message::Close => return self.close(),
            }
        }
    }

    fn flush(&mut self) {
        let flushed = self.parts.sink.flush();
        self.check(flushed);
    }

    fn take(&mut self, batch: Batch) {
        let (events, bytes) = (batch.len(), batch.size());
        if let Some(ordered) = &mut self.ordered {
            ordered.hold(batch);
            self.release();
        } else {
            let written = self.parts.sink.write(&batch.values);
            self.check(written);
            self.count(batch.origin.ticket.arrival_ns(), events);
        }
        wake_all(self.outlet.gate.leave(events, bytes));
    }

    fn release(&mut self) {
        let Some(ordered) = &mut self.ordered else { return };
        self.outlet.is_told.store(false, Ordering::SeqCst);
        let frontiers: Vec<u64> = self.progress.frontiers().collect();
        let released = ordered.release(&frontiers);
        if released.values.is_empty() {
            return;
        }
        let written = self.parts.sink.write(&released.values);
        self.check(written);
        for arrival_ns in released.arrivals_ns {
            self.count(arrival_ns, 1);
        }
    }

    fn count(&self, arrival_ns: u64, events: usize) {
        self.outlet.events_out.fetch_add(events as u64, Ordering::Relaxed);
        let latency_ns = self.parts.clock.now_ns().saturating_sub(arrival_ns);
        let recorded = self.outlet.latency.lock().record_n(latency_ns, events as u64);
        recorded.expect("the histogram resizes itself");
    }

    fn check(&self, outcome: Result<(), sink::Error>) {
        if let Err(error) = outcome {
            let id = self.outlet.id.clone();
            self.parts.halt.blow(match error {
                sink::Error::Closed => Failure::Closed { id },
                error => Failure::Sink {
                    id,
                    reason: error.to_string(),
                },
            });
        }
    }

    fn close(mut self) -> Option<Bookmark> {
        self.release();
        if self.parts.halt.is_blown() {
            return None;
        }
        match self.parts.sink.commit() {
            Ok(bookmark) => bookmark,
            Err(error) => {
                self.check(Err(error));
                None
            }
        }
    }
}
