//! How long slices last: a histogram of fixed size, which any worker adds to.
//!
//! It is written once per slice that was used up, which lasts for tens of µs: beside that, adding to it costs nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;

/// Buckets for each doubling of the length, which is thus known to a sixteenth.
const PARTS: usize = 16;
/// What two of the narrowest buckets span. All of them begin at multiples of a 32nd of 50 µs, so that a slice of 50 or 100 µs,
/// and one half as long or half as long again, is where a bucket begins.
const TWO_NARROWEST_NS: u64 = 3_125;
/// From 25 µs to 205 ms, which is more than the longest slice that can be configured; the last bucket has all beyond.
const DOUBLINGS: usize = 13;
const BUCKETS: usize = (DOUBLINGS + 1) * PARTS;

/// How many slices were how long.
#[derive(Debug)]
pub(super) struct Lengths([AtomicU64; BUCKETS]);

impl Default for Lengths {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }
}

impl Lengths {
    /// Counts a slice.
    pub(super) fn note(&self, ns: u64) {
        self.0[bucket(ns)].fetch_add(1, Ordering::Relaxed);
    }

    /// The lengths so far, in ns: each slice as long as those in the middle of its bucket.
    pub(super) fn read(&self) -> Histogram<u64> {
        let mut lengths = Histogram::new(3).expect("three digits are few enough");
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        // It would take a length that was counted never for the shortest.
        for (index, count) in counts.enumerate().filter(|(_, count)| *count > 0) {
            let middle_ns = u64::midpoint(start_ns(index), start_ns(index + 1));
            lengths
                .record_n(middle_ns, count)
                .expect("the histogram resizes itself");
        }
        lengths
    }
}

/// Up to twice `PARTS` narrowest ones they are all as narrow; with each further doubling they become twice as wide.
fn bucket(ns: u64) -> usize {
    let narrowest = usize::try_from(ns.saturating_mul(2) / TWO_NARROWEST_NS).unwrap_or(usize::MAX);
    let doublings = (narrowest / PARTS).checked_ilog2().unwrap_or(0);
    (doublings as usize * PARTS + (narrowest >> doublings)).min(BUCKETS - 1)
}

/// Where a bucket begins.
fn start_ns(index: usize) -> u64 {
    let doublings = (index / PARTS).saturating_sub(1);
    ((index - doublings * PARTS) << doublings) as u64 * TWO_NARROWEST_NS / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_length_is_in_the_bucket_that_spans_it() {
        let lengths = (0..1_000_000).step_by(777).chain([25_000, 50_000, 204_799_999]);
        for ns in lengths {
            let index = bucket(ns);
            assert!(start_ns(index) <= ns && ns < start_ns(index + 1), "{ns} in {index}");
        }
    }

    #[test]
    fn a_bucket_of_long_slices_is_a_sixteenth_wide_at_the_most() {
        for index in 16..BUCKETS {
            let width_ns = start_ns(index + 1) - start_ns(index);
            assert!(width_ns <= start_ns(index) / PARTS as u64 + 1, "{index}");
        }
    }

    #[test]
    fn slices_half_as_long_and_half_as_long_again_begin_a_bucket() {
        for ns in [25_000, 50_000, 75_000, 100_000, 150_000, 200_000, 300_000] {
            assert_eq!(start_ns(bucket(ns)), ns);
        }
    }

    #[test]
    fn slices_beyond_the_last_bucket_are_counted_in_it() {
        let lengths = Lengths::default();
        lengths.note(1 << 40);
        lengths.note(u64::MAX);
        assert_eq!(lengths.read().len(), 2);
        assert!(lengths.read().min() > 190_000_000);
    }

    #[test]
    fn quantiles_are_those_of_what_was_counted() {
        let lengths = Lengths::default();
        (1..=100).for_each(|us| lengths.note(us * 1_000));
        let read = lengths.read();
        let near = |quantile, ns: u64| read.value_at_quantile(quantile).abs_diff(ns) <= ns / 16;
        assert!(near(0.1, 10_000) && near(0.5, 50_000) && near(0.9, 90_000), "{read:?}");
    }
}
