//! A pipeline that runs.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use dirigo_ground::sync::Mutex;
use hdrhistogram::Histogram;
use tokio::sync::Notify;

use super::checkpoint::{Checkpointer, Checkpoints, Times};
use super::connectors::Connectors;
use super::recovery::Recovery;
use super::summary::{
    EdgeSummary, Figures, Latency, OperatorSummary, Outcome, PipelineSummary, SliceSummary, SloSummary, SourceSummary,
};
use super::wiring;
use super::{Host, Prepared};
use dirigo_actor::{Operator, Pipe};
use dirigo_connectors::sink::Sink;
use dirigo_flow::{
    Edge, EventEncoder, Failure, Halt, Inlet, InletParts, LetterEncoder, Letters, Outlet, OutletParts, Reader, Reading,
    SinkTask, Unstarted,
};
use dirigo_ground::clock::nanoseconds;
use dirigo_ground::lineage::{Listener, Progress};
use dirigo_ground::signal::Signal;
use dirigo_pipeline::{self as pipeline, Order, Pipeline};

/// How often a pipeline that failed is looked through for what still has to be dropped.
const ABANDON_INTERVAL: Duration = Duration::from_millis(5);
/// A running pipeline.
pub struct Job {
    pipeline: Pipeline,
    pipe: Arc<Pipe>,
    operators: Vec<Arc<Operator>>,
    source_edges: Vec<Arc<Vec<Edge>>>,
    inlets: Vec<Arc<Inlet>>,
    readers: Vec<Reader>,
    outlets: Vec<Arc<Outlet>>,
    /// The threads of the sinks.
    sinks: Vec<JoinHandle<()>>,
    /// The thread of the dead letters.
    letters: Option<JoinHandle<()>>,
    checkpoints: Arc<Checkpoints>,
    checkpointer: Option<Checkpointer>,
    board: Arc<Board>,
    started_ns: u64,
    is_resumed: bool,
    /// By operator and sink: events that were on their way to it when the last run stopped.
    resumed: BTreeMap<String, u64>,
}

/// A pipeline that is put together, and whose threads do not run.
pub struct Assembled {
    job: Job,
    /// Of the sources.
    pub readings: Vec<Reading>,
    /// Of the sinks.
    pub sinks: Vec<SinkTask<EventEncoder>>,
    /// Of the dead letters.
    pub letters: Option<SinkTask<LetterEncoder>>,
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

/// Passes on what [`Progress`] tells.
#[derive(Debug, Default)]
struct Board {
    /// The sinks that keep the order of the source.
    ordered: OnceLock<Vec<Arc<Outlet>>>,
    emptied: Notify,
}

#[derive(Debug)]
struct Posted(Arc<Board>);

impl Listener for Posted {
    fn advanced(&self) {
        self.0
            .ordered
            .get()
            .into_iter()
            .flatten()
            .for_each(|outlet| outlet.advance());
    }

