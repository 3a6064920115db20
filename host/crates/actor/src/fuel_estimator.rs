//! How fast an operator burns fuel, learnt while it runs.
//!
//! Fuel per microsecond differs several-fold between loops and machines, so a slice that is meant to last a given time is
//! sized by what the operator's last turns burnt. Fuel per event tells how much a whole batch may reasonably take.

use std::sync::atomic::{AtomicU64, Ordering};

use super::watchdog;

/// Fuel per microsecond before anything was measured. Real loops burn 9 to 32 thousand, and the slowest instructions fewer.
/// Nobody knows yet which it is, and a slice that proves too short is doubled: eight yields of 138 ns lead to the length of an
/// honest one.
const FUEL_PER_US_AT_FIRST: u64 = 100;
/// No guest burns more: bulk copies burn 62 thousand.
const FUEL_PER_US_MAX: u64 = 100_000;
/// A slice is never shorter than this: 2 µs or more, against a switch of 138 ns.
const SLICE_FUEL_MIN: u64 = 2_000;
/// Nor longer: 100 µs of the quickest loops, 50 µs of bulk copies.
const SLICE_FUEL_MAX: u64 = 3_000_000;
/// How often a worker looks up in a slice. What a turn burns between two yields cannot be made less while it is under way, but
/// the pace of a machine changes: where each part takes up to three times as long as it did, a slice still comes near to what
/// is asked for. A further look costs 138 ns of 100 µs.
const LOOKS_PER_SLICE: u64 = 2;
/// However long a slice an operator asks for, the worker looks up this often.
const POLL_NS_MAX: u64 = 500_000;
/// What a slice lasts for at least, unless its operator asks for less. One that is to last longer ends then if another tenant waits: the
/// length of the usual slice, for which a neighbour waits in any case.
pub(super) const AWAITED_NS: u64 = 100_000;
/// Samples shorter than this say more of the clock than of the guest.
const SAMPLE_NS_MIN: u64 = 2_000;
/// A new sample counts for one part in this many.
const SMOOTHING: u64 = 8;
/// A guest may look faster by one part in this many: it cannot earn a long slice by a few quick ones.
const FASTER_PART_MAX: u64 = 4;
/// Events that one turn takes, if as many wait: enough that entering the guest costs nothing by comparison.
const TURN_EVENTS_MAX: u64 = 1024;
/// And no fewer than this, however long their effects take.
const TURN_EVENTS_MIN: u64 = 16;
/// Taking the effects of a turn is not sliced, so turns are kept small enough for it to take no longer than this, a slice of the
/// default length: what a thousand dead letters cost the host would hold up its worker for a millisecond.
const SETTLE_NS_MAX: u64 = 100_000;
/// How many times what its events usually take a batch may burn before it is split to find the one that takes more.
const BATCH_ALLOWANCE: u64 = 16;

/// Estimates of one operator, shared by its actors.
#[derive(Debug)]
pub(super) struct FuelEstimator {
    fuel_per_us: AtomicU64,
    fuel_per_event: AtomicU64,
    turn_ns: AtomicU64,
    turn_events: AtomicU64,
}

impl Default for FuelEstimator {
    fn default() -> Self {
        Self {
            fuel_per_us: AtomicU64::new(FUEL_PER_US_AT_FIRST),
            fuel_per_event: AtomicU64::new(0),
            turn_ns: AtomicU64::new(0),
            turn_events: AtomicU64::new(TURN_EVENTS_MAX),
        }
    }
}

impl FuelEstimator {
    /// The fuel after which the worker looks up in a slice of `slice_ns`.
    pub(super) fn slice_fuel(&self, slice_ns: u64) -> u64 {
        let fuel = Self::look_ns(slice_ns).saturating_mul(self.fuel_per_us.load(Ordering::Relaxed)) / 1_000;
        fuel.clamp(SLICE_FUEL_MIN, SLICE_FUEL_MAX)
    }

    /// After how long the worker looks up in a slice of `slice_ns`.
    pub(super) fn look_ns(slice_ns: u64) -> u64 {
        (slice_ns / LOOKS_PER_SLICE).min(POLL_NS_MAX)
    }

