//! Putting a pipeline together in a host, so that its threads have only to be started.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use dirigo_ground::sync::Mutex;

use super::Host;
use super::checkpoint::Checkpoints;
use super::closing::{ClosedWindows, Closing};
use super::event_time::EventTime;
use super::graph::{Ended, Graph, ProgressBoard, ProgressForwarder};
use super::job::{Job, Threads};
use super::local::LocalParts;
use super::opening::Opened;
use super::prepare::Prepared;
use super::projection;
use super::recovery::Recovery;
use super::wiring::{self, Lines};
use dirigo_actor::{Operator, PipelineContext};
use dirigo_connect::{Sink, Source};
use dirigo_flow::{
    DeadLetterEncoder, DeadLetters, Edge, EventEncoder, EventSink, EventSinkParts, EventTimeOptions, FailureLatch,
    Projection, SinkTask, SourceHandle, SourceTask, SourceTaskParts, UnstartedSink,
};
use dirigo_ground::clock::nanoseconds;
use dirigo_ground::lineage::{Progress, SourceIndex};
use dirigo_ground::quota::Quota;
use dirigo_ground::signal::Signal;
use dirigo_pipeline::{self as pipeline, Order, Pipeline};
use dirigo_state as state;

/// A pipeline that is put together, and whose threads do not run.
pub struct Assembled {
    graph: Arc<Graph>,
    closing: Closing,
    /// Of the sources.
    pub source_tasks: Vec<SourceTask>,
    /// Of the sinks.
    pub sinks: Vec<SinkTask<EventEncoder>>,
    /// Of the dead letters.
    pub dead_letters: Option<SinkTask<DeadLetterEncoder>>,
}

impl Assembled {
    /// Puts a pipeline together in `host`. What was on its way when the last run stopped is on its way again.
    #[must_use]
    pub fn new(host: &Host, opened: Opened) -> Self {
        let Opened { prepared, connectors } = opened;
        let Prepared {
            pipeline,
            components,
            description,
            ..
        } = prepared;
        let clock = host.options.clock.clone();
        let failure_latch = Arc::<FailureLatch>::default();
        let (tenant, instances) = host.tenant(&pipeline.account);
        let quota = instances.quota.clone();
        let (dead_letters, dead_letter_task) = DeadLetters::new(
            connectors.dead_letters,
            connectors.dead_letter_offset,
            quota.clone(),
            failure_latch.clone(),
            clock.clone(),
        );
        let lines = Lines::of(&pipeline);
        let context = Arc::new(PipelineContext {
            name: pipeline.name.clone(),
            tenant,
            instances,
            slo_ns: pipeline.slo.map(nanoseconds),
            sources: wiring::line_ids(&pipeline).map(|id| id.as_str().into()).collect(),
            scheduler: host.scheduler.clone(),
            activations: host.activations.clone(),
            store: Arc::new(connectors.store),
            epochs: Arc::default(),
            dead_letters,
            failure_latch,
            clock: clock.clone(),
            runtime: host.runtime.clone(),
        });

        let (event_sinks, unstarted) = event_sinks(&pipeline, &quota);
        let progress_board = Arc::<ProgressBoard>::default();
        let signals: Vec<Arc<Signal>> = pipeline.sources.iter().map(|_| Arc::default()).collect();
        let progress = progress(&pipeline, &lines, &event_sinks, &signals, &progress_board);
        let wanted = projection::of_sources(&pipeline, &components);
        let workers = host.options.workers;
        let (operators, source_edges) = wiring::connect(&pipeline, &context, components, &event_sinks, workers);
        let time = Arc::new(EventTime::new(&pipeline, &lines, &operators, &progress));
        progress_board.time.get_or_init(|| Arc::downgrade(&time));
        let event_times = event_times(&pipeline, &lines.are_timed(&pipeline), &time);
        let (into_sinks, own_lines) = (lines.into_sinks, lines.own);
        let sinks = sink_tasks(&pipeline, &context, unstarted, connectors.sinks, &progress, into_sinks);
        let recovery = Recovery {
            progress: &progress,
            operators: &operators,
            event_sinks: &event_sinks,
            sources: &context.sources,
            now_ns: clock.now_ns(),
        };
        let closed_windows = Arc::new(ClosedWindows::from(connectors.recovered_batches.closed_windows));
        let resumed = recovery.restore(connectors.recovered_batches);
        let source_handles = source_handles(&pipeline, connectors.sources, signals, &progress);
        limit_dead_letters(&pipeline, &context, &source_handles, resumed.values().sum());
        let batch_events = connectors.batch_events;
        let parts = source_edges.iter().zip(wanted).zip(event_times);
        let source_tasks = source_tasks(&context, &pipeline, &source_handles, parts, batch_events);
        let local = LocalParts {
            context: context.clone(),
            operators: operators.clone(),
            source_handles: source_handles.clone(),
            event_sinks: event_sinks.clone(),
            progress: progress.clone(),
            own_lines,
            closed_windows: closed_windows.clone(),
            cut_at: Mutex::default(),
            copies: Mutex::default(),
            pause_ns_max: AtomicU64::new(0),
        };
        let checkpoints = Arc::new(Checkpoints::new(context.clone(), local, &description));
        let graph = Arc::new(Graph {
            pipeline,
            context,
            operators,
            source_edges,
            source_handles,
            event_sinks,
            checkpoints,
            progress,
            time,
            closed_windows,
            progress_board,
            started_ns: clock.now_ns(),
            is_resumed: connectors.is_resumed,
            resumed,
            unfinished: AtomicU64::new(0),
        });
        Self {
            closing: Closing::of(&graph),
            graph,
            source_tasks,
            sinks,
            dead_letters: Some(dead_letter_task),
        }
    }

