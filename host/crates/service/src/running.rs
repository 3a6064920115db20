//! A pipeline that runs, until it has come to its end or something else is wanted of it.
//!
//! Owns when the pipeline is stopped, for how long it may drain, and the comparison of a version on trial with the version before.

use std::time::Duration;

use dirigo_api::State;
use dirigo_runtime::{Ended, Job};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::entry::{Entry, Wish};
use crate::pipelines::Pipelines;
use crate::record::Wanted;

/// How long a pipeline that is not to drain any longer may take for its last checkpoint and for closing its files, before that is reported.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// For how long an upgrade is on trial: within this time it is taken back if it fails, or does worse than the version before.
const TRIAL: Duration = Duration::from_secs(30);
/// How often a version on trial is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How often what a pipeline waits for is reported anew, where it was told to stop and does not end.
const REPORT_INTERVAL: Duration = Duration::from_mins(5);

/// Waits until something else is wanted, or the service ends.
pub(crate) async fn changed(wishes: &mut watch::Receiver<Wish>, closing: &mut watch::Receiver<Option<Duration>>) {
    tokio::select! {
        // The senders are there as long as the pipelines.
        _ = wishes.changed() => {}
        _ = closing.changed() => {}
    }
}

/// Waits until something else is wanted, the service ends, or this time has passed.
pub(crate) async fn changed_within(
    time: Duration,
    wishes: &mut watch::Receiver<Wish>,
    closing: &mut watch::Receiver<Option<Duration>>,
) {
    // That the time passed is as good as a change.
    let _ = tokio::time::timeout(time, changed(wishes, closing)).await;
}

/// A pipeline that runs.
pub(crate) struct Running<'a> {
    pipelines: &'a Pipelines,
    entry: &'a Entry,
    /// Whether it is an upgrade that may be taken back.
    is_on_trial: bool,
    control: dirigo_runtime::Control,
    finished: std::pin::Pin<Box<dyn Future<Output = Ended> + Send>>,
}

impl<'a> Running<'a> {
    pub(crate) fn of(pipelines: &'a Pipelines, entry: &'a Entry, job: Job, is_on_trial: bool) -> Self {
        Self {
            pipelines,
            entry,
            is_on_trial,
            control: job.control().clone(),
            finished: Box::pin(job.finished()),
        }
    }

    /// What is left of it at its end, and whether it was told to end.
    pub(crate) async fn until_end(
        mut self,
        wishes: &mut watch::Receiver<Wish>,
        closing: &mut watch::Receiver<Option<Duration>>,
        wish: Wish,
    ) -> (Ended, bool) {
        // The deadline of the drain, once the pipeline is to stop.
        let mut deadline: Option<Instant> = None;
        let mut is_halted = false;
        let on_trial_until = self.is_on_trial.then(|| Instant::now() + TRIAL);
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
                        deadline = Some(Instant::now() + REPORT_INTERVAL);
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
        // A retry of dead letters of a stopped pipeline begins with this wish: only a change ends it.
        (Wanted::Stop | Wanted::Finished, _) if now.wanted != running.wanted => Some(now.drain),
        (_, Some(drain)) => Some(drain),
        // Another version resumes where this one is.
        (_, None) => (now.version != running.version || now.start != running.start).then_some(Duration::ZERO),
    }
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
