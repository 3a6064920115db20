//! What a run did, in numbers: the summary that the contract names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hdrhistogram::Histogram;
use serde::Serialize;

use dirigo_actor::Counts;
use dirigo_flow::FirstDeadLetter;
use dirigo_pipeline::{DeadLettersMax, Diagnostics};

/// The whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The figures of all pipelines together.
    #[serde(flatten)]
    pub figures: Figures,
    /// By pipeline.
    pub pipelines: Vec<PipelineSummary>,
    /// By operator, in the order of the events.
    pub operators: Vec<OperatorSummary>,
    /// By tenant.
    pub tenants: Vec<TenantSummary>,
    /// Pipeline files that were refused at the start; the others ran without them.
    pub refused: Vec<RefusedSummary>,
}

/// A pipeline file that was refused.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedSummary {
    /// Which.
    pub file: PathBuf,
    /// The name of the pipeline, if it could be read.
    pub name: Option<String>,
    /// Whose it is, if that is known.
    pub tenant: Option<String>,
    /// What is wrong, each at its place in the file.
    pub findings: Diagnostics,
}

/// What is counted of a run and of each pipeline in it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// From start to end, in seconds.
    pub elapsed_s: f64,
    /// Records that the sources read, those that were no events included.
    pub events_in: u64,
    /// Events that the sinks took.
    pub events_out: u64,
    /// Events that operators filtered out.
    pub filtered: u64,
    /// Events that failed.
    pub dead_letters: u64,
    /// From arrival at a source to a sink.
    pub latency_ms: Latency,
}

/// A distribution of latencies, in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Half are shorter.
    pub p50: f64,
    /// 99 % are shorter.
    pub p99: f64,
    /// 99.9 % are shorter.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// How a pipeline ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// At the end of its sources.
    Completed,
    /// Before that: it was told to, or the reader of its output went away.
    Stopped,
    /// Something was in its way.
    Failed,
}

/// A pipeline.
#[derive(Clone, Debug, Serialize)]
pub struct PipelineSummary {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub tenant: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was in its way, where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// By source.
    pub sources: Vec<SourceSummary>,
    /// By sink: events that it took.
    pub sinks: BTreeMap<String, u64>,
    /// By sink that writes files: where they are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub written_to: BTreeMap<String, String>,
    /// Events that were on their way when it was stopped without waiting for them. Where it keeps state, the next run takes them
    /// up; else they are lost.
    #[serde(skip_serializing_if = "is_zero")]
    pub unfinished: u64,
    /// By connection.
    pub edges: Vec<EdgeSummary>,
    /// By operator and sink: events that were on their way to it when the last run stopped, or were in windows of it that failed to be
    /// finished in this one. They came by no edge of this one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resumed: BTreeMap<String, u64>,
    /// What was made durable, where it keeps state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoints: Option<CheckpointSummary>,
    /// How far its latency target was met, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo: Option<SloSummary>,
    /// The file that its dead letters go to, which is made when the first one comes.
    pub dead_letters_path: Option<PathBuf>,
    /// How many of its dead letters were not written: more came in a second than its tenant may write.
    #[serde(skip_serializing_if = "is_zero")]
    pub dead_letters_left_out: u64,
    /// The first of its dead letters that were written.
    #[serde(skip)]
    pub first_dead_letter: Option<FirstDeadLetter>,
    /// How many dead letters it may have.
    #[serde(skip)]
    pub(super) dead_letters_max: Option<DeadLettersMax>,
    #[serde(skip)]
    pub(super) latencies: Option<Histogram<u64>>,
}

/// How the moments of a pipeline were made durable.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CheckpointSummary {
    /// How many, the one at the end included.
    pub taken: u64,
    /// The longest that the pipeline stood still for one, in ms.
    pub pause_ms_max: f64,
    /// The longest from the cut to the disk, in ms.
    pub duration_ms_max: f64,
}

/// How many events reached a sink within the latency target.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SloSummary {
    /// The target, in ms.
    pub target_ms: f64,
    /// Events that met it; to the three digits of the latencies.
    pub met: u64,
    /// Events that did not.
    pub missed: u64,
}

impl SloSummary {
    /// The events of `latencies`, in ns, on either side of a target.
    pub(super) fn of(latencies: &Histogram<u64>, target_ns: u64) -> Self {
        let met = latencies.count_between(0, target_ns);
        #[allow(clippy::cast_precision_loss, reason = "targets are shorter than 2^52 ns")]
        let milliseconds = target_ns as f64 / 1e6;
        Self {
            target_ms: milliseconds,
            met,
            missed: latencies.len() - met,
        }
    }
}

