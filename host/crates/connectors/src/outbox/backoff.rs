//! How long to wait before a delivery is tried again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
/// The longest wait that is not the receiver's wish.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest wait that a receiver may ask for.
const ASKED_MAX: Duration = Duration::from_mins(10);

/// Waits that double, each cut short by up to a half at random: so that many senders do not come back at the same time.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next wait; not less than what the receiver `asked` for. `random` decides how much it is cut short.
    pub(super) fn next(&mut self, asked: Option<Duration>, random: u64) -> Duration {
        let full = FIRST.saturating_mul(1 << self.tries.min(20)).min(LONGEST);
        self.tries += 1;
        let full_ms = u64::try_from(full.as_millis()).expect("30 s are few ms");
        let wait = Duration::from_millis(full_ms - random % (full_ms / 2));
        wait.max(asked.unwrap_or_default().min(ASKED_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_are_never_less_than_half() {
        for random in [0, 49, 12_345_678_901, u64::MAX] {
            let mut backoff = Backoff::default();
            for full_ms in [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000] {
                let wait = backoff.next(None, random);
                let full = Duration::from_millis(full_ms);
                assert!(wait > full / 2 && wait <= full, "{wait:?} of {full:?}");
            }
            backoff.tries = u32::MAX - 1;
            assert!(backoff.next(None, random) <= LONGEST);
        }
    }

    #[test]
    fn a_receiver_may_ask_for_a_longer_wait_within_bounds() {
        let asked = |seconds| Backoff::default().next(Some(Duration::from_secs(seconds)), 7);
        assert_eq!(asked(7), Duration::from_secs(7));
        assert!(asked(0) > Duration::ZERO);
        assert_eq!(asked(1_000_000), ASKED_MAX);
    }
}
