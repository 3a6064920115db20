//! What closes windows that no event completes: those in time once a watermark has passed their end ([`event_time`](super::event_time)
//! says when), and those that are incomplete when the input of a pipeline has ended, where it says `partial = "emit"`.
//!
//! The latter come once all sources are read to their end and nothing is on its way. Operators close their windows one after the other, those
//! furthest upstream first: what they emit may go into windows of those downstream. Each closes them in the order of their keys,
//! in rounds: so many windows are put on their way that all workers have something to do, and the next once they are done with.
//! Owns this order, and how many windows there were; not what a window is, nor how it is finished.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use super::graph::Graph;
use super::local::failed;
use super::wiring::Lines;
use dirigo_actor::{DueKeys, OpenKeys, Operator};
use dirigo_flow::{BarrierGuard, Epochs, Failure};
use dirigo_ground::batch::Batch;
use dirigo_ground::behind::Behind;
use dirigo_ground::fields::Fields;
use dirigo_ground::lineage::{BEFORE_ALL, Origin, ReadBatch, SourceIndex, WINDOWS_FROM};
use dirigo_ground::signal::Signal;
use dirigo_pipeline::Partial;
use dirigo_state::Error;
use dirigo_state::windows::PartialWindows;

/// Parts of a round. Each is a megabyte of windows at the most, or one that is larger, so this bounds what is on its way; and it is
/// as many as sixteen workers take at once.
const ROUND_PARTS: usize = 16;

/// Windows that are put on their way in one go before sources wait for the rest. A window of more than a KiB counts for each.
const BEHIND_MAX: usize = 4_096;

/// How many windows of a pipeline were closed so far, earlier runs included: their positions count them.
#[derive(Debug)]
pub(super) struct ClosedWindows(AtomicU64);

impl From<u64> for ClosedWindows {
    fn from(count: u64) -> Self {
        Self(count.into())
    }
}

impl ClosedWindows {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// The position of the first of so many that are closed now.
    fn next_positions(&self, windows: usize) -> u64 {
        WINDOWS_FROM + self.0.fetch_add(windows as u64, Ordering::SeqCst)
    }
}

/// How far a pipeline is with closing its windows.
#[derive(Default)]
pub(super) struct Closing {
    /// The operators that still have some, in topological order, each with the source that they count as coming from: the
    /// first that leads to it.
    operators: VecDeque<(Arc<Operator>, SourceIndex)>,
    /// Of the first of them.
    open: OpenKeys,
    /// By timed operator: what is found of the keys that event time has come to.
    due: Vec<DueKeys>,
}

impl Closing {
    /// That of a pipeline of which nothing is closed.
    pub(super) fn of(graph: &Graph) -> Self {
        // What a window puts out comes from the first line that leads to its operator.
        let lines = Lines::of(&graph.pipeline).into_operators;
        let operators = graph.pipeline.operators.iter().zip(&graph.operators).zip(lines);
        let emitting = operators.filter(|((described, _), _)| described.partial == Some(Partial::Emit));
        let operators =
            emitting.filter_map(|((_, operator), sources)| Some((operator.clone(), sources.first().copied()?)));
        Self {
            operators: operators.collect(),
            open: OpenKeys::default(),
            due: Vec::new(),
        }
    }

    /// Puts windows on their way that a watermark has closed.
    pub(super) async fn go_on_in_time(&mut self, graph: &Arc<Graph>) {
        self.run_apart(graph, Self::begin_due).await;
    }

    /// Puts the next windows on their way, now that nothing else is. `false` where there are none: that was the end.
    pub(super) async fn go_on(&mut self, graph: &Arc<Graph>) -> bool {
        if self.operators.is_empty() && graph.time.is_empty() {
            return false;
        }
        self.run_apart(graph, Self::begin).await
    }

    /// Runs what reads the store apart from who waits for other things. `true` where it has put something on its way, or failed.
    async fn run_apart(
        &mut self,
        graph: &Arc<Graph>,
        begin: impl FnOnce(&mut Self, &Graph) -> Result<bool, Error> + Send + 'static,
    ) -> bool {
        let (mut closing, graph_there) = (std::mem::take(self), graph.clone());
        let round = tokio::task::spawn_blocking(move || {
            let has_begun = begin(&mut closing, &graph_there);
            (closing, has_begun)
        });
        let failure_latch = &graph.context.failure_latch;
        match round.await {
            Ok((closing, Ok(has_begun))) => {
                *self = closing;
                has_begun
            }
            Ok((_, Err(error))) => {
                failure_latch.fail(Failure::State {
                    reason: error.to_string(),
                });
                true
            }
            Err(_) => {
                failure_latch.fail(failed("the host failed as it closed windows; please report this"));
                true
            }
        }
    }

    /// Puts windows on their way that a watermark has closed; or, where nothing is on its way and the input has ended, others that are to
    /// be closed then. `false` where there are none.
    pub(super) fn begin(&mut self, graph: &Graph) -> Result<bool, Error> {
        loop {
            if self.begin_due(graph)? || !graph.progress.is_empty() {
                return Ok(true);
            }
            if !graph.has_input_ended() || self.operators.is_empty() {
                return Ok(false);
            }
            if self.begin_partial(graph)? {
                return Ok(true);
            }
        }
    }

