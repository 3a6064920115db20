//! Checkpoints: one moment of a pipeline, made durable while the pipeline goes on (docs/design/005-state-and-delivery.md).
//!
//! Owns in which order things happen: the cut, then what sinks have of it, the commit, and only then what readers see. Knows
//! nothing of how state lies on the disk, or how sinks write.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::Duration;

use dirigo_ground::sync::Mutex;

use super::summary::CheckpointSummary;
use dirigo_actor::{Operator, Pipe, Waiting};
use dirigo_connectors::sink;
use dirigo_flow::{Failure, Inlet, Letters, MarkedEvents, MarkedLetters, Outlet, Saved};
use dirigo_ground::clock::nanoseconds;
use dirigo_ground::lineage::{Epoch, Progress, SourceIndex};
use dirigo_ground::signal::Signal;
use dirigo_ground::thread;
use dirigo_state::{Bookmarks, Copies, InFlight, Record, Snapshot};

/// What a checkpoint looks at.
pub struct Checkpoints {
    pub(super) pipe: Arc<Pipe>,
    pub(super) operators: Vec<Arc<Operator>>,
    pub(super) inlets: Vec<Arc<Inlet>>,
    pub(super) outlets: Vec<Arc<Outlet>>,
    pub(super) letters: Arc<Letters>,
    pub(super) progress: Arc<Progress>,
    /// What is stored of the pipeline itself.
    pub(super) description: Option<serde_json::Value>,
    /// What the last cut copied; the buffer serves all of them.
    pub(super) copies: Mutex<Copies>,
    pub(super) times: Times,
}

/// How long checkpoints took.
#[derive(Debug, Default)]
pub(super) struct Times {
    taken: AtomicU64,
    pause_ns_max: AtomicU64,
    duration_ns_max: AtomicU64,
}

/// How far a checkpoint is.
pub enum Phase {
    /// Nothing is done yet.
    Due,
    /// The pipeline was cut, and goes on.
    Cut(Cut),
    /// Every part of the moment is there, and what sinks wrote before it is durable.
    Prepared(Moment),
    /// The store has it; readers have yet to see it.
    Committed,
}

/// One moment of a pipeline, on its way to the disk.
pub struct Cut {
    begun_ns: u64,
    epoch: Epoch,
    state: Vec<(String, Vec<Record>)>,
    in_flight: Vec<InFlight>,
    sources: BTreeMap<String, serde_json::Value>,
    next_positions: BTreeMap<String, u64>,
    sinks: Vec<Receiver<MarkedEvents>>,
    letters: Receiver<MarkedLetters>,
}

/// A cut whose every part is there, to be committed.
pub struct Moment {
    begun_ns: u64,
    epoch: Epoch,
    /// What the store is to have of it.
    pub snapshot: Snapshot,
}

impl Checkpoints {
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

    /// Takes the next step of a checkpoint; `None` when that was the last one. Only this knows their order, so whoever stops a
    /// machine between two steps tests the order that [`take`](Self::take) has.
    ///
    /// # Errors
    /// As for [`take`](Self::take).
    pub fn advance(&self, phase: Phase) -> Result<Option<Phase>, Failure> {
        Ok(match phase {
            Phase::Due => Some(Phase::Cut(self.cut()?)),
            Phase::Cut(cut) => Some(Phase::Prepared(self.prepare(cut)?)),
            Phase::Prepared(moment) => {
                self.commit(moment)?;
                Some(Phase::Committed)
            }
            Phase::Committed => {
                self.publish();
                None
            }
        })
    }

