//! What becomes of an event that fails.

use super::Operator;
use crate::counters;
use dirigo_flow::{DeadLetter, FailedEvent, Failure};
use dirigo_ground::batch::Batch;
use dirigo_pipeline::OnError;

/// What was kept of an event's key before it.
#[derive(Debug)]
pub(crate) struct StateBefore {
    /// All of it, in base64.
    pub(crate) entry: String,
    /// The accumulator as JSON, where it is known how that is laid out.
    pub(crate) accumulator: Option<serde_json::Value>,
}

/// Why an event failed.
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
    /// Sends an event to the dead letters, or ends the pipeline where errors do that.
    pub(crate) fn send_to_dead_letters(&self, batch: &Batch, event: usize, failure: EventFailure) {
        counters::add(&self.counters.dead_letters, 1_u64);
        let source = &self.context.sources[usize::from(batch.origin.ticket.source())];
        if self.errors == OnError::Stop {
            let place = format!("event {} of source `{source}`", batch.positions[event]);
            let reason = format!("{place}: {}", failure.reason);
            self.context.failure_latch.fail(Failure::Operator {
                id: self.id.clone(),
                reason,
            });
        }
        let dead_letter = DeadLetter {
            id: 0,
            pipeline: self.context.name.clone(),
            operator: self.id.clone(),
            component: Some(self.component.sha256().to_owned()),
            kind: failure.kind.to_owned(),
            reason: failure.reason,
            backtrace: failure.backtrace,
            event: FailedEvent::new(
                source,
                batch.positions[event],
                Some(batch.times[event]),
                batch.keys.get(event),
                batch.values.get(event),
            ),
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