    /// Whether a slice that has lasted for `used_ns` is to begin another turn.
    pub(super) fn has_room_for_a_turn(&self, used_ns: u64, slice_ns: u64) -> bool {
        comes_nearer(used_ns, self.turn_ns().min(slice_ns / LOOKS_PER_SLICE), slice_ns)
    }

    /// How many events a turn takes.
    pub(super) fn turn_events(&self) -> usize {
        usize::try_from(self.turn_events.load(Ordering::Relaxed)).expect("it is at most TURN_EVENTS_MAX")
    }

    /// Learns from a turn of `events` whose effects took `ns`.
    pub(super) fn observe_settling(&self, events: usize, ns: u64) {
        let usual = self.turn_events.load(Ordering::Relaxed);
        let new = if ns > SETTLE_NS_MAX {
            usual.min((events as u64).saturating_mul(SETTLE_NS_MAX) / ns)
        } else if usual < TURN_EVENTS_MAX {
            usual + usual / SMOOTHING
        } else {
            return;
        };
        self.turn_events
            .store(new.clamp(TURN_EVENTS_MIN, TURN_EVENTS_MAX), Ordering::Relaxed);
    }

    /// The fuel that a turn over `events` may burn, where each of them may burn `per_event_max`.
    ///
    /// One event gets all of that. A batch gets a multiple of what its events usually take: an event that loops for ever is
    /// then found after a few of its own budgets, not after those of all its neighbours too.
    pub(super) fn turn_fuel(&self, events: usize, per_event_max: u64) -> u64 {
        let events = events as u64;
        let most = per_event_max.saturating_mul(events);
        let usual = self.fuel_per_event.load(Ordering::Relaxed).saturating_mul(events);
        usual.saturating_mul(BATCH_ALLOWANCE).clamp(per_event_max, most)
    }

    /// Learns from a slice that burnt `fuel` in `ns`, and would have gone on.
    ///
    /// Trust is lost at once where a slice lasted too long, and won slowly: a guest that burns fuel at a hundredth of its
    /// former pace keeps its worker for too long once, not for as long as an average takes to follow.
    pub(super) fn observe_slice(&self, fuel: u64, ns: u64) {
        let known = self.fuel_per_us.load(Ordering::Relaxed);
        let sample = fuel.saturating_mul(1_000) / ns.max(1);
        if ns < SAMPLE_NS_MIN {
            // Much of it was the switch, so this much is burnt at least.
            let most = sample.clamp(known, FUEL_PER_US_MAX.max(known));
            self.fuel_per_us
                .store(known.saturating_mul(2).min(most), Ordering::Relaxed);
            return;
        }
        if sample < known {
            self.slow_down(sample, ns);
        } else {
            let step = ((sample - known) / SMOOTHING).min(known / FASTER_PART_MAX + 1);
            self.fuel_per_us.store(known + step, Ordering::Relaxed);
        }
    }

    /// Learns from what burnt `fuel` at most in `ns`: that it is no faster than that.
    pub(super) fn observe_part(&self, fuel: u64, ns: u64) {
        if ns >= SAMPLE_NS_MIN {
            let most = fuel.saturating_mul(1_000) / ns;
            if most < self.fuel_per_us.load(Ordering::Relaxed) {
                self.slow_down(most, ns);
            }
        }
    }

    /// Learns from a sample of `ns` that fuel burns more slowly than was known. One that is short enough to have been spent waiting
    /// for the processor counts like any other: believed at once, it would have all turns that begin next switch more than they run.
    fn slow_down(&self, sample: u64, ns: u64) {
        if ns <= watchdog::CERTAIN_NS {
            blend(&self.fuel_per_us, sample);
        } else {
            self.fuel_per_us.store(sample.max(1), Ordering::Relaxed);
        }
    }

    /// Learns from a turn that ended well. Where it `was_served`, part of its time is the host's, and says nothing of its fuel.
    pub(super) fn observe_turn(&self, events: usize, fuel: u64, ns: u64, was_served: bool) {
        if ns >= SAMPLE_NS_MIN && !was_served {
            blend(&self.fuel_per_us, fuel.saturating_mul(1_000) / ns);
        }
        blend(&self.fuel_per_event, fuel / (events as u64).max(1));
        blend(&self.turn_ns, ns);
    }

