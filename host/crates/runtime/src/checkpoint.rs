//! Checkpoints: one moment of a pipeline, made durable while the pipeline goes on (docs/design/005-state-and-delivery.md).
//!
//! Coordinates the epochs of a pipeline. Owns in which order things happen: the cut, then what its parts report of it, the
//! commit, and only then what readers see. Speaks to the parts by [`EpochCommand`]s, and hears of them by [`EpochReport`]s.
//! Knows nothing of how state lies on the disk, or how sinks write.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::Duration;

use super::compatibility::Description;
use super::epoch::{EpochCommand, EpochReport, Prepared};
use super::local::{LocalParts, Unsynced, failed};
use super::summary::CheckpointSummary;
use dirigo_actor::PipelineContext;
use dirigo_flow::{EventSink, Failure, SourceHandle};
use dirigo_ground::clock::nanoseconds;
use dirigo_ground::lineage::Epoch;
use dirigo_ground::signal::Signal;
use dirigo_ground::thread;
use dirigo_state::Snapshot;

/// Takes the checkpoints of a pipeline.
pub struct Checkpoints {
    pub(super) context: Arc<PipelineContext>,
    pub(super) local: LocalParts,
    /// What is stored of the pipeline itself.
    pub(super) description: Option<serde_json::Value>,
    pub(super) times: CheckpointTimes,
}

/// How long checkpoints took.
#[derive(Debug, Default)]
pub(super) struct CheckpointTimes {
    taken: AtomicU64,
    duration_ns_max: AtomicU64,
}

/// How far a checkpoint is.
pub enum Phase {
    /// Nothing is done yet.
    Due,
    /// The pipeline was cut, and goes on.
    Cut(Cut),
    /// Every part of the moment is there, and what sinks wrote before it is durable.
    Prepared(Box<PreparedCheckpoint>),
    /// The store has this epoch; readers have yet to see it.
    Committed(Epoch),
}

/// One moment of a pipeline, whose parts are still to report.
pub struct Cut {
    begun_ns: u64,
    epoch: Epoch,
    reports: Receiver<Unsynced>,
}

/// A cut whose every part is there, to be committed.
pub struct PreparedCheckpoint {
    begun_ns: u64,
    /// Which epoch it ends.
    pub epoch: Epoch,
    /// What the store is to have of it.
    pub snapshot: Snapshot,
}

impl Checkpoints {
    /// Those of a pipeline that is described so.
    pub(super) fn new(context: Arc<PipelineContext>, local: LocalParts, description: &Description) -> Self {
        Self {
            context,
            local,
            description: Some(description.to_json()),
            times: CheckpointTimes::default(),
        }
    }

    /// Takes a checkpoint, and waits until it is durable.
    ///
    /// # Errors
    /// When the pipeline has failed, or it cannot be made durable; nothing must be committed after that.
    pub fn take(&self) -> Result<(), Failure> {
        let mut next = Some(Phase::Due);
        while let Some(phase) = next {
            next = self.advance(phase)?;
        }
        Ok(())
    }

    /// Takes the next step of a checkpoint; `None` when that was the last one. Only this knows their order, so code
    /// that stops a machine between two steps tests the order that [`take`](Self::take) has.
    ///
    /// # Errors
    /// As for [`take`](Self::take).
    pub fn advance(&self, phase: Phase) -> Result<Option<Phase>, Failure> {
        Ok(match phase {
            Phase::Due => Some(Phase::Cut(self.cut()?)),
            Phase::Cut(cut) => Some(Phase::Prepared(Box::new(self.prepare(&cut)?))),
            Phase::Prepared(moment) => Some(Phase::Committed(self.commit(*moment)?)),
            Phase::Committed(epoch) => {
                self.publish(epoch)?;
                None
            }
        })
    }

    /// Ends an epoch: the pipeline stands still between two effects, and everything there is of it is taken.
    ///
    /// # Errors
    /// When the pipeline has failed: what its actors drop then is in no cut.
    fn cut(&self) -> Result<Cut, Failure> {
        let begun_ns = self.context.clock.now_ns();
        let epoch = self.context.epochs.current();
        let (sender, reports) = mpsc::channel();
        self.local.command(EpochCommand::Cut(epoch), &sender)?;
        Ok(Cut {
            begun_ns,
            epoch,
            reports,
        })
    }

