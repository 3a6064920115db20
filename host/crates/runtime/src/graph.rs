//! A pipeline that is put together: its parts, what connects them, and what came of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use hdrhistogram::Histogram;
use tokio::sync::Notify;

use super::checkpoint::Checkpoints;
use super::closing::ClosedWindows;
use super::event_time::EventTime;
use super::summary::{
    EdgeSummary, Figures, KeyedSummary, Latency, LeapSummary, OpenWindowsSummary, OperatorSummary, Outcome,
    PipelineSummary, ScaleChange, ScalingSummary, SliceSummary, SloSummary, SourceSummary,
};
use dirigo_actor::{Operator, PipelineContext, ScaleEvent};
use dirigo_connect::Files;
use dirigo_flow::{Edge, EventSink, Failure, SourceHandle};
use dirigo_ground::lineage::{Listener, Progress, SourceIndex};
use dirigo_pipeline::{Pipeline, Sink};

/// The parts of a pipeline.
pub(super) struct Graph {
    pub(super) pipeline: Pipeline,
    pub(super) context: Arc<PipelineContext>,
    pub(super) operators: Vec<Arc<Operator>>,
    pub(super) source_edges: Vec<Arc<Vec<Edge>>>,
    pub(super) source_handles: Vec<Arc<SourceHandle>>,
    pub(super) event_sinks: Vec<Arc<EventSink>>,
    pub(super) checkpoints: Arc<Checkpoints>,
    pub(super) progress: Arc<Progress>,
    pub(super) time: Arc<EventTime>,
    pub(super) closed_windows: Arc<ClosedWindows>,
    pub(super) progress_board: Arc<ProgressBoard>,
    pub(super) started_ns: u64,
    pub(super) is_resumed: bool,
    /// By operator and sink: events that were on their way to it when the last run stopped.
    pub(super) resumed: BTreeMap<String, u64>,
    /// Events that were on their way when it was stopped without waiting for them.
    pub(super) unfinished: AtomicU64,
}

/// What is left of a pipeline that ran.
#[derive(Debug)]
pub struct Ended {
    /// What it did.
    pub summary: PipelineSummary,
    /// What its operators did.
    pub operators: Vec<OperatorSummary>,
    /// What ended it before its time.
    pub failure: Option<Failure>,
    /// Whether it went on from an earlier run and found nothing new.
    pub had_nothing_new: bool,
}

/// From this many events on, an operator that failed with all of them fails the run.
const FAILED_MIN: u64 = 100;

impl Ended {
    /// Fails a run that came to its end, but in which too many events failed, or all of them.
    #[must_use]
    pub fn judged(mut self) -> Self {
        if self.failure.is_none()
            && let Some(failure) = self.excess()
        {
            self.summary.outcome = Outcome::Failed;
            self.summary.error = Some(failure.to_string());
            self.failure = Some(failure);
        }
        self
    }

    fn excess(&self) -> Option<Failure> {
        let figures = &self.summary.figures;
        let events = figures.events_in + self.summary.resumed.values().sum::<u64>();
        let max = self.summary.dead_letters_max;
        if let Some(max) = max.filter(|max| max.is_exceeded(figures.dead_letters, events)) {
            return Some(Failure::too_many_dead_letters(figures.dead_letters, events, max));
        }
        // What an operator took and made nothing of, on purpose.
        let is_absorbed = |operator: &OperatorSummary| {
            let counts = &operator.counts;
            counts.absorbed > 0 || (counts.passed > 0 && counts.events_out == 0)
        };
        let got_through = figures.events_out > 0 || figures.filtered > 0 || self.operators.iter().any(is_absorbed);
        let all_failed = |events: u64| match events {
            1 => "the only event failed".to_owned(),
            _ => format!("all {events} events failed"),
        };
        if figures.dead_letters > 0 && figures.events_in > 0 && !got_through {
            return Some(Failure::DeadLetters {
                reason: all_failed(events),
            });
        }
        // What others let through or filtered says nothing of an operator that takes nothing.
        let failing = self.operators.iter().find(|operator| {
            let counts = &operator.counts;
            counts.events_in >= FAILED_MIN && counts.dead_letters == counts.events_in
        });
        failing.map(|operator| Failure::DeadLetters {
            reason: format!("operator `{}`: {}", operator.id, all_failed(operator.counts.events_in)),
        })
    }
}

