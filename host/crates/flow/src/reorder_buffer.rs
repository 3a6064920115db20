//! Restores the order of the source at a sink.
//!
//! Holds events until everything in front of them is finished. The order is that of positions, then of sources, then of
//! the paths that lead here; where one event became several under different keys, that of the keys. What timed operators put out when event time comes to them has
//! positions of its own, and waits for what the windows of its operator put out before it alone.

use std::sync::Arc;

use super::sink_task::{Arrivals, Encoded};
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::fields::Fields;
use dirigo_ground::lineage::{self, Origin, SourceIndex, Ticket};

/// Events that are held back.
#[derive(Debug, Default)]
pub(super) struct ReorderBuffer {
    held: Vec<HeldBatch>,
}

/// A batch without its ticket: what is held back here is no longer on its way.
#[derive(Debug)]
struct HeldBatch {
    batch: HeldColumns,
    /// All of it counts until the last of it leaves: that is how long it takes memory.
    _load: lineage::HeldLoad,
    source: SourceIndex,
    path: u32,
    arrival_ns: u64,
    /// The events by position: where several actors' outputs were joined, they did not come that way.
    order: Vec<u32>,
    /// The place in `order` of the first event that is still held.
    next: usize,
}

#[derive(Debug)]
struct HeldColumns {
    times: Arc<Vec<i64>>,
    keys: Arc<Column>,
    values: Arc<Column>,
    positions: Arc<Vec<u64>>,
}

impl ReorderBuffer {
    pub(super) fn hold(&mut self, batch: Batch) {
        let ticket = batch.origin.ticket.clone();
        let load = ticket.hold(batch.len(), batch.size());
        self.keep(batch, ticket.source(), ticket.arrival_ns(), load);
    }

    /// Takes back what a checkpoint had found held, of a source that `load` counts it for.
    pub(super) fn restore(&mut self, batch: Batch, source: SourceIndex, arrival_ns: u64, load: lineage::HeldLoad) {
        self.keep(batch, source, arrival_ns, load);
    }

    /// What is held, as batches, each with its source.
    pub(super) fn held(&self) -> impl Iterator<Item = (Batch, SourceIndex)> {
        self.held.iter().map(|held| {
            let rest = &held.order[held.next..];
            let batch = Batch {
                times: Arc::new(rest.iter().map(|&event| held.batch.times[event as usize]).collect()),
                keys: Arc::new(held.batch.keys.gather(rest)),
                values: held.batch.values.gather(rest).into(),
                fields: Fields::default(),
                positions: Arc::new(rest.iter().map(|&event| held.batch.positions[event as usize]).collect()),
                origin: Origin {
                    path: held.path,
                    ..Ticket::detached().into()
                },
            };
            (batch, held.source)
        })
    }

    fn keep(&mut self, batch: Batch, source: SourceIndex, arrival_ns: u64, load: lineage::HeldLoad) {
        let mut order: Vec<u32> = (0..).take(batch.len()).collect();
        order.sort_by_key(|&event| batch.positions[event as usize]);
        self.held.push(HeldBatch {
            source,
            path: batch.origin.path,
            arrival_ns,
            _load: load,
            batch: HeldColumns {
                times: batch.times,
                keys: batch.keys,
                values: batch.values.to_column(),
                positions: batch.positions,
            },
            order,
            next: 0,
        });
    }

