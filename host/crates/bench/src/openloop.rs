//! Load that does not wait for who is loaded: events come at their intended times, whatever became of those before.
//!
//! Latencies run from the intended time to the sink, so what a stall holds up counts in full (no coordinated omission).
//! Every event is accounted for: lost, doubled and misplaced ones are counted.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dirigo_connect::sink::{self, Sink};
use dirigo_connect::source::{self, Intake, Read, ReadLimit, ReadProgress, Source};
use dirigo_ground::clock::Clock;
use dirigo_ground::sync::Mutex;
use hdrhistogram::Histogram;

/// How many keys the events have, where a plan says nothing else.
const KEYS: u64 = 16;
/// One event in so many has the value 0, for filters to drop.
const ZERO_EVERY: u64 = 10;
/// What an event's number stands behind, both in the event and in what `builtin:reduce` makes of a window of one: its start.
const MARK: &[u8] = b"\"start\":";

/// When each event is due.
#[derive(Debug)]
pub(super) struct Plan {
    /// ns after the start, rising.
    offsets_ns: Vec<u64>,
    /// Events that only warm up.
    warm_up: usize,
    /// Whether events of the value 0 are dropped on the way.
    drops_zeroes: bool,
    keys: KeyMix,
    /// By event.
    key_of: Vec<u16>,
    /// What an event's number stands behind at the end of its way.
    mark: &'static [u8],
    start_ns: OnceLock<u64>,
}

/// Which keys events have.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeyMix {
    /// So many, in turns.
    Even(u64),
    /// So many, of which the n-th comes as often as n^-1.2 says.
    Zipf(u64),
    /// One has 80 % of the events; so many others share the rest.
    OneHot(u64),
}

impl KeyMix {
    /// How many keys there are.
    pub(super) fn count(self) -> u64 {
        match self {
            Self::Even(keys) | Self::Zipf(keys) => keys,
            Self::OneHot(others) => others + 1,
        }
    }

    /// The keys of so many events, which follow from their numbers.
    #[allow(
        clippy::cast_precision_loss,
        reason = "fractions and weights need no more than 52 bits"
    )]
    fn of_events(self, events: usize) -> Vec<u16> {
        /// As good as any odd number without a pattern: the golden ratio, of 64 bits (Knuth, TAOCP 3, 6.4).
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        // Between 0 and 1, spread as evenly as can be over any stretch of events.
        let fraction = |event: u64| (event.wrapping_mul(SPREAD) >> 11) as f64 / (1_u64 << 53) as f64;
        let weights = (0..self.count()).scan(0.0, |sum, key| {
            *sum += ((key + 1) as f64).powf(-1.2);
            Some(*sum)
        });
        let sums: Vec<f64> = weights.collect();
        let key = |event: u64| match self {
            Self::Even(keys) => event % keys,
            Self::OneHot(others) if fraction(event) >= 0.8 => 1 + event % others,
            Self::OneHot(_) => 0,
            Self::Zipf(keys) => {
                let at = fraction(event) * sums.last().copied().unwrap_or_default();
                (sums.partition_point(|sum| *sum <= at) as u64).min(keys - 1)
            }
        };
        let keys = (0..events as u64).map(key);
        keys.map(|key| u16::try_from(key).expect("a mix has few keys"))
            .collect()
    }
}

impl Plan {
    /// Events at these times, the first `warm_up` of them not measured.
    pub(super) fn new(offsets_ns: Vec<u64>, warm_up: usize) -> Self {
        let keys = KeyMix::Even(KEYS);
        Self {
            keys,
            key_of: keys.of_events(offsets_ns.len()),
            offsets_ns,
            warm_up,
            drops_zeroes: false,
            mark: MARK,
            start_ns: OnceLock::new(),
        }
    }

    /// `rate` events per second, evenly spaced: `warm_up` long without being measured, then for `duration`.
    pub(super) fn even(rate: f64, warm_up: Duration, duration: Duration) -> Self {
        let interval_ns = 1e9 / rate;
        let count = |time: Duration| rounded(time.as_secs_f64() * rate).max(1);
        let warm_up = count(warm_up);
        #[allow(clippy::cast_precision_loss, reason = "a cell has far fewer than 2^52 events")]
        let offset = |index: u64| rounded(index as f64 * interval_ns);
        Self::new((0..warm_up + count(duration)).map(offset).collect(), as_index(warm_up))
    }

