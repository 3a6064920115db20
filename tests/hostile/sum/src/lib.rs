//! A reduce that says that the order does not matter in which its accumulators are merged. In some modes it does.
//!
//! Its output tells whether an event is missing in a window, or is in it twice: it has sums of their numbers and of hashes of these.

use std::hint::black_box;

use dirigo_operator::prelude::*;

/// The `config` of the guest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    mode: Mode,
    /// It strikes at events whose number is a multiple of this.
    #[serde(default = "never")]
    every: u64,
    /// How long it takes over each event: 40,000 steps are some ten microseconds.
    #[serde(default)]
    steps: u32,
}

fn never() -> u64 {
    u64::MAX
}

/// What it does besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nothing.
    Pass,
    /// Refuses events.
    Reject,
    /// Panics over events.
    Panic,
    /// Keeps the first event of a window: of two accumulators, that of the left one.
    First,
    /// Sums thirds, which `f64` does not hold.
    Thirds,
    /// Keeps 40 bytes for each of the first 45,000 events, if `steps` is more than 0.
    Grow,
    /// Forgets what is on the right at each merge.
    Lose,
    /// Merges what is on the right twice.
    Double,
    /// Panics where it is to merge two accumulators of which the greatest event on the right is one to strike at.
    PanicMerge,
}

/// An event, as far as it matters here.
#[derive(Debug, Deserialize)]
pub struct Numbered {
    n: u64,
}

/// What is known of a window.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sums {
    events: u64,
    numbers: u64,
    hashes: u64,
    greatest: u64,
    first: Option<u64>,
    thirds: f64,
    grown: String,
}

/// What a window becomes.
#[derive(Debug, Serialize)]
pub struct Summed {
    key: String,
    start: i64,
    events: u64,
    numbers: u64,
    hashes: u64,
    greatest: u64,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thirds: Option<f64>,
}

/// Sums up.
#[derive(Debug)]
pub struct Sum(Config);

/// The finalizer of splitmix64.
fn hash(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[operator]
impl Reduce for Sum {
    const ASSOCIATIVE: bool = true;

    type Config = Config;
    type Event = Numbered;
    type Accumulator = Sums;
    type Output = Summed;

    fn open(config: Config) -> Result<Self> {
        Ok(Sum(config))
    }

    fn zero(&self) -> Sums {
        Sums::default()
    }

    fn add(&mut self, sums: &mut Sums, event: &Numbered) -> Result<()> {
        sums.events += 1;
        sums.numbers += event.n;
        sums.hashes = sums.hashes.wrapping_add(hash(event.n));
        sums.greatest = sums.greatest.max(event.n);
        (0..self.0.steps).for_each(|step| {
            black_box(step);
        });
        let strikes = event.n.is_multiple_of(self.0.every);
        match self.0.mode {
            Mode::Reject if strikes => reject!("event {} is not to its taste", event.n),
            Mode::Panic if strikes => panic!("event {} is more than it can bear", event.n),
            Mode::Grow if self.0.steps > 0 && event.n < 45_000 => {
                sums.grown.push_str("0123456789012345678901234567890123456789");
            }
            Mode::First => sums.first = sums.first.or(Some(event.n)),
            #[allow(clippy::cast_precision_loss, reason = "that is what it is for")]
            Mode::Thirds => sums.thirds += event.n as f64 / 3.0,
            _ => {}
        }
        Ok(())
    }

    fn merge(&mut self, left: Sums, right: Sums) -> Sums {
        let is_bearable = self.0.mode != Mode::PanicMerge || !right.greatest.is_multiple_of(self.0.every);
        assert!(is_bearable, "to merge {} is more than it can bear", right.greatest);
        let is_merge = left.events > 0 && right.events > 0;
        let left = match self.0.mode {
            Mode::Lose if is_merge => return left,
            Mode::Double if is_merge => Sums::of(&left, &right),
            _ => left,
        };
        Sums::of(&left, &right)
    }

    fn finish(&mut self, window: &Window<'_>, sums: Sums) -> Result<Summed> {
        Ok(Summed {
            key: window.key_str().into_owned(),
            start: window.start,
            events: sums.events,
            numbers: sums.numbers,
            hashes: sums.hashes,
            greatest: sums.greatest,
            count: window.count,
            first: sums.first,
            thirds: (self.0.mode == Mode::Thirds).then_some(sums.thirds),
        })
    }
}

impl Sums {
    fn of(left: &Self, right: &Self) -> Self {
        Self {
            events: left.events + right.events,
            numbers: left.numbers + right.numbers,
            hashes: left.hashes.wrapping_add(right.hashes),
            greatest: left.greatest.max(right.greatest),
            first: left.first.or(right.first),
            thirds: left.thirds + right.thirds,
            grown: [&left.grown[..], &right.grown[..]].concat(),
        }
    }
}
