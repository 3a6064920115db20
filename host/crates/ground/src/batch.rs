//! Events in columns: what flows through a pipeline.
//!
//! Knows nothing of files, operators or scheduling.

use std::ops::Range;
use std::sync::Arc;

use crate::behind::Behind;
pub use crate::column::{Column, Malformed, first_unordered};
use crate::fields::Fields;
use crate::lineage::Origin;
use crate::values::Values;

/// Events in columns, all from one source; the columns have the same number of items.
///
/// Columns are shared: an operator that leaves keys and times alone passes them on without a copy.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Event times, ms since the epoch.
    pub times: Arc<Vec<i64>>,
    /// Opaque keys; empty for an event without one.
    pub keys: Arc<Column>,
    /// The payloads.
    pub values: Values,
    /// What is known of the fields in the payloads.
    pub fields: Fields,
    /// The position in its source (a file's line or record, from 1) of the event that each one came from. Those of one
    /// actor's outputs rise; batches of several actors may be joined in any order.
    pub positions: Arc<Vec<u64>>,
    /// What else is known of all the events together.
    pub origin: Origin,
}

impl Batch {
    /// The number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Bytes of payload, key and fields, with what the columns need per event: the measure of every bound on bytes. Batches that
    /// [join](Self::joins) have as many together as their events alone.
    #[must_use]
    pub fn size(&self) -> usize {
        const PER_EVENT: usize = size_of::<i64>() + size_of::<u64>() + 2 * size_of::<u32>();
        self.len() * PER_EVENT + self.keys.bytes().len() + self.values.size() + self.fields.size()
    }

    /// The events at `indexes`, in that order.
    #[must_use]
    pub fn gather(&self, indexes: &[u32]) -> Batch {
        Batch {
            times: Arc::new(indexes.iter().map(|&index| self.times[index as usize]).collect()),
            keys: Arc::new(self.keys.gather(indexes)),
            values: self.values.gather(indexes),
            fields: self.fields.gather(indexes),
            positions: Arc::new(indexes.iter().map(|&index| self.positions[index as usize]).collect()),
            origin: self.origin.of(|behind| behind.gather(indexes)),
        }
    }
}

impl Batch {
    /// Whether one turn may take it together with `other`: both came from one source by one path, and the same is known of their fields.
    #[must_use]
    pub fn joins(&self, other: &Batch) -> bool {
        let are_alike = self.values.is_alike(&other.values) && self.fields.is_alike(&other.fields);
        let (own, other) = (&self.origin, &other.origin);
        are_alike && own.ticket.source() == other.ticket.source() && own.path == other.path
    }

    /// The events of `range`.
    ///
    /// # Panics
    /// When the range ends past the last event.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Batch {
        Batch {
            times: Arc::new(self.times[range.clone()].to_vec()),
            keys: Arc::new(self.keys.slice(range.clone())),
            values: self.values.slice(&range),
            fields: self.fields.slice(&range),
            positions: Arc::new(self.positions[range.clone()].to_vec()),
            origin: self.origin.of(|behind| behind.slice(&range)),
        }
    }

    /// All events of `batches`, in order, under the origin of the one that was read first.
    ///
    /// # Panics
    /// When there is no batch.
    #[must_use]
    pub fn concat(batches: &[Batch]) -> Batch {
        let oldest = batches
            .iter()
            .min_by_key(|batch| batch.origin.ticket.number())
            .expect("there is a batch");
        let events = batches.iter().map(Batch::len).sum();
        let bytes = |column: fn(&Batch) -> &Column| batches.iter().map(|batch| column(batch).bytes().len()).sum();
        let mut times = Vec::with_capacity(events);
        let mut positions = Vec::with_capacity(events);
        let mut keys = Column::with_capacity(events, bytes(|batch| &batch.keys));
        for batch in batches {
            times.extend_from_slice(&batch.times);
            positions.extend_from_slice(&batch.positions);
            keys.extend(&batch.keys);
        }
        Batch {
            times: Arc::new(times),
            keys: Arc::new(keys),
            values: Values::concat(batches.iter().map(|batch| &batch.values)),
            fields: Fields::concat(batches.iter().map(|batch| &batch.fields)),
            positions: Arc::new(positions),
            origin: oldest
                .origin
                .of(|_| Behind::concat(batches.iter().map(|batch| (&batch.origin.behind, batch.len())))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_batch_are_as_large_as_the_whole() {
        use crate::fields::{Bits, FieldColumn, FieldValues, NamedColumn, Rounded};
        use crate::lineage::Ticket;
        let rounded = |index| Rounded {
            index,
            integer: dirigo_json::LongInteger::Longer,
        };
        let named = |name: &str, values: FieldValues| NamedColumn {
            field: Arc::new(dirigo_json::Field::new(name).unwrap()),
            column: Arc::new(FieldColumn {
                validity: Some(Bits::of(values.len(), true)),
                values,
                mistyped: vec![3],
                rounded: vec![rounded(3), rounded(5)],
            }),
        };
        let texts = |length: usize| {
            let mut column = Column::default();
            (0..10).for_each(|item| column.push(&vec![b'x'; item * length]));
            column
        };
        let mut documents = Column::default();
        (0..10).for_each(|item| documents.push(format!("{{\"a\":\"{}\"}}", "x".repeat(item)).as_bytes()));
        let columns = vec![
            named("truth", FieldValues::Boolean(Bits::of(10, true))),
            named("number", FieldValues::F64(vec![0.5; 10])),
            named("text", FieldValues::Text(texts(3))),
        ];
        let batch = Batch {
            times: Arc::new(vec![0; 10]),
            keys: Arc::new(texts(1)),
            values: Values::from(documents).with_written(&columns[..1]),
            fields: Fields::new(columns),
            positions: Arc::new((0..10).collect()),
            origin: Ticket::detached().into(),
        };
        let parts = [batch.slice(0..1), batch.slice(1..9), batch.gather(&[9])];
        assert!(parts.iter().all(|part| part.joins(&batch)));
        assert_eq!(parts.iter().map(Batch::size).sum::<usize>(), batch.size());
        assert_eq!(Batch::concat(&parts).size(), batch.size());
        let plain = Batch {
            fields: Fields::default(),
            ..batch.clone()
        };
        let written = Batch {
            values: batch.values.to_column().into(),
            ..batch.clone()
        };
        assert!(
            !plain.joins(&batch) && !written.joins(&batch),
            "they would change when they are joined"
        );
    }
}