    /// With a filter on the way.
    pub(super) fn with_filter(self) -> Self {
        Self {
            drops_zeroes: true,
            ..self
        }
    }

    /// With so many keys, and the events' numbers behind `mark` at the end of their way.
    pub(super) fn keyed(self, keys: u64, mark: &'static [u8]) -> Self {
        self.mixed(KeyMix::Even(keys), mark)
    }

    /// With keys of a mix, and the events' numbers behind `mark` at the end of their way.
    pub(super) fn mixed(self, keys: KeyMix, mark: &'static [u8]) -> Self {
        Self {
            keys,
            key_of: keys.of_events(self.offsets_ns.len()),
            mark,
            ..self
        }
    }

    /// Events at rates that change: of each so many per second, for so long. All are measured.
    pub(super) fn stepped(rates: &[(f64, Duration)]) -> Self {
        let (mut offsets_ns, mut begin) = (Vec::new(), Duration::ZERO);
        for (rate, length) in rates {
            let events = rounded(length.as_secs_f64() * rate).max(1);
            #[allow(clippy::cast_precision_loss, reason = "a cell has far fewer than 2^52 events")]
            let offset = |index: u64| rounded(index as f64 * 1e9 / rate);
            let begin_ns = u64::try_from(begin.as_nanos()).expect("a cell lasts minutes");
            offsets_ns.extend((0..events).map(|index| begin_ns + offset(index)));
            begin += *length;
        }
        Self::new(offsets_ns, 0)
    }

    /// When each event is due, in ns after the start.
    pub(super) fn offsets_ns(&self) -> &[u64] {
        &self.offsets_ns
    }

    /// How long it is since the first event was due.
    pub(super) fn passed(&self, clock: &dyn Clock) -> Duration {
        let start_ns = self.start_ns.get().copied();
        start_ns.map_or(Duration::ZERO, |start_ns| {
            Duration::from_nanos(clock.now_ns().saturating_sub(start_ns))
        })
    }

    /// When the last event is due, after the start.
    pub(super) fn length(&self) -> Duration {
        Duration::from_nanos(self.offsets_ns.last().copied().unwrap_or(0))
    }

    fn arrives(&self, index: usize) -> bool {
        !self.drops_zeroes || !(index as u64).is_multiple_of(ZERO_EVERY)
    }

    /// How many events should arrive that are measured.
    pub(super) fn measured(&self) -> u64 {
        (self.warm_up..self.offsets_ns.len())
            .filter(|&index| self.arrives(index))
            .count() as u64
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times and counts of a cell are positive and far below 2^63"
)]
fn rounded(number: f64) -> u64 {
    number.round() as u64
}

fn as_index(number: u64) -> usize {
    usize::try_from(number).expect("counts of a cell fit")
}

/// Emits the events of a plan.
pub(super) struct OpenLoop {
    plan: Arc<Plan>,
    clock: Arc<dyn Clock>,
    next: usize,
}

impl OpenLoop {
    pub(super) fn new(plan: Arc<Plan>, clock: Arc<dyn Clock>) -> Self {
        Self { plan, clock, next: 0 }
    }

    /// The rest of a plan, from the first event that another source of it has not emitted.
    pub(super) fn after(plan: Arc<Plan>, clock: Arc<dyn Clock>, emitted: u64) -> Self {
        let next = as_index(emitted);
        Self { plan, clock, next }
    }
}

