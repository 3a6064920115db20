//! Which events of a batch came behind the watermark of their source.
//!
//! Whether an event is too late for a window is decided by what its source had read before it, and so by the input alone: not by how
//! far operators are, how large batches were or how many workers there are. Few events come behind the watermark, so what is kept of
//! them is sparse.

use std::ops::Range;
use std::sync::Arc;

/// For each event of a batch whose time lies before the watermark of its source, that watermark as it was before the event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind(Option<Arc<[(u32, i64)]>>);

impl Behind {
    /// Of events by rising place, each with the watermark, ms since the epoch.
    #[must_use]
    pub fn new(events: Vec<(u32, i64)>) -> Self {
        debug_assert!(events.is_sorted_by(|one, next| one.0 < next.0));
        Self((!events.is_empty()).then(|| events.into()))
    }

    /// The places of the events, rising, each with the watermark before it.
    #[must_use]
    pub fn events(&self) -> &[(u32, i64)] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether no event came behind.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The watermark before the event at this place, if the event came behind it.
    #[must_use]
    pub fn watermark_before(&self, event: usize) -> Option<i64> {
        let events = self.events();
        let found = events.binary_search_by_key(&event, |(place, _)| *place as usize);
        found.ok().map(|index| events[index].1)
    }

    /// Of the events at `indexes`, by their new places.
    #[must_use]
    pub fn gather(&self, indexes: &[u32]) -> Self {
        if self.is_empty() {
            return Self::default();
        }
        let of_each = (0..).zip(indexes);
        let behind = of_each.filter_map(|(place, &index)| Some((place, self.watermark_before(index as usize)?)));
        Self::new(behind.collect())
    }

    /// Of the events of `range`, by their new places.
    #[must_use]
    pub fn slice(&self, range: &Range<usize>) -> Self {
        let events = self.events();
        let from = events.partition_point(|(place, _)| (*place as usize) < range.start);
        let to = events.partition_point(|(place, _)| (*place as usize) < range.end);
        let moved = |&(place, watermark): &(u32, i64)| (place - number(range.start), watermark);
        Self::new(events[from..to].iter().map(moved).collect())
    }

    /// Of batches that are joined, each given with the number of its events.
    #[must_use]
    pub fn concat<'a>(parts: impl Iterator<Item = (&'a Self, usize)>) -> Self {
        let mut joined = Vec::new();
        let mut before = 0;
        for (part, events) in parts {
            joined.extend(
                part.events()
                    .iter()
                    .map(|&(place, watermark)| (before + place, watermark)),
            );
            before += number(events);
        }
        Self::new(joined)
    }
}

fn number(events: usize) -> u32 {
    u32::try_from(events).expect("a batch has fewer than 2^32 events")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_keep_their_watermarks_wherever_they_stand() {
        let behind = Behind::new(vec![(1, 10), (4, 20), (5, 30)]);
        assert_eq!(
            (behind.watermark_before(4), behind.watermark_before(3)),
            (Some(20), None)
        );
        assert_eq!(behind.gather(&[5, 0, 1]).events(), [(0, 30), (2, 10)]);
        assert_eq!(behind.slice(&(2..5)).events(), [(2, 20)]);
        assert!(behind.slice(&(2..4)).is_empty());
        let parts = [behind.slice(&(0..2)), behind.slice(&(2..6))];
        assert_eq!(Behind::concat(parts.iter().zip([2, 4])), behind);
    }
}