    /// Whether windows of an operator are still to be closed since the input has ended.
    pub(super) fn is_to_close(&self, operator: &str) -> bool {
        self.operators.iter().any(|(other, _)| other.id() == operator)
    }

    /// Puts all windows on their way that a watermark has closed, and that have room there. What that takes is charged to the tenant.
    fn begin_due(&mut self, graph: &Graph) -> Result<bool, Error> {
        let context = &graph.context;
        let mut io_permits = context.scheduler.io_permits(context.tenant, context.slo_ns.is_some());
        let mut begun = 0;
        loop {
            let part = io_permits.run(|| self.begin_due_part(graph))?;
            if part == 0 {
                break;
            }
            let had_begun = begun;
            begun += part;
            if had_begun < BEHIND_MAX && begun >= BEHIND_MAX {
                graph.progress.set_closing_behind(true);
            }
        }
        io_permits.rest();
        // What could not be put on its way yet is when others are done with: then this comes again.
        if graph.time.has_closed_all() {
            graph.progress.set_closing_behind(false);
        }
        Ok(begun > 0)
    }

    /// Gives how many windows it put on their way, at least 1 where there were any: one of more than a KiB counts for each.
    fn begin_due_part(&mut self, graph: &Graph) -> Result<usize, Error> {
        let mut due = std::mem::take(&mut self.due);
        let begun = graph.time.close(graph, &mut due, |operator| self.is_to_close(operator));
        self.due = due;
        begun
    }

    /// Puts the next incomplete windows on their way; `false` where the operator whose turn it was has none.
    fn begin_partial(&mut self, graph: &Graph) -> Result<bool, Error> {
        let mut parts = 0;
        while let Some((operator, source)) = self.operators.front() {
            if begin_part(graph, operator, *source, &mut self.open)? {
                parts += 1;
                let is_enough = parts == ROUND_PARTS || graph.context.instances.quota.is_over_memory();
                if is_enough || graph.context.failure_latch.has_failed() {
                    return Ok(true);
                }
            } else if parts > 0 {
                // What comes after it waits until these are done with.
                return Ok(true);
            } else {
                self.operators.pop_front();
                self.open = OpenKeys::default();
                // Windows in time behind it may be closed now.
                return Ok(false);
            }
        }
        Ok(false)
    }
}

/// Takes the next windows of an operator out of the state and puts them on their way, in one effect. `false` where it has no more.
fn begin_part(graph: &Graph, operator: &Operator, source: SourceIndex, open: &mut OpenKeys) -> Result<bool, Error> {
    while operator.find_open(open)? {
        let _inside = enter(&graph.context.epochs);
        let windows = operator.take_open(open)?;
        if !windows.is_empty() {
            let first = graph.closed_windows.next_positions(windows.len());
            send(graph, operator, source, windows, first);
            return Ok(true);
        }
    }
    Ok(false)
}

/// Has an operator finish windows that have left its state, as what comes from `first` on of a line.
pub(super) fn send(graph: &Graph, operator: &Operator, line: SourceIndex, mut windows: PartialWindows, first: u64) {
    if operator.has_timers() {
        // What they put out is judged by how far their line had come.
        let reached = graph.progress.read_watermark(line);
        if reached > BEFORE_ALL {
            windows.behind = (0..).take(windows.len()).map(|place| (place, reached)).collect();
        }
    } else if operator.time_windows().is_none() {
        // Those that no watermark has closed come behind all that the line has brought.
        let reached = graph.progress.read_watermark(line);
        let behind = (0..).zip(&windows.times).filter(|(_, time)| **time < reached);
        windows.behind = behind.map(|(place, _)| (place, reached)).collect();
    }
    let (events, bytes) = (
        windows.len(),
        windows.keys.bytes().len() + windows.entries.bytes().len(),
    );
    let positions: Vec<u64> = (first..).take(events).collect();
    let ticket = graph.progress.open(
        line,
        &ReadBatch {
            first,
            last: first + events as u64 - 1,
            events,
            bytes,
            arrival_ns: graph.context.clock.now_ns(),
            watermark: BEFORE_ALL,
        },
    );
    operator.send_due(Batch {
        times: Arc::new(windows.times),
        keys: Arc::new(windows.keys),
        values: windows.entries.into(),
        fields: Fields::default(),
        positions: Arc::new(positions),
        origin: Origin {
            behind: Behind::new(windows.behind),
            ..ticket.into()
        },
    });
}

/// Enters between two effects, once no checkpoint is being taken.
pub(super) fn enter(epochs: &Epochs) -> BarrierGuard<'_> {
    let signal = Arc::<Signal>::default();
    loop {
        let seen = signal.seen();
        if let Some(inside) = epochs.turns().enter(|| Waker::from(signal.clone())) {
            return inside;
        }
        signal.wait_past(seen, None);
    }
}
