//! A pipeline that runs in a host, from its launch to its end.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Notify;

use super::checkpoint::Checkpointer;
use super::closing::Closing;
use super::event_time::EventTime;
use super::graph::{Ended, Graph};
use super::status::Monitor;
use dirigo_actor::Operator;
use dirigo_flow::{Failure, FailureLatch, SourceHandle, SourceThread};
use dirigo_pipeline::Pipeline;

/// How often a pipeline that failed is looked through for what still has to be dropped.
const ABANDON_INTERVAL: Duration = Duration::from_millis(5);

/// A pipeline that a host runs. It goes on to its end whether this is kept or not.
pub struct Job {
    graph: Arc<Graph>,
    control: Control,
    ending: tokio::task::JoinHandle<Ended>,
}

/// What ends a pipeline before its sources do; to be kept while somebody waits for the end.
#[derive(Clone)]
pub struct Control {
    source_handles: Vec<Arc<SourceHandle>>,
    failure_latch: Arc<FailureLatch>,
    halted: Arc<Notify>,
}

/// The threads of a pipeline.
pub(super) struct Threads {
    /// Of the sources.
    pub(super) readers: Vec<SourceThread>,
    /// Of the sinks.
    pub(super) sinks: Vec<JoinHandle<()>>,
    /// Of the dead letters.
    pub(super) dead_letters: Option<JoinHandle<()>>,
    /// Of the checkpoints, where some are taken while it runs.
    pub(super) checkpointer: Option<Checkpointer>,
}

impl Control {
    /// Has the sources stop; what they have read still goes to its end.
    pub fn stop(&self) {
        self.source_handles
            .iter()
            .for_each(|source_handle| source_handle.stop());
    }

    /// Ends it without waiting for what is on its way: what is finished is committed by a last checkpoint, the rest is dropped.
    /// Where the pipeline keeps state, what was dropped is in that checkpoint, and the next run takes it up.
    pub fn halt(&self) {
        self.stop();
        self.halted.notify_one();
    }

    /// Ends it at once, in the middle of turns too, and drops what it has read.
    pub fn kill(&self) {
        self.failure_latch.fail(Failure::Killed);
    }
}

impl Job {
    /// Sees a pipeline whose threads run to its end, next to the caller.
    pub(super) fn run(graph: Arc<Graph>, closing: Closing, threads: Threads) -> Self {
        let control = Control {
            source_handles: graph.source_handles.clone(),
            failure_latch: graph.context.failure_latch.clone(),
            halted: Arc::default(),
        };
        let ending = run_to_end(graph.clone(), control.clone(), closing, threads);
        Self {
            ending: graph.context.runtime.spawn(ending),
            control,
            graph,
        }
    }

    /// What it is made of.
    pub(super) fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    /// What it runs.
    #[must_use]
    pub fn pipeline(&self) -> &Pipeline {
        &self.graph.pipeline
    }

    /// Its operators.
    #[must_use]
    pub fn operators(&self) -> &[Arc<Operator>] {
        &self.graph.operators
    }

    /// Its sources, with how far they are.
    #[must_use]
    pub fn source_handles(&self) -> &[Arc<SourceHandle>] {
        &self.graph.source_handles
    }

    /// What looks at it while it runs.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        Monitor::of(&self.graph)
    }

    /// What ends it before its sources do.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Has the sources stop; what they have read still goes to its end.
    pub fn stop(&self) {
        self.control.stop();
    }

    /// Ends it at once, in the middle of turns too, and drops what it has read.
    pub fn kill(&self) {
        self.control.kill();
    }

    /// Waits until all sources are at their end, everything they read has reached the sinks, that is durable, and the state is closed.
    ///
    /// # Panics
    /// When the runtime of the host is shut down before.
    pub async fn finished(self) -> Ended {
        let Self { ending, graph, control } = self;
        // The task of the pipeline closes its state, once nothing else refers to it.
        drop((graph, control));
        ending.await.expect("a pipeline's end neither panics nor is cancelled")
    }

    /// Waits for the end of all `jobs`; what is left of each stands in its place.
    ///
    /// # Panics
    /// As [`finished`](Self::finished).
    pub async fn all_finished(jobs: Vec<Self>) -> Vec<Ended> {
        let mut ended = Vec::with_capacity(jobs.len());
        for job in jobs {
            ended.push(job.finished().await);
        }
        ended
    }
}

