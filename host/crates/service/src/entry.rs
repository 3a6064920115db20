//! A pipeline of the service, as others see it while its task works on it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use dirigo_api::{self as api, Figures, Finding, HistorySample, LogLine, Retried, State};
use dirigo_command::admission::Admitted;
use dirigo_engine::GuestLog;
use dirigo_ground::clock::Clock;
use dirigo_ground::sync::Mutex;
use dirigo_runtime::retry::Selection;
use dirigo_runtime::{Ended, Job, Monitor, Status};
use serde_json::Value;
use tokio::sync::{oneshot, watch};

use crate::history::{self, History};
use crate::record::{Key, Record, Wanted};
use crate::refused::Refused;

/// What the service says of one pipeline, at most.
const LINES_MAX: usize = 200;

/// What the task of a pipeline is to bring about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) wanted: Wanted,
    /// Which version is to run.
    pub(crate) version: u64,
    /// Which start of it: one that is asked for again after a failure comes at once.
    pub(crate) start: u64,
    /// For how long it may drain where it is to stop.
    pub(crate) drain: Duration,
}

impl Wish {
    /// Whether both want the same, whatever time it may take to drain.
    pub(crate) fn is_as(self, other: Self) -> bool {
        (self.wanted, self.version, self.start) == (other.wanted, other.version, other.start)
    }
}

/// A pipeline.
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) record: Mutex<Record>,
    pub(crate) wish: watch::Sender<Wish>,
    /// The pipeline as it was looked at when it was deployed, with the version.
    pub(crate) admitted: Mutex<Option<(u64, Box<Admitted>)>>,
    retry: Mutex<RetryUnderWay>,
    view: Mutex<View>,
    history: Mutex<History>,
    clock: Arc<dyn Clock>,
}

/// Dead letters that a client wants to go back into the pipeline.
pub(crate) struct AskedRetry {
    pub(crate) selection: Selection,
    /// Takes what came of it.
    pub(crate) answer: oneshot::Sender<Result<Retried, Refused>>,
    /// The start in place of which it is carried out.
    pub(crate) start: u64,
}

/// The retry of a pipeline's dead letters, of which there is one at a time.
#[derive(Default)]
enum RetryUnderWay {
    #[default]
    None,
    /// The task of the pipeline is to begin it.
    Asked(AskedRetry),
    /// The task of the pipeline carries it out.
    Begun,
}

/// What is known of a pipeline.
struct View {
    state: State,
    since_ms: i64,
    reason: Option<String>,
    retry_at_ms: Option<i64>,
    findings: Vec<Finding>,
    delivery: Vec<String>,
    monitor: Option<Monitor>,
    /// By operator, of the present run or of the last one.
    logs: Vec<(String, Arc<GuestLog>)>,
    last: Option<Last>,
    /// What the run before an upgrade had done, while that is on trial.
    before_trial: Option<Figures>,
    lines: VecDeque<LogLine>,
}

/// What is left of the last run.
struct Last {
    figures: Figures,
    summary: Value,
    operators: Vec<Value>,
}

impl Last {
    fn of(ended: &Ended) -> Self {
        let summary = &ended.summary;
        Self {
            figures: Figures {
                events_in: summary.figures.events_in,
                events_out: summary.figures.events_out,
                dead_letters: summary.figures.dead_letters,
                in_flight: summary.unfinished,
                behind_ms: 0.0,
            },
            summary: json(summary),
            operators: ended.operators.iter().map(json).collect(),
        }
    }
}

fn json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).expect("a summary is plain JSON")
}

impl Entry {
    pub(crate) fn new(record: Record, clock: Arc<dyn Clock>) -> Self {
        let wish = Wish {
            wanted: record.wanted,
            version: record.current,
            start: 0,
            drain: Duration::ZERO,
        };
        let state = match record.wanted {
            Wanted::Run => State::Starting,
            Wanted::Stop => State::Stopped,
            Wanted::Finished => State::Finished,
            Wanted::Delete => State::Deleting,
        };
        Self {
            key: record.key(),
            record: Mutex::new(record),
            wish: watch::Sender::new(wish),
            admitted: Mutex::default(),
            retry: Mutex::default(),
            view: Mutex::new(View {
                state,
                since_ms: clock.wall_ms(),
                reason: None,
                retry_at_ms: None,
                findings: Vec::new(),
                delivery: Vec::new(),
                monitor: None,
                logs: Vec::new(),
                last: None,
                before_trial: None,
                lines: VecDeque::new(),
            }),
            history: Mutex::default(),
            clock,
        }
    }

