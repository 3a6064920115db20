//! The thread of a sink.
//!
//! Other parts send what is to be written, and go on; a thread of its own writes it. So a slow disk never holds a worker, and
//! a full gate only holds back those who would add to it. Owns the thread's loop, the marks of epochs, the room that waiting
//! input takes, and what becomes of a pipeline whose medium fails. Does not know what is written: an [`Encoder`] makes values
//! of it, either of events or of dead letters.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use smallvec::SmallVec;

use super::failure_latch::{Failure, FailureLatch, panicked};
use super::gate::Gate;
use super::wake_all;
use dirigo_connect::sink::{self, Backlog, Events, Sink};
use dirigo_ground::batch::Column;
use dirigo_ground::clock::Clock;
use dirigo_ground::quota::Quota;
use dirigo_ground::signal::Signal;
use dirigo_ground::thread;
use dirigo_scheduler::IoPermits;

/// Where messages come faster than this, the thread lets some gather instead of waiting for each: waking it costs the sender
/// a few microseconds per message. One that comes alone is written at once.
const LINGER: Duration = Duration::from_micros(250);

/// Makes values of what a sink task is sent.
pub trait Encoder: Send + 'static {
    /// What it is sent.
    type Input: Send;
    /// What a checkpoint has to know at a cut besides the end of the medium.
    type AtCut: Send;

    /// The values that may be written now that `input` is there, if there are any.
    fn encode(&mut self, input: Self::Input) -> Option<Encoded>;

    /// The values that were held back, and may be written now.
    fn release(&mut self) -> Option<Encoded> {
        None
    }

    /// Ends an epoch, behind all that could be released.
    fn cut(&mut self) -> Self::AtCut;

    /// Notes that values which arrived then were written.
    fn written(&mut self, _arrivals: &Arrivals) {}

    /// What ends the pipeline where nothing can be written any more.
    fn failure(&self, cause: Cause) -> Failure;

    /// Drops what is held back: nothing is written after a failure.
    fn abandon(&mut self) {}
}

/// When values arrived at their source, in ns, and how many arrived then, in the order of the values.
pub type Arrivals = SmallVec<[(u64, usize); 1]>;

/// Values with their times and keys, to be written in this order.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The times.
    pub times: Arc<Vec<i64>>,
    /// The keys.
    pub keys: Arc<Column>,
    /// The values.
    pub values: Arc<Column>,
    /// When they arrived, where somebody counts that.
    pub arrivals: Arrivals,
}

impl Encoded {
    /// As a sink takes them.
    fn events(&self) -> Events<'_> {
        Events {
            times: &self.times,
            keys: &self.keys,
            values: &self.values,
        }
    }
}

/// Why nothing can be written any more.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The medium failed.
    #[error(transparent)]
    Medium(#[from] sink::Error),
    /// The sink panicked.
    #[error("{0}")]
    Panic(String),
}

/// What a sink task has at a cut, behind all that was sent before it.
#[derive(Debug)]
pub struct Marked<T> {
    /// Where the epoch ends.
    pub prepared: sink::Prepared,
    /// What there is to know of it besides.
    pub at_cut: T,
}

/// Takes what is reported once; it is dropped without that where the sink fails, after the failure is known.
pub(super) type Report<T> = Box<dyn FnOnce(T) + Send>;

/// The end of a sink task that other parts hold.
pub(super) struct SinkHandle<E: Encoder> {
    gate: Arc<Gate<Waker>>,
    sender: Arc<Sender<SinkCommand<E>>>,
    delivery: Arc<Delivery>,
}

/// The start of a task: what it will be sent comes by this.
pub(super) struct Inbox<E: Encoder> {
    receiver: Receiver<SinkCommand<E>>,
    /// By which a sink wakes the task. It keeps no task from finding that all that could send are gone.
    sender: Weak<Sender<SinkCommand<E>>>,
    delivery: Arc<Delivery>,
}

/// What a task waits for whose sink delivers on a thread of its own.
#[derive(Debug, Default)]
struct Delivery {
    /// Notified when the sink has delivered something, and when it is not to be waited for.
    moved: Signal,
    /// Whether the end of the run does not wait for what has yet to be delivered.
    is_abandoned: AtomicBool,
    is_wake_queued: AtomicBool,
}

/// Wakes a task from the sink's own thread.
struct SinkWaker<E: Encoder> {
    sender: Weak<Sender<SinkCommand<E>>>,
    delivery: Arc<Delivery>,
}

impl<E: Encoder> Wake for SinkWaker<E> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.delivery.moved.notify();
        if let Some(sender) = self.sender.upgrade()
            && !self.delivery.is_wake_queued.swap(true, Ordering::SeqCst)
        {
            // The task may have ended.
            let _ = sender.send(SinkCommand::Woken);
        }
    }
}

enum SinkCommand<E: Encoder> {
    /// Something to write, with the room that it takes until then.
    Input(E::Input, Option<GateEntry>),
    Mark(Report<Marked<E::AtCut>>),
    Publish,
    /// The sink has delivered something, or cannot go on.
    Woken,
    End,
    Close,
}

