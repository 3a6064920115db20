//! How long slices last: a histogram of fixed size, which any worker adds to.
//!
//! It is locked once per slice that was used up, which lasts for tens of µs: by comparison, adding to it costs nothing.

use dirigo_ground::sync::Mutex;
use hdrhistogram::Histogram;

/// Shorter ones are not told apart.
const SHORTEST_NS: u64 = 1_000;
/// More than the longest slice that can be configured. What lasts longer is counted as the longest that can be told from it.
const LONGEST_NS: u64 = 200_000_000;
/// Those from 64 µs on are known to a hundredth, and shorter ones to 512 ns: 13 KiB for each operator.
const DIGITS: u8 = 2;

/// How many slices were how long.
#[derive(Debug)]
pub(super) struct SliceLengths(Mutex<Histogram<u64>>);

impl Default for SliceLengths {
    fn default() -> Self {
        let lengths = Histogram::new_with_bounds(SHORTEST_NS, LONGEST_NS, DIGITS);
        Self(Mutex::new(lengths.expect("the bounds are far enough from each other")))
    }
}

impl SliceLengths {
    /// Counts a slice.
    pub(super) fn note(&self, ns: u64) {
        self.0.lock().saturating_record(ns);
    }

    /// The lengths so far, in ns.
    pub(super) fn read(&self) -> Histogram<u64> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_beyond_the_longest_are_counted_as_such() {
        let lengths = SliceLengths::default();
        lengths.note(1 << 40);
        lengths.note(u64::MAX);
        assert_eq!(
            (
                lengths.read().len(),
                lengths.read().count_between(LONGEST_NS, LONGEST_NS)
            ),
            (2, 2)
        );
    }

    #[test]
    fn quantiles_are_those_of_what_was_counted() {
        let lengths = SliceLengths::default();
        (1..=100).for_each(|us| lengths.note(us * 1_000));
        let read = lengths.read();
        let near = |quantile, ns: u64| read.value_at_quantile(quantile).abs_diff(ns) <= 512;
        assert!(near(0.1, 10_000) && near(0.5, 50_000) && near(0.9, 90_000), "{read:?}");
        assert_eq!(read.count_between(25_000, 75_000), 51);
    }
}