/// A source.
#[derive(Clone, Debug, Serialize)]
pub struct SourceSummary {
    /// Its name.
    pub id: String,
    /// Events that it sent on.
    pub events: u64,
    /// Records that were no events.
    pub dead_letters: u64,
    /// The event that moved its event time furthest, where others after it were behind by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leap: Option<LeapSummary>,
}

/// An event that moved the event time of its source far ahead. Where its time is wrong, the events after it are late by mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeapSummary {
    /// Which event it is, counted from 1 over those that the source sent on in this run.
    pub event: u64,
    /// The watermark before it, in ms since 1970.
    pub from_ms: i64,
    /// The watermark after it, in ms since 1970.
    pub to_ms: i64,
    /// Events after it that were behind the watermark.
    pub late: u64,
}

/// A connection: `sent = received + queued`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EdgeSummary {
    /// Where it starts.
    pub from: String,
    /// Where it leads.
    pub to: String,
    /// Events sent.
    pub sent: u64,
    /// Events that arrived.
    pub received: u64,
    /// Events on the way.
    pub queued: u64,
}

/// What a tenant used of the host, all its pipelines together.
#[derive(Clone, Debug, Serialize)]
pub struct TenantSummary {
    /// Its name.
    pub name: String,
    /// Its share of the workers, relative to the others'.
    pub weight: u32,
    /// Time that it had on workers, in s; where there are other tenants also what its sources and sinks took of a processor.
    pub worker_s: f64,
    /// Fuel that its operators burnt.
    pub fuel: u64,
    /// For how long it had burnt its `fuel_per_second`, in s; what it had ready then waited.
    pub held_s: f64,
    /// The most bytes that its linear memories, state and waiting events took at once.
    pub memory_peak: u64,
    /// How often its operators were denied more of its `memory`.
    pub memory_denied: u64,
    /// The most of its actors that had an instance at once.
    pub active_actors_peak: u64,
    /// How often one of its actors had to wait for an instance: for one of its `active_actors`, for want of memory, or since the host
    /// had no more places.
    pub actors_waited: u64,
    /// Log lines that were left out: of an operator that said too much, or beyond its budget.
    pub log_lines_left_out: u64,
    /// Bytes of dead letters that are kept.
    pub dead_letter_bytes: u64,
    /// Dead letters that were not written: beyond its `dead_letters_per_second`.
    pub dead_letters_left_out: u64,
}

/// An operator: `events_in = passed + filtered + absorbed + late + dead_letters + queued`.
#[derive(Clone, Debug, Serialize)]
pub struct OperatorSummary {
    /// Its pipeline.
    pub pipeline: String,
    /// Its name.
    pub id: String,
    /// Its counts.
    #[serde(flatten)]
    pub counts: Counts,
    /// How long its slices were, where one was used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slice_us: Option<SliceSummary>,
    /// Events that wait.
    pub queued: u64,
    /// What lies in windows that are still open: of the events that were absorbed, those that have led to no output yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_windows: Option<OpenWindowsSummary>,
    /// What a process keeps by key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyed: Option<KeyedSummary>,
    /// How far event time has come for its windows or timers, while more is to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_time: Option<EventTimeSummary>,
    /// How many replicas or shards it has, and how that changed; none with an actor per key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingSummary>,
    /// What its guests counted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
}

/// How many replicas or shards an operator has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScalingSummary {
    /// The number now, or at the end.
    pub now: u32,
    /// The fewest that it may have.
    pub min: u32,
    /// The most.
    pub max: u32,
    /// How often the number changed.
    pub changes: u64,
    /// The latest changes, in their order.
    pub latest: Vec<ScaleChange>,
    /// Events that helpers folded and whose accumulators were merged.
    #[serde(skip_serializing_if = "is_zero")]
    pub helped: u64,
    /// Why one replica folds all events of a key, though the operator says that the order of merging does not matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequential_because: Option<String>,
}

/// A change of the number of replicas or shards.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScaleChange {
    /// When, in s from the start of the pipeline.
    pub at_s: f64,
    /// How many there were.
    pub from: u32,
    /// How many there were then.
    pub to: u32,
    /// Why.
    pub reason: String,
}

/// How far event time has come for an operator, and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventTimeSummary {
    /// Its watermark, ms since the epoch; none where a source has read nothing.
    pub watermark: Option<i64>,
    /// How far that is behind the furthest watermark of what comes to it, in ms.
    pub behind_ms: Option<i64>,
    /// The source, or the operator that goes by event time, that has come least far.
    pub held_back_by: String,
}

/// Windows that are open at the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct OpenWindowsSummary {
    /// How many there are.
    pub windows: u64,
    /// How many events are in them.
    pub events: u64,
}