    /// Waits until all parts have come to the cut, and what they wrote before it is durable.
    ///
    /// # Errors
    /// When one of them fails, or the pipeline has meanwhile.
    fn prepare(&self, cut: &Cut) -> Result<PreparedCheckpoint, Failure> {
        let parts = self.local.parts();
        let mut reported: Vec<Option<Prepared>> = parts.iter().map(|_| None).collect();
        while reported.iter().any(Option::is_none) {
            let unsynced = cut.reports.recv().map_err(|_| self.gone())?;
            let EpochReport { epoch, prepared } = unsynced.synced()?;
            assert_eq!(epoch, cut.epoch, "a part reports the epoch that it was told to end");
            let index = parts.iter().position(|part| *part == prepared.part());
            reported[index.expect("only parts report")] = Some(prepared);
        }
        let mut snapshot = Snapshot::default();
        snapshot.offsets.pipeline.clone_from(&self.description);
        for prepared in reported.into_iter().flatten() {
            add(&mut snapshot, prepared);
        }
        Ok(PreparedCheckpoint {
            begun_ns: cut.begun_ns,
            epoch: cut.epoch,
            snapshot,
        })
    }

    /// Why a part has not reported.
    fn gone(&self) -> Failure {
        let failure = self.context.failure_latch.failure();
        failure.unwrap_or_else(|| failed("the sink thread ended before the checkpoint"))
    }

    /// Makes a moment durable, where the pipeline has a place for that.
    ///
    /// # Errors
    /// When the store fails.
    fn commit(&self, moment: PreparedCheckpoint) -> Result<Epoch, Failure> {
        if self.context.store.is_durable() {
            let committed = self.context.store.commit(moment.snapshot);
            committed.map_err(|error| Failure::State {
                reason: error.to_string(),
            })?;
        }
        let duration_ns = self.context.clock.now_ns() - moment.begun_ns;
        self.times.duration_ns_max.fetch_max(duration_ns, Ordering::Relaxed);
        self.times.taken.fetch_add(1, Ordering::Relaxed);
        Ok(moment.epoch)
    }

    /// What was taken so far; `None` where nothing is to last.
    pub(super) fn summary(&self) -> Option<CheckpointSummary> {
        #[allow(clippy::cast_precision_loss, reason = "checkpoints are shorter than 2^52 ns")]
        let ms = |ns: &AtomicU64| ns.load(Ordering::Relaxed) as f64 / 1e6;
        self.context.store.is_durable().then(|| CheckpointSummary {
            taken: self.times.taken.load(Ordering::Relaxed),
            pause_ms_max: ms(&self.local.pause_ns_max),
            duration_ms_max: ms(&self.times.duration_ns_max),
        })
    }

    /// Has readers shown an epoch, which is committed. A sink that cannot do it ends the pipeline.
    ///
    /// # Errors
    /// When a part cannot be told.
    pub fn publish(&self, epoch: Epoch) -> Result<(), Failure> {
        let (no_reports, _) = mpsc::channel();
        self.local.command(EpochCommand::Publish(epoch), &no_reports)
    }

    /// A number that rises with everything that is read and every window that is closed at the end of the input, and with what sinks
    /// write of it, at once or later.
    fn moved(&self) -> u64 {
        let read = |source_handle: &Arc<SourceHandle>| {
            source_handle.events_in.load(Ordering::Acquire) + source_handle.dead_letters.load(Ordering::Acquire)
        };
        let written = |event_sink: &Arc<EventSink>| event_sink.events_out.load(Ordering::Acquire);
        self.local.source_handles.iter().map(read).sum::<u64>()
            + self.local.event_sinks.iter().map(written).sum::<u64>()
            + self.local.closed_windows.count()
            + self.local.closed_in_time()
    }

    /// Where the sources are that can be read again.
    #[must_use]
    pub fn positions(&self) -> BTreeMap<String, serde_json::Value> {
        let source_handles = self.local.source_handles.iter();
        source_handles
            .filter_map(|source_handle| Some((source_handle.id.clone(), source_handle.offset()?)))
            .collect()
    }

