//! Sets of numbers that mostly follow one another.

use serde::{Deserialize, Serialize};

/// Numbers, as ranges: first and last of each, in order, none next to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdRanges(Vec<(u64, u64)>);

impl IdRanges {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a number is one of them.
    #[must_use]
    pub fn contains(&self, id: u64) -> bool {
        let behind = self.0.partition_point(|&(first, _)| first <= id);
        behind > 0 && id <= self.0[behind - 1].1
    }

    /// Adds a number.
    pub fn insert(&mut self, id: u64) {
        if self.contains(id) {
            return;
        }
        let at = self.0.partition_point(|&(first, _)| first <= id);
        let joins_before = at > 0 && self.0[at - 1].1 + 1 == id;
        let joins_behind = self.0.get(at).is_some_and(|&(first, _)| id + 1 == first);
        match (joins_before, joins_behind) {
            (true, true) => {
                self.0[at - 1].1 = self.0[at].1;
                self.0.remove(at);
            }
            (true, false) => self.0[at - 1].1 = id,
            (false, true) => self.0[at].0 = id,
            (false, false) => self.0.insert(at, (id, id)),
        }
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &Self) {
        let mut all: Vec<(u64, u64)> = self.0.iter().chain(&other.0).copied().collect();
        all.sort_unstable();
        self.0.clear();
        for (first, last) in all {
            match self.0.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => self.0.push((first, last)),
            }
        }
    }
}

impl FromIterator<u64> for IdRanges {
    fn from_iter<I: IntoIterator<Item = u64>>(ids: I) -> Self {
        let mut ranges = Self::default();
        ids.into_iter().for_each(|id| ranges.insert(id));
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_one_another_are_one_range() {
        let ranges: IdRanges = [5, 1, 3, 2, 9, 4, 5].into_iter().collect();
        assert_eq!(ranges.0, [(1, 5), (9, 9)]);
        let among: Vec<u64> = (0..12).filter(|&id| ranges.contains(id)).collect();
        assert_eq!(among, [1, 2, 3, 4, 5, 9]);
    }

    #[test]
    fn ranges_are_joined_where_they_touch() {
        let mut ranges: IdRanges = [1, 2, 8].into_iter().collect();
        ranges.extend(&[3, 4, 8, 9, 20].into_iter().collect());
        assert_eq!(ranges.0, [(1, 4), (8, 9), (20, 20)]);
    }
}
