//! What is said of how a run goes: what its pipelines did since the last look, what waits, and for what.

use std::collections::VecDeque;
use std::fmt::Write as _;

use dirigo::runtime::{Host, Monitor, SourceStatus, Status, TenantSummary};
use serde::Serialize;
use serde_json::json;

use crate::cli::output::{counted, grouped};
use crate::cli::throttling;

/// What was read of a run lately.
pub(super) struct History {
    monitors: Vec<Monitor>,
    started_ns: u64,
    readings: VecDeque<Reading>,
    /// How many readings lie between the two that rates are of.
    kept: usize,
}

struct Reading {
    at_ns: u64,
    /// By pipeline; `None` for one that has ended.
    statuses: Vec<Option<Status>>,
    tenants: Vec<TenantSummary>,
}

/// How a run goes.
#[derive(Debug, Serialize)]
pub(super) struct Progressed {
    /// Since its start.
    elapsed_s: f64,
    /// Those that have not ended.
    pipelines: Vec<PipelineProgress>,
    /// Those that a budget holds back.
    tenants: Vec<TenantProgress>,
}

/// How a pipeline goes.
#[derive(Debug, Default, Serialize)]
struct PipelineProgress {
    name: String,
    tenant: String,
    /// `running`, or `draining` where its sources have ended.
    state: &'static str,
    /// Records read, events written, and what failed, since the start.
    events_in: u64,
    events_out: u64,
    dead_letters: u64,
    /// Records read in the interval, per second.
    events_per_s: f64,
    /// Events that were read and are not finished.
    in_flight: u64,
    /// For how long the oldest of them have been on their way.
    behind_ms: u64,
    /// Which part of its sources is finished, from 0 to 1; null where that is not known.
    done: Option<f64>,
    /// How long the rest takes at the pace so far; null where that is not known.
    left_s: Option<u64>,
    /// The operator or sink that the others wait for; null where none is full.
    slowed_by: Option<String>,
    operators: Vec<OperatorProgress>,
    sinks: Vec<SinkProgress>,
}

#[derive(Debug, Serialize)]
struct OperatorProgress {
    id: String,
    events_in: u64,
    queued: u64,
    dead_letters: u64,
    /// Worker time in the interval, relative to it: 1 is one worker.
    workers: f64,
}

#[derive(Debug, Serialize)]
struct SinkProgress {
    id: String,
    events_out: u64,
    queued: u64,
}

/// A tenant that a budget holds back.
#[derive(Debug, Serialize)]
struct TenantProgress {
    name: String,
    /// What it has used up in the interval: `fuel_per_second`, `memory`, `active_actors`, `log`.
    held_back_by: Vec<&'static str>,
}

impl History {
    pub(super) fn new(monitors: Vec<Monitor>, host: &Host, kept: usize) -> Self {
        let reading = Reading::of(&monitors, host);
        Self {
            monitors,
            started_ns: reading.at_ns,
            readings: VecDeque::from([reading]),
            kept,
        }
    }

    /// How it goes now.
    pub(super) fn read(&mut self, host: &Host) -> Progressed {
        let reading = Reading::of(&self.monitors, host);
        let before = self.readings.front().expect("there is always one");
        let progressed = Progressed::between(before, &reading, &self.monitors, self.started_ns);
        self.readings.push_back(reading);
        if self.readings.len() > self.kept {
            self.readings.pop_front();
        }
        progressed
    }
}

