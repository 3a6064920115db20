//! What an interrupt does to a run: the first has its pipelines drain, the next stops them.
//!
//! Owns the phases of an ending run, and what is said of each. A pipeline that ends is reported when it does, whatever the
//! others do; one that neither drains nor stops is reported as it is, so that the run ends with a summary of all.

use std::pin::Pin;
use std::time::Duration;

use dirigo::flow::Failure;
use dirigo::runtime::{Control, Ended, Job, Monitor, Waiting};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use super::Log;
use super::output::{counted, grouped};

/// How long it is waited before it is said what a drain waits for: most are over by then.
const FIRST_REPORT: Duration = Duration::from_millis(500);
/// And how often after that.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// How long pipelines that are stopped may take for their last checkpoint and for closing their files. A sink that blocks
/// takes for ever, and is not waited for.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// SIGINT and SIGTERM, from the moment of listening: none is missed between two looks, and none ends the process once a
/// pipeline runs.
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Needs a runtime around it.
    pub(crate) fn listen() -> Self {
        let listen = |kind| signal(kind).expect("these signals can be handled");
        Self {
            interrupt: listen(SignalKind::interrupt()),
            terminate: listen(SignalKind::terminate()),
        }
    }

    /// The number of the next signal.
    pub(crate) async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
        }
    }
}

/// What is left of a run.
pub(crate) struct FinishedRun {
    /// Of each pipeline, in their order. One that was stopped before it had drained failed with [`Failure::Killed`].
    pub(crate) ended: Vec<Ended>,
    /// The signal on which pipelines were stopped that had not drained.
    pub(crate) stopped_by: Option<i32>,
    /// Whether threads of a pipeline still run, which only the end of the process ends.
    pub(crate) has_leftovers: bool,
}

/// How far the end of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Sources have stopped, and what they have read goes to its end.
    Draining,
    /// What has not drained is being dropped.
    Stopping,
}

/// Runs jobs to their end, or to that of the process.
pub(crate) struct Ending {
    monitors: Vec<Monitor>,
    controls: Vec<Control>,
    ended: Vec<Option<Ended>>,
    phase: Phase,
    /// How long a drain may take.
    drain_timeout: Duration,
    log: Log,
    signal: i32,
}

type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Ending {
    pub(crate) fn of(jobs: &[Job], drain_timeout: Duration, log: Log) -> Self {
        Self {
            monitors: jobs.iter().map(Job::monitor).collect(),
            controls: jobs.iter().map(|job| job.control().clone()).collect(),
            ended: jobs.iter().map(|_| None).collect(),
            phase: Phase::Running,
            drain_timeout,
            log,
            signal: 0,
        }
    }

    /// Waits for all jobs, and does what interrupts ask for.
    pub(crate) async fn wait(mut self, jobs: Vec<Job>, mut interrupts: Interrupts) -> FinishedRun {
        let mut running = JoinSet::new();
        for (index, job) in jobs.into_iter().enumerate() {
            running.spawn(async move { (index, job.finished().await) });
        }
        let never = || -> Timer { Box::pin(std::future::pending()) };
        let after = |time: Duration| -> Timer { Box::pin(tokio::time::sleep(time)) };
        let (mut deadline, mut report) = (never(), never());
        while !running.is_empty() {
            tokio::select! {
                Some(finished) = running.join_next() => {
                    let (index, ended) = finished.expect("a pipeline's end neither panics nor is cancelled");
                    self.note_end(index, ended, running.is_empty());
                }
                signal = interrupts.next() => match self.phase {
                    Phase::Running => {
                        self.drain(signal);
                        (deadline, report) = (after(self.drain_timeout), after(FIRST_REPORT));
                    }
                    Phase::Draining => {
                        self.stop(signal, "interrupted again");
                        (deadline, report) = (after(STOP_PATIENCE), never());
                    }
                    Phase::Stopping => break,
                },
                () = &mut deadline => {
                    if self.phase == Phase::Stopping {
                        break;
                    }
                    let time = humantime::format_duration(self.drain_timeout);
                    self.stop(self.signal, &format!("the drain has taken {time} (`--drain-timeout`)"));
                    (deadline, report) = (after(STOP_PATIENCE), never());
                }
                () = &mut report => {
                    self.say_what_is_waited_for();
                    report = after(REPORT_INTERVAL);
                }
            }
        }
        self.conclude()
    }

    fn note_end(&mut self, index: usize, ended: Ended, is_last: bool) {
        if self.phase == Phase::Draining && ended.failure.is_none() {
            self.log.say(&format!("pipeline `{}` has drained", ended.summary.name));
        } else if self.phase == Phase::Running && !is_last {
            let figures = &ended.summary.figures;
            self.log.say(&format!(
                "pipeline `{}` has ended: {} in, {} out, {}",
                ended.summary.name,
                counted(figures.events_in, "event"),
                grouped(figures.events_out),
                counted(figures.dead_letters, "dead letter")
            ));
        }
        self.ended[index] = Some(ended);
    }

    fn drain(&mut self, signal: i32) {
        (self.phase, self.signal) = (Phase::Draining, signal);
        self.controls.iter().for_each(Control::stop);
        let time = humantime::format_duration(self.drain_timeout);
        self.log.say(&format!(
            "draining: sources have stopped, and what they have read goes to its end, for {time} at most; interrupt again to \
             stop at once"
        ));
    }

    fn stop(&mut self, signal: i32, why: &str) {
        (self.phase, self.signal) = (Phase::Stopping, signal);
        self.log.say(&format!("{why}: stopping without draining"));
        self.say_what_is_waited_for();
        for (control, ended) in self.controls.iter().zip(&self.ended) {
            if ended.is_none() {
                control.halt();
            }
        }
    }

    fn say_what_is_waited_for(&self) {
        for (monitor, ended) in self.monitors.iter().zip(&self.ended) {
            let Some(status) = monitor.status().filter(|_| ended.is_none()) else {
                continue;
            };
            let waiting: Vec<String> = status.waiting().iter().map(Waiting::to_string).collect();
            let said = if self.phase == Phase::Draining {
                "waiting for"
            } else {
                "not drained:"
            };
            self.log.say(&format!(
                "  {said} pipeline `{}`: {}",
                monitor.name(),
                waiting.join(", ")
            ));
        }
    }

    fn conclude(self) -> FinishedRun {
        let mut has_leftovers = false;
        let reported = self.monitors.iter().zip(self.ended).map(|(monitor, ended)| {
            ended.or_else(|| {
                has_leftovers = true;
                let mut report = monitor.report()?;
                report.failure = Some(Failure::Killed);
                Some(report)
            })
        });
        // One whose graph is gone has ended: its report would have come with the next look.
        let ended: Vec<Ended> = reported.flatten().collect();
        let was_stopped = ended.iter().any(|ended| ended.failure == Some(Failure::Killed));
        FinishedRun {
            stopped_by: was_stopped.then_some(self.signal),
            ended,
            has_leftovers,
        }
    }
}
