//! The thread that delivers.

use std::any::Any;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

use dirigo_connect::sink;
use dirigo_ground::clock::{Clock, nanoseconds};
use dirigo_ground::sync::Mutex;
use dirigo_journal::Journal;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, oneshot};

use super::Reach;
use super::backoff::Backoff;
use super::delivered::Delivered;
use super::error::Error;
use super::frame::{Batch, Reader};

/// Batches after which the note of what was delivered is made durable, and what is delivered is removed, though more waits.
const NOTED_EVERY: u64 = 64;

/// Brings batches to a receiver.
pub trait Deliver: Send + 'static {
    /// Finds out whether the receiver can be used, before there is a first batch: what is wrong with a login or an address is known then as the run begins.
    /// It is asked again until that is known.
    fn prepare(&mut self) -> impl Future<Output = Result<(), Undelivered>> + Send {
        std::future::ready(Ok(()))
    }

    /// Sends a batch, and returns once the receiver has acknowledged it. Batches come one after the other, in the order of their
    /// numbers; a batch comes again until it was acknowledged. The future runs on a thread of its own with the timers and the I/O of
    /// tokio, and is dropped where the run ends before it does.
    fn deliver(&mut self, batch: &Batch) -> impl Future<Output = Result<(), Undelivered>> + Send;
}

/// Why a batch was not delivered. What it says reaches people, so it holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// The same may succeed later.
    Later {
        /// What happened.
        reason: String,
        /// What the receiver says that one should wait at least.
        after: Option<Duration>,
    },
    /// The same fails again, until a person changes something: the pipeline fails, and the batch stays in the outbox.
    Never {
        /// What happened.
        reason: String,
    },
}

/// What the sink and the thread that delivers know together.
#[derive(Debug)]
pub(super) struct Delivery {
    progress: Mutex<Progress>,
    /// Notified when more is released.
    released: Notify,
}

#[derive(Debug)]
struct Progress {
    /// Up to where batches may be delivered.
    released: Reach,
    /// Up to where they were.
    delivered: Reach,
    /// Why no more are.
    failure: Option<String>,
}

impl Delivery {
    pub(super) fn new(released: Reach, delivered: Reach) -> Self {
        Self {
            progress: Mutex::new(Progress {
                released,
                delivered,
                failure: None,
            }),
            released: Notify::new(),
        }
    }

    /// Lets batches be delivered up to there.
    pub(super) fn release(&self, reach: Reach) {
        let mut progress = self.progress.lock();
        // Without state, more was released meanwhile than the epoch has that ends.
        if reach.batches > progress.released.batches {
            progress.released = reach;
        }
        drop(progress);
        self.released.notify_one();
    }

    /// What may be delivered, and was not yet.
    pub(super) fn backlog(&self) -> Reach {
        let Progress {
            released, delivered, ..
        } = &*self.progress.lock();
        Reach {
            batches: released.batches - delivered.batches,
            records: released.records - delivered.records,
            bytes: released.bytes - delivered.bytes,
        }
    }

    /// Says why a delivery failed for good, if one did.
    pub(super) fn expect_none_failed(&self) -> Result<(), sink::Error> {
        match &self.progress.lock().failure {
            Some(failure) => Err(Error::Delivery(failure.clone()).into()),
            None => Ok(()),
        }
    }
}

/// The thread, which ends when this is dropped: nothing is delivered after that.
#[derive(Debug)]
pub(super) struct Thread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It catches its panics.
            let _ = thread.join();
        }
    }
}

/// What delivers batches, before it is started.
pub(super) struct Unstarted {
    pub(super) id: String,
    /// What the keys of its batches begin with.
    pub(super) name: String,
    /// Reads the batches that are to be delivered.
    pub(super) batches: Reader,
    pub(super) delivery: Arc<Delivery>,
    pub(super) journal: Arc<Journal>,
    pub(super) delivered: Delivered,
    pub(super) retry_for: Option<Duration>,
    /// Whether the outbox outlasts the run.
    pub(super) is_kept: bool,
    pub(super) clock: Arc<dyn Clock>,
}