/// Room at the gate of a sink, which is free again when this is dropped: when the input was written, or dropped.
struct GateEntry {
    gate: Arc<Gate<Waker>>,
    events: usize,
    bytes: usize,
}

impl GateEntry {
    fn new(gate: &Arc<Gate<Waker>>, events: usize, bytes: usize) -> Self {
        gate.enter(events, bytes);
        Self {
            gate: gate.clone(),
            events,
            bytes,
        }
    }
}

impl Drop for GateEntry {
    fn drop(&mut self) {
        wake_all(self.gate.leave(self.events, self.bytes));
    }
}

impl<E: Encoder> SinkHandle<E> {
    /// A handle, and where its task finds what it is sent. What waits takes the memory of `quota`.
    pub(super) fn new(quota: Arc<Quota>) -> (Self, Inbox<E>) {
        let (sender, receiver) = mpsc::channel();
        let (sender, delivery) = (Arc::new(sender), Arc::<Delivery>::default());
        let inbox = Inbox {
            receiver,
            sender: Arc::downgrade(&sender),
            delivery: delivery.clone(),
        };
        let handle = Self {
            gate: Arc::new(Gate::new(quota)),
            sender,
            delivery,
        };
        (handle, inbox)
    }

    /// What waits to be written.
    pub(super) fn gate(&self) -> &Arc<Gate<Waker>> {
        &self.gate
    }

    /// Sends something to write that takes room until then; never waits.
    pub(super) fn admit(&self, input: E::Input, events: usize, bytes: usize) {
        let admitted = GateEntry::new(&self.gate, events, bytes);
        self.send(SinkCommand::Input(input, Some(admitted)));
    }

    /// Sends something that takes no room.
    pub(super) fn notify(&self, input: E::Input) {
        self.send(SinkCommand::Input(input, None));
    }

    /// Ends the epoch behind all that was sent so far, and has what there is then reported.
    pub(super) fn mark(&self, report: impl FnOnce(Marked<E::AtCut>) + Send + 'static) {
        self.send(SinkCommand::Mark(Box::new(report)));
    }

    /// Shows readers the epoch of the last mark: it is committed.
    pub(super) fn publish(&self) {
        self.send(SinkCommand::Publish);
    }

    /// Says that no more comes in this run, but for a last mark.
    pub(super) fn end(&self) {
        self.send(SinkCommand::End);
    }

    /// Has neither what comes nor the end of the task wait for what has yet to be delivered.
    pub(super) fn abandon_delivery(&self) {
        self.delivery.is_abandoned.store(true, Ordering::SeqCst);
        self.delivery.moved.notify();
    }

    /// Lets the thread end once it has written what it has, and that is delivered.
    pub(super) fn close(&self) {
        self.send(SinkCommand::Close);
    }

    fn send(&self, message: SinkCommand<E>) {
        // The task holds the other end until it was closed, after which nothing is sent that matters.
        let _ = self.sender.send(message);
    }
}

impl<E: Encoder> std::fmt::Debug for SinkHandle<E> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SinkHandle")
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}

impl<E: Encoder> std::fmt::Debug for Inbox<E> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Inbox").finish_non_exhaustive()
    }
}

/// What the thread of a sink does.
pub struct SinkTask<E: Encoder> {
    /// What the thread is called.
    name: String,
    encoder: E,
    sink: Box<dyn Sink>,
    inbox: Inbox<E>,
    /// What ends the pipeline if the sink fails.
    failure_latch: Arc<FailureLatch>,
    clock: Arc<dyn Clock>,
    mode: WriteMode,
    /// After a failure what still comes is dropped: what is held back by a full gate can only end once there is room.
    has_failed: bool,
    /// Whether it was closed: nothing comes after that.
    is_closed: bool,
    /// Whether it began to deliver: only then is that waited for.
    has_started: bool,
}

/// How fast messages come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteMode {
    /// The last one was waited for.
    Waiting,
    /// The last one came soon.
    Busy,
    /// There was none, and some are being let gather.
    Lingering,
}

