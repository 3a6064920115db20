//! What becomes of an event that fails, or of a window.

use std::sync::atomic::Ordering;

use super::Operator;
use crate::counters;
use dirigo_flow::{DeadLetter, FailedEvent, FailedWindow, Failure};
use dirigo_ground::batch::Batch;
use dirigo_pipeline::OnError;

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
        if window.is_some() {
            self.take_back_absorbed();
        }
        if self.errors == OnError::Stop {
            let key = || String::from_utf8_lossy(batch.keys.get(event)).into_owned();
            let place = match window {
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
        let of = |value: &[u8]| {
            let (position, time) = (batch.positions[event], batch.times[event]);
            FailedEvent::new(source, position, Some(time), batch.keys.get(event), value)
        };
        let dead_letter = DeadLetter {
            id: 0,
            pipeline: self.context.name.clone(),
            operator: self.id.clone(),
            component: Some(self.component.sha256().to_owned()),
            kind: failure.kind.to_owned(),
            reason: failure.reason,
            backtrace: failure.backtrace,
            event: match window {
                None => of(&batch.values.get(event)),
                Some(_) => FailedEvent { value: None, ..of(b"") },
            },
            window,
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