    /// Ends an epoch: the pipeline stands still between two effects, and everything there is of it is taken.
    ///
    /// # Errors
    /// When the pipeline has failed: what its actors drop then is in no cut.
    fn cut(&self) -> Result<Cut, Failure> {
        let is_durable = self.pipe.store.is_durable();
        let begun_ns = self.pipe.clock.now_ns();
        let paused = self.pipe.epochs.pause();
        let indexed = || (0..).zip(&self.inlets);
        let frontiers: Arc<[u64]> = indexed().map(|(source, _)| self.progress.frontier(source)).collect();
        let named =
            |(source, inlet): (SourceIndex, &Arc<Inlet>)| (inlet.id.clone(), self.progress.next_position(source));
        let next_positions = indexed().map(named).collect();
        let sources = self.positions();
        let mut copies = self.copies.lock();
        copies.clear();
        // Where nothing is to last, the cut is only the end that sinks come to.
        let operators = self.operators.iter().filter(|_| is_durable);
        let captured = operators.map(|operator| {
            let start = copies.end();
            let waiting = operator.capture(&mut copies);
            (operator.id().to_owned(), start..copies.end(), waiting)
        });
        let captured: Vec<_> = captured.collect();
        let sinks = self
            .outlets
            .iter()
            .map(|outlet| outlet.mark(frontiers.clone()))
            .collect();
        let letters = self.letters.mark();
        if is_durable {
            self.pipe.store.freeze();
        }
        let epoch = paused.cut();
        if let Some(failure) = self.pipe.halt.failure() {
            return Err(failure);
        }
        if paused.is_broken() {
            return Err(failed("the host failed in the middle of an effect; please report this"));
        }
        drop(paused);
        // Whoever looked for an idle actor to take its place found none that could give it up.
        self.pipe.activations.wake_next();
        self.pipe.share.wake_next();
        let pause_ns = self.pipe.clock.now_ns() - begun_ns;
        self.times.pause_ns_max.fetch_max(pause_ns, Ordering::Relaxed);
        let mut cut = Cut {
            begun_ns,
            epoch,
            state: Vec::new(),
            in_flight: Vec::new(),
            sources,
            next_positions,
            sinks,
            letters,
        };
        // Those furthest downstream first: that is the order in which they go back.
        for (id, copied, waiting) in captured.into_iter().rev() {
            let save = |waiting: &Waiting| {
                let source = &self.pipe.sources[usize::from(waiting.batch.origin.ticket.source())];
                InFlight {
                    item: id.clone(),
                    bytes: Saved::encode(&waiting.batch, source, waiting.is_output),
                }
            };
            cut.in_flight.extend(waiting.iter().map(save));
            cut.state.push((id, copies.records(copied).collect()));
        }
        Ok(cut)
    }

    /// Waits until sinks and dead letters have come to the cut, and what they wrote before it is durable.
    ///
    /// # Errors
    /// When one of them fails, or the pipeline has meanwhile.
    fn prepare(&self, cut: Cut) -> Result<Moment, Failure> {
        let gone = |_| {
            let failure = self.pipe.halt.failure();
            failure.unwrap_or_else(|| failed("whoever writes was gone before the checkpoint"))
        };
        let mut sinks = BTreeMap::new();
        let mut in_flight = Vec::new();
        for (outlet, marked) in self.outlets.iter().zip(cut.sinks) {
            let MarkedEvents { prepared, at_cut: held } = marked.recv().map_err(gone)?;
            let synced = prepared.synced().map_err(|error| sink_failure(&outlet.id, &error))?;
            sinks.extend(synced.map(|bookmark| (outlet.id.clone(), bookmark)));
            in_flight.extend(held.into_iter().map(|(batch, source)| InFlight {
                item: outlet.id.clone(),
                bytes: Saved::encode(&batch, &self.pipe.sources[usize::from(source)], true),
            }));
        }
        in_flight.extend(cut.in_flight);
        let letters = cut.letters.recv().map_err(gone)?;
        let letters = letters.synced().map_err(|error| Failure::DeadLetters {
            reason: error.to_string(),
        })?;
        let bookmarks = Bookmarks {
            sources: cut.sources,
            next_positions: cut.next_positions,
            sinks,
            dead_letters: Some(serde_json::to_value(letters).expect("a bookmark is plain JSON")),
            pipeline: self.description.clone(),
        };
        Ok(Moment {
            begun_ns: cut.begun_ns,
            epoch: cut.epoch,
            snapshot: Snapshot {
                state: cut.state,
                in_flight,
                bookmarks,
            },
        })
    }