    fn emptied(&self) {
        self.0.emptied.notify_one();
    }
}

impl Assembled {
    /// Puts a pipeline together in `host`. What was on its way when the last run stopped is on its way again.
    #[must_use]
    pub fn new(host: &Host, prepared: Prepared, connectors: Connectors) -> Self {
        let Prepared {
            pipeline,
            components,
            description,
            ..
        } = prepared;
        let clock = host.options.clock.clone();
        let halt = Arc::<Halt>::default();
        let (tenant, share) = host.tenant(&pipeline.tenant);
        let account = share.account.clone();
        let (letters, letters_task) = Letters::new(
            connectors.letters,
            connectors.letters_from,
            account.clone(),
            halt.clone(),
            clock.clone(),
        );
        let pipe = Arc::new(Pipe {
            name: pipeline.name.clone(),
            tenant,
            share,
            slo_ns: pipeline.slo.map(nanoseconds),
            sources: pipeline.sources.iter().map(|source| source.id.clone()).collect(),
            scheduler: host.scheduler.clone(),
            activations: host.activations.clone(),
            store: Arc::new(connectors.store),
            epochs: Arc::default(),
            letters,
            halt,
            clock: clock.clone(),
            runtime: host.runtime.clone(),
        });

        let sinks = pipeline.sinks.iter();
        let (outlets, unstarted): (Vec<_>, Vec<_>) = sinks.map(|sink| Outlet::new(&sink.id, account.clone())).unzip();
        let board = Arc::<Board>::default();
        let signals: Vec<Arc<Signal>> = pipeline.sources.iter().map(|_| Arc::default()).collect();
        let in_order = pipeline
            .sinks
            .iter()
            .zip(&outlets)
            .filter(|(sink, _)| sink.order == Order::Source);
        let ordered: Vec<_> = in_order.map(|(_, outlet)| outlet.clone()).collect();
        let progress = Progress::new(signals.clone(), Box::new(Posted(board.clone())), !ordered.is_empty());
        board.ordered.get_or_init(|| ordered);

        let (operators, source_edges) = wiring::connect(&pipeline, &pipe, components, &outlets, host.options.workers);
        let sinks = sink_tasks(&pipeline, &pipe, unstarted, connectors.sinks, &progress);
        let recovery = Recovery {
            progress: &progress,
            operators: &operators,
            outlets: &outlets,
            sources: &pipe.sources,
            now_ns: clock.now_ns(),
        };
        let resumed = recovery.restore(connectors.in_transit);
        let source_edges: Vec<_> = source_edges.into_iter().map(Arc::new).collect();
        let sources = (0..).zip(&pipeline.sources).zip(connectors.sources).zip(signals);
        let inlets: Vec<_> = sources
            .map(|(((index, options), source), signal)| {
                Inlet::new(&options.id, index, source, signal, progress.clone())
            })
            .collect();
        let started_ns = clock.now_ns();
        let readings = readings(&pipe, &inlets, &source_edges, connectors.batch_events);
        let checkpoints = Arc::new(Checkpoints {
            pipe: pipe.clone(),
            operators: operators.clone(),
            inlets: inlets.clone(),
            outlets: outlets.clone(),
            letters: pipe.letters.clone(),
            progress,
            description: Some(description.to_json()),
            copies: Mutex::default(),
            times: Times::default(),
        });
        let job = Job {
            pipeline,
            pipe,
            operators,
            source_edges,
            inlets,
            readers: Vec::new(),
            outlets,
            sinks: Vec::new(),
            letters: None,
            checkpoints,
            checkpointer: None,
            board,
            started_ns,
            is_resumed: connectors.is_resumed,
            resumed,
        };
        Self {
            job,
            readings,
            sinks,
            letters: Some(letters_task),
        }
    }

    /// What checkpoints are taken by.
    #[must_use]
    pub fn checkpoints(&self) -> &Arc<Checkpoints> {
        &self.job.checkpoints
    }

    /// What ends it before its time.
    #[must_use]
    pub fn halt(&self) -> &Halt {
        &self.job.pipe.halt
    }

    /// Says to sinks that nothing more comes, but for a last checkpoint.
    pub fn end(&self) {
        self.job.outlets.iter().for_each(|outlet| outlet.end());
    }

    /// Drops everything that is not finished, as the end of the process does.
    #[must_use]
    pub fn conclude(self) -> Ended {
        self.job.operators.iter().for_each(|operator| operator.abandon());
        self.job.conclude()
    }

