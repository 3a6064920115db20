//! Telling apart what operators made of one event of a source.
//!
//! A flat map puts out several events of one, with its position and perhaps its key. What follows from where an event came from, its
//! random numbers, must differ between them, and be the same again in another run: so they are numbered by key, in the order in which
//! their actor gets them, which is kept per key.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use dirigo_ground::batch::Batch;
use dirigo_ground::lineage::SourceIndex;

/// Numbers the events of one actor.
#[derive(Debug, Default)]
pub(super) struct Twins {
    /// Source, path and position of the event that was numbered last.
    last: Option<(SourceIndex, u32, u64)>,
    /// How many were numbered since that came first, by a hash of their key.
    numbered: HashMap<u64, u32>,
}

impl Twins {
    /// The numbers of the events of `batch`.
    pub(super) fn number(&mut self, batch: &Batch) -> Vec<u32> {
        let (source, path) = (batch.origin.ticket.source(), batch.origin.path);
        let number = |(&position, key): (&u64, &[u8])| {
            let this = Some((source, path, position));
            if self.last != this {
                self.last = this;
                self.numbered.clear();
            }
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            let numbered = self.numbered.entry(hasher.finish()).or_default();
            let number = *numbered;
            *numbered += 1;
            number
        };
        batch.positions.iter().zip(batch.keys.iter()).map(number).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use dirigo_ground::batch::Column;
    use dirigo_ground::fields::Fields;
    use dirigo_ground::lineage::Ticket;

    fn batch(events: &[(u64, &str)]) -> Batch {
        let mut keys = Column::default();
        events.iter().for_each(|(_, key)| keys.push(key.as_bytes()));
        Batch {
            times: Arc::new(vec![0; events.len()]),
            keys: Arc::new(keys),
            values: Column::of_empty(events.len()).into(),
            fields: Fields::default(),
            positions: Arc::new(events.iter().map(|(position, _)| *position).collect()),
            origin: Ticket::detached().into(),
        }
    }

    #[test]
    fn events_of_one_position_are_numbered_by_key_across_batches() {
        let mut twins = Twins::default();
        assert_eq!(
            twins.number(&batch(&[(1, "a"), (1, "b"), (1, "a"), (2, "a"), (2, "b")])),
            [0, 0, 1, 0, 0]
        );
        assert_eq!(twins.number(&batch(&[(2, "a"), (3, "a")])), [1, 0]);
    }
}
