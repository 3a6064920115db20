//! The task of a pipeline: it brings about what is wanted of it, and starts it again after failures.
//!
//! Each pipeline has a task of its own, so that one which does not start, drain or end holds up no other. What is wanted may change at any
//! time, and a stop comes through whatever is under way: it waits for no retry, and for a drain only as long as it says.

use std::sync::Arc;
use std::time::Duration;

use dirigo_api::State;
use dirigo_command::Exit;
use dirigo_flow::Failure;
use dirigo_runtime::{Ended, Job};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::entry::{Entry, Wish};
use crate::findings::findings_of;
use crate::pipelines::Pipelines;
use crate::preparation::Started;
use crate::record::Wanted;

/// How long a pipeline that is not to drain any longer may take for its last checkpoint and for closing its files, before that is reported.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// After a failure a pipeline is started again after this time, and after twice as long each time that it fails again.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest time between two starts.
const RETRY_MAX: Duration = Duration::from_mins(5);
/// For how long an upgrade is on trial: within this time it is taken back if it fails, or does worse than the version before.
const TRIAL: Duration = Duration::from_secs(30);
/// How often a version on trial is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// A pipeline that ran for this long has started well: its next failure is a first one.
const HEALTHY: Duration = Duration::from_mins(1);

/// Brings about what is wanted of a pipeline until it is deleted, or the service ends.
pub(crate) async fn supervise(pipelines: Arc<Pipelines>, entry: Arc<Entry>) {
    let mut wishes = entry.wish.subscribe();
    let mut closing = pipelines.closing.subscribe();
    let mut retry = RETRY_MIN;
    loop {
        let wish = *wishes.borrow_and_update();
        if closing.borrow_and_update().is_some() {
            entry.rest();
            return;
        }
        match wish.wanted {
            Wanted::Run => {}
            Wanted::Delete => {
                entry.enter(State::Deleting, None);
                if pipelines.forget(&entry).await {
                    return;
                }
                changed_within(RETRY_MAX, &mut wishes, &mut closing).await;
                continue;
            }
            Wanted::Stop | Wanted::Finished => {
                pipelines.drop_admitted(&entry);
                let state = if wish.wanted == Wanted::Stop {
                    State::Stopped
                } else {
                    State::Finished
                };
                entry.enter(state, None);
                changed(&mut wishes, &mut closing).await;
                continue;
            }
        }
        entry.enter(State::Starting, None);
        let failure = match pipelines.start(&entry, wish).await {
            Started::Running(job, delivery) => {
                let started = Instant::now();
                entry.entered_run(&job, delivery);
                entry.say(tracing::Level::INFO, &format!("version {} runs", wish.version));
                let pipeline = job.pipeline().clone();
                let running = Running::of(&pipelines, &entry, *job);
                let (ended, was_told) = running.until_end(&mut wishes, &mut closing, wish).await;
                pipelines.left(&pipeline);
                entry.ended(&ended);
                if started.elapsed() >= HEALTHY {
                    retry = RETRY_MIN;
                }
                after_run(&pipelines, &entry, ended, was_told, wish)
            }
            Started::NotWanted => None,
            Started::Refused(refusal) => {
                let reason = refusal
                    .problems
                    .iter()
                    .next()
                    .map_or_else(String::new, |problem| problem.message().to_owned());
                if pipelines.fall_back(&entry, wish.version, &reason) {
                    continue;
                }
                let is_final = refusal.exit == Exit::Configuration;
                Some((reason, findings_of(&refusal.problems), is_final))
            }
        };
        let Some((reason, findings, is_final)) = failure else {
            continue;
        };
        entry.say(tracing::Level::ERROR, &reason);
        if is_final {
            entry.failed(reason, findings, None);
            changed(&mut wishes, &mut closing).await;
        } else {
            entry.failed(reason, findings, Some(retry));
            changed_within(retry, &mut wishes, &mut closing).await;
            retry = (retry * 2).min(RETRY_MAX);
        }
    }
}

/// What is to be said of a run that ended, unless it was told to: why, and whether it is not tried again.
fn after_run(
    pipelines: &Pipelines,
    entry: &Entry,
    ended: Ended,
    was_told: bool,
    wish: Wish,
) -> Option<(String, Vec<dirigo_api::Finding>, bool)> {
    match ended.failure {
        Some(Failure::Killed) | None if was_told => None,
        Some(failure) => {
            let reason = failure.to_string();
            if !was_told && pipelines.fall_back(entry, wish.version, &reason) {
                return None;
            }
            Some((reason, Vec::new(), false))
        }
        None => {
            entry.say(tracing::Level::INFO, "its sources came to their end");
            pipelines.finished(entry, wish);
            None
        }
    }
}