    /// Releases everything that nothing unfinished can come before: what `is_free`, by its position in a source.
    pub(super) fn release(&mut self, is_free: impl Fn(u64, SourceIndex) -> bool) -> Encoded {
        let mut leaving = Vec::new();
        for (index, held) in self.held.iter_mut().enumerate() {
            let positions = &held.batch.positions;
            let rest = &held.order[held.next..];
            let free = rest.partition_point(|&event| is_free(positions[event as usize], held.source));
            leaving.extend(rest[..free].iter().map(|&event| (index, event as usize)));
            held.next += free;
        }
        let place = |&(index, event): &(usize, usize)| {
            let held = &self.held[index];
            (
                held.batch.positions[event],
                held.source,
                held.path,
                held.batch.keys.get(event),
            )
        };
        // Stable: events alike in all of that left one actor one after the other.
        leaving.sort_by(|left, right| place(left).cmp(&place(right)));
        let mut times = Vec::with_capacity(leaving.len());
        let (mut keys, mut values) = (Column::default(), Column::default());
        let mut arrivals = Arrivals::new();
        for &(index, event) in &leaving {
            let batch = &self.held[index].batch;
            times.push(batch.times[event]);
            keys.push(batch.keys.get(event));
            values.push(batch.values.get(event));
            arrivals.push((self.held[index].arrival_ns, 1));
        }
        self.held.retain(|held| held.next < held.order.len());
        Encoded {
            times: Arc::new(times),
            keys: Arc::new(keys),
            values: Arc::new(values),
            arrivals,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(values: &[(u64, &str)]) -> Batch {
        let mut column = Column::default();
        values.iter().for_each(|(_, value)| column.push(value.as_bytes()));
        Batch {
            times: Arc::new(vec![0; values.len()]),
            keys: Arc::new(Column::of_empty(values.len())),
            values: column.into(),
            fields: Fields::default(),
            positions: Arc::new(values.iter().map(|(position, _)| *position).collect()),
            origin: Ticket::detached().into(),
        }
    }

    fn before(first: (u64, SourceIndex)) -> impl Fn(u64, SourceIndex) -> bool {
        move |position, source| (position, source) < first
    }

    fn text(released: &Encoded) -> Vec<String> {
        released
            .values
            .iter()
            .map(|value| String::from_utf8(value.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn events_wait_for_those_before_them() {
        let mut reorder_buffer = ReorderBuffer::default();
        reorder_buffer.hold(batch(&[(3, "c"), (5, "e")]));
        assert!(text(&reorder_buffer.release(before((1, 0)))).is_empty());
        reorder_buffer.hold(batch(&[(1, "a"), (2, "b"), (4, "d")]));
        assert_eq!(text(&reorder_buffer.release(before((5, 0)))), ["a", "b", "c", "d"]);
        assert_eq!(text(&reorder_buffer.release(before((u64::MAX, 0)))), ["e"]);
        assert!(reorder_buffer.held.is_empty());
    }

    #[test]
    fn times_and_keys_leave_with_their_values() {
        let mut keys = Column::default();
        [b"x", b"y"].iter().for_each(|key| keys.push(*key));
        let mut reorder_buffer = ReorderBuffer::default();
        reorder_buffer.hold(Batch {
            times: Arc::new(vec![20, 10]),
            keys: Arc::new(keys),
            ..batch(&[(2, "b"), (1, "a")])
        });
        let held: Vec<_> = reorder_buffer.held().map(|(batch, _)| batch.times).collect();
        assert_eq!(held, [Arc::new(vec![10, 20])]);
        let released = reorder_buffer.release(before((3, 0)));
        assert_eq!(*released.times, [10, 20]);
        assert!(released.keys.iter().eq([b"y", b"x"]) && released.values.iter().eq([b"a", b"b"]));
    }

    #[test]
    fn outputs_of_several_actors_that_were_joined_are_put_in_order() {
        let mut reorder_buffer = ReorderBuffer::default();
        reorder_buffer.hold(batch(&[(2, "b"), (9, "i"), (1, "a"), (3, "c")]));
        assert_eq!(text(&reorder_buffer.release(before((4, 0)))), ["a", "b", "c"]);
        assert_eq!(text(&reorder_buffer.release(before((10, 0)))), ["i"]);
    }

    #[test]
    fn several_outputs_of_one_event_keep_their_order() {
        let mut reorder_buffer = ReorderBuffer::default();
        reorder_buffer.hold(batch(&[(1, "z"), (1, "a")]));
        assert_eq!(text(&reorder_buffer.release(before((2, 0)))), ["z", "a"]);
    }
}