    /// Has the task of the pipeline retry dead letters next. What came of it is received once it is done; `None` where another retry is under
    /// way.
    pub(crate) fn ask_retry(&self, selection: Selection) -> Option<oneshot::Receiver<Result<Retried, Refused>>> {
        let mut retry = self.retry.lock();
        if !matches!(*retry, RetryUnderWay::None) {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        self.wish.send_modify(|wish| {
            wish.start += 1;
            *retry = RetryUnderWay::Asked(AskedRetry {
                selection,
                answer,
                start: wish.start,
            });
        });
        Some(answered)
    }

    /// The retry that is to be carried out in place of this start, if one is.
    pub(crate) fn take_retry(&self, start: u64) -> Option<AskedRetry> {
        let mut retry = self.retry.lock();
        match std::mem::take(&mut *retry) {
            RetryUnderWay::Asked(asked) if asked.start <= start => {
                *retry = RetryUnderWay::Begun;
                Some(asked)
            }
            other => {
                *retry = other;
                None
            }
        }
    }

    /// Has a retry that is under way end, if there is one.
    pub(crate) fn interrupt_retry(&self) {
        let retry = self.retry.lock();
        if !matches!(*retry, RetryUnderWay::None) {
            self.wish.send_modify(|wish| wish.start += 1);
        }
    }

    /// Notes that no retry is under way, and gives up one that has not begun.
    pub(crate) fn end_retry(&self) {
        *self.retry.lock() = RetryUnderWay::None;
    }

    /// What it is doing.
    pub(crate) fn state(&self) -> State {
        self.view.lock().state
    }

    /// Notes that it does something else from now on.
    pub(crate) fn enter(&self, state: State, reason: Option<String>) {
        let mut view = self.view.lock();
        view.enter(state, self.clock.wall_ms());
        view.reason = reason;
        view.retry_at_ms = None;
        if state == State::Starting {
            view.findings.clear();
        }
    }

    /// Notes that it is to do something else, which its task is about to bring about: no caller is to take what it did before for that.
    pub(crate) fn is_told(&self, wanted: Wanted) {
        let state = self.state();
        match (wanted, state) {
            (Wanted::Delete, _) => self.enter(State::Deleting, None),
            (_, State::Running) | (Wanted::Stop, State::Failed) => self.enter(State::Stopping, None),
            (Wanted::Run, State::Stopped | State::Finished | State::Failed) => self.enter(State::Starting, None),
            _ => {}
        }
    }

    /// Notes that it does nothing, since the service ends.
    pub(crate) fn rest(&self) {
        if matches!(self.state(), State::Starting | State::Running | State::Stopping) {
            self.enter(State::Stopped, None);
        }
    }

    /// Notes that it runs as `run` asked, as an upgrade on trial or not. Where something else is wanted by now, this run is about to stop, and the
    /// pipeline is not said to run.
    pub(crate) fn entered_run(&self, run: Wish, job: &Job, delivery: Vec<String>, is_on_trial: bool) {
        let wish = self.wish.borrow();
        let mut view = self.view.lock();
        // A retry of dead letters may come between two runs on trial.
        let before = view.before_trial.or(view.last.as_ref().map(|last| last.figures));
        view.before_trial = before.filter(|_| is_on_trial);
        if (wish.wanted, wish.version) == (run.wanted, run.version) {
            view.enter(State::Running, self.clock.wall_ms());
        }
        view.reason = None;
        view.retry_at_ms = None;
        view.delivery = delivery;
        view.monitor = Some(job.monitor());
        let logs = job.operators().iter();
        view.logs = logs
            .map(|operator| (operator.id().to_owned(), operator.log().clone()))
            .collect();
    }

    /// Notes that it cannot go on, and when it is tried again, if it is.
    pub(crate) fn failed(&self, reason: String, findings: Vec<Finding>, retry: Option<Duration>) {
        let now_ms = self.clock.wall_ms();
        let mut view = self.view.lock();
        view.enter(State::Failed, now_ms);
        view.reason = Some(reason);
        view.findings = findings;
        let in_ms = |after: Duration| i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
        view.retry_at_ms = retry.map(|after| now_ms.saturating_add(in_ms(after)));
    }

    /// Keeps what is left of a run.
    pub(crate) fn ended(&self, ended: &Ended) {
        let last = Last::of(ended);
        let mut view = self.view.lock();
        view.monitor = None;
        view.last = Some(last);
    }

    /// In what the present run does worse than the one before the upgrade, if it does: more than a hundredth more of its events are dead letters.
    pub(crate) fn regression(&self) -> Option<String> {
        const SHARE_MORE_MAX: f64 = 0.01;
        let view = self.view.lock();
        let now = view.monitor.is_some().then(|| view.figures())?;
        let before = view.before_trial.unwrap_or_default();
        (now.dead_letters > 0 && share_failed(&now) > share_failed(&before) + SHARE_MORE_MAX).then(|| {
            let (letters, events) = (now.dead_letters, now.events_in);
            format!("{letters} of {events} events are dead letters, more than a hundredth more than before")
        })
    }

    /// What the pipeline waits for where it does not end.
    pub(crate) fn waiting_for(&self) -> Option<String> {
        let monitor = self.view.lock().monitor.clone()?;
        let waiting: Vec<String> = monitor.status()?.waiting().iter().map(ToString::to_string).collect();
        Some(waiting.join(", "))
    }

    /// Logs what the service has to say of it.
    pub(crate) fn say(&self, level: tracing::Level, message: &str) {
        let (tenant, pipeline) = (&self.key.tenant, &self.key.name);
        match level {
            tracing::Level::ERROR => tracing::error!(%tenant, %pipeline, "{message}"),
            tracing::Level::WARN => tracing::warn!(%tenant, %pipeline, "{message}"),
            _ => tracing::info!(%tenant, %pipeline, "{message}"),
        }
        let mut view = self.view.lock();
        view.lines.push_back(LogLine {
            at_ms: self.clock.wall_ms(),
            level: level.as_str().to_lowercase(),
            operator: None,
            message: message.to_owned(),
        });
        if view.lines.len() > LINES_MAX {
            view.lines.pop_front();
        }
    }

    /// How its present run is doing; `None` where it does not run.
    pub(crate) fn status(&self) -> Option<Status> {
        self.view.lock().monitor.as_ref()?.status()
    }

    /// What looks at its present run.
    pub(crate) fn monitor(&self) -> Option<Monitor> {
        self.view.lock().monitor.clone()
    }

    /// Notes in its history how it is doing now.
    pub(crate) fn look(&self) {
        let (version, state, figures, worker_ns) = {
            let record = self.record.lock();
            let view = self.view.lock();
            let (figures, worker_ns) = view.measured();
            (record.current, view.state, figures, worker_ns)
        };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a wait is not negative, and shorter than 2^52 ms"
        )]
        let behind_ms = figures.behind_ms as u64;
        self.history.lock().note(HistorySample {
            at_ms: self.clock.wall_ms(),
            state,
            version,
            events_in: figures.events_in,
            events_out: figures.events_out,
            dead_letters: figures.dead_letters,
            in_flight: figures.in_flight,
            behind_ms,
            worker_ns,
        });
    }

    /// How it has been doing from a time on.
    pub(crate) fn history(&self, from_ms: i64) -> api::History {
        let history = self.history.lock();
        api::History {
            interval_ms: history::INTERVAL_MS,
            until_ms: history.looked_ms(),
            samples: history.since(from_ms),
        }
    }

    /// The last lines of its log, in their order: at most `lines`, of at least `from_ms`.
    pub(crate) fn log(&self, lines: usize, from_ms: i64) -> Vec<LogLine> {
        let (logs, mut all) = {
            let view = self.view.lock();
            (view.logs.clone(), view.lines.iter().cloned().collect::<Vec<_>>())
        };
        for (operator, log) in logs {
            all.extend(log.recent().into_iter().map(|line| LogLine {
                at_ms: line.at_ms,
                level: line.level.word().to_owned(),
                operator: Some(operator.clone()),
                message: line.message,
            }));
        }
        all.retain(|line| line.at_ms >= from_ms);
        all.sort_by_key(|line| line.at_ms);
        let surplus = all.len().saturating_sub(lines);
        all.drain(..surplus);
        all
    }

    /// The pipeline in a line.
    pub(crate) fn listed(&self) -> api::Pipeline {
        let record = self.record.lock();
        let view = self.view.lock();
        api::Pipeline {
            tenant: self.key.tenant.clone(),
            name: self.key.name.clone(),
            state: view.state,
            since_ms: view.since_ms,
            reason: view.reason.clone(),
            retry_at_ms: view.retry_at_ms,
            version: record.current,
            figures: view.figures(),
        }
    }

    /// The pipeline with its parts.
    pub(crate) fn details(&self) -> api::PipelineDetails {
        let pipeline = self.listed();
        let view = self.view.lock();
        let now = view.monitor.as_ref().and_then(Monitor::so_far).as_ref().map(Last::of);
        let (summary, operators) = match now.as_ref().or(view.last.as_ref()) {
            Some(run) => (Some(run.summary.clone()), run.operators.clone()),
            None => (None, Vec::new()),
        };
        api::PipelineDetails {
            pipeline,
            summary,
            operators,
            findings: view.findings.clone(),
            delivery: view.delivery.clone(),
        }
    }
}

/// The share of events that failed.
fn share_failed(figures: &Figures) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let share = figures.dead_letters as f64 / figures.events_in.max(1) as f64;
    share
}

impl View {
    fn enter(&mut self, state: State, now_ms: i64) {
        if self.state != state {
            (self.state, self.since_ms) = (state, now_ms);
        }
    }

    fn figures(&self) -> Figures {
        self.measured().0
    }

    /// Its figures, and the worker time of its operators in ns; of a run that ended 0.
    fn measured(&self) -> (Figures, u64) {
        let Some(status) = self.monitor.as_ref().and_then(Monitor::status) else {
            return (self.last.as_ref().map(|last| last.figures).unwrap_or_default(), 0);
        };
        let worker_ns = status.operators.iter().map(|operator| operator.counts.worker_ns).sum();
        #[allow(clippy::cast_precision_loss, reason = "waits are shorter than 2^52 ns")]
        let behind_ms = status.behind_ns as f64 / 1e6;
        let figures = Figures {
            events_in: status.events_in(),
            events_out: status.events_out(),
            dead_letters: status.dead_letters,
            in_flight: status.in_flight(),
            behind_ms,
        };
        (figures, worker_ns)
    }
}