    /// Its operators, in topological order.
    #[must_use]
    pub fn operators(&self) -> &[Arc<Operator>] {
        &self.graph.operators
    }

    /// What checkpoints are taken by.
    #[must_use]
    pub fn checkpoints(&self) -> &Arc<Checkpoints> {
        &self.graph.checkpoints
    }

    /// What ends it before its time.
    #[must_use]
    pub fn failure_latch(&self) -> &FailureLatch {
        &self.graph.context.failure_latch
    }

    /// Puts the next windows on their way that are closed, by a watermark or since all sources have ended; `false` where there are none now.
    /// A job does so by itself.
    ///
    /// # Errors
    /// When the state can't be read or written. Nothing must be committed after that.
    pub fn close_windows(&mut self) -> Result<bool, state::Error> {
        self.closing.begin(&self.graph)
    }

    /// Says to sinks that nothing more comes, but for a last checkpoint.
    pub fn end(&self) {
        self.graph.end();
    }

    /// Drops everything that is not finished, as the end of the process does.
    #[must_use]
    pub fn conclude(self) -> Ended {
        self.graph.abandon();
        self.graph.conclude()
    }

    /// Starts the threads.
    ///
    /// # Panics
    /// When the system gives no threads.
    pub(super) fn start(self) -> Job {
        let Self {
            graph,
            closing,
            source_tasks,
            sinks,
            dead_letters,
        } = self;
        let context = &graph.context;
        let io_permits = || context.scheduler.io_permits(context.tenant, context.slo_ns.is_some());
        let threads = Threads {
            dead_letters: dead_letters.map(|dead_letters| dead_letters.start(io_permits())),
            sinks: sinks.into_iter().map(|sink| sink.start(io_permits())).collect(),
            readers: source_tasks
                .into_iter()
                .map(|source_task| source_task.start(io_permits()))
                .collect(),
            checkpointer: graph
                .pipeline
                .checkpoint
                .filter(|_| context.store.is_durable())
                .map(|every| graph.checkpoints.start(every)),
        };
        Job::run(graph, closing, threads)
    }
}

/// How far the lines of a pipeline have come, which it tells `board` of.
fn progress(
    pipeline: &Pipeline,
    lines: &Lines,
    event_sinks: &[Arc<EventSink>],
    signals: &[Arc<Signal>],
    board: &Arc<ProgressBoard>,
) -> Arc<Progress> {
    let ordered = in_order(pipeline, event_sinks);
    let keeps_order = !ordered.is_empty();
    board.ordered.get_or_init(|| ordered);
    let listener = Box::new(ProgressForwarder(board.clone()));
    Progress::with_windows(signals.to_vec(), lines.timed().count(), listener, keeps_order)
}