/// Passes on what [`Progress`] tells.
#[derive(Debug, Default)]
pub(super) struct ProgressBoard {
    /// The sinks that keep the order of the source.
    pub(super) ordered: OnceLock<Vec<Arc<EventSink>>>,
    pub(super) emptied: Notify,
    /// The operators that go by event time. The graph keeps them, since operators hold this board.
    pub(super) time: OnceLock<Weak<EventTime>>,
    /// Windows in time are closed that are still in the state.
    pub(super) due: Notify,
}

#[derive(Debug)]
pub(super) struct ProgressForwarder(pub(super) Arc<ProgressBoard>);

impl ProgressBoard {
    /// How far event time has come, while the graph is there.
    fn time(&self) -> Option<Arc<EventTime>> {
        self.time.get()?.upgrade()
    }
}

impl Listener for ProgressForwarder {
    fn advanced(&self) {
        self.0
            .ordered
            .get()
            .into_iter()
            .flatten()
            .for_each(|event_sink| event_sink.advance());
    }

    fn emptied(&self) {
        self.0.emptied.notify_one();
    }

    fn has_windows(&self, line: SourceIndex) -> bool {
        self.0.time().is_some_and(|time| time.has_windows(line))
    }

    fn time_passed(&self) {
        if self.0.time().is_some_and(|time| time.is_due()) {
            self.0.due.notify_one();
        }
    }
}

impl Graph {
    /// Says to sinks that nothing more comes, but for a last checkpoint.
    pub(super) fn end(&self) {
        self.event_sinks.iter().for_each(|event_sink| event_sink.end());
    }

    /// Whether all that the run did is to fail: it has failed, or it wrote nothing and too many of its events failed.
    pub(super) fn has_come_to_nothing(&self) -> bool {
        if self.context.failure_latch.has_failed() {
            return true;
        }
        let ended = self.report();
        ended.summary.figures.events_out == 0 && ended.judged().failure.is_some()
    }

    /// Waits no more for what sinks have yet to deliver.
    pub(super) fn abandon_deliveries(&self) {
        self.event_sinks
            .iter()
            .for_each(|event_sink| event_sink.abandon_delivery());
    }

    /// Drops everything that is not finished.
    pub(super) fn abandon(&self) {
        self.operators.iter().for_each(|operator| operator.abandon());
    }

    /// Whether all sources were read to their end, and nothing failed: what is in windows then is all that comes.
    pub(super) fn has_input_ended(&self) -> bool {
        let all_read = self
            .source_handles
            .iter()
            .all(|source_handle| source_handle.is_read_up());
        all_read && !self.context.failure_latch.has_failed()
    }

    /// Whether all that came of what its sources sent on is finished, what event time has operators do included. Where it may not be, those
    /// are looked for once more. Nobody sends anything on meanwhile.
    pub(super) fn has_settled(&self) -> bool {
        if self.source_handles.iter().any(|source| source.in_flight() > 0) {
            return false;
        }
        let has_settled = self.time.has_settled();
        if !has_settled {
            self.progress_board.due.notify_one();
        }
        has_settled
    }

    /// Notes what is on its way now: it is stopped, and that is dropped.
    pub(super) fn note_unfinished(&self) {
        let in_flight = self
            .source_handles
            .iter()
            .map(|source_handle| source_handle.in_flight());
        self.unfinished.store(in_flight.sum(), Ordering::Relaxed);
    }

    /// Drops the operators, and reports what came of it all.
    pub(super) fn conclude(&self) -> Ended {
        self.operators.iter().for_each(|operator| operator.shut_down());
        self.report()
    }

