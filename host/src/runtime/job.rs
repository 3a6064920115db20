//! A pipeline that runs.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::Notify;

use super::summary::{
    EdgeSummary, Figures, Latency, OperatorSummary, Outcome, PipelineSummary, SloSummary, SourceSummary,
};
use super::wiring;
use super::{Host, Prepared};
use crate::actor::{Edge, Operator, Pipe};
use crate::clock::{Clock, nanoseconds};
use crate::disk::{self, Disk};
use crate::flow::{
    Failure, Halt, Inlet, InletParts, Letters, LettersBookmark, Listener, Outlet, OutletParts, Progress, Reader,
    Signal, Writer,
};
use crate::pipeline::{Order, Pipeline, SinkKind};
use crate::sink::{self, Resume, Sink};
use crate::source::{self, Source};
use crate::state::{self, Bookmarks, Snapshot, Store};

/// Events that a source reads into one batch: few enough that the first leave soon, enough that a turn costs little beside
/// them.
pub(super) const BATCH_EVENTS: usize = 256;
/// How often a pipeline that failed is looked through for what still has to be dropped.
const ABANDON_INTERVAL: Duration = Duration::from_millis(5);
/// The dead letters within the state directory, unless the pipeline says where they go.
const LETTERS_FILE: &str = "dead-letters.jsonl";

/// Where a pipeline's state is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: it ends with the run.
    Temporary,
    /// In a directory of the pipeline's own.
    Directory {
        /// Which.
        path: PathBuf,
        /// Whether what is there is discarded first.
        fresh: bool,
    },
}

/// What a pipeline is connected to.
pub struct Connectors {
    /// By source.
    pub sources: Vec<Box<dyn Source>>,
    /// By sink.
    pub sinks: Vec<Box<dyn Sink>>,
    /// Opens the dead letters when the first one comes.
    pub letters: Box<dyn FnOnce() -> Result<Box<dyn Sink>, sink::Error> + Send>,
    /// Where the dead letters go on.
    pub letters_from: LettersBookmark,
    /// Where state is kept.
    pub store: Store,
    /// Whether this goes on from an earlier run.
    pub is_resumed: bool,
    /// Events that a source reads into one batch.
    pub batch_events: usize,
}

