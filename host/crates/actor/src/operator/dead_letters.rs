//! What becomes of an event that fails.

use super::Operator;
use crate::counters;
use dirigo_flow::{DeadLetter, Event, Failure};
use dirigo_ground::batch::Batch;
use dirigo_pipeline::OnError;

/// Why an event failed.
#[derive(Debug)]
pub(crate) struct Death {
    pub(crate) kind: &'static str,
    pub(crate) reason: String,
    pub(crate) backtrace: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) fuel: u64,
    pub(crate) attempt: u32,
}

impl Death {
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
    pub(crate) fn bury(&self, batch: &Batch, event: usize, death: Death) {
        counters::add(&self.counters.dead_letters, 1_u64);
        let source = &self.pipe.sources[usize::from(batch.origin.ticket.source())];
        if self.errors == OnError::Stop {
            let place = format!("event {} of source `{source}`", batch.positions[event]);
            let reason = format!("{place}: {}", death.reason);
            self.pipe.halt.blow(Failure::Operator {
                id: self.id.clone(),
                reason,
            });
        }
        self.pipe.letters.push(DeadLetter {
            id: 0,
            pipeline: self.pipe.name.clone(),
            operator: self.id.clone(),
            component: Some(self.component.sha256().to_owned()),
            kind: death.kind.to_owned(),
            reason: death.reason,
            backtrace: death.backtrace,
            event: Event::new(
                source,
                batch.positions[event],
                Some(batch.times[event]),
                batch.keys.get(event),
                batch.values.get(event),
            ),
            state: death.state,
            fuel: death.fuel,
            attempt: death.attempt,
            setup: Some(self.letter_setup.clone()),
        });
    }
}
