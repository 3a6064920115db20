//! New keys for the events that arrive at an operator with a `key`.

use std::sync::Arc;

use super::{EventFailure, Operator};
use dirigo_ground::batch::{Batch, Column};

impl Operator {
    /// The events with their new keys, if the operator gives any; one whose key is not found becomes a dead letter.
    pub(super) fn rekeyed(&self, batch: Batch) -> Option<Batch> {
        let Some(rekey) = &self.rekey else { return Some(batch) };
        let mut keys = Column::with_capacity(batch.len(), batch.keys.bytes().len());
        let mut kept = Vec::with_capacity(batch.len());
        for (event, value) in (0..).zip(batch.values.to_column().iter()) {
            match rekey.key(value) {
                Ok(key) => {
                    keys.push(&key);
                    kept.push(event);
                }
                Err(reason) => self.send_to_dead_letters(&batch, event as usize, EventFailure::of("key", reason)),
            }
        }
        let batch = if kept.len() == batch.len() {
            batch
        } else {
            batch.gather(&kept)
        };
        (!batch.is_empty()).then(|| Batch {
            keys: Arc::new(keys),
            ..batch
        })
    }
}
