//! Putting a pipeline together in a host, so that its threads have only to be started.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use dirigo_ground::sync::Mutex;

use super::Host;
use super::checkpoint::{Checkpoints, Times};
use super::graph::{Board, Ended, Graph, Posted};
use super::job::{Job, Threads};
use super::local::LocalParts;
use super::opening::Opened;
use super::prepare::Prepared;
use super::recovery::Recovery;
use super::wiring;
use dirigo_actor::Pipe;
use dirigo_connect::Sink;
use dirigo_flow::{
    Edge, EventEncoder, Halt, Inlet, InletParts, LetterEncoder, Letters, Outlet, OutletParts, Reading, SinkTask,
    Unstarted,
};
use dirigo_ground::clock::nanoseconds;
use dirigo_ground::lineage::Progress;
use dirigo_ground::signal::Signal;
use dirigo_pipeline::{self as pipeline, Order, Pipeline};

/// A pipeline that is put together, and whose threads do not run.
pub struct Assembled {
    graph: Arc<Graph>,
    /// Of the sources.
    pub readings: Vec<Reading>,
    /// Of the sinks.
    pub sinks: Vec<SinkTask<EventEncoder>>,
    /// Of the dead letters.
    pub letters: Option<SinkTask<LetterEncoder>>,
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
        let local = LocalParts {
            pipe: pipe.clone(),
            operators: operators.clone(),
            inlets: inlets.clone(),
            outlets: outlets.clone(),
            progress,
            cut_at: Mutex::default(),
            copies: Mutex::default(),
            pause_ns_max: AtomicU64::new(0),
        };
        let checkpoints = Arc::new(Checkpoints {
            pipe: pipe.clone(),
            local,
            description: Some(description.to_json()),
            times: Times::default(),
        });
        let graph = Arc::new(Graph {
            pipeline,
            pipe,
            operators,
            source_edges,
            inlets,
            outlets,
            checkpoints,
            board,
            started_ns,
            is_resumed: connectors.is_resumed,
            resumed,
        });
        Self {
            graph,
            readings,
            sinks,
            letters: Some(letters_task),
        }
    }

    /// What checkpoints are taken by.
    #[must_use]
    pub fn checkpoints(&self) -> &Arc<Checkpoints> {
        &self.graph.checkpoints
    }

    /// What ends it before its time.
    #[must_use]
    pub fn halt(&self) -> &Halt {
        &self.graph.pipe.halt
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
            readings,
            sinks,
            letters,
        } = self;
        let pipe = &graph.pipe;
        let errands = || pipe.scheduler.errands(pipe.tenant, pipe.slo_ns.is_some());
        let threads = Threads {
            letters: letters.map(|letters| letters.start(errands())),
            sinks: sinks.into_iter().map(|sink| sink.start(errands())).collect(),
            readers: readings.into_iter().map(|reading| reading.start(errands())).collect(),
            checkpointer: graph
                .pipeline
                .checkpoint
                .filter(|_| pipe.store.is_durable())
                .map(|every| graph.checkpoints.start(every)),
        };
        Job::run(graph, threads)
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