    /// What came of it so far.
    pub(super) fn report(&self) -> Ended {
        let summary = self.summary();
        Ended {
            had_nothing_new: self.is_resumed && summary.figures.events_in == 0 && summary.figures.events_out == 0,
            summary,
            operators: self
                .operators
                .iter()
                .map(|operator| self.operator_summary(operator))
                .collect(),
            failure: self.context.failure_latch.failure(),
        }
    }

    fn summary(&self) -> PipelineSummary {
        let sources: Vec<SourceSummary> = self
            .source_handles
            .iter()
            .map(|source_handle| SourceSummary {
                id: source_handle.id.clone(),
                events: source_handle.events_in.load(Ordering::Relaxed),
                dead_letters: source_handle.dead_letters.load(Ordering::Relaxed),
                leap: source_handle.leap().map(|leap| LeapSummary {
                    event: leap.event,
                    from_ms: leap.from_ms,
                    to_ms: leap.to_ms,
                    late: leap.late,
                }),
            })
            .collect();
        let written =
            |event_sink: &Arc<EventSink>| (event_sink.id.clone(), event_sink.events_out.load(Ordering::Relaxed));
        let sinks: BTreeMap<_, _> = self.event_sinks.iter().map(written).collect();
        let latencies = self.latencies();
        let filtered = |operator: &Arc<Operator>| operator.counters().filtered.load(Ordering::Relaxed);
        #[allow(clippy::cast_precision_loss, reason = "runs are shorter than 2^52 ns")]
        let elapsed_s = (self.context.clock.now_ns() - self.started_ns) as f64 / 1e9;
        let figures = Figures {
            elapsed_s,
            events_in: sources.iter().map(|source| source.events + source.dead_letters).sum(),
            events_out: sinks.values().sum(),
            filtered: self.operators.iter().map(filtered).sum(),
            dead_letters: self.context.dead_letters.count(),
            latency_ms: latencies.as_ref().map(Latency::of).unwrap_or_default(),
        };
        let (outcome, error) = self.outcome();
        PipelineSummary {
            name: self.pipeline.name.clone(),
            tenant: self.pipeline.tenant.clone(),
            outcome,
            error,
            figures,
            sources,
            sinks,
            written_to: self.written_to(),
            unfinished: self.unfinished.load(Ordering::Relaxed),
            edges: self.edge_summaries(),
            resumed: self.resumed(),
            checkpoints: self.checkpoints.summary(),
            slo: self
                .context
                .slo_ns
                .zip(latencies.as_ref())
                .map(|(slo_ns, latencies)| SloSummary::of(latencies, slo_ns)),
            dead_letters_path: self.pipeline.dead_letters.clone(),
            dead_letters_left_out: self.context.dead_letters.left_out(),
            first_dead_letter: self.context.dead_letters.first().cloned(),
            dead_letters_max: self.pipeline.dead_letters_max,
            latencies,
        }
    }

    /// By operator and sink: events that it had when the last run stopped, and that count in this one.
    fn resumed(&self) -> BTreeMap<String, u64> {
        let mut resumed = self.resumed.clone();
        for operator in &self.operators {
            let in_windows = operator.resumed_in_windows();
            if in_windows > 0 {
                *resumed.entry(operator.id().to_owned()).or_default() += in_windows;
            }
        }
        resumed
    }

    /// By sink that writes files: where they are.
    fn written_to(&self) -> BTreeMap<String, String> {
        let place = |sink: &Sink| match sink.spec.files().into_iter().next()? {
            Files::One(path) => Some((sink.id.clone(), path.display().to_string())),
            Files::Matching(pattern) => Some((sink.id.clone(), pattern.to_string())),
        };
        self.pipeline.sinks.iter().filter_map(place).collect()
    }

