//! The parts of a pipeline that are in this process, as the coordinator of its epochs sees them.
//!
//! Owns how an epoch ends here: the pipeline pauses between two effects, what changed is copied, and a mark goes to the sinks
//! behind everything that was sent to them. Does not know when an epoch ends, or what its reports are for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use dirigo_ground::sync::Mutex;

use super::closing::ClosedWindows;
use super::epoch::{EpochCommand, EpochReport, Part, Prepared};
use dirigo_actor::{CapturedBatch, Operator, PipelineContext};
use dirigo_connect::{sink, source};
use dirigo_flow::{Content, EventSink, Failure, Marked, NextId, SavedBatch, SourceHandle};
use dirigo_ground::batch::Batch;
use dirigo_ground::lineage::{BEFORE_ALL, Epoch, Progress, SourceIndex};
use dirigo_state::{Copies, InFlight};

/// The parts of this process.
pub(super) struct LocalParts {
    pub(super) context: Arc<PipelineContext>,
    pub(super) operators: Vec<Arc<Operator>>,
    pub(super) source_handles: Vec<Arc<SourceHandle>>,
    pub(super) event_sinks: Vec<Arc<EventSink>>,
    pub(super) progress: Arc<Progress>,
    /// By operator, its own line, if it is timed.
    pub(super) own_lines: Vec<Option<SourceIndex>>,
    pub(super) closed_windows: Arc<ClosedWindows>,
    /// By source: where it reads on after the last cut, for when that is durable.
    pub(super) cut_at: Mutex<Vec<Option<source::Offset>>>,
    /// What the last cut copied; the buffer serves all of them.
    pub(super) copies: Mutex<Copies>,
    /// The longest that the pipeline stood still for a cut.
    pub(super) pause_ns_max: AtomicU64,
}

/// The report of a part that may still have to wait for the disk. The coordinator does that: the part goes on meanwhile.
pub(super) struct Unsynced {
    report: EpochReport,
    sync: Option<Sync>,
}

/// Waits until what a report covers is durable.
type Sync = Box<dyn FnOnce() -> Result<(), sink::Error> + Send>;

impl Unsynced {
    /// Waits for the disk.
    ///
    /// # Errors
    /// When the disk fails. The epoch must not be committed then.
    pub(super) fn synced(self) -> Result<EpochReport, Failure> {
        let Err(error) = self.sync.map_or(Ok(()), |sync| sync()) else {
            return Ok(self.report);
        };
        let reason = error.to_string();
        Err(match self.report.prepared {
            Prepared::Sink { id, .. } => Failure::Sink { id, reason },
            Prepared::Source { id, .. } => Failure::Source { id, reason },
            Prepared::Operator { id, .. } => Failure::Operator { id, reason },
            Prepared::DeadLetters(_) => Failure::DeadLetters { reason },
            Prepared::Closing { .. } => Failure::State { reason },
        })
    }
}

/// Where the parts report what there is of an epoch.
#[derive(Clone)]
struct Reports {
    epoch: Epoch,
    sender: Sender<Unsynced>,
}

impl Reports {
    fn send(&self, prepared: Prepared, sync: Option<Sync>) {
        let report = EpochReport {
            epoch: self.epoch,
            prepared,
        };
        // The caller has given up only where the pipeline has failed.
        let _ = self.sender.send(Unsynced { report, sync });
    }
}

impl LocalParts {
    /// Those that report, in the order in which what was on its way to them goes back after a restart: what lies furthest
    /// downstream first.
    pub(super) fn parts(&self) -> Vec<Part> {
        let sinks = self
            .event_sinks
            .iter()
            .map(|event_sink| Part::Sink(event_sink.id.clone()));
        let operators = self.captured().rev();
        let operators = operators.map(|operator| Part::Operator(operator.id().to_owned()));
        let sources = self
            .source_handles
            .iter()
            .map(|source_handle| Part::Source(source_handle.id.clone()));
        let parts = sinks.chain(operators).chain(sources);
        parts.chain([Part::Closing, Part::DeadLetters]).collect()
    }

    /// Does what they are told. Sinks and dead letters come to it in their own time.
    ///
    /// # Errors
    /// When the pipeline has failed: what its actors drop then is in no cut.
    pub(super) fn command(&self, command: EpochCommand, reports: &Sender<Unsynced>) -> Result<(), Failure> {
        match command {
            EpochCommand::Cut(epoch) => {
                let sender = reports.clone();
                self.cut(&Reports { epoch, sender })
            }
            EpochCommand::Publish(epoch) => self.publish(epoch),
        }
    }

    fn cut(&self, reports: &Reports) -> Result<(), Failure> {
        let begun_ns = self.context.clock.now_ns();
        let paused = self.context.epochs.pause();
        self.report_sources(reports);
        let closed_windows = self.closed_windows.count();
        reports.send(Prepared::Closing { closed_windows }, None);
        let mut copies = self.copies.lock();
        copies.clear();
        let captured = self.captured().map(|operator| {
            let start = copies.end();
            let waiting = operator.capture(&mut copies);
            (operator, start..copies.end(), waiting, operator.open_windows())
        });
        let captured: Vec<_> = captured.collect();
        let next_positions = self.next_positions();
        self.mark_sinks(reports);
        if self.context.store.is_durable() {
            self.context.store.freeze();
        }
        let ended = paused.cut();
        assert_eq!(ended, reports.epoch, "one coordinator ends epochs, one after the other");
        if let Some(failure) = self.context.failure_latch.failure() {
            return Err(failure);
        }
        if paused.is_broken() {
            return Err(failed("the host failed in the middle of an effect; please report this"));
        }
        drop(paused);
        // Any caller that looked for an idle actor to take its place found none that could give it up.
        self.context.activations.wake_next();
        self.context.instances.wake_next();
        let pause_ns = self.context.clock.now_ns() - begun_ns;
        self.pause_ns_max.fetch_max(pause_ns, Ordering::Relaxed);
        for (operator, copied, waiting, open_windows) in captured {
            let waiting = waiting.iter().map(|waiting| self.waiting_in(operator, waiting));
            let prepared = Prepared::Operator {
                id: operator.id().to_owned(),
                open_windows,
                next_position: next_positions.get(operator.id()).copied(),
                records: copies.records(copied).collect(),
                in_flight: waiting.collect(),
            };
            reports.send(prepared, None);
        }
        Ok(())
    }