/// Waits until something else is wanted, or the service ends.
async fn changed(wishes: &mut watch::Receiver<Wish>, closing: &mut watch::Receiver<Option<Duration>>) {
    tokio::select! {
        // The senders are there as long as the pipelines.
        _ = wishes.changed() => {}
        _ = closing.changed() => {}
    }
}

/// Waits until something else is wanted, the service ends, or this time has passed.
async fn changed_within(
    time: Duration,
    wishes: &mut watch::Receiver<Wish>,
    closing: &mut watch::Receiver<Option<Duration>>,
) {
    // That the time passed is as good as a change.
    let _ = tokio::time::timeout(time, changed(wishes, closing)).await;
}

/// A pipeline that runs.
struct Running<'a> {
    pipelines: &'a Pipelines,
    entry: &'a Entry,
    control: dirigo_runtime::Control,
    finished: std::pin::Pin<Box<dyn Future<Output = Ended> + Send>>,
}

impl<'a> Running<'a> {
    fn of(pipelines: &'a Pipelines, entry: &'a Entry, job: Job) -> Self {
        Self {
            pipelines,
            entry,
            control: job.control().clone(),
            finished: Box::pin(job.finished()),
        }
    }

    /// What is left of it at its end, and whether it was told to end.
    async fn until_end(
        mut self,
        wishes: &mut watch::Receiver<Wish>,
        closing: &mut watch::Receiver<Option<Duration>>,
        wish: Wish,
    ) -> (Ended, bool) {
        // Until when it may drain, once it is told to stop.
        let mut deadline: Option<Instant> = None;
        let mut is_halted = false;
        let on_trial_until = self.entry.record.lock().trial.map(|_| Instant::now() + TRIAL);
        let mut look_at = on_trial_until.map(|_| Instant::now() + LOOK_INTERVAL);
        loop {
            let told = told_to_stop(*wishes.borrow_and_update(), *closing.borrow_and_update(), wish);
            if let Some(drain) = told
                && !is_halted
            {
                let until = Instant::now() + drain;
                if deadline.is_none() {
                    self.entry.enter(State::Stopping, None);
                    self.control.stop();
                }
                // A later word may shorten a drain, and does not lengthen it.
                deadline = Some(deadline.map_or(until, |before| before.min(until)));
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) && !is_halted {
                is_halted = true;
                self.control.halt();
                deadline = Some(Instant::now() + STOP_PATIENCE);
            }
            tokio::select! {
                ended = &mut self.finished => return (ended, deadline.is_some()),
                () = changed(wishes, closing) => {}
                () = passed(look_at) => {
                    look_at = self.look(wish, on_trial_until.is_some_and(|until| until <= Instant::now()));
                }
                () = passed(deadline) => {
                    if is_halted {
                        let waiting = self.entry.waiting_for().unwrap_or_default();
                        let reason = format!("it was told to stop and does not end; it waits for: {waiting}");
                        self.entry.enter(State::Stopping, Some(reason));
                        deadline = Some(Instant::now() + RETRY_MAX);
                    }
                }
            }
        }
    }
}

impl Running<'_> {
    /// Looks at a version on trial; gives when to look again, if it is still on trial.
    fn look(&self, running: Wish, has_passed: bool) -> Option<Instant> {
        if let Some(reason) = self.entry.regression() {
            self.pipelines.fall_back(self.entry, running.version, &reason);
            return None;
        }
        if has_passed {
            self.pipelines.settle(self.entry, running.version);
            return None;
        }
        Some(Instant::now() + LOOK_INTERVAL)
    }
}

/// For how long a pipeline that runs may drain, if it is to stop.
fn told_to_stop(now: Wish, closing: Option<Duration>, running: Wish) -> Option<Duration> {
    match (now.wanted, closing) {
        (Wanted::Delete, _) => Some(Duration::ZERO),
        (Wanted::Stop | Wanted::Finished, _) => Some(now.drain),
        (Wanted::Run, Some(drain)) => Some(drain),
        // Another version resumes where this one is.
        (Wanted::Run, None) => (now.version != running.version || now.start != running.start).then_some(Duration::ZERO),
    }
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