impl Reading {
    fn of(monitors: &[Monitor], host: &Host) -> Self {
        Self {
            at_ns: host.clock().now_ns(),
            statuses: monitors.iter().map(Monitor::status).collect(),
            tenants: host.tenants(),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "runs are shorter than 2^52 ns")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// To a tenth.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

impl Progressed {
    fn between(before: &Reading, now: &Reading, monitors: &[Monitor], started_ns: u64) -> Self {
        let interval_s = seconds(now.at_ns.saturating_sub(before.at_ns)).max(1e-9);
        let elapsed_s = seconds(now.at_ns.saturating_sub(started_ns));
        let none = Status::default();
        let pipelines = monitors.iter().zip(&now.statuses).zip(&before.statuses);
        let pipelines = pipelines.filter_map(|((monitor, now), before)| {
            let before = before.as_ref().unwrap_or(&none);
            let mut progress = PipelineProgress::between(before, now.as_ref()?, interval_s, elapsed_s);
            monitor.name().clone_into(&mut progress.name);
            monitor.tenant().clone_into(&mut progress.tenant);
            Some(progress)
        });
        let tenants = now.tenants.iter().filter_map(|tenant| {
            let since = before.tenants.iter().find(|before| before.name == tenant.name);
            let held_back_by: Vec<_> = throttling::since(since, tenant)
                .map(|throttling| throttling.budget)
                .collect();
            (!held_back_by.is_empty()).then(|| TenantProgress {
                name: tenant.name.clone(),
                held_back_by,
            })
        });
        Self {
            elapsed_s: rounded(elapsed_s),
            pipelines: pipelines.collect(),
            tenants: tenants.collect(),
        }
    }

    /// One line, for programs.
    pub(super) fn to_json(&self) -> String {
        json!({ "progress": self }).to_string()
    }

    /// A line for each pipeline, for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |pipeline: &PipelineProgress| {
            let tenant = self.tenants.iter().find(|tenant| tenant.name == pipeline.tenant);
            pipeline.line(tenant)
        };
        self.pipelines.iter().map(line).collect()
    }
}

impl PipelineProgress {
    fn between(before: &Status, now: &Status, interval_s: f64, elapsed_s: f64) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let per_s = |now: u64, before: u64| now.saturating_sub(before) as f64 / interval_s;
        let done = done(&now.sources);
        let operators = now.operators.iter().enumerate().map(|(index, operator)| {
            let worked_ns = before.operators.get(index).map_or(0, |before| before.counts.worker_ns);
            OperatorProgress {
                id: operator.id.clone(),
                events_in: operator.counts.events_in,
                queued: operator.queued,
                dead_letters: operator.counts.dead_letters,
                workers: rounded(per_s(operator.counts.worker_ns, worked_ns) / 1e9),
            }
        });
        let sinks = now.sinks.iter().map(|sink| SinkProgress {
            id: sink.id.clone(),
            events_out: sink.events,
            queued: sink.queued,
        });
        let is_draining = now.sources.iter().all(|source| source.has_ended);
        Self {
            state: if is_draining { "draining" } else { "running" },
            events_in: now.events_in(),
            events_out: now.events_out(),
            dead_letters: now.dead_letters,
            events_per_s: rounded(per_s(now.events_in(), before.events_in())),
            in_flight: now.in_flight(),
            behind_ms: now.behind_ns / 1_000_000,
            done: done.map(|done| (done * 1e4).floor() / 1e4),
            left_s: done.and_then(|done| left_s(done, elapsed_s)),
            slowed_by: now.bottleneck().map(str::to_owned),
            operators: operators.collect(),
            sinks: sinks.collect(),
            ..Self::default()
        }
    }

    fn line(&self, tenant: Option<&TenantProgress>) -> String {
        let mut line = format!("{}: ", self.name);
        if let Some(done) = self.done {
            let _ = write!(line, "{:.0} %, ", (done * 100.0).floor());
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "rates are positive and far below 2^63"
        )]
        let rate = counted(self.events_per_s.round() as u64, "event");
        let _ = write!(line, "{} in, {rate}/s", counted(self.events_in, "event"));
        if self.in_flight > 0 {
            let behind = self.behind_ms;
            #[allow(clippy::cast_precision_loss, reason = "runs are shorter than 2^52 ms")]
            let behind_s = behind as f64 / 1e3;
            let _ = write!(
                line,
                ", {} on their way for up to {behind_s:.1} s",
                grouped(self.in_flight)
            );
        }
        let _ = write!(line, ", {}", counted(self.dead_letters, "dead letter"));
        if let Some(left_s) = self.left_s {
            let _ = write!(
                line,
                ", {} left",
                humantime::format_duration(std::time::Duration::from_secs(left_s))
            );
        }
        if let Some(slowed_by) = &self.slowed_by {
            let _ = write!(line, "; slowed by `{slowed_by}`");
        }
        if let Some(tenant) = tenant {
            let budgets = tenant.held_back_by.join("`, `");
            let _ = write!(line, "; tenant `{}` is held back by its `{budgets}`", tenant.name);
        }
        if self.state == "draining" {
            line.push_str("; its sources have ended");
        }
        line
    }
}