    /// Starts the threads.
    ///
    /// # Panics
    /// When the system gives no threads.
    #[must_use]
    pub fn start(self) -> Job {
        let Self {
            mut job,
            readings,
            sinks,
            letters,
        } = self;
        let pipe = job.pipe.clone();
        let errands = || pipe.scheduler.errands(pipe.tenant, pipe.slo_ns.is_some());
        job.letters = letters.map(|letters| letters.start(errands()));
        job.sinks = sinks.into_iter().map(|sink| sink.start(errands())).collect();
        job.readers = readings.into_iter().map(|reading| reading.start(errands())).collect();
        if let (true, Some(every)) = (job.pipe.store.is_durable(), job.pipeline.checkpoint) {
            job.checkpointer = Some(job.checkpoints.start(every));
        }
        job
    }
}

fn sink_tasks(
    pipeline: &Pipeline,
    pipe: &Pipe,
    unstarted: Vec<Unstarted>,
    sinks: Vec<Box<dyn Sink>>,
    progress: &Arc<Progress>,
) -> Vec<SinkTask<EventEncoder>> {
    let sinks = unstarted
        .into_iter()
        .zip(sinks)
        .zip(&pipeline.sinks)
        .zip(wiring::sources_of_sinks(pipeline));
    let task = |(((outlet, sink), options), sources): (((Unstarted, _), &pipeline::Sink), _)| {
        let parts = OutletParts {
            sink,
            order: options.order,
            sources,
            halt: pipe.halt.clone(),
            clock: pipe.clock.clone(),
        };
        outlet.task(parts, progress.clone())
    };
    sinks.map(task).collect()
}

fn readings(pipe: &Pipe, inlets: &[Arc<Inlet>], edges: &[Arc<Vec<Edge>>], batch_events: usize) -> Vec<Reading> {
    let reading = |(inlet, edges): (&Arc<Inlet>, &Arc<Vec<Edge>>)| {
        inlet.reading(InletParts {
            edges: edges.clone(),
            letters: pipe.letters.clone(),
            halt: pipe.halt.clone(),
            account: pipe.share.account.clone(),
            clock: pipe.clock.clone(),
            epochs: pipe.epochs.clone(),
            pipeline: pipe.name.clone(),
            batch_events,
        })
    };
    inlets.iter().zip(edges).map(reading).collect()
}

impl Job {
    /// Starts a pipeline in `host`.
    ///
    /// # Panics
    /// When the system gives no threads.
    #[must_use]
    pub fn start(host: &Host, prepared: Prepared, connectors: Connectors) -> Self {
        Assembled::new(host, prepared, connectors).start()
    }

    /// What it runs.
    #[must_use]
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Its operators.
    #[must_use]
    pub fn operators(&self) -> &[Arc<Operator>] {
        &self.operators
    }

    /// Its sources, with how far they are.
    #[must_use]
    pub fn inlets(&self) -> &[Arc<Inlet>] {
        &self.inlets
    }

    /// Has the sources stop; what they have read still goes to its end.
    pub fn stop(&self) {
        self.inlets.iter().for_each(|inlet| inlet.stop());
    }

    /// What [`stop`](Self::stop) does, to be kept while somebody waits for the end.
    pub fn stopper(&self) -> impl Fn() + Send + use<> {
        let inlets = self.inlets.clone();
        move || inlets.iter().for_each(|inlet| inlet.stop())
    }

    /// Ends it at once, in the middle of turns too, and drops what it has read; to be kept while somebody waits for the end.
    pub fn killer(&self) -> impl Fn() + Send + use<> {
        let halt = self.pipe.halt.clone();
        move || halt.blow(Failure::Killed)
    }

    /// Waits until all sources are at their end and everything they read has reached the sinks, then makes it durable.
    pub async fn finish(self) -> Ended {
        tokio::select! {
            () = self.board.emptied.notified() => {}
            () = self.pipe.halt.blown() => self.drop_everything().await,
        }
        let ended = tokio::task::spawn_blocking(move || self.close()).await;
        ended.expect("closing a pipeline neither panics nor is cancelled")
    }

    async fn drop_everything(&self) {
        self.stop();
        loop {
            self.operators.iter().for_each(|operator| operator.abandon());
            tokio::select! {
                () = self.board.emptied.notified() => return,
                () = tokio::time::sleep(ABANDON_INTERVAL) => {}
            }
        }
    }

    fn close(mut self) -> Ended {
        for (inlet, reader) in self.inlets.iter().zip(std::mem::take(&mut self.readers)) {
            if inlet.is_joinable(&reader) {
                reader.join().expect("sources don't panic");
            }
        }
        if let Some(checkpointer) = self.checkpointer.take() {
            checkpointer.stop();
        }
        self.outlets.iter().for_each(|outlet| outlet.end());
        // The last moment of a run is a cut like any other.
        if !self.pipe.halt.is_blown()
            && let Err(failure) = self.checkpoints.take()
        {
            self.pipe.halt.blow(failure);
        }
        self.outlets.iter().for_each(|outlet| outlet.close());
        let sinks = std::mem::take(&mut self.sinks).into_iter();
        sinks.for_each(|sink| sink.join().expect("sinks don't panic"));
        self.pipe.letters.close();
        let letters = self.letters.take().into_iter();
        letters.for_each(|thread| thread.join().expect("dead letters don't panic"));
        self.conclude()
    }