async fn run_to_end(graph: Arc<Graph>, control: Control, mut closing: Closing, mut threads: Threads) -> Ended {
    let mut idle_ticks = graph.time.idle_interval(&graph.pipeline).map(|every| {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks
    });
    loop {
        tokio::select! {
            () = graph.progress_board.emptied.notified() => {
                // Some of what a round of windows puts on its way may be done with before the rest is there.
                if graph.progress.is_empty() && !closing.go_on(&graph).await {
                    break;
                }
            }
            () = graph.progress_board.due.notified() => closing.go_on_in_time(&graph).await,
            () = tick(&mut idle_ticks) => EventTime::rest_silent(&graph),
            () = graph.context.failure_latch.failed() => {
                control.stop();
                graph.abandon_deliveries();
                drop_everything(&graph).await;
                break;
            }
            () = control.halted.notified() => {
                // What a sink has in front of it must come to the last checkpoint.
                graph.abandon_deliveries();
                let halting = graph.clone();
                let halted = tokio::task::spawn_blocking(move || {
                    threads.halt(&halting);
                    threads
                });
                threads = halted.await.expect("halting a pipeline neither panics nor is cancelled");
                drop_everything(&graph).await;
                break;
            }
        }
    }
    drop(closing);
    let closed = graph.clone();
    let mut ended = tokio::task::spawn_blocking(move || threads.close(&closed));
    loop {
        tokio::select! {
            ended = &mut ended => {
                // With the graph its state is closed, which waits for the disk several times.
                let closed = tokio::task::spawn_blocking(move || drop((graph, control))).await;
                closed.expect("closing the state of a pipeline neither panics nor is cancelled");
                return ended.expect("closing a pipeline neither panics nor is cancelled");
            }
            // What is to be delivered may take for ever.
            () = control.halted.notified() => graph.abandon_deliveries(),
            () = graph.context.failure_latch.failed() => graph.abandon_deliveries(),
        }
    }
}

/// Waits for the next tick; for ever where there are none.
async fn tick(ticks: &mut Option<tokio::time::Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Drops what still comes until nothing more does.
async fn drop_everything(graph: &Graph) {
    loop {
        graph.abandon();
        if graph.progress.is_empty() {
            return;
        }
        tokio::select! {
            () = graph.progress_board.emptied.notified() => {}
            () = tokio::time::sleep(ABANDON_INTERVAL) => {}
        }
    }
}

impl Threads {
    /// Commits what is finished, with what is on its way, and sets the failure latch, after which nothing more has an effect.
    fn halt(&mut self, graph: &Graph) {
        if let Some(checkpointer) = self.checkpointer.take() {
            checkpointer.stop();
        }
        let failure_latch = &graph.context.failure_latch;
        if !failure_latch.has_failed()
            && let Err(failure) = graph.checkpoints.take()
        {
            failure_latch.fail(failure);
        }
        failure_latch.fail(Failure::Killed);
        graph.note_unfinished();
    }

    /// Waits for them, each once nothing more comes to it, and makes the last moment durable.
    fn close(self, graph: &Graph) -> Ended {
        for (source_handle, source_thread) in graph.source_handles.iter().zip(self.readers) {
            if source_handle.is_joinable(&source_thread) {
                source_thread.join().expect("sources don't panic");
            }
        }
        if let Some(checkpointer) = self.checkpointer {
            checkpointer.stop();
        }
        if !graph.has_come_to_nothing() {
            graph.end();
        }
        // The last moment of a run is a cut like any other.
        let failure_latch = &graph.context.failure_latch;
        if !failure_latch.has_failed()
            && let Err(failure) = graph.checkpoints.take()
        {
            failure_latch.fail(failure);
        }
        graph.event_sinks.iter().for_each(|event_sink| event_sink.close());
        let sinks = self.sinks.into_iter();
        sinks.for_each(|sink| sink.join().expect("sinks don't panic"));
        graph.context.dead_letters.close();
        let dead_letters = self.dead_letters.into_iter();
        dead_letters.for_each(|thread| thread.join().expect("dead letters don't panic"));
        graph.conclude()
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Job")
            .field("pipeline", &self.graph.pipeline.name)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Control")
            .field("failure_latch", &self.failure_latch)
            .finish_non_exhaustive()
    }
}