    /// Makes a moment durable, where the pipeline has a place for that.
    ///
    /// # Errors
    /// When the store fails.
    fn commit(&self, moment: Moment) -> Result<(), Failure> {
        if self.pipe.store.is_durable() {
            let committed = self.pipe.store.commit(moment.snapshot);
            committed.map_err(|error| Failure::State {
                reason: error.to_string(),
            })?;
            self.pipe.epochs.commit(moment.epoch);
        }
        let duration_ns = self.pipe.clock.now_ns() - moment.begun_ns;
        self.times.duration_ns_max.fetch_max(duration_ns, Ordering::Relaxed);
        self.times.taken.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// What was taken so far; `None` where nothing is to last.
    pub(super) fn summary(&self) -> Option<CheckpointSummary> {
        #[allow(clippy::cast_precision_loss, reason = "checkpoints are shorter than 2^52 ns")]
        let ms = |ns: &AtomicU64| ns.load(Ordering::Relaxed) as f64 / 1e6;
        self.pipe.store.is_durable().then(|| CheckpointSummary {
            taken: self.times.taken.load(Ordering::Relaxed),
            pause_ms_max: ms(&self.times.pause_ns_max),
            duration_ms_max: ms(&self.times.duration_ns_max),
        })
    }

    /// Has readers shown the epoch that was committed last. A sink that cannot do it ends the pipeline.
    pub fn publish(&self) {
        self.outlets.iter().for_each(|outlet| outlet.publish());
        self.letters.publish();
    }

    /// A number that rises with everything that is read, and with what sinks write of it, at once or later.
    fn moved(&self) -> u64 {
        let read =
            |inlet: &Arc<Inlet>| inlet.events_in.load(Ordering::Acquire) + inlet.dead_letters.load(Ordering::Acquire);
        let written = |outlet: &Arc<Outlet>| outlet.events_out.load(Ordering::Acquire);
        self.inlets.iter().map(read).sum::<u64>() + self.outlets.iter().map(written).sum::<u64>()
    }

    /// Where the sources are that can be read again.
    #[must_use]
    pub fn positions(&self) -> BTreeMap<String, serde_json::Value> {
        let inlets = self.inlets.iter();
        inlets
            .filter_map(|inlet| Some((inlet.id.clone(), inlet.bookmark()?)))
            .collect()
    }

    /// Whether nothing is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        (0..)
            .zip(&self.inlets)
            .all(|(source, _)| self.progress.in_flight(source) == 0)
    }

    /// Takes one every so often, on a thread of its own.
    ///
    /// # Panics
    /// When the system gives no thread.
    pub(super) fn start(self: &Arc<Self>, every: Duration) -> Checkpointer {
        let stop = Arc::<Stop>::default();
        let (this, stopped) = (self.clone(), stop.clone());
        let thread = std::thread::Builder::new().name(format!("checkpoints of {}", self.pipe.name));
        let run = move || {
            // A pipeline that changes much has much to write; that must not come before the turns of others, as what sources
            // and sinks do would.
            thread::give_way(thread::WORKER_NICENESS);
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
                    this.pipe.halt.blow(failure);
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

fn failed(reason: &str) -> Failure {
    Failure::State {
        reason: reason.to_owned(),
    }
}

fn sink_failure(id: &str, error: &sink::Error) -> Failure {
    Failure::Sink {
        id: id.to_owned(),
        reason: error.to_string(),
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
        self.stop.signal.ring();
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
        let clock = &checkpoints.pipe.clock;
        let until_ns = clock.now_ns().saturating_add(nanoseconds(every));
        loop {
            let heard = self.signal.heard();
            if self.is_stopped.load(Ordering::SeqCst) || checkpoints.pipe.halt.is_blown() {
                return false;
            }
            let left_ns = until_ns.saturating_sub(clock.now_ns());
            if left_ns == 0 {
                return true;
            }
            self.signal.wait_past(heard, Some(Duration::from_nanos(left_ns)));
        }
    }
}