    /// What a turn usually takes, in ns.
    pub(super) fn turn_ns(&self) -> u64 {
        self.turn_ns.load(Ordering::Relaxed)
    }
}

/// Whether a slice that has lasted for `used_ns` comes nearer to `slice_ns` by what lasts for another `next_ns`.
pub(super) fn comes_nearer(used_ns: u64, next_ns: u64, slice_ns: u64) -> bool {
    used_ns.saturating_add(next_ns / 2) < slice_ns
}

/// Moves an estimate towards a sample; the first sample is the estimate. Races between workers lose a sample, not more.
fn blend(estimate: &AtomicU64, sample: u64) {
    let old = estimate.load(Ordering::Relaxed);
    let new = if old == 0 {
        sample
    } else {
        old - old / SMOOTHING + sample / SMOOTHING
    };
    estimate.store(new.max(1), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In which a worker looks up every 100 µs.
    const SLICE_NS: u64 = 200_000;

    #[test]
    fn slices_get_shorter_in_fuel_where_fuel_burns_slowly() {
        let fuel_estimator = FuelEstimator::default();
        (0..100).for_each(|_| fuel_estimator.observe_slice(1_000_000, 1_000_000));
        assert!(
            (90_000..=110_000).contains(&fuel_estimator.slice_fuel(SLICE_NS)),
            "{}",
            fuel_estimator.slice_fuel(SLICE_NS)
        );
    }

    /// Runs a guest that burns this much from look to look; gives how long these are apart, in us.
    fn slices(fuel_estimator: &FuelEstimator, fuel_per_us: u64, count: usize) -> Vec<u64> {
        let slice = |_| {
            let fuel = fuel_estimator.slice_fuel(SLICE_NS);
            fuel_estimator.observe_slice(fuel, fuel * 1_000 / fuel_per_us);
            fuel / fuel_per_us
        };
        (0..count).map(slice).collect()
    }

    #[test]
    fn a_turn_of_slices_that_are_too_short_makes_none_that_are_too_long() {
        let fuel_estimator = FuelEstimator::default();
        let fuel = fuel_estimator.slice_fuel(SLICE_NS);
        (0..1_000).for_each(|_| fuel_estimator.observe_slice(fuel, fuel * 1_000 / 20_000));
        assert_eq!(fuel_estimator.slice_fuel(SLICE_NS), 2_000_000);
    }

    /// How long a slice lasts that is made of parts as long as this.
    fn slice_of(part_ns: u64) -> u64 {
        let mut used_ns = part_ns;
        while comes_nearer(used_ns, part_ns, SLICE_NS) {
            used_ns += part_ns;
        }
        used_ns
    }

    #[test]
    fn slices_are_near_to_what_is_asked_for_whether_the_machine_turned_quick_or_slow() {
        for part_ns in (1_000..=3 * SLICE_NS / LOOKS_PER_SLICE).step_by(999) {
            let ns = slice_of(part_ns);
            assert!((SLICE_NS / 2..=SLICE_NS * 3 / 2).contains(&ns), "{part_ns} {ns}");
        }
    }

    #[test]
    fn a_slice_ends_with_a_turn_where_another_one_would_make_it_too_long() {
        let fuel_estimator = FuelEstimator::default();
        assert!(
            fuel_estimator.has_room_for_a_turn(SLICE_NS - 1, SLICE_NS),
            "for all that is known"
        );
        fuel_estimator.observe_turn(1, 1_000_000, 60_000, false);
        assert!(fuel_estimator.has_room_for_a_turn(SLICE_NS - 31_000, SLICE_NS));
        assert!(!fuel_estimator.has_room_for_a_turn(SLICE_NS - 29_000, SLICE_NS));
        (0..100).for_each(|_| fuel_estimator.observe_turn(1, 1_000_000_000, 60_000_000, false));
        assert!(
            fuel_estimator.has_room_for_a_turn(SLICE_NS - 51_000, SLICE_NS),
            "for a part of one"
        );
        assert!(!fuel_estimator.has_room_for_a_turn(SLICE_NS - 49_000, SLICE_NS));
    }

    #[test]
    fn a_guest_that_turns_slow_overruns_few_slices() {
        let fuel_estimator = FuelEstimator::default();
        slices(&fuel_estimator, 60_000, 100);
        let slow = slices(&fuel_estimator, 600, 10);
        assert!(slow[4..].iter().all(|us| *us <= 100), "{slow:?}");
    }

    #[test]
    fn what_was_burnt_in_part_before_earns_no_long_slice_and_may_shorten_it() {
        let fuel_estimator = FuelEstimator::default();
        slices(&fuel_estimator, 600, 100);
        let fuel = fuel_estimator.slice_fuel(SLICE_NS);
        (0..100).for_each(|_| fuel_estimator.observe_part(fuel, 3_000));
        assert_eq!(fuel_estimator.slice_fuel(SLICE_NS), fuel);
        fuel_estimator.observe_part(fuel, 1_000_000);
        assert!(fuel_estimator.slice_fuel(SLICE_NS) <= fuel / 9);
    }

    #[test]
    fn a_few_quick_slices_earn_no_long_one() {
        let fuel_estimator = FuelEstimator::default();
        slices(&fuel_estimator, 600, 100);
        slices(&fuel_estimator, 20_000, 4);
        assert!(slices(&fuel_estimator, 600, 1)[0] <= 300);
    }

    #[test]
    fn a_guest_that_slows_down_is_noticed_at_once_and_one_that_is_quick_soon() {
        let fuel_estimator = FuelEstimator::default();
        let burn = |fuel_per_us: u64| {
            let slice = fuel_estimator.slice_fuel(SLICE_NS);
            fuel_estimator.observe_slice(slice, slice * 1_000 / fuel_per_us);
        };
        (0..40).for_each(|_| burn(20_000));
        assert!(
            fuel_estimator.slice_fuel(SLICE_NS) > 1_500_000,
            "{}",
            fuel_estimator.slice_fuel(SLICE_NS)
        );
        burn(10);
        assert_eq!(fuel_estimator.slice_fuel(SLICE_NS), SLICE_FUEL_MIN);
    }

    #[test]
    fn a_short_slice_that_waited_for_the_processor_says_little_of_its_guest() {
        let fuel_estimator = FuelEstimator::default();
        slices(&fuel_estimator, 20_000, 100);
        fuel_estimator.observe_slice(2_000, 150_000);
        fuel_estimator.observe_part(2_000, 150_000);
        let fuel = fuel_estimator.slice_fuel(SLICE_NS);
        assert!(fuel > 1_500_000, "{fuel}");
        fuel_estimator.observe_slice(2_000_000, 300_000);
        let fuel = fuel_estimator.slice_fuel(SLICE_NS);
        assert!(fuel < 700_000, "{fuel}: it did not wait for that long");
    }

    #[test]
    fn turns_shrink_where_their_effects_take_long_and_grow_back() {
        let fuel_estimator = FuelEstimator::default();
        fuel_estimator.observe_settling(1024, 4_000_000);
        assert_eq!(fuel_estimator.turn_events(), 25);
        fuel_estimator.observe_settling(25, 4_000_000);
        assert_eq!(fuel_estimator.turn_events(), 16);
        (0..50).for_each(|_| fuel_estimator.observe_settling(16, 1_000));
        assert_eq!(fuel_estimator.turn_events(), 1024);
    }

    #[test]
    fn one_event_gets_its_whole_budget() {
        let fuel_estimator = FuelEstimator::default();
        assert_eq!(fuel_estimator.turn_fuel(1, 5), 5);
        fuel_estimator.observe_turn(1, 1_000_000_000, 1, false);
        assert_eq!(fuel_estimator.turn_fuel(1, 5), 5);
    }

    #[test]
    fn a_batch_may_burn_a_multiple_of_the_usual_and_no_more_than_its_events_may() {
        let fuel_estimator = FuelEstimator::default();
        fuel_estimator.observe_turn(100, 100_000, 1, false);
        assert_eq!(fuel_estimator.turn_fuel(100, 10_000), 1_000_000);
        assert_eq!(fuel_estimator.turn_fuel(100, 100_000), 1_600_000);
    }
}
