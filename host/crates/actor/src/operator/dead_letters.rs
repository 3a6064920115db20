//! What becomes of an event that fails, or of a window.

use std::sync::atomic::Ordering;

use super::Operator;
use crate::counters;
use dirigo_flow::{DeadLetter, FailedEvent, FailedTimers, FailedWindow, Failure};
use dirigo_ground::batch::Batch;
use dirigo_pipeline::OnError;
use dirigo_state::Step;

/// What was kept of an event's key before it, or of a window that was to be finished.
#[derive(Debug)]
pub(crate) struct StateBefore {
    /// All of it, in base64.
    pub(crate) entry: String,
    /// The accumulator as JSON, where it is known how that is laid out.
    pub(crate) accumulator: Option<serde_json::Value>,
    /// The window, if it is one that failed and no event.
    pub(crate) window: Option<FailedWindow>,
}

/// Why an event failed, or a window.
#[derive(Debug)]
pub(crate) struct EventFailure {
    pub(crate) kind: &'static str,
    pub(crate) reason: String,
    pub(crate) backtrace: Option<String>,
    pub(crate) state: Option<StateBefore>,
    /// The timers that were to fire, if these failed and no event.
    pub(crate) timers: Option<FailedTimers>,
    pub(crate) fuel: u64,
    pub(crate) attempt: u32,
}

impl EventFailure {
    pub(crate) fn of(kind: &'static str, reason: String) -> Self {
        Self {
            kind,
            reason,
            backtrace: None,
            state: None,
            timers: None,
            fuel: 0,
            attempt: 1,
        }
    }
}

impl Operator {
    /// Counts an event of a window that failed no more as one that was taken into it: it counts as failed. Where an earlier run
    /// took it in, it comes into this one with that.
    fn take_back_absorbed(&self) {
        let counters = &self.counters;
        let taken = |absorbed: u64| absorbed.checked_sub(1);
        let is_of_this_run = counters
            .absorbed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken);
        if is_of_this_run.is_err() {
            counters::add(&counters.events_in, 1_u64);
            counters::add(&self.resumed_in_windows, 1_u64);
        }
    }

    /// Sends an event, or a window, to the dead letters, or ends the pipeline where errors do that.
    pub(crate) fn send_to_dead_letters(&self, batch: &Batch, event: usize, failure: EventFailure) {
        counters::add(&self.counters.dead_letters, 1_u64);
        let source = &self.context.sources[usize::from(batch.origin.ticket.source())];
        let window = failure.state.as_ref().and_then(|state| state.window);
        let timers = failure.timers;
        if timers.is_some() {
            counters::add(&self.counters.failed_timers, 1_u64);
        } else if window.is_some() || self.are_due(batch) {
            self.take_back_absorbed();
        }
        if self.errors == OnError::Stop {
            let key = || String::from_utf8_lossy(batch.keys.get(event)).into_owned();
            let place = match window {
                None if timers.is_some() => format!("the timers of key `{}`", key()),
                None => format!("event {} of source `{source}`", batch.positions[event]),
                Some(FailedWindow { start, end, .. }) if self.time_windows().is_some() => {
                    format!("the window of key `{}` from {start} to {end}, in ms since 1970", key())
                }
                Some(_) => format!("the window of key `{}` that was open at the end of the input", key()),
            };
            let reason = format!("{place}: {}", failure.reason);
            self.context.failure_latch.fail(Failure::Operator {
                id: self.id.clone(),
                reason,
            });
        }
        let (key, time) = (batch.keys.get(event), Some(batch.times[event]));
        let of = |value: &[u8]| FailedEvent::new(source, batch.positions[event], time, key, value);
        let without_value = || FailedEvent { value: None, ..of(b"") };
        let waited = |step: Step<'_>| match step {
            Step::Event(event) => FailedEvent::new(event.source, event.position, time, key, event.value),
            Step::Advance { .. } => without_value(),
        };
        let waited = self
            .driver
            .process()
            .and_then(|process| process.look_at(batch, event, waited));
        let dead_letter = DeadLetter {
            id: 0,
            pipeline: self.context.name.clone(),
            operator: self.id.clone(),
            component: Some(self.component.sha256().to_owned()),
            kind: failure.kind.to_owned(),
            reason: failure.reason,
            backtrace: failure.backtrace,
            event: match window {
                None => waited.unwrap_or_else(|| of(&batch.values.get(event))),
                Some(_) => without_value(),
            },
            window,
            input: self
                .driver
                .process()
                .map(|process| process.input(batch, event))
                .filter(|input| *input > 0),
            timers,
            state: failure.state.as_ref().map(|state| state.entry.clone()),
            accumulator: failure.state.and_then(|state| state.accumulator),
            fuel: failure.fuel,
            attempt: failure.attempt,
            setup: Some(self.dead_letter_setup.clone()),
        };
        match self.errors {
            OnError::Stop => self.context.dead_letters.push_last(dead_letter),
            OnError::DeadLetter => self.context.dead_letters.push(dead_letter),
        }
    }
}