    /// Lets go of the operators, and says what came of it all.
    fn conclude(self) -> Ended {
        self.operators.iter().for_each(|operator| operator.shut_down());
        let summary = self.summary();
        Ended {
            had_nothing_new: self.is_resumed && summary.figures.events_in == 0 && summary.figures.events_out == 0,
            summary,
            operators: self
                .operators
                .iter()
                .map(|operator| self.operator_summary(operator))
                .collect(),
            failure: self.pipe.halt.failure(),
        }
    }

    fn summary(&self) -> PipelineSummary {
        let sources: Vec<SourceSummary> = self
            .inlets
            .iter()
            .map(|inlet| SourceSummary {
                id: inlet.id.clone(),
                events: inlet.events_in.load(Ordering::Relaxed),
                dead_letters: inlet.dead_letters.load(Ordering::Relaxed),
            })
            .collect();
        let written = |outlet: &Arc<Outlet>| (outlet.id.clone(), outlet.events_out.load(Ordering::Relaxed));
        let sinks: std::collections::BTreeMap<_, _> = self.outlets.iter().map(written).collect();
        let latencies = self.latencies();
        let filtered = |operator: &Arc<Operator>| operator.counters().filtered.load(Ordering::Relaxed);
        #[allow(clippy::cast_precision_loss, reason = "runs are shorter than 2^52 ns")]
        let elapsed_s = (self.pipe.clock.now_ns() - self.started_ns) as f64 / 1e9;
        let figures = Figures {
            elapsed_s,
            events_in: sources.iter().map(|source| source.events + source.dead_letters).sum(),
            events_out: sinks.values().sum(),
            filtered: self.operators.iter().map(filtered).sum(),
            dead_letters: self.pipe.letters.count(),
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
            edges: self.edge_summaries(),
            resumed: self.resumed.clone(),
            checkpoints: self.checkpoints.summary(),
            slo: self
                .pipe
                .slo_ns
                .zip(latencies.as_ref())
                .map(|(slo_ns, latencies)| SloSummary::of(latencies, slo_ns)),
            dead_letters_path: self.pipeline.dead_letters.clone(),
            first_letter: self.pipe.letters.first().cloned(),
            latencies,
        }
    }

    fn outcome(&self) -> (Outcome, Option<String>) {
        match self.pipe.halt.failure() {
            Some(Failure::Closed { .. }) => (Outcome::Stopped, None),
            Some(failure) => (Outcome::Failed, Some(failure.to_string())),
            None if self.inlets.iter().all(|inlet| inlet.is_read_up()) => (Outcome::Completed, None),
            None => (Outcome::Stopped, None),
        }
    }

    fn latencies(&self) -> Option<Histogram<u64>> {
        let mut own = self.outlets.iter().map(|outlet| outlet.latency.lock().clone());
        let mut all = own.next()?;
        for latencies in own {
            all.add(latencies).expect("all histograms resize themselves");
        }
        Some(all)
    }

    fn edge_summaries(&self) -> Vec<EdgeSummary> {
        let from_sources = self
            .inlets
            .iter()
            .zip(&self.source_edges)
            .map(|(inlet, edges)| (inlet.id.as_str(), &edges[..]));
        let from_operators = self.operators.iter().map(|operator| (operator.id(), operator.edges()));
        from_sources
            .chain(from_operators)
            .flat_map(|(from, edges)| {
                edges.iter().map(move |edge| {
                    let (sent, received) = edge.counts();
                    let (from, to) = (from.to_owned(), edge.receiver_id().to_owned());
                    EdgeSummary {
                        from,
                        to,
                        sent,
                        received,
                        queued: sent.saturating_sub(received),
                    }
                })
            })
            .collect()
    }

    fn operator_summary(&self, operator: &Operator) -> OperatorSummary {
        OperatorSummary {
            pipeline: self.pipeline.name.clone(),
            id: operator.id().to_owned(),
            counts: operator.counters().read(),
            slice_us: SliceSummary::of(&operator.slice_lengths(), operator.slice_ns()),
            queued: operator.gate().events() as u64,
            metrics: operator.metrics(),
        }
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Job")
            .field("pipeline", &self.pipeline.name)
            .finish_non_exhaustive()
    }
}