    /// The operators that something is kept of. Where nothing is to last, a cut is only the end that sinks come to.
    fn captured(&self) -> impl DoubleEndedIterator<Item = &Arc<Operator>> {
        let is_durable = self.context.store.is_durable();
        self.operators.iter().filter(move |_| is_durable)
    }

    fn report_sources(&self, reports: &Reports) {
        let offsets: Vec<_> = self
            .source_handles
            .iter()
            .map(|source_handle| source_handle.offset())
            .collect();
        self.cut_at.lock().clone_from(&offsets);
        for ((index, source_handle), offset) in (0..).zip(&self.source_handles).zip(offsets) {
            let prepared = Prepared::Source {
                id: source_handle.id.clone(),
                offset,
                next_position: self.progress.next_position(index),
                watermark: Some(self.progress.read_watermark(index)).filter(|watermark| *watermark != BEFORE_ALL),
            };
            reports.send(prepared, None);
        }
    }

    /// By timed operator, the position of the next of what event time has it do.
    fn next_positions(&self) -> BTreeMap<String, u64> {
        let lines = self.operators.iter().zip(&self.own_lines);
        lines
            .filter_map(|(operator, line)| Some((operator.id().to_owned(), self.progress.next_position((*line)?))))
            .collect()
    }

    /// How many windows in time were closed.
    pub(super) fn closed_in_time(&self) -> u64 {
        self.next_positions().into_values().sum()
    }

    /// Sends the mark that they report at, behind all that was sent to them.
    fn mark_sinks(&self, reports: &Reports) {
        let lines = self.progress.lines();
        let frontiers: Arc<[u64]> = lines.map(|line| self.progress.frontier(line)).collect();
        for event_sink in &self.event_sinks {
            let (reports, context, id) = (reports.clone(), self.context.clone(), event_sink.id.clone());
            let report = move |Marked { prepared, at_cut }: Marked<Vec<(Batch, SourceIndex)>>| {
                let held = |(batch, source): &(Batch, SourceIndex)| {
                    in_flight(&context, &id, batch, *source, Content::Outputs, None)
                };
                let in_flight = at_cut.iter().map(held).collect();
                let sink::Prepared { offset, sync } = prepared;
                let prepared = Prepared::Sink { id, offset, in_flight };
                reports.send(prepared, sync);
            };
            event_sink.mark(frontiers.clone(), report);
        }
        let (reports, dead_letters) = (reports.clone(), self.context.dead_letters.clone());
        let report = move |Marked { prepared, at_cut }: Marked<NextId>| {
            let offset = dead_letters.offset(at_cut, prepared.offset);
            reports.send(Prepared::DeadLetters(offset), prepared.sync);
        };
        self.context.dead_letters.mark(report);
    }

    fn waiting_in(&self, operator: &Operator, waiting: &CapturedBatch) -> InFlight {
        let CapturedBatch { batch, content } = waiting;
        let source = batch.origin.ticket.source();
        let output = operator.output_name(batch.origin.output);
        in_flight(&self.context, operator.id(), batch, source, *content, output)
    }

    fn publish(&self, epoch: Epoch) -> Result<(), Failure> {
        if self.context.store.is_durable() {
            self.context.epochs.commit(epoch);
            self.tell_sources()?;
        }
        self.event_sinks.iter().for_each(|event_sink| event_sink.publish());
        self.context.dead_letters.publish();
        Ok(())
    }

    /// Says to each source that what it gave up to the last cut is durable.
    fn tell_sources(&self) -> Result<(), Failure> {
        let cut_at = std::mem::take(&mut *self.cut_at.lock());
        for (source_handle, offset) in self.source_handles.iter().zip(cut_at) {
            let Some(Err(error)) = offset.map(|offset| source_handle.committed(&offset)) else {
                continue;
            };
            if error.is_retryable() {
                let id = &source_handle.id;
                tracing::warn!("source `{id}` did not take an epoch, the next one covers it: {error}");
            } else {
                return Err(Failure::Source {
                    id: source_handle.id.clone(),
                    reason: error.to_string(),
                });
            }
        }
        Ok(())
    }
}

/// A batch on its way to `item`, whose events entered by `source`; one that leaves it bears the name of the output, if that has one.
fn in_flight(
    context: &PipelineContext,
    item: &str,
    batch: &Batch,
    source: SourceIndex,
    what: Content,
    output: Option<&str>,
) -> InFlight {
    InFlight {
        item: item.to_owned(),
        bytes: SavedBatch::encode(batch, &context.sources[usize::from(source)], what, output),
    }
}

/// What ends a pipeline whose moments cannot be kept.
pub(super) fn failed(reason: &str) -> Failure {
    Failure::State {
        reason: reason.to_owned(),
    }
}