/// What a process keeps at the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KeyedSummary {
    /// Of how many keys it keeps state, timers or events.
    pub keys: u64,
    /// How many events wait until event time has come to them.
    pub waiting: u64,
}

/// How long actors kept a worker, each time until it went to others although they had more to do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SliceSummary {
    /// What the operator's `slice` says, in µs.
    pub target: f64,
    /// How many there were.
    pub count: u64,
    /// How many lasted for half to one and a half times the target.
    pub near: u64,
    /// A tenth are shorter, in µs of processor time; to a hundredth or half a µs, as are the others.
    pub p10: f64,
    /// Half are shorter.
    pub p50: f64,
    /// 90 % are shorter.
    pub p90: f64,
}

impl SliceSummary {
    /// The slices of `lengths`, in ns, against their target; `None` if there are none.
    pub(super) fn of(lengths: &Histogram<u64>, target_ns: u64) -> Option<Self> {
        #[allow(clippy::cast_precision_loss, reason = "slices are far below 2^52 ns")]
        let us = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        let at = |quantile| us(lengths.value_at_quantile(quantile));
        (!lengths.is_empty()).then(|| Self {
            target: us(target_ns),
            count: lengths.len(),
            near: lengths.count_between(target_ns / 2, target_ns + target_ns / 2),
            p10: at(0.1),
            p50: at(0.5),
            p90: at(0.9),
        })
    }
}

impl Summary {
    /// The summary of a run of `elapsed_s` seconds.
    #[must_use]
    pub fn new(
        elapsed_s: f64,
        parts: Vec<(PipelineSummary, Vec<OperatorSummary>)>,
        tenants: Vec<TenantSummary>,
    ) -> Self {
        let (pipelines, operators): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let sum = |field: fn(&Figures) -> u64| pipelines.iter().map(|pipeline| field(&pipeline.figures)).sum();
        let mut latencies: Option<Histogram<u64>> = None;
        for own in pipelines.iter().filter_map(|pipeline| pipeline.latencies.as_ref()) {
            match &mut latencies {
                Some(all) => all.add(own).expect("all histograms resize themselves"),
                None => latencies = Some(own.clone()),
            }
        }
        let figures = Figures {
            elapsed_s,
            events_in: sum(|figures| figures.events_in),
            events_out: sum(|figures| figures.events_out),
            filtered: sum(|figures| figures.filtered),
            dead_letters: sum(|figures| figures.dead_letters),
            latency_ms: latencies.as_ref().map(Latency::of).unwrap_or_default(),
        };
        Self {
            figures,
            pipelines,
            operators: operators.into_iter().flatten().collect(),
            tenants,
            refused: Vec::new(),
        }
    }

    /// With pipeline files that did not run.
    #[must_use]
    pub fn with_refused(self, refused: Vec<RefusedSummary>) -> Self {
        Self { refused, ..self }
    }

    /// What does not add up: each is a fault of the host.
    #[must_use]
    pub fn imbalances(&self) -> Vec<String> {
        let operators = self.operators.iter().filter_map(OperatorSummary::imbalance);
        let edges = self
            .pipelines
            .iter()
            .flat_map(|pipeline| pipeline.edges.iter().filter_map(|edge| edge.imbalance(&pipeline.name)));
        operators.chain(edges).collect()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Latency {
    pub(super) fn of(histogram: &Histogram<u64>) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "latencies are far below 2^52 ns")]
        let ms = |nanoseconds: u64| nanoseconds as f64 / 1e6;
        Self {
            p50: ms(histogram.value_at_quantile(0.5)),
            p99: ms(histogram.value_at_quantile(0.99)),
            p999: ms(histogram.value_at_quantile(0.999)),
            max: ms(histogram.max()),
        }
    }
}

impl OperatorSummary {
    fn imbalance(&self) -> Option<String> {
        let Counts {
            events_in,
            passed,
            filtered,
            absorbed,
            late,
            dead_letters,
            failed_timers,
            ..
        } = self.counts;
        let queued = self.queued;
        let accounted = passed + filtered + absorbed + late + dead_letters + queued;
        (accounted != events_in + failed_timers || queued != 0).then(|| {
            format!(
                "operator `{}/{}`: {events_in} in, but {passed} passed + {filtered} filtered + {absorbed} absorbed + \
                 {late} late + {dead_letters} dead letters + {queued} queued",
                self.pipeline, self.id
            )
        })
    }
}

impl EdgeSummary {
    fn imbalance(&self, pipeline: &str) -> Option<String> {
        let Self {
            from,
            to,
            sent,
            received,
            queued,
        } = self;
        (*sent != received + queued || *queued != 0)
            .then(|| format!("edge `{pipeline}/{from}` to `{to}`: {sent} sent, {received} received, {queued} queued"))
    }
}