impl Unstarted {
    /// Starts the thread, which wakes the writer of the sink as [`Sink::start`](sink::Sink::start) says.
    pub(super) fn start<D: Deliver>(self, receiver: D, waker: Waker) -> Result<Thread, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Error::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name(format!("delivery of {}", self.id));
        let thread = thread.spawn(move || self.run(receiver, &waker, runtime, stopped));
        Ok(Thread {
            stop: Some(stop),
            thread: Some(thread.map_err(Error::Thread)?),
        })
    }

    fn run<D: Deliver>(mut self, mut receiver: D, waker: &Waker, runtime: Runtime, stopped: oneshot::Receiver<()>) {
        let run = async {
            tokio::select! {
                biased;
                _ = stopped => Ok(()),
                failed = self.deliver_all(&mut receiver, waker) => failed,
            }
        };
        let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run)));
        let ended = ended.unwrap_or_else(|panic| Err(Error::Delivery(panicked(&*panic))));
        // The next run is told as well as can be: where this fails, batches are sent again.
        if self.is_kept
            && let Err(error) = self.delivered.sync()
        {
            tracing::debug!(sink = self.id, "making the note of what was delivered durable: {error}");
        }
        // A look-up of a name that is under way is not waited for.
        runtime.shutdown_background();
        if let Err(error) = ended {
            self.delivery.progress.lock().failure = Some(error.to_string());
            waker.wake_by_ref();
        }
    }

    /// Delivers what is released, for ever.
    async fn deliver_all<D: Deliver>(&mut self, receiver: &mut D, waker: &Waker) -> Result<(), Error> {
        self.prepare(receiver).await?;
        loop {
            self.deliver_next(receiver).await?;
            waker.wake_by_ref();
        }
    }

    async fn prepare<D: Deliver>(&self, receiver: &mut D) -> Result<(), Error> {
        let mut backoff = Backoff::default();
        let mut is_reported = false;
        loop {
            let (reason, after) = match receiver.prepare().await {
                Ok(()) => return Ok(()),
                Err(Undelivered::Never { reason }) => return Err(Error::Delivery(reason)),
                Err(Undelivered::Later { reason, after }) => (reason, after),
            };
            if self.delivery.backlog().batches > 0 {
                // The first batch finds out the same, and has a bound of time.
                return Ok(());
            }
            if !std::mem::replace(&mut is_reported, true) {
                tracing::warn!(
                    sink = self.id,
                    "the receiver cannot be used; it is tried again: {reason}"
                );
            }
            let random = RandomState::new().build_hasher().finish();
            tokio::time::sleep(backoff.next(after, random)).await;
        }
    }

    /// Delivers the next batch, once it is released.
    pub(super) async fn deliver_next<D: Deliver>(&mut self, receiver: &mut D) -> Result<(), Error> {
        while self.delivery.backlog().batches == 0 {
            self.delivery.released.notified().await;
        }
        let batch = self.batches.next_of(&self.name)?;
        self.deliver(receiver, &batch).await?;
        self.acknowledged(batch.behind())
    }

    /// Delivers a batch, as often as that takes.
    async fn deliver<D: Deliver>(&self, receiver: &mut D, batch: &Batch) -> Result<(), Error> {
        let number = batch.number();
        let mut backoff = Backoff::default();
        let mut failing_since_ns = None;
        loop {
            let (reason, after) = match receiver.deliver(batch).await {
                Ok(()) => return Ok(()),
                Err(Undelivered::Never { reason }) => {
                    return Err(self.failure(format!("batch {number} cannot be delivered: {reason}")));
                }
                Err(Undelivered::Later { reason, after }) => (reason, after),
            };
            let now_ns = self.clock.now_ns();
            if failing_since_ns.is_none() {
                tracing::warn!(
                    sink = self.id,
                    "batch {number} is sent again until it is delivered: {reason}"
                );
            } else {
                tracing::debug!(sink = self.id, "batch {number} is sent again: {reason}");
            }
            let failing_ns = now_ns - *failing_since_ns.get_or_insert(now_ns);
            if let Some(retry_for) = self.retry_for
                && failing_ns >= nanoseconds(retry_for)
            {
                let time = humantime::format_duration(retry_for);
                return Err(self.failure(format!("batch {number} was not delivered within {time}: {reason}")));
            }
            let random = RandomState::new().build_hasher().finish();
            let mut wait = backoff.next(after, random);
            if let Some(retry_for) = self.retry_for {
                // One last try at the end of the time.
                wait = wait.min(retry_for.saturating_sub(Duration::from_nanos(failing_ns)));
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn failure(&self, mut reason: String) -> Error {
        if self.is_kept {
            reason.push_str("; it stays in the outbox, and the next run with this state sends it again");
        }
        Error::Delivery(reason)
    }

    fn acknowledged(&mut self, reach: Reach) -> Result<(), Error> {
        self.delivered.note(reach).map_err(Error::Delivered)?;
        let is_idle = {
            let mut progress = self.delivery.progress.lock();
            progress.delivered = reach;
            progress.released == reach
        };
        if is_idle || reach.batches.is_multiple_of(NOTED_EVERY) {
            if self.is_kept {
                self.delivered.sync().map_err(Error::Delivered)?;
            }
            self.journal.trim(reach.bytes, self.clock.wall_ms())?;
        }
        Ok(())
    }
}

fn panicked(payload: &(dyn Any + Send)) -> String {
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!(
        "the delivery panicked: {}; please report this",
        message.unwrap_or("without a message")
    )
}
