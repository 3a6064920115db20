//! How often events had been tried before they were retried.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// By source and position: the last position of a range, and how often each event in it had been tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempts(BTreeMap<String, BTreeMap<u64, (u64, u32)>>);

impl Attempts {
    /// Whether nothing is known of any event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes how often an event had been tried; of several numbers the first stands.
    pub fn insert(&mut self, source: &str, position: u64, attempts: u32) {
        let ranges = self.0.entry(source.to_owned()).or_default();
        match ranges.range_mut(..=position).next_back() {
            Some((_, (last, _))) if *last >= position => {}
            Some((_, (last, known))) if *last + 1 == position && *known == attempts => *last = position,
            _ => {
                ranges.insert(position, (position, attempts));
            }
        }
    }

    /// How often an event had been tried; 0 where nothing is known.
    #[must_use]
    pub fn get(&self, source: &str, position: u64) -> u32 {
        let range = self
            .0
            .get(source)
            .and_then(|ranges| ranges.range(..=position).next_back());
        range.map_or(0, |(_, &(last, attempts))| if position <= last { attempts } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_in_a_row_that_were_tried_as_often_are_one_range() {
        let mut attempts = Attempts::default();
        for (position, tried) in [(1, 1), (2, 1), (3, 2), (7, 1), (3, 9)] {
            attempts.insert("a", position, tried);
        }
        assert_eq!(attempts.0["a"].len(), 3);
        let tried = [0, 1, 2, 3, 4, 7, 8].map(|position| attempts.get("a", position));
        assert_eq!(tried, [0, 1, 1, 2, 0, 1, 0]);
        assert_eq!(attempts.get("b", 1), 0);
        let stored = serde_json::to_string(&attempts).unwrap();
        assert_eq!(serde_json::from_str::<Attempts>(&stored).unwrap(), attempts);
    }
}