impl Source for OpenLoop {
    fn read(&mut self, intake: &mut Intake, limit: ReadLimit) -> Result<Read, source::Error> {
        let now_ns = self.clock.now_ns();
        let passed_ns = now_ns - *self.plan.start_ns.get_or_init(|| now_ns);
        let rest = &self.plan.offsets_ns[self.next..];
        let Some(&first_ns) = rest.first() else {
            return Ok(Read::End);
        };
        if first_ns > passed_ns {
            return Ok(Read::Wait(Duration::from_nanos(first_ns - passed_ns)));
        }
        let due = rest
            .partition_point(|&offset_ns| offset_ns <= passed_ns)
            .min(limit.events);
        for index in (self.next as u64..).take(due) {
            let value = index % ZERO_EVERY;
            intake
                .values
                .push(format!(r#"{{"start":{index},"n":{index},"value":{value}}}"#).as_bytes());
            let key = self.plan.key_of[as_index(index)];
            intake.keys.push(&u64::from(key).to_le_bytes());
            intake.times.push(i64::try_from(index).expect("counts of a cell fit"));
            intake.positions.push(index + 1);
        }
        self.next += due;
        Ok(Read::More)
    }

    fn offset(&self) -> Option<source::Offset> {
        Some(source::Offset::Null)
    }

    fn progress(&self) -> Option<ReadProgress> {
        None
    }
}

/// Takes the events of a plan at the end of their way.
pub(super) struct Meter {
    plan: Arc<Plan>,
    clock: Arc<dyn Clock>,
    tally: Arc<Mutex<Tally>>,
}

impl Meter {
    pub(super) fn new(plan: Arc<Plan>, clock: Arc<dyn Clock>) -> (Self, Arc<Mutex<Tally>>) {
        let tally = Arc::new(Mutex::new(Tally::new(&plan)));
        let meter = Self {
            plan,
            clock,
            tally: tally.clone(),
        };
        (meter, tally)
    }

    /// Another sink of the same plan, which adds to what arrived.
    pub(super) fn again(plan: Arc<Plan>, clock: Arc<dyn Clock>, tally: Arc<Mutex<Tally>>) -> Self {
        Self { plan, clock, tally }
    }
}

impl Sink for Meter {
    fn write(&mut self, events: sink::Events<'_>) -> Result<(), sink::Error> {
        let now_ns = self.clock.now_ns();
        let start_ns = *self.plan.start_ns.get().expect("events come after the start");
        let mut tally = self.tally.lock();
        for value in events.values.iter() {
            match number_of(value, self.plan.mark).filter(|&index| index < self.plan.offsets_ns.len()) {
                None => tally.strange += 1,
                Some(index) => {
                    let due_ns = start_ns + self.plan.offsets_ns[index];
                    let latency_ns = now_ns.saturating_sub(due_ns);
                    let key = self.plan.key_of[index];
                    tally.take(index, key, latency_ns, index >= self.plan.warm_up);
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), sink::Error> {
        Ok(())
    }

    fn prepare(&mut self) -> Result<sink::Prepared, sink::Error> {
        Ok(sink::Prepared::default())
    }

    fn publish(&mut self) -> Result<(), sink::Error> {
        Ok(())
    }

    fn delivery_capability(&self) -> sink::DeliveryCapability {
        sink::DeliveryCapability::WritesNothing
    }
}

fn number_of(value: &[u8], mark: &[u8]) -> Option<usize> {
    let digits = &value[memchr::memmem::find(value, mark)? + mark.len()..];
    let end = digits
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// A plan, and what arrived of it.
pub(super) type Watched = (Arc<Plan>, Arc<Mutex<Tally>>);

/// What arrived.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) latencies_ns: Histogram<u64>,
    /// By event: how long it took, in ns.
    pub(super) each_ns: Vec<Option<u64>>,
    last: Vec<Option<usize>>,
    doubled: u64,
    misplaced: u64,
    strange: u64,
}

/// What became of the events, besides their latency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DeliveryCheck {
    pub(super) lost: u64,
    /// That came twice, or were never sent.
    pub(super) doubled: u64,
    /// That came after a later one of their key.
    pub(super) misplaced: u64,
}

impl Tally {
    fn new(plan: &Plan) -> Self {
        /// Three significant digits: what a person reads.
        const DIGITS: u8 = 3;
        Self {
            latencies_ns: Histogram::new(DIGITS).expect("three digits are within what a histogram offers"),
            each_ns: vec![None; plan.offsets_ns.len()],
            last: vec![None; as_index(plan.keys.count())],
            doubled: 0,
            misplaced: 0,
            strange: 0,
        }
    }

    fn take(&mut self, index: usize, key: u16, latency_ns: u64, is_measured: bool) {
        self.doubled += u64::from(self.each_ns[index].replace(latency_ns).is_some());
        let last = &mut self.last[usize::from(key)];
        self.misplaced += u64::from(last.is_some_and(|last| last > index));
        *last = Some(index);
        if is_measured {
            let recorded = self.latencies_ns.record(latency_ns);
            recorded.expect("the histogram resizes itself");
        }
    }

    /// Whether all came that were sent, once and in order.
    pub(super) fn books(&self, plan: &Plan) -> DeliveryCheck {
        let count = |is_wrong: &dyn Fn(usize, bool) -> bool| {
            let events = self.each_ns.iter().enumerate();
            events.filter(|(index, took)| is_wrong(*index, took.is_some())).count()
        };
        let missing = |index: usize, has_come: bool| plan.arrives(index) && !has_come;
        let uncalled = |index: usize, has_come: bool| !plan.arrives(index) && has_come;
        DeliveryCheck {
            lost: count(&missing) as u64,
            doubled: self.doubled + self.strange + count(&uncalled) as u64,
            misplaced: self.misplaced,
        }
    }
}

#[cfg(test)]
mod tests {
    use dirigo_ground::clock::ManualClock;

    use super::*;

    const LIMIT: ReadLimit = ReadLimit {
        events: 256,
        bytes: 1 << 20,
    };

    fn plan() -> Arc<Plan> {
        Arc::new(Plan::even(1_000.0, Duration::from_millis(1), Duration::from_millis(4)))
    }

    #[test]
    fn events_come_when_they_are_due() {
        let clock = Arc::new(ManualClock::new(0));
        let mut source = OpenLoop::new(plan(), clock.clone());
        let mut counts = Vec::new();
        for _ in 0..3 {
            let mut intake = Intake::default();
            source.read(&mut intake, LIMIT).unwrap();
            counts.push(intake.times.len());
            clock.advance(Duration::from_millis(2));
        }
        assert_eq!(counts, [1, 2, 2]);
        assert_eq!(source.read(&mut Intake::default(), LIMIT).unwrap(), Read::End);
    }

    #[test]
    fn what_a_stall_holds_up_is_measured_from_when_it_was_due() {
        let clock = Arc::new(ManualClock::new(0));
        let plan = plan();
        let mut source = OpenLoop::new(plan.clone(), clock.clone());
        let (mut meter, tally) = Meter::new(plan.clone(), clock.clone());
        let mut intake = Intake::default();
        source.read(&mut intake, LIMIT).unwrap();
        clock.advance(Duration::from_millis(10));
        source.read(&mut intake, LIMIT).unwrap();
        let events = sink::Events {
            times: &intake.times,
            keys: &intake.keys,
            values: &intake.values,
        };
        meter.write(events).unwrap();
        let tally = tally.lock();
        assert_eq!(tally.latencies_ns.len(), 4, "the first event only warms up");
        assert!(tally.latencies_ns.max() >= 9_000_000 && tally.latencies_ns.min() <= 6_010_000);
        assert_eq!(tally.books(&plan), DeliveryCheck::default());
    }

    #[test]
    fn keys_come_as_often_as_their_mix_says() {
        let share = |keys: KeyMix, key: u16| {
            let keys = keys.of_events(100_000).into_iter();
            keys.filter(|other| *other == key).count()
        };
        assert!((79_900..80_100).contains(&share(KeyMix::OneHot(63), 0)));
        // 1 / (1 + 2^-1.2 + 3^-1.2 + …) over 1,000 keys.
        assert!(
            (22_500..23_700).contains(&share(KeyMix::Zipf(1_000), 0)),
            "{}",
            share(KeyMix::Zipf(1_000), 0)
        );
        assert_eq!(share(KeyMix::Even(4), 3), 25_000);
    }

    #[test]
    fn lost_doubled_and_misplaced_events_are_counted() {
        let plan = Plan::even(1_000.0, Duration::from_millis(1), Duration::from_millis(39));
        let mut tally = Tally::new(&plan);
        (0..39).for_each(|index| tally.take(index, plan.key_of[index], 0, false));
        tally.take(7, plan.key_of[7], 0, false);
        let books = DeliveryCheck {
            lost: 1,
            doubled: 1,
            misplaced: 1,
        };
        assert_eq!(tally.books(&plan), books);
    }
}