impl<E: Encoder> SinkTask<E> {
    /// A task that writes what comes by `inbox` to `sink`.
    pub(super) fn new(
        name: String,
        encoder: E,
        sink: Box<dyn Sink>,
        inbox: Inbox<E>,
        failure_latch: Arc<FailureLatch>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            name,
            encoder,
            sink,
            inbox,
            failure_latch,
            clock,
            mode: WriteMode::Waiting,
            has_failed: false,
            is_closed: false,
            has_started: false,
        }
    }

    /// Starts a thread that does it.
    ///
    /// # Panics
    /// When the system gives no thread.
    #[must_use]
    pub fn start(mut self, mut io_permits: IoPermits) -> JoinHandle<()> {
        let builder = std::thread::Builder::new().name(self.name.clone());
        let run = move || {
            thread::raise_priority();
            self.start_delivery();
            while !self.is_closed {
                self.wait_for_delivery(&mut io_permits, |backlog| backlog.is_full);
                self.wait(&mut io_permits);
            }
            self.wait_for_delivery(&mut io_permits, |backlog| backlog.events > 0);
            if !self.has_failed && self.sink.backlog().events > 0 {
                self.failure_latch.fail(Failure::Killed);
            }
        };
        builder.spawn(run).expect("the system gives a thread to each sink")
    }

    /// Handles what was sent, if something was; `false` if nothing was.
    pub fn step(&mut self) -> bool {
        match self.inbox.receiver.try_recv() {
            Ok(message) => self.handle(message),
            Err(_) => return false,
        }
        true
    }

    /// Hands what is buffered to the medium.
    pub fn flush(&mut self) {
        self.guarded(|this| this.sink.flush());
    }

    fn start_delivery(&mut self) {
        let waker = Waker::from(Arc::new(SinkWaker {
            sender: self.inbox.sender.clone(),
            delivery: self.inbox.delivery.clone(),
        }));
        self.has_started = self.guarded(|this| this.sink.start(waker)).is_some();
    }

    /// Waits until the sink has delivered so much that its backlog is a reason to wait no more, or it has failed, or nothing more is to
    /// be waited for.
    fn wait_for_delivery(&mut self, io_permits: &mut IoPermits, is_reason: fn(Backlog) -> bool) {
        loop {
            let delivery = self.inbox.delivery.clone();
            let seen = delivery.moved.seen();
            let is_awaited = self.has_started && !delivery.is_abandoned.load(Ordering::SeqCst);
            if self.has_failed || !is_awaited || !is_reason(self.sink.backlog()) {
                return;
            }
            self.flush();
            if !self.has_failed {
                io_permits.rest();
                delivery.moved.wait_past(seen, None);
            }
        }
    }

    /// Handles the next message, and waits for it where there is none.
    fn wait(&mut self, io_permits: &mut IoPermits) {
        if let Ok(message) = self.inbox.receiver.try_recv() {
            if self.mode == WriteMode::Lingering {
                self.mode = WriteMode::Busy;
            }
            return io_permits.run(|| self.handle(message));
        }
        self.flush();
        io_permits.rest();
        if self.mode == WriteMode::Busy {
            std::thread::sleep(LINGER);
            self.mode = WriteMode::Lingering;
            return;
        }
        let waits_from_ns = self.clock.now_ns();
        let message = self.inbox.receiver.recv().unwrap_or(SinkCommand::Close);
        let waited_ns = self.clock.now_ns().saturating_sub(waits_from_ns);
        self.mode = if u128::from(waited_ns) < LINGER.as_nanos() {
            WriteMode::Busy
        } else {
            WriteMode::Waiting
        };
        io_permits.run(|| self.handle(message));
    }

    fn handle(&mut self, message: SinkCommand<E>) {
        match message {
            SinkCommand::Input(input, _admitted) => {
                self.guarded(|this| {
                    let encoded = this.encoder.encode(input);
                    this.write(encoded)
                });
            }
            SinkCommand::Mark(report) => self.mark(report),
            SinkCommand::Publish => {
                self.guarded(|this| this.sink.publish());
            }
            SinkCommand::Woken => {
                self.inbox.delivery.is_wake_queued.store(false, Ordering::SeqCst);
                self.flush();
            }
            SinkCommand::End => {
                self.guarded(|this| {
                    this.sink.end();
                    Ok(())
                });
            }
            SinkCommand::Close => {
                self.is_closed = true;
                self.guarded(|this| {
                    this.release()?;
                    this.sink.flush()
                });
            }
        }
    }

    /// Does some work, and ends the pipeline where that fails. Nothing is done after that.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, sink::Error>) -> Option<T> {
        if self.has_failed {
            return None;
        }
        let cause = match catch_unwind(AssertUnwindSafe(|| work(self))) {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error)) => Cause::Medium(error),
            Err(panic) => Cause::Panic(panicked(&*panic)),
        };
        self.failure_latch.fail(self.encoder.failure(cause));
        self.has_failed = true;
        self.encoder.abandon();
        None
    }

    fn write(&mut self, encoded: Option<Encoded>) -> Result<(), sink::Error> {
        if let Some(encoded) = encoded {
            self.sink.write(encoded.events())?;
            self.encoder.written(&encoded.arrivals);
        }
        Ok(())
    }

    fn release(&mut self) -> Result<(), sink::Error> {
        let released = self.encoder.release();
        self.write(released)
    }

    fn mark(&mut self, report: Report<Marked<E::AtCut>>) {
        let marked = self.guarded(|this| {
            // What came since the mark before may be free already.
            this.release()?;
            Ok(Marked {
                at_cut: this.encoder.cut(),
                prepared: this.sink.prepare()?,
            })
        });
        if let Some(marked) = marked {
            report(marked);
            // What was finished since the cut releases something now.
            self.guarded(Self::release);
        }
    }
}
