//! Which keys an actor works for most.

use std::collections::HashSet;
use std::ops::Range;

use super::Actor;
use dirigo_ground::batch::Batch;
use dirigo_state::hash;

/// The partitions of some of the events that an actor took lately.
#[derive(Debug, Default)]
pub(super) struct PartitionsSeen {
    partitions: Vec<u16>,
    noted: usize,
}

/// Where a shard is split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Split {
    /// The first partition of the upper part.
    pub(super) at: u32,
    /// The share of the load in the larger part.
    pub(super) larger_part: f64,
}

impl PartitionsSeen {
    /// How many are kept.
    const KEPT: usize = 128;
    /// How many of a batch are looked at: 10 ns each.
    const OF_BATCH: usize = 4;
    /// The same, until [`KEPT`](Self::KEPT) are known.
    const OF_FIRST: usize = 64;
    /// With fewer, nothing is known of the load.
    const ENOUGH: usize = 32;
    /// The larger part may have this much of the load: else a split helps little.
    const LARGER_PART_MAX: f64 = 0.85;

    /// Notes some events of a batch that an actor takes.
    pub(super) fn note(&mut self, actor: &Actor, batch: &Batch) {
        let operator = &actor.operator;
        let is_of_interest = operator.kind().is_stateful() && operator.scaling_bounds().is_some();
        if !is_of_interest || actor.identity.partitions().is_none() {
            return;
        }
        let wanted = if self.partitions.len() < Self::KEPT {
            Self::OF_FIRST
        } else {
            Self::OF_BATCH
        };
        let looked_at = wanted.min(batch.len());
        for number in 0..looked_at {
            // From all parts of the batch, and of each part another one every time.
            let event = (number * batch.len() / looked_at + self.noted) % batch.len();
            let key = batch.keys.get(event);
            let partition = u16::try_from(hash::partition(hash::key(key))).expect("there are 4,096 partitions");
            let place = self.noted % Self::KEPT;
            self.noted += 1;
            match self.partitions.get_mut(place) {
                Some(kept) => *kept = partition,
                None => self.partitions.push(partition),
            }
        }
    }

    /// Where a shard of these partitions is to be split so that both parts have about as much to do; `None` where nearly all of what it does is for one
    /// partition, or nothing is known of the load.
    pub(super) fn split(&self, partitions: Range<u32>) -> Option<Split> {
        let own: Vec<u32> = self.partitions.iter().copied().map(u32::from).collect();
        let own: Vec<u32> = own.into_iter().filter(|seen| partitions.contains(seen)).collect();
        if own.len() < Self::ENOUGH {
            return None;
        }
        let larger_part = |at: &u32| {
            let below = own.iter().filter(|seen| *seen < at).count();
            below.max(own.len() - below)
        };
        let points = own.iter().flat_map(|seen| [*seen, seen + 1]);
        let points = points.filter(|at| partitions.start < *at && *at < partitions.end);
        let best = points.min_by_key(larger_part)?;
        #[allow(clippy::cast_precision_loss, reason = "of at most 128 events")]
        let split = Split {
            at: best,
            larger_part: larger_part(&best) as f64 / own.len() as f64,
        };
        (split.larger_part <= Self::LARGER_PART_MAX).then_some(split)
    }

    /// How many different keys there are for each event, at most; `None` where nothing is known of the load.
    #[allow(clippy::cast_precision_loss, reason = "of at most 128 events")]
    pub(super) fn keys_per_event_max(&self) -> Option<f64> {
        let distinct: HashSet<u16> = self.partitions.iter().copied().collect();
        (self.partitions.len() >= Self::ENOUGH).then(|| distinct.len() as f64 / self.partitions.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl PartitionsSeen {
        fn at(&self, partitions: Range<u32>) -> Option<u32> {
            self.split(partitions).map(|split| split.at)
        }
    }

    fn seen(partitions: &[u16]) -> PartitionsSeen {
        PartitionsSeen {
            partitions: partitions.to_vec(),
            noted: partitions.len(),
        }
    }

    #[test]
    fn a_shard_is_split_where_both_parts_have_as_much_to_do() {
        let mostly_low: Vec<u16> = (0..60).chain([4_000; 4]).collect();
        assert_eq!(seen(&mostly_low).at(0..4_096), Some(32));
    }

    #[test]
    fn a_shard_of_one_hot_key_is_not_split() {
        let one: Vec<u16> = [7; 60].into_iter().chain([9, 10, 11, 12]).collect();
        assert_eq!(seen(&one).at(0..4_096), None);
        assert_eq!(seen(&[7; 60]).at(7..8), None, "nor is one partition");
    }

    #[test]
    fn half_of_the_load_on_one_key_leaves_the_other_half() {
        let half: Vec<u16> = [500; 30].into_iter().chain(600..630).collect();
        assert_eq!(seen(&half).at(0..4_096), Some(501));
    }

    #[test]
    fn a_shard_of_which_nothing_is_known_is_not_split() {
        assert_eq!(seen(&[1, 2, 3]).at(0..4_096), None);
    }

    #[test]
    fn keys_that_most_events_have_are_few_for_each() {
        let hot: Vec<u16> = [7; 80].into_iter().chain(100..120).collect();
        assert_eq!(seen(&hot).keys_per_event_max(), Some(0.21));
        assert_eq!(seen(&[7]).keys_per_event_max(), None);
    }
}