    fn outcome(&self) -> (Outcome, Option<String>) {
        match self.context.failure_latch.failure() {
            Some(Failure::Closed { .. } | Failure::Killed) => (Outcome::Stopped, None),
            Some(failure) => (Outcome::Failed, Some(failure.to_string())),
            None if self
                .source_handles
                .iter()
                .all(|source_handle| source_handle.is_read_up()) =>
            {
                (Outcome::Completed, None)
            }
            None => (Outcome::Stopped, None),
        }
    }

    fn latencies(&self) -> Option<Histogram<u64>> {
        let mut own = self
            .event_sinks
            .iter()
            .map(|event_sink| event_sink.latency.lock().clone());
        let mut all = own.next()?;
        for latencies in own {
            all.add(latencies).expect("all histograms resize themselves");
        }
        Some(all)
    }

    /// How long events have taken from arrival to sink, where any has.
    pub(super) fn latency(&self) -> Option<Latency> {
        let latencies = self.latencies().filter(|latencies| !latencies.is_empty());
        latencies.as_ref().map(Latency::of)
    }

    /// The connections, each with the name of where it starts.
    pub(super) fn edges(&self) -> impl Iterator<Item = (String, &Edge)> {
        let sources = self.source_handles.iter().zip(&self.source_edges);
        let from_sources = sources.map(|(source_handle, edges)| (source_handle.id.clone(), &edges[..]));
        let from_operators = self
            .operators
            .iter()
            .map(|operator| (operator.id().to_owned(), operator.edges()));
        let late = self
            .operators
            .iter()
            .map(|operator| (format!("{}.late", operator.id()), operator.late_edges()));
        let named = self.operators.iter().flat_map(|operator| {
            let named = operator.named_edges().iter();
            named.map(|named| (format!("{}.{}", operator.id(), named.name), &named.edges[..]))
        });
        let all = from_sources.chain(from_operators).chain(late).chain(named);
        all.flat_map(|(from, edges)| edges.iter().map(move |edge| (from.clone(), edge)))
    }

    pub(super) fn edge_summaries(&self) -> Vec<EdgeSummary> {
        let summary = |(from, edge): (String, &Edge)| {
            let (sent, received) = edge.counts();
            EdgeSummary {
                from,
                to: edge.receiver_id().to_owned(),
                sent,
                received,
                queued: sent.saturating_sub(received),
            }
        };
        self.edges().map(summary).collect()
    }

    fn scaling(&self, operator: &Operator) -> Option<ScalingSummary> {
        let bounds = operator.scaling_bounds()?;
        let (changes, latest) = operator.scaled();
        let change = |event: ScaleEvent| ScaleChange {
            #[allow(clippy::cast_precision_loss, reason = "runs are shorter than 2^52 ns")]
            at_s: event.at_ns.saturating_sub(self.started_ns) as f64 / 1e9,
            from: event.from,
            to: event.to,
            reason: event.reason,
        };
        Some(ScalingSummary {
            now: operator.executors()?,
            min: *bounds.start(),
            max: *bounds.end(),
            changes,
            latest: latest.into_iter().map(change).collect(),
            helped: operator.helped(),
            sequential_because: operator.sequential_because(),
        })
    }

    fn operator_summary(&self, operator: &Operator) -> OperatorSummary {
        OperatorSummary {
            pipeline: self.pipeline.name.clone(),
            id: operator.id().to_owned(),
            counts: operator.counters().read(),
            slice_us: SliceSummary::of(&operator.slice_lengths(), operator.slice_ns()),
            queued: operator.gate().events() as u64,
            open_windows: Some(operator.open_windows())
                .filter(|(windows, _)| *windows > 0 && !operator.has_timers())
                .map(|(windows, events)| OpenWindowsSummary { windows, events }),
            keyed: Some(operator.open_windows())
                .filter(|_| operator.has_timers())
                .map(|(keys, waiting)| KeyedSummary { keys, waiting }),
            event_time: self.time.summary(self, operator.id()),
            scaling: self.scaling(operator),
            metrics: operator.metrics(),
        }
    }
}
