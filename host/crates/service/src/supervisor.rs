//! The task of a pipeline: it brings about what is wanted of it, and starts it again after failures.
//!
//! Each pipeline has a task of its own, so that one which does not start, drain or end holds up no other. What is wanted may change at any
//! time, and a stop comes through whatever is under way: it waits for no retry, and for a drain only as long as it says.

use std::sync::Arc;
use std::time::Duration;

use dirigo_api::State;
use dirigo_command::Exit;
use dirigo_flow::Failure;
use dirigo_runtime::Ended;
use tokio::time::Instant;

use crate::entry::{Entry, Wish};
use crate::findings::findings_of;
use crate::letters::retry_letters;
use crate::pipelines::Pipelines;
use crate::preparation::Started;
use crate::record::Wanted;
use crate::running::{Running, changed, changed_within};

/// After a failure a pipeline is started again after this time, and after twice as long each time that it fails again.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest time between two starts.
const RETRY_MAX: Duration = Duration::from_mins(5);
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
            entry.end_retry();
            return;
        }
        if wish.wanted != Wanted::Delete
            && let Some(asked) = entry.take_retry(wish.start)
        {
            retry_letters(&pipelines, &entry, wish, asked, &mut wishes, &mut closing).await;
            continue;
        }
        match wish.wanted {
            Wanted::Run => {}
            Wanted::Delete => {
                entry.enter(State::Deleting, None);
                entry.end_retry();
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
                let is_on_trial = entry.record.lock().trial.is_some();
                entry.entered_run(wish, &job, delivery, is_on_trial);
                entry.say(tracing::Level::INFO, &format!("version {} runs", wish.version));
                let pipeline = job.pipeline().clone();
                let running = Running::of(&pipelines, &entry, *job, is_on_trial);
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