/// The part of the sources whose events are finished: a source at its end is not a run at its end while operators are at work,
/// or one backs off. `None` where the size of one is not known.
fn done(sources: &[SourceStatus]) -> Option<f64> {
    if sources.is_empty() || sources.iter().any(|source| source.units_total == 0) {
        return None;
    }
    let finished = |source: &SourceStatus| {
        if source.events == 0 {
            return source.units_read;
        }
        let finished = source.events.saturating_sub(source.in_flight);
        let units = u128::from(source.units_read) * u128::from(finished) / u128::from(source.events);
        u64::try_from(units).unwrap_or(source.units_read)
    };
    let sum = |units: &dyn Fn(&SourceStatus) -> u64| sources.iter().map(units).sum::<u64>();
    #[allow(clippy::cast_precision_loss, reason = "a share is printed to four digits")]
    let done = sum(&finished) as f64 / sum(&|source| source.units_total) as f64;
    // A file that grows while it is read has more than was announced.
    Some(done.min(1.0))
}

/// How long the rest takes, once so much is done that this says something.
fn left_s(done: f64, elapsed_s: f64) -> Option<u64> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is positive, and less than a hundred times what the run has lasted"
    )]
    let left_s = || (elapsed_s * (1.0 - done) / done).round() as u64;
    (done >= 0.01 && elapsed_s >= 1.0).then(left_s)
}

#[cfg(test)]
mod tests {
    use dirigo::runtime::{OperatorStatus, SinkStatus};

    use super::*;

    fn source(events: u64, in_flight: u64, units_read: u64) -> SourceStatus {
        SourceStatus {
            events,
            in_flight,
            units_read,
            units_total: 90_000,
            ..SourceStatus::default()
        }
    }

    #[test]
    fn a_source_that_was_read_up_is_done_when_its_events_are() {
        let at = |in_flight| format!("{:.2}", done(&[source(3_000, in_flight, 90_000)]).unwrap());
        assert_eq!([3_000, 2_400, 0].map(at), ["0.00", "0.20", "1.00"]);
        assert_eq!(done(&[source(0, 0, 45_000)]), Some(0.5), "its records are no events");
        assert_eq!(
            done(&[source(1, 0, 1), SourceStatus::default()]),
            None,
            "one has no end"
        );
        assert_eq!((left_s(0.25, 10.0), left_s(0.001, 10.0)), (Some(30), None));
    }

    #[test]
    fn a_line_says_how_fast_how_far_behind_and_what_slows_a_pipeline() {
        let before = Status {
            sources: vec![source(1_000, 0, 9_000)],
            ..Status::default()
        };
        let now = Status {
            edges: Vec::new(),
            sources: vec![source(11_000, 1_000, 45_000)],
            operators: vec![OperatorStatus {
                id: "score".into(),
                queued: 1_000,
                is_full: true,
                ..OperatorStatus::default()
            }],
            sinks: vec![SinkStatus::default()],
            dead_letters: 3,
            behind_ns: 1_250_000_000,
        };
        let mut progress = PipelineProgress::between(&before, &now, 2.0, 20.0);
        progress.name = "sensors".into();
        let tenant = TenantProgress {
            name: "acme".into(),
            held_back_by: vec!["fuel_per_second"],
        };
        assert_eq!(
            progress.line(Some(&tenant)),
            "sensors: 45 %, 11,000 events in, 5,000 events/s, 1,000 on their way for up to 1.2 s, 3 dead letters, 24s left; \
             slowed by `score`; tenant `acme` is held back by its `fuel_per_second`"
        );
        let progressed = Progressed {
            elapsed_s: 20.0,
            pipelines: vec![progress],
            tenants: vec![tenant],
        };
        let json: serde_json::Value = serde_json::from_str(&progressed.to_json()).unwrap();
        let pipeline = &json["progress"]["pipelines"][0];
        assert_eq!(
            (&pipeline["events_per_s"], &pipeline["slowed_by"]),
            (&json!(5000.0), &json!("score"))
        );
        assert_eq!(pipeline["operators"][0]["queued"], 1_000);
        assert_eq!(
            json["progress"]["tenants"][0]["held_back_by"],
            json!(["fuel_per_second"])
        );
    }
}