/// Why a pipeline cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A source cannot be opened.
    #[error("source `{id}`: {reason}")]
    Source {
        /// Which.
        id: String,
        /// Why.
        reason: source::Error,
    },
    /// A sink cannot be opened.
    #[error("sink `{id}`: {reason}")]
    Sink {
        /// Which.
        id: String,
        /// Why.
        reason: sink::Error,
    },
    /// The state cannot be opened.
    #[error(transparent)]
    State(#[from] state::Error),
    /// Old dead letters cannot be removed.
    #[error("cannot remove {}: {reason}", .path.display())]
    Remove {
        /// What.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// The stored positions are not what this version writes.
    #[error("the stored position of the dead letters cannot be read; `--fresh` discards the state")]
    Unreadable,
}

impl Connectors {
    /// Opens the sources and sinks of `pipeline`, where the state in `place` says they stopped. That no two of them, and
    /// none of another pipeline, use one file was found with [`conflicts`](crate::pipeline::conflicts).
    ///
    /// # Errors
    /// When one of them, or the state, cannot be opened.
    pub fn open(pipeline: &Pipeline, clock: &Arc<dyn Clock>, place: &Place) -> Result<Self, StartError> {
        let disk: Arc<dyn Disk> = Arc::new(disk::Real);
        let store = match place {
            Place::Temporary => Store::temporary(),
            Place::Directory { path, fresh } => {
                if *fresh {
                    let store = Store::open_emptied(disk.clone(), path)?;
                    remove_letters(&path.join(LETTERS_FILE))?;
                    store
                } else {
                    Store::open(disk.clone(), path)?
                }
            }
        };
        let bookmarks = store.bookmarks()?;
        let known = bookmarks.clone().unwrap_or_default();
        let open_source = |source: &crate::pipeline::Source| {
            let opened = source::open(source, clock.clone(), known.sources.get(&source.id));
            opened.map_err(|error| StartError::Source {
                id: source.id.clone(),
                reason: error,
            })
        };
        let open_sink = |sink: &crate::pipeline::Sink| {
            let resume = known.sinks.get(&sink.id).map_or(Resume::Fresh, Resume::At);
            sink::open(sink, resume, &disk, clock).map_err(|error| StartError::Sink {
                id: sink.id.clone(),
                reason: error,
            })
        };
        // Sources first: a mistyped input must not empty an output.
        let sources = pipeline.sources.iter().map(open_source).collect::<Result<_, _>>()?;
        let sinks = pipeline.sinks.iter().map(open_sink).collect::<Result<_, _>>()?;
        let (letters, letters_from) = open_letters(letters_path(pipeline, place), known.dead_letters, &disk, clock)?;
        let is_resumed = bookmarks.is_some();
        Ok(Self {
            sources,
            sinks,
            letters,
            letters_from,
            store,
            is_resumed,
            batch_events: BATCH_EVENTS,
        })
    }
}

/// Where the dead letters of `pipeline` go.
#[must_use]
pub fn letters_path(pipeline: &Pipeline, place: &Place) -> PathBuf {
    match (&pipeline.dead_letters, place) {
        (Some(path), _) => path.clone(),
        (None, Place::Directory { path, .. }) => path.join(LETTERS_FILE),
        (None, Place::Temporary) => PathBuf::from(format!("{}.dead.jsonl", pipeline.name)),
    }
}

type OpenLetters = Box<dyn FnOnce() -> Result<Box<dyn Sink>, sink::Error> + Send>;

fn open_letters(
    path: PathBuf,
    known: Option<serde_json::Value>,
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
) -> Result<(OpenLetters, LettersBookmark), StartError> {
    let known: Option<LettersBookmark> = known
        .map(serde_json::from_value)
        .transpose()
        .map_err(|_| StartError::Unreadable)?;
    let from = known.unwrap_or_else(LettersBookmark::fresh);
    if from.file.is_none() {
        // Those of an earlier run would pass for this one's.
        remove_letters(&path)?;
    }
    let sink = crate::pipeline::Sink {
        id: "dead letters".into(),
        inputs: Vec::new(),
        kind: SinkKind::File { path },
        order: Order::Key,
    };
    let file = from.file.clone();
    let (disk, clock) = (disk.clone(), clock.clone());
    let open = move || sink::open(&sink, file.as_ref().map_or(Resume::Fresh, Resume::At), &disk, &clock);
    Ok((Box::new(open), from))
}

/// Removes the dead letters of an earlier run. A device or a pipe has none: it stays.
fn remove_letters(path: &Path) -> Result<(), StartError> {
    let remove = || -> std::io::Result<()> {
        // What a symbolic link leads to, not the link.
        let path = path.canonicalize()?;
        let file = path.metadata()?.file_type();
        if file.is_file() || file.is_dir() {
            std::fs::remove_file(path)?;
        }
        Ok(())
    };
    match remove() {
        Err(reason) if reason.kind() != std::io::ErrorKind::NotFound => Err(StartError::Remove {
            path: path.to_owned(),
            reason,
        }),
        _ => Ok(()),
    }
}

/// A running pipeline.
pub struct Job {
    pipeline: Pipeline,
    pipe: Arc<Pipe>,
    operators: Vec<Arc<Operator>>,
    source_edges: Vec<Arc<Vec<Edge>>>,
    inlets: Vec<Arc<Inlet>>,
    readers: Vec<Reader>,
    outlets: Vec<Arc<Outlet>>,
    writers: Vec<Writer>,
    letters_thread: Option<std::thread::JoinHandle<LettersBookmark>>,
    board: Arc<Board>,
    started_ns: u64,
    is_resumed: bool,
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

impl Job {
    /// Starts a pipeline in `host`.
    #[must_use]
    pub fn start(host: &Host, prepared: Prepared, connectors: Connectors) -> Self {
        let Prepared {
            pipeline, components, ..
        } = prepared;
        let clock = host.options.clock.clone();
        let halt = Arc::<Halt>::default();
        let store = Arc::new(connectors.store);
        let (tenant, share) = host.tenant(&pipeline.tenant);
        let (letters, letters_thread) = Letters::start(
            connectors.letters,
            connectors.letters_from,
            share.account.clone(),
            halt.clone(),
        );
        let pipe = Arc::new(Pipe {
            name: pipeline.name.clone(),
            tenant,
            share,
            slo_ns: pipeline.slo.map(nanoseconds),
            sources: pipeline.sources.iter().map(|source| source.id.clone()).collect(),
            scheduler: host.scheduler.clone(),
            activations: host.activations.clone(),
            store,
            letters,
            halt,
            clock: clock.clone(),
            runtime: host.runtime.clone(),
        });

        let (outlets, unstarted): (Vec<_>, Vec<_>) = pipeline
            .sinks
            .iter()
            .map(|sink| Outlet::new(&sink.id, pipe.share.account.clone()))
            .unzip();
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
        let sinks = unstarted
            .into_iter()
            .zip(connectors.sinks)
            .zip(&pipeline.sinks)
            .zip(wiring::sources_of_sinks(&pipeline));
        let writers = sinks
            .map(|(((outlet, sink), options), sources)| {
                let parts = OutletParts {
                    sink,
                    order: options.order,
                    sources,
                    halt: pipe.halt.clone(),
                    clock: clock.clone(),
                };
                outlet.start(parts, progress.clone())
            })
            .collect();
        let source_edges: Vec<_> = source_edges.into_iter().map(Arc::new).collect();
        let inlets: Vec<_> = (0..)
            .zip(&pipeline.sources)
            .zip(signals)
            .map(|((index, source), signal)| Inlet::new(&source.id, index, signal, progress.clone()))
            .collect();
        let started_ns = clock.now_ns();
        let sources = inlets.iter().zip(connectors.sources).zip(&source_edges);
        let readers = sources
            .map(|((inlet, source), edges)| {
                inlet.start(InletParts {
                    source,
                    edges: edges.clone(),
                    letters: pipe.letters.clone(),
                    halt: pipe.halt.clone(),
                    account: pipe.share.account.clone(),
                    clock: clock.clone(),
                    pipeline: pipeline.name.clone(),
                    batch_events: connectors.batch_events,
                })
            })
            .collect();
        Self {
            pipeline,
            pipe,
            operators,
            source_edges,
            inlets,
            readers,
            outlets,
            writers,
            letters_thread: Some(letters_thread),
            board,
            started_ns,
            is_resumed: connectors.is_resumed,
        }
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
        let sources = self
            .inlets
            .iter()
            .zip(std::mem::take(&mut self.readers))
            .filter_map(|(inlet, reader)| {
                let bookmark = if inlet.is_joinable(&reader) {
                    reader.join().expect("sources don't panic")
                } else {
                    None
                };
                Some((inlet.id.clone(), bookmark?))
            });
        let sources = sources.collect();
        self.outlets.iter().for_each(|outlet| outlet.close());
        let sinks = self
            .outlets
            .iter()
            .zip(std::mem::take(&mut self.writers))
            .filter_map(|(outlet, writer)| Some((outlet.id.clone(), writer.join().expect("sinks don't panic")?)));
        let sinks = sinks.collect();
        self.pipe.letters.close();
        let letters = self
            .letters_thread
            .take()
            .map(|thread| thread.join().expect("dead letters don't panic"));
        if !self.pipe.halt.is_blown() && self.pipe.store.is_durable() {
            let dead_letters = serde_json::to_value(letters).ok();
            let state = self
                .operators
                .iter()
                .map(|operator| (operator.id().to_owned(), operator.drain_state()))
                .collect();
            self.pipe.store.freeze();
            let committed = self.pipe.store.commit(Snapshot {
                state,
                in_flight: Vec::new(),
                bookmarks: Bookmarks {
                    sources,
                    sinks,
                    dead_letters,
                    pipeline: None,
                },
            });
            if let Err(error) = committed {
                self.pipe.halt.blow(Failure::State {
                    reason: error.to_string(),
                });
            }
        }
        self.operators.iter().for_each(|operator| operator.shut_down());
        let summary = self.summary();
        Ended {
            had_nothing_new: self.is_resumed && summary.figures.events_in == 0,
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
                    let (from, to) = (from.to_owned(), edge.target_id().to_owned());
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
