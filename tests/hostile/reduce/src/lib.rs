//! A reduce that attacks its host, in the way that its configuration names.
//!
//! It folds the numbers of events into their list, so that the output shows exactly which events a window holds and in
//! which order. It strikes at events whose number is a multiple of `every`, or at windows whose sum is.

use std::hint::black_box;

use dirigo_operator::prelude::*;

/// The `config` of the guest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    mode: Attack,
    every: u64,
}

/// What it does when it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attack {
    /// Nothing.
    Pass,
    /// Refuses the event, once it has spoilt the accumulator.
    Reject,
    /// Panics over the event, once it has spoilt the accumulator.
    Panic,
    /// Adds 8,000 numbers for each event.
    Hoard,
    /// Refuses the window.
    RejectWindow,
    /// Panics over the window.
    PanicWindow,
    /// Panics over the numbers that are merged, where the last of them is one to strike at.
    PanicMerge,
    /// Takes about a hundred times as long over the event as another reduce does.
    Dawdle,
    /// Takes four times as long over the event as one that dawdles.
    Plod,
}

/// An event, as far as it matters here.
#[derive(Debug, Deserialize)]
pub struct Numbered {
    n: u64,
}

/// What a window becomes.
#[derive(Debug, Serialize)]
pub struct Listed {
    key: String,
    numbers: Vec<u64>,
    count: u64,
    #[serde(skip_serializing_if = "is_first")]
    pane: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_first(pane: &u32) -> bool {
    *pane == 0
}

/// Strikes now and then.
#[derive(Debug)]
pub struct Striker(Config);

impl Striker {
    fn strikes(&self, number: u64) -> bool {
        number.is_multiple_of(self.0.every)
    }
}

fn idle_for(steps: u32) {
    (0..steps).for_each(|step| {
        black_box(step);
    });
}

#[operator]
impl Reduce for Striker {
    type Config = Config;
    type Event = Numbered;
    type Accumulator = Vec<u64>;
    type Output = Listed;

    fn open(config: Config) -> Result<Self> {
        Ok(Striker(config))
    }

    fn zero(&self) -> Vec<u64> {
        Vec::new()
    }

    fn add(&mut self, numbers: &mut Vec<u64>, event: &Numbered) -> Result<()> {
        numbers.push(event.n);
        match self.0.mode {
            Attack::Reject if self.strikes(event.n) => reject!("event {} is not to its taste", event.n),
            Attack::Hoard if self.strikes(event.n) => {
                numbers.extend((0..8_000).map(|more| event.n + more));
                Ok(())
            }
            Attack::Panic if self.strikes(event.n) => panic!("event {} is more than it can bear", event.n),
            Attack::Dawdle => {
                idle_for(10_000);
                Ok(())
            }
            Attack::Plod => {
                idle_for(40_000);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn merge(&mut self, left: Vec<u64>, right: Vec<u64>) -> Vec<u64> {
        if self.0.mode == Attack::PanicMerge
            && let Some(last) = right.last().filter(|last| self.strikes(**last))
        {
            panic!("to merge {last} is more than it can bear");
        }
        [left, right].concat()
    }

    fn finish(&mut self, window: &Window<'_>, numbers: Vec<u64>) -> Result<Listed> {
        let sum: u64 = numbers.iter().sum();
        match self.0.mode {
            Attack::RejectWindow if self.strikes(sum) => reject!("a window of {sum} is not to its taste"),
            Attack::PanicWindow if self.strikes(sum) => panic!("a window of {sum} is more than it can bear"),
            _ => {}
        }
        Ok(Listed {
            key: window.key_str().into_owned(),
            count: window.count,
            pane: window.pane,
            numbers,
        })
    }
}