/// The ends that operators send to, and what becomes their tasks.
fn event_sinks(pipeline: &Pipeline, quota: &Arc<Quota>) -> (Vec<Arc<EventSink>>, Vec<UnstartedSink>) {
    let sinks = pipeline.sinks.iter();
    sinks.map(|sink| EventSink::new(&sink.id, quota.clone())).unzip()
}

/// By source, what is asked of its event time, where that matters.
fn event_times(pipeline: &Pipeline, are_timed: &[bool], time: &EventTime) -> Vec<Option<EventTimeOptions>> {
    let sources = (0..).zip(&pipeline.sources).zip(are_timed);
    let options = |index: SourceIndex, source: &pipeline::Source| EventTimeOptions {
        lateness: source.lateness,
        watermark: source.watermark.as_ref().map(projection::watermark_field),
        max_drift: source.max_drift,
        others: time.peers(index),
    };
    sources
        .map(|((index, source), is_timed)| is_timed.then(|| options(index, source)))
        .collect()
}

/// The sinks that keep the order of the sources.
fn in_order(pipeline: &Pipeline, event_sinks: &[Arc<EventSink>]) -> Vec<Arc<EventSink>> {
    let sinks = pipeline.sinks.iter().zip(event_sinks);
    let in_order = sinks.filter(|(sink, _)| sink.order == Order::Source);
    in_order.map(|(_, event_sink)| event_sink.clone()).collect()
}

/// Has the pipeline end once too many of its events have failed, those included that were on their way when it started.
fn limit_dead_letters(
    pipeline: &Pipeline,
    context: &PipelineContext,
    source_handles: &[Arc<SourceHandle>],
    resumed: u64,
) {
    if let Some(max) = pipeline.dead_letters_max {
        let handles = source_handles.to_vec();
        let events = move || resumed + handles.iter().map(|handle| handle.records()).sum::<u64>();
        context
            .dead_letters
            .set_limit(max, events, context.failure_latch.clone());
    }
}

fn source_handles(
    pipeline: &Pipeline,
    sources: Vec<Box<dyn Source>>,
    signals: Vec<Arc<Signal>>,
    progress: &Arc<Progress>,
) -> Vec<Arc<SourceHandle>> {
    let mut handles = Vec::with_capacity(sources.len());
    for (((index, options), source), signal) in (0..).zip(&pipeline.sources).zip(sources).zip(signals) {
        handles.push(SourceHandle::new(&options.id, index, source, signal, progress.clone()));
    }
    handles
}

fn sink_tasks(
    pipeline: &Pipeline,
    context: &PipelineContext,
    unstarted: Vec<UnstartedSink>,
    sinks: Vec<Box<dyn Sink>>,
    progress: &Arc<Progress>,
    lines: Vec<Vec<SourceIndex>>,
) -> Vec<SinkTask<EventEncoder>> {
    let sinks = unstarted.into_iter().zip(sinks).zip(&pipeline.sinks).zip(lines);
    let task = |(((event_sink, sink), options), sources): (((UnstartedSink, _), &pipeline::Sink), _)| {
        let parts = EventSinkParts {
            sink,
            order: options.order,
            sources,
            failure_latch: context.failure_latch.clone(),
            clock: context.clock.clone(),
        };
        event_sink.task(parts, progress.clone())
    };
    sinks.map(task).collect()
}

fn source_tasks<'a>(
    context: &PipelineContext,
    pipeline: &Pipeline,
    source_handles: &[Arc<SourceHandle>],
    parts: impl Iterator<Item = ((&'a Arc<Vec<Edge>>, Projection), Option<EventTimeOptions>)>,
    batch_events: usize,
) -> Vec<SourceTask> {
    let all = source_handles.iter().zip(&pipeline.sources).zip(parts);
    all.map(|((source_handle, options), ((edges, wanted), event_time))| {
        source_handle.task(SourceTaskParts {
            wanted,
            event_time,
            max_ahead: options.max_ahead,
            edges: edges.clone(),
            dead_letters: context.dead_letters.clone(),
            failure_latch: context.failure_latch.clone(),
            quota: context.instances.quota.clone(),
            clock: context.clock.clone(),
            epochs: context.epochs.clone(),
            pipeline: context.name.clone(),
            batch_events,
        })
    })
    .collect()
}