    /// Whether nothing is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let progress = &self.local.progress;
        progress.lines().all(|line| progress.in_flight(line) == 0)
    }

    /// Takes one every so often, on a thread of its own.
    ///
    /// # Panics
    /// When the system gives no thread.
    pub(super) fn start(self: &Arc<Self>, every: Duration) -> Checkpointer {
        let stop = Arc::<Stop>::default();
        let (this, stopped) = (self.clone(), stop.clone());
        let thread = std::thread::Builder::new().name(format!("checkpoints of {}", self.context.name));
        let run = move || {
            // A pipeline that changes much has much to write; that must not come before the turns of others, as what sources
            // and sinks do would.
            thread::set_niceness(thread::WORKER_NICENESS);
            let mut saved = this.is_empty().then_some(0);
            while stopped.wait(&this, every) {
                let moved = this.moved();
                if saved == Some(moved) {
                    continue;
                }
                let is_empty = this.is_empty();
                let taken = catch_unwind(AssertUnwindSafe(|| this.take()));
                let taken =
                    taken.unwrap_or_else(|_| Err(failed("the host failed in a checkpoint; please report this")));
                if let Err(failure) = taken {
                    this.context.failure_latch.fail(failure);
                    return;
                }
                // With something on its way the next moment differs, though nothing more is read.
                saved = is_empty.then_some(moved);
            }
        };
        let thread = thread.spawn(run).expect("the system gives a thread to each pipeline");
        Checkpointer { stop, thread }
    }
}

/// Adds what a part reported to what the store is to have.
fn add(snapshot: &mut Snapshot, prepared: Prepared) {
    let offsets = &mut snapshot.offsets;
    match prepared {
        Prepared::Source {
            id,
            offset,
            next_position,
            watermark,
        } => {
            offsets.next_positions.insert(id.clone(), next_position);
            offsets
                .watermarks
                .extend(watermark.map(|watermark| (id.clone(), watermark)));
            offsets.sources.extend(offset.map(|offset| (id, offset)));
        }
        Prepared::Operator {
            id,
            open_windows,
            next_position,
            records,
            in_flight,
        } => {
            let position = next_position.map(|position| (id.clone(), position));
            offsets.next_positions.extend(position);
            snapshot.in_flight.extend(in_flight);
            if open_windows.0 > 0 {
                offsets.open_windows.insert(id.clone(), open_windows);
            }
            snapshot.state.push((id, records));
        }
        Prepared::Closing { closed_windows } => offsets.closed_windows = closed_windows,
        Prepared::Sink { id, offset, in_flight } => {
            snapshot.in_flight.extend(in_flight);
            offsets.sinks.extend(offset.map(|offset| (id, offset)));
        }
        Prepared::DeadLetters(dead_letters) => {
            let offset = serde_json::to_value(dead_letters).expect("an offset is plain JSON");
            offsets.dead_letters = Some(offset);
        }
    }
}

/// The thread that takes checkpoints.
#[derive(Debug)]
pub(super) struct Checkpointer {
    stop: Arc<Stop>,
    thread: JoinHandle<()>,
}

impl Checkpointer {
    /// Waits for the one that is under way; no other follows.
    pub(super) fn stop(self) {
        self.stop.is_stopped.store(true, Ordering::SeqCst);
        self.stop.signal.notify();
        self.thread.join().expect("checkpoints don't panic");
    }
}

#[derive(Debug, Default)]
struct Stop {
    is_stopped: AtomicBool,
    signal: Signal,
}

impl Stop {
    /// Waits for so long; `false` if it is over.
    fn wait(&self, checkpoints: &Checkpoints, every: Duration) -> bool {
        let clock = &checkpoints.context.clock;
        let until_ns = clock.now_ns().saturating_add(nanoseconds(every));
        loop {
            let seen = self.signal.seen();
            if self.is_stopped.load(Ordering::SeqCst) || checkpoints.context.failure_latch.has_failed() {
                return false;
            }
            let left_ns = until_ns.saturating_sub(clock.now_ns());
            if left_ns == 0 {
                return true;
            }
            self.signal.wait_past(seen, Some(Duration::from_nanos(left_ns)));
        }
    }
}
